//! Spin tables: CPUs that the firmware left waiting for a word in memory to become an address.
//!
//! They wait in `wfe` with their caches off (arm64 boot protocol). So the word is cleaned to memory after it is
//! written, and only then they are woken: `dsb` between the three.
//!
//! Context: threads. Protocol: Documentation/arm64/booting, devicetree specification 3.8.1.

use core::arch::asm;

use crate::cache;
use crate::mmu::PhysAddr;

/// Lets out the CPU that waits for the word at `slot`.
///
/// # Safety
/// `slot` is a mapping of its `cpu-release-addr`, and at `entry` is code for it.
pub unsafe fn release(slot: *mut u64, entry: PhysAddr) {
    // SAFETY: by contract. The word is little endian, as this kernel is.
    unsafe { slot.write_volatile(entry.0) };
    cache::clean_inval_to_poc(slot as usize, size_of::<u64>());
    wake_all();
}

/// Wakes every CPU that waits for an event, when all that was written before is there to be seen.
pub fn wake_all() {
    // SAFETY: a barrier and a hint.
    unsafe { asm!("dsb sy", "sev", options(nostack, preserves_flags)) };
}
