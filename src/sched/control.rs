//! What tasks ask of the scheduler: to yield, to be somebody else's equal, to be gone.
//!
//! Context: as each function says. Lock: the run queue of the task.

use super::class::DequeueFlags;
use super::core::{__schedule, Why, lock_task_rq, lock_this_rq, sched_ref};
use super::prio::SchedAttr;
use super::wakeup::{check_resched, resched_if};
use crate::error::{Error, Result};
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
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    rq.update_clock(crate::time::now_ns());
    let decision = rq.set_scheduler(sched_ref(task), attr);
    resched_if(rq, decision);
    // SAFETY: locked above.
    unsafe { this.unlock() };
    check_resched(flags);
    irqflags::local_irq_restore(flags);
}

/// Takes a ready task off the queue for ever.
pub(crate) fn abort(task: &Task) -> Result<()> {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    let ready = p.is_queued() && !ptr::eq(task, task::current()) && task.state() == state::RUNNING;
    if ready {
        if p.is_fair() {
            rq.update_clock(crate::time::now_ns());
        }
        rq.dequeue_task(p, DequeueFlags::SLEEP);
        task.state.store(state::DEAD, Ordering::Relaxed);
        // A wait with a time-out that was granted: the task would have taken its timer back.
        task.timer.cancel_irqs_off();
    }
    // SAFETY: locked above.
    unsafe { this.unlock() };
    irqflags::local_irq_restore(flags);
    if ready { Ok(()) } else { Err(Error::Busy) }
}
