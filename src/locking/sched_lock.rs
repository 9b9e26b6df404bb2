//! The lock of the kernel's own queues: IRQs masked, nothing else.
//!
//! With IRQs masked nothing can preempt this CPU, so the count need not say so as well: the section costs
//! two instructions to enter and two to leave, plus the lock word where there is another CPU. What it must
//! not do is reach a preemption point inside; and since it was not counted, it makes its own check at the
//! end: dropping the guard looks at the preempt word once, with IRQs still masked, and then restores them.
//!
//! Bound: the sections are those of semaphores, queues, timers and the run queue: each a few dozen
//! instructions, plus at most 101 steps of a sorted insertion.
//!
//! Context: any.

use super::RawLock;
use crate::percpu::NonPreemptible;
use crate::preempt;
use arch::irqflags::{self, Flags};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Deref;

/// See the module's text. The data is shared (`&T`): it is made of cells.
// The word comes first, so that its address is the lock's and is not computed where there is no word.
#[repr(C)]
pub struct SchedLock<T, R: Reach = Near> {
    raw: RawLock,
    _reach: PhantomData<R>,
    data: UnsafeCell<T>,
}

// SAFETY: one holder at a time, and the holder cannot be interrupted.
unsafe impl<T: Send, R: Reach> Sync for SchedLock<T, R> {}

/// How the lock word is reached where there is one; where there is none, it must cost nothing.
pub trait Reach {
    /// Whether by a call.
    const BY_CALL: bool;
}

/// The word's address is at hand: what has the lock is.
#[derive(Debug)]
pub enum Near {}

/// The lock is a static: its address takes two instructions.
#[derive(Debug)]
pub enum Far {}

impl Reach for Near {
    const BY_CALL: bool = false;
}

impl Reach for Far {
    const BY_CALL: bool = true;
}

/// IRQs are masked while it lives. Dropping it restores them and **may switch to another task**.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct SchedLockGuard<'a, T, R: Reach = Near> {
    lock: &'a SchedLock<T, R>,
    flags: Flags,
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: IRQs are masked while the guard lives, and it is not `Send`.
unsafe impl<T, R: Reach> NonPreemptible for SchedLockGuard<'_, T, R> {}

impl<T, R: Reach> SchedLock<T, R> {
    /// An open lock around `value`.
    #[must_use]
    #[cfg_attr(debug_assertions, track_caller)]
    pub const fn new(value: T) -> Self {
        Self { raw: RawLock::new(), _reach: PhantomData, data: UnsafeCell::new(value) }
    }

    /// Masks IRQs and takes the lock.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> SchedLockGuard<'_, T, R> {
        let flags = irqflags::local_irq_save();
        if R::BY_CALL {
            self.raw.lock_by_call()
        } else {
            self.raw.lock()
        }
        SchedLockGuard { lock: self, flags, _not_send: PhantomData }
    }

    pub(crate) fn raw(&self) -> &RawLock {
        &self.raw
    }

    /// # Safety
    /// The caller holds it.
    #[inline(always)]
    unsafe fn unlock_raw(&self) {
        // SAFETY: by contract.
        unsafe { if R::BY_CALL { self.raw.unlock_by_call() } else { self.raw.unlock() } };
    }
}

impl<'a, T, R: Reach> SchedLockGuard<'a, T, R> {
    /// Releases without the check: for sections that woke nobody.
    #[inline(always)]
    pub fn unlock_no_resched(self) {
        let flags = self.flags;
        self.release();
        irqflags::local_irq_restore(flags);
    }

    /// Releases the lock word, keeps IRQs masked and returns the flags to restore: the way into a sleep.
    #[inline(always)]
    pub(crate) fn unlock_irqs_off(self) -> (&'a SchedLock<T, R>, Flags) {
        let (lock, flags) = (self.lock, self.flags);
        self.release();
        (lock, flags)
    }

    /// [`Self::unlock_irqs_off`] on a CPU that is alone, for a caller that has asked.
    #[inline(always)]
    pub(crate) fn unlock_alone_irqs_off(self) -> Flags {
        let (lock, flags) = (self.lock, self.flags);
        core::mem::forget(self);
        lock.raw.unlock_without_word();
        flags
    }

    /// Keeps the lock held and IRQs masked, without a guard: the word, for who releases it by itself, and the flags to restore.
    #[inline(always)]
    pub(crate) fn keep_locked(self) -> (&'a RawLock, Flags) {
        let (lock, flags) = (self.lock, self.flags);
        core::mem::forget(self);
        (&lock.raw, flags)
    }

    /// The flags that will be restored.
    #[inline(always)]
    pub(crate) fn flags(&self) -> Flags {
        self.flags
    }

    #[inline(always)]
    pub(crate) fn lock_ref(&self) -> &'a SchedLock<T, R> {
        self.lock
    }

    #[inline(always)]
    fn release(self) {
        let lock = self.lock;
        core::mem::forget(self);
        // SAFETY: the guard held the lock and is gone.
        unsafe { lock.unlock_raw() };
    }
}

impl<T, R: Reach> Deref for SchedLockGuard<'_, T, R> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T, R: Reach> Drop for SchedLockGuard<'_, T, R> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the guard holds the lock.
        unsafe { self.lock.unlock_raw() };
        if !irqflags::irqs_disabled_flags(self.flags) {
            preempt::preempt_check_resched_irqs_off();
        }
        irqflags::local_irq_restore(self.flags);
    }
}
