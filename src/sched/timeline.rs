//! The waiting fair tasks in order of virtual runtime.
//!
//! A red-black tree with its leftmost task cached, because the leftmost is
//! asked for at every pick and tick and finding it would be O(log n). Equal
//! keys go to the right, so equals are served in order of arrival. Keys are
//! compared by signed difference: virtual runtime may wrap.
//!
//! A typed, safe face for the intrusive tree, as `prio_array` is for lists.
//!
//! Invariants: `leftmost` is the true minimum; the key of a task does not
//! change while it is in here (`fair` takes it out first); the running task is
//! not in here. Insertion and removal are O(log n), everything else O(1).
//!
//! Contexts and locks: as for the run queue: any, under its lock.

use core::cmp::Ordering;

use intrusive_collections::{KeyAdapter, RBTree, RBTreeLink, UnsafeRef, intrusive_adapter};

use super::entity::{SchedRef, SchedTask};

intrusive_adapter!(RunNode = UnsafeRef<SchedTask>: SchedTask { se.run_node => RBTreeLink });

/// Virtual time as a key: ordered by signed difference, which is an order as
/// long as all keys of one tree are within 2^63 ns of each other.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Vruntime(u64);

impl Ord for Vruntime {
    #[inline(always)]
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.wrapping_sub(other.0) as i64).cmp(&0)
    }
}

impl PartialOrd for Vruntime {
    #[inline(always)]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> KeyAdapter<'a> for RunNode {
    type Key = Vruntime;

    #[inline(always)]
    fn get_key(&self, task: &'a SchedTask) -> Vruntime {
        Vruntime(task.se.vruntime.get())
    }
}

/// The tree.
pub(super) struct Timeline {
    tree: RBTree<RunNode>,
    leftmost: Option<SchedRef>,
}

// SAFETY: the tree points at tasks by `SchedRef`'s contract: they are only
// touched under the lock that also guards this tree, on whatever CPU.
unsafe impl Send for Timeline {}

impl Timeline {
    pub(super) const fn new() -> Self {
        Self { tree: RBTree::new(RunNode::NEW), leftmost: None }
    }

    /// The task that has had the least, if any waits.
    #[inline(always)]
    pub(super) fn leftmost(&self) -> Option<SchedRef> {
        self.leftmost
    }

    pub(super) fn insert(&mut self, p: SchedRef) {
        let key = Vruntime(p.se.vruntime.get());
        match self.leftmost {
            Some(left) if key >= Vruntime(left.se.vruntime.get()) => {}
            _ => self.leftmost = Some(p),
        }
        // SAFETY: `p` stays valid and in place while queued (contract of
        // `SchedRef::new`) and is never mutably borrowed.
        self.tree.insert(unsafe { UnsafeRef::from_raw(p.as_ptr().as_ptr()) });
    }

    pub(super) fn remove(&mut self, p: SchedRef) {
        debug_assert!(p.se.run_node.is_linked(), "timeline: {p:?} is not in the tree");
        // SAFETY: `p` is in this tree: a fair task is inserted only into the
        // timeline of the run queue it is on, and `fair` removes it only there.
        let mut cursor = unsafe { self.tree.cursor_mut_from_ptr(p.as_ptr().as_ptr()) };
        cursor.remove();
        if self.leftmost == Some(p) {
            // SAFETY: the cursor stands at the next task of this tree, which
            // came in through a `SchedRef`.
            self.leftmost = cursor.as_cursor().get_ptr().map(|next| unsafe { SchedRef::new(next) });
        }
    }

    /// The task behind `p`, which is in the tree.
    pub(super) fn next_after(&self, p: SchedRef) -> Option<SchedRef> {
        // SAFETY: as in `remove`.
        let cursor = unsafe { self.tree.cursor_from_ptr(p.as_ptr().as_ptr()) };
        // SAFETY: the neighbour came in through a `SchedRef`.
        cursor.peek_next().get_ptr().map(|next| unsafe { SchedRef::new(next) })
    }

    /// All waiting tasks in order; for diagnostics.
    pub(super) fn iter(&self) -> impl Iterator<Item = SchedRef> + '_ {
        let mut cursor = self.tree.front();
        core::iter::from_fn(move || {
            // SAFETY: what the tree holds came in through a `SchedRef`.
            let p = cursor.get_ptr().map(|task| unsafe { SchedRef::new(task) });
            cursor.move_next();
            p
        })
        .fuse()
    }

    /// All waiting tasks from the last to the first.
    pub(super) fn iter_from_last(&self) -> impl Iterator<Item = SchedRef> + '_ {
        let mut cursor = self.tree.back();
        core::iter::from_fn(move || {
            // SAFETY: what the tree holds came in through a `SchedRef`.
            let p = cursor.get_ptr().map(|task| unsafe { SchedRef::new(task) });
            cursor.move_prev();
            p
        })
        .fuse()
    }
}
