//! The counting semaphore.

use crate::framework::clock::{LATE_NS, TickOff, is_exact};
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::tests::{LOW, high_waiter};
use crate::{check, check_eq, ktest};
use stint::Error;
use stint::locking::Semaphore;
use stint::sched::wait::Timeout;
use stint::task;
use stint::time::now_ns;

ktest! {
    fn a_semaphore_counts_and_refuses_when_it_is_empty() {
        static UNITS: Semaphore = Semaphore::new(2);
        UNITS.take();
        UNITS.take();
        check_eq!(UNITS.count(), 0);
        check_eq!(UNITS.try_take(), Err(Error::WouldBlock));
        UNITS.give()?;
        UNITS.give()?;
        UNITS.give()?;
        check_eq!(UNITS.count(), 3);
        check_eq!(UNITS.try_take(), Ok(()));
        check_eq!(UNITS.take_timeout(Timeout::In(1)), Ok(()), "a take with a time limit when there is one");
        check_eq!(UNITS.count(), 1);
    }
}

ktest! {
    fn a_semaphore_at_its_limit_is_full() {
        static UNITS: Semaphore = Semaphore::with_limit(1, 2);
        UNITS.give()?;
        check_eq!(UNITS.give(), Err(Error::Full));
        check_eq!(UNITS.count(), 2, "the count after a refused unit");
        UNITS.take();
        check_eq!(UNITS.give(), Ok(()));
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_unit_goes_to_the_most_important_waiter_and_among_equals_to_the_first() {
        static LOG: Events = Events::new();
        static UNITS: Semaphore = Semaphore::new(0);
        let mut tasks = alloc::vec::Vec::new();
        for (letter, priority) in [('a', 10), ('b', 12), ('c', 11), ('d', 12), ('e', 10)] {
            tasks.push(task::build("waiter").fifo(priority).spawn(move || {
                UNITS.take();
                LOG.mark(letter);
            })?);
        }
        // A fair one behind them all.
        let fair = task::build("fair").nice(-20).spawn(|| {
            UNITS.take();
            LOG.mark('f');
        })?;
        task::sleep_ms(20);
        for _ in 0..6 {
            UNITS.give()?;
            LOG.mark('.');
        }
        for task in tasks {
            task.join();
        }
        fair.join();
        check_eq!(LOG.text(), "b.d.c.a.e..f");
        check_eq!(UNITS.count(), 0, "units left");
    }
}

ktest! {
    /// The unit is the waiter's from the moment of the give on: nobody takes it away before the waiter runs.
    fn a_unit_given_to_a_waiter_cannot_be_taken_by_another() {
        static UNITS: Semaphore = Semaphore::new(0);
        let waiter = task::build("waiter").spawn(|| UNITS.take())?;
        task::sleep_ms(20);
        UNITS.give()?;
        check_eq!(UNITS.count(), 0, "the count while the waiter has not run yet");
        check_eq!(UNITS.try_take(), Err(Error::WouldBlock));
        check_eq!(waiter.join(), Some(()));
    }
}

ktest! {
    fn a_take_times_out_and_not_early() {
        static UNITS: Semaphore = Semaphore::new(0);
        for ns in [1_000, 250_000, 5_000_000] {
            let due = now_ns() + ns;
            check_eq!(UNITS.take_timeout(Timeout::In(ns)), Err(Error::TimedOut));
            let now = now_ns();
            check!(now >= due, "the wait of {ns} ns was {} ns short", due - now);
            check!(!is_exact() || now - due <= 2 * LATE_NS, "the wait of {ns} ns was {} ns long", now - due);
        }
        check_eq!(UNITS.take_timeout(Timeout::Until(0)), Err(Error::TimedOut), "a wait until the past");
        UNITS.give()?;
        check_eq!(UNITS.count(), 1, "a unit after the waits: nobody waits any more");
    }
}

ktest! {
    fn a_unit_in_time_ends_a_wait_with_a_limit() {
        static UNITS: Semaphore = Semaphore::new(0);
        let waiter = task::build("waiter").fifo(LOW).spawn(|| {
            let first = UNITS.take_timeout(Timeout::In(50_000_000));
            // The timer of the first wait must not reach into the second.
            let second = UNITS.take_timeout(Timeout::In(200_000_000));
            (first, second)
        })?;
        task::sleep_ms(1);
        UNITS.give()?;
        task::sleep_ms(100);
        UNITS.give()?;
        check_eq!(waiter.join(), Some((Ok(()), Ok(()))), "the two waits");
    }
}

ktest! {
    fn the_waiter_that_times_out_leaves_the_others_in_order() {
        static LOG: Events = Events::new();
        static UNITS: Semaphore = Semaphore::new(0);
        let mut tasks = alloc::vec::Vec::new();
        for (letter, limit) in [('a', Timeout::Never), ('b', Timeout::In(2_000_000)), ('c', Timeout::Never)] {
            tasks.push(task::build("waiter").fifo(LOW).spawn(move || {
                let result = UNITS.take_timeout(limit);
                LOG.mark(if result.is_ok() { letter } else { letter.to_ascii_uppercase() });
            })?);
        }
        task::sleep_ms(5);
        UNITS.give()?;
        UNITS.give()?;
        for task in tasks {
            task.join();
        }
        check_eq!(LOG.text(), "Bac");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_unit_can_be_given_from_an_interrupt() {
        static LOG: Events = Events::new();
        static UNITS: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let giver = Interrupt::request(8, || {
            let _ = UNITS.give();
        })?;
        giver.raise();
        giver.raise();
        check_eq!(UNITS.count(), 2, "units given by two interrupts with nobody waiting");
        UNITS.take();
        UNITS.take();
        let high = high_waiter(&LOG, &UNITS)?;
        giver.raise();
        LOG.mark('m');
        high.join();
        check_eq!(LOG.text(), "Hm");
    }
}

ktest! {
    fn producers_and_consumers_lose_no_unit_under_interrupt_stress() {
        const UNITS_EACH: u32 = 500;
        static UNITS: Semaphore = Semaphore::new(0);
        static FROM_TIMER: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
        use core::sync::atomic::Ordering::Relaxed;
        let storm = stint::time::Timer::new_hard(|| {
            if FROM_TIMER.load(Relaxed) < UNITS_EACH {
                FROM_TIMER.fetch_add(1, Relaxed);
                let _ = UNITS.give();
            }
        });
        let consumers = [(LOW, true), (LOW + 1, true), (0, false)].map(|(priority, real_time)| {
            let builder = if real_time { task::build("consumer").fifo(priority) } else { task::build("consumer") };
            builder.spawn(|| (0..UNITS_EACH).for_each(|_| UNITS.take()))
        });
        let producers = [task::build("producer"), task::build("producer").fifo(LOW)].map(|builder| {
            builder.spawn(|| {
                for _ in 0..UNITS_EACH {
                    let _ = UNITS.give();
                }
            })
        });
        storm.start_periodic(9_001)?;
        for task in consumers.into_iter().chain(producers) {
            task?.join();
        }
        storm.cancel();
        check_eq!(UNITS.count(), 0, "units left over");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// The task has been given its unit and has not run since: its timer is still to be taken back.
    fn a_task_that_is_aborted_takes_its_time_out_along() {
        static MEMORY: task::TaskMem<4096> = task::TaskMem::new();
        static UNITS: Semaphore = Semaphore::new(0);
        extern "C" fn wait_ns(ns: usize) -> ! {
            let _ = UNITS.take_timeout(Timeout::In(ns as u64));
            task::exit()
        }
        let _tick = TickOff::new();
        let name = task::Name::new("waiter");
        let attr = stint::sched::SchedAttr::fifo(LOW as u32).map_err(|_| Error::Busy)?;
        // SAFETY: the memory is new.
        let first = unsafe { MEMORY.create(name, attr, wait_ns, 1_000_000) };
        first.start();
        let guard = stint::preempt::preempt_disable();
        UNITS.give()?;
        // SAFETY: the task holds nothing but the unit.
        let aborted = unsafe { first.abort() };
        drop(guard);
        check_eq!(aborted, Ok(()));
        drop(first);
        // SAFETY: the first task is dead and dropped.
        let second = unsafe { MEMORY.create(name, attr, wait_ns, 300_000) };
        let before = now_ns();
        second.start();
        second.wait_exited();
        let waited = now_ns() - before;
        check!(waited >= 300_000, "a wait of 300000 ns took {waited} ns");
        if is_exact() {
            check!(waited <= 300_000 + LATE_NS, "a wait of 300000 ns took {waited} ns");
        }
        task::sleep_ms(2);
    }
}
