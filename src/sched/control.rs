//! What tasks ask of the scheduler: to yield, to be somebody else's equal, to be gone.
//!
//! Context: as each function says. Lock: the run queue of the task.

use super::class::{DequeueFlags, Resched};
use super::core::{Why, schedule_alone, schedule_locked, switch_alone};
use super::dl_root;
use super::entity::SchedRef;
use super::hooks;
use super::prio::{SchedAttr, is_rt_prio};
use super::rq::{Interval, Rq};
use super::runqueue::{
    RunQueue, lock_task_rq, lock_task_rq_smp, lock_this_rq_smp, rq_of, sched_ref, task_of,
};
use super::wait::{self, WaitStatus};
use super::wakeup::{check_resched, resched_if, resched_rq_if};
use crate::error::{Error, Result};
use crate::locking::pi::{Follow, PI, donated_prio, priority_changed, walk};
use crate::locking::raw_mutex::give_up;
use crate::task::{self, Task, state};
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use arch::thread_info;
use core::ptr;
use core::sync::atomic::{Ordering, fence};

/// `yield`: the class decides what it means; then a switch if somebody else is to run.
#[inline(always)]
pub(crate) fn yield_task() {
    crate::preempt::check_may_sleep();
    // A real-time task alone on its level yields to nobody. Its own links say so, without the lock: an equal
    // that arrives after this look has arrived after the yield, and so has one that another CPU is just linking in, or a
    // priority that it changes: the links are read, not followed. A request that no preemption point has served
    // (`preempt=none`, `enable_no_resched`) is served here.
    if thread_info::preempt_word() == 0 || !sched_ref(task::current()).is_alone_rt() {
        yield_to_others();
    }
}

#[inline(always)]
fn yield_to_others() {
    if static_branch::<SMP_LOCKS>() { yield_smp() } else { yield_alone() }
}

/// [`yield_task`] on one of several CPUs: the run queue is locked once, for the turn and for the pick.
#[inline(never)]
fn yield_smp() {
    let flags = irqflags::local_irq_save();
    let prev = task::current();
    // SAFETY: IRQs masked; then: task context, count 0 (checked by the caller), and the run queue is locked. The switch
    // counts as in `yield_alone`.
    unsafe {
        let this = lock_this_rq_smp();
        give_way(this, prev);
        thread_info::preempt_count_set::<2>();
        schedule_locked::<{ Why::Yield as u8 }>(this, prev, false);
        thread_info::preempt_count_set::<0>();
    }
    irqflags::local_irq_restore(flags);
}

/// The class of the running `prev` decides what it means that it yields. `this` is its run queue, locked.
#[inline(always)]
fn give_way(this: &RunQueue, prev: &Task) {
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { this.rq() };
    if prev.sched.is_rt() {
        rq.yield_rt(sched_ref(prev));
    } else {
        rq.update_clock(crate::time::now_ns());
        rq.yield_task();
        this.event.program_if_deadline(rq, sched_ref(prev));
    }
}

/// [`yield_task`] on a CPU that is alone. A real-time task whose equal is next is the whole of it here, and needs no pick;
/// everything else is `yield_at_length`.
#[inline(never)]
fn yield_alone() {
    let flags = irqflags::local_irq_save();
    let prev = task::current();
    let this = rq_of(prev);
    this.lock.lock_without_word();
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let is_plain = prev.sched.is_rt() && rq.is_quiet() && thread_info::preempt_word() != 0;
    let next = if is_plain { rq.yield_and_pick_rt(sched_ref(prev)) } else { None };
    let Some(next) = next else { return yield_at_length(this, prev, flags) };
    let next = task_of(next);
    if ptr::eq(prev, next) {
        this.lock.unlock_without_word();
    } else {
        // SAFETY: task context, count 0 (checked by the caller), IRQs masked, the lock held, and `next` is current on the
        // queue.
        unsafe { switch_alone(this, prev, next, false) };
    }
    irqflags::local_irq_restore(flags);
}

