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
use super::prio::Policy;
use super::prio_array::PrioArray;

/// A round-robin slice, in milliseconds.
const RR_TIMESLICE_MS: u32 = 100;

/// The real-time part of a run queue.
#[derive(Debug)]
#[repr(C)]
pub struct RtRq {
    active: PrioArray,
    /// Set once, before the run queue is used.
    pub(super) rr_timeslice_ticks: u32,
}

impl RtRq {
    pub(super) const fn new() -> Self {
        Self { active: PrioArray::new(), rr_timeslice_ticks: 1 }
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
        self.active.is_empty()
    }

    /// The most important priority with a runnable task; 128 when there is
    /// none, which is behind every priority.
    #[inline(always)]
    pub fn highest_prio(&self) -> i32 {
        self.active.highest_prio()
    }

    /// The task to run: head of the most important list that is not empty.
    #[inline(always)]
    pub(super) fn pick(&self) -> Option<SchedRef> {
        self.active.first()
    }

    #[inline(always)]
    pub(super) fn enqueue(&mut self, p: SchedRef, flags: EnqueueFlags) {
        if flags.contains(EnqueueFlags::RESTORE) && !flags.contains(EnqueueFlags::MOVE) {
            return; // `dequeue` left it in its place
        }
        if flags.contains(EnqueueFlags::HEAD) {
            self.active.add_head(p);
        } else {
            self.active.add_tail(p);
        }
    }

    #[inline(always)]
    pub(super) fn dequeue(&mut self, p: SchedRef, flags: DequeueFlags) {
        if flags.contains(DequeueFlags::SAVE) && !flags.contains(DequeueFlags::MOVE) {
            return; // same priority afterwards: it keeps its place
        }
        self.active.del(p);
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
        self.active.move_tail(curr);
    }

    /// [`Self::yield_task`] where `curr` is the first of its equals; returns who is then. Otherwise it does nothing.
    #[inline(always)]
    pub(super) fn turn(&mut self, curr: SchedRef) -> Option<SchedRef> {
        self.active.turn(curr)
    }

    /// The queued `p` goes in front of its equals.
    pub(super) fn requeue_head(&mut self, p: SchedRef) {
        self.active.del(p);
        self.active.add_head(p);
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
        self.active.move_tail(curr);
        Resched::Yes
    }

    /// The priority of a queued task has changed. The running one makes room
    /// when somebody is now strictly more important than it.
    pub(super) fn prio_changed(&self, curr: SchedRef, p: SchedRef) -> Resched {
        if p == curr { Resched::when(self.highest_prio() < p.prio()) } else { Self::check_preempt(curr, p) }
    }

    /// The queued tasks, most important first; for diagnostics.
    pub fn iter(&self) -> impl Iterator<Item = SchedRef> + '_ {
        self.active.iter()
    }

    /// True when bitmap, lists and priorities agree; for tests and debug
    /// builds. Walks everything.
    pub fn is_consistent(&self) -> bool {
        self.active.is_consistent() && self.active.iter().all(|p| p.is_queued())
    }
}
