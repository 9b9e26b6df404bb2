//! What the values of a check mean.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

use crate::drivers::bcm2711::firmware::{MemoryPart, Throttled};
use crate::drivers::machine::PhysRange;
use crate::shell::units::Hz;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// This machine has no such thing.
    Absent,
    /// Not as it should be.
    Failed,
}

impl Verdict {
    /// As the table has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Absent => "not there",
            Self::Failed => "FAILED",
        }
    }

    /// [`Self::Ok`] or [`Self::Failed`].
    #[must_use]
    pub const fn of(good: bool) -> Self {
        if good { Self::Ok } else { Self::Failed }
    }
}

/// A row of the table: the verdict and what it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The verdict.
    pub verdict: Verdict,
    /// The values, and where it failed what would have been right.
    pub values: String,
}

impl Found {
    /// A verdict with its values.
    #[must_use]
    pub fn new(verdict: Verdict, values: impl Into<String>) -> Self {
        Self { verdict, values: values.into() }
    }
}

/// How far a clock may be off another one of the same crystal, in millionths: what reading them costs.
pub const SAME_CRYSTAL_PPM: u64 = 300;
/// The same for a clock that the firmware has measured, which it does coarsely.
pub const MEASURED_PPM: u64 = 20_000;

/// Millionths that `found` is off `expected`.
#[must_use]
pub fn off_ppm(expected: u64, found: u64) -> u64 {
    (u128::from(expected.abs_diff(found)) * 1_000_000 / u128::from(expected.max(1))) as u64
}

/// The generic timer: what its frequency register says, against ticks that were counted in microseconds of the system
/// timer.
#[must_use]
pub fn counter(register_hz: u64, ticks: u64, us: u64) -> Found {
    let found_hz = (u128::from(ticks) * 1_000_000 / u128::from(us.max(1))) as u64;
    let off = off_ppm(register_hz, found_hz);
    let good = off <= SAME_CRYSTAL_PPM;
    let expected = if good { String::new() } else { format!("; expected at most {SAME_CRYSTAL_PPM} ppm") };
    let values = format!(
        "CNTFRQ {register_hz} Hz, {found_hz} Hz by the system timer over {us} us: {off} ppm off{expected}"
    );
    Found::new(Verdict::of(good), values)
}

/// The CPUs' clock: what each has counted, against what the firmware has measured, if it can.
#[must_use]
pub fn arm_clock(counted_hz: &[u64], measured_hz: Result<u32, String>) -> Found {
    let (least, most) = (counted_hz.iter().min(), counted_hz.iter().max());
    let (Some(&least), Some(&most)) = (least, most) else {
        return Found::new(Verdict::Failed, "no CPU has counted its cycles");
    };
    let counted = if least == most {
        format!("{} by the cycle counters", Hz(least))
    } else {
        format!("{} to {} by the cycle counters", Hz(least), Hz(most))
    };
    if least == 0 {
        return Found::new(Verdict::Failed, format!("{counted}; one does not count"));
    }
    match measured_hz {
        Ok(measured) => {
            let off = counted_hz.iter().map(|&hz| off_ppm(u64::from(measured), hz)).max().unwrap_or(0);
            let values = format!("{counted}, {} measured by the firmware", Hz(u64::from(measured)));
            Found::new(Verdict::of(off <= MEASURED_PPM), values)
        }
        Err(why) => Found::new(Verdict::Ok, format!("{counted}; not compared: {why}")),
    }
}

/// How memory is divided: no RAM of the device tree may be the firmware's.
#[must_use]
pub fn memory(ram: &[PhysRange], arm: MemoryPart, vc: MemoryPart) -> Found {
    let (vc_start, vc_end) = (u64::from(vc.start), u64::from(vc.start) + u64::from(vc.bytes));
    let overlap = ram.iter().find(|range| range.start < vc_end && vc_start < range.end());
    let values = format!(
        "ARM {:#x}+{:#x}, firmware {:#x}+{:#x}, {} range(s) of RAM in the tree",
        arm.start,
        arm.bytes,
        vc.start,
        vc.bytes,
        ram.len()
    );
    match overlap {
        None => Found::new(Verdict::Ok, values),
        Some(range) => Found::new(
            Verdict::Failed,
            format!("{values}; {:#x}..{:#x} of it is the firmware's", range.start, range.end()),
        ),
    }
}

