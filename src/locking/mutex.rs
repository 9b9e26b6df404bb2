//! The sleeping mutex.
//!
//! One word says everything while nobody waits: the owner's address, or zero. Taking and releasing it is
//! then one exclusive load and store. Bit 0 says that there are waiters and sends both sides to the slow
//! path, where the queue's lock decides. Release with waiters hands the mutex to the most important one:
//! it owns the mutex when it wakes, and nobody can barge in between.
//!
//! Not yet: priority inheritance. The shape is ready for it: the owner is known, the waiters are in
//! priority order, and both meet in the two slow paths.
//!
//! Context: threads only.

use super::SchedLock;
use crate::error::{Error, Result};
use crate::plist::PlistHead;
use crate::preempt::{self, LockBreak};
use crate::sched::wait::{self, Timeout};
use crate::task::{self, Task};
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bit 0 of the owner word: go the slow way.
const HAS_WAITERS: usize = 1;

/// A mutex around a value. A task that waits for it sleeps.
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    data: UnsafeCell<T>,
}

/// Holds a [`Mutex`]; dropping it releases the mutex and **may switch to another task**.
#[must_use = "the mutex is released as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    // The owner is a task: the guard must be dropped by the one that made it.
    _not_send: PhantomData<*mut ()>,
}

/// A mutex without its value, for locks that are mutexes in some models.
pub(crate) struct RawMutex {
    /// Owner's address | `HAS_WAITERS`; 0 when free. Without waiters changed by compare-and-swap alone;
    /// with the bit set only under the lock of `waiters`.
    owner: AtomicUsize,
    waiters: SchedLock<PlistHead>,
}

// SAFETY: the mutex gives one task at a time access to the data.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// SAFETY: owning the mutex is owning the data.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    /// A free mutex around `value`.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { raw: RawMutex::new(), data: UnsafeCell::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the mutex, sleeping while another task has it.
    ///
    /// # Panics
    /// In debug builds if the caller has it already: it would wait for itself.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        preempt::might_sleep();
        if !self.raw.try_lock_fast() {
            // `Never` cannot fail but by a deadlock, which `lock_slow` reports.
            if self.raw.lock_slow(Timeout::Never).is_err() {
                deadlock();
            }
        }
        self.guard()
    }

    /// Takes the mutex, waiting as `timeout` says.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::WouldBlock`] for [`Timeout::Now`], [`Error::Deadlock`] if the caller
    /// has it already.
    pub fn lock_timeout(&self, timeout: Timeout) -> Result<MutexGuard<'_, T>> {
        if !self.raw.try_lock_fast() {
            self.raw.lock_slow(timeout)?;
        }
        Ok(self.guard())
    }

    /// Takes the mutex if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_lock_fast().then(|| self.guard())
    }

    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, _not_send: PhantomData }
    }

    /// Whether some task has it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.raw.owner.load(Ordering::Relaxed) != 0
    }
}

#[cold]
#[track_caller]
fn deadlock() -> ! {
    panic!("deadlock: task {} locks a mutex that it holds", task::current().name())
}

impl RawMutex {
    pub(crate) const fn new() -> Self {
        Self { owner: AtomicUsize::new(0), waiters: SchedLock::new(PlistHead::new()) }
    }

    #[inline(always)]
    pub(crate) fn lock(&self) {
        if !self.try_lock() && self.lock_slow(Timeout::Never).is_err() {
            deadlock();
        }
    }

    #[inline(always)]
    pub(crate) fn try_lock(&self) -> bool {
        self.try_lock_fast()
    }

    #[inline(always)]
    fn try_lock_fast(&self) -> bool {
        let me = ptr::from_ref(task::current()).addr();
        self.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    pub(crate) fn unlock(&self) {
        let me = ptr::from_ref(task::current()).addr();
        if self.owner.compare_exchange(me, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            self.unlock_slow();
        }
    }

    /// Whether somebody is known to wait: so it was when the slow path was last taken.
    #[inline(always)]
    pub(crate) fn is_contended(&self) -> bool {
        self.owner.load(Ordering::Relaxed) & HAS_WAITERS != 0
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(&self, timeout: Timeout) -> Result<()> {
        let me: *const Task = task::current();
        let waiters = self.waiters.lock();
        // With the bit set the owner cannot leave by the fast path, so what is read here stays true while
        // the lock is held.
        let owner = self.owner.fetch_or(HAS_WAITERS, Ordering::Acquire) & !HAS_WAITERS;
        if owner == 0 {
            self.owner.store(me.addr() | self.bit(&waiters), Ordering::Relaxed);
            waiters.unlock_no_resched();
            return Ok(());
        }
        let refused = if owner == me.addr() {
            Some(Error::Deadlock)
        } else if timeout == Timeout::Now {
            Some(Error::WouldBlock)
        } else {
            None
        };
        if let Some(error) = refused {
            self.owner.store(owner | self.bit(&waiters), Ordering::Relaxed);
            waiters.unlock_no_resched();
            return Err(error);
        }
        // Granted means: `unlock_slow` has made this task the owner. After a time-out the bit may stay set
        // with nobody waiting; the next slow path mends it.
        wait::block_for(waiters, |q| q, ptr::null_mut(), timeout)
    }

    #[cold]
    #[inline(never)]
    fn unlock_slow(&self) {
        let waiters = self.waiters.lock();
        debug_assert_eq!(
            self.owner.load(Ordering::Relaxed) & !HAS_WAITERS,
            ptr::from_ref(task::current()).addr(),
            "a mutex is released by the task that holds it"
        );
        match wait::first(&waiters) {
            None => self.owner.store(0, Ordering::Release),
            Some(next) => {
                // The new owner is in place before it is woken. The bit is needed only if others wait on.
                let others = usize::from(!wait::is_last(&waiters, next));
                self.owner.store(ptr::from_ref(next).addr() | others, Ordering::Release);
                wait::grant_and_unlock(waiters, |q| q, next);
            }
        }
    }

    fn bit(&self, waiters: &PlistHead) -> usize {
        if waiters.is_empty() { 0 } else { HAS_WAITERS }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the mutex.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the mutex, alone.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized> LockBreak for MutexGuard<'_, T> {
    fn is_contended(&self) -> bool {
        self.mutex.raw.is_contended()
    }

    fn released(&mut self, between: impl FnOnce()) {
        /// Takes the mutex again also when `between` unwinds: the guard will release it.
        struct Relock<'g>(&'g RawMutex);
        impl Drop for Relock<'_> {
            fn drop(&mut self) {
                self.0.lock();
            }
        }
        // Nobody has a reference into the data: the guard is borrowed for as long as this takes.
        self.mutex.raw.unlock();
        let relock = Relock(&self.mutex.raw);
        between();
        drop(relock);
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("locked", &self.is_locked()).finish_non_exhaustive()
    }
}
