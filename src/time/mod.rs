//! Time: one monotonic clock, timers on it, and the tick.
//!
//! The clock is the virtual counter of the generic timer, in nanoseconds. Conversion is one 64×64→128
//! multiplication and a shift, so there is no range to run out of and nothing to re-base.
//!
//! | module | what |
//! |---|---|
//! | [`Timer`] | calls a function at a time, or every so often |
//! | [`Periodic`] | a task that does something every so often |
//! | [`hrtimer`], `soft`, `tree` | what is pending; expiry in the interrupt, and in the softirq |
//! | `remote` | the same from another CPU; a CPU's timers when it comes and goes |
//! | [`tick`], [`idle`] | `hz` times a second, but not on an idle CPU; idle time |
//! | `forward` | grids |
//!
//! Context: reading from any.

mod forward;
pub mod hrtimer;
pub mod idle;
mod periodic;
pub(crate) mod remote;
pub(crate) mod soft;
pub mod tick;
mod timer;
mod tree;

pub use periodic::Periodic;
#[cfg(target_os = "none")]
pub(crate) use remote::{dying, migrate_from, starting};
pub use soft::EXPIRED_PER_SOFTIRQ;
pub use timer::{MIN_PERIOD_NS, Timer};

use core::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

/// Fraction bits of the two factors: as many as fit. Each factor is off by less than one unit of its last
/// bit, and a time since boot multiplies that error: with 32 bits and a counter of 54 MHz, timers would be
/// 6 us late after a day. From 1 MHz (1000 ns per tick) and up to 4 GHz.
const NS_SHIFT: u32 = 53;
const TICKS_SHIFT: u32 = 61;

/// Nanoseconds per counter tick, times 2^`NS_SHIFT`. Set once at boot, before there is a second CPU. A PC's counter has 1 GHz.
static NS_PER_TICK: AtomicU64 =
    AtomicU64::new(if cfg!(target_os = "none") { 0 } else { ns_per_tick(NSEC_PER_SEC) });
/// Counter ticks per nanosecond, times 2^`TICKS_SHIFT`, rounded up.
static TICKS_PER_NS: AtomicU64 =
    AtomicU64::new(if cfg!(target_os = "none") { 0 } else { ticks_per_ns(NSEC_PER_SEC) });

const fn ns_per_tick(freq_hz: u64) -> u64 {
    ((NSEC_PER_SEC as u128) << NS_SHIFT).div_ceil(freq_hz as u128) as u64
}

const fn ticks_per_ns(freq_hz: u64) -> u64 {
    ((freq_hz as u128) << TICKS_SHIFT).div_ceil(NSEC_PER_SEC as u128) as u64
}

/// Takes the counter's frequency. Once, at boot.
pub(crate) fn init(freq_hz: u64) {
    assert!(
        freq_hz >= 1_000_000,
        "a counter of {freq_hz} Hz is too slow; CNTFRQ_EL0 must hold at least 1 MHz"
    );
    NS_PER_TICK.store(ns_per_tick(freq_hz), Ordering::Relaxed);
    TICKS_PER_NS.store(ticks_per_ns(freq_hz), Ordering::Relaxed);
}

/// The monotonic time in nanoseconds since the counter started.
#[inline(always)]
#[must_use]
pub fn now_ns() -> u64 {
    ticks_to_ns(arch::timer::counter())
}

#[inline(always)]
pub(crate) fn ticks_to_ns(ticks: u64) -> u64 {
    to_ns(ticks, NS_PER_TICK.load(Ordering::Relaxed))
}

#[inline(always)]
fn to_ns(ticks: u64, ns_per_tick: u64) -> u64 {
    ((ticks as u128 * ns_per_tick as u128) >> NS_SHIFT) as u64
}

/// The first counter value at which `ns` has been reached: rounded up, so that no timer is early.
#[inline(always)]
pub(crate) fn ns_to_ticks(ns: u64) -> u64 {
    to_ticks(ns, TICKS_PER_NS.load(Ordering::Relaxed))
}

#[inline(always)]
fn to_ticks(ns: u64, ticks_per_ns: u64) -> u64 {
    ((ns as u128 * ticks_per_ns as u128) >> TICKS_SHIFT) as u64 + 1
}

/// `embedded_hal::delay::DelayNs` for drivers: sleeps, in thread context.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delay;

impl embedded_hal::delay::DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        crate::task::sleep_ns(u64::from(ns));
    }
}

#[cfg(test)]
mod tests {
    use super::{ns_per_tick, ticks_per_ns, to_ns, to_ticks};

    const DAY_NS: u64 = 86_400_000_000_000;

    #[test]
    fn a_timer_is_never_early_and_not_late_after_a_year() {
        for freq_hz in [1_000_000, 19_200_000, 24_000_000, 54_000_000, 62_500_000, 999_999_937, 1_000_000_000]
        {
            let ticks_to_ns = |ticks| to_ns(ticks, ns_per_tick(freq_hz));
            let ns_to_ticks = |ns| to_ticks(ns, ticks_per_ns(freq_hz));
            for ns in [0, 1, 999, 1_000_000_007, DAY_NS + 1, 30 * DAY_NS + 17, 365 * DAY_NS + 12_345] {
                let due = ns_to_ticks(ns);
                assert!(ticks_to_ns(due) >= ns, "{freq_hz} Hz: the timer of {ns} ns is early");
                let exact = (u128::from(ns) * u128::from(freq_hz)).div_ceil(1_000_000_000) as u64;
                assert!(
                    due >= exact && due - exact <= 1 + freq_hz / 1_000_000_000,
                    "{freq_hz} Hz: the timer of {ns} ns is {} ticks late",
                    due - exact
                );
                let now = (u128::from(exact) * 1_000_000_000 / u128::from(freq_hz)) as u64;
                assert!(
                    ticks_to_ns(exact).abs_diff(now) <= 100,
                    "{freq_hz} Hz: the clock at {ns} ns is {} ns off",
                    ticks_to_ns(exact).abs_diff(now)
                );
            }
        }
    }
}
