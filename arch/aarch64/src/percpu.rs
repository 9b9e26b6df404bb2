//! The per-CPU offset: `tpidr_el1`.
//!
//! A per-CPU variable is a static in `.percpu`; this CPU's instance is at its address plus the offset.
//! The boot CPU uses the section itself (offset 0); every other CPU gets a copy.

use core::arch::asm;

/// This CPU's offset. Only meaningful while the task cannot move: the kernel's `PerCpu` demands the proof.
#[inline(always)]
#[must_use]
pub fn this_cpu_offset() -> usize {
    let offset;
    // SAFETY: reads a register. Not `pure`: after a migration the answer is another one.
    unsafe { asm!("mrs {}, tpidr_el1", out(reg) offset, options(nomem, nostack, preserves_flags)) };
    offset
}

/// Sets this CPU's offset.
///
/// # Safety
/// Once per CPU, before it touches a per-CPU variable; `offset` is 0 for the boot CPU, otherwise the
/// distance from `.percpu` to an initialised copy of it.
pub unsafe fn set_this_cpu_offset(offset: usize) {
    // SAFETY: by contract.
    unsafe { asm!("msr tpidr_el1, {}", in(reg) offset, options(nostack, preserves_flags)) };
}
