//! The table of lines: from the controller's number to the handler.
//!
//! `handle_arch_irq` is where vectors.S arrives, on the IRQ stack, with everything masked and the count
//! saying "hard interrupt". It acknowledges one interrupt, calls one handler and signals the end; a second
//! pending interrupt is taken after the return, so one interrupt costs one bounded time (style rule 12).
//!
//! A handler acknowledges its device, takes a time, wakes somebody, returns. It runs with IRQs masked and must
//! not open them: an interrupt nests over a softirq, never over a handler.
//!
//! There are two kinds. A **direct** handler ([`request`]) is called from here: the timer, software-generated
//! interrupts, and whoever counts instructions. It is timed while [`Key::IrqStats`] is switched on; off, which
//! is the rule, that costs nothing: the site is the acknowledgement in vectors.S. All other drivers use
//! [`super::request_irq`], whose flow handler is the line's one direct handler here.
//!
//! Context: as each function says. Locks: none; an entry is changed with IRQs masked and its line disabled.

use super::action::Line;
use crate::drivers::irqchip;
use crate::error::{Error, Result};
use crate::patching::{self, PatchFailure};
use crate::percpu::raw_smp_processor_id;
use crate::time::ticks_to_ns;
use arch::gic;
use arch::patch::{IRQ_STATS, Key, static_branch};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};

/// The interrupt numbers that can be requested: SGIs 0–15, PPIs 16–31, SPIs 32–1019.
pub const NR_IRQS: usize = 1020;

/// A handler and its argument. Hard-interrupt context.
pub type Handler = fn(usize);

/// One line. 32 bytes, so that the entry finds it with a shift.
pub(super) struct Desc {
    handler: Cell<Handler>,
    arg: Cell<usize>,
    count: Cell<u64>,
    /// What `request_irq` keeps about it; null for a line with a direct handler or none.
    pub(super) line: Cell<*const Line>,
}
const _: () = assert!(size_of::<Desc>() == 32);

struct Table([Desc; NR_IRQS]);

// SAFETY: an entry is written with IRQs masked while its line is disabled, and read by the interrupt; the count is
// the interrupt's own.
unsafe impl Sync for Table {}

static TABLE: Table = {
    let mut table = [const {
        Desc {
            handler: Cell::new(nobody),
            arg: Cell::new(0),
            count: Cell::new(0),
            line: Cell::new(core::ptr::null()),
        }
    }; NR_IRQS];
    // A line that nobody has requested finds its own number as the argument.
    let mut irq = 0;
    while irq < NR_IRQS {
        table[irq].arg = Cell::new(irq);
        irq += 1;
    }
    Table(table)
};

/// The line's place in the table.
pub(super) fn desc(irq: u32) -> Result<&'static Desc> {
    TABLE.0.get(irq as usize).ok_or(Error::BadIrq { irq })
}

impl Desc {
    pub(super) fn is_free(&self) -> bool {
        core::ptr::fn_addr_eq(self.handler.get(), nobody as Handler)
    }

    /// IRQs masked, the line disabled.
    pub(super) fn set(&self, handler: Handler, arg: usize) {
        self.handler.set(handler);
        self.arg.set(arg);
    }

    /// IRQs masked, the line disabled.
    pub(super) fn clear(&self, irq: u32) {
        self.set(nobody, irq as usize);
        self.line.set(core::ptr::null());
    }

    /// Interrupts taken since boot.
    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }

    pub(super) fn handler(&self) -> Handler {
        self.handler.get()
    }
}

/// Registers `handler` for interrupt `irq` and enables the line; for numbers below 32 on this CPU alone.
/// Thread context or boot.
///
/// # Errors
/// [`Error::BadIrq`] for a number there is not, [`Error::Busy`] if somebody has it.
pub fn request(irq: u32, handler: Handler, arg: usize) -> Result<()> {
    let desc = desc(irq)?;
    let flags = arch::irqflags::local_irq_save();
    let free = desc.is_free();
    if free {
        desc.set(handler, arg);
        irqchip::enable(raw_smp_processor_id(), irq, irqchip::PRIORITY_DEFAULT);
    }
    arch::irqflags::local_irq_restore(flags);
    if free { Ok(()) } else { Err(Error::Busy) }
}

