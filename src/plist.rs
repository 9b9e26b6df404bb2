//! Priority list: waiters in the order in which they must be woken.
//!
//! Sorted by priority (lower number first), first come first served among
//! equals. Every wait queue of the kernel is one of these.
//!
//! Two rings run through the nodes. The *node ring* holds all of them in
//! order. The *leader ring* holds the first node of each distinct priority, so
//! an insertion steps over priorities, not over waiters. Waiters are filed
//! under [`wait_prio`], which maps everything below the RT range to one value:
//! at most 102 distinct priorities, so **an insertion takes at most 102 steps**
//! whatever the number of waiters; deletion and `first` take none. Empty, one
//! waiter, and "goes to the end" are taken care of before any stepping.
//!
//! The head is one pointer to the first node and is not part of the rings: an
//! empty head is null, so a semaphore is a constant and may be moved.
//!
//! Invariants: node ring sorted by (priority, arrival); a node is a leader iff
//! its predecessor in the list has another priority; the first is a leader.
//!
//! Contexts: any, hard IRQ included. Locks: the wait queue's own, held by the
//! caller throughout.

use core::cell::Cell;
use core::ptr::{self, NonNull};

use crate::sched::prio::{MAX_DL_PRIO, MAX_RT_PRIO};

/// Distinct values of [`wait_prio`], and so leaders of a list: `MAX_DL_PRIO` to `MAX_RT_PRIO`. (The stop task never waits.)
const PRIORITIES: i32 = MAX_RT_PRIO - MAX_DL_PRIO + 1;

/// The priority under which a waiter of kernel priority `prio` is filed: its
/// own if it is a deadline or real-time one, one common value for all others (they are
/// served in order of arrival, whatever their nice values).
#[inline(always)]
pub const fn wait_prio(prio: i32) -> i32 {
    if prio < MAX_RT_PRIO { prio } else { MAX_RT_PRIO }
}

/// What a waiter embeds, usually on its own stack.
#[derive(Debug)]
#[repr(C)]
pub struct PlistNode {
    next: Cell<*const PlistNode>,
    prev: Cell<*const PlistNode>,
    /// Null when this node is not the first of its priority.
    prio_next: Cell<*const PlistNode>,
    prio_prev: Cell<*const PlistNode>,
    prio: Cell<i32>,
}

impl PlistNode {
    /// A node that is on no list, to be filed under `prio`.
    pub const fn new(prio: i32) -> Self {
        Self {
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
            prio_next: Cell::new(ptr::null()),
            prio_prev: Cell::new(ptr::null()),
            prio: Cell::new(prio),
        }
    }

    /// The priority this node is, or will be, filed under.
    #[inline(always)]
    pub fn prio(&self) -> i32 {
        self.prio.get()
    }

    /// Files the node, which is on no list, under `prio` from now on.
    #[inline(always)]
    pub fn set_prio(&self, prio: i32) {
        debug_assert!(!self.is_queued(), "plist: a queued node changes its priority by requeue");
        self.prio.set(prio);
    }

    /// True while the node is on a list. This is how a waiter whose timeout
    /// fired finds out whether somebody has taken it off before.
    #[inline(always)]
    pub fn is_queued(&self) -> bool {
        !self.next.get().is_null()
    }

    #[inline(always)]
    fn is_leader(&self) -> bool {
        !self.prio_next.get().is_null()
    }
}

/// The owner's end of a priority list.
#[derive(Debug)]
#[repr(transparent)]
pub struct PlistHead {
    first: Cell<*const PlistNode>,
}

// SAFETY: the nodes behind the pointer are only reached through the `unsafe`
// operations, whose contract is that the lock guarding the head is held.
unsafe impl Send for PlistHead {}

impl Default for PlistHead {
    fn default() -> Self {
        Self::new()
    }
}

impl PlistHead {
    /// An empty list.
    pub const fn new() -> Self {
        Self { first: Cell::new(ptr::null()) }
    }

    /// True when nobody waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// Whether `node`, which is on this list, is alone there.
    #[inline(always)]
    pub fn is_only(&self, node: &PlistNode) -> bool {
        ptr::eq(node.next.get(), node)
    }

    /// The most important node, the longest waiting one among equals.
    #[inline(always)]
    pub fn first(&self) -> Option<NonNull<PlistNode>> {
        NonNull::new(self.first.get().cast_mut())
    }

    /// The node, if there is exactly one.
    #[inline(always)]
    pub fn only(&self) -> Option<NonNull<PlistNode>> {
        // SAFETY: what is on the list is valid.
        self.first().filter(|first| ptr::eq(unsafe { first.as_ref() }.next.get(), first.as_ptr()))
    }

