//! The core scheduler: the run queues, and the one place that switches.
//!
//! Policy is in the classes (`rq`, `rt`, `fair`, `idle`): they decide and return values. This file and its two
//! neighbours act on them (`wakeup`: who becomes ready; `control`: what tasks ask for). The rules here:
//!
//! * **A switch happens in `context_switch` alone**, with IRQs masked, the run queue locked and the count 2 on
//!   both sides of `cpu_switch_to`.
//! * **Preempted is not sleeping** (K4): with `PREEMPT` the state of the task is not looked at. A task that
//!   is preempted between setting its state and calling `schedule` stays on the queue and runs again.
//! * **IRQs stay masked** from before the pick until the caller opens them as the task that
//!   was switched to. No request can arrive between the switch and the first instruction that could take
//!   an interrupt, so there is no loop around `__schedule` (docs/adr/0003).
//! * `TIF_NEED_RESCHED` and the folded half are set together in `wakeup` for this CPU, and cleared together on
//!   the task that was switched from, after the pick, under the lock.
//!
//! Lock: the CPU's run queue, innermost of all (docs/locking.md). Nothing here allocates; nothing loops.

use super::class::DequeueFlags;
use super::dl_root;
use super::entity::SchedRef;
use super::hooks;
use super::prio::SchedAttr;
use super::rq::Rq;
use super::runqueue::{RunQueue, lock_this_rq, lock_this_rq_smp, rq_of, sched_ref, task_of, this_rq};
use crate::task::{self, Task, state};
use crate::trace;
use arch::context::cpu_switch_to;
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use arch::thread_info;
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::Ordering;

pub(crate) use super::control::{
    abort, exit_deadline, rr_interval, set_nice, set_scheduler, setprio, yield_task,
};
pub use super::event::set_rt_bandwidth;
pub(crate) use super::event::{copy_rt_bandwidth, init_rt_bandwidth};
pub(crate) use super::runqueue::{TaskRq, curr_of_rq_of, is_on_cpu, task_cpu};
pub use super::wakeup::wake_up_process;
pub(crate) use super::wakeup::{
    fork, is_plain_wakeup, scheduler_tick, tick_has_nothing_to_do, wake_up_and_switch_alone, wake_up_granted,
    wake_up_new_task, wake_up_plain,
};
pub(crate) use super::wakeup_smp::wake_up_and_switch as wake_up_and_switch_smp;

/// Why `__schedule` is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// At a preemption point: the task stays ready, whatever its state says.
    Preempt,
    /// By the task, which lets its equals go first and stays ready, whatever its state says.
    Yield,
    /// By the task: it sleeps if its state says so.
    Ask,
    /// By the task, which has set a sleeping state.
    Sleep,
}

/// Picks the next task and switches to it.
///
/// # Safety
/// IRQs masked, in task context, and the count 2: one for the caller's "do not preempt", one for the run
/// queue's lock, which is taken here. Returns with IRQs masked and the count 2: the caller sets it back.
#[inline(always)]
pub(super) unsafe fn __schedule<const WHY: u8>() {
    // SAFETY: passed on.
    unsafe { if static_branch::<SMP_LOCKS>() { schedule_smp::<WHY>() } else { schedule_alone::<WHY>() } }
}

/// [`__schedule`] on a CPU that is alone.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn schedule_alone<const WHY: u8>() {
    let prev = task::current();
    let this = this_rq();
    this.lock.lock_without_word();
    #[cfg(debug_assertions)]
    schedule_debug(prev);
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };

    let sleeps = WHY == Why::Sleep as u8
        || WHY == Why::Ask as u8 && prev.state.load(Ordering::Relaxed) != state::RUNNING;
    if sleeps {
        rq.dequeue_task_lazily(sched_ref(prev), DequeueFlags::SLEEP, crate::time::now_ns);
    }
    let next = if rq.is_quiet() {
        rq.pick_next_task_lazily(sched_ref(prev), crate::time::now_ns)
    } else {
        pick_special(this)
    };
    let next = task_of(next);

    // Both halves of the request, together, now that the pick has taken it into account.
    prev.arch.thread_info.clear_need_resched();
    thread_info::clear_preempt_need_resched();

    // A task that sleeps is on no queue, so it cannot have been picked.
    if sleeps || !ptr::eq(prev, next) {
        let switches = if sleeps { &prev.nvcsw } else { &prev.nivcsw };
        // SAFETY: passed on.
        unsafe { context_switch::<false>(this, prev, next, switches, WHY == Why::Preempt as u8) };
    }
    finish_task_switch();
}

