//! What tasks ask of the scheduler: to yield, to be somebody else's equal, to be gone.
//!
//! Context: as each function says. Lock: the run queue of the task.

use super::class::{Class, DequeueFlags};
use super::core::{__schedule, RunQueue, Why, lock_task_rq, lock_this_rq, sched_ref};
use super::prio::SchedAttr;
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

/// Changes policy and priority. Any context.
pub(crate) fn set_scheduler(task: &Task, attr: SchedAttr) {
    let pi = PI.lock();
    let donated = donated_prio(task);
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    rq.update_clock(crate::time::now_ns());
    let decision = rq.set_scheduler_boosted(sched_ref(task), attr, donated);
    resched_if(rq, decision);
    retry(this, task, wait::try_requeue);
    // SAFETY: locked above.
    unsafe { this.unlock() };
    let rest = priority_changed(task);
    let (_, flags) = pi.unlock_irqs_off();
    if rest.is_some() {
        irqflags::local_irq_restore(flags);
        // Too long a chain has been logged.
        let _ = walk(rest, Follow::Change, None);
        return;
    }
    check_resched(flags);
    irqflags::local_irq_restore(flags);
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
    let real_time = Class::of_prio(prio) == Class::Rt && p.is_rt() && rq.curr().is_rt();
    if !real_time {
        rq.update_clock(crate::time::now_ns());
    }
    let decision = rq.setprio(p, prio, donor.map(sched_ref));
    resched_if(rq, decision);
    retry(this, task, wait::try_requeue);
    // SAFETY: locked above.
    unsafe { this.unlock() };
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
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    if p.is_queued() {
        if p.is_fair() {
            rq.update_clock(crate::time::now_ns());
        }
        rq.dequeue_task(p, DequeueFlags::SLEEP);
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
