//! The lock word: a FIFO ticket lock that is only there when more than one CPU is.
//!
//! The caller has preemption off or IRQs masked *before* it takes a ticket: a ticket holder that is
//! switched away would stall every CPU behind it.

use arch::patch::{SMP_LOCKS, static_branch};
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
}

impl RawLock {
    pub(crate) const fn new() -> Self {
        Self { ticket: spin::mutex::TicketMutex::new(()) }
    }

    #[inline(always)]
    pub(crate) fn lock(&self) {
        if static_branch::<SMP_LOCKS>() {
            self.lock_word();
        }
    }

    #[inline(always)]
    pub(crate) fn try_lock(&self) -> bool {
        if static_branch::<SMP_LOCKS>() {
            return self.try_lock_word();
        }
        true
    }

    /// # Safety
    /// The caller holds the lock.
    #[inline(always)]
    pub(crate) unsafe fn unlock(&self) {
        if static_branch::<SMP_LOCKS>() {
            // SAFETY: passed on.
            unsafe { self.unlock_word() };
        }
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
