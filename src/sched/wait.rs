//! Sleeping on a queue and being woken from it: the one mechanism behind every blocking primitive.
//!
//! A queue is a [`PlistHead`] inside a [`SchedLock`]: the most important waiter first, first come first
//! served among equals. A task waits on at most one queue, so its node is part of the task and waiting
//! allocates nothing.
//!
//! **Hand-over, not retry.** Who wakes a waiter has already given it what it waited for: `grant` takes the
//! waiter off the queue and says so in its node, under the queue's lock. A woken task looks at its own
//! node, finds the grant and goes on; it never has to take the lock again, and nobody can overtake it
//! between wake-up and first instruction. If it was the timer instead, the timer has taken it off the
//! queue under the same lock: grant and time-out exclude each other.
//!
//! A task whose priority changes while it waits is filed anew (`try_requeue`), behind its new equals.
//!
//! **Several CPUs.** A wait ends in one way: somebody sets the state to `RUNNING`, under the lock of the waiter's run queue.
//! The waiter, which has set a sleeping state before anybody could find it on the queue, looks at it in `__schedule` under
//! the same lock. So a waiter that is granted before it sleeps passes `__schedule` all the same, without sleeping if the
//! waker has been there, and otherwise sleeping until it has: *it does not return while its waker still holds a pointer to
//! it*, and so what it waits on may go away when it has returned. The waker, in turn, does not touch the queue any more once
//! it has made the state `RUNNING`: it lets go of the queue first. Whoever holds the lock of a waiter's run queue keeps it
//! from returning: therefore the queue and its lock, found through a node that is queued, are there (`try_requeue`). Between
//! the grant and the wake-up the state is `WAKING`, for `abort`.
//!
//! Invariant: the node is on a queue exactly while `status` is `Waiting`; a task that waits for a lock with priority
//! inheritance has its node there instead (`locking::pi`), and uses the status alone.
//!
//! Context: `block` from threads with nothing held but the queue's lock; `grant` from any context.

use super::core as sched;
use super::runqueue::{lock_this_rq, lock_this_rq_smp};
use crate::emplace::emplace;
use crate::error::{Error, Result};
use crate::locking::{RawLock, SchedLock, SchedLockGuard};
use crate::plist::{PlistHead, PlistNode, wait_prio};
use crate::task::{self, Task, state};
use crate::time::hrtimer::{Hrtimer, Restart};
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use arch::thread_info;
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::{Ordering, fence};

/// How a wait ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitStatus {
    /// First, so that a waker stores the zero register.
    Granted,
    Waiting,
    TimedOut,
}

/// A task's place in a queue. Part of the task.
pub(crate) struct WaitNode {
    node: PlistNode,
    status: Cell<WaitStatus>,
    /// Where the waker may leave a value or find one: a queue's message, the mutex waited for.
    slot: Cell<*mut ()>,
    /// What the task waits on: for its timer, and for whoever changes its priority.
    queue: Cell<*const PlistHead>,
    lock: Cell<*const RawLock>,
}

impl WaitNode {
    pub(crate) const fn new() -> Self {
        Self {
            node: PlistNode::new(0),
            status: Cell::new(WaitStatus::Granted),
            slot: Cell::new(ptr::null_mut()),
            queue: Cell::new(ptr::null()),
            lock: Cell::new(ptr::null()),
        }
    }

    /// [`Self::new`], written where it is to live.
    ///
    /// # Safety
    /// `at` is valid for writes.
    #[inline(always)]
    pub(crate) unsafe fn emplace(at: *mut Self) {
        // SAFETY: by contract; every field is inside `at`.
        unsafe {
            emplace!(at => WaitNode {
                node: PlistNode::new(0),
                status: Cell::new(WaitStatus::Granted),
                slot: Cell::new(ptr::null_mut()),
                queue: Cell::new(ptr::null()),
                lock: Cell::new(ptr::null()),
            } except);
        }
    }

    /// Its place, for the queue's owner.
    pub(crate) fn node(&self) -> &PlistNode {
        &self.node
    }

    pub(crate) fn slot(&self) -> *mut () {
        self.slot.get()
    }

    pub(crate) fn set_slot(&self, slot: *mut ()) {
        self.slot.set(slot);
    }

    /// For a wait whose place is elsewhere: a lock with priority inheritance.
    #[inline(always)]
    pub(crate) fn begin(&self) {
        self.slot.set(ptr::null_mut());
        self.status.set(WaitStatus::Waiting);
    }

    /// The end of such a wait.
    #[inline(always)]
    pub(crate) fn end(&self, how: WaitStatus) {
        self.status.set(how);
    }

