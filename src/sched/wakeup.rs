//! Making tasks ready, and asking for the switch that follows from it: wake-ups, new tasks, the tick.
//!
//! The classes answer whether somebody should make room; this file turns the answer into a request on the
//! preempt word, or, where that is the same and shorter, into the switch itself.
//!
//! Context: any; IRQs masked where the name or the text says so. Lock: the run queue of the task.

use super::class::{EnqueueFlags, Resched, WakeFlags};
use super::core::switch_alone;
use super::rq::Rq;
use super::runqueue::{RunQueue, lock_this_rq, rq_of, sched_ref, task_of, this_rq};
use super::wakeup_smp;
use crate::task::{self, Task, state};
use crate::trace;
use arch::irqflags;
use arch::patch::{EVENT_STYLE, PREEMPT_INERT, SMP_LOCKS, static_branch};
use arch::thread_info;
use core::ptr;
use core::sync::atomic::Ordering;

/// Asks for a switch on this CPU. The run queue, this CPU's, is locked.
#[inline(always)]
fn resched_curr(rq: &Rq) {
    let curr = task_of(rq.curr());
    if !curr.arch.thread_info.test_and_set_need_resched() {
        // The run queue is this CPU's, so its current task is the one whose word we may write.
        debug_assert!(ptr::eq(curr, task::current()));
        request_here();
    }
}

/// The running task's flag has been set: its word follows.
#[inline(always)]
pub(super) fn request_here() {
    if !thread_info::set_preempt_need_resched_unless::<EVENT_STYLE>() {
        request_by_interrupt();
    }
}

/// `preempt_style=event`: nobody looks for the request at the end of a section that masks interrupts, so it comes
/// as one. It is taken as soon as interrupts are open, and its return is the preemption point. With a count (a
/// guard, an interrupt) there is somebody who looks when the count goes.
#[cold]
#[inline(never)]
fn request_by_interrupt() {
    thread_info::set_preempt_need_resched();
    if thread_info::preempt_count() == 0 && !static_branch::<PREEMPT_INERT>() {
        super::resched_irq::interrupt_this_cpu();
    }
}

#[inline(always)]
pub(super) fn resched_if(rq: &Rq, decision: Resched) {
    if decision == Resched::Yes {
        resched_curr(rq);
    }
}

/// Asks for a switch on the CPU of `this`, which is locked, if that was the decision.
#[inline(always)]
pub(super) fn resched_rq_if(this: &RunQueue, decision: Resched) {
    if decision == Resched::Yes {
        if static_branch::<SMP_LOCKS>() {
            return wakeup_smp::resched_curr(this);
        }
        // SAFETY: locked by contract; the caller does not use a reference of its own meanwhile.
        resched_curr(unsafe { this.rq() });
    }
}

/// Makes a sleeping task ready and asks for a switch if it should run. IRQs masked.
///
/// The common part of all wake-ups: the caller has made sure, under the lock of what the task waits for, that
/// it is to be woken, and that nobody else is waking it.
pub(crate) fn wake_up_granted(task: &Task) {
    debug_assert!(irqflags::irqs_disabled());
    if static_branch::<SMP_LOCKS>() {
        return wakeup_smp::wake_up_granted(task);
    }
    let this = rq_of(task);
    this.lock.lock_without_word();
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    if task.sched.is_rt() {
        task.state.store(state::RUNNING, Ordering::Relaxed);
        trace::sched_wakeup(task);
        let decision = rq.wake_rt(sched_ref(task));
        resched_if(rq, decision);
    } else {
        activate_not_rt(this, task);
    }
    this.lock.unlock_without_word();
}

/// Whether [`wake_up_plain`] will do for `task`: it is real-time, and a request is told by the word alone.
#[inline(always)]
pub(crate) fn is_plain_wakeup(task: &Task) -> bool {
    task.sched.is_rt() && !static_branch::<EVENT_STYLE>()
}

