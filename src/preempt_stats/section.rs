//! A section: from where the CPU was closed to others until where it was opened again.
//!
//! [`Tracker`] turns a stream of states into sections. It keeps its own idea of whether one is open and does not trust
//! that it is told every change: what it missed, it makes up for at the next one. Only outermost changes count.
//!
//! Times are the CPU's *own* cycles: those of the hooks are taken off, so a section is as long as it is without them. It
//! reaches from the instruction that closes, included, to the instruction that opens, excluded.
//!
//! Context: the recorder, IRQs masked; pure. Bound: constant.
#![forbid(unsafe_code)]

use crate::task::Name;
use core::fmt;

/// Why nobody else could run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind(u8);

impl Kind {
    /// Nothing was closed.
    pub const NONE: Self = Self(0);
    /// Interrupts masked.
    pub const IRQS: Self = Self(1);
    /// The preempt count was not zero (for the idle task: more than its one).
    pub const PREEMPT: Self = Self(2);
    /// Both, at some time in the section.
    pub const BOTH: Self = Self(3);

    /// From the two states.
    #[must_use]
    pub const fn of(irqs_masked: bool, preempt_off: bool) -> Self {
        Self(irqs_masked as u8 | (preempt_off as u8) << 1)
    }

    /// The part of it that `mask` has too.
    #[must_use]
    pub const fn only(self, mask: Self) -> Self {
        Self(self.0 & mask.0)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(["none", "irqs", "preempt", "both"][usize::from(self.0 & 3)])
    }
}

/// A task, as it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: Name,
}

impl Who {
    /// Nobody.
    pub const NOBODY: Self = Self { id: 0, name: Name::new("") };
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name.as_str(), self.id)
    }
}

/// An instruction, and where its function was called from: a lock's function says little without its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The instruction.
    pub site: u64,
    /// The return address of its function; 0 where there is none.
    pub caller: u64,
}

impl Place {
    /// No place.
    pub const NONE: Self = Self { site: 0, caller: 0 };
}

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its length.
    pub cycles: u64,
    /// Where it was closed.
    pub from: Place,
    /// Where it was opened again.
    pub to: Place,
    /// What was closed.
    pub kind: Kind,
    /// The task in which it began; behind a switch it ends in another one.
    pub who: Who,
}

impl Section {
    /// The shortest of all.
    pub const NONE: Self =
        Self { cycles: 0, from: Place::NONE, to: Place::NONE, kind: Kind::NONE, who: Who::NOBODY };

    /// Whether the other one began and ended at the same instructions, whoever called.
    #[must_use]
    pub fn is_same_pair(&self, other: &Self) -> bool {
        self.from.site == other.from.site && self.to.site == other.to.site
    }
}

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub struct Tracker {
    open: bool,
    since: u64,
    /// Length and end are not known before it ends.
    section: Section,
}

impl Tracker {
    /// No section is open.
    pub(crate) const fn new() -> Self {
        Self { open: false, since: 0, section: Section::NONE }
    }

    /// From the instruction at `place` on, which is executed at `now`, `kind` is closed. Returns the length of the section
    /// that ends with it; [`Self::ended`] is the section, which is put together only if somebody wants it.
    #[inline(always)]
    pub fn step(&mut self, now: u64, place: Place, kind: Kind, who: impl FnOnce() -> Who) -> Option<u64> {
        if kind == Kind::NONE {
            return core::mem::replace(&mut self.open, false).then(|| now.wrapping_sub(self.since));
        }
        if self.open {
            self.section.kind = Kind(self.section.kind.0 | kind.0);
        } else {
            (self.open, self.since) = (true, now);
            self.section.kind = kind;
            self.section.from = place;
            self.section.who = who();
        }
        None
    }

    /// The section that has just ended, of this length, at this place.
    #[inline(always)]
    pub fn ended(&self, cycles: u64, to: Place) -> Section {
        Section { cycles, to, ..self.section }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Who = Who { id: 7, name: Name::new("me") };

    fn at(site: u64) -> Place {
        Place { site, caller: site + 1000 }
    }

    fn step(tracker: &mut Tracker, now: u64, site: u64, kind: Kind) -> Option<Section> {
        tracker.step(now, at(site), kind, || ME).map(|cycles| tracker.ended(cycles, at(site)))
    }

    #[test]
    fn a_section_reaches_from_the_first_closing_to_the_last_opening() {
        let mut tracker = Tracker::new();
        assert_eq!(step(&mut tracker, 100, 1, Kind::PREEMPT), None);
        assert_eq!(step(&mut tracker, 110, 2, Kind::BOTH), None);
        assert_eq!(step(&mut tracker, 120, 3, Kind::PREEMPT), None);
        let expected = Section { cycles: 50, from: at(1), to: at(4), kind: Kind::BOTH, who: ME };
        assert_eq!(step(&mut tracker, 150, 4, Kind::NONE), Some(expected));
    }

    #[test]
    fn opening_what_is_open_ends_nothing() {
        let mut tracker = Tracker::new();
        assert_eq!(step(&mut tracker, 1, 1, Kind::NONE), None);
        step(&mut tracker, 2, 2, Kind::IRQS);
        assert!(step(&mut tracker, 3, 3, Kind::NONE).is_some());
        assert_eq!(step(&mut tracker, 4, 4, Kind::NONE), None);
    }

    #[test]
    fn a_section_belongs_to_the_task_in_which_it_began() {
        let mut tracker = Tracker::new();
        tracker.step(0, at(1), Kind::IRQS, || ME);
        let other = Who { id: 8, name: Name::new("other") };
        let cycles = tracker.step(9, at(2), Kind::NONE, || other);
        assert_eq!(cycles, Some(9));
        assert_eq!(tracker.ended(9, at(2)).who, ME);
    }

    #[test]
    fn the_clock_may_wrap_inside_a_section() {
        let mut tracker = Tracker::new();
        step(&mut tracker, u64::MAX - 4, 1, Kind::IRQS);
        assert_eq!(step(&mut tracker, 5, 2, Kind::NONE).unwrap().cycles, 10);
    }
}
