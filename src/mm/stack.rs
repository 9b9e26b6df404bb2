//! Kernel stacks, each with an unmapped guard below it.
//!
//! Every stack has a slot of 128 KiB of addresses in the stack window and uses at most the lower half of
//! it. So the address just below any stack is unmapped, and bit 16 tells the two apart: clear within a
//! stack, set just below one. The exception entry uses that to find an overflow before it pushes.
//!
//! A stack that is freed stays mapped in a cache for its size, so that creating a task does not edit page
//! tables each time; only what does not fit the cache is unmapped and given back.
//!
//! Context: thread, boot ([`owner_of`]: any, it takes no lock). Lock: POOL; the space's and the page
//! allocator's are never taken while it is held.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};

use arch::mmu::{PAGE_BYTES, PhysAddr, STACK_BASE, linear, linear_to_phys};

use super::space::{self, SpaceError};
use super::{assert_task, frames};
use crate::locking::SpinLock;
use crate::preempt;

/// Bytes of addresses per stack.
pub const SLOT_BYTES: usize = 128 * 1024;
/// Largest stack.
pub const STACK_BYTES_MAX: usize = SLOT_BYTES / 2;
/// Most stacks there can be.
pub const STACKS_MAX: usize = 4096;
/// Stacks of each size kept mapped after use.
const CACHE_MAX: u16 = 64;
/// Sizes: 1, 2, 4, 8, 16 pages.
const ORDERS: usize = 5;
const NONE: u16 = u16::MAX;

/// Pages mapped in each slot, for [`owner_of`].
static PAGES: [AtomicU8; STACKS_MAX] = [const { AtomicU8::new(0) }; STACKS_MAX];

struct Pool {
    /// Physical page number of each mapped slot.
    frame: [u32; STACKS_MAX],
    /// Next slot in whichever list the slot is in.
    next: [u16; STACKS_MAX],
    /// Slots that were used and are unmapped again.
    unmapped: u16,
    /// Slots from here on were never used.
    fresh: u16,
    /// Mapped but unused slots, by order.
    cached: [u16; ORDERS],
    cached_count: [u16; ORDERS],
}

static POOL: SpinLock<Pool> = SpinLock::new(Pool {
    frame: [0; STACKS_MAX],
    next: [NONE; STACKS_MAX],
    unmapped: NONE,
    fresh: 0,
    cached: [NONE; ORDERS],
    cached_count: [0; ORDERS],
});

/// Why there is no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackError {
    /// No stack has this size.
    BadSize(usize),
    /// All slots are used.
    TooMany,
    /// No memory, or no place in the tables.
    Space(SpaceError),
}

impl core::fmt::Display for StackError {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Self::BadSize(bytes) => write!(f, "stack of {bytes} bytes; expected 1 to {STACK_BYTES_MAX}"),
            Self::TooMany => write!(f, "no stack left; expected at most {STACKS_MAX}"),
            Self::Space(error) => write!(f, "stack: {error}"),
        }
    }
}

/// A stack of its owner. Dropping it frees it: the owner must not be running on it.
#[derive(Debug)]
pub struct Stack {
    slot: u16,
    order: u8,
}

impl Stack {
    /// A stack of at least `stack_bytes`, rounded up to a power of two of pages. Its contents are
    /// undefined.
    #[track_caller]
    pub fn new(stack_bytes: usize) -> Result<Self, StackError> {
        assert_task("Stack::new");
        preempt::might_resched();
        if stack_bytes == 0 || stack_bytes > STACK_BYTES_MAX {
            return Err(StackError::BadSize(stack_bytes));
        }
        let order = stack_bytes.div_ceil(PAGE_BYTES).next_power_of_two().ilog2() as usize;
        let slot = {
            let mut pool = POOL.lock();
            let head = pool.cached[order];
            if head != NONE {
                pool.cached[order] = pool.next[head as usize];
                pool.cached_count[order] -= 1;
                return Ok(Self { slot: head, order: order as u8 });
            }
            pool.take_unmapped().ok_or(StackError::TooMany)?
        };
        let out_of_memory = |error| StackError::Space(SpaceError::OutOfMemory(error));
        let made = frames::alloc_pages(order as u32).map_err(out_of_memory).and_then(|block| {
            let phys = linear_to_phys(block.as_ptr() as usize);
            space::map(bottom_of(slot), phys, PAGE_BYTES << order).map_err(|error| {
                // SAFETY: allocated above, mapped nowhere else.
                unsafe { frames::free_pages(block, order as u32) };
                StackError::Space(error)
            })?;
            Ok(phys)
        });
        let mut pool = POOL.lock();
        match made {
            Ok(phys) => {
                pool.frame[slot as usize] = (phys.0 / PAGE_BYTES as u64) as u32;
                PAGES[slot as usize].store(1 << order, Ordering::Relaxed);
                Ok(Self { slot, order: order as u8 })
            }
            Err(error) => {
                pool.put_unmapped(slot);
                Err(error)
            }
        }
    }