/// Disables the line and forgets its direct handler.
pub fn free(irq: u32) {
    let Ok(desc) = desc(irq) else { return };
    debug_assert!(
        desc.line.get().is_null(),
        "irq::free({irq}): it was requested by request_irq; expected free_irq"
    );
    let flags = arch::irqflags::local_irq_save();
    irqchip::disable(raw_smp_processor_id(), irq);
    desc.clear(irq);
    arch::irqflags::local_irq_restore(flags);
}

/// The handler of a line that nobody requested: shuts it off, so that it cannot storm.
fn nobody(irq: usize) {
    let irq = irq as u32;
    irqchip::disable(raw_smp_processor_id(), irq);
    log::error!("irq {irq}: nobody handles it; the line is disabled");
}

/// Calls the handler; counts behind it, where nobody waits.
#[inline(always)]
fn handle(desc: &Desc) {
    (desc.handler.get())(desc.arg.get());
    desc.count.set(desc.count.get() + 1);
    #[cfg(debug_assertions)]
    {
        assert_masked(desc);
        crate::lockdep::interrupt_ends();
    }
}

#[cfg(debug_assertions)]
fn assert_masked(desc: &Desc) {
    let handler = crate::ksyms::Symbol(desc.handler.get() as *const () as u64);
    assert!(
        arch::irqflags::irqs_disabled(),
        "the interrupt handler {handler} returned with IRQs open; it must not open them"
    );
}

/// The longest run of each line's handler while handlers were timed, in counter ticks.
static LONGEST: [AtomicU32; NR_IRQS] = [const { AtomicU32::new(0) }; NR_IRQS];

/// The line's longest time in its handler since [`time_handlers`], in ns; 0 if it did not come.
pub(super) fn longest_ns(irq: u32) -> u64 {
    LONGEST.get(irq as usize).map_or(0, |longest| ticks_to_ns(u64::from(longest.load(Ordering::Relaxed))))
}

/// Times all handlers from now on, from zero; or no longer, and keeps what was found. Thread context.
///
/// # Errors
/// The text cannot be patched.
pub fn time_handlers(on: bool) -> core::result::Result<(), PatchFailure> {
    if on {
        LONGEST.iter().for_each(|longest| longest.store(0, Ordering::Relaxed));
    }
    patching::set_key(Key::IrqStats, on).map(|_| ())
}

/// [`handle`], timed.
fn handle_timed(desc: &Desc, irq: u32) {
    let start = arch::timer::counter();
    handle(desc);
    let took = arch::timer::counter().wrapping_sub(start);
    LONGEST[irq as usize].fetch_max(u32::try_from(took).unwrap_or(u32::MAX), Ordering::Relaxed);
}

/// [`handle_arch_irq`] while handlers are timed.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn handle_arch_irq_timed(irq: u32) {
    if let Some(desc) = TABLE.0.get(irq as usize) {
        handle_timed(desc, irq);
        gic::v3::eoi(irq);
    }
}

/// Takes one interrupt that a GICv3 has acknowledged as `irq`. Called by vectors.S.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn handle_arch_irq(irq: u32) {
    // The special numbers from 1020 on have no handler and no end to signal.
    if let Some(desc) = TABLE.0.get(irq as usize) {
        handle(desc);
        gic::v3::eoi(irq);
    }
}

/// The same with a GICv2, which is asked here.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn handle_arch_irq_gicv2() {
    let iar = gic::v2::ack();
    // Bits 12:10 of a software-generated interrupt name its sender.
    if let Some(desc) = TABLE.0.get(gic::intid(iar) as usize) {
        // A `nop`: with memory-mapped registers it does not count.
        if static_branch::<IRQ_STATS>() {
            handle_timed(desc, gic::intid(iar));
        } else {
            handle(desc);
        }
        gic::v2::eoi(iar);
    }
}
