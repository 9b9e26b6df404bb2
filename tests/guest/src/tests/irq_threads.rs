//! R2: interrupt handlers as threads with priorities.

use super::irq_lines::{HARD, OTHER_SPI, SPI, fire};
use crate::framework::Failure;
use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::{check, check_eq, ktest};
use alloc::boxed::Box;
use arch::patch::{Key, is_enabled};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use stint::Error;
use stint::drivers::irqchip;
use stint::irq::info::line_info;
use stint::irq::softirq::{Vector, open_softirq, raise_softirq};
use stint::irq::{self, IrqFlags, IrqReturn};
use stint::locking::Semaphore;
use stint::preempt::{self, preempt_count, preempt_disable};
use stint::sched::prio::SchedAttr;
use stint::task::{self, TaskRef};

const EDGE: IrqFlags = IrqFlags::EDGE;

/// The thread of the first action of `irq`.
fn thread_of(irq: u32) -> Result<TaskRef, Failure> {
    let thread = line_info(irq).and_then(|line| line.actions[0].thread.clone());
    thread.ok_or_else(|| Failure::new(format_args!("irq {irq} has no thread")))
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_handler_wakes_its_thread_which_runs_at_the_interrupts_exit() {
        static LOG: Events = Events::new();
        static CONTEXT: AtomicBool = AtomicBool::new(false);
        let _tick = TickOff::new();
        let primary = Box::new(|_| { LOG.mark('p'); IrqReturn::WakeThread });
        let id = irq::request_threaded_irq(SPI, Some(primary), |_| {
            CONTEXT.store(preempt::in_task() && preempt::preemptible(), Relaxed);
            LOG.mark('t');
            IrqReturn::Handled
        }, EDGE, "dev")?;
        let thread = thread_of(SPI)?;
        check_eq!(thread.name(), "irq/216-dev");
        check_eq!(thread.info().prio, 99 - irq::THREAD_PRIORITY, "the kernel priority of FIFO 50");
        fire(SPI);
        LOG.mark('m');
        fire(SPI);
        check_eq!(LOG.text(), "ptmpt");
        check!(CONTEXT.load(Relaxed), "the thread's function was not preemptible");
        check!(line_info(SPI).is_some_and(|line| line.actions[0].longest_wait_ns > 0), "the wait was not measured");
        drop(thread);
        irq::free_irq(id)?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn two_interrupts_before_their_threads_turn_are_one_turn_and_waited_for_once() {
        static TURNS: AtomicU32 = AtomicU32::new(0);
        let primary = Box::new(|_| IrqReturn::WakeThread);
        let id = irq::request_threaded_irq(SPI, Some(primary), |_| {
            TURNS.fetch_add(1, Relaxed);
            IrqReturn::Handled
        }, HARD, "dev")?;
        let before = line_info(SPI).map_or(0, |line| line.count);
        let guard = preempt_disable();
        fire(SPI);
        fire(SPI);
        drop(guard);
        // With a turn too many in the books this would never return.
        irq::synchronize_irq(SPI)?;
        check_eq!(line_info(SPI).map_or(0, |line| line.count) - before, 2, "interrupts");
        check_eq!(TURNS.load(Relaxed), 1, "turns of the thread");
        irq::free_irq(id)?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_one_shot_line_is_held_back_until_its_thread_is_done() {
        static LOG: Events = Events::new();
        static ROUNDS: AtomicU32 = AtomicU32::new(0);
        fn again(irq: u32) -> IrqReturn {
            LOG.mark('[');
            if ROUNDS.fetch_add(1, Relaxed) == 0 {
                fire(irq);
            }
            LOG.mark(']');
            IrqReturn::Handled
        }
        let primary = || Some(Box::new(|_| { LOG.mark('p'); IrqReturn::WakeThread }) as irq::IrqHandler);
        let id = irq::request_threaded_irq(SPI, primary(), again, EDGE | IrqFlags::ONESHOT, "once")?;
        fire(SPI);
        irq::free_irq(id)?;
        check_eq!(LOG.text(), "p[]p[]");
        // One that is not: the handler comes while the thread runs, and the thread runs again.
        ROUNDS.store(0, Relaxed);
        LOG.mark('-');
        let id = irq::request_threaded_irq(SPI, primary(), again, EDGE | IrqFlags::NO_THREAD, "twice")?;
        fire(SPI);
        irq::free_irq(id)?;
        check_eq!(LOG.text(), "p[]p[]-p[p][]");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn without_a_primary_handler_the_line_must_be_one_shot() {
        static LOG: Events = Events::new();
        let bare = irq::request_threaded_irq(SPI, None, |_| IrqReturn::Handled, EDGE, "bare");
        check_eq!(bare, Err(Error::NeedsOneshot { irq: SPI }));
        let id = irq::request_threaded_irq(SPI, None, |_| { LOG.mark('t'); IrqReturn::Handled }, EDGE | IrqFlags::ONESHOT, "bare")?;
        fire(SPI);
        LOG.mark('m');
        irq::free_irq(id)?;
        check_eq!(LOG.text(), "tm");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_shared_one_shot_line_waits_for_all_its_threads() {
        static LOG: Events = Events::new();
        static SLOW: Semaphore = Semaphore::new(0);
        let flags = EDGE | IrqFlags::SHARED | IrqFlags::ONESHOT;
        let slow = irq::request_threaded_irq(SPI, None, |_| {
            LOG.mark('s');
            SLOW.take();
            LOG.mark('S');
            IrqReturn::Handled
        }, flags, "slow")?;
        let quick = irq::request_threaded_irq(SPI, None, |_| { LOG.mark('q'); IrqReturn::Handled }, flags, "quick")?;
        fire(SPI);
        check!(line_info(SPI).is_some_and(|line| line.masked), "the line is open while a thread is busy");
        fire(SPI);
        LOG.mark('m');
        SLOW.give()?;
        SLOW.give()?;
        LOG.mark('n');
        check!(line_info(SPI).is_some_and(|line| !line.masked), "the line is held back with no thread busy");
        irq::free_irq(slow)?;
        irq::free_irq(quick)?;
        check_eq!(LOG.text(), "sqmSsqSn");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn wake_ups_before_the_thread_has_begun_are_one() {
        static PRIMARY: AtomicU32 = AtomicU32::new(0);
        static THREAD: AtomicU32 = AtomicU32::new(0);
        let primary = Box::new(|_| { PRIMARY.fetch_add(1, Relaxed); IrqReturn::WakeThread });
        let id = irq::request_threaded_irq(SPI, Some(primary), |_| { THREAD.fetch_add(1, Relaxed); IrqReturn::Handled }, HARD, "many")?;
        let guard = preempt_disable();
        for _ in 0..3 {
            fire(SPI);
        }
        check_eq!((PRIMARY.load(Relaxed), THREAD.load(Relaxed)), (3, 0), "calls with preemption off");
        drop(guard);
        check_eq!((PRIMARY.load(Relaxed), THREAD.load(Relaxed)), (3, 1), "calls in all");
        irq::free_irq(id)?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn an_interrupt_thread_has_the_priority_that_it_is_given() {
        static LOG: Events = Events::new();
        let id = irq::request_threaded_irq(SPI, None, |_| { LOG.mark('l'); IrqReturn::Handled }, EDGE | IrqFlags::ONESHOT, "low")?;
        let other = irq::request_threaded_irq(OTHER_SPI, None, |_| { LOG.mark('h'); IrqReturn::Handled }, EDGE | IrqFlags::ONESHOT, "high")?;
        let fifo = |priority| SchedAttr::fifo(priority).expect("a priority");
        thread_of(SPI)?.set_scheduler(fifo(60))?;
        thread_of(OTHER_SPI)?.set_scheduler(fifo(70))?;
        let both = || {
            let guard = preempt_disable();
            fire(SPI);
            fire(OTHER_SPI);
            drop(guard);
        };
        both();
        LOG.mark('-');
        thread_of(OTHER_SPI)?.set_scheduler(fifo(40))?;
        both();
        irq::free_irq(id)?;
        irq::free_irq(other)?;
        check_eq!(LOG.text(), "hl-lh");
    }
}

/// `threadirqs` while it lives; what was requested before stays as it is.
struct Forced;

impl Forced {
    fn new() -> Self {
        irq::force_threads(true);
        Self
    }
}

impl Drop for Forced {
    fn drop(&mut self) {
        irq::force_threads(stint::start::boot_info().bootargs.threadirqs);
    }
}

ktest! {
    fn forced_handlers_are_threads_with_bottom_halves_disabled() {
        static LOG: Events = Events::new();
        static COUNT: AtomicU32 = AtomicU32::new(u32::MAX);
        let _forced = Forced::new();
        open_softirq(Vector::Timer, || LOG.mark('s'));
        let id = irq::request_irq(SPI, EDGE, "plain", |_| {
            COUNT.store(if preempt::in_hardirq() { u32::MAX } else { preempt_count() }, Relaxed);
            LOG.mark('[');
            raise_softirq(Vector::Timer);
            LOG.mark(']');
            IrqReturn::Handled
        })?;
        check_eq!(thread_of(SPI)?.name(), "irq/216-plain");
        fire(SPI);
        task::sleep_ms(1);
        irq::free_irq(id)?;
        check_eq!(LOG.text(), "[]s");
        check_eq!(COUNT.load(Relaxed), if is_enabled(Key::Rt) { 0 } else { 0x200 }, "the count in a forced handler");
    }
}

ktest! {
    fn handlers_that_must_not_be_threads_are_not() {
        static HARDIRQ: AtomicU32 = AtomicU32::new(0);
        fn count(_: u32) -> IrqReturn {
            HARDIRQ.fetch_add(u32::from(preempt::in_hardirq()), Relaxed);
            IrqReturn::Handled
        }
        let _forced = Forced::new();
        let exempt = [IrqFlags::NO_THREAD, IrqFlags::PERCPU, IrqFlags::ONESHOT];
        for (n, flags) in exempt.into_iter().enumerate() {
            let id = irq::request_irq(SPI, EDGE | flags, "exempt", count)?;
            check!(line_info(SPI).is_some_and(|line| line.actions[0].thread.is_none()), "{flags:?} has a thread");
            fire(SPI);
            check_eq!(HARDIRQ.load(Relaxed), n as u32 + 1, "calls in hard-interrupt context with {flags:?}");
            irq::free_irq(id)?;
        }
    }
}

ktest! {
    fn a_driver_with_a_handler_and_a_thread_has_both_run_in_one_where_it_is_forced() {
        static LOG: Events = Events::new();
        let _forced = Forced::new();
        let primary = Box::new(|_| {
            LOG.mark(if preempt::in_hardirq() { 'P' } else { 'p' });
            IrqReturn::WakeThread
        });
        let id = irq::request_threaded_irq(SPI, Some(primary), |_| {
            LOG.mark(if preempt_count() == 0 { 't' } else { 'T' });
            IrqReturn::Handled
        }, EDGE, "both")?;
        fire(SPI);
        irq::free_irq(id)?;
        check_eq!(LOG.text(), "pt");
    }
}

ktest! {
    fn freeing_waits_for_the_thread_that_is_running() {
        static DONE: AtomicU32 = AtomicU32::new(0);
        let request = || irq::request_threaded_irq(SPI, None, |_| {
            task::sleep_ms(5);
            DONE.fetch_add(1, Relaxed);
            IrqReturn::Handled
        }, EDGE | IrqFlags::ONESHOT, "slow");
        let id = request()?;
        fire(SPI);
        check_eq!(DONE.load(Relaxed), 0);
        irq::free_irq(id)?;
        check_eq!(DONE.load(Relaxed), 1, "calls that were over when free_irq returned");
        let id = request()?;
        fire(SPI);
        irq::disable_irq(SPI)?;
        check_eq!(DONE.load(Relaxed), 2, "calls that were over when disable_irq returned");
        irq::free_irq(id)?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_thread_cannot_free_itself() {
        static ANSWER: AtomicU32 = AtomicU32::new(0);
        static ID: spin::Once<irq::ActionId> = spin::Once::new();
        let id = irq::request_threaded_irq(SPI, None, |_| {
            let refused = ID.get().is_some_and(|&id| irq::free_irq(id) == Err(Error::Deadlock));
            ANSWER.store(1 + u32::from(refused), Relaxed);
            IrqReturn::Handled
        }, EDGE | IrqFlags::ONESHOT, "own")?;
        ID.call_once(|| id);
        fire(SPI);
        check_eq!(ANSWER.load(Relaxed), 2);
        irq::free_irq(id)?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_line_whose_thread_handles_nothing_is_shut_off_too() {
        let _tick = TickOff::new();
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let id = irq::request_threaded_irq(SPI, None, |irq| {
            CALLS.fetch_add(1, Relaxed);
            irqchip::set_pending(0, irq);
            IrqReturn::None
        }, EDGE | IrqFlags::ONESHOT, "idle hands")?;
        fire(SPI);
        check!(line_info(SPI).is_some_and(|line| line.stuck), "after {} calls the line is still open", CALLS.load(Relaxed));
        check!((irq::UNHANDLED_MAX..=irq::WINDOW + 1).contains(&CALLS.load(Relaxed)), "calls: {}", CALLS.load(Relaxed));
        irq::free_irq(id)?;
    }
}