/// [`__schedule`] where there are several CPUs.
///
/// # Safety
/// As there.
#[inline(never)]
unsafe fn schedule_smp<const WHY: u8>() {
    let prev = task::current();
    // SAFETY: IRQs masked by contract; there are several CPUs.
    unsafe {
        let this = lock_this_rq_smp();
        // A waker that was faster has found the task on its queue and has made the state RUNNING: then nobody sleeps.
        let may_sleep = WHY != Why::Preempt as u8 && WHY != Why::Yield as u8;
        let sleeps = may_sleep && prev.state.load(Ordering::Relaxed) != state::RUNNING;
        schedule_locked::<WHY>(this, prev, sleeps);
    }
}

/// The rest of `__schedule` where there are several CPUs, `this` one's run queue being locked: others may wake `prev` until
/// then, so whether it `sleeps` is what its state says under the lock; they may be pulled from; and the lock is a word that
/// the next task releases.
///
/// One real-time task of this CPU alone that follows another one is the whole of it here. Everything else is `pick_at_length`.
///
/// # Safety
/// As for `__schedule`.
#[inline(always)]
pub(super) unsafe fn schedule_locked<const WHY: u8>(this: &'static RunQueue, prev: &Task, sleeps: bool) {
    #[cfg(debug_assertions)]
    schedule_debug(prev);
    // SAFETY: locked by contract.
    let rq = unsafe { this.rq() };
    let p = sched_ref(prev);
    let next = if rq.is_quiet() && rq.is_own_rt(p) {
        if sleeps {
            rq.dequeue_rt(p);
        }
        match rq.rt().pick() {
            Some(next) if rq.is_own(next) && hooks::has_nothing_to_pull(rq, next) => {
                rq.run_own_rt(next);
                next
            }
            _ => pick_at_length(this, prev, false),
        }
    } else {
        pick_at_length(this, prev, sleeps)
    };
    let next = task_of(next);

    // Both halves of the request, together, now that the pick has taken it into account. A request from another CPU is
    // made under the lock, so none is lost; its interrupt, if it is still to come, finds nothing to fold.
    prev.arch.thread_info.clear_need_resched();
    thread_info::clear_preempt_need_resched();

    // A task that went to sleep may have been woken while the lock was let go of to pull, and picked.
    if !ptr::eq(prev, next) {
        let switches = if sleeps { &prev.nvcsw } else { &prev.nivcsw };
        // SAFETY: passed on.
        unsafe { context_switch::<true>(this, prev, next, switches, WHY == Why::Preempt as u8) };
    }
    finish_task_switch_smp();
}

/// The pick where a task of another class takes part, or one that may run elsewhere, or where this CPU sinks and others may
/// have something better: dequeues `prev` if it `sleeps`, pulls, picks, and tells. The run queue is locked.
#[inline(never)]
fn pick_at_length(this: &'static RunQueue, prev: &Task, sleeps: bool) -> SchedRef {
    // SAFETY: locked by the caller, who does not use its own reference any more.
    let rq = unsafe { this.rq() };
    if sleeps {
        rq.dequeue_task_lazily(sched_ref(prev), DequeueFlags::SLEEP, crate::time::now_ns);
    }
    let next = match rq.plain_pick() {
        Some(next) if hooks::has_nothing_to_pull(rq, next) => {
            rq.set_next_rt(sched_ref(prev), next, |_| crate::time::now_ns());
            next
        }
        _ => pull_and_pick(this, prev),
    };
    if next != sched_ref(prev) {
        note_switch(this, prev, task_of(next));
    }
    next
}

/// The pick of [`pick_at_length`] where it is not known before what it returns. The run queue is locked.
#[inline(never)]
fn pull_and_pick(this: &'static RunQueue, prev: &Task) -> SchedRef {
    hooks::pull_before_pick(this, prev);
    // SAFETY: locked, still or again.
    let rq = unsafe { this.rq() };
    if rq.special().is_empty() {
        rq.pick_next_task_lazily(sched_ref(prev), crate::time::now_ns)
    } else {
        pick_special(this)
    }
}

/// Tells those who look at several CPUs that `next` runs on this one instead of `prev`. The run queue is locked, `next` its
/// `curr`.
pub(super) fn note_switch(this: &RunQueue, prev: &Task, next: &Task) {
    if hooks::switched(this, prev, next) {
        this.ask_balance();
    }
}

