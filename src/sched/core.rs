//! The core scheduler: the one place that switches, the one that wakes, the one that ticks.
//!
//! Policy is in the classes (`rq`, `rt`, `fair`, `idle`): they decide and return values. This file acts on
//! them: it holds the run queues, talks to the CPU, and owns these rules:
//!
//! * **A switch happens in `__schedule` alone**, with IRQs masked, the run queue locked and the count 2 on
//!   both sides of `cpu_switch_to`.
//! * **Preempted is not sleeping** (K4): with `PREEMPT` the state of the task is not looked at. A task that
//!   is preempted between setting its state and calling `schedule` stays on the queue and runs again.
//! * **IRQs stay masked** from before the pick until the caller of `__schedule` opens them as the task that
//!   was switched to. No request can arrive between the switch and the first instruction that could take
//!   an interrupt, so there is no loop around `__schedule` (docs/adr/0003).
//! * `TIF_NEED_RESCHED` and the folded half are set together here for this CPU, and cleared together on
//!   the task that was switched from, after the pick, under the lock.
//!
//! Lock: the CPU's run queue, innermost of all (docs/locking.md). Nothing here allocates; nothing loops.

use super::entity::SchedRef;
use super::prio::SchedAttr;
use super::class::{DequeueFlags, EnqueueFlags, Resched, WakeFlags};
use super::rq::Rq;
use crate::error::{Error, Result};
use crate::locking::RawLock;
use crate::per_cpu;
use crate::task::{self, Task, state};
use crate::trace;
use arch::context::cpu_switch_to;
use arch::irqflags;
use arch::thread_info;
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

/// A CPU's run queue, with what the classes need not see.
struct RunQueue {
    lock: RawLock,
    rq: UnsafeCell<Rq>,
    /// Switches on this CPU.
    nr_switches: Cell<u64>,
    /// The cycle counter at the last switch: what has run since belongs to the running task.
    switch_cycles: Cell<u64>,
}

per_cpu! {
    static RUNQUEUES: RunQueue = RunQueue {
        lock: RawLock::new(),
        rq: UnsafeCell::new(Rq::new()),
        nr_switches: Cell::new(0),
        switch_cycles: Cell::new(0),
    };
}

/// The run queue of this CPU, locked. Not a guard: its lifetime crosses a switch.
///
/// # Safety
/// IRQs masked; the caller unlocks.
#[inline(always)]
unsafe fn lock_this_rq() -> &'static RunQueue {
    // SAFETY: IRQs are masked, so this stays the CPU.
    let this = unsafe { RUNQUEUES.this_cpu() };
    this.lock.lock();
    this
}

impl RunQueue {
    /// # Safety
    /// The lock is held, and no other reference from this call is alive.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the run-queue lock, which the caller holds, makes it exclusive")]
    unsafe fn rq(&self) -> &mut Rq {
        // SAFETY: by contract.
        unsafe { &mut *self.rq.get() }
    }

    /// # Safety
    /// The lock is held.
    #[inline(always)]
    unsafe fn unlock(&self) {
        // SAFETY: by contract.
        unsafe { self.lock.unlock() };
    }
}

/// The task whose scheduling part this is.
#[inline(always)]
fn task_of(sched: SchedRef) -> &'static Task {
    // SAFETY: every `SchedTask` that reaches a run queue is the `sched` of a `Task`, which is alive while it
    // is there.
    unsafe { sched.as_ptr().byte_sub(offset_of!(Task, sched)).cast::<Task>().as_ref() }
}

#[inline(always)]
fn sched_ref(task: &Task) -> SchedRef {
    // SAFETY: a task on a run queue is not freed: its own count keeps it until it is dead and off the queue.
    unsafe { SchedRef::new(NonNull::from(&task.sched)) }
}

// ---------------------------------------------------------------------------------------------------------
// Switching

