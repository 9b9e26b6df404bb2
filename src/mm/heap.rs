//! The heap: TLSF, constant time whatever its state, behind `#[global_allocator]`.
//!
//! The pools are blocks from the page allocator: a first one at boot that should be all one needs, more
//! on demand from thread context, up to a limit. In front of it are lists of small blocks that were just freed (`quick`). An
//! allocation that finds one there costs some thirty instructions with preemption off, another one that needs no growth
//! about a hundred.
//!
//! Growing an allocation in place would copy with preemption off, so `realloc` is left to be an
//! allocation, a copy outside the lock and a free.
//!
//! Context: thread, boot; debug builds panic when called from interrupt context. Never called by the
//! scheduler. Lock: HEAP; the page allocator's is taken without it.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use rlsf::Tlsf;

use super::{assert_task, frames, quick};
use crate::locking::{RawSpinLock, RawSpinLockGuard};
use crate::preempt;

/// Smallest block the heap grows by.
const GROWTH_BYTES: usize = 1 << 20;
/// What a pool needs for its own headers.
const POOL_OVERHEAD: usize = 256;

type Pools = Tlsf<'static, u32, u32, 24, 32>;

struct Inner {
    quick: quick::Quick,
    tlsf: Pools,
    pool_bytes: usize,
    limit_bytes: usize,
    used_bytes: usize,
    peak_bytes: usize,
}

type Guard<'a> = RawSpinLockGuard<'a, Inner>;

/// The kernel's heap.
pub struct Heap(RawSpinLock<Inner>);

static HEAP: Heap = Heap::new();

/// The heap as Rust's allocator; the test harness on a PC keeps its own.
#[cfg(target_os = "none")]
#[global_allocator]
static GLOBAL: &Heap = &HEAP;

/// State of the heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes in pools.
    pub pool_bytes: usize,
    /// Bytes in use, as asked for.
    pub used_bytes: usize,
    /// The most that was ever in use.
    pub peak_bytes: usize,
    /// The pools never grow beyond this.
    pub limit_bytes: usize,
}

impl Heap {
    const fn new() -> Self {
        Self(RawSpinLock::new(Inner {
            quick: quick::Quick::new(),
            tlsf: Tlsf::new(),
            pool_bytes: 0,
            limit_bytes: 0,
            used_bytes: 0,
            peak_bytes: 0,
        }))
    }

    /// Adds one block of pages as a pool. `None`: not within the limit, or no such block.
    fn grow(&self, bytes: usize) -> Option<usize> {
        let order = frames::order_for(bytes)?;
        let bytes = frames::PAGE_BYTES << order;
        {
            // Reserve under the lock, so that two growers cannot exceed the limit together.
            let mut inner = self.0.lock();
            if inner.pool_bytes + bytes > inner.limit_bytes {
                return None;
            }
            inner.pool_bytes += bytes;
        }
        let Ok(block) = frames::alloc_pages(order) else {
            self.0.lock().pool_bytes -= bytes;
            return None;
        };
        let pool = NonNull::slice_from_raw_parts(block, bytes);
        // SAFETY: the block was just allocated and is never given back.
        unsafe { self.0.lock().tlsf.insert_free_block_ptr(pool) };
        Some(bytes)
    }

    /// A block that was just freed, or one from the pools, or (once) from a new pool.
    #[inline(always)]
    fn take(&self, layout: Layout) -> Option<NonNull<u8>> {
        let mut inner = self.0.lock();
        if let Some(block) = quick::class_of(layout).and_then(|class| inner.quick.pop(class)) {
            inner.count(layout);
            return Some(block);
        }
        self.take_from_pools(inner, layout)
    }

    #[inline(never)]
    fn take_from_pools(&self, mut inner: Guard<'_>, layout: Layout) -> Option<NonNull<u8>> {
        let block = inner.cut(layout);
        drop(inner);
        if block.is_some() { block } else { self.grow_and_take(layout) }
    }

