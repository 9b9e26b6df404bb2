//! The timer behind deadline budgets and real-time throttling.
//!
//! The classes tell, as a time, when a budget ends or begins ([`Rq::next_event_ns`]); each CPU has one timer
//! that is kept at that time, and [`Rq::event`] is what happens then. It is looked after only where something
//! special is going on, so that a CPU with real-time and fair tasks alone pays two interrupts a second.
//!
//! Invariant: whenever the run queue's lock is released, the timer is at, or before, the next event, or its CPU has been
//! sent an interrupt to set it: a timer is set by its own CPU.
//! Contexts: any, IRQs masked. Locks: the run queue, and the timer base below it. What people are told is
//! noted when the run queue is released again, and formatted by a thread (`notice`).

use super::class::Resched;
use super::control::change_rq;
use super::deadline_rq::DlReport;
use super::entity::SchedRef;
use super::hooks;
use super::notice::{What, note};
use super::rq::{Rq, Special};
use super::runqueue::{RunQueue, cpu_rq, lock_this_rq, task_of, this_rq};
use super::wakeup::resched_rq_if;
use crate::error::Result;
use crate::time::hrtimer::{Hrtimer, Restart};
use arch::patch::{SMP_LOCKS, static_branch};
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A CPU's timer, and what it is set to.
pub(super) struct EventTimer {
    timer: Hrtimer,
    armed_ns: Cell<u64>,
    /// Another CPU has changed the next event, and this one is to look (its timers are its own to set).
    is_stale: AtomicBool,
}

impl EventTimer {
    pub(super) const fn new() -> Self {
        Self { timer: Hrtimer::new_pinned(), armed_ns: Cell::new(u64::MAX), is_stale: AtomicBool::new(false) }
    }

    /// Keeps the timer at the next event. The run queue is locked.
    pub(super) fn program(&self, rq: &Rq) {
        let next_ns = rq.next_event_ns();
        if next_ns == self.armed_ns.get() {
            return;
        }
        if static_branch::<SMP_LOCKS>() && rq.cpu() != this_rq().cpu() {
            return self.ask(rq.cpu());
        }
        self.armed_ns.set(next_ns);
        if next_ns == u64::MAX {
            self.timer.cancel_irqs_off();
        } else {
            self.timer.start_irqs_off(next_ns, expired);
        }
    }

    /// Has `cpu` set its timer itself.
    #[cold]
    #[inline(never)]
    fn ask(&self, cpu: usize) {
        // Before it is served, whoever else asks is served with it: the run queue is locked here and there.
        if !self.is_stale.swap(true, Ordering::Relaxed) {
            hooks::send_wake_list(cpu);
        }
    }

    /// [`Self::program`] after an operation on `p`.
    #[inline(always)]
    pub(super) fn program_if_deadline(&self, rq: &Rq, p: SchedRef) {
        if p.is_above_rt() {
            self.program(rq);
        }
    }
}

/// The interrupt with which another CPU asks this one to set its timer. IRQs masked.
pub(super) fn run_pending() {
    let this = this_rq();
    if this.event.is_stale.load(Ordering::Relaxed) && this.event.is_stale.swap(false, Ordering::Relaxed) {
        this.lock.lock();
        // SAFETY: locked above.
        this.event.program(unsafe { this.rq() });
        // SAFETY: locked above.
        unsafe { this.unlock() };
    }
}

fn expired(_: &Hrtimer) -> Restart {
    // SAFETY: hard interrupt, IRQs masked; the timer is this CPU's.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    this.event.armed_ns.set(u64::MAX);
    rq.update_clock(crate::time::now_ns());
    let was_throttled = rq.special().contains(Special::RT_THROTTLED);
    let decision = rq.event();
    resched_rq_if(this, decision);
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    this.event.program(rq);
    let report = rq.take_dl_report();
    let throttled = !was_throttled && rq.special().contains(Special::RT_THROTTLED);
    let (curr, limits) = (rq.curr(), rq.rt_bandwidth().limits());
    if static_branch::<SMP_LOCKS>() {
        hooks::event(this);
    }
    // SAFETY: locked above.
    unsafe { this.unlock() };
    if report.is_some() || throttled {
        tell(report, throttled.then_some((curr, limits)));
    }
    Restart::No
}

/// What people are told, each once: of every task its first overrun, of the machine its first throttling and
/// its first lag. IRQs masked, so that the tasks are still there.
#[cold]
#[inline(never)]
fn tell(report: Option<DlReport>, throttled: Option<(SchedRef, (u64, u64))>) {
    static THROTTLING_TOLD: AtomicBool = AtomicBool::new(false);
    match report {
        Some(DlReport::Overrun(p)) => {
            let (runtime_ns, period_ns) = (p.dl().params().runtime_ns(), p.dl().params().period_ns());
            note(What::Overrun { runtime_ns, period_ns }, task_of(p));
        }
        Some(DlReport::Lagged(p)) => note(What::Lagged, task_of(p)),
        None => {}
    }
    if let Some((curr, (runtime_ns, period_ns))) = throttled
        && !THROTTLING_TOLD.swap(true, Ordering::Relaxed)
    {
        note(What::Throttled { runtime_ns, period_ns }, task_of(curr));
    }
}

