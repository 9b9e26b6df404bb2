//! The sleeping mutex.

use crate::framework::Outcome;
use crate::framework::clock::{LATE_NS, TickOff, is_exact, work};
use crate::framework::events::Events;
use crate::framework::lock_problems;
use crate::tests::{HIGH, LOW, MIDDLE};
use crate::{check, check_eq, ktest};
use stint::locking::{Mutex, Semaphore};
use stint::sched::wait::Timeout;
use stint::time::{Timer, now_ns};
use stint::{Error, preempt, task};

ktest! {
    fn a_mutex_leaves_preemption_on() {
        static MUTEX: Mutex<u32> = Mutex::new(1);
        let mut guard = MUTEX.lock();
        *guard += 1;
        check!(preempt::preemptible(), "holding a mutex made the task atomic");
        check!(MUTEX.is_locked());
        drop(guard);
        check!(!MUTEX.is_locked());
        check_eq!(*MUTEX.lock(), 2);
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_holder_can_sleep_and_be_preempted() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        let holder = task::build("holder").fifo(LOW).spawn(|| {
            let _guard = MUTEX.lock();
            LOG.mark('l');
            task::sleep_ms(2);
            LOG.mark('u');
        })?;
        // A higher one that has nothing to do with it runs meanwhile.
        task::build("other").fifo(HIGH).spawn(|| LOG.mark('o'))?.join();
        holder.join();
        check_eq!(LOG.text(), "lou");
    }
}

ktest! {
    fn tasks_of_all_classes_exclude_each_other_under_preemption_stress() {
        const ROUNDS: u64 = 300;
        static MUTEX: Mutex<u64> = Mutex::new(0);
        let storm = Timer::new_hard(|| {});
        storm.start_periodic(5_003)?;
        let mut tasks = alloc::vec::Vec::new();
        for index in 0..6i32 {
            let builder = task::build("contender");
            let builder = match index % 3 {
                0 => builder.nice(index),
                1 => builder.rr(LOW),
                _ => builder.fifo(LOW + index),
            };
            tasks.push(builder.spawn(move || {
                for round in 0..ROUNDS {
                    let mut guard = MUTEX.lock();
                    let value = *guard;
                    work(60);
                    // Now and then the holder sleeps in the middle, and everybody runs into it.
                    if round % 16 == index as u64 {
                        task::sleep_ns(7_000);
                    }
                    *guard = value + 1;
                    drop(guard);
                    if round % 8 == 0 {
                        task::sleep_ns(3_000);
                    }
                }
            })?);
        }
        for task in tasks {
            task.join();
        }
        storm.cancel();
        check_eq!(*MUTEX.lock(), 6 * ROUNDS, "increments that survived");
    }
}

ktest! {
    fn a_mutex_is_handed_over_in_the_order_of_priority() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        let guard = MUTEX.lock();
        let mut tasks = alloc::vec::Vec::new();
        for (letter, priority) in [('a', 10), ('b', 12), ('c', 11), ('d', 12)] {
            tasks.push(task::build("waiter").fifo(priority).spawn(move || {
                let _guard = MUTEX.lock();
                LOG.mark(letter);
            })?);
            // The holder is as important as its waiters by now: it has to let the new one come.
            task::sleep_ns(10_000);
        }
        LOG.mark('m');
        drop(guard);
        for task in tasks {
            task.join();
        }
        check_eq!(LOG.text(), "mbdca");
        check!(!MUTEX.is_locked());
    }
}

ktest! {
    /// The next owner is in place when the mutex is released, also if it cannot run yet.
    fn a_released_mutex_belongs_to_its_waiter_and_cannot_be_stolen() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let guard = MUTEX.lock();
        let waiter = task::build("waiter").spawn(|| {
            let _guard = MUTEX.lock();
            LOG.mark('w');
        })?;
        task::sleep_ms(1);
        drop(guard);
        check!(MUTEX.is_locked(), "free while somebody waits for it");
        check!(MUTEX.try_lock().is_none(), "taken from the waiter it was handed to");
        LOG.mark('m');
        let _guard = MUTEX.lock();
        LOG.mark('n');
        waiter.join();
        check_eq!(LOG.text(), "mwn");
    }
}

