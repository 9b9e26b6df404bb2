//! K3: no preemption in a hard interrupt, nor inside the scheduler; and the context a handler runs in.

use crate::framework::clock::{TickOff, work};
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::tests::{HIGH, high_waiter};
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use stint::locking::{RawSpinLock, Semaphore};
use stint::preempt;
use stint::sched::core::with_rq;
use stint::task;

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_task_woken_by_a_handler_runs_after_the_handler() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let waker = Interrupt::request(8, || {
            LOG.mark('[');
            let _ = GATE.give();
            work(5000);
            LOG.mark(']');
        })?;
        let high = high_waiter(&LOG, &GATE)?;
        waker.raise();
        LOG.mark('m');
        high.join();
        check_eq!(LOG.text(), "[]Hm");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// A marker's end, a spin lock's end and a queue lock's end are preemption points, but not in a handler.
    fn no_enable_inside_a_handler_switches() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static LOCK: RawSpinLock<()> = RawSpinLock::new(());
        let _tick = TickOff::new();
        let waker = Interrupt::request(8, || {
            let guard = preempt::preempt_disable();
            let _ = GATE.give();
            drop(guard);
            LOG.mark('1');
            drop(LOCK.lock());
            LOG.mark('2');
            let _ = GATE.count();
            LOG.mark('3');
        })?;
        let high = high_waiter(&LOG, &GATE)?;
        waker.raise();
        LOG.mark('m');
        high.join();
        check_eq!(LOG.text(), "123Hm");
    }
}

ktest! {
    fn a_handler_runs_in_hard_interrupt_context_with_interrupts_masked() {
        static SEEN: AtomicU32 = AtomicU32::new(0);
        let interrupt = Interrupt::request(8, || {
            let seen = [
                preempt::in_hardirq(),
                preempt::in_interrupt(),
                preempt::in_atomic(),
                !preempt::in_task(),
                !preempt::preemptible(),
                arch::irqflags::irqs_disabled(),
            ];
            SEEN.store(seen.iter().fold(0, |bits, &bit| bits << 1 | u32::from(bit)), Ordering::Relaxed);
        })?;
        interrupt.raise();
        check_eq!(SEEN.load(Ordering::Relaxed), 0b11_1111, "hardirq, interrupt, atomic, not task, not preemptible, masked");
        check!(!preempt::in_hardirq() && preempt::preemptible());
    }
}

ktest! {
    fn a_handler_runs_on_the_interrupt_stack() {
        static STACK: AtomicUsize = AtomicUsize::new(0);
        let interrupt = Interrupt::request(8, || {
            let here = 0u8;
            STACK.store((&raw const here).addr(), Ordering::Relaxed);
        })?;
        let on = |interrupt: &Interrupt| {
            interrupt.raise();
            STACK.load(Ordering::Relaxed)
        };
        let first = on(&interrupt);
        let (low, top) = task::current_ref().stack_bounds().expect("this task has a stack of its own");
        check!(!(low..top).contains(&first), "the handler ran on the task's stack: {first:#x} in {low:#x}..{top:#x}");
        // From every task the same place: there is one per CPU.
        let wrapped = SendInterrupt(interrupt);
        let second = task::build("other").fifo(HIGH).spawn(move || {
            let wrapped = wrapped;
            wrapped.0.raise();
            STACK.load(Ordering::Relaxed)
        })?;
        check_eq!(second.join(), Some(first), "where the handler runs when another task is interrupted");
    }
}