/// The run queue is locked.
#[cold]
#[inline(never)]
fn yield_at_length(this: &RunQueue, prev: &Task, flags: irqflags::Flags) {
    give_way(this, prev);
    this.lock.unlock_without_word();
    // SAFETY: task context, count 0 (checked by the caller), IRQs masked. A yielding task stays ready, and its switch
    // counts as involuntary (reference 3.8).
    unsafe {
        thread_info::preempt_count_set::<2>();
        schedule_alone::<{ Why::Yield as u8 }>();
        thread_info::preempt_count_set::<0>();
    }
    irqflags::local_irq_restore(flags);
}

/// Runs `f` on the run queue that `lock` locks, with the clock up to date, and acts on its answer. Any context.
pub(super) fn change_rq<E>(
    lock: impl FnOnce() -> &'static RunQueue,
    f: impl FnOnce(&mut Rq) -> Result<Resched, E>,
) -> Result<(), E> {
    let flags = irqflags::local_irq_save();
    let this = lock();
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    rq.update_clock(crate::time::now_ns());
    let result = f(rq).map(|decision| resched_rq_if(this, decision));
    // SAFETY: locked above.
    this.event.program(unsafe { this.rq() });
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
    let this = unsafe { lock_task_rq(task) };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    rq.update_clock(crate::time::now_ns());
    let result =
        dl_root::with_accounts(rq, task, attr, |rq| rq.set_scheduler_boosted(sched_ref(task), attr, donated));
    if let Ok(decision) = result {
        resched_rq_if(this, decision);
    }
    // SAFETY: locked above.
    this.event.program(unsafe { this.rq() });
    let this = prio_changed_there(this, task);
    let this = retry(this, task, wait::try_requeue);
    // SAFETY: locked, above or anew.
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
    result.map(drop)
}

/// Changes the nice value. Any context.
pub(crate) fn set_nice(task: &Task, nice: i32) -> Result<()> {
    // The PI lock, because a priority is changed: whoever computes one under it must not find it another.
    let pi = PI.lock();
    // SAFETY: IRQs masked.
    let result = change_rq(|| unsafe { lock_task_rq(task) }, |rq| rq.set_nice(sched_ref(task), nice));
    drop(pi);
    result.map_err(|_| Error::BadNice { nice })
}

/// `sched_rr_get_interval`.
pub(crate) fn rr_interval(task: &Task) -> Interval {
    let mut interval = Interval::Unlimited;
    // SAFETY: IRQs masked.
    let _ = change_rq(
        || unsafe { lock_task_rq(task) },
        |rq| {
            interval = rq.rr_interval(sched_ref(task));
            Ok::<_, core::convert::Infallible>(Resched::No)
        },
    );
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
        let task = task_of(p);
        let _ =
            dl_root::with_accounts(rq, task, SchedAttr::NORMAL, |rq| rq.set_scheduler(p, SchedAttr::NORMAL));
        this.event.program(rq);
    }
}

/// Puts an inherited priority in force, or the task's own again. IRQs masked, the PI lock held; asks for a switch
/// and does not make it.
#[inline(always)]
pub(crate) fn setprio(task: &Task, prio: i32, donor: Option<&Task>) {
    let old_prio = task.sched.prio();
    if static_branch::<SMP_LOCKS>() {
        return setprio_smp(task, prio, donor);
    }
    let this = rq_of(task);
    this.lock.lock_without_word();
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    if is_rt_prio(prio) && p.is_rt() {
        let decision = rq.setprio_rt(p, prio);
        resched_if(rq, decision);
    } else {
        setprio_by_clock(this, p, prio, donor);
    }
    // Nobody has the queue that it waits on: he would have to be on this CPU, with interrupts masked.
    let filed = wait::try_requeue(task);
    debug_assert!(filed, "one CPU, and somebody else has the lock of a queue");
    crate::trace::sched_pi_setprio(task, old_prio);
    this.lock.unlock_without_word();
}

#[inline(never)]
fn setprio_smp(task: &Task, prio: i32, donor: Option<&Task>) {
    // SAFETY: IRQs masked.
    let this = unsafe { lock_task_rq_smp(task) };
    let old_prio = task.sched.prio();
    if setprio_plain(this, task, prio) {
        crate::trace::sched_pi_setprio(task, old_prio);
        // SAFETY: locked above.
        return unsafe { this.unlock_smp() };
    }
    setprio_at_length(this, task, prio, donor);
    crate::trace::sched_pi_setprio(task, old_prio);
}

