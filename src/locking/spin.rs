//! Spin locks: preemption markers with a lock word where there is somebody to spin against (K2).
//!
//! One implementation, two kinds of section. [`PreemptOff`] counts. [`IrqsOff`] masks IRQs first and counts
//! second, and on release lets go of the word, restores the IRQs and counts last (reference 3.6): the
//! other way round, a request that came in meanwhile would wait for the next tick.
//!
//! Context: `SpinLock` and `RawSpinLock` from threads, if interrupt handlers never take the same lock;
//! `SpinLockIrqSave` from any context.

use super::RawLock;
use crate::percpu::NonPreemptible;
use crate::preempt;
use arch::irqflags::{self, Flags};
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// What a lock does to the CPU around its word.
pub trait Section {
    /// What must be put back.
    type State: Copy;
    /// Before the lock word is taken.
    fn enter() -> Self::State;
    /// After the lock word is released; may switch to another task.
    fn leave(state: Self::State);
}

/// Preemption off.
#[derive(Debug)]
pub enum PreemptOff {}

/// IRQs masked and preemption off.
#[derive(Debug)]
pub enum IrqsOff {}

impl Section for PreemptOff {
    type State = ();

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn enter() {
        preempt::preempt_count_inc();
    }

    #[inline(always)]
    fn leave((): ()) {
        preempt::preempt_enable();
    }
}

impl Section for IrqsOff {
    type State = Flags;

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn enter() -> Flags {
        let flags = irqflags::local_irq_save();
        preempt::preempt_count_inc();
        flags
    }

    #[inline(always)]
    fn leave(flags: Flags) {
        irqflags::local_irq_restore(flags);
        preempt::preempt_enable();
    }
}

/// Preemption is off while it is held. In the `rt` model (to come) it becomes a sleeping lock.
pub type SpinLock<T> = Lock<PreemptOff, T>;
/// Holds a [`SpinLock`].
pub type SpinLockGuard<'a, T> = LockGuard<'a, PreemptOff, T>;
/// Preemption is off while it is held, in every model: for the scheduler and what lies below it.
pub type RawSpinLock<T> = Lock<PreemptOff, T>;
/// Holds a [`RawSpinLock`].
pub type RawSpinLockGuard<'a, T> = LockGuard<'a, PreemptOff, T>;
/// IRQs are masked and preemption is off while it is held: for data that an interrupt handler touches.
pub type SpinLockIrqSave<T> = Lock<IrqsOff, T>;
/// Holds a [`SpinLockIrqSave`].
pub type SpinLockIrqSaveGuard<'a, T> = LockGuard<'a, IrqsOff, T>;

/// A spin lock around a value; see the aliases.
pub struct Lock<S: Section, T: ?Sized> {
    raw: RawLock,
    _section: PhantomData<S>,
    data: UnsafeCell<T>,
}

// SAFETY: the lock gives one holder at a time access to the data.
unsafe impl<S: Section, T: ?Sized + Send> Sync for Lock<S, T> {}
// SAFETY: owning the lock is owning the data.
unsafe impl<S: Section, T: ?Sized + Send> Send for Lock<S, T> {}

/// Holds a lock; dropping it releases the lock and **may switch to another task**.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct LockGuard<'a, S: Section, T: ?Sized> {
    lock: &'a Lock<S, T>,
    state: S::State,
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: both sections keep preemption off while the guard lives, and it is not `Send`.
unsafe impl<S: Section, T: ?Sized> NonPreemptible for LockGuard<'_, S, T> {}

impl<S: Section, T> Lock<S, T> {
    /// An open lock around `value`.
    #[must_use]
    #[cfg_attr(debug_assertions, track_caller)]
    pub const fn new(value: T) -> Self {
        Self { raw: RawLock::new(), _section: PhantomData, data: UnsafeCell::new(value) }
    }
}

impl<S: Section, T: ?Sized> Lock<S, T> {
    /// Takes the lock, in FIFO order.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> LockGuard<'_, S, T> {
        let state = S::enter();
        self.raw.lock();
        LockGuard { lock: self, state, _not_send: PhantomData }
    }

    /// Takes the lock if it is free at once. (With one CPU it always is: whoever could hold it cannot
    /// have been preempted.)
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(&self) -> Option<LockGuard<'_, S, T>> {
        let state = S::enter();
        if self.raw.try_lock() {
            return Some(LockGuard { lock: self, state, _not_send: PhantomData });
        }
        S::leave(state);
        None
    }
}

impl<S: Section, T: ?Sized> Deref for LockGuard<'_, S, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.data.get() }
    }
}

impl<S: Section, T: ?Sized> DerefMut for LockGuard<'_, S, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, alone.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<S: Section, T: ?Sized> Drop for LockGuard<'_, S, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the guard holds the lock.
        unsafe { self.lock.raw.unlock() };
        S::leave(self.state);
    }
}

impl<S: Section, T: ?Sized> fmt::Debug for Lock<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}
