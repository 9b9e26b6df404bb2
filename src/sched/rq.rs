#![forbid(unsafe_code)]
//! The run queue of one CPU: everything runnable there, and who runs.
//!
//! The core's only door to the classes. It calls in with the run-queue lock
//! held and IRQs off, gets decisions back as values, and does the rest (flags,
//! switch, IPIs) itself; nothing in here knows a global, a clock or a CPU.
//!
//! **The clock is lazy.** Only the fair and the deadline class look at it. The
//! core brings it up to date, with [`Rq::update_clock`], before any call that
//! concerns a task of theirs: enqueueing or dequeueing one, a tick or yield
//! while one runs, and a pick when [`Rq::needs_clock`]. Real-time paths never
//! read a clock.
//!
//! **One word for all that is rare.** [`Special`] says that there is a deadline
//! task, or that real-time tasks are throttled: the hot paths test it once and
//! leave for `special`, which does the same in general.
//!
//! Invariants: `curr` is the task that runs, or will when the current switch
//! is complete; the tasks with `on_rq() == Queued` are exactly `curr` (unless
//! it is idle) and those in the classes' queues; a running real-time task is
//! in its queue, a running fair one is not in the timeline.
//!
//! Contexts: task and hard IRQ, under the run-queue lock, IRQs off.

use super::bandwidth::RtBandwidth;
use super::class::{Class, DequeueFlags, EnqueueFlags, Resched, WakeFlags};
use super::deadline_admit::DlBandwidth;
use super::deadline_rq::DlRq;
use super::entity::{OnRq, SchedRef};
use super::fair::CfsRq;
use super::idle;
use super::prio::Policy;
use super::rt::RtRq;
use super::smp::RqSmp;
use super::tunables::Tunables;
use bitflags::bitflags;

/// A CPU's run queue.
#[repr(C)]
pub struct Rq {
    // First, so that a list head is one indexed load away.
    pub(super) rt: RtRq,
    pub(super) curr: SchedRef,
    pub(super) idle: SchedRef,
    /// The stopper, where `special` says that it is ready.
    pub(super) stop: SchedRef,
    pub(super) special: Special,
    clock_ns: u64,
    clock_task_ns: u64,
    pub(super) rt_bandwidth: RtBandwidth,
    pub(super) cfs: CfsRq,
    pub(super) dl: DlRq,
    pub(super) dl_bandwidth: DlBandwidth,
    pub(super) smp: RqSmp,
}

bitflags! {
    /// Why a pick, or a switch to a woken task, cannot take the short way.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Special: u64 {
        /// A deadline task runs or may run.
        const DEADLINE = 0x01;
        /// Real-time tasks are held back.
        const RT_THROTTLED = 0x02;
        /// The next real-time task to run starts the throttling's period.
        const RT_PERIOD_OFF = 0x04;
        /// The stopper is ready, or runs.
        const STOP = 0x08;
        /// The tick is stopped although a task runs, or was (`nohz`).
        const TICK_STOPPED = 0x10;
        /// Others have been told of a task that they may take from here. Nothing special for who asks
        /// [`Rq::special`]; beside the others, so that [`Rq::is_quiet`] is one load.
        const PUSHABLE = 1 << 32;
    }
}

impl Default for Rq {
    fn default() -> Self {
        Self::new()
    }
}

impl Rq {
    /// An empty run queue, for a static. Not usable before [`Self::init`].
    pub const fn new() -> Self {
        Self {
            rt: RtRq::new(),
            curr: SchedRef::nobody(),
            idle: SchedRef::nobody(),
            stop: SchedRef::nobody(),
            special: Special::empty(),
            clock_ns: 0,
            clock_task_ns: 0,
            rt_bandwidth: RtBandwidth::new(),
            cfs: CfsRq::new(),
            dl: DlRq::new(),
            dl_bandwidth: DlBandwidth::new(),
            smp: RqSmp::new(),
        }
    }

    /// Gives the run queue its idle task, which is taken to be running, the
    /// tick rate, and the number of CPUs by which fair periods are scaled.
    pub fn init(&mut self, idle: SchedRef, hz: u32, cpus: u32) {
        debug_assert!(idle.class() == Class::Idle, "rq: {idle:?} is no idle task");
        self.idle = idle;
        self.curr = idle;
        self.rt.set_hz(hz);
        self.set_tunables(Tunables::for_cpus(cpus));
    }

    /// Sets the fair class's periods.
    pub fn set_tunables(&mut self, tunables: Tunables) {
        self.cfs.tunables = tunables;
    }

    /// The running task.
    #[inline(always)]
    pub fn curr(&self) -> SchedRef {
        self.curr
    }

    /// This CPU's idle task.
    #[inline(always)]
    pub fn idle(&self) -> SchedRef {
        self.idle
    }

    /// The real-time queues.
    #[inline(always)]
    pub fn rt(&self) -> &RtRq {
        &self.rt
    }

