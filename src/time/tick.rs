//! The tick: `hz` times a second on every CPU, it counts jiffies and drives `scheduler_tick`.
//!
//! It is one of the CPU's timers, but not in the tree: it is always there and always restarts, so it has a
//! place of its own beside it. Kept in counter ticks, on one grid: the k-th tick is due at t0 + k·period,
//! however late the ones before were taken.

use crate::per_cpu;
use crate::sched::core as sched;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Ticks per second.
static HZ: AtomicU32 = AtomicU32::new(250);
/// Counter ticks per tick.
static PERIOD_TICKS: AtomicU64 = AtomicU64::new(0);

per_cpu! {
    static NEXT_TICKS: Cell<u64> = Cell::new(u64::MAX);
    static JIFFIES: Cell<u64> = Cell::new(0);
}

/// Ticks per second.
#[must_use]
pub fn hz() -> u32 {
    HZ.load(Ordering::Relaxed)
}

/// Ticks taken by this CPU since boot; missed ones are counted.
#[must_use]
pub fn jiffies() -> u64 {
    let guard = crate::preempt::preempt_disable();
    JIFFIES.get(&guard).get()
}

pub(crate) fn init(hz: u32, counter_hz: u64) {
    HZ.store(hz, Ordering::Relaxed);
    PERIOD_TICKS.store(counter_hz / u64::from(hz), Ordering::Relaxed);
}

/// Starts the tick on this CPU. IRQs masked.
pub(crate) fn start_this_cpu() {
    let first = arch::timer::counter() + PERIOD_TICKS.load(Ordering::Relaxed);
    // SAFETY: IRQs are masked.
    unsafe { NEXT_TICKS.this_cpu() }.set(first);
    arch::timer::set_compare(first);
}

/// When the next tick is due, in counter ticks.
///
/// # Safety
/// IRQs masked.
#[inline(always)]
pub(super) unsafe fn next_ticks() -> u64 {
    // SAFETY: by contract.
    unsafe { NEXT_TICKS.this_cpu() }.get()
}

/// Stops the tick on this CPU, for measurements that it would disturb; `true` stops it. IRQs masked or not.
pub fn stop_this_cpu() {
    let flags = arch::irqflags::local_irq_save();
    // SAFETY: IRQs are masked.
    unsafe { NEXT_TICKS.this_cpu() }.set(u64::MAX);
    arch::irqflags::local_irq_restore(flags);
}

/// Starts the tick again after [`stop_this_cpu`].
pub fn restart_this_cpu() {
    let flags = arch::irqflags::local_irq_save();
    start_this_cpu();
    arch::irqflags::local_irq_restore(flags);
}

/// In the timer interrupt: takes the tick if it is due.
#[inline(always)]
pub(super) fn run_if_due(now_ticks: u64) {
    // SAFETY: hard interrupt.
    let next = unsafe { NEXT_TICKS.this_cpu() };
    let due = next.get();
    if now_ticks < due {
        return;
    }
    let period = PERIOD_TICKS.load(Ordering::Relaxed);
    // Late by whole periods happens only if interrupts were masked that long: then they are skipped, and
    // counted. The division is not on the common path.
    let mut passed = 1;
    if now_ticks - due >= period {
        passed += (now_ticks - due) / period;
    }
    next.set(due + passed * period);
    // SAFETY: hard interrupt.
    let jiffies = unsafe { JIFFIES.this_cpu() };
    jiffies.set(jiffies.get() + passed);
    sched::scheduler_tick();
    #[cfg(target_os = "none")]
    crate::klog::tick();
}
