//! Memory: what there is, the final page tables, page frames, the heap and the stacks.
//!
//! Coarse to fine: `regions` says which pages are free at boot, `frames` hands out blocks of pages,
//! `heap` makes small allocations in constant time out of them. Neither is ever used from interrupt
//! context or by the scheduler; debug builds check.

pub mod frames;
pub mod heap;
mod quick;
pub mod regions;
#[cfg(target_os = "none")]
mod setup;
#[cfg(target_os = "none")]
mod space;
#[cfg_attr(not(target_os = "none"), path = "stack_host.rs")]
pub mod stack;

#[cfg(target_os = "none")]
pub use setup::{MemoryFault, MemoryInfo, init};
#[cfg(target_os = "none")]
pub(crate) use space::PatchWindow;
#[cfg(target_os = "none")]
pub use space::{SpaceError, ioremap};

/// How memory is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemStats {
    /// Bytes the page allocator manages.
    pub total_bytes: usize,
    /// Of these, free.
    pub free_bytes: usize,
    /// The heap's part.
    pub heap: heap::HeapStats,
    /// Stacks kept for reuse.
    pub stack_cache_bytes: usize,
}

/// How memory is used now.
pub fn stats() -> MemStats {
    let (total_bytes, used_bytes) = frames::stats();
    #[cfg(target_os = "none")]
    let stack_cache_bytes = stack::cached_bytes();
    #[cfg(not(target_os = "none"))]
    let stack_cache_bytes = 0;
    MemStats { total_bytes, free_bytes: total_bytes - used_bytes, heap: heap::stats(), stack_cache_bytes }
}

/// Debug builds: panics, naming the caller, unless this is thread context.
#[track_caller]
#[inline(always)]
fn assert_task(what: &str) {
    if cfg!(debug_assertions) && !crate::preempt::in_task() {
        panic!("{what} in interrupt context; expected thread context");
    }
}
