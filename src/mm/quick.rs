//! Quick lists: small blocks of the heap that were just freed, kept by their size for whoever asks next.
//!
//! Most of what is freed is asked for again soon and in the same size. TLSF would merge the block with its neighbours and cut
//! it out again, some hundred instructions each; here it is a pop and a push.
//!
//! Bounds: a list keeps at most [`DEPTH`] blocks, and all of them together some thirty kilobytes. The heap takes them back, a
//! list at a time, before it grows or refuses.
//!
//! Invariant: a block on list `n` was given out by TLSF for [`layout`]`(n)`, and nobody uses it.
//!
//! Context and lock: the heap's.

use core::alloc::Layout;
use core::ptr::NonNull;

/// Blocks a list keeps at the most: what one section with preemption off gives back to TLSF.
pub(super) const DEPTH: u8 = 8;
/// The number of lists.
pub(super) const CLASSES: usize = 16;
/// From one size to the next, and what TLSF needs of it for itself: it cuts in units of 32 bytes with a header of 16.
const UNIT_BYTES: usize = 32;
const HEADER_BYTES: usize = 16;

/// A block that nobody uses: the next one.
struct Free {
    next: Option<NonNull<Free>>,
}

pub(super) struct Quick {
    lists: [Option<NonNull<Free>>; CLASSES],
    counts: [u8; CLASSES],
}

// SAFETY: what it points at belongs to the heap, and so to whoever holds the heap's lock.
unsafe impl Send for Quick {}

/// The list for a request; none if it is too big or too strictly aligned.
#[inline(always)]
pub(super) fn class_of(layout: Layout) -> Option<usize> {
    let class = (layout.size() + HEADER_BYTES - 1) / UNIT_BYTES;
    (class < CLASSES && layout.align() <= HEADER_BYTES).then_some(class)
}

/// What is asked of TLSF for a request that belongs to this list.
#[inline(always)]
pub(super) fn layout(class: usize) -> Layout {
    debug_assert!(class < CLASSES);
    // SAFETY: the alignment is a power of two, and the size is below 512.
    unsafe { Layout::from_size_align_unchecked(class * UNIT_BYTES + HEADER_BYTES, HEADER_BYTES) }
}

impl Quick {
    pub(super) const fn new() -> Self {
        Self { lists: [None; CLASSES], counts: [0; CLASSES] }
    }

    /// Takes a block off a list.
    #[inline(always)]
    pub(super) fn pop(&mut self, class: usize) -> Option<NonNull<u8>> {
        let block = self.lists[class]?;
        // SAFETY: on the list, so nobody uses it and `push` wrote it.
        self.lists[class] = unsafe { block.as_ref().next };
        self.counts[class] -= 1;
        Some(block.cast())
    }

    /// Keeps a block that is free now. `false`, and nothing done, if the list is full.
    ///
    /// # Safety
    /// The block was allocated for [`layout`]`(class)`, and is the caller's to give.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, class: usize, block: NonNull<u8>) -> bool {
        if self.counts[class] == DEPTH {
            return false;
        }
        let block = block.cast::<Free>();
        // SAFETY: by contract it is ours; the smallest has 16 bytes, aligned to 16.
        unsafe { block.write(Free { next: self.lists[class] }) };
        self.lists[class] = Some(block);
        self.counts[class] += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_small_request_fits_into_the_blocks_of_its_list() {
        for size in 1..=496 {
            for align in [1, 2, 4, 8, 16] {
                let asked = Layout::from_size_align(size, align).unwrap();
                let class = class_of(asked).expect("a list");
                let given = layout(class);
                assert!(given.size() >= size && given.align() >= align, "{asked:?} {given:?}");
                assert!(given.size() < size + UNIT_BYTES, "{asked:?} wastes a unit: {given:?}");
            }
        }
    }

    #[test]
    fn what_is_big_or_strictly_aligned_has_no_list() {
        assert_eq!(class_of(Layout::from_size_align(497, 8).unwrap()), None);
        assert_eq!(class_of(Layout::from_size_align(64, 32).unwrap()), None);
    }

    #[test]
    fn a_list_gives_the_last_block_first_and_keeps_no_more_than_its_depth() {
        let mut quick = Quick::new();
        let mut memory = [[0u128; 4]; DEPTH as usize + 1];
        let blocks: std::vec::Vec<_> =
            memory.iter_mut().map(|block| NonNull::from(block).cast::<u8>()).collect();
        for (number, &block) in blocks.iter().enumerate() {
            // SAFETY: 64 bytes of this test's own.
            assert_eq!(unsafe { quick.push(1, block) }, number < DEPTH as usize);
        }
        for &block in blocks[..DEPTH as usize].iter().rev() {
            assert_eq!(quick.pop(1), Some(block));
        }
        assert_eq!(quick.pop(1), None);
        assert_eq!(quick.pop(0), None);
    }
}
