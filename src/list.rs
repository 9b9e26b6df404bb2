//! Intrusive doubly linked list: the run queues of the RT class, and any
//! other list that must never allocate.
//!
//! The nodes form a ring among themselves and the head is one pointer to the
//! first of them; the node before the first is the last. The head is *not*
//! part of the ring. Three things follow, and they are why it is built so:
//!
//! * an empty head is a null pointer, so an array of heads is a constant and
//!   lives in `.bss`; nothing has to be initialised at boot;
//! * no node points at a head, so a structure that owns heads can be moved;
//! * the common case of a run queue, one task alone at its priority, is linked
//!   with one pair store and unlinked with one compare.
//!
//! Invariant: `first` is null, or every node reachable from it satisfies
//! `n.next.prev == n` and `n.prev.next == n`.
//!
//! Contexts: any. Locks: none taken; the owner of the head serialises all
//! access to it and to the links of the nodes on it.

use core::cell::Cell;
use core::ptr::{self, NonNull};

/// What an object embeds to be on a list. One link, one list at a time.
#[derive(Debug)]
#[repr(C)]
pub struct Link {
    next: Cell<*const Link>,
    prev: Cell<*const Link>,
}

// SAFETY: a link that is on no list is two inert words; one that is on a list
// is only touched under the lock of that list's owner (contract of the
// `unsafe` operations below), whichever thread holds it.
unsafe impl Send for Link {}

impl Link {
    /// A link that is on no list.
    pub const fn new() -> Self {
        Self { next: Cell::new(ptr::null()), prev: Cell::new(ptr::null()) }
    }

