//! The wake-ups of `wakeup` where there are several CPUs.
//!
//! They differ in three things. The state is looked at, and the task made ready, **under the lock of the task's run
//! queue**, so that of two wakers one wakes, and a task that is just about to sleep finds in `__schedule`, under the same
//! lock, that it need not. The task may become ready **on another CPU**, which is asked by its `TIF_NEED_RESCHED` and an
//! interrupt that only folds. And a waker **does not wait** for the run queue of another CPU: if somebody has it, that CPU
//! is given the task to wake itself (`wake_list`).
//!
//! A task that is `curr` of its run queue is made ready where it is, even if it has been dequeued: its registers are not
//! all saved (docs/adr/0011).
//!
//! Context: any, IRQs masked. Locks: the run queue of the task; the queue that it waited on may be held above it.

use super::class::{EnqueueFlags, Resched, WakeFlags};
use super::core::{context_switch, finish_task_switch_smp, note_switch};
use super::entity::{OnRq, SchedRef};
use super::hooks::{self, Ready};
use super::runqueue::{
    RunQueue, cpu_rq, lock_task_rq_smp, rq_of, sched_ref, task_of, this_rq, try_lock_task_rq_smp,
};
use super::wake_list;
use super::wakeup::{check_resched, request_here};
use crate::smp::online;
use crate::task::{self, Task, state};
use crate::trace;
use arch::irqflags;
use arch::patch::{PREEMPT_INERT, static_branch};
use arch::thread_info;
use core::ptr;
use core::sync::atomic::Ordering;

/// Asks for a switch on the CPU of `this`, which is locked.
#[inline]
pub(super) fn resched_curr(this: &RunQueue) {
    // SAFETY: locked by the caller, who does not use a reference of its own meanwhile.
    let curr = task_of(unsafe { this.rq() }.curr());
    if curr.arch.thread_info.test_and_set_need_resched() {
        // Whoever set it has seen to it that the CPU looks: by an interrupt that is still to come, if it was another one. For
        // what is decided here the word need not wait.
        if this.is_local() {
            thread_info::set_preempt_need_resched();
        }
        return;
    }
    if this.is_local() {
        request_here();
    } else {
        // Its word is its own: the interrupt makes it agree with the flag.
        hooks::send_reschedule(this.cpu());
    }
}

/// `wakeup::wake_up_granted`.
#[inline(never)]
pub(super) fn wake_up_granted(task: &Task) {
    let Some(this) = lock_or_hand_over(task) else { return };
    // SAFETY: locked above, IRQs masked; the task was granted what it waited for, by the caller.
    unsafe { activate_and_unlock::<false>(this, task) };
}

/// The same for a task that was handed over: waits for the lock.
pub(super) fn wake_up_handed_over(task: &Task) {
    // SAFETY: IRQs masked by the caller.
    let this = unsafe { lock_task_rq_smp(task) };
    // SAFETY: as in `wake_up_granted`.
    unsafe { activate_and_unlock::<true>(this, task) };
}

/// # Safety
/// As [`activate`].
unsafe fn activate_and_unlock<const HANDED_OVER: bool>(this: &'static RunQueue, task: &Task) {
    // SAFETY: passed on.
    let (this, decision) = unsafe { activate::<HANDED_OVER>(this, task) };
    settle(this, task, decision);
    // SAFETY: `activate` returns it locked.
    unsafe { this.unlock() };
}