/// Heat and supply.
#[must_use]
pub fn heat(mc: u32, limit_mc: u32, throttled: Throttled) -> Found {
    let good = throttled.now() == 0 && mc < limit_mc;
    let values = format!(
        "{}.{} C, throttled at {}.{} C; lowered clock: {throttled}",
        mc / 1000,
        mc % 1000 / 100,
        limit_mc / 1000,
        limit_mc % 1000 / 100
    );
    Found::new(Verdict::of(good), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_does_not_run_as_its_register_says_is_found() {
        let found = counter(54_000_000, 2_700_010, 50_000);
        assert_eq!(found.verdict, Verdict::Ok, "{}", found.values);
        // What QEMU does to 54 MHz: whole nanoseconds a tick.
        let found = counter(54_000_000, 2_777_777, 50_000);
        assert_eq!(found.verdict, Verdict::Failed);
        assert!(found.values.contains("55555540 Hz") && found.values.contains("28806 ppm off; expected"));
        assert_eq!(counter(54_000_000, 0, 0).verdict, Verdict::Failed);
    }

    #[test]
    fn the_cpus_clock_is_compared_with_what_the_firmware_measured_and_only_with_that() {
        let hz = [1_500_000_000, 1_499_000_000];
        assert_eq!(arm_clock(&hz, Ok(1_500_398_464)).verdict, Verdict::Ok);
        assert_eq!(arm_clock(&hz, Ok(600_000_000)).verdict, Verdict::Failed);
        assert_eq!(arm_clock(&[600_000_000, 1_500_000_000], Ok(1_500_000_000)).verdict, Verdict::Failed);
        let found = arm_clock(&hz, Err("no mailbox".into()));
        assert_eq!(found.verdict, Verdict::Ok);
        assert!(found.values.ends_with("not compared: no mailbox"), "{}", found.values);
        assert_eq!(arm_clock(&[0, 1_000_000_000], Err("none".into())).verdict, Verdict::Failed);
        assert_eq!(arm_clock(&[], Err("none".into())).verdict, Verdict::Failed);
    }

    #[test]
    fn memory_of_the_firmware_is_not_the_kernels() {
        let (arm, vc) = (
            MemoryPart { start: 0, bytes: 0x3b40_0000 },
            MemoryPart { start: 0x3b40_0000, bytes: 0x4c0_0000 },
        );
        let low = PhysRange { start: 0, bytes: 0x3b40_0000 };
        let high = PhysRange { start: 0x4000_0000, bytes: 0xbc00_0000 };
        assert_eq!(memory(&[low, high], arm, vc).verdict, Verdict::Ok);
        let found = memory(&[PhysRange { bytes: 0x3b40_1000, ..low }, high], arm, vc);
        assert_eq!(found.verdict, Verdict::Failed);
        assert!(found.values.ends_with("0x0..0x3b401000 of it is the firmware's"), "{}", found.values);
    }

    #[test]
    fn a_hot_or_hungry_board_fails_and_one_that_was_is_told() {
        assert_eq!(
            heat(45_123, 85_000, Throttled(0)).values,
            "45.1 C, throttled at 85.0 C; lowered clock: no"
        );
        let was = heat(45_123, 85_000, Throttled(0x1_0000));
        assert_eq!(was.verdict, Verdict::Ok);
        assert!(was.values.ends_with("(before, not now)"), "{}", was.values);
        assert_eq!(heat(45_123, 85_000, Throttled(1)).verdict, Verdict::Failed);
        assert_eq!(heat(85_000, 85_000, Throttled(0)).verdict, Verdict::Failed);
    }
}