    /// Lowest address.
    pub fn bottom(&self) -> usize {
        bottom_of(self.slot)
    }

    /// The address after the highest: where an empty stack points.
    pub fn top(&self) -> usize {
        self.bottom() + self.size()
    }

    /// Keeps the stack for ever; returns its top.
    #[cfg(target_os = "none")]
    pub(crate) fn into_top(self) -> usize {
        let top = self.top();
        core::mem::forget(self);
        top
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        PAGE_BYTES << self.order
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        assert_task("freeing a stack");
        let order = self.order as usize;
        {
            let mut pool = POOL.lock();
            if pool.cached_count[order] < CACHE_MAX {
                pool.next[self.slot as usize] = pool.cached[order];
                pool.cached[order] = self.slot;
                pool.cached_count[order] += 1;
                return;
            }
        }
        release(self.slot, self.order);
    }
}

impl Pool {
    fn take_unmapped(&mut self) -> Option<u16> {
        if self.unmapped != NONE {
            let slot = self.unmapped;
            self.unmapped = self.next[slot as usize];
            return Some(slot);
        }
        let slot = self.fresh;
        ((slot as usize) < STACKS_MAX).then(|| {
            self.fresh += 1;
            slot
        })
    }

    fn put_unmapped(&mut self, slot: u16) {
        self.next[slot as usize] = self.unmapped;
        self.unmapped = slot;
    }
}

/// Unmaps a slot nobody uses and gives its frames back.
fn release(slot: u16, order: u8) {
    PAGES[slot as usize].store(0, Ordering::Relaxed);
    let unmapped = space::unmap(bottom_of(slot), PAGE_BYTES << order);
    let mut pool = POOL.lock();
    let phys = PhysAddr(u64::from(pool.frame[slot as usize]) * PAGE_BYTES as u64);
    if unmapped.is_err() {
        // Then the frames may still be reachable: better lost than used twice.
        return;
    }
    pool.put_unmapped(slot);
    drop(pool);
    let block = NonNull::new(linear(phys)).expect("linear addresses are not 0");
    // SAFETY: the frames came from alloc_pages with this order, and their mapping is gone.
    unsafe { frames::free_pages(block, u32::from(order)) };
}

/// Gives every cached stack back.
pub fn trim() {
    for order in 0..ORDERS {
        loop {
            let slot = {
                let mut pool = POOL.lock();
                let head = pool.cached[order];
                if head == NONE {
                    break;
                }
                pool.cached[order] = pool.next[head as usize];
                pool.cached_count[order] -= 1;
                head
            };
            release(slot, order as u8);
            preempt::cond_resched_if_allowed();
        }
    }
}

/// Bytes of stacks that are mapped but unused.
pub fn cached_bytes() -> usize {
    let pool = POOL.lock();
    (0..ORDERS).map(|order| usize::from(pool.cached_count[order]) * (PAGE_BYTES << order)).sum()
}

fn bottom_of(slot: u16) -> usize {
    STACK_BASE + usize::from(slot) * SLOT_BYTES
}

/// What lies at an address of the stack window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackPlace {
    /// Within a stack.
    Inside,
    /// In the guard below a stack: it overflowed.
    Guard,
    /// Above the end of a stack.
    Above,
}

/// The stack an address belongs to, as a fault reporter wants to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackOwner {
    /// Lowest address of the stack.
    pub bottom: usize,
    /// The address after its highest.
    pub top: usize,
    /// Where in relation to it the address is.
    pub place: StackPlace,
}

/// Which stack `addr` belongs to. Any context; takes no lock.
pub fn owner_of(addr: usize) -> Option<StackOwner> {
    let (boot_bottom, boot_top) = arch::boot::boot_stack();
    if (boot_bottom - PAGE_BYTES..boot_top).contains(&addr) {
        let place = if addr < boot_bottom { StackPlace::Guard } else { StackPlace::Inside };
        return Some(StackOwner { bottom: boot_bottom, top: boot_top, place });
    }
    // The upper half of a slot is the guard of the next one; the guard of slot 0 is below the window.
    let offset = addr.checked_sub(STACK_BASE - STACK_BYTES_MAX)?;
    let slot = offset / SLOT_BYTES;
    let pages = PAGES.get(slot)?.load(Ordering::Relaxed) as usize;
    if pages == 0 {
        return None;
    }
    let bottom = STACK_BASE + slot * SLOT_BYTES;
    let top = bottom + pages * PAGE_BYTES;
    let place = if addr < bottom {
        StackPlace::Guard
    } else if addr < top {
        StackPlace::Inside
    } else {
        StackPlace::Above
    };
    Some(StackOwner { bottom, top, place })
}

const _: () = assert!(STACK_BASE.is_multiple_of(SLOT_BYTES) && STACK_BYTES_MAX == 1 << 16);
