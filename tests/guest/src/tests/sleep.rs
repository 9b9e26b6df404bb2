//! R3: sleeping is accurate to the timer and not to the tick.

use crate::framework::clock::{LATE_NS, TickOff, is_exact};
use crate::framework::events::Events;
use crate::tests::{HIGH, LOW};
use crate::{check, check_eq, ktest};
use embedded_hal::delay::DelayNs;
use stint::task;
use stint::time::now_ns;

ktest! {
    fn a_sleep_is_never_short_and_accurate_to_the_timer() {
        for ns in [1, 1_000, 123_456, 1_000_000, 4_000_001, 33_333_333] {
            let due = now_ns() + ns;
            task::sleep_ns(ns);
            let now = now_ns();
            check!(now >= due, "a sleep of {ns} ns was {} ns short", due - now);
            if is_exact() {
                check!(now - due <= 2 * LATE_NS, "a sleep of {ns} ns was {} ns long", now - due);
            }
        }
    }
}

ktest! {
    fn sleeping_until_a_time_that_has_passed_returns_at_once() {
        let before = now_ns();
        task::sleep_until(0);
        task::sleep_until(before);
        task::sleep_until(before - 1);
        let took = now_ns() - before;
        if is_exact() {
            check!(took <= 6 * LATE_NS, "three sleeps until the past took {took} ns");
        }
    }
}

ktest! {
    fn a_loop_of_absolute_sleeps_does_not_drift() {
        const PERIOD_NS: u64 = 250_000;
        let start = now_ns();
        for k in 1..=200 {
            task::sleep_until(start + k * PERIOD_NS);
            let now = now_ns();
            check!(now >= start + k * PERIOD_NS, "round {k} is early");
            if is_exact() {
                check!(now - (start + k * PERIOD_NS) <= 2 * LATE_NS, "round {k} is {} ns late", now - (start + k * PERIOD_NS));
            }
        }
    }
}

ktest! {
    fn sleepers_wake_in_the_order_of_their_times() {
        static LOG: Events = Events::new();
        let start = now_ns() + 1_000_000;
        let mut tasks = alloc::vec::Vec::new();
        for n in [4u8, 1, 3, 0, 2] {
            tasks.push(task::build("sleeper").fifo(LOW).spawn(move || {
                task::sleep_until(start + u64::from(n) * 100_000);
                LOG.mark((b'a' + n) as char);
            })?);
        }
        for task in tasks {
            task.join();
        }
        check_eq!(LOG.text(), "abcde");
    }
}

ktest! {
    /// Timers of one expiry go off in the order in which they were started.
    fn sleepers_until_the_same_time_wake_first_come_first_served() {
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let due = now_ns() + 2_000_000;
        let mut tasks = alloc::vec::Vec::new();
        for n in 0..6u8 {
            tasks.push(task::build("sleeper").fifo(LOW).spawn(move || {
                task::sleep_until(due);
                LOG.mark((b'a' + n) as char);
            })?);
        }
        for task in tasks {
            task.join();
        }
        check_eq!(LOG.text(), "abcdef");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn of_sleepers_until_the_same_time_the_most_important_runs_first() {
        static LOG: Events = Events::new();
        let due = now_ns() + 2_000_000;
        let mut tasks = alloc::vec::Vec::new();
        for n in 0..5u8 {
            tasks.push(task::build("sleeper").fifo(LOW + i32::from(n)).spawn(move || {
                task::sleep_until(due);
                LOG.mark((b'a' + n) as char);
            })?);
        }
        // Held off, so that all have become ready when the first may run.
        let guard = stint::preempt::preempt_disable();
        crate::framework::clock::spin_until_ns(due + 100_000);
        drop(guard);
        for task in tasks {
            task.join();
        }
        check_eq!(LOG.text(), "edcba");
    }
}

ktest! {
    fn a_drivers_delay_sleeps_and_lets_others_run() {
        static LOG: Events = Events::new();
        let other = task::build("other").spawn(|| LOG.mark('o'))?;
        let before = now_ns();
        stint::time::Delay.delay_us(500);
        LOG.mark('d');
        check!(now_ns() - before >= 500_000);
        other.join();
        check!(LOG.text() == "od" || !is_exact(), "found {:?}, expected \"od\"", LOG.text());
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_sleeping_task_uses_no_cpu() {
        let sleeper = task::build("sleeper").fifo(HIGH).spawn(|| task::sleep_ms(5))?;
        let before = sleeper.task().info();
        task::sleep_ms(2);
        let after = sleeper.task().info();
        check!(!before.queued && !after.queued, "it sleeps on the run queue");
        check_eq!(after.runtime_cycles, before.runtime_cycles, "cycles of a sleeping task");
        sleeper.join();
    }
}
