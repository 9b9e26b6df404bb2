//! The trace ring: the last scheduler events of each CPU, for the panic message and the shell.
//!
//! Off, a hook is one `nop` (`arch::patch`). On (`trace=1`, or `trace on` in the shell), it stores four words into the CPU's own ring
//! and does nothing else: no lock, no allocation, no timer, nothing that could schedule. The ring
//! overwrites its oldest events.
//!
//! Context: any, IRQs masked by the caller.

use crate::per_cpu;
use crate::task::Task;
use arch::patch::{TRACE, static_branch};
use core::cell::Cell;
use core::fmt;

/// Events kept per CPU.
pub const RING_EVENTS: usize = 256;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet.
    Empty,
    /// Task `a` gave way to task `b`; `preempt`: it did not want to.
    Switch {
        /// Left.
        prev: u32,
        /// Runs now.
        next: u32,
        /// Preempted, not asleep.
        preempt: bool,
    },
    /// A task became ready.
    Wakeup {
        /// The task.
        task: u32,
        /// Its kernel priority.
        prio: i32,
    },
}

/// An event with its time.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Counter ticks.
    pub ticks: u64,
    /// What happened.
    pub event: Event,
}

struct Ring {
    entries: [Cell<Entry>; RING_EVENTS],
    written: Cell<usize>,
}

per_cpu! {
    static RING: Ring = Ring {
        entries: [const { Cell::new(Entry { ticks: 0, event: Event::Empty }) }; RING_EVENTS],
        written: Cell::new(0),
    };
}

#[inline(always)]
pub(crate) fn sched_switch(prev: &Task, next: &Task, preempt: bool) {
    if static_branch::<TRACE>() {
        record(Event::Switch { prev: prev.id(), next: next.id(), preempt });
    }
}

#[inline(always)]
pub(crate) fn sched_wakeup(task: &Task) {
    if static_branch::<TRACE>() {
        record(Event::Wakeup { task: task.id(), prio: task.sched.prio() });
    }
}

#[cold]
#[inline(never)]
fn record(event: Event) {
    // SAFETY: the hooks are called with IRQs masked.
    let ring = unsafe { RING.this_cpu() };
    let at = ring.written.get();
    ring.entries[at % RING_EVENTS].set(Entry { ticks: arch::timer::counter(), event });
    ring.written.set(at + 1);
}

/// The last `limit` events of this CPU, oldest first; in thread context newer ones may take their places.
pub fn for_each_last(limit: usize, mut f: impl FnMut(&Entry)) {
    // SAFETY: a reader on its own CPU; each event is copied with IRQs masked, so never while one is written.
    let ring = unsafe { RING.this_cpu() };
    let written = ring.written.get();
    let count = written.min(limit).min(RING_EVENTS);
    for i in written - count..written {
        let flags = arch::irqflags::local_irq_save();
        let entry = ring.entries[i % RING_EVENTS].get();
        arch::irqflags::local_irq_restore(flags);
        f(&entry);
    }
}

/// The last `limit` events of `cpu`, which is present and has been started, oldest first. It may be writing: an event
/// may be torn, so this is for a CPU that gets nowhere.
pub(crate) fn for_each_last_of(cpu: usize, limit: usize, mut f: impl FnMut(&Entry)) {
    // SAFETY: plain words that are copied; a torn one is only printed.
    let ring = unsafe { RING.of(cpu) };
    let written = ring.written.get();
    let count = written.min(limit).min(RING_EVENTS);
    (written - count..written).for_each(|i| f(&ring.entries[i % RING_EVENTS].get()));
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "-"),
            Self::Switch { prev, next, preempt } => {
                write!(f, "switch  task {prev} -> {next}{}", if preempt { " (preempted)" } else { "" })
            }
            Self::Wakeup { task, prio } => write!(f, "wake-up task {task} (prio {prio})"),
        }
    }
}