    /// Files `node` behind all nodes of the same or a more important priority.
    ///
    /// Takes at most one step per distinct priority on the list.
    ///
    /// # Safety
    /// `node` is on no list, does not move and is not freed until `del` has
    /// taken it off this list; the caller holds the lock that guards the list.
    /// The pointer's provenance must cover every access the caller later makes
    /// through what `first` returns.
    #[inline(always)]
    pub unsafe fn add(&self, node: NonNull<PlistNode>) {
        let raw: *const PlistNode = node.as_ptr();
        // SAFETY: `node` is valid by contract.
        let node = unsafe { &*raw };
        debug_assert!(!node.is_queued(), "plist: adding a node that is already queued");
        if self.first.get().is_null() {
            node.next.set(raw);
            node.prev.set(raw);
            node.prio_next.set(raw);
            node.prio_prev.set(raw);
            self.first.set(raw);
        } else {
            // SAFETY: our own contract, handed on.
            unsafe { self.add_to_waiters(raw) };
        }
    }

    /// `add` when the list is not empty; out of line, so that the common case
    /// stays short where it is inlined.
    ///
    /// # Safety
    /// As for [`Self::add`], and the list is not empty.
    #[inline(never)]
    unsafe fn add_to_waiters(&self, raw: *const PlistNode) {
        let first = self.first.get();
        // SAFETY: every node on the list is valid by the contract of `add`,
        // and the rings lead only to nodes on the list.
        unsafe {
            let prio = (*raw).prio.get();
            let last = (*first).prev.get();
            // The place: before `at` in the node ring. Behind the last node is
            // the same place as before the first.
            let mut at = first;
            let mut before = last;
            if (*last).prio.get() > prio {
                // Some priority is less important, so the walk over leaders
                // ends there at the latest.
                while (*at).prio.get() <= prio {
                    // One leader for each priority.
                    arch::bound!(PRIORITIES);
                    at = (*at).prio_next.get();
                }
                before = (*at).prev.get();
                if ptr::eq(at, first) {
                    self.first.set(raw);
                }
            }
            (*raw).next.set(at);
            (*raw).prev.set(before);
            (*before).next.set(raw);
            (*at).prev.set(raw);
            // `before` is the list's last node when the new one became the
            // first; its priority then differs, as it must.
            if (*before).prio.get() == prio {
                (*raw).prio_next.set(ptr::null());
            } else {
                let leader_before = (*at).prio_prev.get();
                (*raw).prio_next.set(at);
                (*raw).prio_prev.set(leader_before);
                (*leader_before).prio_next.set(raw);
                (*at).prio_prev.set(raw);
            }
        }
    }

    /// Takes `node` off the list.
    ///
    /// # Safety
    /// `node` is on *this* list; the caller holds the lock that guards it.
    #[inline(always)]
    pub unsafe fn del(&self, node: NonNull<PlistNode>) {
        let raw: *const PlistNode = node.as_ptr();
        // SAFETY: `node` is on this list and therefore valid.
        let node = unsafe { &*raw };
        debug_assert!(node.is_queued(), "plist: deleting a node that is not queued");
        if ptr::eq(node.next.get(), raw) {
            self.first.set(ptr::null());
            node.next.set(ptr::null());
        } else {
            // SAFETY: our own contract, handed on.
            unsafe { self.del_from_waiters(raw) };
        }
    }

    /// `del` when other nodes remain.
    ///
    /// # Safety
    /// As for [`Self::del`], and `raw` is not the only node.
    #[inline(never)]
    unsafe fn del_from_waiters(&self, raw: *const PlistNode) {
        // SAFETY: as in `add_to_waiters`.
        unsafe {
            let next = (*raw).next.get();
            let prev = (*raw).prev.get();
            if (*raw).is_leader() {
                let leader_next = (*raw).prio_next.get();
                let leader_prev = (*raw).prio_prev.get();
                if (*next).is_leader() {
                    (*leader_prev).prio_next.set(leader_next);
                    (*leader_next).prio_prev.set(leader_prev);
                } else if ptr::eq(leader_next, raw) {
                    // The only priority on the list: its next waiter leads.
                    (*next).prio_next.set(next);
                    (*next).prio_prev.set(next);
                } else {
                    (*next).prio_next.set(leader_next);
                    (*next).prio_prev.set(leader_prev);
                    (*leader_prev).prio_next.set(next);
                    (*leader_next).prio_prev.set(next);
                }
            }
            (*prev).next.set(next);
            (*next).prev.set(prev);
            (*raw).next.set(ptr::null());
            if ptr::eq(self.first.get(), raw) {
                self.first.set(next);
            }
        }
    }

    /// Refiles a queued `node` under another priority, behind its new equals:
    /// for a waiter whose priority was changed while it waits.
    ///
    /// # Safety
    /// As for [`Self::del`].
    pub unsafe fn requeue(&self, node: NonNull<PlistNode>, prio: i32) {
        // SAFETY: the node is on this list (contract), and on none after `del`.
        unsafe {
            self.del(node);
            node.as_ref().prio.set(prio);
            self.add(node);
        }
    }

