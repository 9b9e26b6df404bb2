//! Masking interrupts on this CPU: the I bit of DAIF and nothing else.
//!
//! Own assembly, each with its implied memory clobber: the accessors of the register crates are `nomem`,
//! so the compiler may move a store out of the masked section (it does; see docs/adr/0002).
//!
//! The instruction that changes the mask is a site of preempt-stats (`hooks.rs`): the sections that it begins and ends
//! are timed while the statistics are on. The two `raw_` functions are not, for the recorder and whoever reads it.

use crate::patch::PREEMPT_STATS;
use core::arch::asm;

/// The I bit as it stands in DAIF and SPSR.
pub const PSR_I_BIT: u64 = 1 << 7;

/// A saved DAIF.
pub type Flags = u64;

/// Masks IRQs and returns what was before.
#[inline(always)]
#[must_use]
pub fn local_irq_save() -> Flags {
    let flags;
    // SAFETY: masking interrupts is always allowed; the caller restores. Two instructions.
    unsafe {
        asm!("mrs {flags}, daif", irq_site!("msr daifset, #2", "#0x80"),
            flags = out(reg) flags, key = const PREEMPT_STATS, options(nostack, preserves_flags));
    }
    flags
}

/// Puts back what [`local_irq_save`] returned.
///
/// Writes all of DAIF, as saved: D, A and F are never changed between save and restore.
#[inline(always)]
pub fn local_irq_restore(flags: Flags) {
    // SAFETY: `flags` is a value that this CPU's DAIF had before.
    unsafe {
        asm!(irq_site!("msr daif, {flags}", "{flags}"),
            flags = in(reg) flags, key = const PREEMPT_STATS, options(nostack, preserves_flags));
    }
}

/// Masks IRQs.
#[inline(always)]
pub fn local_irq_disable() {
    // SAFETY: as above.
    unsafe {
        asm!(irq_site!("msr daifset, #2", "#0x80"), key = const PREEMPT_STATS, options(nostack, preserves_flags));
    }
}

/// Unmasks IRQs.
#[inline(always)]
pub fn local_irq_enable() {
    // SAFETY: the caller is in a context where interrupts may come: not inside a masked section.
    unsafe {
        asm!(irq_site!("msr daifclr, #2", "#0"), key = const PREEMPT_STATS, options(nostack, preserves_flags));
    }
}

/// [`local_irq_save`] that no statistics see: for the statistics themselves.
#[inline(always)]
#[must_use]
pub fn raw_local_irq_save() -> Flags {
    let flags;
    // SAFETY: as `local_irq_save`.
    unsafe { asm!("mrs {}, daif", "msr daifset, #2", out(reg) flags, options(nostack, preserves_flags)) };
    flags
}

/// Puts back what [`raw_local_irq_save`] returned.
#[inline(always)]
pub fn raw_local_irq_restore(flags: Flags) {
    // SAFETY: as `local_irq_restore`.
    unsafe { asm!("msr daif, {}", in(reg) flags, options(nostack, preserves_flags)) };
}

/// Opens D, A and F and leaves I alone: once per CPU, when its vectors are set.
#[inline(always)]
pub fn open_daf() {
    // SAFETY: from now on an SError or a debug exception reaches the vectors, which report it.
    unsafe { asm!("msr daifclr, #13", options(nostack, preserves_flags)) };
}

/// Masks everything, for good: panic and power-off.
#[inline(always)]
pub fn mask_all() {
    // SAFETY: masking is always allowed.
    unsafe { asm!("msr daifset, #15", options(nostack, preserves_flags)) };
}

/// The current DAIF.
#[inline(always)]
#[must_use]
pub fn local_save_flags() -> Flags {
    let flags;
    // SAFETY: reads a register. Not `nomem`, so that it stays where it is written.
    unsafe { asm!("mrs {}, daif", out(reg) flags, options(nostack, preserves_flags)) };
    flags
}

/// Whether `flags` has IRQs masked.
#[inline(always)]
#[must_use]
pub const fn irqs_disabled_flags(flags: Flags) -> bool {
    flags & PSR_I_BIT != 0
}

/// Whether IRQs are masked now.
#[inline(always)]
#[must_use]
pub fn irqs_disabled() -> bool {
    irqs_disabled_flags(local_save_flags())
}