/// `wakeup::wake_up_and_switch_alone`, and restores `flags`.
///
/// The common wake-up is here: a real-time task that is this CPU's alone, which slept, and a CPU where nothing is out of the
/// ordinary and nobody waits for another one. Nobody is to be asked where it is to run, and nothing to be told but the level.
#[inline(always)]
pub(crate) fn wake_up_and_switch(task: &Task, flags: irqflags::Flags) {
    debug_assert!(irqflags::irqs_disabled());
    let prev = task::current();
    let this = rq_of(prev);
    if !ptr::eq(this, rq_of(task)) {
        wake_up_elsewhere(task, flags);
        return irqflags::local_irq_restore(flags);
    }
    this.lock.lock_word();
    // SAFETY: locked above; the reference ends where the lock is passed on.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    // On no queue and not on its way to one: what was seen before the lock may have changed until it was taken. (It is not
    // `curr` either: that is the task that calls, or that this interrupt interrupted.)
    let is_plain = this.is_rq_of(task) && p.on_rq() == OnRq::No && rq.is_quiet() && rq.is_own_rt(p);
    if !is_plain {
        // SAFETY: locked above, IRQs masked; the task was granted what it waited for, by the caller.
        unsafe { wake_up_at_length(this, task, flags) };
        return irqflags::local_irq_restore(flags);
    }
    debug_assert!(rq.curr() != p, "{p:?} runs, is on no queue, and is woken by its own CPU");
    task.state.store(state::RUNNING, Ordering::Relaxed);
    trace::sched_wakeup(task);
    let prio = p.prio();
    rq.enqueue_own_rt(p);
    // SAFETY: locked above, IRQs masked; `prev` runs, and `task` has just been queued.
    unsafe { run_or_ask(this, prev, task, prio, flags) };
}

/// The end of the wake-up of a task that `Rq::is_own_rt`, and has just been queued on `this` CPU, where all is quiet: switches
/// to it if it is to run and may at once, or asks for that. Releases the run queue and restores `flags`.
///
/// # Safety
/// IRQs masked; `this` is locked, `prev` runs, and `prio` is the priority of `task`.
#[inline(always)]
unsafe fn run_or_ask(this: &'static RunQueue, prev: &Task, task: &Task, prio: i32, flags: irqflags::Flags) {
    // SAFETY: locked by contract.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    debug_assert!(rq.curr() == sched_ref(prev));
    if prio < prev.sched.prio() {
        hooks::about_to_run(rq, prio);
        if irqflags::irqs_disabled_flags(flags) {
            // An interrupt's wake-up, as a rule: its end is the preemption point.
            ask_to_run(prev);
            // They are masked, and stay so.
            // SAFETY: locked by contract.
            return unsafe { this.unlock_smp() };
        }
        // As in `switch_or_settle`; of the task that makes room there is nothing to tell either.
        let may_switch = thread_info::preempt_word() == thread_info::PREEMPT_ENABLED
            && !prev.arch.thread_info.tif_need_resched()
            && rq.is_own_rt(sched_ref(prev))
            && !static_branch::<PREEMPT_INERT>();
        if may_switch {
            rq.run_own_rt(p);
            // SAFETY: task context and IRQs masked, since the word was PREEMPT_ENABLED and `flags` open; the
            // count goes from 0 to 2 and back; the lock is held and `task` is current on the queue.
            unsafe {
                thread_info::preempt_count_set::<2>();
                context_switch::<true>(this, prev, task, &prev.nivcsw, true);
                finish_task_switch_smp();
                thread_info::preempt_count_set::<0>();
            }
            return irqflags::local_irq_restore(flags);
        }
        ask_to_run(prev);
    } else if prio == prev.sched.prio() && !rq.is_own(sched_ref(prev)) {
        // The one that runs may make room by going elsewhere.
        hooks::task_woken(this, task);
    }
    // SAFETY: locked, still or again.
    unsafe { this.unlock_smp() };
    check_resched(flags);
    irqflags::local_irq_restore(flags);
}

/// Asks `prev`, which runs here, to make room. Its run queue is locked.
#[inline(always)]
fn ask_to_run(prev: &Task) {
    if prev.arch.thread_info.test_and_set_need_resched() {
        // As in `resched_curr`.
        thread_info::set_preempt_need_resched();
    } else {
        request_here();
    }
}

/// [`wake_up_and_switch`] of a task that does not belong to this CPU.
#[inline(never)]
fn wake_up_elsewhere(task: &Task, flags: irqflags::Flags) {
    match lock_or_hand_over(task) {
        // SAFETY: locked above, IRQs masked; the task was granted what it waited for, by the caller.
        Some(this) => unsafe { activate_and_switch(this, task, flags) },
        None => check_resched(flags),
    }
}

/// [`wake_up_and_switch`] of a task that was seen to belong to `this` CPU, before its run queue was locked.
///
/// # Safety
/// IRQs masked; `this` is locked; the caller alone wakes the task.
#[inline(never)]
unsafe fn wake_up_at_length(this: &'static RunQueue, task: &Task, flags: irqflags::Flags) {
    if !this.holds(task) {
        // SAFETY: locked by contract.
        unsafe { this.unlock_smp() };
        return wake_up_elsewhere(task, flags);
    }
    // SAFETY: passed on.
    unsafe { activate_and_switch(this, task, flags) };
}

