//! What can go wrong, as values.

use core::fmt;

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
    /// Waiting for it would never end: the caller holds it, or waits for itself.
    Deadlock,
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
            Self::BadAffinity => write!(f, "no CPU of the set is online"),
            Self::BadIrq { irq } => write!(f, "there is no interrupt {irq}"),
            Self::NeedsOneshot { irq } => {
                write!(f, "interrupt {irq}: a thread without a primary handler needs ONESHOT")
            }
            Self::NotDisabled { irq } => write!(f, "interrupt {irq} is enabled and was not disabled before"),
            Self::Deadlock => write!(f, "would wait for itself"),
        }
    }
}

impl core::error::Error for Error {}
