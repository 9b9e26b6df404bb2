//! Time for tests: how exact the machine's clock is, a held-off tick, and work that takes a known time.

use core::sync::atomic::{AtomicBool, Ordering};
use stint::time::{now_ns, tick};
use stint::trace::event::KindSet;
use stint::{start, task};

/// The most that a timer may be late on a machine with an exact clock, where nothing masks interrupts: entry,
/// handler and, for a task, wake-up and switch, with every debug check on.
pub const LATE_NS: u64 = 10_000;

/// Whether a nanosecond is an instruction (`-icount shift=0`): then times are part of the behaviour, and a test
/// may assert upper bounds. On any other machine it asserts orders and lower bounds alone; and so it does in a run with
/// a latency budget, or with every change of the mask traced, in which everything takes longer by the hooks of preempt-stats.
pub fn is_exact() -> bool {
    if stint::preempt_stats::budget_us().is_some() || at_boot().meets(KindSet::SECTIONS) {
        return false;
    }
    let sample = || {
        let flags = arch::irqflags::local_irq_save();
        let before = arch::pmu::cycles();
        work(500);
        let cycles = arch::pmu::cycles().wrapping_sub(before);
        arch::irqflags::local_irq_restore(flags);
        cycles
    };
    let first = sample();
    (0..8).all(|_| sample() == first)
}

/// What the run is traced for.
fn at_boot() -> KindSet {
    start::boot_info().bootargs.trace.unwrap_or(KindSet::NONE)
}

/// Turns of a loop of two instructions, in a function of its own.
#[inline(never)]
pub fn work(turns: u32) {
    work_inline(turns);
}

/// [`work`] as a part of the caller.
#[inline(always)]
pub fn work_inline(turns: u32) {
    // SAFETY: counts a register down.
    unsafe {
        core::arch::asm!("2: subs {n:w}, {n:w}, #1", "b.ne 2b", n = inout(reg) turns.max(1) => _, options(nomem, nostack))
    };
}

/// Uses the CPU for `ns` nanoseconds of the machine's clock, the time of others included.
pub fn spin_ns(ns: u64) {
    spin_until_ns(now_ns() + ns);
}

/// Uses the CPU until the machine's clock shows `ns`.
pub fn spin_until_ns(ns: u64) {
    while now_ns() < ns {
        work(20);
    }
}

/// Uses the CPU until told to stop. As a long path of the kernel has to, it comes to scheduling points, which do
/// nothing where it is preempted.
pub fn hog(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        work(50);
        stint::preempt::cond_resched();
    }
}

/// The length of a tick in nanoseconds.
pub fn tick_ns() -> u64 {
    stint::time::NSEC_PER_SEC / u64::from(tick::hz())
}

/// Holds the tick off while it lives: what happens then, happens for another reason.
#[must_use = "the tick is back as soon as it is dropped"]
pub struct TickOff(());

impl TickOff {
    /// Stops the tick of this CPU and lets an interrupt that was on its way pass.
    pub fn new() -> Self {
        tick::stop_this_cpu();
        task::sleep_ns(10_000);
        Self(())
    }
}

impl Drop for TickOff {
    fn drop(&mut self) {
        tick::start_this_cpu();
    }
}

/// The interrupt of the cycle counter, if the machine has one.
pub fn pmu_interrupt() -> Option<u32> {
    start::boot_info().pmu_interrupt.map(|interrupt| interrupt.intid)
}

/// The fair class's periods and granularities, and what a test makes of them, are this many times what they are on one CPU.
pub fn fair_scale() -> u64 {
    let latency_ns = stint::sched::core::with_rq(|rq| rq.cfs().tunables().sched_latency_ns);
    latency_ns / stint::sched::Tunables::for_cpus(1).sched_latency_ns
}
