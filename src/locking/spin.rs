//! Spin locks: preemption markers with a lock word where there is somebody to spin against (K2), and the two
//! that learn to sleep.
//!
//! | type | `none`, `voluntary`, `full` | `rt` | event-driven style |
//! |---|---|---|---|
//! | [`SpinLock`] | counts | sleeps | sleeps |
//! | [`SpinLockIrqSave`] | masks and counts | sleeps, masks nothing | masks (in `rt`: sleeps) |
//! | [`RawSpinLock`] | counts | counts | masks |
//! | [`RawSpinLockIrqSave`] | masks and counts | masks and counts | masks |
//!
//! What masks and counts masks first and counts second, and on release lets go of the word, restores the IRQs and
//! counts last (reference 3.6): the other way round, a request that came in meanwhile would wait for the next
//! tick. What only masks has no preemption point at its end; a request made inside has sent an interrupt
//! (`sched::wakeup`).
//!
//! What sleeps is a mutex: it is handed over, its holder can be preempted, and its section may take other locks that
//! sleep. A task that waits by hand (sets its state, tests its condition under a `SpinLock`, calls `schedule`) may
//! sleep in the lock itself. It wakes from there in the state RUNNING, so its `schedule` returns at once and it
//! tests again: a wake-up that came while it waited for the lock is not lost, it is the reason not to look for it.
//!
//! Invariant: the model is fixed before the first lock is taken, so a section is left as it was entered. The
//! choice costs nothing: it is made by patching an instruction of the marker itself (`spin_kind`).
//!
//! Context: raw ones from any (`RawSpinLock` only if no handler takes the same lock); `SpinLock` from threads;
//! `SpinLockIrqSave` from any but a hard interrupt of `rt`. Debug builds panic otherwise.

use super::spin_kind::{Kind, RawCount, RawMask, Spin, SpinMask};
use crate::percpu::NonPreemptible;
use crate::preempt::LockBreak;
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// Preemption is off while it is held; in `rt` and in the event-driven style it is a sleeping lock, and on.
///
/// ```compile_fail,E0277
/// // So its guard proves nothing about preemption: take a `RawSpinLock` for that.
/// let lock = stint::locking::SpinLock::new(0);
/// stint::percpu::smp_processor_id(&lock.lock());
/// ```
pub type SpinLock<T> = Lock<Spin, T>;
/// Holds a [`SpinLock`].
pub type SpinLockGuard<'a, T> = LockGuard<'a, Spin, T>;
/// As [`SpinLock`], with IRQs masked: for data that an interrupt handler touches. In `rt`, where handlers are
/// threads, it is a sleeping lock that masks nothing.
pub type SpinLockIrqSave<T> = Lock<SpinMask, T>;
/// Holds a [`SpinLockIrqSave`].
pub type SpinLockIrqSaveGuard<'a, T> = LockGuard<'a, SpinMask, T>;
/// The task is not preempted while it is held, in every model: for the scheduler and what lies below it.
///
/// ```
/// let lock = stint::locking::RawSpinLock::new(0);
/// stint::percpu::smp_processor_id(&lock.lock());
/// ```
pub type RawSpinLock<T> = Lock<RawCount, T>;
/// Holds a [`RawSpinLock`].
pub type RawSpinLockGuard<'a, T> = LockGuard<'a, RawCount, T>;
/// IRQs are masked while it is held, in every model: for data that a hard interrupt handler touches.
pub type RawSpinLockIrqSave<T> = Lock<RawMask, T>;
/// Holds a [`RawSpinLockIrqSave`].
pub type RawSpinLockIrqSaveGuard<'a, T> = LockGuard<'a, RawMask, T>;

/// A lock around a value; see the aliases.
// The word comes first, so that its address is the lock's and is not computed where there is no word.
#[repr(C)]
pub struct Lock<K: Kind, T: ?Sized> {
    words: K::Words,
    data: UnsafeCell<T>,
}

// SAFETY: the lock gives one holder at a time access to the data.
unsafe impl<K: Kind, T: ?Sized + Send> Sync for Lock<K, T> {}
// SAFETY: owning the lock is owning the data.
unsafe impl<K: Kind, T: ?Sized + Send> Send for Lock<K, T> {}

/// Holds a lock; dropping it releases the lock and **may switch to another task**.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct LockGuard<'a, K: Kind, T: ?Sized> {
    lock: &'a Lock<K, T>,
    state: K::State,
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: in every model preemption is off or interrupts are masked while the guard lives; it is not `Send`.
unsafe impl<T: ?Sized> NonPreemptible for LockGuard<'_, RawCount, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized> NonPreemptible for LockGuard<'_, RawMask, T> {}

/// One function for each kind and not one for all: a message names a lock by the place of this call, and a constant of
/// a trait has no caller.
macro_rules! open_lock {
    ($kind:ty) => {
        impl<T> Lock<$kind, T> {
            /// An open lock around `value`.
            #[must_use]
            #[track_caller]
            pub const fn new(value: T) -> Self {
                Self { words: <$kind>::open(), data: UnsafeCell::new(value) }
            }
        }
    };
}
open_lock!(Spin);
open_lock!(SpinMask);
open_lock!(RawCount);
open_lock!(RawMask);

impl<K: Kind, T: ?Sized> Lock<K, T> {
    /// Takes the lock: in FIFO order where it spins, in the order of importance where it sleeps.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> LockGuard<'_, K, T> {
        let state = K::lock(&self.words);
        LockGuard { lock: self, state, _not_send: PhantomData }
    }

    /// Takes the lock if it is free at once. (Where it spins and there is one CPU it always is: whoever could hold
    /// it cannot have been preempted.)
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(&self) -> Option<LockGuard<'_, K, T>> {
        let state = K::try_lock(&self.words)?;
        Some(LockGuard { lock: self, state, _not_send: PhantomData })
    }
}

impl<K: Kind, T: ?Sized> LockBreak for LockGuard<'_, K, T> {
    fn is_contended(&self) -> bool {
        K::is_contended(&self.lock.words)
    }

    #[cfg_attr(debug_assertions, track_caller)]
    fn released(&mut self, between: impl FnOnce()) {
        // SAFETY: the guard holds the lock; `&mut self` says that nobody has a reference into the data, and
        // nobody can get one through the guard before it is taken again. (The kernel does not unwind: there is no
        // way out of `between` but its end.)
        unsafe { K::unlock(&self.lock.words, self.state) };
        between();
        self.state = K::lock(&self.lock.words);
    }
}

impl<K: Kind, T: ?Sized> Deref for LockGuard<'_, K, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.data.get() }
    }
}

impl<K: Kind, T: ?Sized> DerefMut for LockGuard<'_, K, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, alone.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<K: Kind, T: ?Sized> Drop for LockGuard<'_, K, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the guard holds the lock.
        unsafe { K::unlock(&self.lock.words, self.state) };
    }
}

impl<K: Kind, T: ?Sized> fmt::Debug for Lock<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}
