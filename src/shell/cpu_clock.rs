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
/// What is measured is rounded to this.
const ROUND_HZ: u64 = 1_000_000;

static CPU_HZ: Once<u64> = Once::new();

/// Cycles per second, rounded to a megahertz.
pub(super) fn cpu_hz() -> u64 {
    *CPU_HZ.call_once(measure)
}

/// The time that so many cycles take.
pub(super) fn cycles_to_ns(cycles: u64) -> u64 {
    (u128::from(cycles) * u128::from(NSEC_PER_SEC) / u128::from(cpu_hz())) as u64
}

fn measure() -> u64 {
    let (begin_cycles, begin_ns) = (arch::pmu::cycles(), time::now_ns());
    let mut now_ns = begin_ns;
    while now_ns < begin_ns + MEASURE_NS {
        now_ns = time::now_ns();
    }
    let cycles = arch::pmu::cycles().wrapping_sub(begin_cycles);
    let hz = u128::from(cycles) * u128::from(NSEC_PER_SEC) / u128::from(now_ns - begin_ns);
    ((hz as u64 + ROUND_HZ / 2) / ROUND_HZ * ROUND_HZ).max(ROUND_HZ)
}