/// [`wake_up_granted`] of a task that [`is_plain_wakeup`], on a CPU that is alone. It calls nothing, so that a caller who
/// calls nothing else needs no frame: the shortest way from an interrupt to a task.
#[inline(always)]
pub(crate) fn wake_up_plain(task: &Task) {
    debug_assert!(irqflags::irqs_disabled() && task.sched.is_rt());
    let this = rq_of(task);
    this.lock.lock_without_word();
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    task.state.store(state::RUNNING, Ordering::Relaxed);
    trace::sched_wakeup(task);
    if rq.wake_rt(sched_ref(task)) == Resched::Yes
        && !task_of(rq.curr()).arch.thread_info.test_and_set_need_resched()
    {
        thread_info::set_preempt_need_resched();
    }
    this.lock.unlock_without_word();
}

/// [`wake_up_granted`] as the last thing before the caller restores `flags`, with the preemption point that
/// this is. IRQs masked, no lock held. For a caller that has asked, and is on a CPU that is alone; where there are several
/// it is `wakeup_smp::wake_up_and_switch`.
///
/// A real-time task that beats the running one, where nothing forbids the switch and nobody else has asked
/// for one, is by that alone the task that `__schedule` would pick: the request, its check and the pick fall
/// together, and it is switched to at once.
#[inline(always)]
pub(crate) fn wake_up_and_switch_alone(task: &Task, flags: irqflags::Flags) {
    debug_assert!(irqflags::irqs_disabled());
    if !task.sched.is_rt() {
        return wake_up_not_rt(task, flags);
    }
    let this = rq_of(task);
    this.lock.lock_without_word();
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    task.state.store(state::RUNNING, Ordering::Relaxed);
    trace::sched_wakeup(task);
    let decision = rq.wake_rt(sched_ref(task));
    // SAFETY: locked above, IRQs masked; `task` is real-time and queued.
    unsafe { unlock_and_run_rt(this, rq, task, decision, flags) };
}

/// The end of a wake-up of the real-time `task`: if it should run and may, switches to it; otherwise leaves
/// the request. Releases the run queue.
///
/// # Safety
/// IRQs masked, one CPU; `this` is locked, `rq` its queue, `task` real-time and on it.
#[inline(always)]
unsafe fn unlock_and_run_rt(
    this: &RunQueue,
    rq: &mut Rq,
    task: &Task,
    decision: Resched,
    flags: irqflags::Flags,
) {
    if decision == Resched::Yes {
        // Something special: a deadline task goes first, or real-time tasks are throttled. The pick knows.
        let may_switch = !irqflags::irqs_disabled_flags(flags)
            && thread_info::preempt_word() == thread_info::PREEMPT_ENABLED
            && rq.is_quiet()
            && !static_branch::<PREEMPT_INERT>();
        if may_switch {
            let prev = task::current();
            rq.set_next_rt(sched_ref(prev), sched_ref(task), |_| crate::time::now_ns());
            // SAFETY: task context and IRQs masked, since the word was PREEMPT_ENABLED and `flags` open; the lock is held
            // and `task` is current on the queue.
            return unsafe { switch_alone(this, prev, task, true) };
        }
        resched_curr(rq);
    }
    this.lock.unlock_without_word();
    check_resched(flags);
}

#[inline(never)]
fn wake_up_not_rt(task: &Task, flags: irqflags::Flags) {
    let this = rq_of(task);
    this.lock.lock_without_word();
    activate_not_rt(this, task);
    this.lock.unlock_without_word();
    check_resched(flags);
}

/// The preemption point before `flags` are restored.
#[inline(always)]
pub(super) fn check_resched(flags: irqflags::Flags) {
    if !irqflags::irqs_disabled_flags(flags) {
        crate::preempt::preempt_check_resched_irqs_off();
    }
}

/// Puts a sleeping task that is not real-time on the queue, and asks for a switch if it should run now. The run
/// queue is locked.
#[inline(never)]
fn activate_not_rt(this: &RunQueue, task: &Task) {
    // SAFETY: locked by the caller, who does not use its own reference any more.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    rq.update_clock(crate::time::now_ns());
    // A task that was preempted on its way into `schedule` is still queued: only its state changes.
    if !p.is_queued() {
        rq.enqueue_task(p, EnqueueFlags::WAKEUP);
    }
    task.state.store(state::RUNNING, Ordering::Relaxed);
    trace::sched_wakeup(task);
    // A request that is already there leaves the fair class nothing to decide.
    let flagged = task_of(rq.curr()).arch.thread_info.tif_need_resched();
    let decision =
        rq.check_preempt_curr(p, if flagged { WakeFlags::CURR_FLAGGED } else { WakeFlags::empty() });
    resched_if(rq, decision);
    // It may have to wait for its next budget.
    this.event.program_if_deadline(rq, p);
}