    #[inline(always)]
    pub(crate) fn is_waiting(&self) -> bool {
        self.status.get() == WaitStatus::Waiting
    }

    pub(crate) fn status(&self) -> WaitStatus {
        self.status.get()
    }
}

/// The task whose node this is.
///
/// # Safety
/// `node` is the `wait.node` of a live task.
#[inline(always)]
unsafe fn task_of(node: NonNull<PlistNode>) -> &'static Task {
    const OFFSET: usize = offset_of!(Task, wait) + offset_of!(WaitNode, node);
    // SAFETY: by contract; a queued task is alive, because it waits.
    unsafe { &*node.as_ptr().byte_sub(OFFSET).cast::<Task>() }
}

/// Puts the running task on `queue` (which lives inside the guard's data), to be woken by [`grant`].
#[inline(always)]
fn enqueue<T>(guard: &SchedLockGuard<'_, T>, queue: &PlistHead, slot: *mut ()) -> &'static Task {
    assert_may_block(guard.flags());
    let task = task::current();
    prepare(task, guard.lock_ref().raw(), queue, slot);
    if static_branch::<SMP_LOCKS>() {
        file_smp(task, queue);
    } else {
        file(task, queue);
    }
    task
}

/// The running task is about to be filed in `queue`.
#[inline(always)]
fn prepare(task: &Task, lock: &RawLock, queue: *const PlistHead, slot: *mut ()) {
    let wait = &task.wait;
    wait.slot.set(slot);
    wait.status.set(WaitStatus::Waiting);
    wait.queue.set(queue);
    wait.lock.set(lock);
    task.set_state(state::IDLE);
}

#[inline(always)]
fn file(task: &Task, queue: &PlistHead) {
    let node = &task.wait.node;
    node.set_prio(wait_prio(task.sched.prio()));
    // SAFETY: the node is the running task's own and on no queue; it is taken off before `block` returns.
    unsafe { queue.add(NonNull::from(node)) };
}

/// Priority and place agree whenever the run queue is not locked: another CPU that changes the priority either did so
/// before, or finds the node and what it waits on.
#[inline(never)]
fn file_smp(task: &Task, queue: &PlistHead) {
    // SAFETY: IRQs are masked by the guard of the queue.
    let this = unsafe { lock_this_rq() };
    file(task, queue);
    // SAFETY: locked above.
    unsafe { this.unlock() };
}

/// Releases the lock and sleeps until granted. `slot` is for the waker.
#[inline(always)]
pub(crate) fn block<T>(guard: SchedLockGuard<'_, T>, queue: impl FnOnce(&T) -> &PlistHead, slot: *mut ()) {
    if static_branch::<SMP_LOCKS>() {
        block_smp(guard, queue, slot);
    } else {
        block_alone(guard, queue, slot);
    }
}

/// [`block`] on a CPU that is alone, for a caller that has asked.
#[inline(always)]
pub(crate) fn block_alone<T>(
    guard: SchedLockGuard<'_, T>,
    queue: impl FnOnce(&T) -> &PlistHead,
    slot: *mut (),
) {
    let queue = queue(&guard);
    assert_may_block(guard.flags());
    let task = task::current();
    prepare(task, guard.lock_ref().raw(), queue, slot);
    file(task, queue);
    let flags = guard.unlock_alone_irqs_off();
    // SAFETY: task context, count 0 (checked above), IRQs masked.
    unsafe { sched::sleep_alone_irqs_off() };
    irqflags::local_irq_restore(flags);
    #[cfg(debug_assertions)]
    let _ = result_of(task);
}

/// [`block`] where there are several CPUs, for a caller that has asked.
#[inline(always)]
pub(crate) fn block_smp<T>(
    guard: SchedLockGuard<'_, T>,
    queue: impl FnOnce(&T) -> &PlistHead,
    slot: *mut (),
) {
    let queue = ptr::from_ref(queue(&guard));
    let (lock, flags) = guard.keep_locked();
    // SAFETY: inside the data that the lock, which is held, guards.
    unsafe { block_in(lock, flags, queue, slot) }
}

/// The run queue is locked once, for the filing and for the sleep: nobody can have
/// woken the task in between, so its state need not be looked at.
///
/// # Safety
/// `lock` is held, with IRQs masked, and `queue` is part of what it guards; `flags` are to be restored.
#[inline(never)]
unsafe fn block_in(lock: &RawLock, flags: irqflags::Flags, queue: *const PlistHead, slot: *mut ()) {
    assert_may_block(flags);
    let task = task::current();
    prepare(task, lock, queue, slot);
    // SAFETY: IRQs masked; the queue is locked; then: task context, count 0 (checked above), and the run queue is locked.
    unsafe {
        let this = lock_this_rq_smp();
        file(task, &*queue);
        // Who finds the task on the queue from here on waits for the run queue before it wakes it.
        lock.unlock_word();
        thread_info::preempt_count_set::<2>();
        sched::schedule_locked::<{ sched::Why::Sleep as u8 }>(this, task, true);
        thread_info::preempt_count_set::<0>();
    }
    irqflags::local_irq_restore(flags);
    #[cfg(debug_assertions)]
    let _ = result_of(task);
}

/// As [`block`], but gives up at `deadline_ns` (monotonic).
pub(crate) fn block_until<T>(
    guard: SchedLockGuard<'_, T>,
    queue: impl FnOnce(&T) -> &PlistHead,
    slot: *mut (),
    deadline_ns: u64,
) -> Result<()> {
    let queue = queue(&guard);
    let task = enqueue(&guard, queue, slot);
    let (_, flags) = guard.unlock_irqs_off();
    task.timer.start_irqs_off(deadline_ns, wait_timed_out);
    // SAFETY: as in `block`.
    unsafe { sched::sleep_irqs_off() };
    task.timer.cancel_irqs_off();
    irqflags::local_irq_restore(flags);
    result_of(task)
}

/// Joins `queue`, does `release`, which may switch but not sleep, and only then sleeps, as `timeout` says: whoever comes in
/// between finds the caller waiting, and may have granted it already.
pub(crate) fn block_after(queue: &LockedQueue, release: impl FnOnce(), timeout: Timeout) -> Result<()> {
    let deadline_ns = timeout.deadline_ns();
    let guard = queue.lock();
    let task = enqueue(&guard, &guard, ptr::null_mut());
    // The state says that it sleeps from here on, as for every wait. A preemption does not look at it, nor does the switch
    // that `release` may make; a wake-up that comes meanwhile sets it back.
    guard.unlock_no_resched();
    release();
    let guard = queue.lock();
    let is_granted = task.wait.status.get() != WaitStatus::Waiting;
    if !is_granted && timeout == Timeout::Now {
        // SAFETY: `Waiting` means queued, and the lock is held.
        unsafe { guard.del(NonNull::from(&task.wait.node)) };
        task.wait.status.set(WaitStatus::TimedOut);
        task.set_state(state::RUNNING);
        let (_, flags) = guard.unlock_irqs_off();
        pass_run_queue();
        irqflags::local_irq_restore(flags);
        return Err(Error::WouldBlock);
    }
    let (_, flags) = guard.unlock_irqs_off();
    if is_granted {
        end_of_granted_wait();
        irqflags::local_irq_restore(flags);
        return Ok(());
    }
    if let Some(deadline_ns) = deadline_ns {
        task.timer.start_irqs_off(deadline_ns, wait_timed_out);
    }
    // SAFETY: as in `block`.
    unsafe { sched::sleep_irqs_off() };
    task.timer.cancel_irqs_off();
    irqflags::local_irq_restore(flags);
    result_of(task)
}

/// How a wait that is over has ended.
#[inline(always)]
fn result_of(task: &Task) -> Result<()> {
    match task.wait.status.get() {
        WaitStatus::TimedOut => Err(Error::TimedOut),
        WaitStatus::Granted => Ok(()),
        WaitStatus::Waiting => woken_without_a_grant(task),
    }
}

#[cold]
#[inline(never)]
fn woken_without_a_grant(task: &Task) -> ! {
    panic!("task {} was woken and still waits on a queue: expected Granted or TimedOut", task.name())
}

/// The running task has found itself granted before it slept: returns when its waker has done with it. IRQs masked, about to
/// be opened; count 0. (Where there is one CPU, the waker has.)
#[inline(always)]
pub(crate) fn end_of_granted_wait() {
    if static_branch::<SMP_LOCKS>() {
        // SAFETY: task context, IRQs masked, count 0 by contract; the waker makes it ready, or has.
        unsafe { sched::sleep_irqs_off() };
    }
    debug_assert_eq!(task::current().state(), state::RUNNING, "the end of a wait");
}

/// The running task has ended its wait itself: returns when nobody who holds its run queue looks at the wait any more. IRQs
/// masked.
#[inline(always)]
fn pass_run_queue() {
    if static_branch::<SMP_LOCKS>() {
        // SAFETY: IRQs masked.
        let this = unsafe { lock_this_rq() };
        // SAFETY: locked above.
        unsafe { this.unlock() };
    }
}

/// Whether anybody waits.
#[inline(always)]
pub(crate) fn first(queue: &PlistHead) -> Option<&'static Task> {
    // SAFETY: only tasks' nodes are ever queued.
    queue.first().map(|node| unsafe { task_of(node) })
}

