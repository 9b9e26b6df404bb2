//! What tasks ask of the scheduler: to yield, to be somebody else's equal, to be gone.
//!
//! Context: as each function says. Lock: the run queue of the task.

use super::class::{DequeueFlags, Resched};
use super::core::{__schedule, Why};
use super::entity::SchedRef;
use super::prio::{SchedAttr, is_rt_prio};
use super::rq::{Interval, Rq};
use super::runqueue::{RunQueue, lock_task_rq, lock_this_rq, sched_ref};
use super::wait::{self, WaitStatus};
use super::wakeup::{check_resched, resched_if};
use crate::error::{Error, Result};
use crate::locking::pi::{Follow, PI, donated_prio, priority_changed, walk};
use crate::locking::raw_mutex::give_up;
use crate::task::{self, Task, state};
use arch::irqflags;
use arch::thread_info;
use core::ptr;
use core::sync::atomic::Ordering;

/// `yield`: the class decides what it means; then a switch if somebody else is to run.
#[inline(always)]
pub(crate) fn yield_task() {
    crate::preempt::check_may_sleep();
    // A real-time task alone on its level yields to nobody. Its own links say so, without the lock: an equal
    // that arrives after this look has arrived after the yield. A request that no preemption point has served
    // (`preempt=none`, `enable_no_resched`) is served here.
    if thread_info::preempt_word() == 0 || !sched_ref(task::current()).is_alone_rt() {
        yield_to_others();
    }
}

#[inline(never)]
fn yield_to_others() {
    let flags = irqflags::local_irq_save();
    let prev = task::current();
    // SAFETY: IRQs masked.
    let this = unsafe { lock_task_rq(prev) };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    if prev.sched.is_rt() {
        rq.yield_rt(sched_ref(prev));
    } else {
        rq.update_clock(crate::time::now_ns());
        rq.yield_task();
        this.event.program_if_deadline(rq, sched_ref(prev));
    }
    // SAFETY: locked above.
    unsafe { this.unlock() };
    // SAFETY: task context, count 0 (checked above), IRQs masked. A yielding task stays ready, and its switch
    // counts as involuntary (reference 3.8): to `__schedule` it is a preemption.
    unsafe {
        thread_info::preempt_count_set::<2>();
        __schedule::<{ Why::Preempt as u8 }>();
        thread_info::preempt_count_set::<0>();
    }
    irqflags::local_irq_restore(flags);
}

/// Runs `f` on the run queue, with the clock up to date, and acts on its answer. Any context.
pub(super) fn change_rq<E>(f: impl FnOnce(&mut Rq) -> Result<Resched, E>) -> Result<(), E> {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    rq.update_clock(crate::time::now_ns());
    let result = f(rq).map(|decision| resched_if(rq, decision));
    this.event.program(rq);
    // SAFETY: locked above.
    unsafe { this.unlock() };
    check_resched(flags);
    irqflags::local_irq_restore(flags);
    result
}

/// Changes policy and parameters. Any context.
pub(crate) fn set_scheduler(task: &Task, attr: SchedAttr) -> Result<()> {
    let pi = PI.lock();
    let donated = donated_prio(task);
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    rq.update_clock(crate::time::now_ns());
    let result = rq.set_scheduler_boosted(sched_ref(task), attr, donated);
    if let Ok(decision) = result {
        resched_if(rq, decision);
    }
    this.event.program(rq);
    retry(this, task, wait::try_requeue);
    // SAFETY: locked above.
    unsafe { this.unlock() };
    let rest = if result.is_ok() { priority_changed(task) } else { None };
    let (_, flags) = pi.unlock_irqs_off();
    if rest.is_some() {
        irqflags::local_irq_restore(flags);
        // Too long a chain has been logged.
        let _ = walk(rest, Follow::Change, None);
    } else {
        check_resched(flags);
        irqflags::local_irq_restore(flags);
    }
    result.map(drop).map_err(Error::from)
}

/// Changes the nice value. Any context.
pub(crate) fn set_nice(task: &Task, nice: i32) -> Result<()> {
    change_rq(|rq| rq.set_nice(sched_ref(task), nice)).map_err(|_| Error::BadNice { nice })
}

