//! The core scheduler: the one place that switches, the one that wakes, the one that ticks.
//!
//! Policy is in the classes (`rq`, `rt`, `fair`, `idle`): they decide and return values. This file acts on
//! them: it holds the run queues, talks to the CPU, and owns these rules:
//!
//! * **A switch happens in `context_switch` alone**, with IRQs masked, the run queue locked and the count 2 on
//!   both sides of `cpu_switch_to`.
//! * **Preempted is not sleeping** (K4): with `PREEMPT` the state of the task is not looked at. A task that
//!   is preempted between setting its state and calling `schedule` stays on the queue and runs again.
//! * **IRQs stay masked** from before the pick until the caller opens them as the task that
//!   was switched to. No request can arrive between the switch and the first instruction that could take
//!   an interrupt, so there is no loop around `__schedule` (docs/adr/0003).
//! * `TIF_NEED_RESCHED` and the folded half are set together here for this CPU, and cleared together on
//!   the task that was switched from, after the pick, under the lock.
//!
//! Lock: the CPU's run queue, innermost of all (docs/locking.md). Nothing here allocates; nothing loops.

use super::class::{DequeueFlags, EnqueueFlags, Resched, WakeFlags};
use super::entity::SchedRef;
use super::prio::SchedAttr;
use super::rq::Rq;
use crate::error::{Error, Result};
use crate::locking::RawLock;
use crate::per_cpu;
use crate::task::{self, Task, state};
use crate::trace;
use arch::context::cpu_switch_to;
use arch::irqflags;
use arch::patch::{PREEMPT_INERT, SMP_LOCKS, static_branch};
use arch::thread_info;
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

/// A CPU's run queue, with what the classes need not see.
pub(crate) struct RunQueue {
    rq: UnsafeCell<Rq>,
    /// The cycle counter at the last switch: what has run since belongs to the running task.
    switch_cycles: Cell<u64>,
    lock: RawLock,
}

per_cpu! {
    static RUNQUEUES: RunQueue =
        RunQueue { rq: UnsafeCell::new(Rq::new()), switch_cycles: Cell::new(0), lock: RawLock::new() };
}

/// Which run queue a task belongs to: the one it is on, or will be put on when it wakes.
///
/// Invariant: a running task's is its CPU's. So this CPU's run queue is one load away from `current`, and a
/// wake-up finds the right queue without asking where it runs.
pub(crate) type TaskRq = Cell<*const RunQueue>;

/// This CPU's run queue, locked. Not a guard: its lifetime crosses a switch.
///
/// # Safety
/// IRQs masked; the caller unlocks.
#[inline(always)]
unsafe fn lock_this_rq() -> &'static RunQueue {
    // SAFETY: by contract.
    unsafe { lock_task_rq(task::current()) }
}

/// The run queue of `task`, locked.
///
/// # Safety
/// IRQs masked; the caller unlocks. (With tasks that move between CPUs this will have to look again after
/// taking the lock.)
#[inline(always)]
unsafe fn lock_task_rq(task: &Task) -> &'static RunQueue {
    // SAFETY: set when the task was made, to a per-CPU variable that is there for ever.
    let this = unsafe { &*task.rq.get() };
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

/// Why `__schedule` is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// At a preemption point: the task stays ready, whatever its state says.
    Preempt,
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
unsafe fn __schedule<const WHY: u8>() {
    let prev = task::current();
    // SAFETY: IRQs masked by contract.
    let this = unsafe { lock_task_rq(prev) };
    #[cfg(debug_assertions)]
    schedule_debug(prev);
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };

    let sleeps = WHY == Why::Sleep as u8
        || WHY == Why::Ask as u8 && prev.state.load(Ordering::Relaxed) != state::RUNNING;
    if sleeps {
        rq.dequeue_task_lazily(sched_ref(prev), DequeueFlags::SLEEP, crate::time::now_ns);
    }
    let next = task_of(rq.pick_next_task_lazily(sched_ref(prev), crate::time::now_ns));

    // Both halves of the request, together, now that the pick has taken it into account.
    prev.arch.thread_info.clear_need_resched();
    thread_info::clear_preempt_need_resched();

    // A task that sleeps is on no queue, so it cannot have been picked.
    if sleeps || !ptr::eq(prev, next) {
        let switches = if sleeps { &prev.nvcsw } else { &prev.nivcsw };
        // SAFETY: passed on.
        unsafe { context_switch(this, prev, next, switches, WHY == Why::Preempt as u8) };
    }
    finish_task_switch();
}

