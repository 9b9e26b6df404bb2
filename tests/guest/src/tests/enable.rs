//! P6: the preemption point at the last `preempt_enable`.

use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::tests::{HIGH, high_waiter};
use crate::{check, check_eq, ktest};
use arch::irqflags::{local_irq_restore, local_irq_save};
use stint::locking::Semaphore;
use stint::preempt::{self, preempt_disable};
use stint::task;

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn the_last_enable_preempts_at_once() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let guard = preempt_disable();
        GATE.give()?;
        LOG.mark('m');
        drop(guard);
        LOG.mark('n');
        high.join();
        check_eq!(LOG.text(), "mHn");
    }
}

ktest! {
    fn an_enable_without_a_request_switches_nowhere() {
        let _tick = TickOff::new();
        let before = stint::sched::core::nr_switches();
        for _ in 0..1000 {
            drop(preempt_disable());
        }
        check_eq!(stint::sched::core::nr_switches(), before, "switches over 1000 sections");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn enable_no_resched_leaves_the_request_for_the_next_point() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let guard = preempt_disable();
        GATE.give()?;
        guard.enable_no_resched();
        LOG.mark('w');
        let waiting = arch::thread_info::preempt_word();
        drop(preempt_disable());
        LOG.mark('n');
        high.join();
        check_eq!(LOG.text(), "wHn");
        check_eq!(waiting, 0, "the word while the request waits with count 0");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn enable_no_resched_leaves_the_request_for_the_next_interrupt() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let nothing = Interrupt::request(8, || LOG.mark('i'))?;
        let high = high_waiter(&LOG, &GATE)?;
        let guard = preempt_disable();
        GATE.give()?;
        guard.enable_no_resched();
        LOG.mark('w');
        nothing.raise();
        LOG.mark('n');
        high.join();
        check_eq!(LOG.text(), "wiHn");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// Neither the enable nor the unmasking looks (Linux's rule); the next point does.
    fn an_enable_with_interrupts_masked_does_not_switch() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let flags = local_irq_save();
        let guard = preempt_disable();
        GATE.give()?;
        drop(guard);
        LOG.mark('e');
        let still_masked = arch::irqflags::irqs_disabled();
        local_irq_restore(flags);
        LOG.mark('r');
        drop(preempt_disable());
        LOG.mark('n');
        high.join();
        check_eq!(LOG.text(), "erHn");
        check!(still_masked, "the enable opened interrupts");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_request_served_by_the_enable_is_served_once() {
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = task::build("high").fifo(HIGH).spawn(|| {
            GATE.take();
            GATE.take();
        })?;
        let before = stint::sched::core::nr_switches();
        let guard = preempt_disable();
        GATE.give()?;
        drop(guard);
        // To the high task, and back when it waits again.
        let switches = stint::sched::core::nr_switches() - before;
        GATE.give()?;
        high.join();
        check_eq!(switches, 2, "switches for one request");
        check!(!preempt::need_resched());
    }
}

ktest! {
    fn cond_resched_does_nothing_where_the_kernel_is_preemptible() {
        check!(!preempt::cond_resched(), "it says that it switched");
    }
}

ktest! {
    /// A real-time task alone on its level has nobody to yield to, but it may have a request to honour.
    fn a_yield_honours_a_request_that_enable_no_resched_left() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let guard = preempt_disable();
        GATE.give()?;
        guard.enable_no_resched();
        LOG.mark('w');
        task::yield_now();
        LOG.mark('n');
        high.join();
        check_eq!(LOG.text(), "wHn");
    }
}
