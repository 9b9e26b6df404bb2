//! Which events there are: their names, their groups, and sets of them.
//!
//! A kind of event has one bit in the set of those that are wanted, and belongs to one group.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

/// The kind of an [`Event`](super::event::Event).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// See [`Event`](super::event::Event), here and below.
    SchedSwitch,
    /// .
    SchedWaking,
    /// .
    SchedWakeup,
    /// .
    SchedWakeupNew,
    /// .
    SchedMigrateTask,
    /// .
    SchedPiSetprio,
    /// .
    SchedProcessFork,
    /// .
    SchedProcessExit,
    /// .
    IrqHandlerEntry,
    /// .
    IrqHandlerExit,
    /// .
    SoftirqRaise,
    /// .
    SoftirqEntry,
    /// .
    SoftirqExit,
    /// .
    IpiRaise,
    /// .
    IpiEntry,
    /// .
    IpiExit,
    /// .
    HrtimerStart,
    /// .
    HrtimerCancel,
    /// .
    HrtimerExpireEntry,
    /// .
    HrtimerExpireExit,
    /// .
    IrqDisable,
    /// .
    IrqEnable,
    /// .
    PreemptDisable,
    /// .
    PreemptEnable,
    /// .
    ContentionBegin,
    /// .
    ContentionEnd,
    /// .
    CpuIdle,
}

/// All kinds, by their numbers.
const KINDS: [Kind; 27] = [
    Kind::SchedSwitch,
    Kind::SchedWaking,
    Kind::SchedWakeup,
    Kind::SchedWakeupNew,
    Kind::SchedMigrateTask,
    Kind::SchedPiSetprio,
    Kind::SchedProcessFork,
    Kind::SchedProcessExit,
    Kind::IrqHandlerEntry,
    Kind::IrqHandlerExit,
    Kind::SoftirqRaise,
    Kind::SoftirqEntry,
    Kind::SoftirqExit,
    Kind::IpiRaise,
    Kind::IpiEntry,
    Kind::IpiExit,
    Kind::HrtimerStart,
    Kind::HrtimerCancel,
    Kind::HrtimerExpireEntry,
    Kind::HrtimerExpireExit,
    Kind::IrqDisable,
    Kind::IrqEnable,
    Kind::PreemptDisable,
    Kind::PreemptEnable,
    Kind::ContentionBegin,
    Kind::ContentionEnd,
    Kind::CpuIdle,
];