/// The one place that switches. Returns as `prev`, when it runs again, maybe on another CPU: no local of the
/// caller but what belongs to `prev` may be used afterwards.
///
/// # Safety
/// As `__schedule`; the run queue `this` of this CPU is locked and its `curr` is `next`, which is ready.
#[inline(always)]
unsafe fn context_switch(this: &RunQueue, prev: &Task, next: &Task, switches: &Cell<u64>, preempt: bool) {
    switches.set(switches.get() + 1);
    // M6: what ran since the last switch is prev's, to the cycle.
    let now = arch::pmu::cycles();
    let ran = now.wrapping_sub(this.switch_cycles.replace(now));
    prev.runtime_cycles.set(prev.runtime_cycles.get().wrapping_add(ran));
    trace::sched_switch(prev, next, preempt);
    // SAFETY: IRQs masked, D, A, F open, the lock held and the count 2; `next` is ready to run, so it was
    // prepared or switched away from.
    unsafe { cpu_switch_to(&raw const prev.arch, &raw const next.arch) };
}

/// The first thing on the other side: runs as the next task, on its stack. Releases the run queue of the CPU
/// it runs on now.
#[inline(always)]
fn finish_task_switch() {
    debug_assert_eq!(thread_info::preempt_count(), 2, "corrupted preempt count after a switch");
    debug_assert!(irqflags::irqs_disabled(), "IRQs are open inside a switch");
    // (Where there is no lock word, so as not to look for the queue.)
    if cfg!(debug_assertions) || static_branch::<SMP_LOCKS>() {
        // SAFETY: taken before the switch by the task that switched here, on this CPU, which is ours now.
        unsafe { (*task::current().rq.get()).unlock() };
    }
}

/// The first code of a new task, from `ret_from_fork`: unwinds `FORK_PREEMPT_COUNT` and opens interrupts.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn schedule_tail() {
    finish_task_switch();
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

