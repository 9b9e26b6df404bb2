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
//! **Staying awake.** A cycle counter of silicon stands still in WFI. Who measures in cycles across a sleep holds a
//! [`StayAwake`]: meanwhile an idle CPU turns in a loop, IRQs open.
//!
//! Context: the idle task, IRQs masked; [`time_ns`] and its like from any.

use super::hrtimer::{self, BASE, Base};
use crate::per_cpu;
use crate::trace;
use arch::irqflags;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// How a CPU has idled. Written by that CPU with IRQs masked, read by all.
struct Idle {
    /// Counter ticks spent in WFI; while the CPU waits, that minus the counter when the wait began, which is negative: the
    /// idle time is less than the time since boot. So one load tells all.
    ticks: AtomicU64,
    /// How often it waited.
    waits: AtomicU64,
    /// The counter when the last wait ended. The CPU's own.
    woken_ticks: AtomicU64,
}

per_cpu! {
    static IDLE: Idle = Idle {
        ticks: AtomicU64::new(0),
        waits: AtomicU64::new(0),
        woken_ticks: AtomicU64::new(0),
    };
}

/// How many want the CPUs to stay out of WFI.
static AWAKE: AtomicU32 = AtomicU32::new(0);
/// Turns of the loop before the idle loop does its round: a CPU that is to go offline, or has logged something, is not kept
/// from it longer than that.
const TURNS: u32 = 1000;

/// Keeps all CPUs out of WFI while it exists. One that is in it already comes out with its next interrupt. `preempt-stats`
/// takes the loop for a section that cannot be preempted.
#[derive(Debug)]
#[must_use = "the CPUs sleep again as soon as it is dropped"]
pub struct StayAwake(());

impl StayAwake {
    /// From now on.
    #[expect(clippy::new_without_default, reason = "what it does is not what a default does")]
    pub fn new() -> Self {
        AWAKE.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for StayAwake {
    fn drop(&mut self) {
        AWAKE.fetch_sub(1, Relaxed);
    }
}

/// How long this CPU has been idle since boot, in nanoseconds: in WFI, interrupts excluded.
#[must_use]
pub fn time_ns() -> u64 {
    read_this(Idle::time_ns)
}

/// How often this CPU has waited for an interrupt.
#[must_use]
pub fn waits() -> u64 {
    read_this(|idle| idle.waits.load(Relaxed))
}

/// [`time_ns`] of any CPU that has been online; if it is idle, up to now.
#[must_use]
pub fn time_ns_of(cpu: usize) -> u64 {
    of(cpu).time_ns()
}

/// [`waits`] of any CPU that has been online.
#[must_use]
pub fn waits_of(cpu: usize) -> u64 {
    of(cpu).waits.load(Relaxed)
}

/// When the last wait of any CPU that has been online ended, by [`super::now_ns`]: the time at which it saw the
/// interrupt that ended it.
#[must_use]
pub fn woken_ns_of(cpu: usize) -> u64 {
    super::ticks_to_ns(of(cpu).woken_ticks.load(Relaxed))
}

fn of(cpu: usize) -> &'static Idle {
    // SAFETY: atomics. For a CPU that was never online the boot CPU's answer.
    unsafe { IDLE.of(cpu) }
}

fn read_this<R>(read: impl FnOnce(&Idle) -> R) -> R {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs are masked.
    let value = read(unsafe { IDLE.this_cpu() });
    irqflags::local_irq_restore(flags);
    value
}

impl Idle {
    fn time_ns(&self) -> u64 {
        let ticks = self.ticks.load(Relaxed);
        let waits = ticks.cast_signed() < 0;
        super::ticks_to_ns(if waits { ticks.wrapping_add(arch::timer::counter()) } else { ticks })
    }
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
    if AWAKE.load(Relaxed) != 0 {
        return turn_awake(idle);
    }
    idle.waits.store(idle.waits.load(Relaxed) + 1, Relaxed);
    let waiting = idle.ticks.load(Relaxed).wrapping_sub(arch::timer::counter());
    idle.ticks.store(waiting, Relaxed);
    trace::cpu_idle_begins();
    arch::cpu::wait_for_interrupt();
    trace::cpu_idle_ends();
    let now_ticks = arch::timer::counter();
    idle.ticks.store(now_ticks.wrapping_add(waiting), Relaxed);
    idle.woken_ticks.store(now_ticks, Relaxed);
}

/// Waits as [`wait_irqs_off`] does, out of WFI and with IRQs open: handlers run here. That is allowed where the idle loop
/// opens IRQs behind its wait, so it is here. The time counts as idle, handlers included.
#[cold]
#[inline(never)]
fn turn_awake(idle: &Idle) {
    idle.waits.store(idle.waits.load(Relaxed) + 1, Relaxed);
    let begin = arch::timer::counter();
    trace::cpu_idle_begins();
    irqflags::local_irq_enable();
    let mut turns = 0;
    // Whoever makes a task ready here sets the flag in an interrupt, or sends one; both end the loop.
    while turns < TURNS && !arch::thread_info::need_resched() {
        turns += 1;
        arch::cpu::relax();
    }
    irqflags::local_irq_disable();
    trace::cpu_idle_ends();
    let now = arch::timer::counter();
    idle.ticks.store(idle.ticks.load(Relaxed).wrapping_add(now - begin), Relaxed);
    idle.woken_ticks.store(now, Relaxed);
}

/// The idle task is about to switch to another. IRQs masked.
#[inline(always)]
pub(crate) fn leave_irqs_off() {
    // SAFETY: IRQs are masked.
    let base = unsafe { BASE.this_cpu() };
    if base.tick.is_stopped_unused() {
        // SAFETY: IRQs are masked.
        base.tick.resume(unsafe { IDLE.this_cpu() }.woken_ticks.load(Relaxed));
        hrtimer::program(base);
    }
}

/// What there is to do before a wait, whose end is all that counts.
#[inline(never)]
fn prepare() {
    // What a CPU has logged before it stops its tick may be all there is to come. (An isolated one leaves it to others.)
    #[cfg(target_os = "none")]
    if !crate::smp::isolation::is_isolated(crate::percpu::raw_smp_processor_id()) {
        crate::klog::tick();
    }
    // SAFETY: IRQs are masked.
    let base = unsafe { BASE.this_cpu() };
    let next_ticks = base.next_timer_ticks();
    if needs_tick(base, next_ticks) {
        return;
    }
    if !base.tick.is_stopped_unused() && base.tick.next_ticks() != u64::MAX {
        base.tick.stop_unused();
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
