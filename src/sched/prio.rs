#![forbid(unsafe_code)]
//! Priorities, nice values, policies and the weights that go with them.
//!
//! One number orders everything: the *kernel priority*, 0 the most important.
//! Real-time tasks are 0..=98 (`99 - rt_priority`, users say 1..=99), fair ones
//! 100..=139 (`120 + nice`), the idle task 140, and deadline tasks all have -1:
//! among themselves their deadlines decide. The scheduling class of a task
//! is a range of this number, so that comparing two priorities also compares
//! the classes.
//!
//! Everything a user can get wrong about a priority is found here, by
//! [`SchedAttr`]'s constructors; behind them the numbers are trusted.
//!
//! Contexts: any. Locks: none (constants and values).

use core::fmt;

use super::deadline::DlParams;

/// Kernel priority of the stopper of a CPU.
pub const STOP_PRIO: i32 = -2;
/// Kernel priority of every deadline task.
pub const MAX_DL_PRIO: i32 = -1;
/// First kernel priority that is not real-time.
pub const MAX_RT_PRIO: i32 = 100;
/// First kernel priority behind all tasks: that of the idle task.
pub const MAX_PRIO: i32 = 140;
/// Kernel priority of nice 0.
pub const DEFAULT_PRIO: i32 = 120;
/// The most favourable nice value.
pub const MIN_NICE: i32 = -20;
/// The least favourable nice value.
pub const MAX_NICE: i32 = 19;
/// The highest real-time priority a user can ask for.
pub const MAX_USER_RT_PRIO: u32 = 99;

/// Weight of a task under [`Policy::Idle`].
pub const WEIGHT_IDLEPRIO: u64 = 3;
/// Inverse of [`WEIGHT_IDLEPRIO`]: 2^32 / 3.
pub const WMULT_IDLEPRIO: u32 = 1_431_655_765;

/// Share of the CPU by nice value, -20 first: each step is about 1.25, so one
/// nice level is about 10 % of the CPU between two tasks.
#[rustfmt::skip]
pub const SCHED_PRIO_TO_WEIGHT: [u64; 40] = [
    /* -20 */ 88761, 71755, 56483, 46273, 36291,
    /* -15 */ 29154, 23254, 18705, 14949, 11916,
    /* -10 */ 9548, 7620, 6100, 4904, 3906,
    /*  -5 */ 3121, 2501, 1991, 1586, 1277,
    /*   0 */ 1024, 820, 655, 526, 423,
    /*   5 */ 335, 272, 215, 172, 137,
    /*  10 */ 110, 87, 70, 56, 45,
    /*  15 */ 36, 29, 23, 18, 15,
];

/// 2^32 / weight, so that a division becomes a multiplication. Not uniformly
/// rounded (nice 13, 14, 16 and 17 are one lower than rounding gives): the
/// values are part of the behaviour and are not to be recomputed.
#[rustfmt::skip]
pub const SCHED_PRIO_TO_WMULT: [u32; 40] = [
    /* -20 */ 48388, 59856, 76040, 92818, 118348,
    /* -15 */ 147320, 184698, 229616, 287308, 360437,
    /* -10 */ 449829, 563644, 704093, 875809, 1099582,
    /*  -5 */ 1376151, 1717300, 2157191, 2708050, 3363326,
    /*   0 */ 4194304, 5237765, 6557202, 8165337, 10153587,
    /*   5 */ 12820798, 15790321, 19976592, 24970740, 31350126,
    /*  10 */ 39045157, 49367440, 61356676, 76695844, 95443717,
    /*  15 */ 119304647, 148102320, 186737708, 238609294, 286331153,
];

/// The shortest runtime of a deadline task: below, the arithmetic of its budget would round to nothing.
pub const DL_RUNTIME_MIN_NS: u64 = 1 << 10;
/// The shortest period of a deadline task: below, its timer alone would keep the CPU busy.
pub const DL_PERIOD_MIN_NS: u64 = 100_000;
/// The longest period of a deadline task: 2^22 us.
pub const DL_PERIOD_MAX_NS: u64 = (1 << 22) * 1000;

/// Kernel priority of a nice value.
#[inline(always)]
pub const fn nice_to_prio(nice: i32) -> i32 {
    DEFAULT_PRIO + nice
}

/// Nice value of a fair kernel priority.
#[inline(always)]
pub const fn prio_to_nice(prio: i32) -> i32 {
    prio - DEFAULT_PRIO
}

