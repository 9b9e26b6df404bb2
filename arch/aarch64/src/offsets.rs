//! The only source of numbers for the assembly files: `global_asm!` operands made of `offset_of!`.
//!
//! A field that moves moves here with it; a layout the assembly cannot live with fails the const asserts
//! beside the struct. No `.S` file contains a literal displacement.

use crate::context::{ArchTask, CpuContext};
use crate::frame::{IrqFrame, PtRegs};
use crate::thread_info::{NEED_RESCHED, PREEMPT};
use core::arch::global_asm;
use core::mem::{offset_of, size_of};

/// One level of hard interrupt in the count (bits 19:16).
pub const HARDIRQ_OFFSET: u32 = 1 << 16;
/// One softirq being served (bit 8 of the count).
pub const SOFTIRQ_OFFSET: u32 = 1 << 8;
/// Every bit of the count that says interrupt or bottom halves disabled: softirq, hard interrupt, NMI.
const INTERRUPT_MASK: u32 = 0x00ff_ff00;
const _: () = assert!(NEED_RESCHED == PREEMPT + 4);

global_asm!(
    include_str!("vectors.S"),
    include_str!("entry.S"),
    TI_PREEMPT = const PREEMPT,
    HARDIRQ_OFFSET = const HARDIRQ_OFFSET,
    SOFTIRQ_BIT = const SOFTIRQ_OFFSET.trailing_zeros(),
    INTERRUPT_MASK = const INTERRUPT_MASK,
    KEY_GIC_V2 = const crate::patch::GIC_V2,
    KEY_SMP_LOCKS = const crate::patch::SMP_LOCKS,
    KEY_IRQ_STATS = const crate::patch::IRQ_STATS,
    KEY_PREEMPT_STATS = const crate::patch::PREEMPT_STATS,
    IRQ_FRAME_SIZE = const size_of::<IrqFrame>(),
    IRQ_X = const offset_of!(IrqFrame, x),
    IRQ_X18 = const offset_of!(IrqFrame, x) + 18 * 8,
    IRQ_FP = const offset_of!(IrqFrame, fp),
    IRQ_PSTATE = const offset_of!(IrqFrame, pstate),
    IRQ_NR_OF_FP = const offset_of!(IrqFrame, irq) - offset_of!(IrqFrame, fp),
    IRQ_COUNTS = const crate::upcall::IRQ_COUNTS,
    PT_REGS_SIZE = const size_of::<PtRegs>(),
    PT_X = const offset_of!(PtRegs, x),
    PT_X28 = const offset_of!(PtRegs, x) + 28 * 8,
    PT_FP = const offset_of!(PtRegs, fp),
    PT_SP = const offset_of!(PtRegs, sp),
    PT_ESR = const offset_of!(PtRegs, esr),
);

global_asm!(
    include_str!("switch.S"),
    CTX_X19 = const offset_of!(ArchTask, context) + offset_of!(CpuContext, x19_x28),
    CTX_FP = const offset_of!(ArchTask, context) + offset_of!(CpuContext, fp),
    CTX_SP = const offset_of!(ArchTask, context) + offset_of!(CpuContext, sp),
);