/// The pick where there is a deadline task, real-time tasks are throttled, or the tick is stopped. The run queue is locked.
#[cold]
#[inline(never)]
fn pick_special(this: &RunQueue) -> SchedRef {
    // SAFETY: locked by the caller, who does not use its own reference meanwhile.
    let rq = unsafe { this.rq() };
    rq.update_clock(crate::time::now_ns());
    let prev = task_of(rq.curr());
    if prev.state() == state::DEAD && prev.sched.is_deadline() {
        // The last switch of a deadline task: it gives its reservation back, and nothing of it stays behind among
        // those who wait for a budget. Nobody is refused the fair class.
        let _ = dl_root::with_accounts(rq, prev, SchedAttr::NORMAL, |rq| {
            rq.set_scheduler(sched_ref(prev), SchedAttr::NORMAL)
        });
    }
    let next = rq.pick_next_task(rq.curr());
    super::nohz::look_at_tick(rq);
    this.event.program(rq);
    next
}

/// The one place that switches. Returns as `prev`, when it runs again, maybe on another CPU: no local of the
/// caller but what belongs to `prev` may be used afterwards.
///
/// # Safety
/// As `__schedule`; the run queue `this` of this CPU is locked and its `curr` is `next`, which is ready.
#[inline(always)]
pub(super) unsafe fn context_switch<const SMP: bool>(
    this: &RunQueue,
    prev: &Task,
    next: &Task,
    switches: &Cell<u64>,
    preempt: bool,
) {
    switches.set(switches.get() + 1);
    // M6: what ran since the last switch is prev's, to the cycle.
    if !cfg!(feature = "no-cycle-accounting") {
        let now = arch::pmu::cycles();
        let ran = now.wrapping_sub(this.switch_cycles.replace(now));
        prev.runtime_cycles.set(prev.runtime_cycles.get().wrapping_add(ran));
    }
    trace::sched_switch(prev, next, preempt);
    this.lock.hand_over();
    #[cfg(debug_assertions)]
    crate::lockdep::about_to_switch();
    if SMP {
        // What prev began, another CPU may go on with: its cache and TLB maintenance is complete before (reference 2.5).
        arch::cpu::complete_maintenance();
    }
    // SAFETY: IRQs masked, D, A, F open, the lock held and the count 2; `next` is ready to run, so it was
    // prepared or switched away from.
    unsafe { cpu_switch_to(&raw const prev.arch, &raw const next.arch) };
    #[cfg(debug_assertions)]
    take_over_rq();
}

/// The run queue's lock was taken by the task that switched here; it is released by this one.
#[cfg(debug_assertions)]
fn take_over_rq() {
    this_rq().lock.taken_over();
}

/// Switches from `prev`, which stays ready, to `next` on a CPU that is alone, in one go: for the short ways, which know who is
/// next. Returns when `prev` runs again, with the run queue released. `preempt`: `prev` did not ask for it.
///
/// # Safety
/// Task context, the count 0, IRQs masked and about to be opened; `this` is locked, and its `curr` is `next`, which is ready.
#[inline(always)]
pub(super) unsafe fn switch_alone(this: &RunQueue, prev: &Task, next: &Task, preempt: bool) {
    // SAFETY: by contract, and as in `schedule`: the count goes from 0 to 2 and back. A switch of a ready task counts as
    // involuntary (reference 3.8).
    unsafe {
        thread_info::preempt_count_set::<2>();
        #[cfg(debug_assertions)]
        schedule_debug(prev);
        context_switch::<false>(this, prev, next, &prev.nivcsw, preempt);
        finish_task_switch();
        thread_info::preempt_count_set::<0>();
    }
}

/// The first thing on the other side: runs as the next task, on its stack. Releases the run queue of the CPU
/// it runs on now, where there is one CPU.
#[inline(always)]
pub(super) fn finish_task_switch() {
    debug_assert_eq!(thread_info::preempt_count(), 2, "corrupted preempt count after a switch");
    debug_assert!(irqflags::irqs_disabled(), "IRQs are open inside a switch");
    #[cfg(debug_assertions)]
    this_rq().lock.unlock_without_word();
}

/// [`finish_task_switch`] where there are several CPUs. From the release on another CPU may run the task that was left.
#[inline(always)]
pub(super) fn finish_task_switch_smp() {
    debug_assert_eq!(thread_info::preempt_count(), 2, "corrupted preempt count after a switch");
    debug_assert!(irqflags::irqs_disabled(), "IRQs are open inside a switch");
    let this = this_rq();
    if this.take_balance() {
        hooks::balance_callback(this);
    }
    // SAFETY: taken before the switch by the task that switched here, on this CPU, which is ours now.
    unsafe { this.unlock_smp() };
}

