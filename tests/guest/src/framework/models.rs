//! In which models of preemption a test applies.
//!
//! There are four models (`preempt=`) and two styles (`preempt_style=`): eight worlds, one bit each. A test that says
//! nothing runs in all of them.

use stint::bootargs::{Bootargs, PreemptModel, PreemptStyle};

/// A set of worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Models(u8);

/// Every one.
pub const ALL: Models = Models(0xff);
/// None.
pub const NOWHERE: Models = Models(0);
/// Kernel code runs until it sleeps or comes to a scheduling point: `none` and `voluntary`.
pub const INERT: Models = Models(0x33);
/// `voluntary`.
pub const VOLUNTARY: Models = Models(0x22);
/// Kernel code is preempted: `full` and `rt`.
pub const PREEMPTED: Models = Models(0xcc);
/// `rt`.
pub const RT: Models = Models(0x88);
/// All but `rt`: softirqs and handlers of interrupts are no threads.
pub const NOT_RT: Models = Models(0x77);
/// Sections count and poll: the usual style.
pub const COUNT: Models = Models(0x0f);
/// Sections mask and do not poll.
pub const EVENT: Models = Models(0xf0);
/// `SpinLock` spins.
pub const SPINNING: Models = Models(0x07);
/// `SpinLock` sleeps.
pub const SLEEPING: Models = Models(0xf8);
/// `SpinLock` spins and kernel code is preempted: `full` in the usual style.
pub const PREEMPTED_SPINNING: Models = Models(0x04);

/// All but the event-driven style without `rt`: there a `SpinLock` sleeps and a softirq must not.
pub const BH_LOCKS: Models = Models(0x8f);

/// Why not where kernel code is not preempted.
pub const HELD_TO_A_BUDGET: &str =
    "a task that uses the CPU is held to its budget, or makes room, by preemption";
/// Why not in the event-driven style.
pub const SLEEPS_WITH_BH_OFF: &str =
    "SpinLock sleeps in this style, and data shared with a softirq is for SpinLockIrqSave";

/// For the many tests that need it: why one is about a kernel that is preempted.
pub const AT_ONCE: &str = "a task that is woken or started is expected to run at once; in this model it waits for a scheduling point";

/// For the tests that hold preemption off while they make several tasks: why not where memory's locks sleep.
pub const MAKES_TASKS_IN_ATOMIC: &str =
    "it makes tasks with preemption off, and making one takes locks that sleep in this model";

/// Both of these.
pub const AT_ONCE_AND_MAKES_TASKS_IN_ATOMIC: &str =
    "it makes tasks with preemption off and expects them to run when it is on again";

impl Models {
    /// The world of this boot.
    #[must_use]
    pub fn of(bootargs: &Bootargs<'_>) -> Self {
        let model = match bootargs.preempt {
            PreemptModel::None => 0,
            PreemptModel::Voluntary => 1,
            PreemptModel::Full => 2,
            PreemptModel::Rt => 3,
        };
        let style = match bootargs.preempt_style {
            PreemptStyle::Count => 0,
            PreemptStyle::Event => 4,
        };
        Self(1 << (model + style))
    }

    /// Whether all worlds of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The boot arguments of a world of the set: of the usual one, if it is there.
    #[must_use]
    pub fn bootargs(self) -> &'static str {
        const ARGUMENTS: [&str; 8] = [
            "preempt=none",
            "preempt=voluntary",
            "",
            "preempt=rt",
            "preempt=none preempt_style=event",
            "preempt=voluntary preempt_style=event",
            "preempt_style=event",
            "preempt=rt preempt_style=event",
        ];
        let usual = if self.contains(Self(0x04)) { 2 } else { self.0.trailing_zeros() as usize };
        ARGUMENTS[usual % ARGUMENTS.len()]
    }
}
