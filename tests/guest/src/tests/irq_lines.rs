//! Requested lines: handlers, sharing, disabling, freeing, and lines that nobody handles.

use crate::framework::Failure;
use crate::framework::clock::{TickOff, is_exact, work};
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::{check, check_eq, ktest};
use arch::patch::Key;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use stint::Error;
use stint::drivers::irqchip;
use stint::irq::info::line_info;
use stint::irq::{self, IrqFlags, IrqReturn, WINDOW};
use stint::preempt;
use stint::smp::CpuMask;

/// Shared interrupts that no device of the machines has.
pub const SPI: u32 = 216;
/// See [`SPI`].
pub const OTHER_SPI: u32 = 217;

/// A handler that stays one in every model.
pub const HARD: IrqFlags = IrqFlags::EDGE.union(IrqFlags::NO_THREAD);

/// Makes `irq` pending, as its device would, and lets a moment pass.
pub fn fire(irq: u32) {
    irqchip::set_pending(0, irq);
    work(1000);
}

ktest! {
    fn a_requested_handler_runs_in_hard_interrupt_context_until_it_is_freed() {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        static CONTEXT: AtomicBool = AtomicBool::new(false);
        let before = line_info(SPI).map_or(0, |line| line.count);
        let id = irq::request_irq(SPI, HARD, "calls", |irq| {
            CALLS.fetch_add(irq, Relaxed);
            CONTEXT.store(preempt::in_hardirq() && arch::irqflags::irqs_disabled(), Relaxed);
            IrqReturn::Handled
        })?;
        fire(SPI);
        fire(SPI);
        check_eq!(CALLS.load(Relaxed), 2 * SPI, "the sum of the numbers it was called with");
        check!(CONTEXT.load(Relaxed), "not in hard-interrupt context, or not masked");
        let line = line_info(SPI).expect("it was requested");
        check_eq!(line.count - before, 2, "counted interrupts");
        check_eq!(line.actions[0].name, "calls");
        check!(line.actions[0].longest_ns > 0 && line.actions[0].thread.is_none());
        irq::free_irq(id)?;
        fire(SPI);
        check_eq!(CALLS.load(Relaxed), 2 * SPI, "calls after it was freed");
        check_eq!(irq::free_irq(id), Err(Error::BadIrq { irq: SPI }), "freeing it again");
    }
}

ktest! {
    fn a_line_belongs_to_one_driver_unless_all_share_it() {
        let handled = |_| IrqReturn::Handled;
        let mine = irq::request_irq(SPI, HARD, "mine", handled)?;
        check_eq!(irq::request_irq(SPI, HARD | IrqFlags::SHARED, "yours", handled), Err(Error::Busy));
        check_eq!(irq::request(SPI, |_| {}, 0), Err(Error::Busy), "a direct handler on a requested line");
        irq::free_irq(mine)?;
        let sgi = Interrupt::request(8, || {})?;
        check_eq!(irq::request_irq(8, IrqFlags::empty(), "late", handled), Err(Error::Busy), "a line with a direct handler");
        drop(sgi);
        check_eq!(irq::request_irq(1020, HARD, "none", handled), Err(Error::BadIrq { irq: 1020 }));
        let shared = irq::request_irq(SPI, HARD | IrqFlags::SHARED, "shared", handled)?;
        let level = IrqFlags::SHARED | IrqFlags::NO_THREAD | IrqFlags::LEVEL;
        check_eq!(irq::request_irq(SPI, level, "level", handled), Err(Error::Busy), "another trigger");
        let oneshot = HARD | IrqFlags::SHARED | IrqFlags::ONESHOT;
        check_eq!(irq::request_irq(SPI, oneshot, "once", handled), Err(Error::Busy), "one-shot, and the other not");
        irq::free_irq(shared)?;
    }
}

ktest! {
    fn all_handlers_of_a_shared_line_are_asked_in_their_order() {
        static LOG: Events = Events::new();
        let flags = HARD | IrqFlags::SHARED;
        let a = irq::request_irq(SPI, flags, "a", |_| { LOG.mark('a'); IrqReturn::None })?;
        let b = irq::request_irq(SPI, flags, "b", |_| { LOG.mark('b'); IrqReturn::Handled })?;
        let c = irq::request_irq(SPI, flags, "c", |_| { LOG.mark('c'); IrqReturn::None })?;
        fire(SPI);
        irq::free_irq(b)?;
        LOG.mark('-');
        fire(SPI);
        irq::free_irq(a)?;
        LOG.mark('-');
        fire(SPI);
        irq::free_irq(c)?;
        fire(SPI);
        check_eq!(LOG.text(), "abc-ac-c");
    }
}

