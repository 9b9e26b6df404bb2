//! What is kept of the sections: the worst, how many of which length, their sum, and those over the budget.
//!
//! Invariants: the histogram's counts add up to `count`; the table holds each pair of places once, with its longest
//! section, and every pair that is not in it has none longer than the table's shortest; a pair is reported once.
//!
//! Context: the recorder, IRQs masked; pure. Bound: two walks over the table for a section that belongs in it, one over the
//! reports for a section over the budget, otherwise constant.
#![forbid(unsafe_code)]

use super::section::Section;

/// Pairs of places in the table.
pub const WORST_MAX: usize = 16;
/// Pairs of places whose sections over the budget are reported; the sections of further ones are only counted.
pub const REPORTS_MAX: usize = 16;
/// Powers of two.
pub const BUCKETS: usize = 64;
/// A longer section is none: somebody has set the cycle counter (the sweep does).
pub(crate) const ABSURD_CYCLES: u64 = 1 << 60;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Sections that ended.
    pub count: u64,
    /// Their cycles.
    pub sum_cycles: u64,
    /// Sections of 2^i to 2^(i+1) - 1 cycles; the first takes length 0 too.
    pub histogram: [u64; BUCKETS],
    /// The longest section at all.
    pub max: Section,
    worst: [Section; WORST_MAX],
    /// No section that is not longer gets into the table.
    floor: u64,
    /// A longer section is a violation.
    budget_cycles: u64,
    /// Sections over the budget.
    pub violations: u64,
    reports: [Section; REPORTS_MAX],
    reported: usize,
    told: usize,
}

