//! Where the core asks about other CPUs: who is to run where, and what is to be pushed or pulled.
//!
//! Called where there is more than one CPU, and nowhere else. The answers are policy; what the core relies on is
//! written at each of them.
//!
//! Context: IRQs masked, as each function says. Locks: the run queue named, which some may let go of for a moment.

use super::class::Resched;
use super::entity::SchedRef;
use super::push_pull;
use super::rebalance;
use super::rq::Rq;
use super::runqueue::RunQueue;
use crate::task::Task;

/// What makes a task ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// It slept.
    Wake,
    /// It is new.
    Fork,
}

/// The CPU on which `task`, which sleeps or is new, is to become ready: one that is online and that it may use. `this` is
/// its run queue, locked; it is not `curr` there. Must not let go of the lock; other queues are looked at without theirs.
#[inline]
pub(super) fn select_task_rq(task: &Task, this: &'static RunQueue, why: Ready) -> usize {
    push_pull::select_task_rq(task, this, why)
}

/// `task` has been made ready on `this`, locked, and will not run at once: is it to be pushed? May let go of the lock and
/// take it again.
#[inline]
pub(super) fn task_woken(this: &'static RunQueue, task: &Task) {
    push_pull::task_woken(this, task);
}

/// Before the pick of `this` CPU, whose running task `prev` may have been dequeued: pulls from others what is to run here
/// instead of what is left. `this` is locked; may let go of the lock and take it again, and then `prev` may have been
/// woken and be queued again. It is `curr` all the while.
#[inline]
pub(super) fn pull_before_pick(this: &'static RunQueue, prev: &Task) {
    let _ = prev;
    push_pull::pull_before_pick(this);
}

/// [`pull_before_pick`], if the pick is going to return the real-time task `next` of `rq` and nothing is to be pulled. False:
/// that is to be asked.
#[inline(always)]
pub(super) fn has_nothing_to_pull(rq: &mut Rq, next: SchedRef) -> bool {
    push_pull::has_nothing_to_pull(rq, next)
}

/// A real-time task of this priority is to run on the CPU of `rq`, locked, in the place of something less important: tells those
/// who look at several CPUs, if they do not know it.
#[inline(always)]
pub(super) fn about_to_run(rq: &mut Rq, prio: i32) {
    push_pull::about_to_run(rq, prio);
}

/// The priority of `task` has changed, which runs or waits on `this`, locked: may let go of the lock and take it again.
#[inline]
pub(super) fn prio_changed(this: &'static RunQueue, task: &Task) {
    push_pull::prio_changed(this, task);
}

/// `this` CPU, its run queue locked, is about to switch from `prev` to `next`, its `curr`: tells those who look at several
/// CPUs. Whether `balance_callback` has something to do behind the switch.
#[inline(always)]
pub(super) fn switched(this: &RunQueue, prev: &Task, next: &Task) -> bool {
    push_pull::switched(this, prev, next)
}

/// `task` of `this`, locked, has been made ready, with this decision about the running one: tells those who look at several
/// CPUs.
#[inline(always)]
pub(super) fn readied(this: &RunQueue, task: &Task, decision: Resched) {
    push_pull::readied(this, task, decision);
}

/// `task` of `this`, locked, has been taken out: tells those who look at several CPUs.
#[inline]
pub(super) fn changed(this: &RunQueue, task: &Task) {
    push_pull::changed(this, task);
}

/// Behind a switch on `this` CPU, if `RunQueue::needs_balance` said so (it has been cleared): pushes what does not run
/// here. Locked; may let go of the lock and take it again. Runs as the task that was switched to.
#[inline]
pub(super) fn balance_callback(this: &'static RunQueue) {
    push_pull::push(this);
}

/// Makes `cpu`, another one than this, fold its `TIF_NEED_RESCHED`, which has been set: SGI 0.
#[inline]
pub(super) fn send_reschedule(cpu: usize) {
    crate::smp::ipi::send_reschedule(cpu);
}

/// Makes `cpu`, which may be this one, call `wake_list::run_pending`: SGI 1.
#[inline]
pub(super) fn send_wake_list(cpu: usize) {
    crate::smp::ipi::send_call(cpu);
}

/// A budget on `this`, locked, has ended or begun: tells the others, and pushes who cannot run here. May let go of the lock
/// and take it again.
#[cold]
pub(super) fn event(this: &'static RunQueue) {
    push_pull::event(this);
}

/// The tick of `this` CPU, its run queue locked: what is to be begun when it is not any more.
#[inline]
pub(super) fn tick(this: &'static RunQueue) -> rebalance::Todo {
    rebalance::tick(this)
}
