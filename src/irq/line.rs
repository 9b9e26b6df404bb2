//! The table of lines: from the controller's number to the handler.
//!
//! `handle_arch_irq` is where vectors.S arrives with the number of an interrupt it has acknowledged, on the IRQ stack, with
//! everything masked and the count saying "hard interrupt". It counts, and calls one handler; the end is signalled where
//! the acknowledgement was. A second pending interrupt is taken after the return, so one interrupt costs one bounded
//! time (style rule 12).
//!
//! A handler acknowledges its device, takes a time, wakes somebody, returns. It runs with IRQs masked and must
//! not open them: an interrupt nests over a softirq, never over a handler.
//!
//! There are two kinds. A **direct** handler ([`request`]) is called from here: the timer, software-generated
//! interrupts, and whoever counts instructions. It is timed while [`Key::IrqStats`] is switched on; off, which
//! is the rule, that costs nothing: the site is the store of the number in vectors.S. All other drivers use
//! [`super::request_irq`], whose flow handler is the line's one direct handler here.
//!
//! **More than one CPU.** A shared interrupt is handled by one CPU at a time, the controller sees to that; private ones by
//! each for itself, so there the count is one per CPU. An entry changes only while the controller gives its interrupt
//! to nobody and nobody has it ([`irqchip::is_active`]).
//!
//! Context: as each function says. Lock: LINES (`manage`) for changes; the interrupt takes none.

use super::action::Line;
use super::affinity;
use super::manage::LINES;
use crate::drivers::irqchip;
use crate::error::{Error, Result};
use crate::patching::{self, PatchFailure};
use crate::percpu::{PerCpu, raw_smp_processor_id};
use crate::time::ticks_to_ns;
use crate::trace;
use arch::gic;
use arch::patch::{IRQ_STATS, Key, SMP_LOCKS, static_branch};
use arch::upcall::IRQ_COUNTS;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// The interrupt numbers that can be requested: SGIs 0–15, PPIs 16–31, SPIs 32–1019.
pub const NR_IRQS: usize = 1020;
const _: () = assert!(NR_IRQS == gic::SPURIOUS_FROM as usize);

/// A handler and its argument. Hard-interrupt context.
pub type Handler = fn(usize);

/// One line. 32 bytes, so that the entry finds it with a shift.
pub(super) struct Desc {
    handler: Cell<Handler>,
    /// With the handler in one load.
    arg: Cell<usize>,
    /// Of the one CPU; where there are more, they count for themselves.
    count: AtomicU64,
    /// What `request_irq` keeps about it; null for a line with a direct handler or none.
    line: AtomicPtr<Line>,
}
const _: () = assert!(size_of::<Desc>() == 32);

struct Table([Desc; NR_IRQS]);

// SAFETY: `handler` and `arg` are written while the interrupt is disabled and no CPU is in its handler, and the enabling comes
// after it (`gic::enable`); the rest is atomic.
unsafe impl Sync for Table {}

