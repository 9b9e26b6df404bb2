//! Cache maintenance by address.
//!
//! Needed where somebody looks at memory past the caches: instruction fetch after code was written, CPUs
//! that are not coherent yet (spin tables), devices that do DMA. QEMU has no caches and hides every
//! omission.
//!
//! Context: any. Bound: linear in the bytes. Architecture: Arm ARM D7.5.

use core::arch::asm;

/// Bytes of the smallest data cache line.
pub fn line_bytes() -> usize {
    let ctr: u64;
    // SAFETY: reading a constant register.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    4 << (ctr >> 16 & 0xf)
}

macro_rules! by_line {
    ($name:ident, $op:literal, $doc:literal) => {
        #[doc = $doc]
        pub fn $name(start: usize, bytes: usize) {
            let line = line_bytes();
            let mut at = start & !(line - 1);
            while at < start + bytes {
                // SAFETY: cleaning (and dropping clean) lines changes no value the program can see.
                unsafe { asm!(concat!($op, ", {}"), in(reg) at, options(nostack, preserves_flags)) };
                at += line;
            }
            // SAFETY: a barrier.
            unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
        }
    };
}

by_line!(clean_to_poc, "dc cvac", "Writes the range back to memory, for observers without caches.");
by_line!(clean_inval_to_poc, "dc civac", "Writes the range back to memory and drops it from the caches.");
by_line!(clean_to_pou, "dc cvau", "Writes the range back to where instruction fetch looks.");

/// Makes code that was written to `start..start + bytes` what this and every other CPU executes. Other
/// CPUs need an `isb` (or an exception return) of their own.
pub fn sync_code(start: usize, bytes: usize) {
    clean_to_pou(start, bytes);
    // SAFETY: drops all instruction cache lines of the inner shareable domain; rare, so not by line.
    unsafe { asm!("ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
}
