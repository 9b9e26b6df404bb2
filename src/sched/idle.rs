#![forbid(unsafe_code)]
//! Idle class: what runs when nothing else wants to.
//!
//! One task per CPU, never queued, never asleep. Everything displaces it, and
//! ticks, yields and priorities do not concern it.
//!
//! Contexts: any, under the run-queue lock.

use super::class::Resched;
use super::entity::SchedRef;

/// Whoever wakes up displaces the idle task.
#[inline(always)]
pub(super) const fn check_preempt() -> Resched {
    Resched::Yes
}

/// A tick does not concern the idle task.
#[inline(always)]
pub(super) const fn task_tick() -> Resched {
    Resched::No
}

/// The idle task must not leave the run queue: without it the CPU would have
/// nothing to run.
#[cold]
#[inline(never)]
pub(super) fn dequeue(p: SchedRef) -> ! {
    panic!("scheduling from the idle thread: {p:?} must not block or exit");
}
