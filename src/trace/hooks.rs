//! The hooks: what the kernel calls where something happens.
//!
//! Each is a site of [`TRACE`](arch::patch::TRACE): a `nop` while tracing is off. Most are calls that the code around them does
//! not notice (`arch::call_if`), so they cost the `nop` and nothing else; the three that call something else themselves are
//! branches, one `nop` for the two events before and behind the call.
//!
//! Context: any. Locks: none.

use super::event::{Event, Left, NOT_IDLE, WAITS};
use super::stamp::{Stamp, number};
use super::{names, ring, tracer};
#[cfg(target_os = "none")]
use crate::smp::ipi::Ipi;
use crate::task::{Task, state};
use crate::time::hrtimer::{Callback, Hrtimer};
use arch::call_if;
use arch::patch::{TRACE, static_branch};
use arch::timer::counter;

#[inline(always)]
fn record(event: Event) {
    ring::record(Stamp::now, event);
}

/// `prev` is about to be switched away from. IRQs masked.
#[inline(always)]
pub(crate) fn sched_switch(prev: &Task, next: &Task, preempt: bool) {
    // It is known where it is asked, and an argument would be an instruction.
    if preempt {
        call_if!(TRACE, preempted, prev, next);
    } else {
        call_if!(TRACE, gave_way, prev, next);
    }
}

extern "C" fn preempted(prev: &Task, next: &Task) {
    switched(prev, next, Left::Preempted);
}

extern "C" fn gave_way(prev: &Task, next: &Task) {
    let left = match prev.state() {
        // It yielded, or was woken on its way to sleep.
        _ if prev.sched.is_queued() => Left::Ready,
        state::DEAD => Left::Dead,
        state::INTERRUPTIBLE => Left::Sleeping,
        state::UNINTERRUPTIBLE => Left::Blocked,
        state::IDLE => Left::Idle,
        _ => Left::Ready,
    };
    if left == Left::Dead {
        // Its last switch, and the last at which its name is at hand.
        names::remember(prev);
        record(Event::SchedProcessExit { prio: prev.sched.prio() });
    }
    switched(prev, next, left);
}

fn switched(prev: &Task, next: &Task, left: Left) {
    let now_ticks = counter();
    record(Event::SchedSwitch {
        prev: number(prev),
        prev_prio: prev.sched.prio(),
        left,
        next: number(next),
        next_prio: next.sched.prio(),
    });
    tracer::switched(next, now_ticks);
}

/// The running code wakes `task`, which will be ready on its CPU, or another one, soon.
#[inline(always)]
pub(crate) fn sched_waking(task: &Task) {
    call_if!(TRACE, waking, task);
}

extern "C" fn waking(task: &Task) {
    record(Event::SchedWaking { task: number(task), prio: task.sched.prio(), cpu: task.cpu() as u32 });
}

/// `task` is ready on its run queue, which is locked; of its waking nobody has told yet.
#[inline(always)]
pub(crate) fn sched_wakeup(task: &Task) {
    call_if!(TRACE, waking_and_woken, task);
}

extern "C" fn waking_and_woken(task: &Task) {
    let from_ticks = counter();
    waking(task);
    woken_since(task, from_ticks);
}

/// `task` is ready on its run queue, which is locked.
#[inline(always)]
pub(crate) fn sched_woken(task: &Task) {
    call_if!(TRACE, woken, task);
}

extern "C" fn woken(task: &Task) {
    woken_since(task, counter());
}

fn woken_since(task: &Task, from_ticks: u64) {
    record(Event::SchedWakeup { task: number(task), prio: task.sched.prio(), cpu: task.cpu() as u32 });
    tracer::woken(task, from_ticks);
}

/// A new task is ready on its run queue, which is locked.
#[inline(always)]
pub(crate) fn sched_wakeup_new(task: &Task) {
    call_if!(TRACE, woken_new, task);
}

extern "C" fn woken_new(task: &Task) {
    let from_ticks = counter();
    record(Event::SchedProcessFork { child: task.id() });
    record(Event::SchedWakeupNew { task: number(task), prio: task.sched.prio(), cpu: task.cpu() as u32 });
    tracer::woken(task, from_ticks);
}

/// `task` goes from one CPU's run queue to another's.
#[inline(always)]
pub(crate) fn sched_migrate_task(task: &Task, from: usize, to: usize) {
    call_if!(TRACE, migrated, task, from, to);
}

extern "C" fn migrated(task: &Task, from: usize, to: usize) {
    let prio = task.sched.prio();
    record(Event::SchedMigrateTask { task: number(task), prio, from: from as u32, to: to as u32 });
    tracer::migrated(task, from, to);
}

/// The priority of `task` was `old_prio`, and is another one now, for a lock's sake.
#[inline(always)]
pub(crate) fn sched_pi_setprio(task: &Task, old_prio: i32) {
    call_if!(TRACE, pi_setprio, task, old_prio);
}

extern "C" fn pi_setprio(task: &Task, old_prio: i32) {
    record(Event::SchedPiSetprio { task: number(task), old_prio, new_prio: task.sched.prio() });
}

/// The handler of `irq` is called; software-generated ones are other CPUs' requests. For the entry that has been switched on.
pub(crate) fn irq_entry(irq: u32) {
    if irq < 16 {
        record(Event::IpiEntry { ipi: irq });
    } else {
        record(Event::IrqHandlerEntry { irq });
    }
}

