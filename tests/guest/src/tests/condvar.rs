//! The condition variable.

use crate::framework::events::Events;
use crate::tests::{HIGH, LOW, MIDDLE};
use crate::{check, check_eq, ktest};
use stint::locking::{Condvar, Mutex};
use stint::sched::wait::Timeout;
use stint::{Error, task};

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_waiter_gives_the_mutex_away_and_has_it_back_when_it_is_notified() {
        static MUTEX: Mutex<u32> = Mutex::new(0);
        static CHANGED: Condvar = Condvar::new();
        let waiter = task::build("waiter").fifo(HIGH).spawn(|| {
            let mut value = CHANGED.wait_while(MUTEX.lock(), |value| *value == 0);
            *value += 1;
            *value
        })?;
        check!(!MUTEX.is_locked(), "held while waiting");
        check!(CHANGED.notify_one(), "nobody waits");
        let mut value = MUTEX.lock();
        *value = 1;
        check!(CHANGED.notify_one(), "the condition did not hold, and it waits no more");
        check_eq!(*value, 1, "changed beside the holder");
        drop(value);
        check_eq!(waiter.join(), Some(2));
        check!(!CHANGED.notify_one(), "somebody waits who does not");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn the_most_important_waiter_is_notified_first_and_a_changed_priority_counts() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static CHANGED: Condvar = Condvar::new();
        static LOG: Events = Events::new();
        let mut tasks = alloc::vec::Vec::new();
        for (letter, priority) in [('a', LOW), ('b', HIGH), ('c', MIDDLE), ('d', HIGH)] {
            tasks.push(task::build("waiter").fifo(priority).spawn(move || {
                let _guard = CHANGED.wait(MUTEX.lock());
                LOG.mark(letter);
            })?);
        }
        let attr = stint::sched::SchedAttr::fifo(HIGH as u32 + 1).map_err(|_| Error::Busy)?;
        tasks[0].task().set_scheduler(attr)?;
        check!(CHANGED.notify_one());
        check_eq!(CHANGED.notify_all(), 3);
        for task in tasks {
            task.join();
        }
        check_eq!(LOG.text(), "abdc");
    }
}

ktest! {
    fn a_wait_with_a_limit_ends_with_the_mutex_and_the_error() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static CHANGED: Condvar = Condvar::new();
        for (limit, error) in [(Timeout::In(50_000), Error::TimedOut), (Timeout::Now, Error::WouldBlock)] {
            let (guard, result) = CHANGED.wait_timeout(MUTEX.lock(), limit);
            check_eq!(result, Err(error), "with the limit {limit:?}");
            check!(MUTEX.is_locked());
            drop(guard);
        }
        check!(!CHANGED.notify_one(), "who gave up still waits");
    }
}

ktest! {
    /// The release hands the mutex to a task above, which notifies before the waiter is asleep.
    fn a_notification_between_release_and_sleep_is_not_lost() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static CHANGED: Condvar = Condvar::new();
        let guard = MUTEX.lock();
        let notifier = task::build("notifier").fifo(HIGH).spawn(|| {
            let _guard = MUTEX.lock();
            CHANGED.notify_one()
        })?;
        let (guard, result) = CHANGED.wait_timeout(guard, Timeout::In(5_000_000));
        drop(guard);
        check_eq!((notifier.join(), result), (Some(true), Ok(())));
    }
}
