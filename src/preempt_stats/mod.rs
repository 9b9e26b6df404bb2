//! preempt-stats: how long the CPU was closed to others, by whom, and where a scheduling point is missing.
//!
//! Off — as it boots — it costs nothing: its hooks are instructions that are needed anyway (arch `hooks.rs`). Switched on,
//! every section with interrupts masked or preemption off is timed in cycles, idling excluded:
//!
//! | file | what |
//! |---|---|
//! | [`section`] | from states to sections |
//! | [`ledger`] | what is kept: the worst by their places, histogram, sum, the budget |
//! | [`finder`] | how long requests to switch waited, and where the code was |
//! | [`recorder`] | what the hooks call |
//! | [`order`], [`report`] | the command, and what it shows |
//!
//! A section over the *budget* (`latency_budget_us=`, `preempt-stats budget`) is a bug: it is counted, and the log tells
//! once for each pair of places who closed and who opened. An image of tests fails for it.
//!
//! Each CPU records for itself. What is asked of all of them is asked on each, by a call to it (`smp::call`), which
//! interrupts it; for the log those alone that have something to tell.
//!
//! Context: threads, but for the recorder. Locks: SWITCH (a mutex) around switching; nothing is held while the text is
//! written but what `patching` needs.

pub mod finder;
pub mod ledger;
pub mod order;
pub mod recorder;
#[cfg(target_os = "none")]
pub mod report;
pub mod section;

use crate::locking::Mutex;
#[cfg(target_os = "none")]
use crate::locking::RawSpinLockIrqSave;
use crate::patching::{self, PatchFailure};
#[cfg(target_os = "none")]
use crate::smp::call;
use arch::patch::Key;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use recorder::{CpuStats, with_stats};

/// The budget in microseconds, for showing it. Held while the statistics are switched.
static SWITCH: Mutex<Option<u32>> = Mutex::new(None);
/// What SWITCH has said last, for CPUs that start; 0: no budget.
static ON: AtomicBool = AtomicBool::new(false);
static BUDGET_CYCLES: AtomicU64 = AtomicU64::new(0);

/// What a result line says of it, since its hooks are in every figure: ` preempt_stats=on`, or nothing.
#[must_use]
pub fn mark() -> &'static str {
    if ON.load(Ordering::Relaxed) { " preempt_stats=on" } else { "" }
}

/// Starts timing, from zero. Does nothing if it is on.
///
/// # Errors
/// The text cannot be patched; then it is off.
pub fn on() -> Result<(), PatchFailure> {
    let _switch = SWITCH.lock();
    switch_on()
}

fn switch_on() -> Result<(), PatchFailure> {
    if ON.load(Ordering::Relaxed) {
        return Ok(());
    }
    if let Err(failure) = patching::set_key(Key::PreemptStats, true) {
        // What was switched is switched back; that this fails too has the same cause.
        let _ = patching::set_key(Key::PreemptStats, false);
        return Err(failure);
    }
    // From here on all sites are there: no section can end at one that is not.
    on_each(&|stats| stats.start(arch::pmu::cycles()));
    ON.store(true, Ordering::Relaxed);
    Ok(())
}

/// Stops timing; what was found can still be shown.
///
/// # Errors
/// The text cannot be patched; nothing is timed all the same.
pub fn off() -> Result<(), PatchFailure> {
    let _switch = SWITCH.lock();
    ON.store(false, Ordering::Relaxed);
    on_each(&|stats| stats.stop(arch::pmu::cycles()));
    patching::set_key(Key::PreemptStats, false).map(|_| ())
}

/// Forgets what was found. The budget stays.
pub fn reset() {
    on_each(&|stats| stats.reset(arch::pmu::cycles()));
}

/// Sections longer than this are bugs; `None`: none is. A budget switches the statistics on.
///
/// # Errors
/// As [`on`].
#[cfg(target_os = "none")]
pub fn set_budget(budget_us: Option<u32>) -> Result<(), PatchFailure> {
    let cycles = budget_us.map(|us| crate::shell::cpu_clock::ns_to_cycles(u64::from(us) * 1000));
    let mut switch = SWITCH.lock();
    *switch = budget_us;
    BUDGET_CYCLES.store(cycles.unwrap_or(0), Ordering::Relaxed);
    on_each(&|stats| stats.ledger.set_budget(cycles));
    if budget_us.is_some() { switch_on() } else { Ok(()) }
}

/// The budget in microseconds.
#[must_use]
pub fn budget_us() -> Option<u32> {
    *SWITCH.lock()
}

/// Sections over the budget since the last reset, on all CPUs.
#[must_use]
pub fn violations() -> u64 {
    let sum = AtomicU64::new(0);
    on_each(&|stats| {
        sum.fetch_add(stats.ledger.violations, Ordering::Relaxed);
    });
    sum.into_inner()
}

/// A copy of everything that this CPU has recorded. Interrupts are masked for the copy, of some three kilobytes.
#[must_use]
pub fn snapshot() -> CpuStats {
    with_stats(copy)
}

/// A copy of everything that `cpu` has recorded; none if it is offline.
#[cfg(target_os = "none")]
#[must_use]
pub fn snapshot_of(cpu: usize) -> Option<CpuStats> {
    let place = RawSpinLockIrqSave::new(None);
    call::call_function_single(cpu, &|| *place.lock() = Some(snapshot())).ok()?;
    place.lock().take()
}

fn copy(stats: &mut CpuStats) -> CpuStats {
    let mut copy = stats.clone();
    if copy.is_active() {
        copy.until_cycles = arch::pmu::cycles();
    }
    copy
}

/// Runs `f` on the statistics of every CPU that is online, there.
#[cfg(target_os = "none")]
fn on_each(f: &(dyn Fn(&mut CpuStats) + Sync)) {
    call::on_each_cpu(&|| with_stats(f));
}

#[cfg(not(target_os = "none"))]
fn on_each(f: &(dyn Fn(&mut CpuStats) + Sync)) {
    with_stats(f);
}

/// A CPU starts: records if the others do. On that CPU, IRQs masked.
#[cfg(target_os = "none")]
pub(crate) fn starting() {
    let budget = BUDGET_CYCLES.load(Ordering::Relaxed);
    with_stats(|stats| {
        stats.ledger.set_budget((budget != 0).then_some(budget));
        if ON.load(Ordering::Relaxed) {
            stats.start(arch::pmu::cycles());
        }
    });
}
