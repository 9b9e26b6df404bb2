//! Lock-order validation, in debug builds: finds a possible deadlock before it happens.
//!
//! Every lock carries a [`LockKey`], which says where it was made; locks made at one place are one class. Each
//! time one is taken, the [`Checker`] compares what the task holds, where it runs and what may interrupt it with
//! everything that was ever seen, and reports a contradiction with all the places that have part in it. The
//! rules are in `checker`, the order that the kernel keeps in docs/locking.md. What is checked is taken from
//! the moment *before* a lock is waited for, so a report comes even if the deadlock comes too.
//!
//! Hooked are the spinning locks (`locking::raw`, where all of them meet), the run queues and timer bases among
//! them, and the sleeping ones. Semaphores, completions and the like have no owner and are not locks in this
//! sense; the locks of their queues are.
//!
//! A report is an error in the log, in several lines, and counts ([`reports`]); the command `lockdep` shows it
//! again. When a table is full, or a task holds more locks than are followed, that is said once and the checker
//! is off from there on.
//!
//! Not seen: interrupts that are opened in the middle of a section and masked again before its end.
//!
//! Invariant: the state is changed with interrupts masked and its own word held; nothing in here takes a lock
//! that is checked, allocates or sleeps. Context: any. Release builds have no trace of this.
#![forbid(unsafe_code)]

mod checker;
mod class;
mod graph;
mod held;
mod problem;
mod set;
#[cfg(test)]
mod tests;

pub use checker::{Checker, Open, Taking};
pub use class::{CLASSES_MAX, Class, ClassId, Classes, Kind, LockKey, Place};
pub use graph::{EDGES_MAX, Edge, Graph};
pub use held::{Context, HELD_MAX, Held, HeldStack};
pub use problem::{Interrupt, Limit, Moment, Problem, Step, Taken, Way};

use crate::locking::Yield;
use crate::preempt::{HARDIRQ_MASK, NMI_MASK, SOFTIRQ_MASK, preempt_count};
use crate::task::{self, Task};
use arch::irqflags;
use core::fmt::{self, Write};
use core::panic::Location;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::mutex::SpinMutex;

/// Problems that are kept.
const KEPT: usize = 8;
/// Bit 8 of the count: a softirq is being served (and not only held off).
const SERVING_SOFTIRQ: u32 = 0x100;

struct State {
    checker: Checker,
    /// The first ones, for the shell; or, while a test expects some, those.
    kept: heapless::Vec<Problem, KEPT>,
    reports: usize,
    expecting: bool,
}

static STATE: SpinMutex<State, Yield> = SpinMutex::new(State {
    checker: Checker::new(),
    kept: heapless::Vec::new(),
    reports: 0,
    expecting: false,
});

/// Nothing is checked while this is not zero.
static PAUSES: AtomicU32 = AtomicU32::new(0);
/// The period of checking: between two pauses.
static PERIOD: AtomicU32 = AtomicU32::new(0);

/// A lock with this key is about to be taken, at the caller's line.
#[inline(always)]
#[track_caller]
pub(crate) fn acquire(key: &LockKey) {
    acquire_at(key, Location::caller(), false);
}

/// A lock with this key was taken without waiting.
#[inline(always)]
#[track_caller]
pub(crate) fn acquired_by_trying(key: &LockKey) {
    acquire_at(key, Location::caller(), true);
}

#[inline(never)]
fn acquire_at(key: &LockKey, at: Place, tried: bool) {
    check(|checker, held, open, report| {
        let lock = ptr::from_ref(key).addr();
        let taking = Taking { key, lock, at, context: context(), open, tried };
        checker.acquire(held, &taking, report);
    });
}

/// The lock with this key is about to be released, or was not taken after all.
#[inline(never)]
pub(crate) fn release(key: &LockKey) {
    check(|checker, held, open, report| {
        checker.release(held, key, ptr::from_ref(key).addr(), open, report);
    });
}

/// The running task is about to be switched away from; the run queue's lock has been handed over.
#[inline(always)]
pub(crate) fn about_to_switch() {
    if holds_something() {
        check(|checker, held, _, report| {
            checker.left(held, Moment::Switch, |_, kind| kind == Kind::Raw, report);
        });
    }
}

/// The running task is about to end.
pub(crate) fn about_to_exit() {
    left(Moment::Exit);
}

/// The CPU is about to wait for interrupts.
#[inline(always)]
pub(crate) fn about_to_idle() {
    left(Moment::Idle);
}

/// A handler of a hard interrupt, or the function of a softirq, has returned. (Not of a thread that does their work.)
#[inline(always)]
pub(crate) fn interrupt_ends() {
    if holds_something() && context() != Context::Thread {
        check(|checker, held, _, report| {
            let context = context();
            checker.left(held, Moment::InterruptEnd, |entry, _| entry.context == context, report);
        });
    }
}

#[inline(always)]
fn left(moment: Moment) {
    if holds_something() {
        check(|checker, held, _, report| checker.left(held, moment, |_, _| true, report));
    }
}

#[inline(always)]
fn holds_something() -> bool {
    task::try_current().is_some_and(|task| !task.held.is_empty())
}

