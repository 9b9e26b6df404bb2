//! Tasklets: a function each, run once by a softirq after it was scheduled, never twice at a time.
//!
//! Linux's rules (reference 7.1). SCHED says that it waits; scheduling one that waits does nothing. RUN says that
//! it runs, on whichever CPU. SCHED is cleared before the call, so a tasklet may schedule itself, and what is scheduled
//! while it runs runs again: on another CPU it waits there until RUN is gone, the softirq being raised again. One that
//! is disabled when its turn comes leaves the list (PARKED), and the last `enable` puts it on that CPU's. (Linux leaves
//! it there and raises the softirq over and over.)
//!
//! **Bound:** a run takes the list as it is, and when a task wants the CPU it puts the rest back and raises the
//! softirq again.
//!
//! Invariants: SCHED is set exactly while it is on one list, or PARKED, or about to be; whoever clears PARKED puts it on
//! a list.
//!
//! Context: scheduling and enabling from any, `kill` and `disable` from threads. Locks: none; a CPU's lists are
//! changed by that CPU with IRQs masked.

use super::softirq::{self, Vector, raise_softirq_irqoff};
use crate::per_cpu;
use crate::preempt;
use crate::task;
use arch::irqflags;
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering, fence};

const SCHED: u32 = 1;
const RUN: u32 = 2;
/// It was last scheduled as an urgent one.
const HI: u32 = 4;
/// It was disabled when its turn came: it is on no list.
const PARKED: u32 = 8;
/// How often a waiter looks.
const LOOK_NS: u64 = 50_000;

/// A tasklet: a static of whoever uses it.
pub struct Tasklet {
    next: Cell<*const Tasklet>,
    state: AtomicU32,
    disabled: AtomicU32,
    function: fn(usize),
    data: usize,
}

// SAFETY: `next` belongs to the list that SCHED says the tasklet is on, which its CPU changes with IRQs masked.
unsafe impl Sync for Tasklet {}

/// A CPU's tasklets that wait, first in first out.
struct List {
    first: Cell<*const Tasklet>,
    last: Cell<*const Tasklet>,
}
// SAFETY: touched by its CPU with IRQs masked.
unsafe impl Send for List {}

impl List {
    const fn new() -> Self {
        Self { first: Cell::new(ptr::null()), last: Cell::new(ptr::null()) }
    }

    /// IRQs masked.
    fn append(&self, tasklet: &'static Tasklet) {
        tasklet.next.set(ptr::null());
        // SAFETY: tasklets are static.
        match unsafe { self.last.get().as_ref() } {
            Some(last) => last.next.set(tasklet),
            None => self.first.set(tasklet),
        }
        self.last.set(tasklet);
    }

    /// IRQs masked.
    fn pop(&self) -> Option<&'static Tasklet> {
        // SAFETY: tasklets are static.
        let tasklet = unsafe { self.first.get().as_ref() }?;
        self.first.set(tasklet.next.get());
        if tasklet.next.get().is_null() {
            self.last.set(ptr::null());
        }
        Some(tasklet)
    }
}

per_cpu! {
    static NORMAL: List = List::new();
    static URGENT: List = List::new();
}

impl Tasklet {
    /// A tasklet that will call `function(data)`, enabled.
    #[must_use]
    pub const fn new(function: fn(usize), data: usize) -> Self {
        Self {
            next: Cell::new(ptr::null()),
            state: AtomicU32::new(0),
            disabled: AtomicU32::new(0),
            function,
            data,
        }
    }

    /// Runs the function soon on this CPU, once, however often this is called before. Any context.
    pub fn schedule(&'static self) {
        self.schedule_on(Vector::Tasklet);
    }

    /// [`Self::schedule`] before all other softirqs.
    pub fn hi_schedule(&'static self) {
        self.schedule_on(Vector::Hi);
    }

    fn schedule_on(&'static self, vector: Vector) {
        if self.state.fetch_or(SCHED, Ordering::AcqRel) & SCHED != 0 {
            return;
        }
        if vector == Vector::Hi {
            self.state.fetch_or(HI, Ordering::Relaxed);
        } else {
            self.state.fetch_and(!HI, Ordering::Relaxed);
        }
        self.append_here(vector);
    }

    /// Puts it, which is on no list, on this CPU's, and has it looked at.
    fn append_here(&'static self, vector: Vector) {
        let flags = irqflags::local_irq_save();
        list(vector).append(self);
        raise_softirq_irqoff(vector);
        if !irqflags::irqs_disabled_flags(flags) {
            preempt::preempt_check_resched_irqs_off();
        }
        irqflags::local_irq_restore(flags);
    }

