//! Registers: whatever interrupts a task, and whoever runs before it goes on, finds none of them changed.
//!
//! In assembly: every register has a value of its own, the condition flags too, and all are compared after a
//! while, in which the interrupt handler and H have changed what they may.

use crate::path::{Check, Path, expect};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The path.
pub const PATHS: &[Path] = &[Path {
    intrude: scramble,
    in_irq: scramble,
    check: unchanged,
    ..Path::new("registers", || CHANGED.store(hold_patterns(), Relaxed))
}];

static CHANGED: AtomicU64 = AtomicU64::new(0);

fn unchanged() -> Check {
    expect("bits that changed in some register", CHANGED.load(Relaxed), 0)
}

/// H and the interrupt handler leave nothing as it was of what a function may change.
fn scramble() {
    scramble_registers();
}

#[unsafe(naked)]
extern "C" fn scramble_registers() {
    naked_asm!(
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18",
        "mov x\\n, #(4095 - \\n)",
        ".endr",
        "msr nzcv, xzr",
        "ret",
    )
}

/// Puts 64 n + 7 into xn for n = 0 … 30 and 0110 into NZCV; some instructions later, the bits that are
/// different in any of them.
#[unsafe(naked)]
extern "C" fn hold_patterns() -> u64 {
    naked_asm!(
        // What the caller wants back.
        "stp x29, x30, [sp, #-96]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "mov x0, #0x60000000",
        "msr nzcv, x0",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
        "mov x\\n, #(64 * \\n + 7)",
        ".endr",
        ".rept 32",
        "nop",
        ".endr",
        // Subtracting leaves the flags alone, and zero if nothing changed.
        "sub x0, x0, #7",
        "sub x1, x1, #(64 + 7)",
        "orr x0, x0, x1",
        "mrs x1, nzcv",
        "lsr x1, x1, #28",
        "sub x1, x1, #6",
        "orr x0, x0, x1",
        ".irp n, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
        "sub x\\n, x\\n, #(64 * \\n + 7)",
        "orr x0, x0, x\\n",
        ".endr",
        "ldp x27, x28, [sp, #80]",
        "ldp x25, x26, [sp, #64]",
        "ldp x23, x24, [sp, #48]",
        "ldp x21, x22, [sp, #32]",
        "ldp x19, x20, [sp, #16]",
        "ldp x29, x30, [sp], #96",
        "ret",
    )
}
