//! Gaps: what made them, how many there were of each kind, and the worst.
//!
//! Context: any; pure. Bound: recording one is a comparison with each of the worst.
#![forbid(unsafe_code)]

use crate::latency::histogram::Histogram;
use core::fmt;
use heapless::Vec;

/// Gaps that are kept with all that is known of them.
pub const WORST: usize = 10;
/// Interrupt lines that one gap names.
pub const LINES: usize = 4;

/// What made a gap, the most telling of what was counted in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Another task had the CPU.
    Switch,
    /// A device's interrupt, or a private one that is not named below.
    Device,
    /// Another CPU wanted a switch looked for (SGI 0).
    Reschedule,
    /// Another CPU wanted something called (SGI 1).
    Call,
    /// The tick.
    Tick,
    /// The timer, not for a tick.
    Timer,
    /// Nothing that this kernel counts.
    Unseen,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Switch, Self::Device, Self::Reschedule, Self::Call, Self::Tick, Self::Timer, Self::Unseen];

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Switch => "another task",
            Self::Device => "interrupt",
            Self::Reschedule => "reschedule IPI",
            Self::Call => "call IPI",
            Self::Tick => "tick",
            Self::Timer => "timer",
            Self::Unseen => "not this CPU",
        }
    }
}

/// What the CPU has counted between two readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Interrupts, by line; more lines than fit are left out.
    pub lines: Vec<(u32, u32), LINES>,
    /// Ticks.
    pub ticks: u32,
    /// Softirqs that were run.
    pub softirqs: u32,
    /// Switches away from the task.
    pub switches: u32,
    /// The timer's line.
    pub timer_line: u32,
}

impl Counted {
    /// What to call it.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let has = |line: u32| self.lines.iter().any(|&(irq, _)| irq == line);
        let known = [0, 1, self.timer_line];
        if self.switches != 0 {
            Cause::Switch
        } else if self.lines.iter().any(|(irq, _)| !known.contains(irq)) {
            Cause::Device
        } else if has(0) {
            Cause::Reschedule
        } else if has(1) {
            Cause::Call
        } else if self.ticks != 0 {
            Cause::Tick
        } else if has(self.timer_line) {
            Cause::Timer
        } else {
            Cause::Unseen
        }
    }
}

/// `another task; IRQ 27, SGI 0; 1 tick; 2 softirqs; 1 switch`.
impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause().name())?;
        for (i, (irq, count)) in self.lines.iter().enumerate() {
            let separator = if i == 0 { ':' } else { ',' };
            let kind = if *irq < 16 { "SGI" } else { "IRQ" };
            write!(f, "{separator} {kind} {irq}")?;
            if *count > 1 {
                write!(f, " x {count}")?;
            }
        }
        for (count, what) in [(self.ticks, "tick"), (self.softirqs, "softirq"), (self.switches, "switch")] {
            match count {
                0 => {}
                1 => write!(f, "; 1 {what}")?,
                _ => write!(f, "; {count} {what}{}", if what == "switch" { "es" } else { "s" })?,
            }
        }
        Ok(())
    }
}

/// A gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// From the beginning of the measurement to the gap's.
    pub at_ns: u64,
    /// How long it was.
    pub ns: u64,
    /// What was counted meanwhile.
    pub counted: Counted,
}

/// All gaps of a measurement.
#[derive(Clone, Debug)]
pub struct Gaps {
    /// How many of each cause, the longest and the sum of them, as in [`Cause::ALL`].
    by_cause: [(u64, u64, u64); Cause::ALL.len()],
    /// How long they were.
    pub histogram: Histogram,
    worst: Vec<Gap, WORST>,
}

impl Gaps {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { by_cause: [(0, 0, 0); Cause::ALL.len()], histogram: Histogram::new(), worst: Vec::new() }
    }

    /// Counts one.
    pub fn record(&mut self, gap: Gap) {
        self.histogram.record(gap.ns);
        let (n, max, sum) = &mut self.by_cause[gap.counted.cause() as usize];
        *n += 1;
        *max = (*max).max(gap.ns);
        *sum += gap.ns;
        let place = self.worst.iter().position(|worst| worst.ns < gap.ns).unwrap_or(self.worst.len());
        if self.worst.is_full() && place < WORST {
            self.worst.pop();
        }
        // No place: as bad as the least of the worst, which came first.
        let _ = self.worst.insert(place, gap);
    }

    /// The longest ones, longest first.
    #[must_use]
    pub fn worst(&self) -> &[Gap] {
        &self.worst
    }

    /// Number, longest and sum of those with this cause, in nanoseconds.
    #[must_use]
    pub fn of(&self, cause: Cause) -> (u64, u64, u64) {
        self.by_cause[cause as usize]
    }

    /// Those that this CPU has to do with: number and longest.
    #[must_use]
    pub fn own(&self) -> (u64, u64) {
        let own = Cause::ALL.into_iter().filter(|&cause| cause != Cause::Unseen).map(|cause| self.of(cause));
        own.fold((0, 0), |(n, max), (more, longest, _)| (n + more, max.max(longest)))
    }
}

impl Default for Gaps {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Counted, Gap, Gaps, WORST};
    use proptest::prelude::*;
    use std::string::ToString;

    fn counted(lines: &[(u32, u32)], ticks: u32, switches: u32) -> Counted {
        Counted { lines: lines.iter().copied().collect(), ticks, softirqs: 0, switches, timer_line: 27 }
    }

    #[test]
    fn the_most_telling_of_what_was_counted_is_the_cause() {
        let cases = [
            (counted(&[], 0, 0), Cause::Unseen),
            (counted(&[(27, 1)], 1, 0), Cause::Tick),
            (counted(&[(27, 1)], 0, 0), Cause::Timer),
            (counted(&[(0, 1)], 0, 0), Cause::Reschedule),
            (counted(&[(1, 1), (27, 1)], 1, 0), Cause::Call),
            (counted(&[(33, 1), (0, 1)], 1, 0), Cause::Device),
            (counted(&[(27, 1)], 1, 1), Cause::Switch),
        ];
        for (counted, cause) in cases {
            assert_eq!(counted.cause(), cause, "{counted}");
        }
    }

    #[test]
    fn a_gap_says_what_was_counted() {
        let mut all = counted(&[(27, 2), (0, 1)], 1, 2);
        all.softirqs = 1;
        assert_eq!(all.to_string(), "another task: IRQ 27 x 2, SGI 0; 1 tick; 1 softirq; 2 switches");
        assert_eq!(counted(&[], 0, 0).to_string(), "not this CPU");
    }

    proptest! {
        #[test]
        fn the_worst_are_the_longest_and_in_order(lengths in proptest::collection::vec(1u64..50, 0..60)) {
            let mut gaps = Gaps::new();
            for (i, &ns) in lengths.iter().enumerate() {
                gaps.record(Gap { at_ns: i as u64, ns, counted: Counted::default() });
            }
            let mut sorted = lengths.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            sorted.truncate(WORST);
            prop_assert_eq!(gaps.worst().iter().map(|gap| gap.ns).collect::<std::vec::Vec<_>>(), sorted);
            let (n, max, sum) = gaps.of(Cause::Unseen);
            prop_assert_eq!((n as usize, max), (lengths.len(), lengths.iter().copied().max().unwrap_or(0)));
            prop_assert_eq!(sum, lengths.iter().sum::<u64>());
            prop_assert_eq!(gaps.own(), (0, 0));
        }
    }
}