    /// Gives TLSF back what the quick lists have. Preemptible between two lists.
    fn take_back(&self) {
        for class in 0..quick::CLASSES {
            let mut inner = self.0.lock();
            while let Some(block) = inner.quick.pop(class) {
                // SAFETY: it was allocated with this alignment (invariant of the lists).
                unsafe { inner.tlsf.deallocate(block, quick::layout(class).align()) };
            }
        }
    }

    /// Not inline: the registers it needs would be saved by every allocation.
    #[cold]
    #[inline(never)]
    fn grow_and_take(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.take_back();
        let block = self.take_once(layout);
        if block.is_some() {
            return block;
        }
        // The page allocator's lock sleeps in some models; there a caller that must not has what the pools have.
        if !preempt::may_spin_lock() {
            return None;
        }
        // TLSF rounds a request up to the next size class, an eighth at most for 32 classes per octave.
        let needed =
            layout.size().checked_add(layout.size() / 8)?.checked_add(layout.align() + POOL_OVERHEAD)?;
        self.grow(needed.max(GROWTH_BYTES)).or_else(|| self.grow(needed))?;
        self.take_once(layout)
    }

    #[cold]
    #[inline(never)]
    fn take_once(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.lock().cut(layout)
    }
}

/// Merges a block of this layout with what is free beside it. (In the order of the arguments of `dealloc`, whose registers stay.)
#[inline(never)]
fn give_to_pools(block: NonNull<u8>, layout: Layout, mut inner: Guard<'_>) {
    inner.used_bytes -= layout.size();
    // SAFETY: allocated with this alignment.
    unsafe { inner.tlsf.deallocate(block, in_pools(layout).align()) };
}

/// What a request is to TLSF: the same for all that share a quick list.
#[inline(always)]
fn in_pools(layout: Layout) -> Layout {
    quick::class_of(layout).map_or(layout, quick::layout)
}

impl Inner {
    /// Cuts a block out of the pools.
    #[inline(always)]
    fn cut(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let block = self.tlsf.allocate(in_pools(layout))?;
        self.count(layout);
        Some(block)
    }

    #[inline(always)]
    fn count(&mut self, layout: Layout) {
        self.used_bytes += layout.size();
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
    }
}

// SAFETY: TLSF hands out disjoint blocks of its pools with the alignment asked for; the lock makes every
// operation exclusive. A block keeps its place until it is freed.
unsafe impl GlobalAlloc for &Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        assert_task("heap allocation");
        self.take(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        assert_task("heap free");
        let Some(block) = NonNull::new(block) else { return };
        let mut inner = self.0.lock();
        if let Some(class) = quick::class_of(layout)
            // SAFETY: the caller got `block` from `alloc` with this layout, so it was allocated for this list.
            && unsafe { inner.quick.push(class, block) }
        {
            inner.used_bytes -= layout.size();
            return;
        }
        give_to_pools(block, layout, inner);
    }
}

/// Gives the heap its first pools: `first_bytes` in as few blocks as there are, and `limit_bytes` as the
/// most it may ever have. Returns the bytes it got.
pub fn init(first_bytes: usize, limit_bytes: usize) -> usize {
    HEAP.0.lock().limit_bytes = limit_bytes;
    let mut got = 0;
    let mut block_bytes = first_bytes;
    while got < first_bytes {
        let Some(order) = frames::order_within(block_bytes.min(first_bytes - got)) else { break };
        let bytes = frames::PAGE_BYTES << order;
        match HEAP.grow(bytes) {
            Some(bytes) => got += bytes,
            None if bytes > 64 * 1024 => block_bytes = bytes / 2,
            None => break,
        }
    }
    got
}

