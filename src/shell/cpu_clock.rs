//! How fast the CPU runs, by counting: no device tree says it.
//!
//! Measured once, against the generic timer, with the CPU busy (the cycle counter stops in WFI). Under
//! `-icount shift=0` one instruction is one nanosecond, and the answer is 1 GHz.
//!
//! Context: threads.
#![forbid(unsafe_code)]

use crate::time::{self, NSEC_PER_SEC};
use spin::Once;

/// Long enough for the counter's ticks not to matter, short enough not to be noticed at boot.
const MEASURE_NS: u64 = 2_000_000;
/// Readings of which the best is taken: an emulator may stand still between two instructions.
const READINGS: usize = 8;
/// What is measured is rounded to this.
const ROUND_HZ: u64 = 1_000_000;

static CPU_HZ: Once<u64> = Once::new();

/// Cycles per second, rounded to a megahertz.
pub(super) fn cpu_hz() -> u64 {
    *CPU_HZ.call_once(measure)
}

/// The time that so many cycles take.
pub(crate) fn cycles_to_ns(cycles: u64) -> u64 {
    (u128::from(cycles) * u128::from(NSEC_PER_SEC) / u128::from(cpu_hz())) as u64
}

/// The cycles in so much time.
pub(crate) fn ns_to_cycles(ns: u64) -> u64 {
    (u128::from(ns) * u128::from(cpu_hz()) / u128::from(NSEC_PER_SEC)) as u64
}

/// Cycles per second of this CPU, now, rounded to a megahertz. The caller stays on it, and keeps it for two milliseconds.
pub(crate) fn measure() -> u64 {
    let (begin_cycles, begin_ns) = both();
    let mut now_ns = begin_ns;
    while now_ns < begin_ns + MEASURE_NS {
        now_ns = time::now_ns();
    }
    let (end_cycles, end_ns) = both();
    let cycles = u128::from(end_cycles.wrapping_sub(begin_cycles));
    let hz = (cycles * u128::from(NSEC_PER_SEC) / u128::from(end_ns - begin_ns)) as u64;
    ((hz + ROUND_HZ / 2) / ROUND_HZ * ROUND_HZ).max(ROUND_HZ)
}

/// Both counters at the same time: of a few readings the one that was interrupted the least.
fn both() -> (u64, u64) {
    let read = |_| {
        let (before_ns, cycles) = (time::now_ns(), arch::pmu::cycles());
        let after_ns = time::now_ns();
        (after_ns - before_ns, cycles, before_ns + (after_ns - before_ns) / 2)
    };
    let (_, cycles, ns) = (0..READINGS).map(read).min().unwrap_or_default();
    (cycles, ns)
}
