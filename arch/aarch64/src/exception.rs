//! The vector base, and what a syndrome says in words.

use core::arch::asm;
use core::fmt;

unsafe extern "C" {
    static vectors: u8;
}

/// Points VBAR_EL1 at the kernel's vectors, on this CPU.
///
/// # Safety
/// In the upper half, once the per-CPU offset, `sp_el0` and the IRQ and overflow stacks of this CPU are
/// set; interrupts masked.
pub unsafe fn set_vectors() {
    // SAFETY: by contract; `isb` before anything can trap.
    unsafe { asm!("msr vbar_el1, {}", "isb", in(reg) &raw const vectors, options(nostack, preserves_flags)) };
}

/// An ESR_EL1 value that prints as a person would say it.
#[derive(Clone, Copy)]
pub struct Syndrome(pub u64);

impl Syndrome {
    /// The exception class.
    #[must_use]
    pub fn class(self) -> u64 {
        self.0 >> 26 & 0x3f
    }

    /// Whether FAR is meaningful: instruction and data aborts, PC and watchpoint faults.
    #[must_use]
    pub fn has_far(self) -> bool {
        matches!(self.class(), 0x20..=0x22 | 0x24 | 0x25 | 0x34 | 0x35)
    }

    /// Whether it is a data abort taken from EL1.
    #[must_use]
    pub fn is_data_abort(self) -> bool {
        self.class() == 0x25
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class() {
            0x00 => "unknown or undefined instruction",
            0x07 => "floating point used in the kernel",
            0x0e => "illegal execution state",
            0x15 => "SVC",
            0x16 => "HVC",
            0x17 => "SMC",
            0x18 => "trapped system register",
            0x20 | 0x21 => "instruction abort",
            0x22 => "PC not aligned",
            0x24 | 0x25 => "data abort",
            0x26 => "SP not aligned",
            0x2f => "SError",
            0x3c => "BRK instruction",
            _ => "other exception",
        };
        write!(f, "{class}")?;
        if matches!(self.class(), 0x20 | 0x21 | 0x24 | 0x25) {
            let write = matches!(self.class(), 0x24 | 0x25) && self.0 & (1 << 6) != 0;
            let status = match self.0 & 0x3c {
                0x00 => "address size",
                0x04 => "not mapped",
                0x08 => "access flag",
                0x0c => "permission",
                0x10 | 0x14 => "external abort (no device there?)",
                0x20 => "alignment",
                _ => "other",
            };
            write!(f, ", {}, {status}, level {}", if write { "write" } else { "read or fetch" }, self.0 & 3)?;
        }
        write!(f, " (ESR {:#010x})", self.0)
    }
}