    /// True while this link is the only one on its list.
    ///
    /// Only meaningful while the link is on a list.
    #[inline(always)]
    pub fn is_alone(&self) -> bool {
        ptr::eq(self.next.get(), self)
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

/// The owner's end of a list.
#[derive(Debug)]
#[repr(transparent)]
pub struct ListHead {
    first: Cell<*const Link>,
}

// SAFETY: as for `Link`: the nodes behind the pointer are only reached under
// the lock that guards the head.
unsafe impl Send for ListHead {}

impl Default for ListHead {
    fn default() -> Self {
        Self::new()
    }
}

impl ListHead {
    /// An empty list.
    pub const fn new() -> Self {
        Self { first: Cell::new(ptr::null()) }
    }

    /// True when nothing is on the list.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// The first node, if there is one.
    #[inline(always)]
    pub fn first(&self) -> Option<NonNull<Link>> {
        NonNull::new(self.first.get().cast_mut())
    }

    /// Puts `node` behind all others.
    ///
    /// # Safety
    /// `node` points to a link that is on no list, does not move and is not
    /// freed until `del` has taken it off this list, and the caller holds
    /// whatever lock guards this list. The pointer's provenance must cover
    /// every access the caller later makes through what `first` returns.
    #[inline(always)]
    pub unsafe fn add_tail(&self, node: NonNull<Link>) {
        let raw: *const Link = node.as_ptr();
        let first = self.first.get();
        // SAFETY: `node` is valid by contract; `first` and its `prev` are on
        // this list, so their owners have made the same promise for them.
        unsafe {
            debug_assert!((*raw).next.get().is_null(), "list: adding a node that is already linked");
            if first.is_null() {
                (*raw).next.set(raw);
                (*raw).prev.set(raw);
                self.first.set(raw);
            } else {
                let last = (*first).prev.get();
                (*raw).next.set(first);
                (*raw).prev.set(last);
                (*last).next.set(raw);
                (*first).prev.set(raw);
            }
        }
    }

    /// Puts `node` in front of all others.
    ///
    /// # Safety
    /// As for [`Self::add_tail`].
    #[inline(always)]
    pub unsafe fn add_head(&self, node: NonNull<Link>) {
        // SAFETY: same contract. In a ring the place behind the last is the
        // place before the first: only the head's pointer differs.
        unsafe { self.add_tail(node) };
        self.first.set(node.as_ptr());
    }

    /// Takes `node` off the list; true when the list is empty afterwards.
    ///
    /// # Safety
    /// `node` is on *this* list, and the caller holds the lock that guards it.
    #[inline(always)]
    pub unsafe fn del(&self, node: NonNull<Link>) -> bool {
        let raw: *const Link = node.as_ptr();
        // SAFETY: `node` is on this list, so it and both neighbours are valid.
        unsafe {
            let next = (*raw).next.get();
            debug_assert!(!next.is_null(), "list: deleting a node that is not linked");
            let emptied = ptr::eq(next, raw);
            if emptied {
                debug_assert!(ptr::eq(self.first.get(), raw), "list: deleting a node of another list");
                self.first.set(ptr::null());
            } else {
                let prev = (*raw).prev.get();
                (*prev).next.set(next);
                (*next).prev.set(prev);
                if ptr::eq(self.first.get(), raw) {
                    self.first.set(next);
                }
            }
            // Release builds leave the stale links: nobody reads them.
            if cfg!(debug_assertions) {
                (*raw).next.set(ptr::null());
                (*raw).prev.set(ptr::null());
            }
            emptied
        }
    }

    /// Moves `node`, wherever it is on the list, behind all others.
    ///
    /// # Safety
    /// As for [`Self::del`].
    #[inline(always)]
    pub unsafe fn move_tail(&self, node: NonNull<Link>) {
        let raw: *const Link = node.as_ptr();
        // SAFETY: `node` is on this list.
        unsafe {
            if ptr::eq(self.first.get(), raw) {
                // Turning the ring by one makes the first the last.
                self.first.set((*raw).next.get());
            } else {
                self.del(node);
                self.add_tail(node);
            }
        }
    }

    /// Moves `node` behind all others if it is the first, and returns who is first then. Otherwise it does nothing.
    ///
    /// # Safety
    /// As for [`Self::del`].
    #[inline(always)]
    pub unsafe fn turn(&self, node: NonNull<Link>) -> Option<NonNull<Link>> {
        if !ptr::eq(self.first.get(), node.as_ptr()) {
            return None;
        }
        // SAFETY: `node` is on this list, so its neighbour is there.
        let next = unsafe { NonNull::new_unchecked(node.as_ref().next.get().cast_mut()) };
        self.first.set(next.as_ptr());
        Some(next)
    }

    /// Visits the nodes from first to last.
    ///
    /// # Safety
    /// Until the iterator is dropped the list does not change and the lock
    /// that guards it stays held.
    pub unsafe fn iter(&self) -> Iter {
        let first = self.first.get();
        Iter { first, next: first }
    }

    /// The nodes behind `node`, or all of them for `None`.
    ///
    /// # Safety
    /// As [`Self::iter`]; `node` is on this list.
    pub unsafe fn iter_after(&self, node: Option<NonNull<Link>>) -> Iter {
        // SAFETY: passed on.
        let mut iter = unsafe { self.iter() };
        if let Some(node) = node {
            iter.next = node.as_ptr().cast_const();
            iter.next();
        }
        iter
    }
}

/// Iterator over a [`ListHead`]; bounded by the number of nodes.
#[derive(Debug)]
pub struct Iter {
    first: *const Link,
    next: *const Link,
}

impl Iterator for Iter {
    type Item = NonNull<Link>;

    fn next(&mut self) -> Option<Self::Item> {
        let node = NonNull::new(self.next.cast_mut())?;
        // SAFETY: the list is unchanged while the iterator lives (contract of
        // `iter`), so `node` is on it and its `next` is set.
        let after = unsafe { node.as_ref() }.next.get();
        self.next = if ptr::eq(after, self.first) { ptr::null() } else { after };
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{boxed::Box, collections::VecDeque, vec::Vec};

    fn order(head: &ListHead) -> Vec<*const Link> {
        // SAFETY: single-threaded test, nothing changes while iterating.
        unsafe { head.iter() }.map(|n| n.as_ptr().cast_const()).collect()
    }

    #[test]
    fn empty_list_is_all_zeroes_and_has_no_first() {
        let head = ListHead::new();
        assert!(head.is_empty());
        assert!(head.first().is_none());
        assert!(order(&head).is_empty());
    }

    #[test]
    fn a_lone_node_knows_that_it_is_alone() {
        let head = ListHead::new();
        let (a, b) = (Box::new(Link::new()), Box::new(Link::new()));
        // SAFETY: both boxes outlive the list and do not move.
        unsafe {
            head.add_tail(NonNull::from(&*a));
            assert!(a.is_alone());
            head.add_tail(NonNull::from(&*b));
            assert!(!a.is_alone() && !b.is_alone());
            assert!(!head.del(NonNull::from(&*a)));
            assert!(b.is_alone());
            assert!(head.del(NonNull::from(&*b)), "the last deletion says that the list is empty");
        }
        assert!(head.is_empty());
    }

    proptest! {
        #[test]
        fn any_sequence_of_operations_matches_a_deque(ops in prop::collection::vec((0u8..4, 0usize..8), 0..400)) {
            let nodes: Vec<Box<Link>> = (0..8).map(|_| Box::new(Link::new())).collect();
            let head = ListHead::new();
            let mut model: VecDeque<usize> = VecDeque::new();
            for (op, i) in ops {
                let node = NonNull::from(&*nodes[i]);
                let on = model.contains(&i);
                // SAFETY: the model says whether the node is on the list; the
                // boxes outlive the head.
                unsafe {
                    match op {
                        0 if !on => { head.add_tail(node); model.push_back(i); }
                        1 if !on => { head.add_head(node); model.push_front(i); }
                        2 if on => {
                            model.retain(|&k| k != i);
                            prop_assert_eq!(head.del(node), model.is_empty());
                        }
                        3 if on => { head.move_tail(node); model.retain(|&k| k != i); model.push_back(i); }
                        _ => {}
                    }
                }
                let expected: Vec<*const Link> = model.iter().map(|&k| &raw const *nodes[k]).collect();
                prop_assert_eq!(order(&head), expected);
                for w in model.iter().zip(model.iter().skip(1)) {
                    prop_assert!(ptr::eq(nodes[*w.1].prev.get(), &raw const *nodes[*w.0]));
                }
            }
        }
    }
}