    /// The fair queue.
    #[inline(always)]
    pub fn cfs(&self) -> &CfsRq {
        &self.cfs
    }

    /// Runnable tasks, the running one included, idle not. Walks the real-time
    /// queues (their hot paths keep no count): for `ps` and tests.
    ///
    /// Deadline tasks that wait for their next budget count: they want the CPU.
    pub fn nr_running(&self) -> usize {
        let held_back = self.dl.iter_throttled().filter(|p| p.is_queued()).count();
        self.cfs.nr_running() as usize + self.rt.iter().count() + self.dl.iter().count() + held_back
    }

    /// The deadline queue.
    #[inline(always)]
    pub fn dl(&self) -> &DlRq {
        &self.dl
    }

    /// What deadline tasks have reserved.
    pub fn dl_bandwidth(&self) -> &DlBandwidth {
        &self.dl_bandwidth
    }

    /// The share of the CPU that real-time tasks may have, and what they have had of it.
    pub fn rt_bandwidth(&self) -> &RtBandwidth {
        &self.rt_bandwidth
    }

    /// What is out of the ordinary.
    #[inline(always)]
    pub fn special(&self) -> Special {
        self.special - Special::PUSHABLE
    }

    /// Time of the last [`Self::update_clock`].
    #[inline(always)]
    pub fn clock_ns(&self) -> u64 {
        self.clock_ns
    }

    /// The clock of task execution. It goes with [`Self::clock_ns`]; interrupt
    /// time is part of it.
    #[inline(always)]
    pub fn clock_task_ns(&self) -> u64 {
        self.clock_task_ns
    }

    /// Advances the clocks to `now_ns`; a step back is ignored.
    #[inline(always)]
    pub fn update_clock(&mut self, now_ns: u64) {
        let delta = now_ns.wrapping_sub(self.clock_ns);
        if delta as i64 > 0 {
            self.clock_ns = now_ns;
            self.clock_task_ns += delta;
        }
    }

    /// Must the clock be up to date for the next pick? True when a fair task
    /// stops running or starts to. To be asked after a blocking task has been
    /// dequeued. (Dequeueing a fair task needs the clock itself.)
    #[inline(always)]
    pub fn needs_clock(&self) -> bool {
        self.cfs.curr.is_some()
            || !self.special().is_empty()
            || self.rt_bandwidth.is_enabled()
            || (self.rt.is_empty() && self.cfs.nr_running != 0)
    }

    /// Makes `p` runnable. Who preempts whom is [`Self::check_preempt_curr`]'s
    /// business. Needs the clock if `p` is fair.
    #[inline(always)]
    pub fn enqueue_task(&mut self, p: SchedRef, flags: EnqueueFlags) {
        debug_assert!(!p.is_queued(), "rq: {p:?} is already queued");
        p.on_rq.set(OnRq::Queued);
        self.class_enqueue(p, flags);
    }

    /// Takes `p`, running or not, off the queue: it sleeps, exits or migrates.
    /// Needs the clock if `p` is fair.
    #[inline(always)]
    pub fn dequeue_task(&mut self, p: SchedRef, flags: DequeueFlags) {
        debug_assert!(p.is_queued(), "rq: {p:?} is not queued");
        p.on_rq.set(OnRq::No);
        self.class_dequeue(p, flags);
    }

    #[inline(always)]
    pub(super) fn class_enqueue(&mut self, p: SchedRef, flags: EnqueueFlags) {
        if p.is_rt() {
            self.rt.enqueue(p, flags);
        } else {
            self.enqueue_not_rt(p, flags);
        }
    }

    #[inline(always)]
    pub(super) fn class_dequeue(&mut self, p: SchedRef, flags: DequeueFlags) {
        if p.is_rt() {
            self.rt.dequeue(p, flags);
        } else {
            self.dequeue_not_rt(p, flags);
        }
    }

    /// Chooses the task to run, makes it `curr`, and returns it. `prev` is the
    /// one that runs now, dequeued before if it goes to sleep.
    /// Needs the clock when [`Self::needs_clock`].
    #[inline(always)]
    pub fn pick_next_task(&mut self, prev: SchedRef) -> SchedRef {
        debug_assert!(prev == self.curr, "rq: {prev:?} is not running, {:?} is", self.curr);
        if !self.special().is_empty() {
            return self.pick_next_special();
        }
        if let Some(next) = self.rt.pick() {
            self.set_next_rt(prev, next, |rq| rq.clock_ns);
            return next;
        }
        self.pick_next_below_rt()
    }

    #[inline(never)]
    pub(super) fn pick_next_below_rt(&mut self) -> SchedRef {
        self.rt_bandwidth.end(self.clock_ns);
        let next = if self.cfs.nr_running == 0 && self.cfs.curr.is_none() {
            self.idle
        } else {
            self.cfs.pick_next(self.clock_task_ns).unwrap_or(self.idle)
        };
        self.curr = next;
        next
    }