/// Sets what real-time tasks may have of each CPU: `runtime_us` of every `period_us`, or nothing is held back
/// if it is none. Deadline tasks may reserve the same share. Any context.
///
/// # Errors
/// [`crate::Error::BadRuntime`], [`crate::Error::BadPeriod`] for values that make no sense,
/// [`crate::Error::NoBandwidth`] if deadline tasks have reserved more; then nothing has changed.
pub fn set_rt_bandwidth(runtime_us: Option<u32>, period_us: u32) -> Result<()> {
    let limits = limits_ns(runtime_us, period_us)?;
    let cpus = crate::smp::online();
    if cpus.count() <= 1 {
        return set_limits(this_cpu(), limits);
    }
    let mut before = None;
    for cpu in cpus.iter() {
        // They have all been set alike.
        let old = before.get_or_insert_with(|| limits_of(cpu));
        if let Err(error) = set_limits(cpu, limits) {
            for done in cpus.iter().take_while(|&done| done != cpu) {
                // What fitted a moment ago; a reservation that has come meanwhile fits the greater of the two.
                let _ = set_limits(done, *old);
            }
            return Err(error);
        }
    }
    super::dl_root::cpus_changed();
    Ok(())
}

/// Has this CPU hold back what the boot CPU does. Once per further CPU, before its first task.
pub(crate) fn copy_rt_bandwidth() {
    // No task has reserved anything here, so anything fits.
    let _ = set_limits(this_cpu(), limits_of(0));
}

/// The values in nanoseconds, if they make sense.
fn limits_ns(runtime_us: Option<u32>, period_us: u32) -> Result<(u64, u64)> {
    const PERIOD_US: core::ops::RangeInclusive<u32> = 1_000..=1_000_000;
    if !PERIOD_US.contains(&period_us) {
        return Err(crate::Error::BadPeriod { ns: period_us.saturating_mul(1000) });
    }
    let runtime_us = runtime_us.unwrap_or(0);
    if runtime_us > period_us {
        return Err(crate::Error::BadRuntime { ns: runtime_us.saturating_mul(1000) });
    }
    Ok((u64::from(runtime_us) * 1000, u64::from(period_us) * 1000))
}

fn this_cpu() -> usize {
    crate::percpu::raw_smp_processor_id()
}

fn set_limits(cpu: usize, (runtime_ns, period_ns): (u64, u64)) -> Result<()> {
    let set = |rq: &mut Rq| {
        // Whoever takes the tick off a CPU means to give one task the whole of it.
        if crate::smp::isolation::is_nohz_full(cpu) {
            rq.set_dl_limit(runtime_ns, period_ns)
        } else {
            rq.set_rt_bandwidth(runtime_ns, period_ns)
        }
    };
    change_rq(|| lock_cpu_rq(cpu), set)?;
    if static_branch::<SMP_LOCKS>() {
        // What is not held back any more is to be seen by the others.
        let flags = arch::irqflags::local_irq_save();
        let this = lock_cpu_rq(cpu);
        hooks::event(this);
        // SAFETY: locked above.
        unsafe { this.unlock() };
        arch::irqflags::local_irq_restore(flags);
    }
    Ok(())
}

fn limits_of(cpu: usize) -> (u64, u64) {
    let mut limits = (0, 0);
    let _ = change_rq(
        || lock_cpu_rq(cpu),
        |rq| {
            limits = rq.rt_bandwidth().limits();
            Ok::<_, core::convert::Infallible>(Resched::No)
        },
    );
    limits
}

fn lock_cpu_rq(cpu: usize) -> &'static RunQueue {
    let this = cpu_rq(cpu);
    this.lock.lock();
    this
}

/// What the boot arguments say, for this CPU. Once per CPU, before its first task.
pub(crate) fn init_rt_bandwidth(runtime_us: Option<u32>, period_us: u32) {
    let set_here =
        |runtime_us| limits_ns(runtime_us, period_us).and_then(|limits| set_limits(this_cpu(), limits));
    if let Err(error) = set_here(runtime_us) {
        // The same share of another period is what was meant, most likely.
        let runtime_us = (u64::from(period_us) * 95 / 100) as u32;
        log::warn!(target: "sched", "rt_runtime_us with rt_period_us={period_us}: {error}; using {runtime_us}");
        let _ = set_here(Some(runtime_us));
    }
}
