//! The sleeping reader-writer lock.
//!
//! A writer owns a lock with priority inheritance, the *gate*, from the moment it begins to wait for the readers to
//! its release. While there is a writer, new readers and writers queue at the gate, in the order of priority, and lend
//! the writer theirs: so a waiting writer stops new readers, cannot be starved by them, and is boosted by everybody it
//! keeps waiting. A reader that finds no writer is two instructions past an exclusive add.
//!
//! **Readers are not boosted.** The lock knows how many there are, not who: a writer that waits for them lends them
//! nothing. Where a reader of low priority may keep a writer of high priority waiting beside a hog, take a `Mutex`.
//!
//! A reader may not read again while it holds the lock: a writer that came in between would wait for it, and it for
//! the writer. Tasks count what they hold, as for a mutex.
//!
//! Context: threads. Lock: the PI lock, and the queue lock of the writer that waits; one at a time.

use super::WaitQueue;
use super::dep::Dep;
use super::raw_mutex::RawMutex;
use crate::error::Result;
use crate::preempt;
use crate::sched::wait::Timeout;
use crate::task;
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

/// A writer owns the gate, and has stopped new readers.
const WRITER: u32 = 1 << 31;

/// A reader-writer lock around a value: many readers, or one writer.
pub struct RwLock<T: ?Sized> {
    gate: RawMutex,
    /// Number of readers | `WRITER`.
    state: AtomicU32,
    /// Where the writer waits for the readers that are inside.
    drained: WaitQueue,
    dep: Dep,
    data: UnsafeCell<T>,
}

/// Holds a [`RwLock`] for reading.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    // Held by a task: the guard must be dropped by the one that made it.
    _not_send: PhantomData<*mut ()>,
}

/// Holds a [`RwLock`] for writing; dropping it **may switch to another task**.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: one writer at a time gets `&mut T` (`Send`), readers share `&T` (`Sync`).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
// SAFETY: owning the lock is owning the data.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}

impl<T> RwLock<T> {
    /// A free lock around `value`. Messages name it by the place of the call.
    #[must_use]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self {
            gate: RawMutex::new(),
            state: AtomicU32::new(0),
            drained: WaitQueue::new(),
            dep: Dep::sleep(),
            data: UnsafeCell::new(value),
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock for reading, sleeping while there is a writer.
    ///
    /// # Panics
    /// If the wait would never end.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        preempt::might_sleep();
        self.dep.acquire();
        if !self.enter() {
            self.gate.lock();
            self.enter_through_gate();
        }
        self.read_guard()
    }

    /// Takes the lock for reading, waiting as `timeout` says.
    ///
    /// # Errors
    /// [`crate::Error::TimedOut`], [`crate::Error::WouldBlock`] for [`Timeout::Now`], [`crate::Error::Deadlock`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn read_timeout(&self, timeout: Timeout) -> Result<RwLockReadGuard<'_, T>> {
        self.dep.acquire_timeout(timeout, || {
            if !self.enter() {
                self.gate.lock_timeout(timeout)?;
                self.enter_through_gate();
            }
            Ok(())
        })?;
        Ok(self.read_guard())
    }

    /// Takes the lock for writing, sleeping while anybody has it.
    ///
    /// # Panics
    /// If the wait for another writer would never end.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        preempt::might_sleep();
        self.dep.acquire();
        self.gate.lock();
        if self.stop_readers() != 0 {
            self.drained.wait_until(|| self.readers() == 0);
        }
        self.write_guard()
    }

    /// Takes the lock for writing, waiting as `timeout` says.
    ///
    /// # Errors
    /// As for [`Self::read_timeout`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn write_timeout(&self, timeout: Timeout) -> Result<RwLockWriteGuard<'_, T>> {
        // A relative time is relative to the call, and there are two waits.
        let timeout = timeout.deadline_ns().map_or(timeout, Timeout::Until);
        self.dep.acquire_timeout(timeout, || {
            self.gate.lock_timeout(timeout)?;
            if self.stop_readers() != 0
                && let Err(error) = self.drained.wait_until_timeout(|| self.readers() == 0, timeout)
            {
                self.end_writing();
                return Err(error);
            }
            Ok(())
        })?;
        Ok(self.write_guard())
    }

    /// How many read at present.
    #[must_use]
    pub fn readers(&self) -> u32 {
        self.state.load(Ordering::Acquire) & !WRITER
    }

    /// Whether a writer has it, or waits for the readers.
    #[must_use]
    pub fn has_writer(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WRITER != 0
    }

    /// Becomes a reader if there is no writer.
    #[inline(always)]
    fn enter(&self) -> bool {
        let held = &task::current().pi.held;
        held.set(held.get() + 1);
        let entered = self
            .state
            .try_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                (state & WRITER == 0).then_some(state + 1)
            })
            .is_ok();
        if !entered {
            held.set(held.get() - 1);
        }
        entered
    }

    /// Becomes a reader as the owner of the gate: there is no writer. Lets the next one in.
    fn enter_through_gate(&self) {
        let held = &task::current().pi.held;
        held.set(held.get() + 1);
        self.state.fetch_add(1, Ordering::Acquire);
        self.gate.unlock();
    }

    /// As the owner of the gate: nobody enters any more. Answers how many are inside.
    #[inline(always)]
    fn stop_readers(&self) -> u32 {
        self.state.fetch_or(WRITER, Ordering::Acquire)
    }

    fn end_writing(&self) {
        self.state.fetch_and(!WRITER, Ordering::Release);
        self.gate.unlock();
    }

    fn read_guard(&self) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard { lock: self, _not_send: PhantomData }
    }

    fn write_guard(&self) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard { lock: self, _not_send: PhantomData }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: a reader is counted, so there is no writer past its wait.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.dep.release();
        if self.lock.state.fetch_sub(1, Ordering::Release) == WRITER + 1 {
            self.lock.drained.wake_one();
        }
        let held = &task::current().pi.held;
        held.set(held.get() - 1);
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the writer owns the gate, and there are no readers.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above: alone.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.dep.release();
        self.lock.end_writing();
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock")
            .field("readers", &self.readers())
            .field("has_writer", &self.has_writer())
            .finish_non_exhaustive()
    }
}