/// `wakeup::wake_up_process`: whether the task was in the state of a wait by hand. IRQs masked.
#[inline(never)]
pub(super) fn wake_up_interruptible(task: &Task, flags: irqflags::Flags) -> bool {
    if task.state() != state::INTERRUPTIBLE {
        return false;
    }
    // Waits for the lock, a bounded time: a task that can go on by itself must not be on a wake list meanwhile.
    // SAFETY: IRQs masked by the caller.
    let this = unsafe { lock_task_rq_smp(task) };
    // The task may be running, and may have set another state since: then it is awake, or waits on a queue, where it is
    // not ours to wake. So it is compared and set in one.
    let wakes = task
        .state
        .compare_exchange(state::INTERRUPTIBLE, state::RUNNING, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok();
    if wakes {
        // SAFETY: locked above, IRQs masked; nobody else can wake it: the state is RUNNING.
        unsafe { activate_and_switch(this, task, flags) };
    } else {
        // SAFETY: locked above.
        unsafe { this.unlock() };
    }
    wakes
}

/// The run queue of a task that is to be woken, locked; or nothing, and the task's CPU will wake it.
#[inline(always)]
fn lock_or_hand_over(task: &Task) -> Option<&'static RunQueue> {
    debug_assert!(irqflags::irqs_disabled());
    if rq_of(task).is_local() {
        // SAFETY: IRQs masked.
        return Some(unsafe { lock_task_rq_smp(task) });
    }
    // SAFETY: IRQs masked.
    let this = unsafe { try_lock_task_rq_smp(task) };
    if this.is_some() || hand_over(task) {
        return this;
    }
    // SAFETY: IRQs masked.
    Some(unsafe { lock_task_rq_smp(task) })
}

/// Leaves the task to its CPU; false if that is going, or has gone, and wakes nobody any more.
#[cold]
#[inline(never)]
fn hand_over(task: &Task) -> bool {
    let serves = online().contains(super::runqueue::task_cpu(task));
    if serves {
        trace::sched_waking(task);
        wake_list::hand_over(task);
    }
    serves
}

/// Makes a task ready, where it slept or elsewhere. Returns the run queue on which it is, locked. `HANDED_OVER`: its waker has
/// left it to this CPU, and has said so in the trace.
///
/// # Safety
/// IRQs masked; `this` is the task's run queue, locked; the task sleeps, or is about to, and the caller alone wakes it.
#[inline(always)]
unsafe fn activate<const HANDED_OVER: bool>(
    this: &'static RunQueue,
    task: &Task,
) -> (&'static RunQueue, Resched) {
    let p = sched_ref(task);
    let is_asleep = !p.is_queued() && !this.is_curr(task);
    let may_choose = is_asleep && !is_bound_to(this, p);
    let cpu = if may_choose { hooks::select_task_rq(task, this, Ready::Wake) } else { this.cpu() };
    if cpu != this.cpu() {
        // SAFETY: passed on; it is on no queue and its registers are saved.
        return unsafe { activate_elsewhere::<HANDED_OVER>(this, task, cpu) };
    }
    // SAFETY: locked by contract.
    let rq = unsafe { this.rq() };
    task.state.store(state::RUNNING, Ordering::Relaxed);
    if HANDED_OVER {
        trace::sched_woken(task);
    } else {
        trace::sched_wakeup(task);
    }
    let decision = if p.is_rt() {
        rq.wake_rt(p)
    } else {
        rq.update_clock(crate::time::now_ns());
        // A task that was preempted on its way into `schedule`, or has not come there yet, is still queued.
        if !p.is_queued() {
            rq.enqueue_task(p, EnqueueFlags::WAKEUP);
        }
        rq.check_preempt_curr(p, wake_flags(task_of(rq.curr())))
    };
    this.event.program_if_deadline(rq, p);
    hooks::readied(this, task, decision);
    (this, decision)
}

