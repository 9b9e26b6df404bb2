//! A list of tasks in the order in which the real-time class runs them.
//!
//! A typed, safe face for [`crate::list`]: the scheduler's modules pass
//! [`SchedRef`]s in and get them back, and need no unsafe code of their own.
//!
//! Invariant: a task is on at most one such list, and on the list of the run
//! queue and priority under which it was enqueued; `rt` keeps it, by taking a
//! task off before its priority changes. Only `rt` can reach these lists.
//!
//! Contexts and locks: as for the run queue: any, under its lock.

use super::entity::SchedRef;
use crate::list::{Iter, ListHead};

/// Tasks of one priority, first come first.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct TaskList(ListHead);

impl TaskList {
    pub(super) const fn new() -> Self {
        Self(ListHead::new())
    }

    #[inline(always)]
    pub(super) fn first(&self) -> Option<SchedRef> {
        // SAFETY: what is on the list was put there by `add_*`, from a valid
        // task that stays valid while queued (contract of `SchedRef::new`).
        self.0.first().map(|link| unsafe { SchedRef::of_run_list(link) })
    }

    #[inline(always)]
    pub(super) fn add_tail(&self, p: SchedRef) {
        // SAFETY: `p` is pinned and outlives its time on the queue (contract
        // of `SchedRef::new`); it is on no list (module invariant).
        unsafe { self.0.add_tail(p.run_list()) }
    }

    #[inline(always)]
    pub(super) fn add_head(&self, p: SchedRef) {
        // SAFETY: as in `add_tail`.
        unsafe { self.0.add_head(p.run_list()) }
    }

    /// Takes `p` off; true when the list is empty afterwards.
    #[inline(always)]
    pub(super) fn del(&self, p: SchedRef) -> bool {
        // SAFETY: `p` is on this list (module invariant).
        unsafe { self.0.del(p.run_list()) }
    }

    /// Moves `p` behind all others.
    #[inline(always)]
    pub(super) fn move_tail(&self, p: SchedRef) {
        // SAFETY: `p` is on this list (module invariant).
        unsafe { self.0.move_tail(p.run_list()) }
    }

    /// The tasks, first to last. The borrow keeps the list as it is: every
    /// change goes through a `&mut` run queue.
    pub(super) fn iter(&self) -> TaskIter<'_> {
        // SAFETY: nothing changes the list while the borrow lives, as above.
        TaskIter { iter: unsafe { self.0.iter() }, _list: self }
    }
}

/// Iterator over a [`TaskList`]; bounded by the number of tasks on it.
pub(super) struct TaskIter<'a> {
    iter: Iter,
    _list: &'a TaskList,
}

impl Iterator for TaskIter<'_> {
    type Item = SchedRef;

    fn next(&mut self) -> Option<SchedRef> {
        // SAFETY: as in `TaskList::first`.
        self.iter.next().map(|link| unsafe { SchedRef::of_run_list(link) })
    }
}
