//! The looks at the CPUs, out of a timer of each CPU that keeps house.
//!
//! A look that finds a CPU stuck asks it for its back-trace and comes back [`ANSWER_NS`] later, to report it with the
//! answer or without. Nothing waits meanwhile.
//!
//! Invariant: the timer of a CPU runs exactly while [`THRESH_NS`] is not 0 and the CPU keeps house.
//! Context: [`set_threshold`] in threads; the looks in the timer's interrupt. Locks: a CPU's entry of [`SEEN`]; below it
//! its run queue, tried.

use super::answer;
use super::judge::{CpuWatch, Sight, Verdict};
use super::report::{self, Stuck};
use super::share::watched_by;
use crate::locking::RawSpinLockIrqSave;
use crate::percpu::raw_smp_processor_id;
use crate::sched::watch;
use crate::smp::call::call_function_single;
use crate::smp::{self, CpuMask, isolation};
use crate::time::hrtimer::{Hrtimer, Restart};
use crate::time::{now_ns, tick};
use crate::{MAX_CPUS, per_cpu};
use arch::irqflags;
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

/// How long a CPU has for its answer.
pub(super) const ANSWER_NS: u64 = 50_000_000;

/// 0: nobody looks.
static THRESH_NS: AtomicU64 = AtomicU64::new(0);

/// What is known of each CPU. An entry belongs to whoever watches the CPU, which may change as CPUs come and go.
static SEEN: [RawSpinLockIrqSave<Seen>; MAX_CPUS] = [const { RawSpinLockIrqSave::new(UNSEEN) }; MAX_CPUS];
const UNSEEN: Seen = Seen { watch: CpuWatch::new(), stuck: None };

struct Seen {
    watch: CpuWatch,
    /// To be reported once the CPU has answered.
    stuck: Option<Stuck>,
}

/// A CPU's timer. Touched by its own CPU with IRQs masked.
struct Watcher {
    timer: Hrtimer,
    /// The CPUs whose answer is waited for.
    asked: Cell<CpuMask>,
    /// When the CPUs are looked at next; the timer may go off before, for an answer.
    next_ns: Cell<u64>,
    /// The preempt word of the task that the look has interrupted.
    word: Cell<u64>,
}

per_cpu! {
    static WATCHER: Watcher =
        Watcher { timer: Hrtimer::new_pinned(), asked: Cell::new(CpuMask::NONE), next_ns: Cell::new(0), word: Cell::new(0) };
}

/// Looks every half `thresh_ns` from now on; 0: not any more. Thread context.
pub(super) fn set_threshold(thresh_ns: u64) {
    THRESH_NS.store(thresh_ns, Ordering::Relaxed);
    smp::online().iter().for_each(cpu_online);
}

/// Begins to watch `cpu`, and has it watch others if it keeps house. It is online. Thread context.
pub(crate) fn cpu_online(cpu: usize) {
    *SEEN[cpu].lock() = UNSEEN;
    if isolation::housekeeping().contains(cpu)
        && let Err(error) = call_function_single(cpu, &set_this_cpu)
    {
        log::error!(target: "watchdog", "CPU {cpu} does not watch: {error}");
    }
}

/// `cpu`, which still is online, watches nobody any more. Thread context.
pub(crate) fn cpu_going_down(cpu: usize) {
    // Offline: nothing runs there.
    let _ = call_function_single(cpu, &|| set_timer(0));
}

/// Starts or stops the timer of this CPU, as [`THRESH_NS`] says.
fn set_this_cpu() {
    set_timer(THRESH_NS.load(Ordering::Relaxed) / 2);
}

/// Looks every `half_ns` from now on; 0: not any more.
fn set_timer(half_ns: u64) {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs are masked.
    let watcher = unsafe { WATCHER.this_cpu() };
    watcher.asked.set(CpuMask::NONE);
    if half_ns == 0 {
        watcher.timer.cancel_irqs_off();
    } else {
        watcher.next_ns.set(now_ns() + half_ns);
        watcher.timer.start_irqs_off(watcher.next_ns.get(), look);
    }
    irqflags::local_irq_restore(flags);
}

/// The timer's callback.
fn look(_: &Hrtimer) -> Restart {
    let thresh_ns = THRESH_NS.load(Ordering::Relaxed);
    if thresh_ns == 0 {
        return Restart::No;
    }
    // SAFETY: hard interrupt, IRQs masked.
    let watcher = unsafe { WATCHER.this_cpu() };
    let (me, now) = (raw_smp_processor_id(), now_ns());
    // Before there are locks of this function's own in it.
    watcher.word.set(arch::thread_info::preempt_word());
    for cpu in watcher.asked.replace(CpuMask::NONE).iter() {
        tell(me, cpu);
    }
    if now >= watcher.next_ns.get() {
        watcher.next_ns.set(now + thresh_ns / 2);
        let watched = watched_by(me, isolation::housekeeping(), smp::online());
        let stuck = watched.iter().filter(|&cpu| is_stuck(me, cpu, now, thresh_ns));
        let stuck = stuck.fold(CpuMask::NONE, CpuMask::with);
        if stuck.contains(me) {
            if let Some(stuck) = &mut SEEN[me].lock().stuck {
                stuck.peek.preempt_word = watcher.word.get();
            }
            tell(me, me);
        }
        let others = stuck.without(me);
        if !others.is_empty() {
            answer::ask(others);
            watcher.asked.set(others);
            return Restart::At(now + ANSWER_NS);
        }
    }
    Restart::At(watcher.next_ns.get())
}

/// Looks at `cpu`. If that is to be reported, it has been noted.
fn is_stuck(me: usize, cpu: usize, now: u64, thresh_ns: u64) -> bool {
    let mut seen = SEEN[cpu].lock();
    let peek = watch::peek(cpu);
    let sight = Sight {
        switch_stamp: peek.stamp,
        // This CPU takes an interrupt at this moment.
        ticks: if cpu == me { None } else { tick::taken_by(cpu) },
        is_idle: peek.is_idle,
        // Stuck with its run queue locked: nobody gets on it, whether there is somebody or not.
        waiting: peek.waiting || peek.unlocked,
    };
    let verdict = seen.watch.look(now, sight, thresh_ns);
    match verdict {
        Verdict::LockedUp { .. } | Verdict::Stalled { .. } => {
            seen.stuck = Some(Stuck { verdict, peek });
            true
        }
        Verdict::Recovered { after_ns } => {
            drop(seen);
            report::recovered(cpu, after_ns);
            false
        }
        Verdict::Fine => false,
    }
}

fn tell(me: usize, cpu: usize) {
    let stuck = SEEN[cpu].lock().stuck.take();
    if let Some(stuck) = stuck {
        report::stuck(me, cpu, &stuck);
    }
}
