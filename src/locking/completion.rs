//! A completion: something that happens once, and everybody who waits for it.
//!
//! Context: `complete*` and `is_done` from any; `wait*` from threads.

use super::{SchedLock, SchedLockGuard};
use crate::error::Result;
use crate::plist::PlistHead;
use crate::sched::wait::{self, Timeout};
use core::cell::Cell;
use core::ptr;

/// Linux's `done` value for "complete for all and for ever".
const ALL: u32 = u32::MAX;

/// See the module's text.
pub struct Completion {
    inner: SchedLock<Inner>,
}

struct Inner {
    done: Cell<u32>,
    waiters: PlistHead,
}

impl Completion {
    /// Not complete.
    #[must_use]
    pub const fn new() -> Self {
        Self { inner: SchedLock::new(Inner { done: Cell::new(0), waiters: PlistHead::new() }) }
    }

    /// Lets one waiter go on, now or later.
    pub fn complete(&self) {
        let inner = self.inner.lock();
        if let Some(task) = wait::first(&inner.waiters) {
            wait::grant_and_unlock(inner, |i| &i.waiters, task);
        } else if inner.done.get() < ALL - 1 {
            inner.done.set(inner.done.get() + 1);
        }
    }

    /// Lets everybody go on, now and for ever. Wakes the waiters one by one and opens interrupts in between,
    /// so the time with interrupts masked does not grow with their number.
    pub fn complete_all(&self) {
        let inner = self.inner.lock();
        inner.done.set(ALL);
        if inner.waiters.is_empty() { inner.unlock_no_resched() } else { self.wake_all(inner) }
    }

    /// Wakes whoever waits, one at a time. It is done.
    #[inline(never)]
    fn wake_all<'a>(&'a self, mut inner: SchedLockGuard<'a, Inner>) {
        while let Some(task) = wait::first(&inner.waiters) {
            // With the last waiter the completion may go: nobody waits any more, because it is done.
            let is_last = inner.waiters.is_only(task.wait.node());
            wait::grant_and_unlock(inner, |i| &i.waiters, task);
            if is_last {
                return;
            }
            crate::preempt::cond_resched_if_allowed();
            inner = self.inner.lock();
        }
        inner.unlock_no_resched();
    }

    /// Waits for it.
    #[inline(never)]
    pub fn wait(&self) {
        crate::preempt::might_sleep();
        // `Never` cannot fail.
        let _ = self.wait_timeout(Timeout::Never);
    }

    /// Waits for it as `timeout` says.
    ///
    /// # Errors
    /// [`crate::Error::TimedOut`], or [`crate::Error::WouldBlock`] for [`Timeout::Now`].
    pub fn wait_timeout(&self, timeout: Timeout) -> Result<()> {
        let inner = self.inner.lock();
        let done = inner.done.get();
        if done != 0 {
            if done != ALL {
                inner.done.set(done - 1);
            }
            inner.unlock_no_resched();
            return Ok(());
        }
        wait::block_for(inner, |i| &i.waiters, ptr::null_mut(), timeout)
    }

    /// Whether a `wait` would return at once.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let inner = self.inner.lock();
        let done = inner.done.get() != 0;
        inner.unlock_no_resched();
        done
    }
}

impl Default for Completion {
    fn default() -> Self {
        Self::new()
    }
}