/// Kernel priority of a user's real-time priority (1..=99).
#[inline(always)]
pub const fn rt_priority_to_prio(rt_priority: u32) -> i32 {
    MAX_RT_PRIO - 1 - rt_priority as i32
}

/// A kernel priority of the real-time class; one compare.
#[inline(always)]
pub const fn is_rt_prio(prio: i32) -> bool {
    (prio as u32) < MAX_RT_PRIO as u32
}

/// Scheduling policies, with the numbers Linux and POSIX programs know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Policy {
    /// Time sharing.
    Normal = 0,
    /// Real-time, first in first out: runs until it blocks, yields, or a more
    /// important task wants the CPU.
    Fifo = 1,
    /// Real-time, round robin among equals.
    Rr = 2,
    /// Time sharing for work that never preempts on wake-up.
    Batch = 3,
    /// Time sharing with the smallest weight there is.
    Idle = 5,
    /// So much CPU time in every period, by earliest deadline first.
    Deadline = 6,
}

impl Policy {
    /// The policy with this number.
    ///
    /// # Errors
    /// [`PrioError::Policy`] for numbers that name no policy of this kernel.
    pub const fn from_number(number: u32) -> Result<Self, PrioError> {
        match number {
            0 => Ok(Self::Normal),
            1 => Ok(Self::Fifo),
            2 => Ok(Self::Rr),
            3 => Ok(Self::Batch),
            5 => Ok(Self::Idle),
            6 => Ok(Self::Deadline),
            _ => Err(PrioError::Policy(number)),
        }
    }

    /// True for the policies of the real-time class.
    #[inline(always)]
    pub const fn is_rt(self) -> bool {
        matches!(self, Self::Fifo | Self::Rr)
    }

    /// True for the policies of the fair class, which have a nice value.
    #[inline(always)]
    pub const fn is_fair(self) -> bool {
        matches!(self, Self::Normal | Self::Batch | Self::Idle)
    }
}

/// What was wrong with a requested priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrioError {
    /// No such policy number.
    Policy(u32),
    /// Nice value outside -20..=19.
    Nice(i32),
    /// A real-time policy with a priority outside 1..=99.
    RtPriority(u32),
    /// A time-sharing policy with a real-time priority other than 0.
    RtPriorityOfFair(u32),
    /// The deadline policy without its three times.
    DeadlineWithoutTimes,
    /// A runtime too short to be kept, in ns.
    DlRuntime(u64),
    /// A runtime that does not fit in front of the deadline.
    DlDeadline {
        /// What was asked for, in ns.
        runtime_ns: u64,
        /// What was asked for, in ns.
        deadline_ns: u64,
    },
    /// A period that ends before the deadline.
    DlDeadlineBehindPeriod {
        /// What was asked for, in ns.
        deadline_ns: u64,
        /// What was asked for, in ns.
        period_ns: u64,
    },
    /// A period outside 100 us ..= 2^22 us, in ns.
    DlPeriod(u64),
}

impl fmt::Display for PrioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Policy(n) => {
                write!(
                    f,
                    "no scheduling policy {n}: use 0 (normal), 1 (fifo), 2 (rr), 3 (batch), 5 (idle) or 6 (deadline)"
                )
            }
            Self::Nice(n) => write!(f, "nice {n} is out of range: use -20..=19"),
            Self::RtPriority(n) => write!(f, "real-time priority {n} is out of range: use 1..=99"),
            Self::RtPriorityOfFair(n) => {
                write!(f, "a time-sharing policy has no real-time priority, but {n} was given: use 0")
            }
            Self::DeadlineWithoutTimes => {
                write!(
                    f,
                    "the deadline policy needs a runtime, a deadline and a period: use SchedAttr::deadline"
                )
            }
            Self::DlRuntime(ns) => {
                write!(f, "a runtime of {ns} ns is too short: use {DL_RUNTIME_MIN_NS} ns or more")
            }
            Self::DlDeadline { runtime_ns, deadline_ns } => write!(
                f,
                "a runtime of {runtime_ns} ns does not fit a deadline of {deadline_ns} ns: use a deadline of {runtime_ns} ns or more"
            ),
            Self::DlDeadlineBehindPeriod { deadline_ns, period_ns } => write!(
                f,
                "a deadline of {deadline_ns} ns is behind a period of {period_ns} ns: use a period of {deadline_ns} ns or more, or 0 for the same"
            ),
            Self::DlPeriod(ns) => {
                write!(f, "a period of {ns} ns is out of range: use {DL_PERIOD_MIN_NS}..={DL_PERIOD_MAX_NS}")
            }
        }
    }
}

