//! The lock word: a FIFO ticket lock that is only there when more than one CPU is.
//!
//! The caller has preemption off or IRQs masked *before* it takes a ticket: a ticket holder that is
//! switched away would stall every CPU behind it.

use super::dep::Dep;
use arch::patch::{SMP_LOCKS, static_branch};
#[cfg(debug_assertions)]
use core::sync::atomic::{AtomicBool, Ordering};
use spin::relax::RelaxStrategy;

/// Waits with `yield`: `spin_loop()` is an `isb` on AArch64, on which QEMU does not let another CPU run.
pub(crate) struct Yield;

impl RelaxStrategy for Yield {
    #[inline(always)]
    fn relax() {
        arch::cpu::relax();
    }
}

/// See the module's text.
pub(crate) struct RawLock {
    ticket: spin::mutex::TicketMutex<(), Yield>,
    /// Where there is no lock word: what it would say. A lock that is taken twice gives two exclusive
    /// references instead of a standstill, so debug builds look.
    #[cfg(debug_assertions)]
    held: AtomicBool,
    dep: Dep,
}

impl RawLock {
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) const fn new() -> Self {
        Self {
            dep: Dep::raw(),
            ticket: spin::mutex::TicketMutex::new(()),
            #[cfg(debug_assertions)]
            held: AtomicBool::new(false),
        }
    }

    /// The word of a lock that sleeps in some models.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(super) const fn that_may_sleep() -> Self {
        Self { dep: Dep::spin(), ..Self::new() }
    }

    /// For such a lock, where it sleeps.
    #[inline(always)]
    pub(super) fn dep(&self) -> &Dep {
        &self.dep
    }

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn lock(&self) {
        self.dep.acquire();
        if static_branch::<SMP_LOCKS>() {
            return self.lock_word();
        }
        #[cfg(debug_assertions)]
        self.mark_held();
    }

    /// [`Self::lock`] on a CPU that is alone, for a caller that has asked.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn lock_without_word(&self) {
        self.dep.acquire();
        #[cfg(debug_assertions)]
        self.mark_held();
    }

    /// [`Self::lock`] of the second of two locks that were made at one place, in an order that the caller keeps: the
    /// validation cannot tell the two apart, and would see a lock taken twice.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn lock_second(&self) {
        if static_branch::<SMP_LOCKS>() {
            self.lock_word();
        } else {
            #[cfg(debug_assertions)]
            self.mark_held();
        }
        self.dep.acquired_by_trying();
    }

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn try_lock(&self) -> bool {
        if static_branch::<SMP_LOCKS>() && !self.try_lock_word() {
            return false;
        }
        self.dep.acquired_by_trying();
        #[cfg(debug_assertions)]
        if !static_branch::<SMP_LOCKS>() {
            self.mark_held();
        }
        true
    }

    /// # Safety
    /// The caller holds the lock.
    #[inline(always)]
    pub(crate) unsafe fn unlock(&self) {
        self.dep.release();
        if static_branch::<SMP_LOCKS>() {
            // SAFETY: passed on.
            return unsafe { self.unlock_word() };
        }
        #[cfg(debug_assertions)]
        self.held.store(false, Ordering::Relaxed);
    }

    /// The release on a CPU that is alone, for a caller that has asked.
    #[inline(always)]
    pub(crate) fn unlock_without_word(&self) {
        self.dep.release();
        #[cfg(debug_assertions)]
        self.held.store(false, Ordering::Relaxed);
    }

    /// The lock goes over to the next task of this CPU, with the switch that the caller makes: from here on it is
    /// not the running task's.
    #[inline(always)]
    pub(crate) fn hand_over(&self) {
        self.dep.release();
    }

    /// The other side of [`Self::hand_over`]: the lock is now the running task's.
    #[cfg(debug_assertions)]
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn taken_over(&self) {
        self.dep.acquired_by_trying();
    }

    #[cfg(debug_assertions)]
    fn mark_held(&self) {
        let was_held = self.held.swap(true, Ordering::Relaxed);
        assert!(
            !was_held,
            "a spin lock is taken twice on one CPU: by its holder, or by an interrupt that does not mask"
        );
    }

    #[cold]
    #[inline(never)]
    fn lock_word(&self) {
        core::mem::forget(self.ticket.lock());
    }

    #[cold]
    #[inline(never)]
    fn try_lock_word(&self) -> bool {
        self.ticket.try_lock().map(core::mem::forget).is_some()
    }

    #[cold]
    #[inline(never)]
    unsafe fn unlock_word(&self) {
        // SAFETY: the guard was forgotten in `lock_word`, so the lock is held and this is its release.
        unsafe { self.ticket.force_unlock() };
    }
}