/// Picks the next task and switches to it.
///
/// # Safety
/// IRQs masked; the count is 2 (one for the caller's "do not preempt", one for the run queue's lock, which is
/// taken here), or will be seen as such by `finish`; not in an interrupt. Returns with IRQs masked and the
/// count 2: the caller sets it back.
#[inline(always)]
unsafe fn __schedule<const PREEMPT: bool>() {
    // SAFETY: IRQs masked by contract.
    let this = unsafe { lock_this_rq() };
    let prev = task::current();
    #[cfg(debug_assertions)]
    schedule_debug(prev);
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    if rq.needs_clock() {
        rq.update_clock(crate::time::now_ns());
    }

    let mut switches = &prev.nivcsw;
    if !PREEMPT && prev.state.load(Ordering::Relaxed) != state::RUNNING {
        rq.dequeue_task(sched_ref(prev), DequeueFlags::SLEEP);
        switches = &prev.nvcsw;
        if rq.needs_clock() {
            rq.update_clock(crate::time::now_ns());
        }
    }
    let next = task_of(rq.pick_next_task(sched_ref(prev)));

    // Both halves of the request, together, now that the pick has taken it into account.
    prev.arch.thread_info.clear_need_resched();
    thread_info::clear_preempt_need_resched();

    if !ptr::eq(prev, next) {
        switches.set(switches.get() + 1);
        this.nr_switches.set(this.nr_switches.get() + 1);
        // M6: what ran since the last switch is prev's, to the cycle.
        let now = arch::pmu::cycles();
        prev.runtime_cycles.set(prev.runtime_cycles.get().wrapping_add(now.wrapping_sub(this.switch_cycles.replace(now))));
        trace::sched_switch(prev, next, PREEMPT);
        // SAFETY: IRQs masked, D, A, F open, the lock held and the count 2; `next` is ready to run, so it
        // was prepared or switched away from.
        unsafe { cpu_switch_to(&raw const prev.arch, &raw const next.arch) };
        // Another task goes on here: no local of before may be used, not even `this`.
    }
    finish_task_switch();
}

/// The first thing on the other side: runs as the next task, on its stack. Releases the run queue of the CPU
/// it runs on now.
#[inline(always)]
fn finish_task_switch() {
    debug_assert_eq!(thread_info::preempt_count(), 2, "corrupted preempt count after a switch");
    debug_assert!(irqflags::irqs_disabled(), "IRQs are open inside a switch");
    // SAFETY: the lock was taken in `__schedule` by the task that switched here, on this CPU.
    unsafe { RUNQUEUES.this_cpu().unlock() };
}

/// The first code of a new task, from `ret_from_fork`: unwinds `FORK_PREEMPT_COUNT` and opens interrupts.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn schedule_tail() {
    finish_task_switch();
    // SAFETY: the new task's own count; nothing is held any more.
    unsafe { thread_info::preempt_count_set(0) };
    irqflags::local_irq_enable();
}

/// `set_current_state()`: the first half of the classic sleep: set the state, test the condition, `schedule`.
/// Whoever makes the condition true calls [`try_to_wake_up`] afterwards.
pub fn set_current_state(to: u32) {
    task::current().set_state(to);
    // The test that follows must not be read before the state is visible to the waker.
    core::sync::atomic::fence(Ordering::SeqCst);
}

/// `schedule()`: gives up the CPU, for good if the state says so. Task context, count 0.
pub fn schedule() {
    crate::preempt::might_sleep();
    let flags = irqflags::local_irq_save();
    // SAFETY: task context, count 0 as `might_sleep` checks, IRQs masked.
    unsafe { schedule_irqs_off() };
    irqflags::local_irq_restore(flags);
}

/// As [`schedule`], with IRQs already masked; they still are when it returns.
///
/// # Safety
/// Task context, the count 0, IRQs masked and about to be opened by the caller.
#[inline(always)]
pub(crate) unsafe fn schedule_irqs_off() {
    // SAFETY: from 0 to what `__schedule` wants, in one store, and back. With IRQs masked nobody can see
    // the steps in between.
    unsafe {
        thread_info::preempt_count_set(2);
        __schedule::<false>();
        thread_info::preempt_count_set(0);
    }
}

