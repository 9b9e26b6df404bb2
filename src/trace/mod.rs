//! The trace ring: the last scheduler events of each CPU, for the panic message and the shell.
//!
//! Off, a hook is one `nop` (`arch::patch`). On (`trace=1`, or `trace on` in the shell), it stores four words into the CPU's own ring
//! and does nothing else: no lock, no allocation, no timer, nothing that could schedule. The ring
//! overwrites its oldest events. Readers merge the rings by time, the counter being the same on all CPUs, and leave out
//! what is overwritten under their eyes.
//!
//! Invariant: a ring is written by its own CPU alone.
//! Context: recording: any, IRQs masked by the caller. Reading: any. Locks: none.
#![deny(unsafe_code)]

use crate::task::Task;
use crate::{MAX_CPUS, per_cpu};
use arch::patch::{TRACE, static_branch};
use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, AtomicUsize, fence};

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

/// An [`Entry`] in words that one CPU writes and another may read meanwhile: the time; two numbers; and what they are.
struct Slot([AtomicU64; 3]);

/// [`Event::Switch`] of a task that did not want to, [`Event::Switch`] of one that did, [`Event::Wakeup`].
const PREEMPTED: u64 = 1;
const SWITCHED: u64 = 2;
const WOKEN: u64 = 3;

impl Slot {
    fn store(&self, entry: Entry) {
        let (numbers, what) = match entry.event {
            Event::Empty => (0, 0),
            Event::Switch { prev, next, preempt } => {
                (u64::from(prev) | u64::from(next) << 32, if preempt { PREEMPTED } else { SWITCHED })
            }
            Event::Wakeup { task, prio } => (u64::from(task) | u64::from(prio.cast_unsigned()) << 32, WOKEN),
        };
        self.0[0].store(entry.ticks, Relaxed);
        self.0[1].store(numbers, Relaxed);
        self.0[2].store(what, Relaxed);
    }

    fn load(&self) -> Entry {
        let numbers = self.0[1].load(Relaxed);
        let (low, high) = (numbers as u32, (numbers >> 32) as u32);
        let event = match self.0[2].load(Relaxed) {
            what @ (PREEMPTED | SWITCHED) => {
                Event::Switch { prev: low, next: high, preempt: what == PREEMPTED }
            }
            WOKEN => Event::Wakeup { task: low, prio: high.cast_signed() },
            _ => Event::Empty,
        };
        Entry { ticks: self.0[0].load(Relaxed), event }
    }
}

struct Ring {
    slots: [Slot; RING_EVENTS],
    /// Events whose writing was begun since boot.
    begun: AtomicUsize,
    /// Events written since boot.
    written: AtomicUsize,
}

impl Ring {
    /// The event that was written as the `at`-th; none if it has been overwritten, or is about to be.
    fn get(&self, at: usize) -> Option<Entry> {
        let entry = self.slots[at % RING_EVENTS].load();
        // The words before the count: if it has not gone so far since, they belong together.
        fence(Acquire);
        (self.begun.load(Relaxed) <= at + RING_EVENTS).then_some(entry)
    }
}

per_cpu! {
    #[cfg_attr(target_os = "none", expect(unsafe_code, reason = "it is in a section of its own"))]
    static RING: Ring = Ring {
        slots: [const { Slot([const { AtomicU64::new(0) }; 3]) }; RING_EVENTS],
        begun: AtomicUsize::new(0),
        written: AtomicUsize::new(0),
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
    // The hooks are called with IRQs masked.
    let ring = RING.shared(crate::percpu::raw_smp_processor_id());
    let at = ring.written.load(Relaxed);
    // Before the words: a reader that finds a new word finds that the old event is gone.
    ring.begun.store(at + 1, Relaxed);
    fence(Release);
    ring.slots[at % RING_EVENTS].store(Entry { ticks: arch::timer::counter(), event });
    ring.written.store(at + 1, Release);
}

/// The last `limit` events of all CPUs with the CPU of each, by their times, oldest first. New ones may take the place of
/// the oldest meanwhile. Bound: the number of CPUs for each event.
pub fn for_each_last(limit: usize, mut f: impl FnMut(usize, &Entry)) {
    let mut ends = [0; MAX_CPUS];
    let mut starts = [0; MAX_CPUS];
    for (cpu, ring) in RING.each() {
        ends[cpu] = ring.written.load(Acquire);
        starts[cpu] = ends[cpu];
    }
    // Backwards from the ends, the newest of all first, to find where to begin.
    for _ in 0..limit {
        let newest = RING.each().filter_map(|(cpu, ring)| {
            let at = starts[cpu].checked_sub(1)?;
            (ends[cpu] - at <= RING_EVENTS).then(|| ring.get(at))?.map(|entry| (entry.ticks, cpu))
        });
        let Some((_, cpu)) = newest.max_by_key(|&(ticks, _)| ticks) else { break };
        starts[cpu] -= 1;
    }
    loop {
        let oldest = RING.each().filter_map(|(cpu, ring)| {
            // Those that have been overwritten since are left out.
            while starts[cpu] < ends[cpu] {
                if let Some(entry) = ring.get(starts[cpu]) {
                    return Some((entry, cpu));
                }
                starts[cpu] += 1;
            }
            None
        });
        let Some((entry, cpu)) = oldest.min_by_key(|(entry, _)| entry.ticks) else { return };
        starts[cpu] += 1;
        f(cpu, &entry);
    }
}

/// The last `limit` events of `cpu`, oldest first.
pub(crate) fn for_each_last_of(cpu: usize, limit: usize, mut f: impl FnMut(&Entry)) {
    let ring = RING.shared(cpu);
    let end = ring.written.load(Acquire);
    (end - end.min(limit).min(RING_EVENTS)..end).filter_map(|at| ring.get(at)).for_each(|entry| f(&entry));
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