/// `try_to_wake_up`: wakes `task` if it waits by hand. Returns whether it did. Any context; may
/// switch if called from a preemptible one.
fn try_to_wake_up(task: &Task) -> bool {
    let flags = irqflags::local_irq_save();
    let wakes = if static_branch::<SMP_LOCKS>() {
        wakeup_smp::wake_up_interruptible(task, flags)
    } else if task.state.load(Ordering::Relaxed) == state::INTERRUPTIBLE {
        wake_up_and_switch_alone(task, flags);
        true
    } else {
        false
    };
    irqflags::local_irq_restore(flags);
    wakes
}

/// Wakes a task that waits by hand (`task::set_current_state`). Returns whether it was asleep, or about to be. A task
/// that waits on a queue is left alone. Any context; may switch if called from a preemptible one.
pub fn wake_up_process(task: &Task) -> bool {
    // The condition is there before the state is looked at.
    core::sync::atomic::fence(Ordering::SeqCst);
    try_to_wake_up(task)
}

/// Gives a new task its run queue, this CPU's, and its place in the order of things; it is not queued yet.
#[inline(always)]
pub(crate) fn fork(task: &Task) {
    let flags = irqflags::local_irq_save();
    if static_branch::<SMP_LOCKS>() {
        wakeup_smp::fork(task);
    } else {
        let this = this_rq();
        this.lock.lock_without_word();
        task.set_rq_alone(this);
        // SAFETY: locked above.
        unsafe { this.rq() }.task_fork_lazily(sched_ref(task), crate::time::now_ns);
        this.lock.unlock_without_word();
    }
    irqflags::local_irq_restore(flags);
}

/// `wake_up_new_task`: a task that was made and not started begins to run. May switch to it.
pub(crate) fn wake_up_new_task(task: &Task) {
    let flags = irqflags::local_irq_save();
    if static_branch::<SMP_LOCKS>() {
        return wakeup_smp::wake_up_new_task(task, flags);
    }
    wake_up_new_task_here(task, flags);
    irqflags::local_irq_restore(flags);
}

#[inline(always)]
fn wake_up_new_task_here(task: &Task, flags: irqflags::Flags) {
    // In every build: queued twice, it would take the run queue apart.
    if task.state() != state::NEW {
        started_twice(task);
    }
    let this = this_rq();
    this.lock.lock_without_word();
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    task.state.store(state::RUNNING, Ordering::Relaxed);
    trace::sched_wakeup_new(task);
    if p.is_rt() {
        let decision = rq.wake_up_new_task(p);
        // SAFETY: locked above, IRQs masked; `task` is real-time and queued.
        unsafe { unlock_and_run_rt(this, rq, task, decision, flags) };
    } else {
        rq.update_clock(crate::time::now_ns());
        let decision = rq.wake_up_new_task(p);
        resched_if(rq, decision);
        this.event.program_if_deadline(rq, p);
        this.lock.unlock_without_word();
        check_resched(flags);
    }
}

#[cold]
#[inline(never)]
pub(super) fn started_twice(task: &Task) -> ! {
    panic!("task {} is started twice; its state is {:#x}, expected NEW", task.name(), task.state())
}

/// In the timer interrupt, once for each tick: whether the tick can do without [`scheduler_tick`], because it is of no
/// consequence to the running task.
#[inline(always)]
pub(crate) fn tick_has_nothing_to_do() -> bool {
    let curr = task::current();
    if static_branch::<SMP_LOCKS>() {
        return rq_of(curr).tick_has_nothing_to_do(curr);
    }
    curr.sched.is_rt_without_turn()
}

/// `scheduler_tick`: from the timer interrupt, `hz` times a second, unless [`tick_has_nothing_to_do`].
#[inline(always)]
pub(crate) fn scheduler_tick() {
    if static_branch::<SMP_LOCKS>() {
        return wakeup_smp::scheduler_tick();
    }
    // SAFETY: hard interrupt, IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let decision = rq.task_tick_lazily(crate::time::now_ns);
    resched_if(rq, decision);
    // SAFETY: locked above.
    unsafe { this.unlock() };
}
