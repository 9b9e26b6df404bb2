#![forbid(unsafe_code)]
//! The scheduling classes, and the words in which they talk to the core.
//!
//! A class is a range of kernel priorities; there is no table of function
//! pointers. The run queue asks "real-time?" with one compare on its hottest
//! paths and calls the class directly, so everything inlines.
//!
//! Order: stop, deadline, rt, fair, idle. The first two are the range below 0, so
//! "real-time?" is one unsigned compare.
//!
//! Decisions are values: a class never reschedules, it answers [`Resched`].
//! Contexts: any. Locks: none.

use bitflags::bitflags;

use super::prio::{MAX_PRIO, MAX_RT_PRIO, STOP_PRIO};

/// Which set of rules a task is under, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The stopper of a CPU (`stop`), and nothing else: before everything, and never preempted.
    Stop,
    /// SCHED_DEADLINE.
    Deadline,
    /// SCHED_FIFO and SCHED_RR.
    Rt,
    /// SCHED_NORMAL, SCHED_BATCH and SCHED_IDLE.
    Fair,
    /// The idle task of a CPU, and nothing else.
    Idle,
}

impl Class {
    /// The class whose range this kernel priority is in.
    #[inline(always)]
    pub const fn of_prio(prio: i32) -> Self {
        if prio <= STOP_PRIO {
            Self::Stop
        } else if prio < 0 {
            Self::Deadline
        } else if prio < MAX_RT_PRIO {
            Self::Rt
        } else if prio < MAX_PRIO {
            Self::Fair
        } else {
            Self::Idle
        }
    }
}

/// Whether the running task has to make room. `Yes` is to be followed by
/// `resched_curr` on the run queue's CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a reschedule request that is dropped is a lost preemption"]
pub enum Resched {
    /// The running task goes on.
    No,
    /// Another task should run as soon as preemption is allowed.
    Yes,
}

impl Resched {
    /// `Yes` if `wanted`.
    #[inline(always)]
    pub const fn when(wanted: bool) -> Self {
        if wanted { Self::Yes } else { Self::No }
    }

    /// True for `Yes`.
    #[inline(always)]
    pub const fn is_yes(self) -> bool {
        matches!(self, Self::Yes)
    }
}

bitflags! {
    /// Why a task is put on the run queue.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EnqueueFlags: u32 {
        /// It was asleep.
        const WAKEUP = 0x01;
        /// It was taken off a moment ago with [`DequeueFlags::SAVE`].
        const RESTORE = 0x02;
        /// Its place in the queue is to be found anew (with `RESTORE`).
        const MOVE = 0x04;
        /// In front of its equals instead of behind them (real-time only).
        const HEAD = 0x10;
        /// It comes from another CPU.
        const MIGRATED = 0x40;
    }
}

bitflags! {
    /// Why a task is taken off the run queue.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DequeueFlags: u32 {
        /// It goes to sleep (or exits).
        const SLEEP = 0x01;
        /// It comes back at once, with changed parameters.
        const SAVE = 0x02;
        /// It gives up its place in the queue (with `SAVE`).
        const MOVE = 0x04;
    }
}

bitflags! {
    /// What kind of wake-up `check_preempt_curr` is asked about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct WakeFlags: u32 {
        /// A new task's first wake-up.
        const FORK = 0x02;
        /// The running task is already asked to reschedule, so there is
        /// nothing left to decide; only the fair class looks at this.
        const CURR_FLAGGED = 0x100;
    }
}