    /// Whether it waits to run.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        self.state.load(Ordering::Acquire) & SCHED != 0
    }

    /// Keeps it from running until as many [`Self::enable`]; returns when it does not run. Thread context.
    pub fn disable(&self) {
        // In this order here, and the other way round before it runs: one of the two sees the other.
        self.disabled.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.wait_while(RUN);
    }

    /// Takes back one [`Self::disable`]; if it was scheduled meanwhile, it runs. Any context.
    pub fn enable(&'static self) {
        let before = self.disabled.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "a tasklet is enabled that was not disabled");
        if before == 1
            && let Some(vector) = self.unpark()
        {
            self.append_here(vector);
        }
    }

    /// Not PARKED any more; if it was, the caller puts it on the list of this vector.
    fn unpark(&self) -> Option<Vector> {
        let state = self.state.fetch_and(!PARKED, Ordering::SeqCst);
        (state & PARKED != 0).then_some(if state & HI != 0 { Vector::Hi } else { Vector::Tasklet })
    }

    /// Waits until it neither waits to run nor runs. Whoever schedules it must have been stopped before; it must
    /// not be disabled. Thread context.
    pub fn kill(&self) {
        self.wait_while(SCHED | RUN);
    }

    fn wait_while(&self, bits: u32) {
        preempt::might_sleep();
        while self.state.load(Ordering::Acquire) & bits != 0 {
            task::sleep_ns(LOOK_NS);
        }
    }
}

/// This CPU's list. IRQs masked.
fn list(vector: Vector) -> &'static List {
    // SAFETY: by contract.
    unsafe { if vector == Vector::Hi { URGENT.this_cpu() } else { NORMAL.this_cpu() } }
}

/// The softirqs' functions: take the list, run what is on it.
fn action(vector: Vector) {
    let flags = irqflags::local_irq_save();
    let list = list(vector);
    // The list as it is: those that schedule themselves come behind, in the next pass.
    let end = list.last.get();
    while let Some(tasklet) = list.pop() {
        irqflags::local_irq_restore(flags);
        let turn = run(tasklet);
        let _ = irqflags::local_irq_save();
        if turn == Turn::Again {
            list.append(tasklet);
        }
        let done = ptr::eq(tasklet, end);
        if done || softirq::should_stop() {
            break;
        }
    }
    if !list.first.get().is_null() {
        raise_softirq_irqoff(vector);
    }
    irqflags::local_irq_restore(flags);
}

/// What became of a tasklet whose turn it was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It has run, or is parked: it is not on the list.
    Over,
    /// Another CPU runs it, or it was enabled at this moment: it comes again.
    Again,
}

fn run(tasklet: &Tasklet) -> Turn {
    // Only one CPU gets past this.
    if tasklet.state.fetch_or(RUN, Ordering::AcqRel) & RUN != 0 {
        return Turn::Again;
    }
    fence(Ordering::SeqCst);
    if tasklet.disabled.load(Ordering::SeqCst) != 0 {
        tasklet.state.fetch_or(PARKED, Ordering::SeqCst);
        tasklet.state.fetch_and(!RUN, Ordering::Release);
        // Enabled meanwhile, by somebody who may have come before it was parked.
        fence(Ordering::SeqCst);
        let enabled = tasklet.disabled.load(Ordering::SeqCst) == 0;
        return if enabled && tasklet.unpark().is_some() { Turn::Again } else { Turn::Over };
    }
    let before = tasklet.state.fetch_and(!SCHED, Ordering::AcqRel);
    debug_assert!(before & SCHED != 0, "a tasklet on the list has state {before:#x}, expected SCHED");
    (tasklet.function)(tasklet.data);
    tasklet.state.fetch_and(!RUN, Ordering::Release);
    Turn::Over
}

/// Takes over the tasklets that wait on `cpu`, which is off. Thread context.
#[cfg(target_os = "none")]
pub(crate) fn migrate_from(cpu: usize) {
    for (vector, lists) in [(Vector::Hi, &URGENT), (Vector::Tasklet, &NORMAL)] {
        // SAFETY: the CPU is off, so its list is nobody's but the one's who switches it off, and on.
        let from = unsafe { lists.of(cpu) };
        while let Some(tasklet) = from.pop() {
            tasklet.append_here(vector);
        }
    }
}

/// Gives the two vectors their functions, at boot.
pub(crate) fn init() {
    softirq::open_softirq(Vector::Hi, || action(Vector::Hi));
    softirq::open_softirq(Vector::Tasklet, || action(Vector::Tasklet));
}
