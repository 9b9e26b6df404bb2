//! The tick: `hz` times a second on every CPU, it counts jiffies and drives `scheduler_tick`.
//!
//! It is one of the CPU's timers, but not in the tree: it is always there and always restarts, so it has a
//! place of its own beside it. Kept in counter ticks, on one grid: the k-th tick is due at t0 + k·period,
//! however late the ones before were taken. An idle CPU stops its tick (`idle`); the grid goes on without it,
//! and jiffies are right at any time: where ticks were skipped they follow from the clock.

use super::forward::forward;
use super::hrtimer;
use crate::sched::nohz;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Ticks per second.
static HZ: AtomicU32 = AtomicU32::new(250);
/// Counter ticks per tick.
static PERIOD_TICKS: AtomicU64 = AtomicU64::new(0);

/// A CPU's tick. Changed by its own CPU with IRQs masked; others may look.
pub(super) struct Tick {
    /// When the next one is due, in counter ticks; `u64::MAX` while it is stopped.
    next_ticks: AtomicU64,
    jiffies: AtomicU64,
    /// While it is stopped because the CPU idles or has one task: when the next one would have been due. Otherwise 0.
    resume_ticks: AtomicU64,
    /// The length of a tick; 0 on a CPU of `nohz_full=`, where each looks whether it was needed: every one is late by a
    /// period of 0, and so comes by the way that others take when they are late.
    period_ticks: AtomicU64,
    /// Of the jiffies, those that no interrupt has come for.
    skipped: AtomicU64,
}

/// Ticks per second.
#[must_use]
pub fn hz() -> u32 {
    HZ.load(Ordering::Relaxed)
}

/// Ticks that have passed on this CPU since boot, whether they were taken or not.
#[must_use]
pub fn jiffies() -> u64 {
    hrtimer::peek_tick(Tick::jiffies)
}

/// Of the [`jiffies`], those for which no interrupt came: the CPU was idle, or had masked interrupts for longer
/// than a tick.
#[must_use]
pub fn skipped() -> u64 {
    hrtimer::peek_tick(|tick| tick.skipped.load(Ordering::Relaxed))
}

/// Interrupts that this CPU has taken for ticks.
#[must_use]
pub fn taken() -> u64 {
    // Both as of the last one: while the tick is stopped neither counts.
    hrtimer::peek_tick(|tick| tick.jiffies.load(Ordering::Relaxed) - tick.skipped.load(Ordering::Relaxed))
}

/// Ticks that `cpu`, which is present and has been started, has taken; nothing while its tick is stopped. From any CPU:
/// not exact to the tick.
pub fn taken_by(cpu: usize) -> Option<u64> {
    hrtimer::peek_tick_of(cpu, |tick| {
        (tick.next_ticks() != u64::MAX).then(|| tick.jiffies.load(Ordering::Relaxed))
    })
}

pub(crate) fn init(hz: u32, counter_hz: u64) {
    HZ.store(hz, Ordering::Relaxed);
    PERIOD_TICKS.store(counter_hz / u64::from(hz), Ordering::Relaxed);
}

/// Starts the tick on this CPU, on a grid that begins now. Any context.
pub fn start_this_cpu() {
    hrtimer::with_tick(|tick| {
        let period = PERIOD_TICKS.load(Ordering::Relaxed);
        let is_nohz_full = crate::smp::isolation::is_nohz_full(crate::percpu::raw_smp_processor_id());
        tick.period_ticks.store(if is_nohz_full { 0 } else { period }, Ordering::Relaxed);
        tick.next_ticks.store(arch::timer::counter() + period, Ordering::Relaxed);
    });
}

/// Whether the tick of this CPU is stopped for want of use. IRQs masked.
pub(crate) fn is_stopped_irqs_off() -> bool {
    hrtimer::peek_tick(Tick::is_stopped_unused)
}

/// Lets the tick of this CPU, which is stopped for want of use, go on on its grid. IRQs masked.
pub(crate) fn resume_irqs_off() {
    hrtimer::with_tick(|tick| tick.resume(arch::timer::counter()));
}

