//! A wait queue: sleep until a condition holds; whoever changes the condition wakes.
//!
//! `wait_until` tests the condition with the queue locked and joins the queue before it lets go, so a wake-up
//! between test and sleep cannot be lost. The condition may be anything that is cheap, does not sleep and does
//! not use the same queue; it runs with interrupts masked.
//!
//! Context: `wake_*` from any; `wait_*` from threads.

use super::SchedLock;
use crate::error::Result;
use crate::plist::PlistHead;
use crate::sched::wait::{self, LockedQueue, Timeout};
use core::ptr;

/// See the module's text.
pub struct WaitQueue {
    queue: LockedQueue,
}

impl WaitQueue {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { queue: SchedLock::new(PlistHead::new()) }
    }

    /// Sleeps until `condition` holds.
    pub fn wait_until(&self, condition: impl FnMut() -> bool) {
        crate::preempt::might_sleep();
        // `Never` cannot fail.
        let _ = self.wait_until_timeout(condition, Timeout::Never);
    }

    /// Sleeps until `condition` holds or `timeout` is over; the condition is tested once more then.
    ///
    /// # Errors
    /// [`crate::Error::TimedOut`], or [`crate::Error::WouldBlock`] for [`Timeout::Now`].
    pub fn wait_until_timeout(&self, mut condition: impl FnMut() -> bool, timeout: Timeout) -> Result<()> {
        // A relative time is relative to the call, not to each round.
        let timeout = match timeout {
            Timeout::In(ns) => Timeout::Until(crate::time::now_ns().saturating_add(ns)),
            other => other,
        };
        let mut last = Ok(());
        loop {
            let queue = self.queue.lock();
            if condition() {
                // With the check: the condition may have woken somebody, by taking a message for example.
                drop(queue);
                return Ok(());
            }
            last?;
            last = wait::block_for(queue, |q| q, ptr::null_mut(), timeout);
        }
    }

    /// Wakes the most important waiter. Returns whether there was one.
    pub fn wake_one(&self) -> bool {
        let queue = self.queue.lock();
        let Some(task) = wait::first(&queue) else { return false };
        wait::grant_and_unlock(queue, |q| q, task);
        true
    }

    /// Wakes everybody, one by one, with interrupts open in between. Returns how many.
    ///
    /// Tasks that begin to wait meanwhile are woken too; those that loop forever through `wait_until` with a
    /// false condition are bounded by the number there was at the start.
    pub fn wake_all(&self) -> usize {
        let mut limit = self.len();
        let mut woken = 0;
        while limit > 0 && self.wake_one() {
            limit -= 1;
            woken += 1;
            crate::preempt::cond_resched_if_allowed();
        }
        woken
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        let queue = self.queue.lock();
        // SAFETY: the lock is held.
        let len = unsafe { queue.iter() }.count();
        queue.unlock_no_resched();
        len
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let queue = self.queue.lock();
        let empty = queue.is_empty();
        queue.unlock_no_resched();
        empty
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}
