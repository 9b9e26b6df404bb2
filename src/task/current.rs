//! The running task, and what it does to itself.

use super::{Task, state};
use crate::sched::core as sched;
use crate::time::hrtimer::{Hrtimer, Restart};
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::Ordering;

/// The boot CPU's first and idle task; boot.S loads its address into `sp_el0`.
#[cfg_attr(target_os = "none", unsafe(export_name = "init_task"))]
static INIT_TASK: Task = Task::boot();

/// The idle task of the boot CPU.
pub(crate) fn idle_task() -> &'static Task {
    &INIT_TASK
}

/// The running task. The reference must not outlive the task: it stays inside the running call.
#[inline(always)]
pub(crate) fn current() -> &'static Task {
    // SAFETY: `sp_el0` points at the running task's head, which is at offset 0, and the running task lives.
    unsafe { &*thread_info_task() }
}

#[inline(always)]
fn thread_info_task() -> *const Task {
    arch::thread_info::current_thread_info().cast()
}

/// The running task, or nothing where there is none (a PC).
#[cfg(debug_assertions)]
#[inline(always)]
pub(crate) fn try_current() -> Option<&'static Task> {
    // SAFETY: as above.
    unsafe { thread_info_task().as_ref() }
}

/// Gives up the CPU to an equal. Linux's rules: a FIFO or RR task goes to the tail of its level, a fair
/// task is passed over once, a deadline task is done for this period and runs again in its next. Nobody else ready: returns at once. Thread context.
#[inline]
pub fn yield_now() {
    sched::yield_task();
}

/// Cycles that the running task has had so far, to this moment: `CLOCK_THREAD_CPUTIME_ID`.
#[must_use]
pub fn cpu_cycles() -> u64 {
    sched::runtime_cycles(current())
}

/// Ends the running task. Destructors of its stack do not run: return from its function where you can.
pub fn exit() -> ! {
    let task = current();
    crate::preempt::check_may_sleep();
    #[cfg(debug_assertions)]
    crate::lockdep::about_to_exit();
    if task.pi.held.get() != 0 {
        holds_locks(task);
    }
    // Interrupts stay masked from here to the switch: whoever is woken below cannot run on this CPU, and so cannot free
    // this stack, before the CPU has left it; on another CPU it waits for that (`reference::release`).
    let _ = irqflags::local_irq_save();
    task.state.store(state::DEAD, Ordering::Relaxed);
    if task.usage.fetch_sub(1, Ordering::AcqRel) == 1 {
        super::reaper::bury(task);
    } else {
        task.exited.complete_all();
    }
    // SAFETY: task context, count 0 (checked above), IRQs masked.
    unsafe { sched::sleep_irqs_off() };
    unreachable!("a dead task was scheduled");
}

#[cold]
#[inline(never)]
fn holds_locks(task: &Task) -> ! {
    panic!(
        "task {} ends while it holds {} sleeping lock(s), expected 0: drop the guards before",
        task.name(),
        task.pi.held.get()
    )
}

/// Sets the state of the running task: the first step of waiting by hand (set [`state::INTERRUPTIBLE`], test the
/// condition, `sched::core::schedule()`, and set [`state::RUNNING`] where the condition held). Whoever changes the
/// condition calls `sched::core::wake_up_process`. A preemption between the steps does not lose the wake-up (K4).
///
/// Only these two states: the other sleeping one belongs to the queues, whose waiters have been granted what they
/// waited for when they wake.
pub fn set_current_state(to: u32) {
    debug_assert!(
        to == state::RUNNING || to == state::INTERRUPTIBLE,
        "set_current_state({to:#x}): expected RUNNING or INTERRUPTIBLE"
    );
    current().set_state(to);
    // The condition is read after the state is there for the waker to see.
    core::sync::atomic::fence(Ordering::SeqCst);
}

/// Sleeps until [`Task::unpark`]; returns at once if that came first.
pub fn park() {
    current().parked.take();
}

/// Sleeps until the monotonic clock shows `deadline_ns`; never less. A time in the past returns at once.
pub fn sleep_until(deadline_ns: u64) {
    crate::preempt::will_sleep();
    let task = current();
    let flags = irqflags::local_irq_save();
    task.set_state(state::IDLE);
    task.timer.start_irqs_off(deadline_ns, wake_sleeper);
    // SAFETY: task context, count 0 (checked above), IRQs masked.
    unsafe { sched::sleep_irqs_off() };
    irqflags::local_irq_restore(flags);
}

/// Sleeps for at least `ns` nanoseconds.
pub fn sleep_ns(ns: u64) {
    sleep_until(crate::time::now_ns().saturating_add(ns));
}

/// Sleeps for at least `ms` milliseconds.
pub fn sleep_ms(ms: u64) {
    sleep_ns(ms.saturating_mul(1_000_000));
}

fn wake_sleeper(timer: &Hrtimer) -> Restart {
    // SAFETY: only `sleep_until` starts a timer with this callback, and it is the task's.
    let task = unsafe { &*ptr::from_ref(timer).byte_sub(offset_of!(Task, timer)).cast::<Task>() };
    if static_branch::<SMP_LOCKS>() {
        crate::sched::wait::mark_waking(task);
    }
    sched::wake_up_granted(task);
    Restart::No
}