/// The task that waits on `queue`, if it is the only one.
#[inline(always)]
pub(crate) fn only(queue: &PlistHead) -> Option<&'static Task> {
    // SAFETY: only tasks' nodes are ever queued.
    queue.only().map(|node| unsafe { task_of(node) })
}

/// Takes `task`, a waiter of `queue`, off it and wakes it, as the last thing in a section: what the task waited for has
/// been given to it. Releases the lock, and if the woken task is to run, switches to
/// it. Where interrupts were open this is the preemption point of the call.
///
/// The lock is released first: once the task is awake, what it waited on may be gone.
#[inline(always)]
pub(crate) fn grant_and_unlock<T>(
    guard: SchedLockGuard<'_, T>,
    queue: impl FnOnce(&T) -> &PlistHead,
    task: &Task,
) {
    if static_branch::<SMP_LOCKS>() {
        grant_and_unlock_smp(guard, queue, task);
    } else {
        grant_and_unlock_alone(guard, queue, task);
    }
}

/// [`grant_and_unlock`] on a CPU that is alone, for a caller that has asked.
#[inline(always)]
pub(crate) fn grant_and_unlock_alone<T>(
    guard: SchedLockGuard<'_, T>,
    queue: impl FnOnce(&T) -> &PlistHead,
    task: &Task,
) {
    unqueue(queue(&guard), task);
    let flags = guard.unlock_alone_irqs_off();
    sched::wake_up_and_switch_alone(task, flags);
    irqflags::local_irq_restore(flags);
}

