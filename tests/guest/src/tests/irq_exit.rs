//! P5: the preemption point at the return from an interrupt.

use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::tests::high_waiter;
use crate::{check_eq, ktest};
use arch::irqflags::{local_irq_restore, local_irq_save};
use stint::locking::Semaphore;
use stint::preempt::preempt_disable;
use stint::sched::core::nr_switches;
use stint::task;

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn an_interrupt_preempts_where_the_count_is_zero() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let waker = Interrupt::request(8, || {
            LOG.mark('i');
            let _ = GATE.give();
            LOG.mark('j');
        })?;
        let high = high_waiter(&LOG, &GATE)?;
        LOG.mark('m');
        waker.raise();
        LOG.mark('n');
        high.join();
        check_eq!(LOG.text(), "mijHn");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn an_interrupt_does_not_preempt_where_preemption_is_off() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let waker = Interrupt::request(8, || {
            LOG.mark('i');
            let _ = GATE.give();
        })?;
        let high = high_waiter(&LOG, &GATE)?;
        let guard = preempt_disable();
        waker.raise();
        LOG.mark('m');
        // A second interrupt with the request standing must not switch either.
        waker.raise();
        LOG.mark('n');
        drop(guard);
        LOG.mark('o');
        high.join();
        // The unit of the second one stays in the semaphore.
        check_eq!(LOG.text(), "iminHo");
        check_eq!(GATE.count(), 1);
    }
}

ktest! {
    fn an_interrupt_without_a_request_returns_to_the_same_task() {
        let _tick = TickOff::new();
        let nothing = Interrupt::request(8, || {})?;
        let before = nr_switches();
        for _ in 0..100 {
            nothing.raise();
        }
        check_eq!(nr_switches(), before, "switches over 100 interrupts that wake nobody");
    }
}

ktest! {
    fn an_interrupt_that_wakes_a_lesser_task_returns_to_the_same_task() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let fair = task::build("fair").spawn(|| {
            GATE.take();
            LOG.mark('F');
        })?;
        // It runs up to its wait while this task sleeps.
        task::sleep_ms(20);
        let waker = Interrupt::request(8, || { let _ = GATE.give(); })?;
        waker.raise();
        LOG.mark('m');
        fair.join();
        check_eq!(LOG.text(), "mF");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn an_interrupt_that_waits_for_the_mask_preempts_when_the_mask_is_lifted() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let waker = Interrupt::request(8, || {
            LOG.mark('i');
            let _ = GATE.give();
        })?;
        let high = high_waiter(&LOG, &GATE)?;
        let flags = local_irq_save();
        waker.send();
        crate::framework::clock::work(1000);
        LOG.mark('m');
        local_irq_restore(flags);
        // Taken within a few instructions of the unmasking.
        crate::framework::clock::work(1000);
        LOG.mark('n');
        high.join();
        check_eq!(LOG.text(), "miHn");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn preemptions_nest_one_task_deep_per_interrupt() {
        static LOG: Events = Events::new();
        static GATES: [Semaphore; 3] = [const { Semaphore::new(0) }; 3];
        let _tick = TickOff::new();
        let mut tasks = alloc::vec::Vec::new();
        // Each task, woken by an interrupt, raises the one that wakes the next higher: three preempted frames
        // on three stacks.
        for level in 0..3u8 {
            let next = usize::from(level) + 1;
            let waker = if next < 3 { Some(Interrupt::request(8 + u32::from(level), move || { let _ = GATES[next].give(); })?) } else { None };
            // The closure owns the line; only its own task raises it.
            let waker = OwnedByOne(waker);
            tasks.push(task::build("nest").fifo(10 + i32::from(level)).spawn(move || {
                let waker = waker;
                GATES[usize::from(level)].take();
                LOG.mark((b'a' + level) as char);
                if let Some(waker) = &waker.0 {
                    waker.raise();
                }
                LOG.mark((b'A' + level) as char);
            })?);
        }
        GATES[0].give()?;
        LOG.mark('m');
        for task in tasks {
            task.join();
        }
        check_eq!(LOG.text(), "abcCBAm");
    }
}

/// Moves an interrupt into the one task that uses it.
struct OwnedByOne(Option<Interrupt>);
// SAFETY: the handler's closure touches statics alone.
unsafe impl Send for OwnedByOne {}
