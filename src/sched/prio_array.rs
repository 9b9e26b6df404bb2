//! One list of tasks per real-time priority, and a bitmap of those in use.
//!
//! A typed, safe face for [`crate::list`]: the real-time class passes
//! [`SchedRef`]s in and gets them back. This is the hottest structure of the
//! kernel (every wake-up, block and pick of a real-time task is here), so what
//! its invariants prove is not checked again: no bounds, no emptiness.
//!
//! Invariants: bit p is set iff list p is not empty. A task is in at most one
//! array, on the list of its `prio`; callers (`rt` only) take it out before
//! its priority changes, and pass only tasks of the real-time class, whose
//! `prio` is 0..100 because `SchedAttr` can make no other.
//!
//! Everything is O(1) but `iter`. Contexts and locks: as for the run queue:
//! any, under its lock.

use core::hint::assert_unchecked;

use super::entity::SchedRef;
use super::prio::MAX_RT_PRIO;
use crate::list::ListHead;

const LISTS: usize = MAX_RT_PRIO as usize;

/// The lists and the bitmap.
#[derive(Debug)]
#[repr(C)]
pub(super) struct PrioArray {
    lists: [ListHead; LISTS],
    /// Priority 0 is the top bit of the first word, so that the most important
    /// one is found by counting leading zeroes, without a bit reversal.
    bitmap: [u64; 2],
}

impl PrioArray {
    pub(super) const fn new() -> Self {
        Self { lists: [const { ListHead::new() }; LISTS], bitmap: [0; 2] }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        (self.bitmap[0] | self.bitmap[1]) == 0
    }

    /// The most important priority in use; 128 when none is.
    #[inline(always)]
    pub(super) fn highest_prio(&self) -> i32 {
        let [high, low] = self.bitmap;
        (if high != 0 { high.leading_zeros() } else { 64 + low.leading_zeros() }) as i32
    }

    /// Head of the most important list that is not empty.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<SchedRef> {
        let [high, low] = self.bitmap;
        if high != 0 {
            Some(self.head(high.leading_zeros() as usize))
        } else if low != 0 {
            Some(self.head(64 + low.leading_zeros() as usize))
        } else {
            None
        }
    }

    /// First task of a list whose bit is set.
    #[inline(always)]
    fn head(&self, prio: usize) -> SchedRef {
        debug_assert!(
            prio < LISTS && !self.lists[prio].is_empty(),
            "rt: bit {prio} is set, its list is empty"
        );
        // SAFETY: bits are only set by `mark`, with a valid index, and the
        // list of a set bit is not empty (module invariant). What is on it was
        // put there from a `SchedRef`, and stays valid while queued.
        unsafe {
            assert_unchecked(prio < LISTS);
            SchedRef::of_run_list(self.lists[prio].first().unwrap_unchecked())
        }
    }

    /// The list of this priority.
    #[inline(always)]
    fn list(&self, prio: usize) -> &ListHead {
        // SAFETY: only tasks of the real-time class get here, and their
        // priority is below `LISTS` (module invariant).
        unsafe { &*self.lists.as_ptr().add(prio) }
    }

    #[inline(always)]
    pub(super) fn add_tail(&mut self, p: SchedRef) {
        let prio = prio_of(p);
        let list = self.list(prio);
        let was_empty = list.is_empty();
        // SAFETY: `p` is pinned and outlives its time in here (contract of
        // `SchedRef::new`); it is on no list (module invariant).
        unsafe { list.add_tail(p.run_list()) };
        if was_empty {
            self.mark(prio);
        }
    }

    #[inline(always)]
    pub(super) fn add_head(&mut self, p: SchedRef) {
        let prio = prio_of(p);
        // SAFETY: as in `add_tail`.
        unsafe { self.list(prio).add_head(p.run_list()) };
        self.mark(prio);
    }

    #[inline(always)]
    pub(super) fn del(&mut self, p: SchedRef) {
        let prio = prio_of(p);
        // SAFETY: `p` is on this list (module invariant).
        if unsafe { self.list(prio).del(p.run_list()) } {
            self.unmark(prio);
        }
    }

    /// Moves `p` behind its equals.
    #[inline(always)]
    pub(super) fn move_tail(&mut self, p: SchedRef) {
        // SAFETY: `p` is on this list (module invariant).
        unsafe { self.list(prio_of(p)).move_tail(p.run_list()) }
    }

    /// Moves `p` behind its equals if it is the first of them, and returns who is first then. Otherwise it does nothing.
    #[inline(always)]
    pub(super) fn turn(&mut self, p: SchedRef) -> Option<SchedRef> {
        // SAFETY: `p` is on this list (module invariant); for who is first, as in `head`.
        unsafe { self.list(prio_of(p)).turn(p.run_list()).map(|link| SchedRef::of_run_list(link)) }
    }

    // The branches below are deliberate: testing one bit is one instruction,
    // computing the word's address from the priority takes three.

    #[inline(always)]
    fn mark(&mut self, prio: usize) {
        if prio & 64 == 0 {
            self.bitmap[0] |= bit(prio);
        } else {
            self.bitmap[1] |= bit(prio);
        }
    }

    /// The bit is set, so flipping it clears it (and needs no inverted mask).
    #[inline(always)]
    fn unmark(&mut self, prio: usize) {
        if prio & 64 == 0 {
            self.bitmap[0] ^= bit(prio);
        } else {
            self.bitmap[1] ^= bit(prio);
        }
    }

    /// All tasks, most important first; for diagnostics. The borrow keeps the
    /// lists as they are: every change goes through a `&mut`.
    pub(super) fn iter(&self) -> impl Iterator<Item = SchedRef> + '_ {
        // SAFETY: nothing changes the lists while the borrow lives; what is on
        // them was put there from a `SchedRef`.
        self.lists.iter().flat_map(|list| unsafe { list.iter().map(|link| SchedRef::of_run_list(link)) })
    }

    /// True when bitmap, lists and priorities agree; walks everything.
    pub(super) fn is_consistent(&self) -> bool {
        let bits_agree = self.lists.iter().enumerate().all(|(prio, list)| {
            let is_marked = self.bitmap[prio / 64] & (1 << 63 >> (prio % 64)) != 0;
            // SAFETY: as in `iter`.
            let mut tasks = unsafe { list.iter().map(|link| SchedRef::of_run_list(link)) };
            is_marked != list.is_empty() && tasks.all(|p| p.prio() as usize == prio)
        });
        bits_agree && self.bitmap[1] << (LISTS - 64) == 0
    }
}

#[inline(always)]
fn bit(prio: usize) -> u64 {
    (1 << 63) >> (prio & 63)
}

/// The priority of `p`, as an index: extended once.
#[inline(always)]
fn prio_of(p: SchedRef) -> usize {
    let prio = p.prio() as u32 as usize;
    debug_assert!(prio < LISTS, "rt: {p:?} is no real-time task");
    prio
}
