//! The two exception frames.
//!
//! [`IrqFrame`] is what an interrupt from EL1 pushes: the registers that the AAPCS lets a function
//! destroy, and nothing else, since the handler is a function. If the exit path then switches,
//! `cpu_switch_to` saves the callee-saved rest in the task. [`PtRegs`] is everything, for faults.

use core::mem::{offset_of, size_of};

/// Pushed by `el1_irq`.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct IrqFrame {
    /// x0 to x18.
    pub x: [u64; 19],
    /// The interrupted link register.
    pub lr: u64,
    /// First half of the frame record: a back-trace walks through the interrupt.
    pub fp: u64,
    /// The interrupted address; second half of the frame record.
    pub pc: u64,
    /// The interrupted PSTATE.
    pub pstate: u64,
    /// The interrupt's number, from its acknowledgement at a GICv3 to its end; behind it, or with a GICv2, nothing.
    pub irq: u64,
}

/// Pushed by every other exception.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct PtRegs {
    /// x0 to x28.
    pub x: [u64; 29],
    /// x30.
    pub lr: u64,
    /// First half of the frame record (x29).
    pub fp: u64,
    /// ELR; second half of the frame record.
    pub pc: u64,
    /// The interrupted stack pointer.
    pub sp: u64,
    /// SPSR.
    pub pstate: u64,
    /// Syndrome.
    pub esr: u64,
    /// Fault address; meaningful for aborts.
    pub far: u64,
}

// The assembly stores pairs: each must be adjacent and the size a multiple of 16.
const _: () = {
    assert!(size_of::<IrqFrame>() == 192);
    assert!(offset_of!(IrqFrame, lr) == 18 * 8 + 8);
    assert!(offset_of!(IrqFrame, pc) == offset_of!(IrqFrame, fp) + 8);
    assert!(offset_of!(IrqFrame, fp).is_multiple_of(16));
    assert!(size_of::<PtRegs>().is_multiple_of(16));
    assert!(offset_of!(PtRegs, lr) == 29 * 8);
    assert!(offset_of!(PtRegs, pc) == offset_of!(PtRegs, fp) + 8);
    assert!(offset_of!(PtRegs, fp).is_multiple_of(16));
    assert!(offset_of!(PtRegs, pstate) == offset_of!(PtRegs, sp) + 8);
    assert!(offset_of!(PtRegs, far) == offset_of!(PtRegs, esr) + 8);
};

impl IrqFrame {
    /// Whether the interrupted code had IRQs masked (it cannot have: that would be a hardware error).
    #[must_use]
    pub fn irqs_disabled(&self) -> bool {
        self.pstate & crate::irqflags::PSR_I_BIT != 0
    }
}
