#![forbid(unsafe_code)]
//! The rules of priority inheritance, as single steps on the graph.
//!
//! A task's effective priority is the more important of its own and that of its top donation. It is
//! **computed, never saved and restored**: whatever changes, [`adjust`] asks again what it is. So locks may be
//! released in any order, and waiters may come, go, and change their priority while somebody holds three locks.
//!
//! A change travels along a chain: task → the lock it waits for → the owner of that lock → … Each function
//! here is *one* step of the way and answers whose turn it is next, so the caller may let go of the PI lock in
//! between. In the gap anything may happen to the chain; a step does not rely on the step before it, it looks
//! at the task it is given and at that task's lock, and makes *them* agree.
//!
//! Tasks of the fair class wait under one common priority, in order of arrival, and do not boost each other: a
//! nice value is a share of the CPU, not an urgency, and a boosted nice value would not change the share (5.11
//! orders by it all the same, 5.15 does not).
//!
//! Invariants, at quiescence: `prio == min(normal_prio, top donation)` for every task; the donations of a task
//! are the top waiters of the locks that it owns, no others; a waiter is filed under the priority of its task.
//!
//! Contexts: any. Lock: the PI lock.

use super::node::{At, PiEntity, PiLock, Waiter};
use crate::plist::wait_prio;
use crate::sched::prio::MAX_RT_PRIO;

/// The longest chain: tasks that wait for each other in a row.
pub const MAX_LOCK_DEPTH: usize = 1024;

/// How far a change is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// To where nothing changes any more.
    Change,
    /// To the end of the chain, because it may lead back to where it began.
    Chain,
}

/// The priority that `task` is to have, and the waiter it comes from if it is inherited.
#[inline(always)]
pub fn effective_prio<T: PiEntity>(task: &T) -> (i32, Option<At<T>>) {
    let normal = task.normal_prio();
    match task.pi().top_donation() {
        // Among deadline tasks it is the deadline that counts: the scheduler looks whose is the earlier.
        Some(top) if top.prio() < MAX_RT_PRIO && (top.prio() < normal || top.prio() < 0) => {
            (top.prio(), Some(top.task()))
        }
        _ => (normal, None),
    }
}

/// The most important priority that is donated to `task`; one behind all others if there is none.
#[inline]
pub fn donated_prio<T: PiEntity>(task: &T) -> i32 {
    match task.pi().top_donation() {
        Some(top) if top.prio() < MAX_RT_PRIO => top.prio(),
        _ => i32::MAX,
    }
}

/// `waiter` begins to wait for its lock, which somebody owns. The owner's turn is next.
pub fn block<T: PiEntity>(waiter: At<Waiter<T>>, owner: At<T>) {
    let before = waiter.lock().top();
    waiter.file(wait_prio(waiter.task().prio()));
    if waiter.lock().top() == Some(waiter) {
        if let Some(before) = before {
            before.take_back(&owner);
        }
        waiter.donate(&owner);
    }
}

/// `waiter` gives up: late, cancelled, or part of a cycle. Answers whose turn is next.
pub fn remove<T: PiEntity>(waiter: At<Waiter<T>>) -> Option<At<T>> {
    let lock = waiter.lock();
    let was_top = lock.top() == Some(waiter);
    waiter.unfile();
    let owner = lock.owner()?;
    if was_top {
        waiter.take_back(&owner);
        if let Some(top) = lock.top() {
            top.donate(&owner);
        }
    }
    lock.settle();
    was_top.then_some(owner)
}

/// `owner` releases `lock`, for which somebody waits: the top waiter owns it from now on. The old owner is
/// back at what it has without this lock before anybody else is told.
#[inline(always)]
pub fn hand_over<T: PiEntity>(lock: &PiLock<T>, owner: &T, waiter: At<Waiter<T>>) {
    waiter.take_back(owner);
    waiter.unfile();
    lock.set_owner(Some(waiter.task()));
    if let Some(top) = lock.top() {
        // Not more important than the new owner, or it would own the lock: nothing to adjust.
        top.donate(&waiter.task());
    }
    update_prio(owner);
}

/// Makes a task's priority what it is to be, and its place among the waiters of the lock it waits for agree with
/// it. Answers whose turn is next.
#[inline]
pub fn adjust<T: PiEntity>(task: &T, follow: Follow) -> Option<At<T>> {
    update_prio(task);
    let waiter = task.pi().blocked_on()?;
    let lock = waiter.lock();
    let owner = lock.owner()?;
    let prio = wait_prio(task.prio());
    let mut changed = false;
    if waiter.prio() != prio {
        let before = lock.top();
        let before_prio = before.map(|top| top.prio());
        waiter.refile(prio);
        let after = lock.top();
        if before != after || before_prio != after.map(|top| top.prio()) {
            if let Some(before) = before {
                before.take_back(&owner);
            }
            if let Some(after) = after {
                after.donate(&owner);
            }
            changed = true;
        }
    }
    (changed || follow == Follow::Chain).then_some(owner)
}

#[inline(always)]
fn update_prio<T: PiEntity>(task: &T) {
    let (prio, donor) = effective_prio(task);
    // Deadline tasks all have one priority, and lend their deadlines.
    if prio != task.prio() || prio < 0 {
        task.set_prio(prio, donor.as_deref());
    }
}

/// The tasks that wait for each other in a ring, if `origin` is one of them: calls `f` with every waiter of it.
/// Holds the PI lock over the whole ring: to be called when there is reason to think that there is one.
pub fn find_cycle<T: PiEntity>(origin: At<T>, mut f: impl FnMut(At<Waiter<T>>)) -> bool {
    let follow = |task: At<T>| {
        let waiter = task.pi().blocked_on()?;
        Some((waiter, waiter.lock().owner()?))
    };
    let mut task = origin;
    let mut length = 0;
    loop {
        let Some((_, owner)) = follow(task) else { return false };
        length += 1;
        task = owner;
        if task == origin {
            break;
        }
        if length > MAX_LOCK_DEPTH {
            return false;
        }
    }
    for _ in 0..length {
        let Some((waiter, owner)) = follow(task) else { return false };
        f(waiter);
        task = owner;
    }
    true
}
