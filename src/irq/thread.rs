//! Interrupt threads (R2): what a handler leaves to be done, or a whole handler, as a task with a priority.
//!
//! Each threaded action has a task `irq/N-name`, SCHED_FIFO 50 until somebody sets it otherwise, on the CPU that the
//! line goes to. It sleeps until
//! the flow handler wakes it, calls the driver's function once, and says that it is done. Wake-ups that come
//! before it has begun are one.
//!
//! Context: the thread. Locks: in a forced thread, what `local_bh_disable` takes.

use super::action::{Action, raise_to};
use super::{IrqReturn, affinity, flow, softirq};
use crate::error::Result;
use crate::sched::core as sched;
use crate::task::{self, TaskRef, state};
use arch::timer::counter;
use core::fmt::Write;
use core::sync::atomic::Ordering;

/// The priority of a new interrupt thread: the middle of the range.
pub const PRIORITY: i32 = 50;

/// Makes the thread of `action`; it runs when it is started. Thread context or boot.
pub(super) fn create(action: &Action) -> Result<TaskRef> {
    let mut name = heapless::String::<32>::new();
    // Longer ones are cut, as task names are.
    let _ = write!(name, "irq/{}-{}", action.irq, action.name);
    task::build(&name)
        .fifo(PRIORITY)
        .affinity(affinity::thread_cpus(action.irq))
        .create(irq_thread, core::ptr::from_ref(action).expose_provenance())
}

fn irq_thread(action: usize) {
    // SAFETY: `manage` made the action, and frees it when this thread has ended.
    let action = unsafe { &*core::ptr::with_exposed_provenance::<Action>(action) };
    while wait_for_interrupt(action) {
        raise_to(&action.longest_wait, counter().wrapping_sub(action.woken_at.load(Ordering::Relaxed)));
        // SAFETY: set before the thread was started; the line stays while one of its threads does.
        let line = unsafe { &*action.line.get() };
        if call(action) == IrqReturn::Handled {
            line.spurious.threads_handled.fetch_add(1, Ordering::Relaxed);
        }
        flow::finish_oneshot(line, action);
    }
}

/// Sleeps until there is an interrupt to serve; `false`: until the thread is to end. What came first is served.
fn wait_for_interrupt(action: &Action) -> bool {
    loop {
        task::set_current_state(state::INTERRUPTIBLE);
        let run = action.run.swap(false, Ordering::AcqRel);
        if action.moved.load(Ordering::Relaxed) {
            task::set_current_state(state::RUNNING);
            follow(action);
            if run {
                return true;
            }
            continue;
        }
        if run || action.stop.load(Ordering::Relaxed) {
            task::set_current_state(state::RUNNING);
            return run;
        }
        sched::schedule();
    }
}

/// The line goes to another CPU: so does its thread.
#[cold]
fn follow(action: &Action) {
    action.moved.store(false, Ordering::Relaxed);
    // That CPU may be gone again; then there is another move.
    if let Err(error) = task::current_ref().set_affinity(affinity::thread_cpus(action.irq)) {
        log::debug!("irq {}: its thread stays where it is: {error}", action.irq);
    }
}

fn call(action: &Action) -> IrqReturn {
    let Some(thread_fn) = &action.thread_fn else { return IrqReturn::None };
    if !action.forced {
        return thread_fn(action.irq);
    }
    let start = counter();
    // Written for hard-interrupt context: no softirq may come between (reference 7.2).
    let bh = softirq::local_bh_disable();
    let said = thread_fn(action.irq);
    drop(bh);
    raise_to(&action.longest, counter().wrapping_sub(start));
    match (said, &action.forced_thread_fn) {
        (IrqReturn::WakeThread, Some(rest)) => rest(action.irq),
        (said, _) => said,
    }
}
