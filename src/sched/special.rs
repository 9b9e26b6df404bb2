#![forbid(unsafe_code)]
//! The run queue's long way: everything that is not a real-time task following a real-time task.
//!
//! The hot paths of [`Rq`] know two questions, "real-time?" and "anything special?", and come here if the
//! answers are wrong. Here all classes are equal, the clock is read, deadline budgets are kept and real-time
//! tasks may be throttled. What is to happen later is told as a time, [`Rq::next_event_ns`]; the core keeps a
//! timer at it and calls [`Rq::event`].
//!
//! Invariant: `special` is not empty whenever the stopper is ready, a deadline task runs or may run, real-time tasks
//! are throttled, or their period is to be started.
//!
//! Contexts and locks: as for [`Rq`]. Everything here needs the clock.

use super::bandwidth::{Change, RtBandwidth};
use super::class::{Class, DequeueFlags, EnqueueFlags, Resched};
use super::deadline_admit::DlRefused;
use super::deadline_rq::DlReport;
use super::entity::SchedRef;
use super::idle;
use super::rq::{Rq, Special};

impl Rq {
    #[cold]
    #[inline(never)]
    pub(super) fn pick_next_special(&mut self) -> SchedRef {
        let now = self.clock_ns();
        self.dl.put_prev(now);
        if self.special.contains(Special::STOP) {
            return self.pick_stopper();
        }
        let next = match self.dl.pick() {
            Some(next) => {
                self.dl.set_next(next, now);
                Some(next)
            }
            None if self.special.contains(Special::RT_THROTTLED) => None,
            None => self.rt.pick(),
        };
        let Some(next) = next else {
            self.update_special();
            return self.pick_next_below_rt();
        };
        if self.cfs.curr.is_some() {
            self.cfs.put_prev(self.clock_task_ns());
        }
        if !self.rt_bandwidth.is_above() {
            self.rt_bandwidth.begin(now);
        }
        if next.is_rt() && self.special.contains(Special::RT_PERIOD_OFF) {
            self.rt_bandwidth.start(now);
            self.special -= Special::RT_PERIOD_OFF;
        }
        self.curr = next;
        self.update_special();
        next
    }

    #[inline(never)]
    pub(super) fn enqueue_not_rt(&mut self, p: SchedRef, flags: EnqueueFlags) {
        if p.is_above_rt() {
            self.enqueue_above_rt(p, flags);
        } else {
            self.cfs.enqueue(p, flags, self.clock_task_ns());
        }
    }

    #[inline(always)]
    fn enqueue_above_rt(&mut self, p: SchedRef, flags: EnqueueFlags) {
        if p.is_deadline() {
            self.dl.enqueue(p, flags, self.clock_ns());
            self.update_special();
        } else {
            self.stop = p;
            self.special |= Special::STOP;
        }
    }

    /// Does `p`, a deadline task or the stopper, displace `curr`?
    #[inline(always)]
    pub(super) fn check_preempt_above_rt(&self, curr: SchedRef, p: SchedRef) -> Resched {
        if p.is_deadline() { self.dl.check_preempt(curr, p) } else { Resched::when(p != curr) }
    }

    /// The stopper runs. What it takes is not counted as real-time tasks'.
    #[cold]
    #[inline(never)]
    fn pick_stopper(&mut self) -> SchedRef {
        if self.cfs.curr.is_some() {
            self.cfs.put_prev(self.clock_task_ns());
        }
        if self.rt_bandwidth.is_above() {
            self.rt_bandwidth.end(self.clock_ns());
        }
        self.curr = self.stop;
        self.update_special();
        self.stop
    }

    #[inline(never)]
    pub(super) fn dequeue_not_rt(&mut self, p: SchedRef, flags: DequeueFlags) {
        match p.class() {
            Class::Deadline => {
                self.dl.dequeue(p, flags, self.clock_ns());
                self.update_special();
            }
            Class::Stop => self.special -= Special::STOP,
            Class::Idle => idle::dequeue(p),
            _ => self.cfs.dequeue(p, flags, self.clock_task_ns()),
        }
    }

    /// Brings [`Special::DEADLINE`] up to date.
    pub(super) fn update_special(&mut self) {
        self.special.set(Special::DEADLINE, !self.dl.is_idle());
    }

    /// The running task, of this class, is taken out of it for a moment.
    pub(super) fn stop_running(&mut self, class: Class) {
        match class {
            Class::Deadline => self.dl.put_prev(self.clock_ns()),
            Class::Fair => self.cfs.put_prev(self.clock_task_ns()),
            _ => {}
        }
        if class <= Class::Rt {
            self.rt_bandwidth.end(self.clock_ns());
        }
    }