    /// Visits the nodes in waking order; for diagnostics.
    ///
    /// # Safety
    /// Until the iterator is dropped the list does not change and the lock
    /// that guards it stays held.
    pub unsafe fn iter(&self) -> Iter {
        let first = self.first.get();
        Iter { first, next: first }
    }
}

/// Iterator over a [`PlistHead`]; bounded by the number of nodes.
#[derive(Debug)]
pub struct Iter {
    first: *const PlistNode,
    next: *const PlistNode,
}

impl Iterator for Iter {
    type Item = NonNull<PlistNode>;

    fn next(&mut self) -> Option<Self::Item> {
        let node = NonNull::new(self.next.cast_mut())?;
        // SAFETY: the list is unchanged while the iterator lives.
        let after = unsafe { node.as_ref() }.next.get();
        self.next = if ptr::eq(after, self.first) { ptr::null() } else { after };
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{boxed::Box, vec::Vec};

    fn at(node: &PlistNode) -> NonNull<PlistNode> {
        NonNull::from(node)
    }

    fn order(head: &PlistHead) -> Vec<*const PlistNode> {
        // SAFETY: single-threaded test, nothing changes while iterating.
        unsafe { head.iter() }.map(|n| n.as_ptr().cast_const()).collect()
    }

    /// Leaders, found from the first by the leader ring.
    fn leaders(head: &PlistHead) -> Vec<*const PlistNode> {
        let mut found = Vec::new();
        let mut node = head.first.get();
        while !node.is_null() && !found.contains(&node) {
            found.push(node);
            // SAFETY: the node is on the list.
            node = unsafe { (*node).prio_next.get() };
        }
        found
    }

    #[test]
    fn all_fair_priorities_are_filed_as_one_and_real_time_ones_as_themselves() {
        assert_eq!(wait_prio(0), 0);
        assert_eq!(wait_prio(98), 98);
        assert_eq!(wait_prio(100), 100);
        assert_eq!(wait_prio(139), 100);
    }

    #[test]
    fn the_most_important_waiter_is_first_and_equals_keep_their_order() {
        let head = PlistHead::new();
        let nodes: Vec<Box<PlistNode>> =
            [50, 100, 10, 50, 10].iter().map(|&p| Box::new(PlistNode::new(p))).collect();
        for n in &nodes {
            // SAFETY: the boxes outlive the head.
            unsafe { head.add(at(n)) };
        }
        let expected: Vec<*const PlistNode> =
            [2, 4, 0, 3, 1].iter().map(|&i: &usize| &raw const *nodes[i]).collect();
        assert_eq!(order(&head), expected);
    }

    #[test]
    fn a_deleted_node_says_that_it_is_not_queued() {
        let head = PlistHead::new();
        let node = PlistNode::new(7);
        assert!(!node.is_queued());
        // SAFETY: the node outlives the head's use of it.
        unsafe {
            head.add(at(&node));
            assert!(node.is_queued());
            head.del(at(&node));
        }
        assert!(!node.is_queued());
        assert!(head.is_empty());
    }

    proptest! {
        #[test]
        fn any_sequence_matches_a_stable_sort(
            ops in prop::collection::vec((0u8..3, 0usize..12, 0i32..5), 0..400),
        ) {
            let nodes: Vec<Box<PlistNode>> = (0..12).map(|_| Box::new(PlistNode::new(0))).collect();
            let head = PlistHead::new();
            // (prio, arrival, node); sorted by the first two is the truth.
            let mut model: Vec<(i32, usize, usize)> = Vec::new();
            for (arrival, (op, i, prio)) in ops.into_iter().enumerate() {
                let on = model.iter().any(|m| m.2 == i);
                // SAFETY: the model knows what is queued; the boxes outlive it.
                unsafe {
                    match op {
                        0 if !on => {
                            nodes[i].prio.set(prio);
                            head.add(at(&nodes[i]));
                            model.push((prio, arrival, i));
                        }
                        1 if on => {
                            head.del(at(&nodes[i]));
                            model.retain(|m| m.2 != i);
                        }
                        2 if on => {
                            head.requeue(at(&nodes[i]), prio);
                            model.retain(|m| m.2 != i);
                            model.push((prio, arrival, i));
                        }
                        _ => {}
                    }
                }
                model.sort();
                let expected: Vec<*const PlistNode> = model.iter().map(|m| &raw const *nodes[m.2]).collect();
                prop_assert_eq!(order(&head), expected);
                let mut firsts: Vec<*const PlistNode> = Vec::new();
                for (k, m) in model.iter().enumerate() {
                    let leads = k == 0 || model[k - 1].0 != m.0;
                    prop_assert_eq!(nodes[m.2].is_leader(), leads);
                    if leads {
                        firsts.push(&raw const *nodes[m.2]);
                    }
                }
                prop_assert_eq!(leaders(&head), firsts);
            }
        }
    }
}