/// Is `p` bound to the CPU of `this`, and that still there? Then it need not be asked where it is to run.
#[inline(always)]
fn is_bound_to(this: &RunQueue, p: SchedRef) -> bool {
    !p.is_migratable() && p.may_move_to(this.cpu()) && online().contains(this.cpu())
}

/// A request that is already there leaves the fair class nothing to decide.
fn wake_flags(curr: &Task) -> WakeFlags {
    if curr.arch.thread_info.tif_need_resched() { WakeFlags::CURR_FLAGGED } else { WakeFlags::empty() }
}

/// # Safety
/// As [`activate`]; the task is on no queue and no CPU, and may run on `cpu`.
#[inline(never)]
unsafe fn activate_elsewhere<const HANDED_OVER: bool>(
    from: &'static RunQueue,
    task: &Task,
    cpu: usize,
) -> (&'static RunQueue, Resched) {
    let p = sched_ref(task);
    if !HANDED_OVER {
        trace::sched_waking(task);
    }
    // SAFETY: passed on.
    let to = unsafe { move_sleeping(from, task, cpu) };
    // SAFETY: `move_sleeping` returns it locked.
    let rq = unsafe { to.rq() };
    task.state.store(state::RUNNING, Ordering::Relaxed);
    trace::sched_woken(task);
    let decision = rq.wake_up_migrated(p, wake_flags(task_of(rq.curr())));
    to.event.program_if_deadline(rq, p);
    hooks::readied(to, task, decision);
    (to, decision)
}

