//! The tick: `hz` times a second on every CPU, it counts jiffies and drives `scheduler_tick`.
//!
//! It is one of the CPU's timers, but not in the tree: it is always there and always restarts, so it has a
//! place of its own beside it. Kept in counter ticks, on one grid: the k-th tick is due at t0 + k·period,
//! however late the ones before were taken.

use super::hrtimer;
use crate::sched::core as sched;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Ticks per second.
static HZ: AtomicU32 = AtomicU32::new(250);
/// Counter ticks per tick.
static PERIOD_TICKS: AtomicU64 = AtomicU64::new(0);

/// A CPU's tick. Touched by its own CPU with IRQs masked.
pub(super) struct Tick {
    /// When the next one is due, in counter ticks; `u64::MAX` while it is stopped.
    next_ticks: Cell<u64>,
    jiffies: Cell<u64>,
}

/// Ticks per second.
#[must_use]
pub fn hz() -> u32 {
    HZ.load(Ordering::Relaxed)
}

/// Ticks taken by this CPU since boot; missed ones are counted.
#[must_use]
pub fn jiffies() -> u64 {
    hrtimer::peek_tick(|tick| tick.jiffies.get())
}

pub(crate) fn init(hz: u32, counter_hz: u64) {
    HZ.store(hz, Ordering::Relaxed);
    PERIOD_TICKS.store(counter_hz / u64::from(hz), Ordering::Relaxed);
}

/// Starts the tick on this CPU, on a grid that begins now. Any context.
pub fn start_this_cpu() {
    hrtimer::with_tick(|tick| {
        tick.next_ticks.set(arch::timer::counter() + PERIOD_TICKS.load(Ordering::Relaxed))
    });
}

/// Stops the tick on this CPU, for measurements that it would disturb. Any context.
pub fn stop_this_cpu() {
    hrtimer::with_tick(|tick| tick.next_ticks.set(u64::MAX));
}

impl Tick {
    pub(super) const fn new() -> Self {
        Self { next_ticks: Cell::new(u64::MAX), jiffies: Cell::new(0) }
    }

    #[inline(always)]
    pub(super) fn next_ticks(&self) -> u64 {
        self.next_ticks.get()
    }

    /// In the timer interrupt: takes the tick if it is due.
    #[inline(always)]
    pub(super) fn run_if_due(&self, now_ticks: u64) {
        let due = self.next_ticks.get();
        if now_ticks < due {
            return;
        }
        let period = PERIOD_TICKS.load(Ordering::Relaxed);
        let next = due + period;
        if now_ticks < next {
            self.next_ticks.set(next);
            self.jiffies.set(self.jiffies.get() + 1);
        } else {
            self.catch_up(now_ticks, period);
        }
        sched::scheduler_tick();
        #[cfg(target_os = "none")]
        crate::klog::tick();
    }

    /// Late by whole periods: interrupts were masked that long, or the machine stood still. The grid stays;
    /// what was missed is counted.
    #[cold]
    #[inline(never)]
    fn catch_up(&self, now_ticks: u64, period: u64) {
        let passed = (now_ticks - self.next_ticks.get()) / period + 1;
        self.next_ticks.set(self.next_ticks.get() + passed * period);
        self.jiffies.set(self.jiffies.get() + passed);
    }
}