/// Moves an interrupt into another task.
struct SendInterrupt(Interrupt);
// SAFETY: the handler's closure touches statics alone, and one task uses the line.
unsafe impl Send for SendInterrupt {}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// The controller forgets the interrupt before the switch: the task that is switched to, with the first
    /// interrupt's frame still on the other stack, is interrupted by one of the same priority.
    fn the_end_of_interrupt_is_signalled_before_the_switch() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static RUNNING_PRIORITY: AtomicU32 = AtomicU32::new(0);
        let _tick = TickOff::new();
        let waker = Interrupt::request(8, || {
            LOG.mark('w');
            let _ = GATE.give();
        })?;
        let again = SendInterrupt(Interrupt::request(8 + 1, || LOG.mark('a'))?);
        let high = task::build("high").fifo(HIGH).spawn(move || {
            let again = again;
            GATE.take();
            RUNNING_PRIORITY.store(running_priority(), Ordering::Relaxed);
            LOG.mark('H');
            again.0.send();
            work(1000);
            LOG.mark('h');
        })?;
        waker.raise();
        LOG.mark('m');
        high.join();
        check_eq!(LOG.text(), "wHahm");
        check_eq!(RUNNING_PRIORITY.load(Ordering::Relaxed), 0xff, "the CPU's running priority after the switch (0xff is idle)");
    }
}

/// The priority of the interrupt that the controller believes this CPU to handle.
fn running_priority() -> u32 {
    if arch::patch::is_enabled(arch::patch::Key::GicV2) {
        // There is no accessor for the register; the second interrupt of the test shows the same.
        return 0xff;
    }
    let priority: u64;
    // SAFETY: ICC_RPR_EL1 is a read-only status register of a GICv3.
    unsafe {
        core::arch::asm!("mrs {}, S3_0_C12_C11_3", out(reg) priority, options(nostack, preserves_flags))
    };
    // In the non-secure view of a controller with Security Extensions idle is 0xff as well.
    priority as u32
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn no_interrupt_and_no_switch_happens_inside_the_scheduler() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let waker = Interrupt::request(8, || {
            LOG.mark('i');
            let _ = GATE.give();
        })?;
        let high = high_waiter(&LOG, &GATE)?;
        with_rq(|_| {
            LOG.mark('(');
            waker.send();
            work(2000);
            LOG.mark(')');
        });
        work(1000);
        LOG.mark('m');
        high.join();
        check_eq!(LOG.text(), "()iHm");
    }
}

ktest! {
    fn interrupts_are_not_nested_in_a_handler() {
        static LOG: Events = Events::new();
        static SECOND: AtomicBool = AtomicBool::new(false);
        let _tick = TickOff::new();
        let second = Interrupt::request(9, || {
            LOG.mark('s');
            SECOND.store(true, Ordering::Relaxed);
        })?;
        let first = Interrupt::request(8, || {
            LOG.mark('[');
            arch::gic::send_sgi_self(9);
            work(2000);
            LOG.mark(']');
        })?;
        first.raise();
        while !SECOND.load(Ordering::Relaxed) {
            arch::cpu::relax();
        }
        LOG.mark('m');
        check_eq!(LOG.text(), "[]sm");
        check_eq!((first.taken(), second.taken()), (1, 1));
    }
}

ktest! {
    fn an_interrupt_line_is_requested_once_and_by_a_number_that_exists() {
        let first = Interrupt::request(8, || {})?;
        check_eq!(stint::irq::request(8, |_| {}, 0), Err(stint::Error::Busy), "the same line again");
        check_eq!(stint::irq::request(1020, |_| {}, 0), Err(stint::Error::BadIrq { irq: 1020 }), "a number that names no line");
        drop(first);
        let again = Interrupt::request(8, || {})?;
        again.raise();
        check_eq!(again.taken(), 1, "interrupts on a line that was freed and requested again");
    }
}

ktest! {
    fn a_line_that_nobody_requested_is_shut_off_and_reported() {
        // Sent to a line without a handler: the kernel disables it and goes on.
        arch::gic::send_sgi_self(15);
        work(2000);
        arch::gic::send_sgi_self(15);
        work(2000);
        let later = Interrupt::request(15, || {})?;
        let before = later.taken();
        later.raise();
        check!(later.taken() > before, "the line does not come back when it is requested");
    }
}
