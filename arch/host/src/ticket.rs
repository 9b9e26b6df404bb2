//! The word of a spin lock, on a PC and in its model: the same protocol in two atomic halves.
//!
//! Line by line the AArch64 one: `fetch_add` of the next half is `ldaxr`, `add`, `stxr`; the load of the owner half with
//! acquire is that of the same `ldaxr`, or `ldaxrh` in the wait; the release is `stlrh`. (Here the two halves are read
//! one after the other, which allows more than one load of the word does.) The model (tests/loom) includes this file.

use super::sync::{AtomicU16, Ordering, relax};

/// See `arch/aarch64`.
#[derive(Debug)]
pub struct TicketLock {
    owner: AtomicU16,
    next: AtomicU16,
}

impl TicketLock {
    /// An open one.
    #[must_use]
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { owner: AtomicU16::new(0), next: AtomicU16::new(0) }
    }

    /// An open one, in a model.
    #[must_use]
    #[cfg(loom)]
    pub fn new() -> Self {
        Self { owner: AtomicU16::new(0), next: AtomicU16::new(0) }
    }

    /// Takes it.
    pub fn lock(&self) {
        let mine = self.take_ticket();
        while !self.is_served(mine) {
            relax();
        }
    }

    /// Takes it if nobody has it and nobody waits.
    #[must_use]
    pub fn try_lock(&self) -> bool {
        let served = self.owner.load(Ordering::Acquire);
        // Nobody has been given the ticket that is served, so nobody has the lock.
        self.next
            .compare_exchange(served, served.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Serves the next one.
    ///
    /// # Safety
    /// The caller holds it.
    pub unsafe fn unlock(&self) {
        let mine = self.owner.load(Ordering::Relaxed);
        self.owner.store(mine.wrapping_add(1), Ordering::Release);
    }

    /// [`Self::lock`] in two steps.
    #[must_use]
    pub fn take_ticket(&self) -> u16 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether who has this ticket has the lock.
    #[must_use]
    pub fn is_served(&self, ticket: u16) -> bool {
        self.owner.load(Ordering::Acquire) == ticket
    }

    /// Whether somebody has it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.tickets_out() != 0
    }

    /// Whether somebody waits, for who has it.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.tickets_out() > 1
    }

    /// How many have it or wait for it.
    #[must_use]
    pub fn tickets_out(&self) -> u16 {
        let next = self.next.load(Ordering::Relaxed);
        next.wrapping_sub(self.owner.load(Ordering::Relaxed))
    }
}

/// The sites: on a PC, a test of the flag.
#[cfg(not(loom))]
impl TicketLock {
    /// [`Self::lock`] while `KEY` is on.
    pub fn lock_if<const KEY: u32>(&self) {
        if crate::patch::static_branch::<KEY>() {
            self.lock();
        }
    }

    /// [`Self::lock_if`] of the one at an offset.
    ///
    /// # Safety
    /// There is one.
    pub unsafe fn lock_if_at<const KEY: u32, const OFFSET: usize>(base: *const u8) {
        // SAFETY: by contract.
        unsafe { &*base.add(OFFSET).cast::<Self>() }.lock_if::<KEY>();
    }

    /// [`Self::unlock_if`] of the one at an offset.
    ///
    /// # Safety
    /// There is one, and if the key is on the caller holds it.
    pub unsafe fn unlock_if_at<const KEY: u32, const OFFSET: usize>(base: *const u8) {
        // SAFETY: by contract.
        unsafe { (*base.add(OFFSET).cast::<Self>()).unlock_if::<KEY>() };
    }

    /// [`Self::unlock`] of the one at an offset.
    ///
    /// # Safety
    /// There is one, and the caller holds it.
    pub unsafe fn unlock_at<const OFFSET: usize>(base: *const u8) {
        // SAFETY: by contract.
        unsafe { (*base.add(OFFSET).cast::<Self>()).unlock() };
    }

    /// [`Self::unlock`] while `KEY` is on.
    ///
    /// # Safety
    /// The caller holds it, if the key is on.
    pub unsafe fn unlock_if<const KEY: u32>(&self) {
        if crate::patch::static_branch::<KEY>() {
            // SAFETY: by contract.
            unsafe { self.unlock() };
        }
    }
}

impl Default for TicketLock {
    fn default() -> Self {
        Self::new()
    }
}
