//! Page frames: a buddy allocator over the linear map, for coarse and lasting things (stacks, heap pools,
//! page tables).
//!
//! Not for real-time paths: freeing searches a list of free blocks, whose length has no useful bound.
//! Debug builds panic when called from interrupt context.
//!
//! Context: thread, boot. Lock: FRAMES, a leaf: nothing else is locked while it is held.

use core::alloc::Layout;
use core::ptr::NonNull;

use buddy_system_allocator::Heap;

use super::assert_task;
use crate::locking::SpinLock;
use crate::preempt;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Largest block is 2^ORDER_MAX pages (256 MiB).
pub const ORDER_MAX: u32 = 16;
const CLASSES: usize = ORDER_MAX as usize + 12 + 1;

static FRAMES: SpinLock<Heap<CLASSES>> = SpinLock::new(Heap::new());

/// There is no free block of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub bytes: usize,
}

impl core::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        write!(f, "out of memory: no free block of {} bytes", self.bytes)
    }
}

/// Hands `start..end` (linear addresses, page aligned) to the allocator.
///
/// # Safety
///
/// The range must be mapped, writable and from now on used by nobody else.
pub unsafe fn add(start: usize, end: usize) {
    assert!((start | end).is_multiple_of(PAGE_BYTES), "frames {start:#x}..{end:#x}: expected whole pages");
    // SAFETY: by the caller's promise.
    unsafe { FRAMES.lock().add_to_heap(start, end) };
}

fn layout(order: u32) -> Layout {
    assert!(order <= ORDER_MAX, "frame order {order}: expected at most {ORDER_MAX}");
    let bytes = PAGE_BYTES << order;
    Layout::from_size_align(bytes, bytes).expect("a power of two below 2^63")
}

/// Allocates 2^`order` pages, aligned to their size. The contents are undefined.
#[track_caller]
pub fn alloc_pages(order: u32) -> Result<NonNull<u8>, OutOfMemory> {
    assert_task("frames::alloc_pages");
    preempt::might_resched();
    let layout = layout(order);
    FRAMES.lock().alloc(layout).map_err(|()| OutOfMemory { bytes: layout.size() })
}

/// Returns what [`alloc_pages`] gave.
///
/// # Safety
///
/// `block` must come from `alloc_pages` with the same order, and nobody may use it any more.
#[track_caller]
pub unsafe fn free_pages(block: NonNull<u8>, order: u32) {
    assert_task("frames::free_pages");
    preempt::might_resched();
    // SAFETY: by the caller's promise.
    unsafe { FRAMES.lock().dealloc(block, layout(order)) };
}

/// Bytes managed and bytes handed out.
pub fn stats() -> (usize, usize) {
    let frames = FRAMES.lock();
    (frames.stats_total_bytes(), frames.stats_alloc_actual())
}

/// The largest order with `PAGE_BYTES << order <= bytes`, if there is one.
pub fn order_within(bytes: usize) -> Option<u32> {
    let pages = bytes / PAGE_BYTES;
    (pages > 0).then(|| pages.ilog2().min(ORDER_MAX))
}

/// The smallest order with `PAGE_BYTES << order >= bytes`, if there is one.
pub fn order_for(bytes: usize) -> Option<u32> {
    let order = bytes.div_ceil(PAGE_BYTES).max(1).checked_next_power_of_two()?.ilog2();
    (order <= ORDER_MAX).then_some(order)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn orders_are_rounded_the_way_their_names_say() {
        assert_eq!((order_within(4095), order_within(4096), order_within(12288)), (None, Some(0), Some(1)));
        assert_eq!(
            (order_for(0), order_for(4096), order_for(4097), order_for(16384)),
            (Some(0), Some(0), Some(1), Some(2))
        );
        assert_eq!(order_for(usize::MAX), None);
        assert_eq!(order_within(usize::MAX), Some(ORDER_MAX));
    }

    /// Gives the allocator memory of the test process.
    pub(crate) fn add_some(bytes: usize) {
        let layout = Layout::from_size_align(bytes, bytes).unwrap();
        // SAFETY: a fresh allocation, leaked, given away for good.
        unsafe {
            let start = std::alloc::alloc(layout) as usize;
            add(start, start + bytes);
        }
    }

    #[test]
    fn blocks_are_aligned_to_their_size_and_come_back() {
        add_some(4 << 20);
        let blocks: std::vec::Vec<_> = (0..5).map(|order| (alloc_pages(order).unwrap(), order)).collect();
        for &(block, order) in &blocks {
            assert_eq!(block.as_ptr() as usize % (PAGE_BYTES << order), 0);
        }
        for (block, order) in blocks {
            // SAFETY: allocated above with this order.
            unsafe { free_pages(block, order) };
        }
        assert_eq!(alloc_pages(ORDER_MAX), Err(OutOfMemory { bytes: PAGE_BYTES << ORDER_MAX }));
    }
}