/// State of the heap.
pub fn stats() -> HeapStats {
    let inner = HEAP.0.lock();
    HeapStats {
        pool_bytes: inner.pool_bytes,
        used_bytes: inner.used_bytes,
        peak_bytes: inner.peak_bytes,
        limit_bytes: inner.limit_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::frames::tests::add_some;

    fn heap(limit_bytes: usize) -> Heap {
        let heap = Heap::new();
        heap.0.lock().limit_bytes = limit_bytes;
        heap
    }

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        add_some(16 << 20);
        let heap = heap(8 << 20);
        let mut blocks: std::vec::Vec<(usize, Layout)> = std::vec::Vec::new();
        let mut seed = 1u64;
        for step in 0..20_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            if step % 3 == 2 && !blocks.is_empty() {
                let (at, layout) = blocks.swap_remove((seed >> 8) as usize % blocks.len());
                // SAFETY: allocated below with this layout, not freed yet.
                unsafe { (&heap).dealloc(at as *mut u8, layout) };
                continue;
            }
            let layout =
                Layout::from_size_align((seed >> 40) as usize % 2000 + 1, 1 << (seed >> 60)).unwrap();
            // SAFETY: the size is not 0.
            let at = unsafe { (&heap).alloc(layout) } as usize;
            if at == 0 {
                continue;
            }
            assert_eq!(at % layout.align(), 0);
            assert!(
                blocks.iter().rev().take(50).all(|&(b, l)| b + l.size() <= at || at + layout.size() <= b)
            );
            blocks.push((at, layout));
        }
        let used: usize = blocks.iter().map(|(_, l)| l.size()).sum();
        assert_eq!(heap.0.lock().used_bytes, used);
    }

    #[test]
    fn growth_stops_at_the_limit_with_a_null() {
        add_some(16 << 20);
        let heap = heap(2 << 20);
        let layout = Layout::from_size_align(700 << 10, 16).unwrap();
        // SAFETY: the size is not 0.
        let is_there = |layout| !unsafe { (&heap).alloc(layout) }.is_null();
        let got = (0..8).filter(|_| is_there(layout)).count();
        assert_eq!(got, 2);
        assert_eq!(heap.0.lock().pool_bytes, 2 << 20);
        let huge = Layout::from_size_align(isize::MAX as usize - 4096, 4096).unwrap();
        assert!(!is_there(huge));
    }

    #[test]
    fn blocks_that_are_kept_are_taken_back_before_the_heap_refuses() {
        add_some(16 << 20);
        let heap = heap(1 << 20);
        let small = Layout::from_size_align(64, 8).unwrap();
        // SAFETY: the size is not 0.
        let blocks: std::vec::Vec<_> =
            core::iter::from_fn(|| NonNull::new(unsafe { (&heap).alloc(small) })).collect();
        assert!(blocks.len() > 10_000, "{}", blocks.len());
        // From the middle on, so that those that are kept lie in the middle of what becomes free.
        let (before, behind) = blocks.split_at(blocks.len() / 2);
        for &block in behind.iter().chain(before) {
            // SAFETY: allocated above with this layout.
            unsafe { (&heap).dealloc(block.as_ptr(), small) };
        }
        assert_eq!(heap.0.lock().used_bytes, 0);
        assert_eq!(heap.0.lock().pool_bytes, 1 << 20);
        let most = Layout::from_size_align(900 << 10, 16).unwrap();
        // SAFETY: the size is not 0.
        assert!(!unsafe { (&heap).alloc(most) }.is_null());
    }

    #[test]
    fn a_block_as_large_as_a_pool_is_found_after_one_growth() {
        add_some(32 << 20);
        for bytes in [1usize << 20, 1_500_000, (2 << 20) - 9000, 3 << 20, (4 << 20) - 9000] {
            let heap = heap(16 << 20);
            let layout = Layout::from_size_align(bytes, 4096).unwrap();
            // SAFETY: the size is not 0.
            assert!(!unsafe { (&heap).alloc(layout) }.is_null(), "{bytes}");
        }
    }
}
