//! The cycle counter: PMCCNTR_EL0, 64 bits, on every CPU, counting at EL1.
//!
//! Under QEMU's `-icount shift=0` one instruction is one cycle; on silicon it counts core cycles and stops
//! in WFI. Arm ARM D13 (PMU). The overflow interrupt is used by the sweep alone.

use core::arch::asm;

const PMCR_E: u64 = 1 << 0;
const PMCR_LC: u64 = 1 << 6;
const CYCLE_COUNTER: u64 = 1 << 31;

/// Starts the cycle counter of this CPU. Idempotent.
pub fn init() {
    // SAFETY: PMU registers are ours: EL2 entry code gave EL1 access to them (MDCR_EL2.TPM = 0).
    unsafe {
        asm!("msr pmcr_el0, {}", in(reg) PMCR_E | PMCR_LC, options(nostack, preserves_flags));
        asm!("msr pmccfiltr_el0, xzr", options(nostack, preserves_flags));
        asm!("msr pmintenclr_el1, {}", in(reg) u64::from(u32::MAX), options(nostack, preserves_flags));
        asm!("msr pmuserenr_el0, xzr", options(nostack, preserves_flags));
        asm!("msr pmcntenset_el0, {}", "isb", in(reg) CYCLE_COUNTER, options(nostack, preserves_flags));
    }
}

/// Cycles since [`init`]. One instruction; not ordered against its neighbours (no `isb`), which costs at
/// most a pipeline's depth on silicon and nothing in QEMU.
#[inline(always)]
#[must_use]
pub fn cycles() -> u64 {
    let cycles;
    // SAFETY: reads a counter. No `nomem`: a measurement must not move across the measured stores.
    unsafe { asm!("mrs {}, pmccntr_el0", out(reg) cycles, options(nostack, preserves_flags)) };
    cycles
}

/// Presets the counter so that the overflow interrupt comes after `cycles` more cycles, and enables it.
///
/// The interrupt line is the DTB's `pmu` node: a PPI in QEMU, an SPI per core on the Pi 4.
#[inline(always)]
pub fn overflow_after(cycles: u64) {
    // SAFETY: PMU registers; see `init`. The last instruction starts the countdown.
    unsafe {
        asm!(
            "msr pmintenset_el1, {bit}", "msr pmovsclr_el0, {bit}", "isb", "msr pmccntr_el0, {preset}",
            bit = in(reg) CYCLE_COUNTER, preset = in(reg) cycles.wrapping_neg(), options(nostack, preserves_flags)
        );
    }
}

/// Takes back [`overflow_after`] and clears the overflow. Returns whether it had overflowed.
#[inline(always)]
pub fn overflow_stop() -> bool {
    let pending: u64;
    // SAFETY: PMU registers; see `init`.
    unsafe {
        asm!(
            "msr pmintenclr_el1, {bit}", "mrs {p}, pmovsset_el0", "msr pmovsclr_el0, {bit}", "isb",
            bit = in(reg) CYCLE_COUNTER, p = out(reg) pending, options(nostack, preserves_flags)
        );
    }
    pending & CYCLE_COUNTER != 0
}