    /// Checkpoint: `p` has become runnable here. Should `curr` make room?
    /// Needs the clock if both are fair.
    #[inline(always)]
    pub fn check_preempt_curr(&mut self, p: SchedRef, flags: WakeFlags) -> Resched {
        let curr = self.curr;
        if p.is_rt() {
            // One compare covers the classes below as well.
            return RtRq::check_preempt(curr, p);
        }
        self.check_preempt_not_rt(curr, p, flags)
    }

    /// Wakes `p` up: makes it runnable, and says whether `curr` should make
    /// room. The same as `enqueue_task` with `WAKEUP` and `check_preempt_curr`,
    /// in fewer instructions for a real-time task, which this is about.
    /// Needs the clock if `p` is fair.
    #[inline(always)]
    pub fn wake_up_task(&mut self, p: SchedRef, flags: WakeFlags) -> Resched {
        debug_assert!(!p.is_queued(), "rq: {p:?} is already queued");
        if p.is_rt() {
            p.on_rq.set(OnRq::Queued);
            self.rt.enqueue(p, EnqueueFlags::WAKEUP);
            RtRq::check_preempt(self.curr, p)
        } else {
            self.wake_up_not_rt(p, flags)
        }
    }

    #[inline(never)]
    fn wake_up_not_rt(&mut self, p: SchedRef, flags: WakeFlags) -> Resched {
        p.on_rq.set(OnRq::Queued);
        self.enqueue_not_rt(p, EnqueueFlags::WAKEUP);
        self.check_preempt_not_rt(self.curr, p, flags)
    }

    #[inline(never)]
    pub(super) fn check_preempt_not_rt(&mut self, curr: SchedRef, p: SchedRef, flags: WakeFlags) -> Resched {
        if p.is_above_rt() {
            return self.check_preempt_above_rt(curr, p);
        }
        match curr.class() {
            Class::Stop | Class::Deadline | Class::Rt => Resched::No,
            // They will have to take turns.
            Class::Fair if self.special.contains(Special::TICK_STOPPED) => Resched::Yes,
            Class::Fair => self.cfs.check_preempt_wakeup(curr, p, flags, self.clock_task_ns),
            Class::Idle => idle::check_preempt(),
        }
    }

    /// Checkpoint: the periodic tick. Needs the clock if `curr` is fair.
    #[inline(never)]
    pub fn task_tick(&mut self) -> Resched {
        match self.curr.class() {
            Class::Stop => Resched::No,
            Class::Deadline => self.dl.task_tick(self.clock_ns),
            Class::Rt => self.rt.task_tick(self.curr),
            Class::Fair => self.cfs.task_tick(self.clock_task_ns),
            Class::Idle => idle::task_tick(),
        }
    }

    /// The running task yields; the core then schedules, whatever comes of it.
    /// Needs the clock if `curr` is fair.
    #[inline(never)]
    pub fn yield_task(&mut self) {
        let curr = self.curr;
        match curr.class() {
            Class::Deadline => self.dl.yield_task(curr, self.clock_ns),
            Class::Rt => self.rt.yield_task(curr),
            Class::Fair => {
                let is_alone = self.cfs.nr_running() == 1 && self.rt.is_empty();
                if !is_alone {
                    self.cfs.yield_task(curr, self.clock_task_ns);
                }
            }
            Class::Stop | Class::Idle => {}
        }
    }

    /// Prepares a new task, after `init` or `inherit` and before its first
    /// wake-up: a full slice, and a start in virtual time beside the running
    /// task. Needs the clock if `curr` is fair.
    pub fn task_fork(&mut self, p: SchedRef) -> Resched {
        p.rt.time_slice.set(self.rt.rr_timeslice_ticks());
        if p.is_fair() { Resched::when(self.cfs.task_fork(p, self.clock_task_ns)) } else { Resched::No }
    }

    /// First wake-up of a new task. Needs the clock if `p` is fair.
    pub fn wake_up_new_task(&mut self, p: SchedRef) -> Resched {
        debug_assert!(p.is_new.get(), "rq: {p:?} has been woken before");
        p.is_new.set(false);
        self.enqueue_task(p, EnqueueFlags::empty());
        self.check_preempt_curr(p, WakeFlags::FORK)
    }

    /// The length of `p`'s turn, as `sched_rr_get_interval` tells it: by the
    /// policy and, for a fair task, by the present load.
    pub fn rr_interval(&mut self, p: SchedRef) -> Interval {
        match p.policy() {
            Policy::Fifo | Policy::Deadline => Interval::Unlimited,
            Policy::Rr => Interval::Ticks(self.rt.rr_timeslice_ticks()),
            _ if self.cfs.load.weight() == 0 => Interval::Ns(0),
            _ => Interval::Ns(self.cfs.sched_slice(p)),
        }
    }
}

/// The length of a task's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// It runs until it gives up the CPU, or its budget is used up. Linux says 0.
    Unlimited,
    /// In ticks.
    Ticks(u32),
    /// In nanoseconds, at the present load.
    Ns(u64),
}
