//! The run queue for a caller that has not read the clock.
//!
//! Only the fair and the deadline class look at the time, and reading it costs more than a real-time pick. These are the
//! operations of [`Rq`] with the clock as a function, called when a task of theirs is concerned and not otherwise.
//! Still pure: the function is the caller's.
//!
//! Contexts and locks: as for [`Rq`].
#![forbid(unsafe_code)]

use super::class::{DequeueFlags, EnqueueFlags, Resched};
use super::entity::{OnRq, SchedRef};
use super::rq::Rq;
use super::rt::RtRq;

impl Rq {
    /// [`Rq::enqueue_task`] of a real-time task, and the answer of [`Rq::check_preempt_curr`].
    #[inline(always)]
    pub(super) fn wake_rt(&mut self, p: SchedRef) -> Resched {
        debug_assert!(p.is_rt());
        // A task that was preempted on its way into `schedule` is still queued.
        if !p.is_queued() {
            p.on_rq.set(OnRq::Queued);
            self.rt.enqueue(p, EnqueueFlags::WAKEUP);
        }
        RtRq::check_preempt(self.curr, p)
    }

    /// Makes the sleeping `p`, a real-time task of this CPU alone, ready.
    #[inline(always)]
    pub(super) fn enqueue_own_rt(&mut self, p: SchedRef) {
        debug_assert!(p.is_rt() && p.on_rq() == OnRq::No);
        p.on_rq.set(OnRq::Queued);
        self.rt.enqueue(p, EnqueueFlags::WAKEUP);
    }

    /// The same of a new one: the first half of [`Rq::wake_up_new_task`].
    #[inline(always)]
    pub(super) fn begin_own_rt(&mut self, p: SchedRef) {
        debug_assert!(p.is_new.get(), "rq: {p:?} has been woken before");
        p.is_new.set(false);
        self.enqueue_own_rt(p);
    }

    /// [`Rq::task_tick`].
    #[inline(always)]
    pub(super) fn task_tick_lazily(&mut self, now_ns: impl FnOnce() -> u64) -> Resched {
        let curr = self.curr;
        if curr.is_rt_without_turn() {
            return Resched::No;
        }
        if !curr.is_rt() {
            self.update_clock(now_ns());
        }
        self.task_tick()
    }

    /// [`Rq::dequeue_task`].
    #[inline(always)]
    pub(super) fn dequeue_task_lazily(
        &mut self,
        p: SchedRef,
        flags: DequeueFlags,
        now_ns: impl FnOnce() -> u64,
    ) {
        if !p.is_rt() {
            self.update_clock(now_ns());
        }
        self.dequeue_task(p, flags);
    }

    /// [`Rq::dequeue_task`] of a real-time task.
    #[inline(always)]
    pub(super) fn dequeue_rt(&mut self, p: SchedRef) {
        debug_assert!(p.is_rt() && p.is_queued(), "rq: {p:?} is not queued, or no real-time task");
        p.on_rq.set(OnRq::No);
        self.rt.dequeue(p, DequeueFlags::SLEEP);
    }

    /// [`Rq::pick_next_task`].
    #[inline(always)]
    pub(super) fn pick_next_task_lazily(&mut self, prev: SchedRef, now_ns: impl FnOnce() -> u64) -> SchedRef {
        debug_assert!(self.special().is_empty(), "rq: {:?} is for pick_next_special", self.special);
        match self.rt().pick() {
            Some(next) => {
                self.set_next_rt(prev, next, |_| now_ns());
                next
            }
            None => {
                self.update_clock(now_ns());
                self.pick_next_below_rt()
            }
        }
    }

    /// [`Rq::task_fork`]. With `child_runs_first` off there is nothing to reschedule for.
    #[inline(always)]
    pub(super) fn task_fork_lazily(&mut self, p: SchedRef, now_ns: impl FnOnce() -> u64) {
        if p.is_rt() {
            p.rt.time_slice.set(self.rt.rr_timeslice_ticks());
        } else {
            self.task_fork_fair(p, now_ns());
        }
    }

    #[inline(never)]
    fn task_fork_fair(&mut self, p: SchedRef, now_ns: u64) {
        self.update_clock(now_ns);
        let _ = self.task_fork(p);
    }

    /// [`Rq::yield_task`] for a running real-time task: needs no clock.
    #[inline(always)]
    pub(super) fn yield_rt(&mut self, curr: SchedRef) {
        self.rt.yield_task(curr);
    }

    /// [`Rq::yield_rt`] and the pick behind it, where nothing is special and nobody has asked for a switch: then nobody more
    /// important is ready, and next is the first of the equals. `None`, and nothing done, if `curr` is not the first of them.
    #[inline(always)]
    pub(super) fn yield_and_pick_rt(&mut self, curr: SchedRef) -> Option<SchedRef> {
        let next = self.rt.turn(curr)?;
        debug_assert!(
            self.rt.pick() == Some(next),
            "rq: nobody has asked for a switch, and {next:?} is not first"
        );
        self.curr = next;
        Some(next)
    }

    /// Makes the most important real-time task the running one in the place of `prev`, which is one, and returns it. `None`,
    /// and nothing done, if that is `prev`.
    #[inline(always)]
    pub(super) fn pick_other_rt(&mut self, prev: SchedRef) -> Option<SchedRef> {
        debug_assert!(prev == self.curr && prev.is_rt() && self.special().is_empty());
        let next = self.rt.pick().filter(|&next| next != prev)?;
        self.curr = next;
        Some(next)
    }

    /// Makes `next`, the most important queued real-time task, the running one in the place of `prev`.
    #[inline(always)]
    pub(super) fn set_next_rt(&mut self, prev: SchedRef, next: SchedRef, now_ns: impl FnOnce(&Self) -> u64) {
        debug_assert!(prev == self.curr(), "rq: {prev:?} is not running, {:?} is", self.curr());
        debug_assert!(next.is_rt() && next.is_queued());
        if !prev.is_rt() {
            let now_ns = now_ns(self);
            self.put_prev_below_rt(prev, now_ns);
        }
        self.curr = next;
    }

    #[inline(never)]
    fn put_prev_below_rt(&mut self, prev: SchedRef, now_ns: u64) {
        debug_assert!(!prev.is_deadline(), "rq: {prev:?} runs and {:?} does not say so", self.special);
        self.update_clock(now_ns);
        self.rt_bandwidth.begin(now_ns);
        if prev.is_fair() {
            self.cfs.put_prev(self.clock_task_ns());
        }
    }
}

impl SchedRef {
    /// A queued real-time task with nobody else on its level.
    #[inline(always)]
    pub(super) fn is_alone_rt(self) -> bool {
        self.is_rt() && self.rt.run_list.is_alone()
    }
}
