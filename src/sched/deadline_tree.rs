//! Deadline tasks in the order of a time: of their deadlines, or of their next budgets.
//!
//! A red-black tree with its first task cached, as `timeline` is for fair tasks, and linked through the same
//! node: a task is in one class at a time. Equal keys go to the right. Keys are compared by signed difference.
//!
//! Invariants: `first` is the true minimum; the key of a task does not change while it is in here
//! (`deadline_rq` takes it out first). Insertion and removal are O(log n), everything else O(1).
//!
//! Contexts and locks: as for the run queue: any, under its lock.

use core::cmp::Ordering;

use intrusive_collections::{KeyAdapter, RBTree, RBTreeLink, UnsafeRef, intrusive_adapter};

use super::deadline::dl_time_before;
use super::entity::{SchedRef, SchedTask};

intrusive_adapter!(DlNode = UnsafeRef<SchedTask>: SchedTask { se.run_node => RBTreeLink });

/// A time as a key: ordered by signed difference.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Time(u64);

impl Ord for Time {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.wrapping_sub(other.0) as i64).cmp(&0)
    }
}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> KeyAdapter<'a> for DlNode {
    type Key = Time;

    fn get_key(&self, task: &'a SchedTask) -> Time {
        Time(task.dl().key.get())
    }
}

/// The tree.
pub(super) struct DlTree {
    tree: RBTree<DlNode>,
    first: Option<SchedRef>,
}

// SAFETY: the tree points at tasks by `SchedRef`'s contract: they are only touched under the lock that also
// guards this tree, on whatever CPU.
unsafe impl Send for DlTree {}

impl DlTree {
    pub(super) const fn new() -> Self {
        Self { tree: RBTree::new(DlNode::NEW), first: None }
    }

    /// The task with the earliest time.
    #[inline]
    pub(super) fn first(&self) -> Option<SchedRef> {
        self.first
    }

    /// Adds `p` under `key`, behind its equals.
    pub(super) fn insert(&mut self, p: SchedRef, key: u64) {
        p.dl().key.set(key);
        if self.first.is_none_or(|first| dl_time_before(key, first.dl().key.get())) {
            self.first = Some(p);
        }
        // SAFETY: `p` stays valid and in place while queued (contract of `SchedRef::new`; a task that is
        // throttled leaves the class before it is freed) and is never mutably borrowed.
        self.tree.insert(unsafe { UnsafeRef::from_raw(p.as_ptr().as_ptr()) });
    }

    pub(super) fn remove(&mut self, p: SchedRef) {
        debug_assert!(p.se.run_node.is_linked(), "deadline: {p:?} is not in the tree");
        // SAFETY: `p` is in this tree: `place` says so, and `deadline_rq` removes it only where it says.
        let mut cursor = unsafe { self.tree.cursor_mut_from_ptr(p.as_ptr().as_ptr()) };
        cursor.remove();
        if self.first == Some(p) {
            // SAFETY: the cursor stands at the next task of this tree, which came in through a `SchedRef`.
            self.first = cursor.as_cursor().get_ptr().map(|next| unsafe { SchedRef::new(next) });
        }
    }

    /// All tasks in order; for diagnostics.
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
}
