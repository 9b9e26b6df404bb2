//! Moving a task from one CPU's run queue to another's.
//!
//! Two run queues are locked at once in the order of their CPU numbers. Who has one and wants the other may have to let
//! go of the first: [`lock_second_rq`] says whether it did, and then everything has to be looked at again, because the
//! first queue was anybody's for a moment.
//!
//! Invariants (`runqueue`): a task that is `curr` of its run queue is never moved; `task.rq` changes with both locks held
//! here, so nobody ever sees the task between two queues. **Bound:** one move is a dequeue and an enqueue, O(1) for
//! real-time tasks, O(log n) for the others; nothing here moves more than one task without letting go of both locks.
//!
//! Context: any, IRQs masked. Locks: the two run queues, and below them the timer base.

use super::cpupri;
use super::push_pull::LOADS;
use super::runqueue::{CPUPRI, RunQueue, cpu_rq, lock_task_rq_smp, sched_ref};
use super::wakeup::resched_rq_if;
use crate::smp::{self, CpuMask};
use crate::task::Task;
use core::ptr;

/// Locks two run queues that are not locked.
///
/// # Safety
/// IRQs masked; the caller unlocks both. They are two.
pub(super) unsafe fn double_rq_lock(a: &RunQueue, b: &RunQueue) {
    debug_assert!(!ptr::eq(a, b), "a run queue is locked together with itself");
    let (first, second) = if a.cpu() < b.cpu() { (a, b) } else { (b, a) };
    first.lock.lock();
    second.lock.lock_second();
}

/// Locks `other` as well. Answers false if `this` had to be let go of for that: what was known of it may be wrong now.
///
/// # Safety
/// IRQs masked, `this` locked; the caller unlocks both. They are two.
pub(super) unsafe fn lock_second_rq(this: &RunQueue, other: &RunQueue) -> bool {
    if this.cpu() < other.cpu() {
        other.lock.lock_second();
        return true;
    }
    if other.lock.try_lock() {
        return true;
    }
    // SAFETY: locked by contract.
    unsafe {
        this.unlock();
        double_rq_lock(this, other);
    }
    false
}

/// Moves the queued `task`, which does not run, from the run queue `from` to `to`, and asks for a switch there if it
/// should run. It may run there, and both are locked.
pub(super) fn move_queued_task(task: &Task, from: &'static RunQueue, to: &'static RunQueue) {
    debug_assert!(!ptr::eq(from, to) && ptr::eq(from, super::runqueue::rq_of(task)));
    debug_assert!(!from.is_curr(task), "task {} runs and is to be moved", task.name());
    let now = crate::time::now_ns();
    // SAFETY: locked by the caller, who has no reference.
    let from_rq = unsafe { from.rq() };
    from_rq.update_clock(now);
    from_rq.detach_task(sched_ref(task));
    finish_move(task, from, to, now);
}

/// The second half of a move: `task` has been detached from `from`; both are locked.
pub(super) fn finish_move(task: &Task, from: &'static RunQueue, to: &'static RunQueue, now: u64) {
    let p = sched_ref(task);
    // SAFETY: both are locked, and they are two.
    let (from_rq, to_rq) = unsafe { (from.rq(), to.rq()) };
    crate::trace::sched_migrate_task(task, from.cpu(), to.cpu());
    task.set_rq(to);
    to_rq.update_clock(now);
    let decision = to_rq.attach_task(p);
    // With a `Yes`, so that nobody else counts on this CPU before the switch.
    to_rq.publish_wakeup(&CPUPRI, &LOADS, p, decision);
    from_rq.publish(&CPUPRI, &LOADS);
    from.event.program_if_deadline(from_rq, p);
    to.event.program_if_deadline(to_rq, p);
    resched_rq_if(to, decision);
}

/// The CPUs that `task` may run on as things are: of those it is allowed the ones that are online; if none of them is,
/// any that is online, for as long as that lasts. Its run queue is locked.
pub(super) fn usable_cpus(task: &Task) -> CpuMask {
    let online = smp::online();
    let usable = task.sched.cpus_allowed() & online;
    if usable.is_empty() { online } else { usable }
}

/// What is to be done about a task that is, perhaps, where it must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Nothing: it is where it may be, or sleeps and will wake there.
    Yes,
    /// It runs on this CPU: the stopper there has to come in between.
    Runs(usize),
    /// It has forbidden its migration for the moment.
    Bound,
}

/// Sees to it that `task` is queued where it may run, as far as that can be done from here.
///
/// # Safety
/// IRQs masked.
pub(super) unsafe fn settle(task: &Task) -> Settled {
    loop {
        // SAFETY: IRQs masked by contract.
        let this = unsafe { lock_task_rq_smp(task) };
        let usable = usable_cpus(task);
        let answer = settled(this, task, usable);
        if answer.is_none() {
            let to = cpu_rq(least_important_cpu(usable, this.cpu()));
            // SAFETY: `this` is locked, IRQs are masked; they are two, because `usable` is without `this`.
            let unchanged = unsafe { lock_second_rq(this, to) };
            // Looked at again, and not begun anew, where the lock was let go of: if all that is here comes to several CPUs
            // at once, each finds the second lock taken each time.
            let may_move = || {
                let usable = usable_cpus(task);
                this.holds(task) && settled(this, task, usable).is_none() && usable.contains(to.cpu())
            };
            if unchanged || may_move() {
                move_queued_task(task, this, to);
            }
            // SAFETY: locked above.
            unsafe { to.unlock() };
        }
        // SAFETY: locked above.
        unsafe { this.unlock() };
        // After a move once more, for what may have changed since.
        if let Some(answer) = answer {
            return answer;
        }
    }
}

/// What is to be done about `task`, which may run on `usable`, on `this`, its run queue, which is locked; nothing if it waits
/// there and must not.
fn settled(this: &RunQueue, task: &Task, usable: CpuMask) -> Option<Settled> {
    if usable.contains(this.cpu()) {
        Some(Settled::Yes)
    } else if task.sched.migrate_disabled() != 0 {
        Some(Settled::Bound)
    } else if this.is_curr(task) {
        Some(Settled::Runs(this.cpu()))
    } else if !task.sched.is_queued() {
        Some(Settled::Yes)
    } else {
        None
    }
}

/// The CPU of `cpus`, which is not empty, where the least important thing runs, the next one behind `near` among equals.
pub(super) fn least_important_cpu(cpus: CpuMask, near: usize) -> usize {
    CPUPRI.find_lowest(cpus, cpupri::OFF, &[near]).or_else(|| cpus.next_from(near)).unwrap_or(0)
}