/// Runs `f` on the checker for the running task, alone. Nothing is checked where there is no task (a PC), and
/// not what a report itself uses.
#[inline(always)]
fn check(f: impl FnOnce(&mut Checker, &HeldStack, Open, checker::Report<'_>)) {
    let Some(task) = task::try_current() else { return };
    if PAUSES.load(Ordering::Relaxed) != 0 {
        return;
    }
    let flags = irqflags::local_irq_save();
    let open =
        Open { hard: !irqflags::irqs_disabled_flags(flags), soft: preempt_count() & SOFTIRQ_MASK == 0 };
    task.held.once_inside(PERIOD.load(Ordering::Relaxed), || {
        let State { checker, kept, reports, expecting } = &mut *STATE.lock();
        f(checker, &task.held, open, &mut |problem| {
            if !*expecting {
                *reports += 1;
                tell(task, problem);
            }
            // Full: the first ones are the interesting ones.
            let _ = kept.push(problem.clone());
        });
    });
    irqflags::local_irq_restore(flags);
}

fn context() -> Context {
    let count = preempt_count();
    if count & (HARDIRQ_MASK | NMI_MASK) != 0 {
        Context::HardIrq
    } else if count & SERVING_SOFTIRQ != 0 {
        Context::SoftIrq
    } else {
        Context::Thread
    }
}

/// The log takes no lock and wakes nobody, so this may be said under any lock.
#[cold]
#[inline(never)]
fn tell(task: &Task, problem: &Problem) {
    log::error!("task {}/{}, preempt count {:#x}:", task.name(), task.id(), preempt_count());
    let mut lines = Lines(heapless::String::new());
    // Neither the text nor the log can fail.
    let _ = writeln!(lines, "{problem}");
}

/// Hands each line to the log.
struct Lines(heapless::String<200>);

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c == '\n' {
                log::error!("{}", self.0);
                self.0.clear();
            } else {
                // A line that is too long is cut.
                let _ = self.0.push(c);
            }
        }
        Ok(())
    }
}

/// For the panic: calls `f` with the locks that `task` holds. Nothing if the checker is what panics.
#[cfg(target_os = "none")]
pub(crate) fn for_each_held(task: &Task, mut f: impl FnMut(&Taken)) {
    let Some(state) = STATE.try_lock() else { return };
    for held in task.held.iter() {
        f(&state.checker.taken(held.class, held.at));
    }
}

/// How many problems were found that nobody expected.
#[must_use]
pub fn reports() -> usize {
    with_state(|state| state.reports)
}

/// The numbers of the tables.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// Classes, of [`CLASSES_MAX`].
    pub classes: usize,
    /// Edges, of [`EDGES_MAX`].
    pub edges: usize,
    /// Problems found.
    pub reports: usize,
    /// Whether a table was too small, and nothing is checked any more.
    pub is_off: bool,
}

/// The numbers of the tables.
#[must_use]
pub fn stats() -> Stats {
    with_state(|state| Stats {
        classes: state.checker.classes().len(),
        edges: state.checker.graph().len(),
        reports: state.reports,
        is_off: state.checker.is_off(),
    })
}

/// A class, and what is known of its use in and under hard interrupts and softirqs: (in it, where it may come).
#[derive(Clone, Copy, Debug)]
pub struct ClassInfo {
    /// The class.
    pub class: Class,
    /// Hard interrupts.
    pub hard: (bool, bool),
    /// Softirqs.
    pub soft: (bool, bool),
}

/// The class with this number, if there is one.
#[must_use]
pub fn class(index: usize) -> Option<ClassInfo> {
    with_state(|state| {
        let class = *state.checker.classes().get(index)?;
        let id = ClassId::from_index(index);
        let uses = |interrupt| state.checker.uses(interrupt, id);
        Some(ClassInfo { class, hard: uses(Interrupt::Hard), soft: uses(Interrupt::Soft) })
    })
}

/// The first pair, from `index` on, of which the second was taken while the first was held; and the index of what
/// comes behind.
#[must_use]
pub fn edge_from(index: usize) -> Option<(usize, Edge)> {
    with_state(|state| state.checker.graph().edge_from(index))
}

/// The `index`-th problem that was found; the first few are kept.
#[must_use]
pub fn problem(index: usize) -> Option<Problem> {
    with_state(|state| state.kept.get(index).cloned())
}

/// Until it is dropped, problems are kept for [`Self::found`] and are no errors: for tests.
#[derive(Debug)]
pub struct Expectation {
    before: heapless::Vec<Problem, KEPT>,
}

/// Begins to expect problems. One test at a time.
#[must_use]
pub fn expect() -> Expectation {
    with_state(|state| {
        state.expecting = true;
        Expectation { before: core::mem::take(&mut state.kept) }
    })
}

impl Expectation {
    /// What was found since.
    #[must_use]
    pub fn found(&self) -> heapless::Vec<Problem, KEPT> {
        with_state(|state| state.kept.clone())
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        with_state(|state| {
            state.expecting = false;
            state.kept = core::mem::take(&mut self.before);
        });
    }
}

/// Until it is dropped nothing is checked, or costs anything to speak of: for tests that count instructions.
#[derive(Debug)]
pub struct Pause {
    _made_by_pause: (),
}

/// Stops checking. What is held at the other end is forgotten.
#[must_use]
pub fn pause() -> Pause {
    with_state(|state| state.checker.leave_gap());
    PAUSES.fetch_add(1, Ordering::Relaxed);
    Pause { _made_by_pause: () }
}

impl Drop for Pause {
    fn drop(&mut self) {
        PERIOD.fetch_add(1, Ordering::Relaxed);
        PAUSES.fetch_sub(1, Ordering::Relaxed);
    }
}

fn with_state<R>(f: impl FnOnce(&mut State) -> R) -> R {
    let flags = irqflags::local_irq_save();
    let result = f(&mut STATE.lock());
    irqflags::local_irq_restore(flags);
    result
}