impl Kind {
    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.into_iter()
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        KINDS.get(usize::from(number)).copied()
    }

    /// Linux's name of the event.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SchedSwitch => "sched_switch",
            Self::SchedWaking => "sched_waking",
            Self::SchedWakeup => "sched_wakeup",
            Self::SchedWakeupNew => "sched_wakeup_new",
            Self::SchedMigrateTask => "sched_migrate_task",
            Self::SchedPiSetprio => "sched_pi_setprio",
            Self::SchedProcessFork => "sched_process_fork",
            Self::SchedProcessExit => "sched_process_exit",
            Self::IrqHandlerEntry => "irq_handler_entry",
            Self::IrqHandlerExit => "irq_handler_exit",
            Self::SoftirqRaise => "softirq_raise",
            Self::SoftirqEntry => "softirq_entry",
            Self::SoftirqExit => "softirq_exit",
            Self::IpiRaise => "ipi_raise",
            Self::IpiEntry => "ipi_entry",
            Self::IpiExit => "ipi_exit",
            Self::HrtimerStart => "hrtimer_start",
            Self::HrtimerCancel => "hrtimer_cancel",
            Self::HrtimerExpireEntry => "hrtimer_expire_entry",
            Self::HrtimerExpireExit => "hrtimer_expire_exit",
            Self::IrqDisable => "irq_disable",
            Self::IrqEnable => "irq_enable",
            Self::PreemptDisable => "preempt_disable",
            Self::PreemptEnable => "preempt_enable",
            Self::ContentionBegin => "contention_begin",
            Self::ContentionEnd => "contention_end",
            Self::CpuIdle => "cpu_idle",
        }
    }

    /// The group that it belongs to.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::SchedSwitch
            | Self::SchedWaking
            | Self::SchedWakeup
            | Self::SchedWakeupNew
            | Self::SchedMigrateTask
            | Self::SchedPiSetprio
            | Self::SchedProcessFork
            | Self::SchedProcessExit => "sched",
            Self::IrqHandlerEntry
            | Self::IrqHandlerExit
            | Self::SoftirqRaise
            | Self::SoftirqEntry
            | Self::SoftirqExit => "irq",
            Self::IpiRaise | Self::IpiEntry | Self::IpiExit => "ipi",
            Self::HrtimerStart | Self::HrtimerCancel | Self::HrtimerExpireEntry | Self::HrtimerExpireExit => {
                "timer"
            }
            Self::IrqDisable | Self::IrqEnable | Self::PreemptDisable | Self::PreemptEnable => "preemptirq",
            Self::ContentionBegin | Self::ContentionEnd => "lock",
            Self::CpuIdle => "power",
        }
    }

    /// The set of this kind alone.
    #[must_use]
    pub const fn set(self) -> KindSet {
        KindSet(1 << self as u32)
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindSet(u32);

impl KindSet {
    /// No event.
    pub const NONE: Self = Self(0);
    /// Every event.
    pub const ALL: Self = Self((1 << KINDS.len()) - 1);
    /// What is traced if nobody says what: everything but the mask's and the count's every change.
    pub const DEFAULT: Self = Self(Self::ALL.0 & !Self::SECTIONS.0);
    /// What the changes of the mask and of the preempt count tell.
    pub const SECTIONS: Self = Kind::IrqDisable
        .set()
        .or(Kind::IrqEnable.set())
        .or(Kind::PreemptDisable.set())
        .or(Kind::PreemptEnable.set());
    /// What the way into and out of an interrupt tells.
    pub const INTERRUPTS: Self = Kind::IrqHandlerEntry
        .set()
        .or(Kind::IrqHandlerExit.set())
        .or(Kind::IpiEntry.set())
        .or(Kind::IpiExit.set());

    /// From the bits of [`Self::bits`].
    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// A bit for each kind, by its number.
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they have a kind in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What a word selects: `all`, a group, an event; `None` if there is no such thing.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        if word == "all" {
            return Some(Self::ALL);
        }
        let found = Kind::all()
            .filter(|kind| kind.name() == word || kind.group() == word)
            .fold(Self::NONE, |set, kind| set.or(kind.set()));
        (!found.is_empty()).then_some(found)
    }

    /// What several words select together; none selects [`Self::DEFAULT`].
    ///
    /// # Errors
    /// The first word that selects nothing.
    pub fn of_words<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut set = Self::NONE;
        for word in words {
            set = set.or(Self::named(word).ok_or(word)?);
        }
        Ok(if set.is_empty() { Self::DEFAULT } else { set })
    }
}

/// What a word that selects events may be, for messages.
pub const SELECTORS: &str = "all, a group (sched, irq, ipi, timer, lock, power, preemptirq) or an event";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_select_events_groups_or_all_and_a_wrong_one_is_named() {
        let of = |words: &[&'static str]| KindSet::of_words(words.iter().copied());
        assert_eq!(of(&[]), Ok(KindSet::DEFAULT));
        assert_eq!(of(&["all"]), Ok(KindSet::ALL));
        assert_eq!(of(&["preemptirq"]), Ok(KindSet::SECTIONS));
        assert_eq!(of(&["sched_switch", "cpu_idle"]), Ok(Kind::SchedSwitch.set().or(Kind::CpuIdle.set())));
        assert_eq!(of(&["sched", "shed"]), Err("shed"));
        assert!(!KindSet::DEFAULT.meets(KindSet::SECTIONS));
        let groups = Kind::all().map(|kind| KindSet::named(kind.group()).unwrap());
        assert_eq!(groups.fold(KindSet::NONE, KindSet::or), KindSet::ALL);
        for kind in Kind::all() {
            assert!(SELECTORS.contains(kind.group()), "{}", kind.group());
        }
    }
}
