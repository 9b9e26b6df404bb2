//! Tracing: what each CPU did last, as events with Linux's names and fields.
//!
//! | file | what |
//! |---|---|
//! | [`event`], [`stamp`] | the events; the task and the context around each |
//! | [`ring`] | where they are stored, and how they are read |
//! | [`control`] | switching on and off, choosing events |
//! | [`names`] | what tasks are called, also those that have ended |
//! | [`text`], [`show`] | ftrace's text |
//! | [`sections`] | the changes of the mask and of the preempt count |
//!
//! Off, a hook is one `nop` (`arch::patch`), and where not even that is to be paid it stands where there is a site already:
//! the entry of an interrupt (`irq::line`), the sites of preempt-stats ([`sections`]), the switch. On, a hook stores a record
//! into this CPU's ring and does nothing else: no lock, no allocation, no timer, no wake-up, nothing that could schedule. The
//! rings, the panic message and the watchdog's read them (docs/tracing.md).
//!
//! Context: hooks: any. Locks: none in the hooks.
#![deny(unsafe_code)]

pub mod control;
pub mod event;
pub mod names;
#[expect(unsafe_code, reason = "the rings' memory, and per-CPU data in a section of its own")]
pub mod ring;
#[expect(unsafe_code, reason = "per-CPU data in a section of its own, with interrupts masked")]
pub mod sections;
pub mod show;
pub mod stamp;
pub mod text;

use crate::task::{Task, state};
use crate::time::hrtimer::{Callback, Hrtimer};
use arch::patch::{TRACE, static_branch};
use core::sync::atomic::{AtomicU32, Ordering};
use event::{Event, KindSet, Left};
pub use ring::{Entry, for_each_last, for_each_last_of};
use stamp::{Stamp, number};

/// The events that are recorded now: [`KindSet::bits`]. `control` writes it.
static WANTED: AtomicU32 = AtomicU32::new(0);

/// Whether one of these is recorded now.
#[inline(always)]
fn wants(kinds: KindSet) -> bool {
    KindSet::from_bits(WANTED.load(Ordering::Relaxed)).meets(kinds)
}

#[inline(always)]
fn record(event: Event) {
    ring::record(Stamp::now, event);
}

/// `prev` is about to be switched away from. IRQs masked.
#[inline(always)]
pub(crate) fn sched_switch(prev: &Task, next: &Task, preempt: bool) {
    if static_branch::<TRACE>() {
        switched(prev, next, preempt);
    }
}

#[cold]
#[inline(never)]
fn switched(prev: &Task, next: &Task, preempt: bool) {
    let left = match prev.state() {
        _ if preempt => Left::Preempted,
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
    record(Event::SchedSwitch {
        prev: number(prev),
        prev_prio: prev.sched.prio(),
        left,
        next: number(next),
        next_prio: next.sched.prio(),
    });
}

/// The running code wakes `task`, which will be ready on its CPU, or another one, soon.
#[inline(always)]
pub(crate) fn sched_waking(task: &Task) {
    if static_branch::<TRACE>() {
        waking(task);
    }
}

#[cold]
#[inline(never)]
fn waking(task: &Task) {
    record(Event::SchedWaking { task: number(task), prio: task.sched.prio(), cpu: task.cpu() as u32 });
}

/// `task` is ready on its run queue, which is locked; of its waking nobody has told yet.
#[inline(always)]
pub(crate) fn sched_wakeup(task: &Task) {
    if static_branch::<TRACE>() {
        waking(task);
        woken(task);
    }
}

/// `task` is ready on its run queue, which is locked.
#[inline(always)]
pub(crate) fn sched_woken(task: &Task) {
    if static_branch::<TRACE>() {
        woken(task);
    }
}

#[cold]
#[inline(never)]
fn woken(task: &Task) {
    record(Event::SchedWakeup { task: number(task), prio: task.sched.prio(), cpu: task.cpu() as u32 });
}

/// A new task is ready on its run queue, which is locked.
#[inline(always)]
pub(crate) fn sched_wakeup_new(task: &Task) {
    if static_branch::<TRACE>() {
        woken_new(task);
    }
}

#[cold]
#[inline(never)]
fn woken_new(task: &Task) {
    record(Event::SchedProcessFork { child: task.id() });
    record(Event::SchedWakeupNew { task: number(task), prio: task.sched.prio(), cpu: task.cpu() as u32 });
}

/// `task` goes from one CPU's run queue to another's.
#[inline(always)]
pub(crate) fn sched_migrate_task(task: &Task, from: usize, to: usize) {
    if static_branch::<TRACE>() {
        migrated(task, from, to);
    }
}

#[cold]
#[inline(never)]
fn migrated(task: &Task, from: usize, to: usize) {
    let prio = task.sched.prio();
    record(Event::SchedMigrateTask { task: number(task), prio, from: from as u32, to: to as u32 });
}

/// The priority of `task` becomes `prio`, for a lock's sake.
#[inline(always)]
pub(crate) fn sched_pi_setprio(task: &Task, prio: i32) {
    if static_branch::<TRACE>() {
        pi_setprio(task, prio);
    }
}

#[cold]
#[inline(never)]
fn pi_setprio(task: &Task, new_prio: i32) {
    record(Event::SchedPiSetprio { task: number(task), old_prio: task.sched.prio(), new_prio });
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
    if static_branch::<TRACE>() {
        softirq_raised(vector);
    }
}

#[cold]
#[inline(never)]
fn softirq_raised(vector: u32) {
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
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "there are no interrupts on a PC"))]
#[inline(always)]
pub(crate) fn ipi_raise(cpus: u64, ipi: u32) {
    if static_branch::<TRACE>() {
        ipi_raised(cpus, ipi);
    }
}