impl Ledger {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self {
            count: 0,
            sum_cycles: 0,
            histogram: [0; BUCKETS],
            max: Section::NONE,
            worst: [Section::NONE; WORST_MAX],
            floor: 0,
            budget_cycles: u64::MAX,
            violations: 0,
            reports: [Section::NONE; REPORTS_MAX],
            reported: 0,
            told: 0,
        }
    }

    /// Forgets everything but the budget.
    pub fn reset(&mut self) {
        let budget_cycles = self.budget_cycles;
        *self = Self { budget_cycles, ..Self::new() };
    }

    /// Adds what another CPU has.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum_cycles = self.sum_cycles.wrapping_add(other.sum_cycles);
        self.violations += other.violations;
        self.histogram.iter_mut().zip(other.histogram).for_each(|(mine, theirs)| *mine += theirs);
        if other.max.cycles > self.max.cycles {
            self.max = other.max;
        }
        other.worst.iter().filter(|section| section.cycles > 0).for_each(|section| self.keep(section));
    }

    /// From now on sections longer than this are violations. The pairs reported so far may be reported again.
    pub fn set_budget(&mut self, cycles: Option<u64>) {
        self.budget_cycles = cycles.unwrap_or(u64::MAX);
        (self.reported, self.told) = (0, 0);
    }

    /// A section of this length has ended; which one is asked only if it matters. Returns whether it is one to report.
    #[inline(always)]
    pub fn add(&mut self, cycles: u64, section: impl FnOnce() -> Section) -> bool {
        if cycles >= ABSURD_CYCLES {
            return false;
        }
        self.count += 1;
        self.sum_cycles = self.sum_cycles.wrapping_add(cycles);
        self.histogram[(cycles | 1).ilog2() as usize % BUCKETS] += 1;
        // The longest of all is in the table, so it is longer than the floor too.
        cycles > self.floor.min(self.budget_cycles) && self.add_notable(&section())
    }

    #[inline(never)]
    fn add_notable(&mut self, section: &Section) -> bool {
        if section.cycles > self.max.cycles {
            self.max = *section;
        }
        if section.cycles > self.floor {
            self.keep(section);
        }
        section.cycles > self.budget_cycles && self.violate(section)
    }

    fn keep(&mut self, section: &Section) {
        let place = match self.worst.iter().position(|known| known.is_same_pair(section)) {
            Some(same) => same,
            None => self.shortest(),
        };
        if section.cycles > self.worst[place].cycles {
            self.worst[place] = *section;
            self.floor = self.worst[self.shortest()].cycles;
        }
    }

    /// The place in the table that is given up first.
    fn shortest(&self) -> usize {
        let mut at = 0;
        for (i, section) in self.worst.iter().enumerate() {
            if section.cycles < self.worst[at].cycles {
                at = i;
            }
        }
        at
    }

    #[cold]
    #[inline(never)]
    fn violate(&mut self, section: &Section) -> bool {
        self.violations += 1;
        let known = self.reports[..self.reported].iter().any(|report| report.is_same_pair(section));
        if known || self.reported == REPORTS_MAX {
            return false;
        }
        self.reports[self.reported] = *section;
        self.reported += 1;
        true
    }

    /// A section over the budget that nobody has been told of.
    pub fn take_report(&mut self) -> Option<Section> {
        let report = (self.told < self.reported).then(|| self.reports[self.told]);
        self.told += usize::from(report.is_some());
        report
    }

    /// The longest section of each of the worst pairs of places, longest first.
    pub fn worst(&self) -> impl Iterator<Item = Section> {
        let mut worst = self.worst;
        worst.sort_unstable_by_key(|section| core::cmp::Reverse(section.cycles));
        worst.into_iter().take_while(|section| section.cycles > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preempt_stats::section::{Kind, Place, Who};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn section(cycles: u64, from: u64, to: u64) -> Section {
        let at = |site| Place { site, caller: cycles };
        Section { cycles, from: at(from), to: at(to), kind: Kind::IRQS, who: Who::NOBODY }
    }

    fn add(ledger: &mut Ledger, section: Section) -> bool {
        ledger.add(section.cycles, || section)
    }

    #[test]
    fn a_pair_of_places_is_in_the_table_once_with_its_longest_section() {
        let mut ledger = Ledger::new();
        for cycles in [5, 9, 7] {
            add(&mut ledger, section(cycles, 1, 2));
        }
        add(&mut ledger, section(8, 1, 3));
        assert_eq!(ledger.worst().collect::<Vec<_>>(), [section(9, 1, 2), section(8, 1, 3)]);
        assert_eq!((ledger.count, ledger.sum_cycles, ledger.max), (4, 29, section(9, 1, 2)));
    }

    #[test]
    fn a_section_over_the_budget_is_reported_once_and_counted_every_time() {
        let mut ledger = Ledger::new();
        ledger.set_budget(Some(100));
        assert!(!add(&mut ledger, section(100, 1, 2)), "the budget itself is within the budget");
        assert!(add(&mut ledger, section(101, 1, 2)));
        assert!(!add(&mut ledger, section(500, 1, 2)));
        assert!(add(&mut ledger, section(500, 3, 2)));
        assert_eq!(ledger.violations, 3);
        assert_eq!(ledger.take_report().map(|s| s.cycles), Some(101));
        assert_eq!(ledger.take_report().map(|s| s.from.site), Some(3));
        assert_eq!(ledger.take_report(), None);
        ledger.set_budget(Some(50));
        assert!(add(&mut ledger, section(99, 1, 2)), "with another budget it is news");
        ledger.set_budget(None);
        assert!(!add(&mut ledger, section(1 << 40, 1, 2)));
    }

    #[test]
    fn more_violating_pairs_than_can_be_reported_are_counted() {
        let mut ledger = Ledger::new();
        ledger.set_budget(Some(1));
        for from in 0..100 {
            assert_eq!(add(&mut ledger, section(2, from, 0)), from < REPORTS_MAX as u64);
        }
        assert_eq!(ledger.violations, 100);
        assert_eq!(core::iter::from_fn(|| ledger.take_report()).count(), REPORTS_MAX);
    }

    #[test]
    fn a_reset_keeps_the_budget_and_nothing_else() {
        let mut ledger = Ledger::new();
        ledger.set_budget(Some(10));
        add(&mut ledger, section(11, 1, 2));
        ledger.reset();
        assert_eq!((ledger.count, ledger.violations, ledger.worst().count()), (0, 0, 0));
        assert_eq!(ledger.take_report(), None);
        assert!(add(&mut ledger, section(11, 1, 2)));
    }

    #[test]
    fn a_counter_that_was_set_makes_no_section() {
        let mut ledger = Ledger::new();
        add(&mut ledger, section(0u64.wrapping_sub(1_000_000), 1, 2));
        assert_eq!((ledger.count, ledger.max.cycles), (0, 0));
    }

    proptest! {
        #[test]
        fn the_table_holds_the_worst_pairs_whatever_comes(
            sections in prop::collection::vec((0u64..5000, 0u64..8, 0u64..6), 0..400)
        ) {
            let mut ledger = Ledger::new();
            let mut longest = BTreeMap::new();
            for &(cycles, from, to) in &sections {
                add(&mut ledger, section(cycles, from, to));
                let entry = longest.entry((from, to)).or_insert(0);
                *entry = cycles.max(*entry);
            }
            let mut expected: Vec<u64> = longest.values().copied().filter(|&cycles| cycles > 0).collect();
            expected.sort_unstable_by_key(|&cycles| core::cmp::Reverse(cycles));
            expected.truncate(WORST_MAX);
            let found: Vec<Section> = ledger.worst().collect();
            prop_assert_eq!(found.iter().map(|s| s.cycles).collect::<Vec<_>>(), expected);
            for s in found {
                prop_assert_eq!(longest[&(s.from.site, s.to.site)], s.cycles);
            }
            prop_assert_eq!(ledger.histogram.iter().sum::<u64>(), ledger.count);
            prop_assert_eq!(ledger.sum_cycles, sections.iter().map(|s| s.0).sum::<u64>());
        }
    }
}