static TABLE: Table = {
    let mut table = [const {
        Desc {
            handler: Cell::new(nobody),
            arg: Cell::new(0),
            count: AtomicU64::new(0),
            line: AtomicPtr::new(core::ptr::null_mut()),
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

/// What each CPU has taken of each interrupt, where there are several; the special numbers have a place too (`entry.S`).
struct Counts([AtomicU64; IRQ_COUNTS]);

#[cfg_attr(target_os = "none", unsafe(link_section = ".percpu"), unsafe(export_name = "irq_counts"))]
static COUNTS: PerCpu<Counts> = PerCpu::new(Counts([const { AtomicU64::new(0) }; IRQ_COUNTS]));
const _: () = assert!(IRQ_COUNTS >= NR_IRQS && IRQ_COUNTS.is_power_of_two());

/// The private interrupts that every CPU enables when it starts, a bit each.
static EVERY_CPUS: AtomicU32 = AtomicU32::new(0);

/// The line's place in the table.
pub(super) fn desc(irq: u32) -> Result<&'static Desc> {
    TABLE.0.get(irq as usize).ok_or(Error::BadIrq { irq })
}

impl Desc {
    pub(super) fn is_free(&self) -> bool {
        core::ptr::fn_addr_eq(self.handler.get(), nobody as Handler)
    }

    /// LINES is held; the interrupt is disabled, and no CPU is in its handler.
    pub(super) fn set(&self, handler: Handler, arg: usize) {
        self.arg.set(arg);
        self.handler.set(handler);
    }

    /// As [`Self::set`].
    pub(super) fn clear(&self, irq: u32) {
        self.set(nobody, irq as usize);
        self.set_line(core::ptr::null());
    }

    /// Null, or a line that is alive while LINES is held.
    pub(super) fn line(&self) -> *const Line {
        self.line.load(Ordering::Acquire)
    }

    /// LINES is held.
    pub(super) fn set_line(&self, line: *const Line) {
        self.line.store(line.cast_mut(), Ordering::Release);
    }

    pub(super) fn handler(&self) -> Handler {
        self.handler.get()
    }
}

/// Interrupts `irq` taken since boot, by all CPUs.
pub(super) fn count(irq: u32) -> u64 {
    if static_branch::<SMP_LOCKS>() {
        return crate::smp::seen().iter().map(|cpu| count_on(irq, cpu)).sum();
    }
    TABLE.0.get(irq as usize).map_or(0, |desc| desc.count.load(Ordering::Relaxed))
}

/// Interrupts `irq` that `cpu` has taken since boot. Any context.
#[must_use]
pub fn count_on(irq: u32, cpu: usize) -> u64 {
    if !static_branch::<SMP_LOCKS>() {
        return if cpu == 0 { count(irq) } else { 0 };
    }
    if !crate::smp::seen().contains(cpu) {
        return 0;
    }
    // SAFETY: it has been online, so it has a copy; atomics.
    let counts = unsafe { COUNTS.of(cpu) };
    counts.0.get(irq as usize).map_or(0, |count| count.load(Ordering::Relaxed))
}

/// Registers `handler` for interrupt `irq` and enables the line; for numbers below 32 on this CPU alone.
/// Thread context or boot.
///
/// # Errors
/// [`Error::BadIrq`] for a number there is not, [`Error::Busy`] if somebody has it.
pub fn request(irq: u32, handler: Handler, arg: usize) -> Result<()> {
    let desc = desc(irq)?;
    let guard = LINES.lock();
    let free = desc.is_free();
    if free {
        desc.set(handler, arg);
        irqchip::enable(affinity::choose_target(irq), irq, irqchip::PRIORITY_DEFAULT);
    }
    guard.unlock_no_resched();
    if free { Ok(()) } else { Err(Error::Busy) }
}

/// [`request`] for a private interrupt, on this CPU and on every one that starts from now on: each calls `handler` for
/// its own. For good. Boot.
///
/// # Errors
/// As [`request`]; [`Error::BadIrq`] for a shared one too.
pub fn request_percpu(irq: u32, handler: Handler, arg: usize) -> Result<()> {
    if irq >= 32 {
        return Err(Error::BadIrq { irq });
    }
    request(irq, handler, arg)?;
    EVERY_CPUS.fetch_or(1 << irq, Ordering::Release);
    Ok(())
}

/// Enables on this CPU what every CPU has. IRQs masked.
pub(super) fn enable_every_cpus() {
    let mut left = EVERY_CPUS.load(Ordering::Acquire);
    while left != 0 {
        irqchip::enable(raw_smp_processor_id(), left.trailing_zeros(), irqchip::PRIORITY_DEFAULT);
        left &= left - 1;
    }
}

/// Disables on this CPU what every CPU has. IRQs masked.
pub(super) fn disable_every_cpus() {
    let mut left = EVERY_CPUS.load(Ordering::Acquire);
    while left != 0 {
        irqchip::disable(raw_smp_processor_id(), left.trailing_zeros());
        left &= left - 1;
    }
}

/// Disables the line and forgets its direct handler, once that has returned. Thread context.
pub fn free(irq: u32) {
    let Ok(desc) = desc(irq) else { return };
    debug_assert!(
        desc.line().is_null(),
        "irq::free({irq}): it was requested by request_irq; expected free_irq"
    );
    irqchip::disable(raw_smp_processor_id(), irq);
    wait_until_ended(irq);
    let guard = LINES.lock();
    desc.clear(irq);
    guard.unlock_no_resched();
}

/// Waits until no other CPU is in the handler of a line that is disabled: as long as a handler takes. Not from a handler.
pub(super) fn wait_until_ended(irq: u32) {
    // A private one is this CPU's, which is not in its handler, because it is here.
    while static_branch::<SMP_LOCKS>() && irq >= 32 && irqchip::is_active(irq) {
        arch::cpu::relax();
    }
}

/// The handler of a line that nobody requested: shuts it off, so that it cannot storm.
fn nobody(irq: usize) {
    let irq = irq as u32;
    irqchip::disable(raw_smp_processor_id(), irq);
    log::error!("irq {irq}: nobody handles it; the line is disabled");
}

/// Counts the interrupt and calls its handler.
#[inline(always)]
fn handle<const SMP: bool>(desc: &Desc, irq: usize) {
    if SMP {
        // SAFETY: hard interrupt, IRQs masked.
        let count = &unsafe { COUNTS.this_cpu() }.0[irq];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    } else {
        desc.count.store(desc.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
    call(desc);
}

/// Calls the handler. That is the last act, so that in a release build it is a jump, and the handler returns to the vector.
#[inline(always)]
fn call(desc: &Desc) {
    (desc.handler.get())(desc.arg.get());
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

/// Whether handlers are timed. Their entry is traced at the same sites.
static TIMED: AtomicBool = AtomicBool::new(false);

/// Times all handlers from now on, from zero; or no longer, and keeps what was found. Thread context.
///
/// # Errors
/// The text cannot be patched.
pub fn time_handlers(on: bool) -> core::result::Result<(), PatchFailure> {
    if on {
        LONGEST.iter().for_each(|longest| longest.store(0, Ordering::Relaxed));
    }
    TIMED.store(on, Ordering::Relaxed);
    patching::set_key(Key::IrqStats, on).map(|_| ())
}

/// [`handle`], timed and traced.
fn handle_timed(desc: &Desc, irq: u32) {
    trace::irq_entry(irq);
    let unhandled = unhandled(desc);
    let start = arch::timer::counter();
    if static_branch::<SMP_LOCKS>() {
        handle::<true>(desc, irq as usize)
    } else {
        handle::<false>(desc, irq as usize)
    }
    let took = arch::timer::counter().wrapping_sub(start);
    if TIMED.load(Ordering::Relaxed) {
        LONGEST[irq as usize].fetch_max(u32::try_from(took).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
    trace::irq_exit(irq, self::unhandled(desc) <= unhandled);
}

/// How many of the line's interrupts nobody handled, lately; it is handled here.
fn unhandled(desc: &Desc) -> u32 {
    // SAFETY: null, or a line that is not freed while this CPU is in its interrupt. The count is changed by the CPU that
    // handles the line alone.
    unsafe { desc.line().as_ref() }.map_or(0, |line| line.spurious.unhandled())
}

/// Acknowledgements that found nothing: the request was taken back before the CPU asked.
static SPURIOUS: AtomicU64 = AtomicU64::new(0);

/// How many interrupts were gone when a CPU asked for their number, since boot.
#[must_use]
pub fn spurious_interrupts() -> u64 {
    SPURIOUS.load(Ordering::Relaxed)
}

/// A special number instead of an interrupt's: no handler, and no end to signal.
#[cold]
#[inline(never)]
fn spurious() {
    SPURIOUS.fetch_add(1, Ordering::Relaxed);
}

/// Does `f` with the line that a GICv3 has acknowledged as `irq`; the caller signals its end.
#[inline(always)]
fn with_line(irq: usize, f: impl FnOnce(&Desc)) {
    let Some(desc) = TABLE.0.get(irq) else {
        spurious();
        // So that this call is none that ends the function, and the frame is made here, for it alone: the way to the
        // handler, which ends in a jump, needs none.
        return core::hint::black_box(());
    };
    f(desc);
}

/// [`handle_arch_irq`] while handlers are timed.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn handle_arch_irq_timed(irq: usize) {
    with_line(irq, |desc| handle_timed(desc, irq as u32));
}

/// Called by vectors.S.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn handle_arch_irq(irq: usize) {
    with_line(irq, |desc| handle::<false>(desc, irq));
}

/// The same where there is more than one CPU; the caller counts.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
extern "C" fn handle_arch_irq_smp(irq: usize) {
    with_line(irq, call);
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
        } else if static_branch::<SMP_LOCKS>() {
            handle::<true>(desc, gic::intid(iar) as usize);
        } else {
            handle::<false>(desc, gic::intid(iar) as usize);
        }
        gic::v2::eoi(iar);
    } else {
        spurious();
    }
}