impl core::error::Error for PrioError {}

/// A policy with its parameters, checked. The only way to hand a priority to
/// the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedAttr {
    /// All zero under the other policies.
    dl: DlParams,
    policy: Policy,
    rt_priority: u8,
    nice: i8,
}

const _: () = assert!(size_of::<SchedAttr>() <= 16, "a SchedAttr is passed in two registers");

impl SchedAttr {
    /// Nice 0 under [`Policy::Normal`].
    pub const NORMAL: Self = Self { dl: DlParams::NONE, policy: Policy::Normal, rt_priority: 0, nice: 0 };

    /// Checks policy and parameters. `nice` counts for the time-sharing
    /// policies, `rt_priority` (1..=99) for the real-time ones; for the others
    /// it must be 0.
    ///
    /// # Errors
    /// The [`PrioError`] that names the value in the way.
    pub const fn new(policy: Policy, rt_priority: u32, nice: i32) -> Result<Self, PrioError> {
        if nice < MIN_NICE || nice > MAX_NICE {
            return Err(PrioError::Nice(nice));
        }
        if matches!(policy, Policy::Deadline) {
            return Err(PrioError::DeadlineWithoutTimes);
        }
        if policy.is_rt() {
            if rt_priority == 0 || rt_priority > MAX_USER_RT_PRIO {
                return Err(PrioError::RtPriority(rt_priority));
            }
        } else if rt_priority != 0 {
            return Err(PrioError::RtPriorityOfFair(rt_priority));
        }
        Ok(Self { dl: DlParams::NONE, policy, rt_priority: rt_priority as u8, nice: nice as i8 })
    }

    /// [`Policy::Deadline`]: `runtime_ns` of CPU time in every `period_ns`, to be had within `deadline_ns`
    /// of its beginning. A period of 0 means one as long as the deadline.
    ///
    /// # Errors
    /// The [`PrioError`] that names the time in the way.
    pub const fn deadline(runtime_ns: u64, deadline_ns: u64, period_ns: u64) -> Result<Self, PrioError> {
        match DlParams::new(runtime_ns, deadline_ns, period_ns) {
            Ok(dl) => Ok(Self { dl, policy: Policy::Deadline, rt_priority: 0, nice: 0 }),
            Err(error) => Err(error),
        }
    }

    /// As it is known of a task: trusted.
    pub(super) const fn known(policy: Policy, rt_priority: u8, nice: i32, dl: DlParams) -> Self {
        Self { dl, policy, rt_priority, nice: nice as i8 }
    }

    /// [`Policy::Fifo`] at 1..=99.
    ///
    /// # Errors
    /// [`PrioError::RtPriority`].
    pub const fn fifo(rt_priority: u32) -> Result<Self, PrioError> {
        Self::new(Policy::Fifo, rt_priority, 0)
    }

    /// [`Policy::Rr`] at 1..=99.
    ///
    /// # Errors
    /// [`PrioError::RtPriority`].
    pub const fn rr(rt_priority: u32) -> Result<Self, PrioError> {
        Self::new(Policy::Rr, rt_priority, 0)
    }

    /// [`Policy::Normal`] at a nice value.
    ///
    /// # Errors
    /// [`PrioError::Nice`].
    pub const fn normal(nice: i32) -> Result<Self, PrioError> {
        Self::new(Policy::Normal, 0, nice)
    }

    /// The policy.
    #[inline(always)]
    pub const fn policy(self) -> Policy {
        self.policy
    }

    /// The user's real-time priority: 1..=99, or 0 under a fair policy.
    #[inline(always)]
    pub const fn rt_priority(self) -> u8 {
        self.rt_priority
    }

    /// The nice value (without effect under a real-time policy).
    #[inline(always)]
    pub const fn nice(self) -> i32 {
        self.nice as i32
    }

    /// Runtime, deadline and period; all zero under the other policies.
    #[inline(always)]
    pub const fn dl(self) -> DlParams {
        self.dl
    }

    /// The kernel priority these parameters give, without any inheritance.
    #[inline(always)]
    pub const fn normal_prio(self) -> i32 {
        if self.policy.is_rt() {
            rt_priority_to_prio(self.rt_priority as u32)
        } else if matches!(self.policy, Policy::Deadline) {
            MAX_DL_PRIO
        } else {
            nice_to_prio(self.nice as i32)
        }
    }
}