ktest! {
    fn try_lock_takes_a_free_mutex_and_no_other() {
        static MUTEX: Mutex<u8> = Mutex::new(0);
        let guard = MUTEX.try_lock();
        check!(guard.is_some());
        check!(MUTEX.try_lock().is_none(), "the owner took it twice");
        let other = task::build("other").fifo(HIGH).spawn(|| MUTEX.try_lock().is_some())?;
        check_eq!(other.join(), Some(false), "another task took a held mutex");
        drop(guard);
        let other = task::build("other").fifo(HIGH).spawn(|| MUTEX.try_lock().is_some())?;
        check_eq!(other.join(), Some(true), "another task takes a free mutex");
    }
}

ktest! {
    fn waiting_for_a_mutex_times_out_and_the_mutex_works_on() {
        static MUTEX: Mutex<()> = Mutex::new(());
        let guard = MUTEX.lock();
        let waiter = task::build("waiter").fifo(HIGH).spawn(|| {
            let due = now_ns() + 500_000;
            let result = MUTEX.lock_timeout(Timeout::In(500_000)).map(drop);
            (result, now_ns() as i64 - due as i64)
        })?;
        let refused = task::build("refused").fifo(HIGH).spawn(|| MUTEX.lock_timeout(Timeout::Now).map(drop))?;
        check_eq!(refused.join(), Some(Err(Error::WouldBlock)), "a lock that may not wait");
        let Some((result, late)) = waiter.join() else { return Err(crate::framework::Failure::new(format_args!("no result"))) };
        check_eq!(result, Err(Error::TimedOut));
        check!(late >= 0, "{} ns early", -late);
        check!(!is_exact() || late <= 2 * LATE_NS as i64, "{late} ns late");
        drop(guard);
        check!(!MUTEX.is_locked(), "nobody holds it, nobody waits, and it is locked");
        check_free_for_all(&MUTEX)?;
    }
}

/// Two tasks after each other get it, with and without waiting.
fn check_free_for_all(mutex: &'static Mutex<()>) -> Outcome {
    for _ in 0..2 {
        let guard = mutex.lock();
        let waiter = task::build("waiter")
            .fifo(HIGH)
            .spawn(|| mutex.lock_timeout(Timeout::In(50_000_000)).map(drop))?;
        drop(guard);
        check_eq!(waiter.join(), Some(Ok(())), "a waiter after a time-out");
    }
    check!(!mutex.is_locked());
    Ok(())
}

ktest! {
    fn a_mutex_in_time_ends_a_wait_with_a_limit() {
        static MUTEX: Mutex<()> = Mutex::new(());
        let guard = MUTEX.lock();
        let waiter = task::build("waiter").fifo(HIGH).spawn(|| {
            let first = MUTEX.lock_timeout(Timeout::In(5_000_000)).map(drop);
            // The timer of that wait is gone: a plain sleep is not cut short.
            let due = now_ns() + 10_000_000;
            task::sleep_until(due);
            (first, now_ns() >= due)
        })?;
        task::sleep_ms(1);
        drop(guard);
        check_eq!(waiter.join(), Some((Ok(()), true)), "the lock, and a sleep of full length after it");
    }
}

ktest! {
    fn locking_a_mutex_that_one_holds_is_an_error_where_errors_are_returned() {
        static MUTEX: Mutex<()> = Mutex::new(());
        let _expected = lock_problems::expected();
        let guard = MUTEX.lock();
        for limit in [Timeout::In(1_000), Timeout::Never, Timeout::Until(0)] {
            check_eq!(MUTEX.lock_timeout(limit).map(drop), Err(Error::Deadlock), "with the limit {limit:?}");
        }
        drop(guard);
        check!(!MUTEX.is_locked());
        check_free_for_all(&MUTEX)?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_task_can_hold_several_mutexes_and_release_them_in_any_order() {
        static FIRST: Mutex<()> = Mutex::new(());
        static SECOND: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        static GO: Semaphore = Semaphore::new(0);
        let holder = task::build("holder").fifo(LOW).spawn(|| {
            let first = FIRST.lock();
            let second = SECOND.lock();
            GO.take();
            drop(first);
            LOG.mark('1');
            drop(second);
            LOG.mark('2');
        })?;
        let on_first = task::build("on-first").fifo(MIDDLE).spawn(|| {
            let _guard = FIRST.lock();
            LOG.mark('a');
        })?;
        let on_second = task::build("on-second").fifo(HIGH).spawn(|| {
            let _guard = SECOND.lock();
            LOG.mark('b');
        })?;
        GO.give()?;
        for task in [holder, on_first, on_second] {
            task.join();
        }
        // It holds what the higher one wants until the second release, and until then goes before the other.
        check_eq!(LOG.text(), "1ba2");
    }
}
