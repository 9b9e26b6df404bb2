//! The counting semaphore.
//!
//! `give` hands a unit straight to the most important waiter; the count only moves when nobody waits.
//! Context: `give` and `try_take` from any; `take` from threads.

use super::{SchedLock, SchedLockGuard};
use crate::error::{Error, Result};
use crate::plist::PlistHead;
use crate::preempt;
use crate::sched::core as sched;
use crate::sched::wait::{self, Timeout};
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use core::cell::Cell;
use core::ptr;

/// A counting semaphore with a limit.
pub struct Semaphore {
    inner: SchedLock<Inner>,
    limit: u32,
}

struct Inner {
    count: Cell<u32>,
    waiters: PlistHead,
}

impl Semaphore {
    /// A semaphore holding `count` units and no limit but `u32::MAX`.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self::with_limit(count, u32::MAX)
    }

    /// A semaphore that refuses to hold more than `limit` units.
    #[must_use]
    pub const fn with_limit(count: u32, limit: u32) -> Self {
        assert!(count <= limit);
        Self { inner: SchedLock::new(Inner { count: Cell::new(count), waiters: PlistHead::new() }), limit }
    }

    /// Adds a unit, or wakes the most important waiter with it; may switch to that task.
    ///
    /// # Errors
    /// [`Error::Full`] at the limit.
    #[inline]
    pub fn give(&self) -> Result<()> {
        let inner = self.inner.lock();
        let count = inner.count.get();
        // With units left nobody waits, so the two tests are one for the common case.
        if inner.waiters.is_empty() && count != self.limit {
            inner.count.set(count + 1);
            inner.unlock_no_resched();
            return Ok(());
        }
        if static_branch::<SMP_LOCKS>() { give_slow_smp(inner) } else { give_slow(inner) }
    }

    /// Takes a unit, waiting for one if there is none.
    #[inline]
    pub fn take(&self) {
        preempt::might_resched();
        let inner = self.inner.lock();
        let count = inner.count.get();
        if count != 0 {
            inner.count.set(count - 1);
            inner.unlock_no_resched();
            return;
        }
        if static_branch::<SMP_LOCKS>() { take_slow_smp(inner) } else { take_slow(inner) }
    }

    /// Takes a unit, waiting as `timeout` says.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::WouldBlock`] for [`Timeout::Now`].
    pub fn take_timeout(&self, timeout: Timeout) -> Result<()> {
        let inner = self.inner.lock();
        let count = inner.count.get();
        if count != 0 {
            inner.count.set(count - 1);
            inner.unlock_no_resched();
            return Ok(());
        }
        wait::block_for(inner, |i| &i.waiters, ptr::null_mut(), timeout)
    }

    /// Takes a unit if there is one.
    ///
    /// # Errors
    /// [`Error::WouldBlock`].
    #[inline]
    pub fn try_take(&self) -> Result<()> {
        self.take_timeout(Timeout::Now)
    }

    /// The units there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        let inner = self.inner.lock();
        let count = inner.count.get();
        inner.unlock_no_resched();
        count
    }
}

/// Hands the unit to the most important waiter, or refuses it at the limit.
///
/// Where interrupts were masked, as in their handlers, there is nobody to switch to. What is left of it for a single waiter
/// calls nothing and has no frame; everything else is `give_at_length`.
#[inline(never)]
fn give_slow(inner: SchedLockGuard<'_, Inner>) -> Result<()> {
    if !irqflags::irqs_disabled_flags(inner.flags()) {
        return give_at_length(inner);
    }
    match wait::only(&inner.waiters) {
        Some(task) if sched::is_plain_wakeup(task) => {
            wait::grant_plain_and_unlock_masked(inner, |i| &i.waiters, task);
            Ok(())
        }
        _ => give_at_length(inner),
    }
}

/// [`give_slow`] in general.
#[inline(never)]
fn give_at_length(inner: SchedLockGuard<'_, Inner>) -> Result<()> {
    give_to_first::<false>(inner)
}

/// [`give_slow`] where there are several CPUs.
#[inline(never)]
fn give_slow_smp(inner: SchedLockGuard<'_, Inner>) -> Result<()> {
    give_to_first::<true>(inner)
}

#[inline(always)]
fn give_to_first<const SMP: bool>(inner: SchedLockGuard<'_, Inner>) -> Result<()> {
    if let Some(task) = wait::first(&inner.waiters) {
        if SMP {
            wait::grant_and_unlock_smp(inner, |i| &i.waiters, task);
        } else {
            wait::grant_and_unlock_alone(inner, |i| &i.waiters, task);
        }
        return Ok(());
    }
    inner.unlock_no_resched();
    Err(Error::Full)
}

/// Waits for a unit.
#[inline(never)]
fn take_slow(inner: SchedLockGuard<'_, Inner>) {
    wait::block_alone(inner, |i| &i.waiters, ptr::null_mut());
}

/// [`take_slow`] where there are several CPUs.
#[inline(never)]
fn take_slow_smp(inner: SchedLockGuard<'_, Inner>) {
    wait::block_smp(inner, |i| &i.waiters, ptr::null_mut());
}