    /// ... and is in its class, maybe another one, again.
    pub(super) fn start_running(&mut self, p: SchedRef) {
        match p.class() {
            Class::Deadline => self.dl.set_next(p, self.clock_ns()),
            Class::Fair => self.cfs.set_next(p, self.clock_task_ns()),
            _ => {}
        }
        if p.class() <= Class::Rt {
            self.rt_bandwidth.begin(self.clock_ns());
        }
    }

    /// `p`, in no queue, has left `old` for another class.
    pub(super) fn switched_class(&mut self, p: SchedRef, old: Class) {
        if old == Class::Deadline {
            self.dl.leave(p);
        }
        // Made, or last woken, under a class that does not fill it.
        if p.is_rt() && p.rt.time_slice.get() == 0 {
            p.rt.time_slice.set(self.rt.rr_timeslice_ticks());
        }
    }

    /// The running `p` has come to the real-time class, from above or from below: is somebody more important, or
    /// is the class held back? (Linux looks on several CPUs only.)
    pub(super) fn loses_to_another(&self, p: SchedRef) -> Resched {
        Resched::when(
            self.dl.pick().is_some()
                || self.special.contains(Special::RT_THROTTLED)
                || self.rt.highest_prio() < p.prio(),
        )
    }

    /// `p`, a deadline task, gives its reservation back.
    pub(super) fn release_reservation(&mut self, p: SchedRef) {
        if self.dl.curr() == Some(p) {
            // Charged up to now; whether it has to make room is asked when it is in its new class.
            let _ = self.dl.task_tick(self.clock_ns());
        }
        self.dl_bandwidth.release(p, self.clock_ns());
    }

    /// Sets what real-time tasks may have of the CPU, and with it what deadline tasks may reserve. A runtime
    /// of 0 is no limit. Trusted: runtime <= period, period > 0.
    ///
    /// # Errors
    /// [`DlRefused`] if deadline tasks have reserved more.
    pub fn set_rt_bandwidth(&mut self, runtime_ns: u64, period_ns: u64) -> Result<Resched, DlRefused> {
        let now = self.clock_ns();
        self.dl_bandwidth.set_limit(RtBandwidth::ratio(runtime_ns, period_ns), now)?;
        self.rt_bandwidth.set(runtime_ns, period_ns);
        let was_throttled = self.special.contains(Special::RT_THROTTLED);
        self.special -= Special::RT_THROTTLED | Special::RT_PERIOD_OFF;
        if self.rt_bandwidth.is_enabled() {
            if self.rt_bandwidth.is_above() {
                self.rt_bandwidth.start(now);
            } else {
                self.special |= Special::RT_PERIOD_OFF;
            }
        }
        Ok(Resched::when(was_throttled && self.rt.highest_prio() < self.curr.prio()))
    }

    /// Sets what deadline tasks may reserve of the CPU, and no limit for real-time ones. Trusted: as above.
    ///
    /// # Errors
    /// [`DlRefused`] if deadline tasks have reserved more.
    pub fn set_dl_limit(&mut self, runtime_ns: u64, period_ns: u64) -> Result<Resched, DlRefused> {
        let now = self.clock_ns();
        self.dl_bandwidth.set_limit(RtBandwidth::ratio(runtime_ns, period_ns), now)?;
        Ok(Resched::No)
    }

    /// When [`Self::event`] is to be called; `u64::MAX` for not at all.
    pub fn next_event_ns(&self) -> u64 {
        self.dl.next_event_ns().min(self.rt_bandwidth.next_event_ns())
    }

    /// A time told by [`Self::next_event_ns`] has come: budgets end and begin.
    pub fn event(&mut self) -> Resched {
        let now = self.clock_ns();
        let mut decision = self.dl.event(self.curr, now);
        match self.rt_bandwidth.event(now, !self.rt.is_empty()) {
            Change::Nothing => {}
            Change::Throttled => {
                self.special |= Special::RT_THROTTLED;
                if self.curr.is_rt() {
                    decision = Resched::Yes;
                }
            }
            Change::Unthrottled => {
                self.special -= Special::RT_THROTTLED;
                if self.rt.highest_prio() < self.curr.prio() {
                    decision = Resched::Yes;
                }
            }
            Change::Stopped => {
                self.special -= Special::RT_THROTTLED;
                self.special |= Special::RT_PERIOD_OFF;
            }
        }
        self.update_special();
        decision
    }

    /// What people are to be told about deadline tasks, once.
    pub fn take_dl_report(&mut self) -> Option<DlReport> {
        self.dl.take_report()
    }
}
