//! The condition variable: wait, with a mutex released meanwhile, until somebody says that something has changed.
//!
//! The waiter joins the queue before it releases the mutex, so a notification by whoever takes the mutex next finds it.
//! The most important waiter is woken first, the longest waiting one among equals. It then takes the mutex as everybody
//! does: if the notifier still holds it, it lends the notifier its priority until the release.
//!
//! As everywhere, test the condition in a loop: between the notification and the mutex another task may come.
//!
//! Context: `notify_*` from any; `wait*` from threads. Locks: the queue's own, and the PI lock by the mutex; one at a
//! time.

use super::MutexGuard;
use crate::error::Result;
use crate::locking::SchedLock;
use crate::plist::PlistHead;
use crate::sched::wait::{self, LockedQueue, Timeout};

/// See the module's text.
pub struct Condvar {
    queue: LockedQueue,
}

impl Condvar {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self { queue: SchedLock::new(PlistHead::new()) }
    }

    /// Releases the mutex, waits for a notification, and takes the mutex again.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let mutex = MutexGuard::mutex(&guard);
        // `Never` cannot fail.
        let _ = wait::block_after(&self.queue, || drop(guard), Timeout::Never);
        mutex.lock()
    }

    /// [`Self::wait`], and gives up waiting as `timeout` says; [`Timeout::Now`] releases the mutex for a moment. The mutex is
    /// taken again in any case, however long that takes.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Timeout,
    ) -> (MutexGuard<'a, T>, Result<()>) {
        let mutex = MutexGuard::mutex(&guard);
        let result = wait::block_after(&self.queue, || drop(guard), timeout);
        (mutex.lock(), result)
    }

    /// [`Self::wait`] for as long as `condition` holds, which is tested with the mutex held.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// Wakes the most important waiter. Returns whether there was one.
    pub fn notify_one(&self) -> bool {
        let queue = self.queue.lock();
        let Some(task) = wait::first(&queue) else { return false };
        wait::grant_and_unlock(queue, |q| q, task);
        true
    }

    /// Wakes everybody who waits now, one by one, with interrupts open in between. Returns how many.
    pub fn notify_all(&self) -> usize {
        let queue = self.queue.lock();
        // SAFETY: the lock is held.
        let limit = unsafe { queue.iter() }.count();
        queue.unlock_no_resched();
        (0..limit).take_while(|_| self.notify_one()).count()
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}
