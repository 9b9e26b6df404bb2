//! Tasklets: run once, in softirq context, in the order in which they were scheduled.

use super::softirq::not_in_rt;
use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::tests::high_waiter;
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use stint::irq::softirq::{Vector, in_serving_softirq, local_bh_disable, open_softirq, raise_softirq_irqoff};
use stint::irq::tasklet::Tasklet;
use stint::locking::Semaphore;
use stint::task;

/// Lets ksoftirqd run, in the models in which it must.
fn settle() {
    task::sleep_ms(1);
}

ktest! {
    fn urgent_tasklets_timers_tasklets_and_the_rest_run_in_that_order() {
        static LOG: Events = Events::new();
        static URGENT: Tasklet = Tasklet::new(|_| LOG.mark('0'), 0);
        static FIRST: Tasklet = Tasklet::new(|_| LOG.mark('6'), 0);
        static SECOND: Tasklet = Tasklet::new(|_| LOG.mark('b'), 0);
        let _tick = TickOff::new();
        open_softirq(Vector::Timer, || LOG.mark('1'));
        open_softirq(Vector::Spare, || LOG.mark('7'));
        let raiser = Interrupt::request(8, || {
            raise_softirq_irqoff(Vector::Spare);
            FIRST.schedule();
            SECOND.schedule();
            raise_softirq_irqoff(Vector::Timer);
            URGENT.hi_schedule();
        })?;
        raiser.raise();
        settle();
        check_eq!(LOG.text(), "016b7");
    }
}

ktest! {
    fn a_tasklet_scheduled_many_times_before_it_runs_runs_once() {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        static TASKLET: Tasklet = Tasklet::new(|data| { RUNS.fetch_add(data as u32 + u32::from(in_serving_softirq()), Relaxed); }, 10);
        let guard = local_bh_disable();
        for _ in 0..5 {
            TASKLET.schedule();
            TASKLET.hi_schedule();
        }
        check!(TASKLET.is_scheduled());
        check_eq!(RUNS.load(Relaxed), 0);
        drop(guard);
        settle();
        check_eq!(RUNS.load(Relaxed), 11, "its data, and one for the context");
        check!(!TASKLET.is_scheduled());
        TASKLET.schedule();
        settle();
        check_eq!(RUNS.load(Relaxed), 22);
    }
}

ktest! {
    fn a_tasklet_may_schedule_itself() {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        static TASKLET: Tasklet = Tasklet::new(|_| {
            if RUNS.fetch_add(1, Relaxed) < 19 {
                TASKLET.schedule();
            }
        }, 0);
        TASKLET.schedule();
        TASKLET.kill();
        check_eq!(RUNS.load(Relaxed), 20, "runs when kill returned");
    }
}

ktest! {
    fn a_disabled_tasklet_waits_for_the_last_enable() {
        static LOG: Events = Events::new();
        static DISABLED: Tasklet = Tasklet::new(|_| LOG.mark('d'), 0);
        static OTHER: Tasklet = Tasklet::new(|_| LOG.mark('o'), 0);
        DISABLED.disable();
        DISABLED.disable();
        DISABLED.schedule();
        OTHER.schedule();
        settle();
        LOG.mark('a');
        DISABLED.enable();
        settle();
        LOG.mark('b');
        OTHER.schedule();
        settle();
        DISABLED.enable();
        settle();
        check_eq!(LOG.text(), "oabod");
    }
}

ktest! {
    fn a_task_that_wants_the_cpu_comes_between_two_tasklets() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static FIRST: Tasklet = Tasklet::new(|_| { LOG.mark('1'); let _ = GATE.give(); }, 0);
        static SECOND: Tasklet = Tasklet::new(|_| LOG.mark('2'), 0);
        not_in_rt()?;
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let raiser = Interrupt::request(8, || {
            FIRST.schedule();
            SECOND.schedule();
        })?;
        raiser.raise();
        high.join();
        settle();
        check_eq!(LOG.text(), "1H2");
    }
}