/// [`setprio`] of a real-time task that stays one and is its CPU's alone: others are told of nothing but the level of what
/// runs. False: nothing is done. `this` is the task's run queue, locked.
#[inline(always)]
fn setprio_plain(this: &'static RunQueue, task: &Task, prio: i32) -> bool {
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    let curr = rq.curr();
    let runs = curr == p;
    // One that waits on a queue is to be filed anew there; one that waits to run may equal one that could make room by going
    // elsewhere; and one that runs and is on no queue is being put to sleep.
    let is_plain = is_rt_prio(prio)
        && rq.is_quiet()
        && rq.is_own_rt(p)
        && !wait::is_filed(task)
        && if p.is_queued() { rq.is_own(curr) } else { !runs };
    if !is_plain {
        return false;
    }
    let mut decision = rq.setprio_rt(p, prio);
    if runs {
        // Where somebody here goes first, the pick tells; where it sinks below what waits elsewhere, the pick pulls.
        if !decision.is_yes() && !hooks::has_nothing_to_pull(rq, p) {
            decision = Resched::Yes;
        }
    } else if decision.is_yes() {
        hooks::about_to_run(rq, prio);
    }
    resched_rq_if(this, decision);
    true
}

#[inline(never)]
fn setprio_at_length(this: &'static RunQueue, task: &Task, prio: i32, donor: Option<&Task>) {
    setprio_by_clock(this, sched_ref(task), prio, donor);
    let this = prio_changed_smp(this, task);
    let this = retry(this, task, wait::try_requeue);
    // SAFETY: locked, above or anew.
    unsafe { this.unlock() };
}

