//! A pool of blocks of one size: constant time, no fragmentation, from any context.
//!
//! The free blocks form a chain through their own memory, so the pool needs nothing beside them.
//! Invariant: a block is either on the chain or owned by exactly one [`Block`]. A pool that hands blocks out
//! is static: it neither moves nor goes while chain and blocks point into it.

use crate::locking::SchedLock;
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

/// `N` blocks of `BYTES` bytes each, 16-byte aligned.
// The lock first: its address is the pool's.
#[repr(C)]
pub struct Pool<const BYTES: usize, const N: usize> {
    inner: SchedLock<Inner>,
    blocks: UnsafeCell<[Place<BYTES>; N]>,
}

#[repr(C, align(16))]
struct Place<const BYTES: usize>(MaybeUninit<[u8; BYTES]>);

struct Inner {
    /// Chain of freed blocks.
    free: Cell<*mut ()>,
    /// Blocks from here on were never handed out.
    fresh: Cell<usize>,
}

// SAFETY: the chain is reached under the lock alone.
unsafe impl Send for Inner {}
// SAFETY: a block is handed to one owner at a time.
unsafe impl<const BYTES: usize, const N: usize> Sync for Pool<BYTES, N> {}

/// A block out of a pool. Give it back with [`Pool::free`].
#[derive(Debug)]
#[must_use = "a block that is dropped is lost to its pool"]
pub struct Block(NonNull<u8>);

// SAFETY: the block is owned.
unsafe impl Send for Block {}

impl Block {
    /// Its address.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.as_ptr()
    }
}

impl<const BYTES: usize, const N: usize> Pool<BYTES, N> {
    /// A pool with all its blocks free.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(BYTES >= 8, "a free block holds a pointer") };
        Self {
            inner: SchedLock::new(Inner { free: Cell::new(ptr::null_mut()), fresh: Cell::new(0) }),
            blocks: UnsafeCell::new([const { Place(MaybeUninit::uninit()) }; N]),
        }
    }

    /// A block, if there is one left. Any context.
    #[inline]
    pub fn alloc(&'static self) -> Option<Block> {
        let inner = self.inner.lock();
        let head = inner.free.get();
        let block = if head.is_null() {
            let fresh = inner.fresh.get();
            if fresh == N {
                None
            } else {
                inner.fresh.set(fresh + 1);
                // SAFETY: within the array.
                Some(unsafe {
                    NonNull::new_unchecked(self.blocks.get().cast::<Place<BYTES>>().add(fresh).cast())
                })
            }
        } else {
            // SAFETY: a free block begins with the pointer to the next one.
            inner.free.set(unsafe { head.cast::<*mut ()>().read() });
            NonNull::new(head.cast())
        };
        inner.unlock_no_resched();
        block.map(Block)
    }

    /// Gives a block back. Any context.
    ///
    /// # Panics
    /// In debug builds if the block is not of this pool.
    #[inline]
    pub fn free(&'static self, block: Block) {
        let at = block.0.as_ptr().cast::<()>();
        debug_assert!(
            (self.blocks.get().addr()..self.blocks.get().addr() + size_of::<[Place<BYTES>; N]>())
                .contains(&at.addr()),
            "a block of another pool"
        );
        let inner = self.inner.lock();
        // SAFETY: the block is ours again, and at least a pointer long.
        unsafe { at.cast::<*mut ()>().write(inner.free.get()) };
        inner.free.set(at);
        inner.unlock_no_resched();
    }
}

impl<const BYTES: usize, const N: usize> Default for Pool<BYTES, N> {
    fn default() -> Self {
        Self::new()
    }
}
