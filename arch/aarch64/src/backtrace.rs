//! Walking the frame-pointer chain.
//!
//! Every frame record is `{ previous fp, return address }` at the address in x29; exception frames carry
//! one too, so the walk passes through interrupts. The walk trusts nothing: each record must be aligned and in
//! memory that the MMU lets the kernel read, and their number is limited.

use core::arch::asm;

/// The frame pointer of the caller.
#[inline(always)]
#[must_use]
pub fn frame_pointer() -> u64 {
    let fp;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, x29", out(reg) fp, options(nomem, nostack, preserves_flags)) };
    fp
}

/// Whether eight bytes at `address` can be read: asks the MMU.
#[must_use]
pub fn readable(address: u64) -> bool {
    let par: u64;
    // SAFETY: an address translation reads nothing and faults never; PAR_EL1 is nobody's.
    unsafe {
        asm!("at s1e1r, {a}", "isb", "mrs {p}, par_el1", a = in(reg) address, p = out(reg) par, options(nostack, preserves_flags))
    };
    par & 1 == 0
}

/// Calls `f` with each return address, innermost first, at most `limit` of them. Stops at a zero frame
/// pointer or at the first record that cannot be one.
pub fn walk(mut fp: u64, limit: usize, mut f: impl FnMut(u64)) {
    for _ in 0..limit {
        if fp == 0 || fp & 0xf != 0 || !readable(fp) || !readable(fp + 8) {
            return;
        }
        // SAFETY: mapped (just asked) and aligned; a wrong value is only printed.
        let (next, pc) =
            unsafe { ((fp as *const u64).read_volatile(), (fp as *const u64).add(1).read_volatile()) };
        if pc == 0 {
            return;
        }
        f(pc);
        if next == fp {
            return;
        }
        fp = next;
    }
}

/// [`walk`] from a hook in interrupted code, which may have been about to read PAR_EL1: gives it back.
pub fn walk_interrupted(fp: u64, limit: usize, f: impl FnMut(u64)) {
    let par: u64;
    // SAFETY: reads a register. No `nomem`: it stays before the walk.
    unsafe { asm!("mrs {}, par_el1", out(reg) par, options(nostack, preserves_flags)) };
    walk(fp, limit, f);
    // SAFETY: puts back what was there.
    unsafe { asm!("msr par_el1, {}", "isb", in(reg) par, options(nostack, preserves_flags)) };
}
