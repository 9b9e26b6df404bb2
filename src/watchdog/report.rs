//! What is said of a CPU that gets nowhere.
//!
//! The lines go to the log, which may be written in any context. The thread that brings the log to the console may be
//! one of those that wait for the CPU: where a CPU reports itself, the log is written out from here.
//!
//! Context: hard interrupt. It takes as long as the console does where a CPU reports itself; otherwise some hundred
//! thousand instructions, once for each CPU that gets stuck.

use super::judge::Verdict;
use super::lockup::ANSWER_NS;
use super::{Reports, answer};
use crate::ksyms::{ReturnAddress, Symbol};
use crate::locking::pi::Awaited;
use crate::preempt::HARDIRQ_MASK;
use crate::sched::prio::Policy;
use crate::sched::watch::CpuPeek;
use crate::time::NSEC_PER_SEC;
use crate::{klog, trace};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

/// Trace events that are shown of a CPU that does not answer.
const TRACE_EVENTS: usize = 8;

/// A CPU that is to be reported, as it was when that was found out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stuck {
    pub(super) verdict: Verdict,
    pub(super) peek: CpuPeek,
}

static STUCK: AtomicU32 = AtomicU32::new(0);
static RECOVERED: AtomicU32 = AtomicU32::new(0);
static HUNG: AtomicU32 = AtomicU32::new(0);

/// How often something was told since boot.
#[must_use]
pub fn reports() -> Reports {
    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    Reports { stuck: count(&STUCK), recovered: count(&RECOVERED), hung: count(&HUNG) }
}

pub(super) fn stuck(me: usize, cpu: usize, stuck: &Stuck) {
    let peek = &stuck.peek;
    let (for_ns, why) = match stuck.verdict {
        Verdict::Stalled { for_ns } => (for_ns, "it has taken no tick"),
        Verdict::LockedUp { for_ns } if peek.is_idle => (for_ns, "it idles while others wait for it"),
        Verdict::LockedUp { for_ns } => (for_ns, "it has not switched while others wait for it"),
        Verdict::Fine | Verdict::Recovered { .. } => return,
    };
    STUCK.fetch_add(1, Ordering::Relaxed);
    // On this CPU the interrupt that looks is counted too.
    let count = peek.preempt_word as u32;
    let count = if cpu == me { count & !HARDIRQ_MASK } else { count };
    log::error!(
        target: "watchdog",
        "CPU {cpu} stuck for {} in task {}/{} ({}), preempt_count {count:#x}: {why}{}",
        Lasting(for_ns),
        peek.name.as_str(),
        peek.id,
        PolicyOf(peek),
        if peek.unlocked { "; its run queue is locked" } else { "" }
    );
    let print =
        |i: usize, pc: u64| log::error!(target: "watchdog", "CPU {cpu}   #{i:<2} {}", ReturnAddress(pc));
    if cpu == me {
        let mut depth = 0;
        arch::backtrace::walk_interrupted(arch::backtrace::frame_pointer(), answer::FRAMES, |pc| {
            print(depth, pc);
            depth += 1;
        });
        // Whoever brings the log to the console waits too.
        klog::drain_here();
    } else if !answer::for_each_frame(cpu, print) {
        log::error!(
            target: "watchdog",
            "CPU {cpu} does not answer within {} ms: it has interrupts masked, or hangs; its frames are not known",
            ANSWER_NS / 1_000_000
        );
        last_events(cpu);
    }
}

/// What is known of a CPU that does not answer: its last scheduler events.
fn last_events(cpu: usize) {
    if !arch::patch::is_enabled(arch::patch::Key::Trace) {
        log::error!(target: "watchdog", "CPU {cpu}   trace is off; boot with trace=1 to see its last events here");
        return;
    }
    trace::for_each_last_of(cpu, TRACE_EVENTS, |entry| {
        log::error!(target: "watchdog", "CPU {cpu}   {:>12} ns  {}", crate::time::ticks_to_ns(entry.ticks), entry.event);
    });
}

pub(super) fn recovered(cpu: usize, after_ns: u64) {
    RECOVERED.fetch_add(1, Ordering::Relaxed);
    log::warn!(target: "watchdog", "CPU {cpu} gets on again, after {}", Lasting(after_ns));
}

/// A task has waited for a lock for `for_ns`. Thread context.
pub(super) fn hung(name: &str, id: u32, for_ns: u64, awaited: Option<&Awaited>, frames: &[u64]) {
    HUNG.fetch_add(1, Ordering::Relaxed);
    let time = Lasting(for_ns);
    match awaited {
        Some(awaited) => {
            log::error!(target: "watchdog", "task {name}/{id} waits for {time} for the {awaited}")
        }
        None => log::error!(target: "watchdog", "task {name}/{id} waits for {time}"),
    }
    frames.iter().enumerate().for_each(|(i, &pc)| frame(name, i, pc));
}

fn frame(name: &str, i: usize, pc: u64) {
    if i == 0 {
        // Where it was switched away from, and not a return address.
        log::error!(target: "watchdog", "{name}   #{i:<2} {}", Symbol(pc));
    } else {
        log::error!(target: "watchdog", "{name}   #{i:<2} {}", ReturnAddress(pc));
    }
}

/// Seconds, or milliseconds where it is less than one.
struct Lasting(u64);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns if ns < NSEC_PER_SEC => write!(f, "{} ms", ns / 1_000_000),
            ns => write!(f, "{} s", ns / NSEC_PER_SEC),
        }
    }
}

/// A policy with its priority: `FIFO 50`.
struct PolicyOf<'a>(&'a CpuPeek);

impl fmt::Display for PolicyOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.policy {
            _ if self.0.is_idle => f.write_str("idle task"),
            Policy::Fifo => write!(f, "FIFO {}", self.0.rt_priority),
            Policy::Rr => write!(f, "RR {}", self.0.rt_priority),
            Policy::Deadline => f.write_str("deadline"),
            Policy::Normal | Policy::Batch | Policy::Idle => f.write_str("fair"),
        }
    }
}
