//! Time: one monotonic clock, one-shot timers on it, and the tick.
//!
//! The clock is the virtual counter of the generic timer, in nanoseconds. Conversion is one 64×64→128
//! multiplication and a shift, so there is no range to run out of and nothing to re-base.
//!
//! Context: reading from any.

pub mod hrtimer;
pub mod tick;
mod timer;

pub use timer::Timer;

use core::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

/// Nanoseconds per counter tick, times 2^32. Set once at boot, before there is a second CPU.
static NS_PER_TICK: AtomicU64 = AtomicU64::new(0);
/// Counter ticks per nanosecond, times 2^32, rounded up.
static TICKS_PER_NS: AtomicU64 = AtomicU64::new(0);

/// Takes the counter's frequency. Once, at boot.
pub(crate) fn init(freq_hz: u64) {
    assert!(freq_hz >= 1_000_000, "a counter of {freq_hz} Hz is too slow; CNTFRQ_EL0 must hold at least 1 MHz");
    NS_PER_TICK.store(((NSEC_PER_SEC as u128) << 32).div_ceil(freq_hz as u128) as u64, Ordering::Relaxed);
    TICKS_PER_NS.store(((freq_hz as u128) << 32).div_ceil(NSEC_PER_SEC as u128) as u64, Ordering::Relaxed);
}

/// The monotonic time in nanoseconds since the counter started.
#[inline(always)]
#[must_use]
pub fn now_ns() -> u64 {
    ticks_to_ns(arch::timer::counter())
}

#[inline(always)]
pub(crate) fn ticks_to_ns(ticks: u64) -> u64 {
    ((ticks as u128 * NS_PER_TICK.load(Ordering::Relaxed) as u128) >> 32) as u64
}

/// The first counter value at which `ns` has been reached: rounded up, so that no timer is early.
#[inline(always)]
pub(crate) fn ns_to_ticks(ns: u64) -> u64 {
    ((ns as u128 * TICKS_PER_NS.load(Ordering::Relaxed) as u128) >> 32) as u64 + 1
}

/// `embedded_hal::delay::DelayNs` for drivers: sleeps, in thread context.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delay;

impl embedded_hal::delay::DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        crate::task::sleep_ns(u64::from(ns));
    }
}
