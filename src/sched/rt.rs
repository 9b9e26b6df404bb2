#![forbid(unsafe_code)]
//! Real-time class: SCHED_FIFO and SCHED_RR.
//!
//! One list per priority and a bitmap of the lists that are not empty. The
//! running task **stays in its list**: preemption does not touch the queue at
//! all, so a preempted task is still at the head when its turn comes back.
//! Only sleeping, yielding, an expired round-robin slice and a changed
//! priority move a task.
//!
//! Invariants: bit p is set iff list p is not empty; every queued real-time
//! task, running or not, is on the list of its `prio`.
//!
//! All operations are O(1); nothing here loops, divides or reads a clock: CPU
//! time of real-time tasks is accounted where the switch happens.
//!
//! Contexts: any, under the run-queue lock.

use super::class::{DequeueFlags, EnqueueFlags, Resched};
use super::entity::SchedRef;
use super::prio::{MAX_RT_PRIO, Policy};
use super::task_list::TaskList;

/// Lists, rounded up to a power of two: a masked index needs no bounds check,
/// and the tail costs 224 bytes per CPU.
const LISTS: usize = 128;
const _: () = assert!(MAX_RT_PRIO as usize <= LISTS);

/// A round-robin slice, in milliseconds.
const RR_TIMESLICE_MS: u32 = 100;

/// The real-time part of a run queue.
#[derive(Debug)]
#[repr(C)]
pub struct RtRq {
    /// Priority 0 is the top bit of the first word, so that the most important
    /// one is found by counting leading zeroes, without a bit reversal.
    bitmap: [u64; 2],
    queue: [TaskList; LISTS],
    rr_timeslice_ticks: u32,
}

impl RtRq {
    pub(super) const fn new() -> Self {
        Self { bitmap: [0; 2], queue: [const { TaskList::new() }; LISTS], rr_timeslice_ticks: 1 }
    }

    /// Sets the slice for a tick of `hz`; at least one tick.
    pub(super) fn set_hz(&mut self, hz: u32) {
        self.rr_timeslice_ticks = (RR_TIMESLICE_MS * hz / 1000).max(1);
    }

    /// A full round-robin slice, in ticks.
    pub fn rr_timeslice_ticks(&self) -> u32 {
        self.rr_timeslice_ticks
    }

    /// True when no real-time task is runnable.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        (self.bitmap[0] | self.bitmap[1]) == 0
    }

    /// The most important priority with a runnable task; 128 when there is
    /// none, which is behind every priority.
    #[inline(always)]
    pub fn highest_prio(&self) -> i32 {
        let [high, low] = self.bitmap;
        (if high != 0 { high.leading_zeros() } else { 64 + low.leading_zeros() }) as i32
    }

    /// The task to run: head of the most important list that is not empty.
    #[inline(always)]
    pub(super) fn pick(&self) -> Option<SchedRef> {
        let [high, low] = self.bitmap;
        let prio = if high != 0 {
            high.leading_zeros()
        } else if low != 0 {
            64 + low.leading_zeros()
        } else {
            return None;
        };
        self.queue[prio as usize % LISTS].first()
    }

    #[inline(always)]
    pub(super) fn enqueue(&mut self, p: SchedRef, flags: EnqueueFlags) {
        if flags.contains(EnqueueFlags::RESTORE) && !flags.contains(EnqueueFlags::MOVE) {
            return; // `dequeue` left it in its place
        }
        let prio = p.prio() as usize;
        let list = &self.queue[prio % LISTS];
        if flags.contains(EnqueueFlags::HEAD) {
            list.add_head(p);
        } else {
            list.add_tail(p);
        }
        self.bitmap[prio / 64 % 2] |= bit(prio);
    }

    #[inline(always)]
    pub(super) fn dequeue(&mut self, p: SchedRef, flags: DequeueFlags) {
        if flags.contains(DequeueFlags::SAVE) && !flags.contains(DequeueFlags::MOVE) {
            return; // same priority afterwards: it keeps its place
        }
        let prio = p.prio() as usize;
        if self.queue[prio % LISTS].del(p) {
            self.bitmap[prio / 64 % 2] &= !bit(prio);
        }
    }

    /// Does a runnable real-time `p` displace `curr`? Only if it is strictly
    /// more important; `curr` may be of any class.
    #[inline(always)]
    pub(super) fn check_preempt(curr: SchedRef, p: SchedRef) -> Resched {
        Resched::when(p.prio() < curr.prio())
    }

    /// The running `curr` gives way to its equals.
    #[inline(always)]
    pub(super) fn yield_task(&mut self, curr: SchedRef) {
        self.requeue_tail(curr);
    }

    /// Counts a tick against the running `curr`'s round-robin slice.
    #[inline]
    pub(super) fn task_tick(&mut self, curr: SchedRef) -> Resched {
        if curr.policy() != Policy::Rr {
            return Resched::No;
        }
        let left = curr.rt.time_slice.get();
        if left > 1 {
            curr.rt.time_slice.set(left - 1);
            return Resched::No;
        }
        curr.rt.time_slice.set(self.rr_timeslice_ticks);
        if curr.rt.run_list.is_alone() {
            return Resched::No;
        }
        self.requeue_tail(curr);
        Resched::Yes
    }

    fn requeue_tail(&mut self, p: SchedRef) {
        self.queue[p.prio() as usize % LISTS].move_tail(p);
    }

    /// A queued task has come from another class. If it is not running, it may
    /// displace who is.
    pub(super) fn switched_to(curr: SchedRef, p: SchedRef) -> Resched {
        if p == curr { Resched::No } else { Self::check_preempt(curr, p) }
    }

    /// A queued task's priority has changed from `old_prio`. The running one
    /// makes room when somebody is now strictly more important.
    pub(super) fn prio_changed(&self, curr: SchedRef, p: SchedRef, old_prio: i32) -> Resched {
        if p == curr {
            Resched::when(old_prio < p.prio() && self.highest_prio() < p.prio())
        } else {
            Self::check_preempt(curr, p)
        }
    }

    /// The queued tasks, most important first; for diagnostics.
    pub fn iter(&self) -> impl Iterator<Item = SchedRef> + '_ {
        self.queue.iter().flat_map(TaskList::iter)
    }

    /// True when the bitmap and the lists agree and every task is on the list
    /// of its priority; for tests and debug builds.
    pub fn is_consistent(&self) -> bool {
        self.queue.iter().enumerate().all(|(prio, list)| {
            let marked = self.bitmap[prio / 64] & bit(prio) != 0;
            marked == list.first().is_some() && list.iter().all(|p| p.prio() as usize == prio && p.is_queued())
        })
    }
}

#[inline(always)]
fn bit(prio: usize) -> u64 {
    (1 << 63) >> (prio % 64)
}