/// The first code of a new task, from `ret_from_fork`: unwinds `FORK_PREEMPT_COUNT` and opens interrupts.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn schedule_tail() {
    #[cfg(debug_assertions)]
    take_over_rq();
    if static_branch::<SMP_LOCKS>() {
        finish_task_switch_smp();
    } else {
        finish_task_switch();
    }
    // SAFETY: the new task's own count; nothing is held any more.
    unsafe { thread_info::preempt_count_set::<0>() };
    irqflags::local_irq_enable();
}

/// `schedule()`: gives up the CPU, for good if the state says so. Task context, count 0.
pub fn schedule() {
    crate::preempt::will_sleep();
    let flags = irqflags::local_irq_save();
    // SAFETY: task context, count 0 as `will_sleep` checks, IRQs masked; from 0 to what `__schedule` wants
    // and back, in one store each: with IRQs masked nobody can see the steps in between.
    unsafe {
        thread_info::preempt_count_set::<2>();
        __schedule::<{ Why::Ask as u8 }>();
        thread_info::preempt_count_set::<0>();
    }
    irqflags::local_irq_restore(flags);
}

/// Sleeps: the state is set, and whoever wakes the task knows of it.
///
/// # Safety
/// Task context, the count 0, IRQs masked (from before the state was set) and about to be opened by the
/// caller; they still are masked when it returns.
#[inline(always)]
pub(crate) unsafe fn sleep_irqs_off() {
    // SAFETY: as in `schedule`.
    unsafe {
        thread_info::preempt_count_set::<2>();
        __schedule::<{ Why::Sleep as u8 }>();
        thread_info::preempt_count_set::<0>();
    }
}

/// [`sleep_irqs_off`] on a CPU that is alone, for a caller that has asked.
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn sleep_alone_irqs_off() {
    // SAFETY: as in `schedule`.
    unsafe {
        thread_info::preempt_count_set::<2>();
        schedule_alone::<{ Why::Sleep as u8 }>();
        thread_info::preempt_count_set::<0>();
    }
}

/// The end of both preemption points.
///
/// # Safety
/// Task context, the count 0, IRQs masked and about to be opened by the caller.
#[inline(never)]
pub(crate) unsafe fn preempt_schedule_irqs_off() {
    // SAFETY: passed on, and as in `schedule`.
    unsafe {
        if static_branch::<SMP_LOCKS>() { preempt_schedule_by_call_smp() } else { preempt_schedule_alone() }
    }
}

/// [`preempt_schedule_irqs_off`] on a CPU that is alone, for a caller that has asked.
///
/// A real-time task that gives way to another one is the whole of it here; everything else is `preempt_at_length`. (One
/// that is preempted is on its queue, so there is a next one.)
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn preempt_schedule_alone() {
    let prev = task::current();
    let this = rq_of(prev);
    this.lock.lock_without_word();
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let is_plain = prev.sched.is_rt() && rq.is_quiet();
    let next = if is_plain { rq.pick_other_rt(sched_ref(prev)) } else { None };
    let Some(next) = next else {
        this.lock.unlock_without_word();
        // SAFETY: passed on.
        return unsafe { preempt_at_length() };
    };
    prev.arch.thread_info.clear_need_resched();
    thread_info::clear_preempt_need_resched();
    // SAFETY: by contract; the lock is held and `next` is current on the queue.
    unsafe { switch_alone(this, prev, task_of(next), true) };
}

/// [`preempt_schedule_alone`] in general.
///
/// # Safety
/// As there.
#[inline(never)]
unsafe fn preempt_at_length() {
    // SAFETY: passed on, and as in `schedule`.
    unsafe {
        thread_info::preempt_count_set::<2>();
        schedule_alone::<{ Why::Preempt as u8 }>();
        thread_info::preempt_count_set::<0>();
    }
}

/// # Safety
/// As [`preempt_schedule_irqs_off`].
#[inline(never)]
unsafe fn preempt_schedule_by_call_smp() {
    // SAFETY: passed on.
    unsafe { preempt_schedule_smp() };
}