/// Stops the tick on this CPU, for measurements that it would disturb. Any context.
pub fn stop_this_cpu() {
    hrtimer::with_tick(|tick| tick.next_ticks.store(u64::MAX, Ordering::Relaxed));
}

impl Tick {
    pub(super) const fn new() -> Self {
        Self {
            next_ticks: AtomicU64::new(u64::MAX),
            jiffies: AtomicU64::new(0),
            resume_ticks: AtomicU64::new(0),
            period_ticks: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    pub(super) fn next_ticks(&self) -> u64 {
        self.next_ticks.load(Ordering::Relaxed)
    }

    /// In the timer interrupt: takes the tick if it is due, and not late by a whole one. When is the next?
    #[inline(always)]
    pub(super) fn take_if_on_time(&self, now_ticks: u64) -> Option<u64> {
        let due = self.next_ticks.load(Ordering::Relaxed);
        // Where it is stopped, `u64::MAX` is never reached.
        let next = due.wrapping_add(self.period_ticks.load(Ordering::Relaxed));
        if now_ticks < due || now_ticks >= next {
            return None;
        }
        self.next_ticks.store(next, Ordering::Relaxed);
        self.jiffies.store(self.jiffies.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Some(next)
    }

    /// In the timer interrupt: takes the tick if it is due, or was.
    #[inline(always)]
    pub(super) fn take_if_due(&self, now_ticks: u64) -> bool {
        if now_ticks < self.next_ticks() {
            return false;
        }
        if self.take_if_on_time(now_ticks).is_none() {
            self.catch_up(now_ticks);
        }
        true
    }

    /// Late by whole periods: interrupts were masked that long, or the machine stood still. The grid stays;
    /// what was missed is counted. On a CPU of `nohz_full=` every tick comes here, and may be the last for a while.
    #[cold]
    #[inline(never)]
    fn catch_up(&self, now_ticks: u64) {
        let passed = self.advance(
            self.next_ticks.load(Ordering::Relaxed),
            now_ticks,
            PERIOD_TICKS.load(Ordering::Relaxed),
        );
        // One of them is being taken.
        self.skipped.store(self.skipped.load(Ordering::Relaxed) + passed - 1, Ordering::Relaxed);
        if self.period_ticks.load(Ordering::Relaxed) == 0 && nohz::try_stop_tick() {
            self.stop_unused();
        }
    }

    /// Counts the ticks from the one at `due` up to now and sets the next. Returns how many they are.
    #[inline(always)]
    fn advance(&self, due: u64, now_ticks: u64, period: u64) -> u64 {
        let passed = forward(due, now_ticks, period);
        self.next_ticks.store(due + passed * period, Ordering::Relaxed);
        self.jiffies.store(self.jiffies.load(Ordering::Relaxed) + passed, Ordering::Relaxed);
        passed
    }

    fn jiffies(&self) -> u64 {
        let resume = self.resume_ticks.load(Ordering::Relaxed);
        let uncounted = if resume == 0 {
            0
        } else {
            forward(resume, arch::timer::counter(), PERIOD_TICKS.load(Ordering::Relaxed))
        };
        self.jiffies.load(Ordering::Relaxed) + uncounted
    }

    /// Whether it was stopped by [`Self::stop_unused`].
    #[inline(always)]
    pub(super) fn is_stopped_unused(&self) -> bool {
        self.resume_ticks.load(Ordering::Relaxed) != 0
    }

    /// The CPU is idle, or has one task, and has no use for the tick. It runs, and is not due.
    pub(super) fn stop_unused(&self) {
        self.resume_ticks.store(self.next_ticks(), Ordering::Relaxed);
        self.next_ticks.store(u64::MAX, Ordering::Relaxed);
    }

    /// The CPU has work again: counts what was skipped and goes on on the same grid.
    #[inline(always)]
    pub(super) fn resume(&self, now_ticks: u64) {
        let due = self.resume_ticks.load(Ordering::Relaxed);
        self.resume_ticks.store(0, Ordering::Relaxed);
        let passed = self.advance(due, now_ticks, PERIOD_TICKS.load(Ordering::Relaxed));
        self.skipped.store(self.skipped.load(Ordering::Relaxed) + passed, Ordering::Relaxed);
    }
}