#[cold]
#[inline(never)]
fn ipi_raised(cpus: u64, ipi: u32) {
    record(Event::IpiRaise { cpus, ipi });
}

/// A timer is started.
#[inline(always)]
pub(crate) fn hrtimer_start(timer: &Hrtimer, function: Callback, expires_ns: u64, soft: bool) {
    if static_branch::<TRACE>() {
        timer_started(timer, function, expires_ns, soft);
    }
}

#[cold]
#[inline(never)]
fn timer_started(timer: &Hrtimer, function: Callback, expires_ns: u64, soft: bool) {
    let function = function as *const () as u64;
    record(Event::HrtimerStart { timer: address(timer), function, expires_ns, soft });
}

/// A timer that was pending is taken back.
#[inline(always)]
pub(crate) fn hrtimer_cancel(timer: &Hrtimer) {
    if static_branch::<TRACE>() {
        timer_cancelled(timer);
    }
}

#[cold]
#[inline(never)]
fn timer_cancelled(timer: &Hrtimer) {
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
    let (timer, function) = (address(timer), function as *const () as u64);
    record(Event::HrtimerExpireEntry { timer, function, now_ns: crate::time::now_ns() });
    let result = call();
    record(Event::HrtimerExpireExit { timer });
    result
}

/// The running task begins to wait for a lock.
#[inline(always)]
pub(crate) fn contention_begin<T>(lock: &T, flags: u32) {
    if static_branch::<TRACE>() {
        contended(address(lock), flags);
    }
}

#[cold]
#[inline(never)]
fn contended(lock: u64, flags: u32) {
    record(Event::ContentionBegin { lock, flags });
}

/// It has the lock, or (a negative error number of Linux's) has not.
#[inline(always)]
pub(crate) fn contention_end<T>(lock: &T, ret: i32) {
    if static_branch::<TRACE>() {
        contention_over(address(lock), ret);
    }
}

#[cold]
#[inline(never)]
fn contention_over(lock: u64, ret: i32) {
    record(Event::ContentionEnd { lock, ret });
}

/// This CPU waits for an interrupt (1), or has waited ([`event::NOT_IDLE`]).
#[inline(always)]
pub(crate) fn cpu_idle(state: u32) {
    if static_branch::<TRACE>() {
        idles(state);
    }
}

#[cold]
#[inline(never)]
fn idles(state: u32) {
    record(Event::CpuIdle { state });
}

fn address<T>(of: &T) -> u64 {
    (&raw const *of).addr() as u64
}
