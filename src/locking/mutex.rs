//! The sleeping mutex.
//!
//! A value and a lock with priority inheritance around it ([`RawMutex`], where the rules are). While a more important
//! task waits, the holder runs with that task's priority, and so does everybody the holder waits for in turn. Release
//! hands the mutex to the most important waiter: it owns the mutex when it wakes, and nobody can barge in between.
//!
//! A task that ends while it holds a mutex panics: drop the guards before.
//!
//! Context: threads only.

use super::dep::Dep;
use super::raw_mutex::RawMutex;
use crate::error::Result;
use crate::preempt::{self, LockBreak};
use crate::sched::wait::Timeout;
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// A mutex around a value. A task that waits for it sleeps.
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    dep: Dep,
    data: UnsafeCell<T>,
}

/// Holds a [`Mutex`]; dropping it releases the mutex and **may switch to another task**.
#[must_use = "the mutex is released as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    // The owner is a task: the guard must be dropped by the one that made it.
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: the mutex gives one task at a time access to the data.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// SAFETY: owning the mutex is owning the data.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    /// A free mutex around `value`. Messages name it by the place of the call.
    #[must_use]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { raw: RawMutex::new(), dep: Dep::sleep(), data: UnsafeCell::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the mutex, sleeping while another task has it.
    ///
    /// # Panics
    /// If the wait would never end: the caller has it already, or the holder waits, maybe through others, for a mutex
    /// of the caller. The panic names them all.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        preempt::might_sleep();
        self.dep.acquire();
        self.raw.lock();
        self.guard()
    }

    /// Takes the mutex, waiting as `timeout` says.
    ///
    /// # Errors
    /// [`crate::Error::TimedOut`], [`crate::Error::WouldBlock`] for [`Timeout::Now`], [`crate::Error::Deadlock`] where
    /// `lock` would panic; what it would say is in the log.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_timeout(&self, timeout: Timeout) -> Result<MutexGuard<'_, T>> {
        self.dep.acquire_timeout(timeout, || self.raw.lock_timeout(timeout))?;
        Ok(self.guard())
    }

    /// Takes the mutex if it is free.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if !self.raw.try_lock() {
            return None;
        }
        self.dep.acquired_by_trying();
        Some(self.guard())
    }

    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, _not_send: PhantomData }
    }

    /// Whether some task has it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The mutex that the guard holds.
    pub(super) fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
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
        self.mutex.dep.release();
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized> LockBreak for MutexGuard<'_, T> {
    fn is_contended(&self) -> bool {
        self.mutex.raw.is_wanted()
    }

    #[cfg_attr(debug_assertions, track_caller)]
    fn released(&mut self, between: impl FnOnce()) {
        // Nobody has a reference into the data: the guard is borrowed for as long as this takes. The kernel does
        // not unwind, so there is no way around the second half.
        self.mutex.dep.release();
        self.mutex.raw.unlock();
        between();
        self.mutex.dep.acquire();
        self.mutex.raw.lock();
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("locked", &self.is_locked()).finish_non_exhaustive()
    }
}