ktest! {
    fn a_line_disabled_twice_is_let_through_by_the_second_enable() {
        static LOG: Events = Events::new();
        let id = irq::request_irq(SPI, HARD, "disabled", |_| { LOG.mark('i'); IrqReturn::Handled })?;
        irq::disable_irq(SPI)?;
        irq::disable_irq_nosync(SPI)?;
        fire(SPI);
        LOG.mark('a');
        irq::enable_irq(SPI)?;
        work(1000);
        LOG.mark('b');
        check_eq!(line_info(SPI).map(|line| line.disabled), Some(1));
        irq::enable_irq(SPI)?;
        work(1000);
        LOG.mark('c');
        check_eq!(irq::enable_irq(SPI), Err(Error::NotDisabled { irq: SPI }));
        irq::free_irq(id)?;
        check_eq!(LOG.text(), "abic");
        check_eq!(irq::disable_irq(SPI), Err(Error::BadIrq { irq: SPI }), "a line that nobody has");
        let id = irq::request_irq(SPI, HARD | IrqFlags::NO_AUTOEN, "later", |_| { LOG.mark('l'); IrqReturn::Handled })?;
        fire(SPI);
        LOG.mark('d');
        irq::enable_irq(SPI)?;
        work(1000);
        irq::free_irq(id)?;
        check_eq!(LOG.text(), "abicdl", "with one that is to stay disabled at first");
    }
}

ktest! {
    fn a_line_that_nobody_handles_is_shut_off_after_a_hundred_thousand() {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        static MENDED: AtomicBool = AtomicBool::new(false);
        let _tick = TickOff::new();
        let id = irq::request_irq(SPI, HARD, "broken", |irq| {
            CALLS.fetch_add(1, Relaxed);
            if MENDED.load(Relaxed) {
                return IrqReturn::Handled;
            }
            // The device does not let go.
            irqchip::set_pending(0, irq);
            IrqReturn::None
        })?;
        fire(SPI);
        check_eq!(CALLS.load(Relaxed), WINDOW, "calls before the line was shut off");
        let line = line_info(SPI).expect("it was requested");
        check!(line.stuck && line.disabled == 1, "the line is not marked: {line:?}");
        MENDED.store(true, Relaxed);
        irq::enable_irq(SPI)?;
        work(1000);
        check_eq!(CALLS.load(Relaxed), WINDOW + 1, "calls after enable_irq has revived it");
        check!(!line_info(SPI).expect("requested").stuck, "it is still marked");
        irq::free_irq(id)?;
    }
}

ktest! {
    fn a_line_keeps_the_cpus_it_may_go_to() {
        check_eq!(irq::irq_affinity(SPI), Ok(CpuMask::ALL));
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::from_bits(0b0101)), Ok(()));
        check_eq!(irq::irq_affinity(SPI), Ok(CpuMask::from_bits(0b0101)));
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::of(63)), Err(Error::BadAffinity), "CPUs that are not online");
        check_eq!(irq::irq_set_affinity(1020, CpuMask::of(0)), Err(Error::BadIrq { irq: 1020 }));
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::ALL), Ok(()));
    }
}

ktest! {
    fn a_direct_handler_is_timed_when_that_is_switched_on_and_not_longer() {
        const SGI: u32 = 8;
        static TURNS: AtomicU32 = AtomicU32::new(10_000);
        let longest_ns = || line_info(SGI).map_or(0, |line| line.longest_ns);
        let switch = |on| irq::time_handlers(on).map_err(|failure| Failure::new(format_args!("{failure}")));
        let interrupt = Interrupt::request(SGI, || work(TURNS.load(Relaxed)))?;
        let sites = arch::patch::count_sites(Key::IrqStats);
        switch(true)?;
        interrupt.raise();
        let first_ns = longest_ns();
        TURNS.store(100, Relaxed);
        interrupt.raise();
        check_eq!(longest_ns(), first_ns, "the longest run behind a shorter one");
        switch(false)?;
        TURNS.store(50_000, Relaxed);
        interrupt.raise();
        check_eq!(longest_ns(), first_ns, "the longest run behind one that was not timed");
        check_eq!(arch::patch::count_sites(Key::IrqStats), sites, "sites, and those that are what they were");
        check_eq!(sites.0, 3, "sites");
        if is_exact() {
            check!((20_000..25_000).contains(&first_ns), "20,000 instructions took {first_ns} ns");
        }
        switch(true)?;
        switch(false)?;
        check_eq!(longest_ns(), 0, "the longest run when timing was begun again");
    }
}

ktest! {
    panics = "returned with IRQs open",
    fn a_direct_handler_that_opens_interrupts_is_found() {
        let interrupt = Interrupt::request(8, arch::irqflags::local_irq_enable)?;
        interrupt.raise();
        Ok(())
    }
}

ktest! {
    panics = "the handler of careless returned with IRQs open",
    fn a_requested_handler_that_opens_interrupts_is_found() {
        let id = irq::request_irq(SPI, HARD, "careless", |_| {
            arch::irqflags::local_irq_enable();
            IrqReturn::Handled
        })?;
        fire(SPI);
        irq::free_irq(id)?;
        Ok(())
    }
}
