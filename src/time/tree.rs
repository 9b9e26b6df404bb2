//! Pending timers in the order of their expiry: a red-black tree with its first expiry at hand.
//!
//! Equal ones come in the order in which they were started. A timer is a node of the tree and allocates
//! nothing. Asking for the first expiry is one load; a new first is inserted without a search, everything
//! else in O(log n).
//!
//! Invariant: `first_ns` is the expiry of the first timer of the tree, `u64::MAX` if there is none.
//! Context: one caller at a time, under the lock of whoever owns the tree.

use super::hrtimer::Hrtimer;
use core::cell::{Cell, UnsafeCell};
use core::ptr::{self, NonNull};
use intrusive_collections::{Bound, KeyAdapter, RBTree, RBTreeLink, UnsafeRef, intrusive_adapter};

intrusive_adapter!(ByExpiry = UnsafeRef<Hrtimer>: Hrtimer { link => RBTreeLink });
impl<'a> KeyAdapter<'a> for ByExpiry {
    type Key = u64;
    #[inline(always)]
    fn get_key(&self, timer: &'a Hrtimer) -> u64 {
        timer.expires_ns()
    }
}

/// See the module's text.
pub(super) struct TimerTree {
    first_ns: Cell<u64>,
    // Not `Sync`, and no reference into it leaves this file: none of its operations calls anybody who could
    // come back here. So each has it alone.
    tree: UnsafeCell<RBTree<ByExpiry>>,
}

impl TimerTree {
    pub(super) const fn new() -> Self {
        Self { first_ns: Cell::new(u64::MAX), tree: UnsafeCell::new(RBTree::new(ByExpiry::NEW)) }
    }

    /// When the first timer is due; `u64::MAX` if there is none.
    #[inline(always)]
    pub(super) fn first_ns(&self) -> u64 {
        self.first_ns.get()
    }

    /// Puts `timer` behind all that are due at its expiry or before. Returns whether it is the first now.
    ///
    /// # Safety
    /// The timer is in no tree, and stays alive and where it is while it is in this one.
    #[inline(always)]
    pub(super) unsafe fn insert(&self, timer: &Hrtimer) -> bool {
        let expires_ns = timer.expires_ns();
        // SAFETY: alone, see the field.
        let tree = unsafe { &mut *self.tree.get() };
        // SAFETY: by contract it outlives its place in the tree.
        let node = unsafe { UnsafeRef::from_raw(ptr::from_ref(timer)) };
        let is_first = expires_ns < self.first_ns.get();
        if is_first {
            // No search.
            self.first_ns.set(expires_ns);
            tree.front_mut().insert_before(node);
        } else {
            tree.upper_bound_mut(Bound::Included(&expires_ns)).insert_after(node);
        }
        is_first
    }

    /// Takes `timer` off. Returns whether another expiry is the first now, or none.
    ///
    /// # Safety
    /// It is in this tree.
    #[inline(always)]
    pub(super) unsafe fn remove(&self, timer: &Hrtimer) -> bool {
        // SAFETY: alone, see the field.
        let tree = unsafe { &mut *self.tree.get() };
        // SAFETY: linked into this tree by contract.
        unsafe { tree.cursor_mut_from_ptr(ptr::from_ref(timer)) }.remove();
        let was_first = timer.expires_ns() == self.first_ns.get();
        if was_first {
            self.first_ns.set(tree.front().get().map_or(u64::MAX, Hrtimer::expires_ns));
        }
        was_first
    }

    /// Takes the first timer off that is `wanted`. O(those that are not).
    pub(super) fn pop_where(&self, wanted: impl Fn(&Hrtimer) -> bool) -> Option<NonNull<Hrtimer>> {
        // SAFETY: alone, see the field; `wanted` looks at the timer.
        let tree = unsafe { &mut *self.tree.get() };
        let mut cursor = tree.front_mut();
        while !wanted(cursor.get()?) {
            cursor.move_next();
        }
        let timer = cursor.remove()?;
        self.first_ns.set(tree.front().get().map_or(u64::MAX, Hrtimer::expires_ns));
        NonNull::new(UnsafeRef::into_raw(timer))
    }

    /// Takes the first timer off if it is due.
    #[inline(always)]
    pub(super) fn pop_due(&self, now_ns: u64) -> Option<NonNull<Hrtimer>> {
        if self.first_ns.get() > now_ns {
            return None;
        }
        // SAFETY: alone, see the field.
        let tree = unsafe { &mut *self.tree.get() };
        let mut cursor = tree.front_mut();
        let timer = cursor.remove()?;
        self.first_ns.set(cursor.get().map_or(u64::MAX, Hrtimer::expires_ns));
        NonNull::new(UnsafeRef::into_raw(timer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const TIMERS: usize = 24;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        /// Start, or move, this timer to this time.
        Start(usize, u64),
        Cancel(usize),
        /// Everything due at this time, up to so many.
        Expire(u64, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..TIMERS, 0u64..40).prop_map(|(n, at)| Op::Start(n, at)),
            2 => (0..TIMERS).prop_map(Op::Cancel),
            1 => (0u64..40, 1usize..5).prop_map(|(at, most)| Op::Expire(at, most)),
        ]
    }

    proptest! {
        /// Against a list that is kept in order by hand.
        #[test]
        fn timers_come_out_by_expiry_and_equal_ones_first_started_first(ops in prop::collection::vec(op(), 1..200)) {
            let timers: Vec<Hrtimer> = (0..TIMERS).map(|_| Hrtimer::new()).collect();
            let tree = TimerTree::new();
            let mut right: Vec<(u64, usize)> = Vec::new();
            let first = |list: &Vec<(u64, usize)>| list.first().map_or(u64::MAX, |&(at, _)| at);
            for op in ops {
                let before = first(&right);
                match op {
                    Op::Start(n, at) => {
                        if let Some(place) = right.iter().position(|&(_, other)| other == n) {
                            right.remove(place);
                            // SAFETY: the list says that it is in the tree.
                            unsafe { tree.remove(&timers[n]) };
                        }
                        let before = first(&right);
                        timers[n].set_expires_ns(at);
                        let place = right.partition_point(|&(other, _)| other <= at);
                        right.insert(place, (at, n));
                        // SAFETY: taken off above; the vector outlives the tree's use.
                        let is_first = unsafe { tree.insert(&timers[n]) };
                        prop_assert_eq!(is_first, at < before);
                    }
                    Op::Cancel(n) => {
                        if let Some(place) = right.iter().position(|&(_, other)| other == n) {
                            let (at, _) = right.remove(place);
                            // SAFETY: as above.
                            let changed = unsafe { tree.remove(&timers[n]) };
                            prop_assert_eq!(changed, at == before);
                        }
                    }
                    Op::Expire(at, most) => {
                        for _ in 0..most {
                            let due = tree.pop_due(at).map(|timer| timer.as_ptr().cast_const());
                            let expected = (first(&right) <= at).then(|| right.remove(0).1);
                            prop_assert_eq!(due, expected.map(|n| ptr::from_ref(&timers[n])));
                        }
                    }
                }
                prop_assert_eq!(tree.first_ns(), first(&right));
            }
            while tree.pop_due(u64::MAX).is_some() {}
        }
    }
}