/// Takes a task that is on no queue and no CPU to the run queue of `cpu`, which is returned locked instead of `from`, its
/// clock up to date. One lock at a time: in between the task is `Migrating`, and whoever wants it waits.
///
/// # Safety
/// IRQs masked, `from` locked; nobody wakes the task meanwhile.
pub(super) unsafe fn move_sleeping(from: &'static RunQueue, task: &Task, cpu: usize) -> &'static RunQueue {
    let to = cpu_rq(cpu);
    let p = sched_ref(task);
    trace::sched_migrate_task(task, from.cpu(), cpu);
    // SAFETY: locked by contract.
    let rq = unsafe { from.rq() };
    rq.update_clock(crate::time::now_ns());
    rq.detach_sleeping(p);
    from.event.program_if_deadline(rq, p);
    p.set_migrating(true);
    task.set_rq(to);
    // SAFETY: locked by contract.
    unsafe { from.unlock() };
    to.lock.lock();
    p.set_migrating(false);
    // SAFETY: locked above.
    unsafe { to.rq() }.update_clock(crate::time::now_ns());
    to
}

/// What follows from a task that was made ready: a request, or a push. The run queue is locked; may let go of it and take
/// it again.
#[inline(always)]
fn settle(this: &'static RunQueue, task: &Task, decision: Resched) {
    if decision == Resched::Yes {
        resched_curr(this);
    } else {
        hooks::task_woken(this, task);
    }
}

/// The end of a wake-up with a preemption point: if the task is to run on this CPU, and may at once, switches to it
/// (`wakeup::wake_up_and_switch_alone`).
///
/// # Safety
/// As [`activate`].
#[inline(always)]
unsafe fn activate_and_switch(this: &'static RunQueue, task: &Task, flags: irqflags::Flags) {
    // SAFETY: passed on.
    let (this, decision) = unsafe { activate::<false>(this, task) };
    // SAFETY: `activate` returns it locked.
    unsafe { switch_or_settle(this, task, decision, flags) };
}

/// # Safety
/// IRQs masked; `this` is locked, `task` has been made ready on it.
#[inline(always)]
unsafe fn switch_or_settle(this: &'static RunQueue, task: &Task, decision: Resched, flags: irqflags::Flags) {
    let prev = task::current();
    // The flag besides the word: another CPU may have asked, for a task that is more important than this one, and its
    // interrupt is still to come.
    let may_switch = decision == Resched::Yes
        && task.sched.is_rt()
        && !irqflags::irqs_disabled_flags(flags)
        && thread_info::preempt_word() == thread_info::PREEMPT_ENABLED
        && !prev.arch.thread_info.tif_need_resched()
        && this.is_local()
        // SAFETY: locked by contract.
        && unsafe { this.rq() }.special().is_empty()
        && !static_branch::<PREEMPT_INERT>();
    if may_switch {
        // SAFETY: locked by contract.
        let rq = unsafe { this.rq() };
        rq.set_next_rt(sched_ref(prev), sched_ref(task), |_| crate::time::now_ns());
        note_switch(this, prev, task);
        // SAFETY: task context and IRQs masked, since the word was PREEMPT_ENABLED and `flags` open; the
        // count goes from 0 to 2 and back; the lock is held and `task` is current on the queue.
        unsafe {
            thread_info::preempt_count_set::<2>();
            context_switch::<true>(this, prev, task, &prev.nivcsw, true);
            finish_task_switch_smp();
            thread_info::preempt_count_set::<0>();
        }
        return;
    }
    settle(this, task, decision);
    // SAFETY: locked by contract.
    unsafe { this.unlock() };
    check_resched(flags);
}

/// `wakeup::fork`: gives a new task a run queue, this CPU's if it may run here. IRQs masked.
#[inline(never)]
pub(super) fn fork(task: &Task) {
    let here = this_rq();
    let allowed = task.sched.cpus_allowed();
    let cpu = if allowed.contains(here.cpu()) {
        if task.sched.is_rt() {
            // Nobody knows the task yet, and of the run queue it needs what was set at boot.
            task.set_rq(here);
            return task.sched.begin_turn(here.rr_timeslice_ticks());
        }
        here.cpu()
    } else {
        // Nothing of it is online any more: it is moved when it starts.
        (allowed & online()).first().unwrap_or(here.cpu())
    };
    let this = cpu_rq(cpu);
    this.lock.lock();
    task.set_rq(this);
    // SAFETY: locked above.
    unsafe { this.rq() }.task_fork_lazily(sched_ref(task), crate::time::now_ns);
    // SAFETY: locked above.
    unsafe { this.unlock() };
}

/// `wakeup::wake_up_new_task`. IRQs masked; restores `flags`.
#[inline(never)]
pub(super) fn wake_up_new_task(task: &Task, flags: irqflags::Flags) {
    let p = sched_ref(task);
    // SAFETY: IRQs masked by the caller.
    let mut this = unsafe { lock_task_rq_smp(task) };
    // Under the lock, where two that start it follow each other.
    if task.state() != state::NEW {
        super::wakeup::started_twice(task);
    }
    // SAFETY: locked above; the reference ends here or where the lock is passed on.
    let rq = unsafe { this.rq() };
    let prev = task::current();
    if ptr::eq(this, rq_of(prev)) && rq.is_quiet() && rq.is_own_rt(p) {
        task.state.store(state::RUNNING, Ordering::Relaxed);
        trace::sched_wakeup_new(task);
        rq.begin_own_rt(p);
        // SAFETY: locked above, IRQs masked; `prev` runs, and `task` has just been queued.
        return unsafe { run_or_ask(this, prev, task, p.prio(), flags) };
    }
    let cpu = if is_bound_to(this, p) { this.cpu() } else { hooks::select_task_rq(task, this, Ready::Fork) };
    // Nobody can start it twice from here on.
    task.state.store(state::RUNNING, Ordering::Relaxed);
    if cpu != this.cpu() {
        // SAFETY: locked above; a task that was never started is on no queue and no CPU.
        this = unsafe { move_sleeping(this, task, cpu) };
    }
    trace::sched_wakeup_new(task);
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    if !p.is_rt() {
        rq.update_clock(crate::time::now_ns());
    }
    let decision = rq.wake_up_new_task(p);
    this.event.program_if_deadline(rq, p);
    hooks::readied(this, task, decision);
    // SAFETY: locked above.
    unsafe { switch_or_settle(this, task, decision, flags) };
    irqflags::local_irq_restore(flags);
}

/// `wakeup::scheduler_tick`. Hard interrupt, IRQs masked.
#[inline(never)]
pub(super) fn scheduler_tick() {
    // SAFETY: IRQs masked.
    let this = unsafe { super::runqueue::lock_this_rq_smp() };
    // SAFETY: locked above.
    if unsafe { this.rq() }.task_tick_lazily(crate::time::now_ns) == Resched::Yes {
        resched_curr(this);
    }
    let balance = hooks::tick(this);
    // SAFETY: locked above.
    unsafe { this.unlock_smp() };
    balance.begin();
}
