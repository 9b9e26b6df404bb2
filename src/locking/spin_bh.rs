#![forbid(unsafe_code)]
//! `spin_lock_bh`: a spin lock and no softirqs, for data that threads share with a softirq's function.
//!
//! Bottom halves are disabled before the lock is taken and enabled after it is released: then the softirqs that
//! waited run, without the lock, and the last count comes off behind them (reference 3.6).
//!
//! Context: threads and softirqs.

use super::{SpinLock, SpinLockGuard};
use crate::irq::softirq::{BhGuard, local_bh_disable};
use core::ops::{Deref, DerefMut};

/// Holds a [`SpinLock`] with bottom halves disabled. Dropping it may run softirqs and **may switch to another task**.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct SpinLockBhGuard<'a, T: ?Sized> {
    // Dropped in this order.
    lock: SpinLockGuard<'a, T>,
    _bh: BhGuard,
}

/// Takes `lock` with bottom halves disabled.
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub fn spin_lock_bh<T: ?Sized>(lock: &SpinLock<T>) -> SpinLockBhGuard<'_, T> {
    let bh = local_bh_disable();
    SpinLockBhGuard { lock: lock.lock(), _bh: bh }
}

impl<T: ?Sized> Deref for SpinLockBhGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.lock
    }
}

impl<T: ?Sized> DerefMut for SpinLockBhGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.lock
    }
}