/// `sched_rr_get_interval`.
pub(crate) fn rr_interval(task: &Task) -> Interval {
    let mut interval = Interval::Unlimited;
    let _ = change_rq(|rq| {
        interval = rq.rr_interval(sched_ref(task));
        Ok::<_, core::convert::Infallible>(Resched::No)
    });
    interval
}

/// A deadline task that was never started goes: it gives its reservation back.
#[cold]
#[inline(never)]
pub(crate) fn exit_deadline(task: &Task) {
    // Nobody is refused the fair class.
    let _ = set_scheduler(task, SchedAttr::NORMAL);
}

/// A task that is not real-time, and is to be dequeued for ever, gives its reservation back. Brings the clock
/// up to date. The run queue is locked.
#[inline(never)]
fn leave_deadline(this: &RunQueue, p: SchedRef) {
    // SAFETY: locked by the caller, who has no reference of its own.
    let rq = unsafe { this.rq() };
    rq.update_clock(crate::time::now_ns());
    if p.is_deadline() {
        // Nobody is refused the fair class, and one who only waits does not go on running for it.
        let _ = rq.set_scheduler(p, SchedAttr::NORMAL);
        this.event.program(rq);
    }
}

/// Puts an inherited priority in force, or the task's own again. IRQs masked, the PI lock held; asks for a switch
/// and does not make it.
#[inline(always)]
pub(crate) fn setprio(task: &Task, prio: i32, donor: Option<&Task>) {
    // SAFETY: IRQs masked.
    let this = unsafe { lock_task_rq(task) };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    if is_rt_prio(prio) && p.is_rt() {
        let decision = rq.setprio_rt(p, prio);
        resched_if(rq, decision);
    } else {
        setprio_by_clock(this, p, prio, donor);
    }
    retry(this, task, wait::try_requeue);
    // SAFETY: locked above.
    unsafe { this.unlock() };
}

/// The run queue is locked.
#[cold]
#[inline(never)]
fn setprio_by_clock(this: &RunQueue, p: SchedRef, prio: i32, donor: Option<&Task>) {
    // SAFETY: locked by the caller, who has let go of its reference.
    let rq = unsafe { this.rq() };
    rq.update_clock(crate::time::now_ns());
    let decision = rq.setprio(p, prio, donor.map(sched_ref));
    resched_if(rq, decision);
    this.event.program(rq);
}

/// Takes a task that does not run off the run queue, and off what it waits for, for ever.
pub(crate) fn abort(task: &Task) -> Result<()> {
    let pi = PI.lock();
    // The lock that it waits for is counted, and is none that it holds.
    let waiter = task.pi.blocked_on();
    let holds_a_lock = task.pi.held.get() != u32::from(waiter.is_some());
    let lives = task.state() & !state::NORMAL == 0;
    if !lives || holds_a_lock || ptr::eq(task, task::current()) {
        pi.unlock_no_resched();
        return Err(Error::Busy);
    }
    let rest = waiter.and_then(|waiter| give_up(task, waiter, WaitStatus::TimedOut));
    // SAFETY: IRQs masked.
    let this = unsafe { lock_task_rq(task) };
    retry(this, task, wait::try_leave);
    let p = sched_ref(task);
    if !p.is_rt() {
        leave_deadline(this, p);
    }
    if p.is_queued() {
        // SAFETY: locked above.
        unsafe { this.rq() }.dequeue_task(p, DequeueFlags::SLEEP);
    }
    task.state.store(state::DEAD, Ordering::Relaxed);
    // Of a sleep, or of a wait: the task would have taken its timer back.
    task.timer.cancel_irqs_off();
    // SAFETY: locked above.
    unsafe { this.unlock() };
    drop(pi);
    if rest.is_some() {
        // Too long a chain has been logged.
        let _ = walk(rest, Follow::Change, None);
    }
    Ok(())
}

/// Repeats what has to take a queue's lock with the run queue of `task` locked, until nobody else has it.
#[inline(always)]
fn retry(this: &RunQueue, task: &Task, attempt: impl Fn(&Task) -> bool) {
    while !attempt(task) {
        // SAFETY: locked by the caller; whoever has the queue may want it.
        unsafe { this.unlock() };
        arch::cpu::relax();
        // SAFETY: IRQs masked by the caller. A task on no run queue is not moved.
        let _ = unsafe { lock_task_rq(task) };
    }
}
