//! A list that many CPUs push to and one empties, without a lock: what one CPU leaves for another.
//!
//! A push is a compare-and-swap of the head, emptying is one swap; who empties it gets everything, in the order in which
//! it was pushed. A push says whether the list was empty: only then must the owner be told (by an interrupt). Whoever
//! finds it filled has somebody before him who tells, or has told and was not yet heard.
//!
//! A list can be **closed**, in the same word: then a push is refused, so nothing is left for an owner that does not
//! come any more. There is no moment between the last emptying and the closing.
//!
//! Nothing is allocated, and a node is the owner's from the push on; it may be pushed again when the walk is past it.
//! Pushes of all CPUs compete, but one of them always succeeds; the tries of one push are bounded by the number of
//! the other pushes that come in between.
//!
//! Context: any. Locks: none. Modelled by tests/loom, which compiles this very file.

use super::sync::{AtomicPtr, Ordering};
use core::ptr;

/// A node, part of what is pushed.
#[derive(Debug)]
pub(crate) struct LlistNode {
    next: AtomicPtr<LlistNode>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct LlistHead {
    first: AtomicPtr<LlistNode>,
}

/// The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// In the head's place while the list is closed: no node is at address 1.
fn closed() -> *mut LlistNode {
    ptr::without_provenance_mut(1)
}

impl LlistNode {
    /// On no list.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { next: AtomicPtr::new(ptr::null_mut()) }
    }

    /// On no list.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { next: AtomicPtr::new(ptr::null_mut()) }
    }
}

impl LlistHead {
    /// An empty list that is closed.
    #[cfg(not(loom))]
    pub(crate) const fn new_closed() -> Self {
        Self { first: AtomicPtr::new(ptr::without_provenance_mut(1)) }
    }

    /// An empty list that is closed.
    #[cfg(loom)]
    pub(crate) fn new_closed() -> Self {
        Self { first: AtomicPtr::new(ptr::without_provenance_mut(1)) }
    }

    /// Lets pushes in. By the owner, of a closed list.
    pub(crate) fn open(&self) {
        self.first.store(ptr::null_mut(), Ordering::Release);
    }

    /// Whether pushes are let in, at this moment.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_open(&self) -> bool {
        self.first.load(Ordering::Relaxed) != closed()
    }

    /// Puts `node` on the list, with everything written before. Answers whether the list was empty.
    ///
    /// # Errors
    /// The list is closed.
    ///
    /// # Safety
    /// The node stays where it is, and is pushed nowhere, until a walk of [`Self::take_all`] is past it.
    pub(crate) unsafe fn push(&self, node: *const LlistNode) -> Result<bool, Closed> {
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            if first == closed() {
                return Err(Closed);
            }
            // SAFETY: by contract the node is there; nobody else looks at it before it is on the list.
            unsafe { (*node).next.store(first, Ordering::Relaxed) };
            // Release: who takes the node sees what was written into it. Exactly one exchange can succeed for each state.
            match self.first.compare_exchange_weak(
                first,
                node.cast_mut(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(first.is_null()),
                Err(found) => first = found,
            }
        }
    }

    /// Takes everything off, the oldest first. By the owner.
    pub(crate) fn take_all(&self) -> Taken {
        // The common answer, without an exclusive. Closed stays closed: the owner alone opens it.
        let first = self.first.load(Ordering::Relaxed);
        if first.is_null() || first == closed() {
            return Taken { first: ptr::null_mut() };
        }
        self.replace(ptr::null_mut())
    }

    /// Closes the list and takes off what is there. By the owner.
    pub(crate) fn close(&self) -> Taken {
        self.replace(closed())
    }

    fn replace(&self, new: *mut LlistNode) -> Taken {
        // Acquire: the nodes are read behind what their owners wrote.
        let mut newest = self.first.swap(new, Ordering::Acquire);
        if newest == closed() {
            newest = ptr::null_mut();
        }
        // The list is newest first: turned round, in one pass. Bound: the pushes since the last time.
        let mut oldest = ptr::null_mut();
        while !newest.is_null() {
            // SAFETY: the nodes behind the swapped head are the owner's alone, and stay until the walk is past them.
            let next = unsafe { (*newest).next.load(Ordering::Relaxed) };
            // SAFETY: as above.
            unsafe { (*newest).next.store(oldest, Ordering::Relaxed) };
            oldest = newest;
            newest = next;
        }
        Taken { first: oldest }
    }
}

/// What was on a list. A node belongs to its pusher again once it has been returned.
#[derive(Debug)]
pub(crate) struct Taken {
    first: *mut LlistNode,
}

impl Iterator for Taken {
    type Item = *const LlistNode;

    fn next(&mut self) -> Option<*const LlistNode> {
        if self.first.is_null() {
            return None;
        }
        let node = self.first;
        // SAFETY: taken and not returned yet, so it is still there.
        self.first = unsafe { (*node).next.load(Ordering::Relaxed) };
        Some(node)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn index_of(nodes: &[LlistNode], node: *const LlistNode) -> usize {
        nodes.iter().position(|other| ptr::eq(other, node)).unwrap()
    }

    #[test]
    fn nodes_come_off_in_the_order_in_which_they_were_pushed() {
        let nodes = [const { LlistNode::new() }; 3];
        let list = LlistHead::new_closed();
        list.open();
        // SAFETY: the nodes outlive the list.
        let empty: Vec<_> = nodes.iter().map(|node| unsafe { list.push(node) }).collect();
        assert_eq!(empty, [Ok(true), Ok(false), Ok(false)]);
        assert_eq!(list.take_all().map(|node| index_of(&nodes, node)).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(list.take_all().count(), 0);
        // SAFETY: as above; it is off the list.
        assert_eq!(unsafe { list.push(&nodes[1]) }, Ok(true));
    }

    #[test]
    fn a_closed_list_refuses_and_gives_what_was_left() {
        let nodes = [const { LlistNode::new() }; 2];
        let list = LlistHead::new_closed();
        // SAFETY: the nodes outlive the list.
        assert_eq!(unsafe { list.push(&nodes[0]) }, Err(Closed));
        assert_eq!(list.take_all().count(), 0);
        assert!(!list.is_open(), "emptying a closed list opens it");
        list.open();
        // SAFETY: as above.
        assert_eq!(unsafe { list.push(&nodes[1]) }, Ok(true));
        assert_eq!(list.close().map(|node| index_of(&nodes, node)).collect::<Vec<_>>(), [1]);
        // SAFETY: as above.
        assert_eq!(unsafe { list.push(&nodes[0]) }, Err(Closed));
    }
}