/// [`preempt_schedule_irqs_off`] where there are several CPUs, for a caller that has asked.
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn preempt_schedule_smp() {
    let prev = task::current();
    // SAFETY: as in `schedule`.
    unsafe {
        thread_info::preempt_count_set::<2>();
        schedule_locked::<{ Why::Preempt as u8 }>(lock_this_rq_smp(), prev, false);
        thread_info::preempt_count_set::<0>();
    }
}

/// The idle task of this CPU: count 1, never preempted; it polls. Never returns.
pub(crate) fn cpu_idle_loop() -> ! {
    debug_assert_eq!(thread_info::preempt_count(), 1, "the idle task runs with count 1");
    loop {
        // Masked between the test and WFI: an interrupt in between stays pending and ends the WFI at once.
        irqflags::local_irq_disable();
        #[cfg(debug_assertions)]
        crate::lockdep::about_to_idle();
        while !thread_info::need_resched() {
            #[cfg(target_os = "none")]
            if static_branch::<SMP_LOCKS>() {
                crate::smp::hotplug::go_if_dying();
            }
            crate::time::idle::wait_irqs_off();
            irqflags::local_irq_enable();
            // The handler runs here: only a context synchronisation makes a CPU take what is pending.
            arch::cpu::synchronize();
            irqflags::local_irq_disable();
        }
        crate::time::idle::leave_irqs_off();
        // SAFETY: idle is a task like any other to `__schedule`, always ready; count 1 to 2 and back.
        unsafe {
            thread_info::preempt_count_set::<2>();
            __schedule::<{ Why::Ask as u8 }>();
            thread_info::preempt_count_set::<1>();
        }
        irqflags::local_irq_enable();
    }
}

#[cfg(debug_assertions)]
fn schedule_debug(prev: &Task) {
    assert_eq!(thread_info::preempt_count(), 2, "scheduling while atomic: {}/{}", prev.name(), prev.id());
    assert!(irqflags::irqs_disabled(), "__schedule with IRQs open");
    assert!(task::stack_is_sane(), "task {} schedules on a stack that is not its own", prev.name());
}

/// The interrupt with which another CPU asks this one to switch (SGI 0): makes the word agree with the flag, and nothing
/// else. If the request has been served meanwhile there is nothing to fold. Hard interrupt.
pub(crate) fn scheduler_ipi() {
    if thread_info::need_resched() {
        thread_info::set_preempt_need_resched();
    }
}

/// Makes the running boot code this CPU's idle task, with the count an idle task has. Once per CPU, IRQs
/// masked.
pub(crate) fn init_idle(idle: &'static Task, hz: u32) {
    let _ = RunQueue::init_this_cpu(idle, hz);
    thread_info::clear_preempt_need_resched();
    // SAFETY: the boot task had 1 from the start; this is the idle task's count.
    unsafe { thread_info::preempt_count_set::<1>() };
}

/// A task's cycles: for the caller itself up to now, otherwise up to its last switch. (Another CPU's cycle counter is
/// none that this one could read.)
pub(crate) fn runtime_cycles(task: &Task) -> u64 {
    let flags = irqflags::local_irq_save();
    let mut cycles = task.runtime_cycles.get();
    if ptr::eq(task, task::current()) {
        let since = rq_of(task).switch_cycles.get();
        cycles = cycles.wrapping_add(arch::pmu::cycles().wrapping_sub(since));
    }
    irqflags::local_irq_restore(flags);
    cycles
}

/// Switches away from the tasks that there are: each is charged to the task it left (reference 3.8). Derived,
/// so that the switch itself counts only once. Thread context.
#[must_use]
pub fn nr_switches() -> u64 {
    let mut sum = 0;
    task::for_each(|task| sum += task.nvcsw.get() + task.nivcsw.get());
    sum
}

/// Runs `f` on the run queue of `cpu`, which is online, locked: for `runq`. `f` is short.
pub fn with_rq_of<R>(cpu: usize, f: impl FnOnce(&Rq) -> R) -> R {
    let flags = irqflags::local_irq_save();
    let this = super::runqueue::cpu_rq(cpu);
    this.lock.lock();
    // SAFETY: locked above.
    let result = f(unsafe { this.rq() });
    // SAFETY: locked above.
    unsafe { this.unlock() };
    irqflags::local_irq_restore(flags);
    result
}

/// Runs `f` on this CPU's run queue, locked: for tests and debuggers. `f` is short.
pub fn with_rq<R>(f: impl FnOnce(&Rq) -> R) -> R {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let result = f(unsafe { this.rq() });
    // SAFETY: locked above.
    unsafe { this.unlock() };
    irqflags::local_irq_restore(flags);
    result
}