/// It has returned.
pub(crate) fn irq_exit(irq: u32, handled: bool) {
    if irq < 16 {
        record(Event::IpiExit { ipi: irq });
    } else {
        record(Event::IrqHandlerExit { irq, handled });
    }
}

/// A softirq was raised.
#[inline(always)]
pub(crate) fn softirq_raise(vector: u32) {
    call_if!(TRACE, softirq_raised, vector);
}

extern "C" fn softirq_raised(vector: u32) {
    record(Event::SoftirqRaise { vector });
}

/// Runs the function of a softirq.
#[inline(always)]
pub(crate) fn softirq(vector: u32, function: fn()) {
    if static_branch::<TRACE>() {
        return softirq_traced(vector, function);
    }
    function();
}

#[cold]
#[inline(never)]
fn softirq_traced(vector: u32, function: fn()) {
    record(Event::SoftirqEntry { vector });
    function();
    record(Event::SoftirqExit { vector });
}

/// The CPUs of a mask are interrupted.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn ipi_raise(cpus: u64, ipi: Ipi) {
    call_if!(TRACE, ipi_raised, cpus, ipi as u32);
}

#[cfg(target_os = "none")]
extern "C" fn ipi_raised(cpus: u64, ipi: u32) {
    record(Event::IpiRaise { cpus, ipi });
}

/// A CPU is asked to look for a request.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn ipi_raise_reschedule(cpu: usize) {
    call_if!(TRACE, reschedule_raised, cpu);
}

#[cfg(target_os = "none")]
extern "C" fn reschedule_raised(cpu: usize) {
    ipi_raised(1 << cpu, Ipi::Reschedule as u32);
}

/// A CPU is asked to run what was left for it.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn ipi_raise_call(cpu: usize) {
    call_if!(TRACE, call_raised, cpu);
}

#[cfg(target_os = "none")]
extern "C" fn call_raised(cpu: usize) {
    ipi_raised(1 << cpu, Ipi::CallFunction as u32);
}

/// A timer that expires in the interrupt is started.
#[inline(always)]
pub(crate) fn hrtimer_start(timer: &Hrtimer, function: Callback, expires_ns: u64) {
    call_if!(TRACE, hard_started, timer, function as usize, expires_ns);
}

extern "C" fn hard_started(timer: &Hrtimer, function: usize, expires_ns: u64) {
    record(Event::HrtimerStart { timer: address(timer), function: function as u64, expires_ns, soft: false });
}

/// One that expires in the softirq is.
#[inline(always)]
pub(crate) fn hrtimer_start_soft(timer: &Hrtimer, function: Callback, expires_ns: u64) {
    call_if!(TRACE, soft_started, timer, function as usize, expires_ns);
}

extern "C" fn soft_started(timer: &Hrtimer, function: usize, expires_ns: u64) {
    record(Event::HrtimerStart { timer: address(timer), function: function as u64, expires_ns, soft: true });
}

/// A timer that was pending is taken back.
#[inline(always)]
pub(crate) fn hrtimer_cancel(timer: &Hrtimer) {
    call_if!(TRACE, timer_cancelled, timer);
}

extern "C" fn timer_cancelled(timer: &Hrtimer) {
    record(Event::HrtimerCancel { timer: address(timer) });
}

/// Calls a timer's function.
#[inline(always)]
pub(crate) fn hrtimer_expire<R>(timer: &Hrtimer, function: Callback, call: impl FnOnce() -> R) -> R {
    if static_branch::<TRACE>() {
        return timer_expires(timer, function, call);
    }
    call()
}

#[cold]
#[inline(never)]
fn timer_expires<R>(timer: &Hrtimer, function: Callback, call: impl FnOnce() -> R) -> R {
    // It may be gone when its function returns.
    let (timer, function) = (address(timer), function as usize as u64);
    record(Event::HrtimerExpireEntry { timer, function, now_ns: crate::time::now_ns() });
    let result = call();
    record(Event::HrtimerExpireExit { timer });
    result
}

/// The running task begins to wait for a lock.
#[inline(always)]
pub(crate) fn contention_begin<T>(lock: &T, flags: u32) {
    call_if!(TRACE, contended, address(lock), flags);
}

extern "C" fn contended(lock: u64, flags: u32) {
    record(Event::ContentionBegin { lock, flags });
}

/// It has the lock.
#[inline(always)]
pub(crate) fn contention_end<T>(lock: &T) {
    call_if!(TRACE, contention_over, address(lock));
}

extern "C" fn contention_over(lock: u64) {
    record(Event::ContentionEnd { lock, ret: 0 });
}

/// It has given up; `ret` is Linux's error number, negative.
#[inline(always)]
pub(crate) fn contention_given_up<T>(lock: &T, ret: i32) {
    call_if!(TRACE, contention_failed, address(lock), ret);
}

extern "C" fn contention_failed(lock: u64, ret: i32) {
    record(Event::ContentionEnd { lock, ret });
}

/// This CPU is about to wait for an interrupt.
#[inline(always)]
pub(crate) fn cpu_idle_begins() {
    call_if!(TRACE, idles);
}

extern "C" fn idles() {
    record(Event::CpuIdle { state: WAITS });
}

/// It has waited.
#[inline(always)]
pub(crate) fn cpu_idle_ends() {
    call_if!(TRACE, idle_no_more);
}

extern "C" fn idle_no_more() {
    record(Event::CpuIdle { state: NOT_IDLE });
}

fn address<T>(of: &T) -> u64 {
    (&raw const *of).addr() as u64
}
