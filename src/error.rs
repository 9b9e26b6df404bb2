//! What can go wrong, as values.

use core::fmt;

use crate::sched::deadline_admit::DlRefused;
use crate::sched::prio::{DL_PERIOD_MAX_NS, DL_PERIOD_MIN_NS, DL_RUNTIME_MIN_NS, PrioError};

/// The kernel's error type: every failing call says which of these, and the numbered ones say the value.
/// Eight bytes: it comes back in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No memory for an object of this many bytes.
    NoMemory {
        /// What was asked for.
        bytes: u32,
    },
    /// A real-time priority outside 1..=99.
    BadPriority {
        /// What was asked for.
        priority: i32,
    },
    /// A nice level outside −20..=19.
    BadNice {
        /// What was asked for.
        nice: i32,
    },
    /// A stack size outside the allowed range.
    BadStackSize {
        /// What was asked for.
        bytes: u32,
    },
    /// The call would have to wait and was told not to.
    WouldBlock,
    /// The time ran out first.
    TimedOut,
    /// A counter, a semaphore or a queue is at its limit.
    Full,
    /// The object is in use in a way that forbids the call.
    Busy,
    /// The CPU set contains no CPU that is online.
    BadAffinity,
    /// A deadline task would be allowed on some CPUs and not on others.
    DeadlineAffinity,
    /// A CPU that does not schedule tasks.
    CpuOffline {
        /// Its logical number.
        cpu: u32,
    },
    /// An interrupt number the controller does not have.
    BadIrq {
        /// What was asked for.
        irq: u32,
    },
    /// A threaded interrupt without a handler of its own must hold the line back until the thread is done.
    NeedsOneshot {
        /// The interrupt.
        irq: u32,
    },
    /// An interrupt was enabled more often than it was disabled.
    NotDisabled {
        /// The interrupt.
        irq: u32,
    },
    /// A timer's period, so short that it would take the whole CPU.
    BadTimerPeriod {
        /// What was asked for, in nanoseconds.
        ns: u32,
    },
    /// Waiting for it would never end: the caller holds it, or waits for itself.
    Deadlock,
    /// A deadline task's runtime that is too short, or longer than its deadline.
    BadRuntime {
        /// What was asked for.
        ns: u32,
    },
    /// A relative deadline that is longer than the period.
    BadDeadline {
        /// What was asked for.
        ns: u32,
    },
    /// A deadline task's period outside the allowed range.
    BadPeriod {
        /// What was asked for.
        ns: u32,
    },
    /// A reservation that does not fit. In hundredths of a percent of the CPU.
    NoBandwidth {
        /// What was asked for.
        asked: u16,
        /// What the others have.
        in_use: u16,
        /// What all together may have.
        limit: u16,
    },
}

/// A result of the kernel.
pub type Result<T, E = Error> = core::result::Result<T, E>;

const _: () = assert!(size_of::<Result<()>>() == 8);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoMemory { bytes } => write!(f, "no memory for {bytes} bytes"),
            Self::BadPriority { priority } => {
                write!(f, "real-time priority {priority} is not in 1..=99")
            }
            Self::BadNice { nice } => write!(f, "nice {nice} is not in -20..=19"),
            Self::BadStackSize { bytes } => {
                write!(f, "a stack of {bytes} bytes is not between 4096 and 65536")
            }
            Self::WouldBlock => write!(f, "would have to wait"),
            Self::TimedOut => write!(f, "timed out"),
            Self::Full => write!(f, "full"),
            Self::Busy => write!(f, "in use"),
            Self::BadAffinity => write!(f, "no CPU of the set is online; {} are", crate::smp::online()),
            Self::DeadlineAffinity => write!(
                f,
                "a deadline task may run on all CPUs, {}, or on one of them, and not on some",
                crate::smp::online()
            ),
            Self::CpuOffline { cpu } => write!(f, "CPU {cpu} is not online; {} are", crate::smp::online()),
            Self::BadIrq { irq } => write!(f, "there is no interrupt {irq}"),
            Self::NeedsOneshot { irq } => {
                write!(f, "interrupt {irq}: a thread without a primary handler needs ONESHOT")
            }
            Self::NotDisabled { irq } => write!(f, "interrupt {irq} is enabled and was not disabled before"),
            Self::BadTimerPeriod { ns } => write!(f, "a timer period of {ns} ns is below 1000 ns"),
            Self::Deadlock => write!(f, "would wait for itself"),
            Self::BadRuntime { ns } => {
                write!(f, "a runtime of {ns} ns is not between {DL_RUNTIME_MIN_NS} ns and the deadline")
            }
            Self::BadDeadline { ns } => {
                write!(f, "a deadline of {ns} ns is not between the runtime and the period")
            }
            Self::BadPeriod { ns } => {
                write!(f, "a period of {ns} ns is not between {DL_PERIOD_MIN_NS} and {DL_PERIOD_MAX_NS} ns")
            }
            Self::NoBandwidth { asked, in_use, limit } => write!(
                f,
                "{} of the CPU cannot be reserved: {} is, and {} is the limit",
                Hundredths(asked),
                Hundredths(in_use),
                Hundredths(limit)
            ),
        }
    }
}

/// 9500 is 95 %.
struct Hundredths(u16);

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 100, self.0 % 100)
    }
}

impl From<PrioError> for Error {
    fn from(error: PrioError) -> Self {
        let ns = |ns: u64| u32::try_from(ns).unwrap_or(u32::MAX);
        match error {
            PrioError::Nice(nice) => Self::BadNice { nice },
            PrioError::RtPriority(n) | PrioError::RtPriorityOfFair(n) => {
                Self::BadPriority { priority: i32::try_from(n).unwrap_or(i32::MAX) }
            }
            PrioError::DlRuntime(runtime) => Self::BadRuntime { ns: ns(runtime) },
            PrioError::DlDeadline { runtime_ns, .. } => Self::BadRuntime { ns: ns(runtime_ns) },
            PrioError::DlDeadlineBehindPeriod { deadline_ns, .. } => {
                Self::BadDeadline { ns: ns(deadline_ns) }
            }
            PrioError::DlPeriod(period) => Self::BadPeriod { ns: ns(period) },
            PrioError::Policy(_) | PrioError::DeadlineWithoutTimes => Self::BadPeriod { ns: 0 },
        }
    }
}

impl From<DlRefused> for Error {
    fn from(refused: DlRefused) -> Self {
        let hundredths = DlRefused::hundredths_of_percent;
        Self::NoBandwidth {
            asked: hundredths(refused.asked),
            in_use: hundredths(refused.in_use),
            limit: hundredths(refused.limit),
        }
    }
}

impl core::error::Error for Error {}