/// [`grant_and_unlock`] with interrupts masked from before the lock, on a CPU that is alone, of a task that
/// [`sched::is_plain_wakeup`].
#[inline(always)]
pub(crate) fn grant_plain_and_unlock_masked<T>(
    guard: SchedLockGuard<'_, T>,
    queue: impl FnOnce(&T) -> &PlistHead,
    task: &Task,
) {
    unqueue(queue(&guard), task);
    debug_assert!(irqflags::irqs_disabled_flags(guard.flags()));
    let _ = guard.unlock_alone_irqs_off();
    sched::wake_up_plain(task);
}

/// [`grant_and_unlock`] where there are several CPUs, for a caller that has asked.
#[inline(always)]
pub(crate) fn grant_and_unlock_smp<T>(
    guard: SchedLockGuard<'_, T>,
    queue: impl FnOnce(&T) -> &PlistHead,
    task: &Task,
) {
    let queue = ptr::from_ref(queue(&guard));
    let (lock, flags) = guard.keep_locked();
    // SAFETY: inside the data that the lock, which is held, guards.
    unsafe { grant_in(lock, flags, queue, task) };
}

/// # Safety
/// As [`block_in`].
#[inline(always)]
unsafe fn grant_in(lock: &RawLock, flags: irqflags::Flags, queue: *const PlistHead, task: &Task) {
    mark_waking(task);
    // SAFETY: by contract: part of what the lock guards, which is held.
    unsafe {
        unqueue(&*queue, task);
        lock.unlock_word();
    }
    sched::wake_up_and_switch_smp(task, flags);
}

#[inline(always)]
fn unqueue(queue: &PlistHead, task: &Task) {
    // SAFETY: the task waits on this queue, and the lock is held.
    unsafe { queue.del(NonNull::from(&task.wait.node)) };
    task.wait.status.set(WaitStatus::Granted);
}

/// The task is going to be woken by the caller and nobody else. Visible before it is off what it waits on: whoever finds it
/// there no more, with its run queue locked, finds this too.
#[inline(always)]
pub(crate) fn mark_waking(task: &Task) {
    task.set_state(state::WAKING);
    fence(Ordering::Release);
}

/// Takes a ready-made timeout: the timer of a waiting task.
fn wait_timed_out(timer: &Hrtimer) -> Restart {
    // SAFETY: only `block_until` starts a timer with this callback, and it is the task's.
    let task = unsafe { &*ptr::from_ref(timer).byte_sub(offset_of!(Task, timer)).cast::<Task>() };
    let wait = &task.wait;
    // SAFETY: the task has not left `block_until`, which borrows the queue and its lock: it does not before it has made sure
    // that this function has returned (`cancel_irqs_off`).
    let (lock, queue) = unsafe { (&*wait.lock.get(), &*wait.queue.get()) };
    lock.lock();
    let is_late = wait.status.get() == WaitStatus::Waiting;
    if is_late {
        if static_branch::<SMP_LOCKS>() {
            mark_waking(task);
        }
        // SAFETY: `Waiting` means queued, and the lock is held.
        unsafe { queue.del(NonNull::from(&wait.node)) };
        wait.status.set(WaitStatus::TimedOut);
    }
    // SAFETY: taken above.
    unsafe { lock.unlock() };
    if is_late {
        sched::wake_up_granted(task);
    }
    Restart::No
}

