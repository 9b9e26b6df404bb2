//! Idle without a tick, and how long the CPU was idle.
//!
//! A CPU that has nothing to do has no use for the tick: nobody is preempted, and jiffies follow from the
//! clock. So before it waits, it stops the tick, unless a timer comes before the next one anyhow, and sets the
//! hardware to the next timer, or to nothing at all. When a task is ready again, the tick goes on on its grid
//! (reference 6.4).
//!
//! **No lost wake-up.** Everything from the idle loop's look at `need_resched` to WFI happens with IRQs masked,
//! and WFI ends when an interrupt is pending, masked or not. So whatever comes meanwhile, comes at once.
//!
//! The log has its drain thread woken by the tick. Before the CPU waits, that is done here.
//!
//! **Cost.** What is done before WFI is nobody's latency. Behind it there is one read of the clock for the idle
//! time, and that same time is the one at which the tick goes on: 30-odd instructions between the interrupt
//! and the switch to whom it woke.
//!
//! Context: the idle task, IRQs masked; [`time_ns`] and [`waits`] from any.

use super::hrtimer::{self, BASE, Base};
use crate::per_cpu;
use arch::irqflags;
use core::cell::Cell;

/// How a CPU has idled.
struct Idle {
    /// Counter ticks spent in WFI.
    ticks: Cell<u64>,
    /// How often it waited.
    waits: Cell<u64>,
    /// The counter when the last wait ended.
    woken_ticks: Cell<u64>,
}

per_cpu! {
    static IDLE: Idle = Idle { ticks: Cell::new(0), waits: Cell::new(0), woken_ticks: Cell::new(0) };
}

/// How long this CPU has been idle since boot, in nanoseconds: in WFI, interrupts excluded.
#[must_use]
pub fn time_ns() -> u64 {
    super::ticks_to_ns(read(|idle| idle.ticks.get()))
}

/// How often this CPU has waited for an interrupt.
#[must_use]
pub fn waits() -> u64 {
    read(|idle| idle.waits.get())
}

fn read(field: impl FnOnce(&Idle) -> u64) -> u64 {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs are masked.
    let value = field(unsafe { IDLE.this_cpu() });
    irqflags::local_irq_restore(flags);
    value
}

/// Waits for an interrupt, which is not served yet when it returns. It may return without one: the caller
/// looks at `need_resched` again. The idle task, IRQs masked.
#[inline(always)]
pub(crate) fn wait_irqs_off() {
    prepare();
    // SAFETY: IRQs are masked.
    let idle = unsafe { IDLE.this_cpu() };
    if arch::thread_info::need_resched() {
        // Somebody was woken on the way here.
        return;
    }
    idle.waits.set(idle.waits.get() + 1);
    // So much is less to do behind the wait.
    let before = arch::timer::counter().wrapping_sub(idle.ticks.get());
    arch::cpu::wait_for_interrupt();
    let now_ticks = arch::timer::counter();
    idle.ticks.set(now_ticks.wrapping_sub(before));
    idle.woken_ticks.set(now_ticks);
}

/// The idle task is about to switch to another. IRQs masked.
#[inline(always)]
pub(crate) fn leave_irqs_off() {
    // SAFETY: IRQs are masked.
    let base = unsafe { BASE.this_cpu() };
    if base.tick.is_idle_stopped() {
        // SAFETY: IRQs are masked.
        base.tick.resume(unsafe { IDLE.this_cpu() }.woken_ticks.get());
        hrtimer::program(base);
    }
}

/// What there is to do before a wait, whose end is all that counts.
#[inline(never)]
fn prepare() {
    // (The drain thread is the boot CPU's business.)
    #[cfg(target_os = "none")]
    if crate::percpu::raw_smp_processor_id() == 0 {
        crate::klog::tick();
    }
    // SAFETY: IRQs are masked.
    let base = unsafe { BASE.this_cpu() };
    let next_ticks = base.next_timer_ticks();
    if needs_tick(base, next_ticks) {
        return;
    }
    if !base.tick.is_idle_stopped() && base.tick.next_ticks() != u64::MAX {
        base.tick.stop_for_idle();
    }
    if next_ticks == u64::MAX {
        arch::timer::stop();
    } else {
        arch::timer::set_compare(next_ticks);
    }
}

/// A running tick stays if it would not be missed: a timer is due no later.
fn needs_tick(base: &Base, next_timer_ticks: u64) -> bool {
    let tick_ticks = base.tick.next_ticks();
    tick_ticks != u64::MAX && next_timer_ticks <= tick_ticks
}
