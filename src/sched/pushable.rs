//! The real-time tasks of a run queue that another CPU may take: queued, not running, and migratable.
//!
//! A second set of lists beside `prio_array`, with a link of its own in the task, because what runs and what is bound to
//! this CPU must not be walked over to find what can go: with a thousand tasks that are bound, the best one that is not
//! is still one look at a bitmap away. Only run queues of several CPUs use it, after the fact, through
//! `Rq::sync_task`; the hot paths of one CPU do not know it.
//!
//! Invariants: bit p is set iff list p is not empty; a task is on list p iff its `pushable_at` is p + 1. The list is
//! remembered because the task's priority may have changed by the time it is taken out.
//!
//! Everything is O(1) but `iter`. Contexts and locks: as for the run queue: any, under its lock.

use super::entity::SchedRef;
use super::prio::MAX_RT_PRIO;
use crate::list::ListHead;

const LISTS: usize = MAX_RT_PRIO as usize;

/// The lists and the bitmap, priority 0 in the top bit.
#[derive(Debug)]
pub(super) struct Pushable {
    lists: [ListHead; LISTS],
    bitmap: u128,
}

const fn bit(prio: usize) -> u128 {
    1 << 127 >> prio
}

impl Pushable {
    pub(super) const fn new() -> Self {
        Self { lists: [const { ListHead::new() }; LISTS], bitmap: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bitmap == 0
    }

    /// The most important priority in use.
    #[inline]
    pub(super) fn highest_prio(&self) -> Option<i32> {
        (self.bitmap != 0).then(|| self.bitmap.leading_zeros() as i32)
    }

    /// Puts `p` where it belongs, `prio` being its priority, or takes it out for `None`; what is right already stays as
    /// it is.
    #[inline]
    pub(super) fn place(&mut self, p: SchedRef, prio: Option<i32>) {
        let wanted = prio.map_or(0, |prio| prio as u16 + 1);
        if p.rt.pushable_at.get() != wanted {
            self.move_to(p, wanted);
        }
    }

    #[inline(never)]
    fn move_to(&mut self, p: SchedRef, wanted: u16) {
        if let Some(old) = usize::from(p.rt.pushable_at.replace(wanted)).checked_sub(1) {
            // SAFETY: `pushable_at` named this list (module invariant), and the caller has the run queue's lock.
            if unsafe { self.lists[old].del(p.pushable_link()) } {
                self.bitmap &= !bit(old);
            }
        }
        if let Some(new) = usize::from(wanted).checked_sub(1) {
            // SAFETY: `p` is pinned and outlives its time in here (contract of `SchedRef::new`; it is taken out when it
            // leaves the run queue); it was taken off the list that it was on.
            unsafe { self.lists[new].add_tail(p.pushable_link()) };
            self.bitmap |= bit(new);
        }
    }

    /// The most important one, of equals the one that has waited longest.
    pub(super) fn first(&self) -> Option<SchedRef> {
        self.iter().next()
    }

    /// All of them, most important first. The borrow keeps the lists as they are.
    pub(super) fn iter(&self) -> impl Iterator<Item = SchedRef> + '_ {
        let mut left = self.bitmap;
        let prios = core::iter::from_fn(move || {
            let prio = (left != 0).then(|| left.leading_zeros() as usize)?;
            left &= !bit(prio);
            Some(prio)
        });
        // SAFETY: nothing changes the lists while the borrow lives; what is on them was put there by `move_to`.
        prios.flat_map(|prio| unsafe { self.lists[prio].iter().map(|link| SchedRef::of_pushable_link(link)) })
    }

    /// True when bitmap, lists and tasks agree; walks everything.
    pub(super) fn is_consistent(&self) -> bool {
        self.lists.iter().enumerate().all(|(prio, list)| {
            // SAFETY: as in `iter`.
            let mut tasks = unsafe { list.iter().map(|link| SchedRef::of_pushable_link(link)) };
            (self.bitmap & bit(prio) != 0) != list.is_empty()
                && tasks.all(|p| usize::from(p.rt.pushable_at.get()) == prio + 1)
        })
    }
}