/// When to give up, for the calls that take a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Do not wait at all.
    Now,
    /// Wait at most this many nanoseconds.
    In(u64),
    /// Wait until this monotonic time in nanoseconds.
    Until(u64),
    /// Wait as long as it takes.
    Never,
}

impl Timeout {
    /// The monotonic time of it, if there is one.
    pub(crate) fn deadline_ns(self) -> Option<u64> {
        match self {
            Self::Never | Self::Now => None,
            Self::In(ns) => Some(crate::time::now_ns().saturating_add(ns)),
            Self::Until(ns) => Some(ns),
        }
    }
}

/// Waits as `timeout` says; `Timeout::Now` is an error at once. The shared tail of the blocking calls.
#[inline(always)]
pub(crate) fn block_for<T>(
    guard: SchedLockGuard<'_, T>,
    queue: impl FnOnce(&T) -> &PlistHead,
    slot: *mut (),
    timeout: Timeout,
) -> Result<()> {
    let deadline_ns = match timeout {
        Timeout::Never => {
            block(guard, queue, slot);
            return Ok(());
        }
        Timeout::Now => return Err(Error::WouldBlock),
        Timeout::In(ns) => crate::time::now_ns().saturating_add(ns),
        Timeout::Until(ns) => ns,
    };
    block_until(guard, queue, slot, deadline_ns)
}

/// Whether `task` is on a queue, as far as is known: a granter takes it off without its run queue.
#[inline(always)]
pub(super) fn is_filed(task: &Task) -> bool {
    task.wait.node.is_queued()
}

/// Files a task anew if it waits on a queue and its priority is not the one it was filed under. IRQs masked, the
/// task's run queue locked: so the task cannot return from its wait, and what it waits on stays where it is.
///
/// The queue's lock comes before the run queue's; here it is the other way round, and so only tried.
/// Answers false where somebody else has it: let go of the run queue and try again.
#[inline(always)]
pub(super) fn try_requeue(task: &Task) -> bool {
    // A granter takes it off without the run queue: then it is found out under the queue's lock.
    !task.wait.node.is_queued() || try_requeue_queued(task)
}

#[cold]
#[inline(never)]
fn try_requeue_queued(task: &Task) -> bool {
    let prio = wait_prio(task.sched.prio());
    try_with_queue(task, |queue| {
        let node = &task.wait.node;
        if node.prio() != prio {
            // SAFETY: queued, and the lock is held.
            unsafe { queue.requeue(NonNull::from(node), prio) };
        }
    })
}

/// Takes a task that is aborted off the queue it waits on, if it does. Contexts, locks and answer as for
/// [`try_requeue`].
#[inline(always)]
pub(super) fn try_leave(task: &Task) -> bool {
    !task.wait.node.is_queued() || try_leave_queued(task)
}

#[cold]
#[inline(never)]
fn try_leave_queued(task: &Task) -> bool {
    try_with_queue(task, |queue| {
        // SAFETY: the task waits on this queue, and the lock is held.
        unsafe { queue.del(NonNull::from(&task.wait.node)) };
        task.wait.status.set(WaitStatus::Granted);
    })
}

/// Runs `f` with the queue that `task` waits on, locked; not if it waits no more. False where the lock is taken.
fn try_with_queue(task: &Task, f: impl FnOnce(&PlistHead)) -> bool {
    let wait = &task.wait;
    // SAFETY: a queued task has not left `block`, whose caller borrows the queue and its lock, and cannot before its
    // run queue is unlocked.
    let (lock, queue) = unsafe { (&*wait.lock.get(), &*wait.queue.get()) };
    if !lock.try_lock() {
        return false;
    }
    if wait.node.is_queued() {
        f(queue);
    }
    // SAFETY: taken above.
    unsafe { lock.unlock() };
    true
}

/// In every build: the switch sets the count to what it knows it is, and a task that sleeps with preemption off
/// would wake with it on.
#[inline(always)]
pub(crate) fn assert_may_block(flags: irqflags::Flags) {
    if crate::preempt::preempt_count() != 0 || irqflags::irqs_disabled_flags(flags) {
        crate::preempt::sleeping_in_atomic_context(flags);
    }
}

/// A queue with its lock and nothing else.
pub(crate) type LockedQueue = SchedLock<PlistHead>;