/// The end of both preemption points.
///
/// # Safety
/// As [`schedule_irqs_off`].
#[inline(never)]
pub(crate) unsafe fn preempt_schedule_irqs_off() {
    // SAFETY: as in `schedule_irqs_off`.
    unsafe {
        thread_info::preempt_count_set(2);
        __schedule::<true>();
        thread_info::preempt_count_set(0);
    }
}

/// The idle task of this CPU: count 1, never preempted; it polls. Never returns.
pub(crate) fn cpu_idle_loop() -> ! {
    debug_assert_eq!(thread_info::preempt_count(), 1, "the idle task runs with count 1");
    loop {
        // Masked between the test and WFI: an interrupt in between stays pending and ends the WFI at once.
        irqflags::local_irq_disable();
        while !thread_info::need_resched() {
            arch::cpu::wait_for_interrupt();
            irqflags::local_irq_enable();
            // The handler runs here.
            irqflags::local_irq_disable();
        }
        // SAFETY: idle is a task like any other to `__schedule`; its state is RUNNING; count 1 to 2 and back.
        unsafe {
            thread_info::preempt_count_set(2);
            __schedule::<false>();
            thread_info::preempt_count_set(1);
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

// ---------------------------------------------------------------------------------------------------------
// Requests and wake-ups

/// Asks for a switch on this CPU. The run queue is locked.
#[inline(always)]
fn resched_curr(rq: &Rq) {
    let curr = task_of(rq.curr());
    if !curr.arch.thread_info.test_and_set_need_resched() {
        // The run queue is this CPU's, so its current task is the one whose word we may write.
        debug_assert!(ptr::eq(curr, task::current()));
        thread_info::set_preempt_need_resched();
    }
}

#[inline(always)]
fn resched_if(rq: &Rq, decision: Resched) {
    if decision == Resched::Yes {
        resched_curr(rq);
    }
}

/// Makes a sleeping task ready and asks for a switch if it should run. IRQs masked.
///
/// The common part of all wake-ups: the caller has made sure, under the lock of what the task waits for, that
/// it is to be woken, and that nobody else is waking it.
#[inline(always)]
pub(crate) fn wake_up_granted(task: &Task) {
    debug_assert!(irqflags::irqs_disabled());
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    if p.is_fair() {
        rq.update_clock(crate::time::now_ns());
    }
    // A task that was preempted on its way into `schedule` is still queued: only its state changes.
    if !p.is_queued() {
        rq.enqueue_task(p, EnqueueFlags::WAKEUP);
    }
    task.state.store(state::RUNNING, Ordering::Relaxed);
    let decision = rq.check_preempt_curr(p, WakeFlags::empty());
    resched_if(rq, decision);
    trace::sched_wakeup(task);
    // SAFETY: locked above.
    unsafe { this.unlock() };
}

/// `try_to_wake_up`: wakes `task` if its state is one of `mask`. Returns whether it was. Any context; may
/// switch if called from a preemptible one.
pub fn try_to_wake_up(task: &Task, mask: u32) -> bool {
    let flags = irqflags::local_irq_save();
    let wakes = task.state.load(Ordering::Relaxed) & mask != 0;
    if wakes {
        wake_up_granted(task);
        if !irqflags::irqs_disabled_flags(flags) {
            crate::preempt::preempt_check_resched_irqs_off();
        }
    }
    irqflags::local_irq_restore(flags);
    wakes
}

/// Gives a new task its place in the order of things; it is not yet on a queue.
#[inline(always)]
pub(crate) fn fork(task: &Task, attr: SchedAttr) {
    task.sched.init(attr);
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    if p.is_fair() {
        rq.update_clock(crate::time::now_ns());
    }
    // `child_runs_first` is off, so there is nothing to reschedule for.
    let _ = rq.task_fork(p);
    // SAFETY: locked above.
    unsafe { this.unlock() };
    irqflags::local_irq_restore(flags);
}

/// `wake_up_new_task`: a task that was made and not started begins to run. May switch to it.
pub(crate) fn wake_up_new_task(task: &Task) {
    let flags = irqflags::local_irq_save();
    debug_assert_eq!(task.state(), state::NEW, "task {} is started twice", task.name());
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    task.state.store(state::RUNNING, Ordering::Relaxed);
    if p.is_fair() {
        rq.update_clock(crate::time::now_ns());
    }
    let decision = rq.wake_up_new_task(p);
    resched_if(rq, decision);
    trace::sched_wakeup(task);
    // SAFETY: locked above.
    unsafe { this.unlock() };
    if !irqflags::irqs_disabled_flags(flags) {
        crate::preempt::preempt_check_resched_irqs_off();
    }
    irqflags::local_irq_restore(flags);
}

/// `scheduler_tick`: from the timer interrupt, `hz` times a second.
#[inline(always)]
pub(crate) fn scheduler_tick() {
    // SAFETY: hard interrupt, IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    if rq.curr().is_fair() {
        rq.update_clock(crate::time::now_ns());
    }
    let decision = rq.task_tick();
    resched_if(rq, decision);
    // SAFETY: locked above.
    unsafe { this.unlock() };
}

// ---------------------------------------------------------------------------------------------------------
// What tasks ask for

/// `yield`: the class decides what it means; then a switch if somebody else is to run.
#[inline(always)]
pub(crate) fn yield_task() {
    crate::preempt::might_sleep();
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    if rq.curr().is_fair() {
        rq.update_clock(crate::time::now_ns());
    }
    rq.yield_task();
    // SAFETY: locked above.
    unsafe { this.unlock() };
    // SAFETY: task context, count 0 (might_sleep), IRQs masked.
    unsafe { schedule_irqs_off() };
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
    if !irqflags::irqs_disabled_flags(flags) {
        crate::preempt::preempt_check_resched_irqs_off();
    }
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
    }
    // SAFETY: locked above.
    unsafe { this.unlock() };
    irqflags::local_irq_restore(flags);
    if ready { Ok(()) } else { Err(Error::Busy) }
}

// ---------------------------------------------------------------------------------------------------------
// Boot and numbers

/// Makes the running boot code this CPU's idle task, with the count an idle task has. Once per CPU, IRQs
/// masked.
pub(crate) fn init_idle(idle: &'static Task, hz: u32) {
    // SAFETY: IRQs masked, and nothing is scheduled on this CPU yet.
    let this = unsafe { RUNQUEUES.this_cpu() };
    // SAFETY: as above: nobody else.
    let rq = unsafe { this.rq() };
    rq.init(sched_ref(idle), hz, 1);
    this.switch_cycles.set(arch::pmu::cycles());
    thread_info::clear_preempt_need_resched();
    // SAFETY: the boot task had 1 from the start; this is the idle task's count.
    unsafe { thread_info::preempt_count_set(1) };
}

/// A task's cycles: for the running one up to now.
pub(crate) fn runtime_cycles(task: &Task) -> u64 {
    let flags = irqflags::local_irq_save();
    let mut cycles = task.runtime_cycles.get();
    if ptr::eq(task, task::current()) {
        // SAFETY: IRQs masked.
        let since = unsafe { RUNQUEUES.this_cpu() }.switch_cycles.get();
        cycles = cycles.wrapping_add(arch::pmu::cycles().wrapping_sub(since));
    }
    irqflags::local_irq_restore(flags);
    cycles
}

/// Switches on this CPU since boot.
#[must_use]
pub fn nr_switches() -> u64 {
    let guard = crate::preempt::preempt_disable();
    RUNQUEUES.get(&guard).nr_switches.get()
}

/// Runs `f` on this CPU's run queue, locked: for `runq`, tests and debuggers. `f` is short.
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
