//! What a CPU that is started finds: the record from which boot.S gives it tables, stack, task and per-CPU offset.
//!
//! **Caches.** The new CPU reads its record with MMU and caches off, from memory; whoever writes it has it in a cache.
//! So the record is cleaned (and dropped) to the point of coherency, with a `dsb` that ends that, before the CPU is
//! let go. A record fills cache lines of its own: a line that were shared with something else could be written
//! back over it later. QEMU has no caches and hides every omission here.
//!
//! Invariant: a record is written only while its CPU is off. Context: threads, one writer at a time.

use core::cell::UnsafeCell;

use crate::boot::image_to_phys;
use crate::cache;
use crate::gic::MAX_CPUS;
use crate::mmu::{self, PhysAddr};

/// See the module's text. 128 bytes: the largest line of any CPU with this architecture so far.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub(crate) struct Record {
    /// Whose it is: what a CPU from a spin table finds it by. No CPU has the affinity `u64::MAX`.
    pub(crate) affinity: u64,
    pub(crate) ttbr1: u64,
    stack_top: u64,
    pub(crate) task: u64,
    percpu_offset: u64,
}

const _: () = {
    use core::mem::offset_of;
    // boot.S loads in pairs.
    assert!(offset_of!(Record, stack_top) == offset_of!(Record, ttbr1) + 8);
    assert!(offset_of!(Record, percpu_offset) == offset_of!(Record, task) + 8);
};

#[repr(transparent)]
struct Records(UnsafeCell<[Record; MAX_CPUS]>);

// SAFETY: written by `prepare` alone, whose callers are serialised; other CPUs read it with their caches off.
unsafe impl Sync for Records {}

const NOBODY: Record = Record { affinity: u64::MAX, ttbr1: 0, stack_top: 0, task: 0, percpu_offset: 0 };

#[unsafe(export_name = "secondary_records")]
static RECORDS: Records = Records(UnsafeCell::new([NOBODY; MAX_CPUS]));

unsafe extern "C" {
    fn stint_secondary();
    fn stint_secondary_spin_table();
}

/// Where a CPU that is given its record's address starts, and where one that has to look for it does.
pub fn entry_points() -> (PhysAddr, PhysAddr) {
    (
        image_to_phys(stint_secondary as *const () as usize),
        image_to_phys(stint_secondary_spin_table as *const () as usize),
    )
}

/// Writes the record of CPU `cpu` and returns its physical address; it is in memory when this returns.
///
/// # Safety
/// The CPU with this affinity is off, and calls are serialised. The rest is what it will run on, alone: the top of a
/// mapped stack, the head of a task, the offset of its per-CPU data.
pub unsafe fn prepare(
    cpu: usize,
    affinity: u64,
    stack_top: usize,
    task: *const crate::context::ArchTask,
    percpu_offset: usize,
) -> PhysAddr {
    let table = RECORDS.0.get();
    let record = Record {
        affinity,
        ttbr1: mmu::kernel_root().0,
        stack_top: stack_top as u64,
        task: task as u64,
        percpu_offset: percpu_offset as u64,
    };
    // SAFETY: in bounds, or it panics; nobody else looks at the record, by contract.
    let place = unsafe {
        let place = &raw mut (*table)[cpu];
        place.write(record);
        place as usize
    };
    // The whole table, whose other records a CPU from a spin table passes over: they may never have left a cache.
    cache::clean_inval_to_poc(table as usize, size_of::<Records>());
    image_to_phys(place)
}

/// Starts the calling CPU once more where boot.S left it to the kernel, on an empty stack.
///
/// # Safety
/// It has been started before, and its tables, per-CPU offset, task and vectors are still set; everything above
/// `stack_top` downwards is free, the caller's frame too. Interrupts are masked.
pub unsafe fn start_again(stack_top: usize) -> ! {
    // SAFETY: by contract.
    unsafe {
        core::arch::asm!(
            "mov sp, {top}",
            "mov x29, xzr",
            "mov x30, xzr",
            "b stint_secondary_start",
            top = in(reg) stack_top,
            options(noreturn)
        );
    }
}