/// The end of both preemption points.
///
/// # Safety
/// Task context, the count 0, IRQs masked and about to be opened by the caller.
#[inline(never)]
pub(crate) unsafe fn preempt_schedule_irqs_off() {
    // SAFETY: as in `schedule`.
    unsafe {
        thread_info::preempt_count_set::<2>();
        __schedule::<{ Why::Preempt as u8 }>();
        thread_info::preempt_count_set::<0>();
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
            // The handler runs here: only a context synchronisation makes a CPU take what is pending.
            arch::cpu::synchronize();
            irqflags::local_irq_disable();
        }
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
pub(crate) fn wake_up_granted(task: &Task) {
    debug_assert!(irqflags::irqs_disabled());
    // SAFETY: IRQs masked.
    let this = unsafe { lock_task_rq(task) };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let decision = activate(rq, task);
    resched_if(rq, decision);
    // SAFETY: locked above.
    unsafe { this.unlock() };
}

/// [`wake_up_granted`] as the last thing before the caller restores `flags`, with the preemption point that
/// this is. IRQs masked, no lock held.
///
/// A real-time task that beats the running one, where nothing forbids the switch and nobody else has asked
/// for one, is by that alone the task that `__schedule` would pick: the request, its check and the pick fall
/// together, and it is switched to at once.
#[inline(always)]
pub(crate) fn wake_up_and_switch(task: &Task, flags: irqflags::Flags) {
    debug_assert!(irqflags::irqs_disabled());
    if !task.sched.is_rt() {
        return wake_up_fair(task, flags);
    }
    // SAFETY: IRQs masked.
    let this = unsafe { lock_task_rq(task) };
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
/// IRQs masked; `this` is locked, `rq` its queue, `task` real-time and on it.
#[inline(always)]
unsafe fn unlock_and_run_rt(
    this: &RunQueue,
    rq: &mut Rq,
    task: &Task,
    decision: Resched,
    flags: irqflags::Flags,
) {
    if decision == Resched::Yes {
        let may_switch = !irqflags::irqs_disabled_flags(flags)
            && thread_info::preempt_word() == thread_info::PREEMPT_ENABLED
            && !static_branch::<PREEMPT_INERT>();
        if may_switch {
            let prev = task::current();
            rq.set_next_rt(sched_ref(prev), sched_ref(task), crate::time::now_ns);
            // SAFETY: task context and IRQs masked, since the word was PREEMPT_ENABLED and `flags` open; the
            // count goes from 0 to 2 and back; the lock is held and `task` is current on the queue.
            unsafe {
                thread_info::preempt_count_set::<2>();
                context_switch(this, prev, task, &prev.nivcsw, true);
                finish_task_switch();
                thread_info::preempt_count_set::<0>();
            }
            return;
        }
        resched_curr(rq);
    }
    // SAFETY: locked by contract.
    unsafe { this.unlock() };
    check_resched(flags);
}

#[inline(never)]
fn wake_up_fair(task: &Task, flags: irqflags::Flags) {
    wake_up_granted(task);
    check_resched(flags);
}

/// The preemption point before `flags` are restored.
#[inline(always)]
fn check_resched(flags: irqflags::Flags) {
    if !irqflags::irqs_disabled_flags(flags) {
        crate::preempt::preempt_check_resched_irqs_off();
    }
}

/// Puts a sleeping task on the queue. The run queue is locked. Returns whether it should run now.
#[inline(always)]
fn activate(rq: &mut Rq, task: &Task) -> Resched {
    let p = sched_ref(task);
    // A task that was preempted on its way into `schedule` is still queued: only its state changes.
    if !p.is_queued() {
        rq.enqueue_task_lazily(p, EnqueueFlags::WAKEUP, crate::time::now_ns);
    }
    task.state.store(state::RUNNING, Ordering::Relaxed);
    trace::sched_wakeup(task);
    // A request that is already there leaves the fair class nothing to decide.
    let flagged = task_of(rq.curr()).arch.thread_info.tif_need_resched();
    rq.check_preempt_curr(p, if flagged { WakeFlags::CURR_FLAGGED } else { WakeFlags::empty() })
}

/// `try_to_wake_up`: wakes `task` if its state is one of `mask`. Returns whether it was. Any context; may
/// switch if called from a preemptible one.
fn try_to_wake_up(task: &Task, mask: u32) -> bool {
    let flags = irqflags::local_irq_save();
    let wakes = task.state.load(Ordering::Relaxed) & mask != 0;
    if wakes {
        wake_up_and_switch(task, flags);
    }
    irqflags::local_irq_restore(flags);
    wakes
}

/// Wakes a task that waits by hand (`task::set_current_state`). Returns whether it was asleep, or about to be. A task
/// that waits on a queue is left alone. Any context; may switch if called from a preemptible one.
pub fn wake_up_process(task: &Task) -> bool {
    // The condition is there before the state is looked at.
    core::sync::atomic::fence(Ordering::SeqCst);
    try_to_wake_up(task, state::INTERRUPTIBLE)
}

/// Gives a new task its run queue, this CPU's, and its place in the order of things; it is not queued yet.
#[inline(always)]
pub(crate) fn fork(task: &Task) {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    task.rq.set(this);
    rq.task_fork_lazily(sched_ref(task), crate::time::now_ns);
    // SAFETY: locked above.
    unsafe { this.unlock() };
    irqflags::local_irq_restore(flags);
}

/// `wake_up_new_task`: a task that was made and not started begins to run. May switch to it.
pub(crate) fn wake_up_new_task(task: &Task) {
    let flags = irqflags::local_irq_save();
    // In every build: queued twice, it would take the run queue apart.
    if task.state() != state::NEW {
        started_twice(task);
    }
    // SAFETY: IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    task.state.store(state::RUNNING, Ordering::Relaxed);
    trace::sched_wakeup(task);
    if p.is_rt() {
        let decision = rq.wake_up_new_task(p);
        // SAFETY: locked above, IRQs masked; `task` is real-time and queued.
        unsafe { unlock_and_run_rt(this, rq, task, decision, flags) };
    } else {
        rq.update_clock(crate::time::now_ns());
        let decision = rq.wake_up_new_task(p);
        resched_if(rq, decision);
        // SAFETY: locked above.
        unsafe { this.unlock() };
        check_resched(flags);
    }
    irqflags::local_irq_restore(flags);
}

#[cold]
#[inline(never)]
fn started_twice(task: &Task) -> ! {
    panic!("task {} is started twice; its state is {:#x}, expected NEW", task.name(), task.state())
}

/// `scheduler_tick`: from the timer interrupt, `hz` times a second.
#[inline(always)]
pub(crate) fn scheduler_tick() {
    // SAFETY: hard interrupt, IRQs masked.
    let this = unsafe { lock_this_rq() };
    // SAFETY: locked above.
    let rq = unsafe { this.rq() };
    let decision = rq.task_tick_lazily(crate::time::now_ns);
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
    // SAFETY: task context, count 0 (might_sleep), IRQs masked. A yielding task stays ready, and its switch
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

// ---------------------------------------------------------------------------------------------------------
// Boot and numbers

/// Makes the running boot code this CPU's idle task, with the count an idle task has. Once per CPU, IRQs
/// masked.
pub(crate) fn init_idle(idle: &'static Task, hz: u32) {
    // SAFETY: IRQs masked, and nothing is scheduled on this CPU yet.
    let this = unsafe { RUNQUEUES.this_cpu() };
    idle.rq.set(this);
    // SAFETY: as above: nobody else.
    let rq = unsafe { this.rq() };
    rq.init(sched_ref(idle), hz, 1);
    this.switch_cycles.set(arch::pmu::cycles());
    thread_info::clear_preempt_need_resched();
    // SAFETY: the boot task had 1 from the start; this is the idle task's count.
    unsafe { thread_info::preempt_count_set::<1>() };
}

/// A task's cycles: for the running one up to now.
pub(crate) fn runtime_cycles(task: &Task) -> u64 {
    let flags = irqflags::local_irq_save();
    let mut cycles = task.runtime_cycles.get();
    if ptr::eq(task, task::current()) {
        // SAFETY: IRQs masked, so the running task stays on its CPU.
        let since = unsafe { &*task.rq.get() }.switch_cycles.get();
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
