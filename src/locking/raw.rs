//! The lock word: a FIFO ticket lock (`arch::ticket`) that is only there when more than one CPU is.
//!
//! First come, first served: with N CPUs at most N − 1 sections go before mine, and none that came later. On one CPU the
//! marker is the lock, and a lock and its release are a `nop` each; with a word they are six instructions and three, and
//! two branches, out of the way of the one-CPU path.
//!
//! Debug builds know who holds it (`holder`), and its order among the locks (`dep`).
//!
//! The caller has preemption off or IRQs masked *before* it takes a ticket: a ticket holder that is
//! switched away would stall every CPU behind it.

use super::dep::Dep;
#[cfg(debug_assertions)]
use super::holder::Holder;
use arch::patch::{SMP_LOCKS, static_branch};
use arch::ticket::TicketLock;

/// Waits with `yield`: `spin_loop()` is an `isb` on AArch64, on which QEMU does not let another CPU run.
#[cfg(debug_assertions)]
pub(crate) struct Yield;

#[cfg(debug_assertions)]
impl spin::relax::RelaxStrategy for Yield {
    #[inline(always)]
    fn relax() {
        arch::cpu::relax();
    }
}

/// See the module's text. The word comes first, here and in what has one of these: then its address is at hand and
/// costs nothing where it is not needed.
#[repr(C)]
pub(crate) struct RawLock {
    word: TicketLock,
    #[cfg(debug_assertions)]
    holder: Holder,
    dep: Dep,
}

impl RawLock {
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) const fn new() -> Self {
        Self {
            dep: Dep::raw(),
            word: TicketLock::new(),
            #[cfg(debug_assertions)]
            holder: Holder::none(),
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
        #[cfg(debug_assertions)]
        self.holder.lock(&self.word, self.dep.made_at());
        #[cfg(not(debug_assertions))]
        self.word.lock_if::<SMP_LOCKS>();
    }

    /// [`Self::lock`] of a lock that lies `OFFSET` bytes into `outer`, whose address is at hand: the lock's own is
    /// computed where there is a word, and nowhere else.
    ///
    /// # Safety
    /// This lock is there.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) unsafe fn lock_in<T, const OFFSET: usize>(&self, outer: &T) {
        debug_assert_eq!((&raw const *outer).addr() + OFFSET, (&raw const self.word).addr());
        #[cfg(debug_assertions)]
        self.lock();
        // SAFETY: passed on.
        #[cfg(not(debug_assertions))]
        unsafe {
            TicketLock::lock_if_at::<SMP_LOCKS, OFFSET>((&raw const *outer).cast());
        }
    }

    /// [`Self::unlock`] of such a lock.
    ///
    /// # Safety
    /// This lock is there, and the caller holds it.
    #[inline(always)]
    pub(crate) unsafe fn unlock_in<T, const OFFSET: usize>(&self, outer: &T) {
        debug_assert_eq!((&raw const *outer).addr() + OFFSET, (&raw const self.word).addr());
        self.unlock_without_word();
        // SAFETY: passed on.
        unsafe { TicketLock::unlock_if_at::<SMP_LOCKS, OFFSET>((&raw const *outer).cast()) };
    }

    /// [`Self::lock`] where not even the address of the lock may cost anything (a static's would), or a scratch register:
    /// the word is a call away.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(super) fn lock_by_call(&self) {
        #[cfg(debug_assertions)]
        self.lock();
        #[cfg(not(debug_assertions))]
        if static_branch::<SMP_LOCKS>() {
            self.take_word();
        }
    }

    /// [`Self::unlock`] in this way.
    ///
    /// # Safety
    /// The caller holds the lock.
    #[inline(always)]
    pub(super) unsafe fn unlock_by_call(&self) {
        self.unlock_without_word();
        if static_branch::<SMP_LOCKS>() {
            // SAFETY: passed on.
            unsafe { self.release_word() };
        }
    }

    #[cfg(not(debug_assertions))]
    #[cold]
    #[inline(never)]
    fn take_word(&self) {
        self.word.lock();
    }

    #[cold]
    #[inline(never)]
    unsafe fn release_word(&self) {
        // SAFETY: by the caller's contract: it holds the lock.
        unsafe { self.word.unlock() };
    }

    /// [`Self::lock`] on a CPU that is alone, for a caller that has asked.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn lock_without_word(&self) {
        self.dep.acquire();
        #[cfg(debug_assertions)]
        self.holder.lock(&self.word, self.dep.made_at());
    }

    /// [`Self::lock`] where there are lock words, for a caller that has asked.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn lock_word(&self) {
        #[cfg(debug_assertions)]
        self.lock();
        #[cfg(not(debug_assertions))]
        self.word.lock();
    }

    /// [`Self::lock`] of the second of two locks that were made at one place, in an order that the caller keeps: the
    /// validation cannot tell the two apart, and would see a lock taken twice.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn lock_second(&self) {
        #[cfg(debug_assertions)]
        self.holder.lock(&self.word, self.dep.made_at());
        #[cfg(not(debug_assertions))]
        self.word.lock_if::<SMP_LOCKS>();
        self.dep.acquired_by_trying();
    }

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn try_lock(&self) -> bool {
        #[cfg(debug_assertions)]
        let taken = self.holder.try_lock(&self.word, self.dep.made_at());
        #[cfg(not(debug_assertions))]
        let taken = !static_branch::<SMP_LOCKS>() || self.word.try_lock();
        if taken {
            self.dep.acquired_by_trying();
        }
        taken
    }

    /// # Safety
    /// The caller holds the lock.
    #[inline(always)]
    pub(crate) unsafe fn unlock(&self) {
        self.dep.release();
        #[cfg(debug_assertions)]
        self.holder.clear();
        // SAFETY: passed on.
        unsafe { self.word.unlock_if::<SMP_LOCKS>() };
    }

    /// The release on a CPU that is alone, for a caller that has asked.
    #[inline(always)]
    pub(crate) fn unlock_without_word(&self) {
        self.dep.release();
        #[cfg(debug_assertions)]
        self.holder.clear();
    }

    /// The release of a word that is there, for a caller that has asked.
    ///
    /// # Safety
    /// The caller holds the lock, and there are lock words.
    #[inline(always)]
    pub(crate) unsafe fn unlock_word(&self) {
        self.unlock_without_word();
        // SAFETY: passed on.
        unsafe { self.word.unlock() };
    }

    /// [`Self::unlock_word`] of a lock that lies `OFFSET` bytes into `outer`.
    ///
    /// # Safety
    /// This lock is there, the caller holds it, and there are lock words.
    #[inline(always)]
    pub(crate) unsafe fn unlock_word_in<T, const OFFSET: usize>(&self, outer: &T) {
        debug_assert_eq!((&raw const *outer).addr() + OFFSET, (&raw const self.word).addr());
        self.unlock_without_word();
        // SAFETY: passed on.
        unsafe { TicketLock::unlock_at::<OFFSET>((&raw const *outer).cast()) };
    }

    /// Whether another CPU waits for it, for who holds it. On one CPU nobody can: the section is not preempted.
    #[inline(always)]
    pub(crate) fn is_contended(&self) -> bool {
        static_branch::<SMP_LOCKS>() && self.word.is_contended()
    }

    /// The lock goes over to the next task of this CPU, with the switch that the caller makes: from here on it is
    /// not the running task's. (It is still this CPU's.)
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
}
