//! `preempt=none`: the points where a preemptible kernel switches do nothing; a request waits until the running task
//! sleeps, ends, or comes to an explicit scheduling point. These tests run in a boot with that argument alone.

use crate::framework::clock::{TickOff, spin_ns, tick_ns};
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::tests::HIGH;
use crate::{check, check_eq, ktest};
use stint::locking::{Semaphore, SpinLock};
use stint::preempt::{self, preempt_disable};
use stint::task::{self, JoinHandle};

/// As `high_waiter` of the other tests; the waiter comes to its wait while this task sleeps.
fn high_waiter(log: &'static Events, gate: &'static Semaphore) -> stint::Result<JoinHandle<()>> {
    let waiter = task::build("high").fifo(HIGH).spawn(move || {
        gate.take();
        log.mark('H');
    })?;
    task::sleep_ms(1);
    Ok(waiter)
}

ktest! {
    only_in(models::INERT, "it shows what a kernel without preemption does"),
    fn without_preemption_no_interrupt_switches() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let waker = Interrupt::request(8, || {
            LOG.mark('i');
            let _ = GATE.give();
        })?;
        let high = high_waiter(&LOG, &GATE)?;
        waker.raise();
        LOG.mark('m');
        // Nor does the tick, although the request stands.
        spin_ns(3 * tick_ns());
        let wanted = preempt::need_resched();
        LOG.mark('n');
        high.join();
        check_eq!(LOG.text(), "imnH");
        check!(wanted, "the request was withdrawn");
    }
}

ktest! {
    only_in(models::INERT, "it shows what a kernel without preemption does"),
    fn without_preemption_no_wake_up_and_no_enable_switches() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static LOCK: SpinLock<()> = SpinLock::new(());
        let high = high_waiter(&LOG, &GATE)?;
        GATE.give()?;
        LOG.mark('g');
        drop(preempt_disable());
        LOG.mark('e');
        drop(LOCK.lock());
        LOG.mark('l');
        high.join();
        check_eq!(LOG.text(), "gelH");
    }
}

ktest! {
    only_in(models::INERT, "it shows what a kernel without preemption does"),
    fn without_preemption_a_new_task_waits_for_its_maker() {
        static LOG: Events = Events::new();
        let high = task::build("high").fifo(HIGH).spawn(|| LOG.mark('H'))?;
        LOG.mark('m');
        high.join();
        check_eq!(LOG.text(), "mH");
    }
}

ktest! {
    only_in(models::INERT, "it shows what a kernel without preemption does"),
    fn without_preemption_cond_resched_serves_the_request() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let high = high_waiter(&LOG, &GATE)?;
        check!(!preempt::cond_resched(), "it switched without a request");
        GATE.give()?;
        LOG.mark('m');
        let switched = preempt::cond_resched();
        LOG.mark('n');
        high.join();
        check_eq!(LOG.text(), "mHn");
        check!(switched, "it says that it did not switch");
    }
}

ktest! {
    only_in(models::INERT, "it shows what a kernel without preemption does"),
    fn without_preemption_a_yield_and_a_sleep_serve_the_request() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = task::build("high").fifo(HIGH).spawn(|| {
            for _ in 0..2 {
                GATE.take();
                LOG.mark('H');
            }
        })?;
        task::sleep_ms(1);
        GATE.give()?;
        LOG.mark('m');
        task::yield_now();
        LOG.mark('n');
        GATE.give()?;
        LOG.mark('o');
        task::sleep_ns(10_000);
        LOG.mark('p');
        high.join();
        check_eq!(LOG.text(), "mHnoHp");
    }
}
