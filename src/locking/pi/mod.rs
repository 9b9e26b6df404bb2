//! Priority inheritance: the kernel's side of the graph.
//!
//! `node` and `graph` are the rules, pure. This file runs them on tasks: it owns **the PI lock**, one for all
//! locks, which guards every waiter list, every list of donations and every `blocked_on` (docs/adr/0005). Locks
//! that nobody waits for never come here: their owner word is all there is.
//!
//! A change of priority travels along a chain of any length. [`walk`] takes the PI lock anew for each step, and
//! opens interrupts in between, so no masked section is longer than one step: at most one task moved on its run
//! queue, one waiter filed anew (101 comparisons), one donation replaced. Over the gap it holds a counted
//! reference to the task whose turn it is.
//!
//! Context: threads; `walk` and `priority_changed` from any. Locks: the PI lock; below it the lock of a wait queue,
//! and the run queue.

mod awaited;
mod cycle;
mod graph;
mod node;
#[cfg(test)]
mod tests;

pub(crate) use awaited::Awaited;
pub(crate) use cycle::Cycle;
pub(crate) use graph::{Follow, donated_prio};
pub(super) use graph::{block, hand_over, remove};
pub(crate) use node::{At, PiTask};
pub(super) use node::{PiLock, Waiter};

use super::{Far, SchedLock};
use crate::sched::{self, class::Class};
use crate::task::{Task, TaskRef};
use arch::irqflags;
use graph::MAX_LOCK_DEPTH;
use node::PiEntity;

/// The PI lock.
pub(crate) static PI: SchedLock<(), Far> = SchedLock::new(());

impl PiEntity for Task {
    #[inline(always)]
    fn pi(&self) -> &PiTask<Self> {
        &self.pi
    }

    #[inline(always)]
    fn prio(&self) -> i32 {
        self.sched.prio()
    }

    #[inline(always)]
    fn normal_prio(&self) -> i32 {
        self.sched.normal_prio()
    }

    #[inline(always)]
    fn set_prio(&self, prio: i32, donor: Option<&Self>) {
        sched::core::setprio(self, prio, donor);
    }
}

/// Why a walk did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// It came back to the task that it began for. Seen from a step each, the chain may never have been whole: to be
    /// looked at again, in one go.
    Returned,
    /// It is longer than [`MAX_LOCK_DEPTH`]; said so in the log.
    TooDeep,
}

/// One step, with the PI lock held. What remains of the walk is kept alive for [`walk`].
#[inline]
pub(super) fn step(task: &Task, follow: Follow) -> Option<TaskRef> {
    // The idle task is what runs when nothing else does: it cannot be boosted (reference 5.5).
    if task.sched.class() == Class::Idle {
        return None;
    }
    let next = graph::adjust(task, follow)?;
    Some(TaskRef::clone_from_task(&next))
}

/// Goes on, a step at a time, from the task whose turn it is. With `origin`, which has just begun to wait, looks
/// whether the chain leads back to it.
///
/// # Errors
/// As [`Stuck`] says; then the rest of the chain has not been told.
#[inline(never)]
pub(crate) fn walk(rest: Option<TaskRef>, follow: Follow, origin: Option<&Task>) -> Result<(), Stuck> {
    let mut next = rest;
    // The first step was made by whoever calls.
    for _ in 1..MAX_LOCK_DEPTH {
        arch::bound!(MAX_LOCK_DEPTH);
        let Some(task) = next else { return Ok(()) };
        let pi = PI.lock();
        if origin.is_some_and(|origin| core::ptr::eq(origin, &*task)) {
            pi.unlock_no_resched();
            task.put_from_any_context();
            return Err(Stuck::Returned);
        }
        next = step(&task, follow);
        drop(pi);
        task.put_from_any_context();
        if !irqflags::irqs_disabled() {
            crate::preempt::cond_resched();
        }
    }
    let Some(task) = next else { return Ok(()) };
    log::error!(
        "a chain of waiting tasks is longer than {MAX_LOCK_DEPTH}: priority inheritance ends before task {}",
        task.name()
    );
    task.put_from_any_context();
    Err(Stuck::TooDeep)
}

/// The parameters of `task` have changed, and what it waits for has to be told. First step of a walk, with the PI
/// lock held.
pub(crate) fn priority_changed(task: &Task) -> Option<TaskRef> {
    step(task, Follow::Change)
}
