//! Under which conditions a run was made: the CPUs' clock, the temperature, and whether the clock was lowered.
//!
//! A board's firmware lowers the clock when the chip is hot or the supply weak. A latency that was measured meanwhile is
//! one of another machine, so a run in which that happened has no result ([`refusal`]). Asked before and behind a run, of
//! the firmware where there is one; elsewhere nothing is known and nothing refused.
//!
//! Context: threads; what judges is pure.
#![forbid(unsafe_code)]

use core::fmt;

use crate::drivers::bcm2711::firmware::Throttled;
use crate::shell::units::Hz;

/// Clocks further apart than this are two clocks, in per cent: the firmware's measurement is coarse.
const CLOCK_PERCENT: u64 = 2;

/// The conditions of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The slowest and the fastest CPU, each by its own cycle counter.
    pub counted_hz: (u64, u64),
    /// The CPUs' clock as the firmware measures it; 0 if it does not.
    pub measured_hz: u32,
    /// In thousandths of a degree Celsius.
    pub temperature_mc: u32,
    /// What lowers the clock. The part that remembers was cleared before the run.
    pub throttled: Throttled,
}

/// Why a run has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The clock was lowered, for these reasons.
    Throttled(Throttled),
    /// The clock was another one behind the run than before.
    ClockChanged {
        /// Before.
        from_hz: u64,
        /// Behind.
        to_hz: u64,
    },
}

/// Whether the run between the two has no result.
#[must_use]
pub fn refusal(before: &Conditions, behind: &Conditions) -> Option<Refusal> {
    // What was not forgotten when it was told to is of before; what holds now counts whatever was.
    let during = behind.throttled.since_cleared() & !before.throttled.since_cleared();
    let bits = before.throttled.now() | behind.throttled.now() | during;
    if bits != 0 {
        return Some(Refusal::Throttled(Throttled(bits)));
    }
    let (from_hz, to_hz) = (before.clock_hz(), behind.clock_hz());
    let apart = from_hz.abs_diff(to_hz).saturating_mul(100) > from_hz.saturating_mul(CLOCK_PERCENT);
    apart.then_some(Refusal::ClockChanged { from_hz, to_hz })
}

impl Conditions {
    /// The clock that a figure of cycles is converted with: the firmware's measurement, else the counters'.
    #[must_use]
    pub fn clock_hz(&self) -> u64 {
        if self.measured_hz != 0 { u64::from(self.measured_hz) } else { self.counted_hz.0 }
    }
}

/// `1500 MHz by the cycle counters (measured by the firmware: 1500 MHz), 45.1 C, lowered clock: no`.
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self.counted_hz;
        write!(f, "{}", Hz(least))?;
        if least != most {
            write!(f, " to {}", Hz(most))?;
        }
        f.write_str(" by the cycle counters (measured by the firmware: ")?;
        match self.measured_hz {
            0 => f.write_str("not")?,
            hz => write!(f, "{}", Hz(u64::from(hz)))?,
        }
        let mc = self.temperature_mc;
        write!(f, "), {}.{} C, lowered clock: {}", mc / 1000, mc % 1000 / 100, self.throttled)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled(reasons) => write!(f, "the clock was lowered: {reasons}")?,
            Self::ClockChanged { from_hz, to_hz } => {
                write!(f, "the clock was {} before and {} behind it", Hz(*from_hz), Hz(*to_hz))?;
            }
        }
        f.write_str("; cool the board, mend its supply or set force_turbo=1, and measure again")
    }
}

/// The conditions of now; forgets what the firmware remembers of before, if `forget` says so. `None` without a firmware
/// that answers. Keeps each CPU for two milliseconds.
#[cfg(target_os = "none")]
pub(super) fn now(when: When) -> Option<Conditions> {
    use crate::drivers::bcm2711::firmware::{self, Clock};
    // Without a mailbox, nothing is disturbed.
    firmware::with(|_| ())?;
    let counted = crate::selftest::clocks().unwrap_or_default();
    let counted_hz = (counted.iter().min().copied().unwrap_or(0), counted.iter().max().copied().unwrap_or(0));
    let asked = firmware::with(|mailbox| {
        if when == When::Before {
            mailbox.take_throttled()?;
        }
        Ok::<_, crate::drivers::bcm2711::mailbox::MailboxError>(Conditions {
            counted_hz,
            measured_hz: mailbox.clock_measured_hz(Clock::Arm).unwrap_or(0),
            temperature_mc: mailbox.temperature_mc()?,
            throttled: mailbox.throttled()?,
        })
    })?;
    asked.inspect_err(|error| log::warn!(target: "latency", "the conditions are not known: {error}")).ok()
}

/// Which end of a run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// What was before does not count: it is forgotten.
    Before,
    /// What has been since counts.
    Behind,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const GOOD: Conditions = Conditions {
        counted_hz: (1_500_000_000, 1_500_000_000),
        measured_hz: 1_500_398_464,
        temperature_mc: 45_123,
        throttled: Throttled(0),
    };

    fn with(throttled: u32) -> Conditions {
        Conditions { throttled: Throttled(throttled), ..GOOD }
    }

    #[test]
    fn a_quiet_run_has_a_result() {
        assert_eq!(
            refusal(&GOOD, &Conditions { measured_hz: 1_499_000_000, temperature_mc: 80_000, ..GOOD }),
            None
        );
        // A firmware that does not measure: the counters are compared.
        let counted = Conditions { measured_hz: 0, ..GOOD };
        assert_eq!(refusal(&counted, &counted), None);
    }

    #[test]
    fn a_clock_that_was_lowered_at_any_time_refuses_the_run() {
        for (before, behind) in
            [(0, 0x1), (0, 0x1_0001), (0x4, 0), (0, 0x2_0000), (0, 0x8_0000), (0x1_0000, 0x5_0000)]
        {
            let refused = refusal(&with(before), &with(behind));
            assert!(matches!(refused, Some(Refusal::Throttled(_))), "{before:#x} {behind:#x}: {refused:?}");
        }
        let text = refusal(&GOOD, &with(0x4_0000)).unwrap().to_string();
        assert!(text.starts_with("the clock was lowered: throttled; cool the board"), "{text}");
    }

    #[test]
    fn what_the_firmware_does_not_forget_is_not_held_against_the_run() {
        assert_eq!(refusal(&with(0x5_0000), &with(0x5_0000)), None);
    }

    #[test]
    fn a_clock_that_is_another_one_behind_the_run_refuses_it() {
        let slow = Conditions { measured_hz: 600_000_000, ..GOOD };
        assert!(matches!(refusal(&GOOD, &slow), Some(Refusal::ClockChanged { to_hz: 600_000_000, .. })));
        assert!(refusal(&slow, &GOOD).is_some());
        let (fast, slow) = (
            Conditions { measured_hz: 0, ..GOOD },
            Conditions { measured_hz: 0, counted_hz: (600_000_000, 1_500_000_000), ..GOOD },
        );
        assert!(refusal(&fast, &slow).is_some());
    }

    #[test]
    fn conditions_are_told_with_what_is_not_known() {
        assert_eq!(
            GOOD.to_string(),
            "1500 MHz by the cycle counters (measured by the firmware: 1.50 GHz), 45.1 C, lowered clock: no"
        );
        let text =
            Conditions { measured_hz: 0, counted_hz: (600_000_000, 1_500_000_000), ..GOOD }.to_string();
        assert!(
            text.starts_with("600 MHz to 1500 MHz by the cycle counters (measured by the firmware: not)"),
            "{text}"
        );
    }
}