/// Where there are several CPUs: tells them of a priority that has changed. The run queue of `task` is locked; it is
/// returned locked, and may be another one by then.
#[inline(always)]
fn prio_changed_there(this: &'static RunQueue, task: &Task) -> &'static RunQueue {
    if static_branch::<SMP_LOCKS>() { prio_changed_smp(this, task) } else { this }
}

#[inline(never)]
fn prio_changed_smp(this: &'static RunQueue, task: &Task) -> &'static RunQueue {
    hooks::prio_changed(this, task);
    if this.holds(task) {
        return this;
    }
    // It was pushed to another CPU.
    // SAFETY: locked, still or again; IRQs masked by the caller.
    unsafe {
        this.unlock();
        lock_task_rq(task)
    }
}

/// The run queue is locked.
#[cold]
#[inline(never)]
fn setprio_by_clock(this: &RunQueue, p: SchedRef, prio: i32, donor: Option<&Task>) {
    // SAFETY: locked by the caller, who has let go of its reference.
    let rq = unsafe { this.rq() };
    rq.update_clock(crate::time::now_ns());
    let decision = rq.setprio(p, prio, donor.map(sched_ref));
    resched_rq_if(this, decision);
    // SAFETY: as above.
    this.event.program(unsafe { this.rq() });
}

/// What stands in the way of an abort.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    Yes,
    /// It runs, has not begun, is dead, or holds a lock.
    No,
    /// Another CPU has what it waits on locked, or runs its timer: at once again.
    Again,
    /// It has been granted what it waits for, and is about to be woken, maybe by this CPU's interrupt.
    Waking,
}

/// Takes a task that does not run off the run queue, and off what it waits for, for ever.
pub(crate) fn abort(task: &Task) -> Result<()> {
    if static_branch::<SMP_LOCKS>() {
        return abort_smp(task);
    }
    if abort_ready(task) { Ok(()) } else { abort_at_length(task) }
}

/// [`abort`] of a real-time task that is ready, has nothing and waits for nothing, not even for a timer that it has not taken
/// back yet, on a CPU that is alone. Of any other it does nothing, and says so. (Who holds no mutex and waits for none is in
/// nobody's chain, so there is nothing that the PI lock guards.)
#[inline(always)]
fn abort_ready(task: &Task) -> bool {
    let flags = irqflags::local_irq_save();
    let p = sched_ref(task);
    let is_plain = task.state() == state::RUNNING
        && p.is_rt()
        && task.pi.held.get() == 0
        && task.pi.blocked_on().is_none()
        && !task.timer.is_pending_irqs_off()
        && !ptr::eq(task, task::current());
    if is_plain {
        let this = rq_of(task);
        this.lock.lock_without_word();
        // SAFETY: locked above. Ready and not running, so queued.
        unsafe { this.rq() }.dequeue_rt(p);
        task.state.store(state::DEAD, Ordering::Relaxed);
        this.lock.unlock_without_word();
    }
    irqflags::local_irq_restore(flags);
    is_plain
}

/// [`abort`] in general, on a CPU that is alone.
#[inline(never)]
fn abort_at_length(task: &Task) -> Result<()> {
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
    let this = rq_of(task);
    this.lock.lock_without_word();
    let left = wait::try_leave(task);
    debug_assert!(left, "one CPU, and somebody else has the lock of a queue");
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
    this.lock.unlock_without_word();
    drop(pi);
    if rest.is_some() {
        // Too long a chain has been logged.
        let _ = walk(rest, Follow::Change, None);
    }
    Ok(())
}

/// [`abort`] where there are several CPUs.
///
/// A task that has been granted what it waits for, and whose waker on another CPU has not come to its run queue yet, is
/// that waker's. That is over in a bounded time; it is waited for where interrupts are open.
#[inline(never)]
fn abort_smp(task: &Task) -> Result<()> {
    loop {
        let pi = PI.lock();
        let waiter = task.pi.blocked_on();
        // SAFETY: IRQs masked.
        let this = unsafe { lock_task_rq(task) };
        let verdict = take_out(this, task, waiter.is_some());
        // SAFETY: locked above.
        unsafe { this.unlock() };
        match verdict {
            Verdict::Yes => {
                // It is dead and wakes no more, so what it waits for under the PI lock can be given up without its run queue.
                let rest = waiter.and_then(|waiter| give_up(task, waiter, WaitStatus::TimedOut));
                drop(pi);
                // Too long a chain has been logged.
                let _ = walk(rest, Follow::Change, None);
                return Ok(());
            }
            Verdict::Again => pi.unlock_no_resched(),
            Verdict::Waking if !irqflags::irqs_disabled_flags(pi.flags()) => pi.unlock_no_resched(),
            _ => {
                pi.unlock_no_resched();
                return Err(Error::Busy);
            }
        }
        arch::cpu::relax();
    }
}

/// Makes `task` dead, if that may be now. `this` is its run queue, locked, and so is the PI lock.
fn take_out(this: &RunQueue, task: &Task, waits_for_a_lock: bool) -> Verdict {
    let lives = task.state() & !(state::NORMAL | state::WAKING) == 0;
    // The lock that it waits for is counted, and is none that it holds.
    let holds_a_lock = task.pi.held.get() != u32::from(waits_for_a_lock);
    if !lives || holds_a_lock || this.is_curr(task) {
        return Verdict::No;
    }
    // Off the queue that it waits on, if nobody has that; and no interrupt on its way to say that its time is over.
    if !wait::try_leave(task) || !task.timer.try_cancel_irqs_off() {
        return Verdict::Again;
    }
    // If somebody was faster, the state says so to who looks at it behind both (`wait::mark_waking`).
    fence(Ordering::Acquire);
    if task.state() == state::WAKING {
        return Verdict::Waking;
    }
    let p = sched_ref(task);
    if !p.is_rt() {
        leave_deadline(this, p);
    }
    if p.is_queued() {
        // SAFETY: locked by the caller.
        let rq = unsafe { this.rq() };
        rq.dequeue_task(p, DequeueFlags::SLEEP);
        // Of one that is this CPU's alone nobody was told.
        if !(rq.is_quiet() && rq.is_own_rt(p)) {
            hooks::changed(this, task);
        }
    }
    task.state.store(state::DEAD, Ordering::Relaxed);
    Verdict::Yes
}

/// Repeats what has to take a queue's lock with the run queue of `task` locked, until nobody else has it. Returns the run
/// queue, locked: another one if the task was moved meanwhile.
#[inline(always)]
fn retry(mut this: &'static RunQueue, task: &Task, attempt: impl Fn(&Task) -> bool) -> &'static RunQueue {
    while !attempt(task) {
        // SAFETY: locked, by the caller or below; whoever has the queue may want it.
        unsafe { this.unlock() };
        arch::cpu::relax();
        // SAFETY: IRQs masked by the caller.
        this = unsafe { lock_task_rq(task) };
    }
    this
}
