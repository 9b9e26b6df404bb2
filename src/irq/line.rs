//! Interrupts: from the controller's number to the handler.
//!
//! `handle_arch_irq` is where vectors.S arrives, on the IRQ stack, with everything masked and the count
//! saying "hard interrupt". It acknowledges one interrupt, calls one handler and signals the end; a second
//! pending interrupt is taken after the return, so one interrupt costs one bounded time (style rule 12).
//!
//! A handler acknowledges its device, takes a time, wakes somebody, returns. It runs with IRQs masked.

use crate::drivers::irqchip;
use crate::error::{Error, Result};
use crate::percpu::raw_smp_processor_id;
use arch::gic;
use core::cell::Cell;

/// The interrupt numbers that can be requested: SGIs 0–15, PPIs 16–31, SPIs 32–1019.
pub const NR_IRQS: usize = 1020;

/// A handler and its argument. Hard-interrupt context.
pub type Handler = fn(usize);

struct Desc {
    handler: Cell<Handler>,
    arg: Cell<usize>,
}

struct Table([Desc; NR_IRQS]);

// SAFETY: an entry is written with IRQs masked while its line is disabled, and read by the interrupt.
unsafe impl Sync for Table {}

static TABLE: Table = {
    let mut table = [const { Desc { handler: Cell::new(nobody), arg: Cell::new(0) } }; NR_IRQS];
    // A line that nobody has requested finds its own number as the argument.
    let mut irq = 0;
    while irq < NR_IRQS {
        table[irq].arg = Cell::new(irq);
        irq += 1;
    }
    Table(table)
};

/// Registers `handler` for interrupt `irq` and enables the line; for numbers below 32 on this CPU alone.
/// Thread context or boot.
///
/// # Errors
/// [`Error::BadIrq`] for a number there is not, [`Error::Busy`] if somebody has it.
pub fn request(irq: u32, handler: Handler, arg: usize) -> Result<()> {
    let desc = TABLE.0.get(irq as usize).ok_or(Error::BadIrq { irq })?;
    let flags = arch::irqflags::local_irq_save();
    let free = core::ptr::fn_addr_eq(desc.handler.get(), nobody as Handler);
    if free {
        desc.handler.set(handler);
        desc.arg.set(arg);
        irqchip::enable(raw_smp_processor_id(), irq, irqchip::PRIORITY_DEFAULT);
    }
    arch::irqflags::local_irq_restore(flags);
    if free { Ok(()) } else { Err(Error::Busy) }
}

/// Disables the line and forgets its handler.
pub fn free(irq: u32) {
    let Some(desc) = TABLE.0.get(irq as usize) else { return };
    let flags = arch::irqflags::local_irq_save();
    irqchip::disable(raw_smp_processor_id(), irq);
    desc.handler.set(nobody);
    desc.arg.set(irq as usize);
    arch::irqflags::local_irq_restore(flags);
}

/// The handler of a line that nobody requested: shuts it off, so that it cannot storm.
fn nobody(irq: usize) {
    let irq = irq as u32;
    irqchip::disable(raw_smp_processor_id(), irq);
    log::error!("irq {irq}: nobody handles it; the line is disabled");
}

/// Takes one interrupt that a GICv3 has acknowledged as `irq`. Called by vectors.S.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn handle_arch_irq(irq: u32) {
    // The special numbers from 1020 on have no handler and no end to signal.
    if let Some(desc) = TABLE.0.get(irq as usize) {
        (desc.handler.get())(desc.arg.get());
        #[cfg(debug_assertions)]
        crate::lockdep::interrupt_ends();
        gic::v3::eoi(irq);
    }
}

/// The same with a GICv2, which is asked here.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn handle_arch_irq_gicv2() {
    let iar = gic::v2::ack();
    // Bits 12:10 of a software-generated interrupt name its sender.
    if let Some(desc) = TABLE.0.get(gic::intid(iar) as usize) {
        (desc.handler.get())(desc.arg.get());
        #[cfg(debug_assertions)]
        crate::lockdep::interrupt_ends();
        gic::v2::eoi(iar);
    }
}
