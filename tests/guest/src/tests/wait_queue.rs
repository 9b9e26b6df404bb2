//! The wait queue.

use crate::framework::events::Events;
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use stint::Error;
use stint::locking::WaitQueue;
use stint::sched::wait::Timeout;
use stint::task;
use stint::time::{Timer, now_ns};

ktest! {
    fn a_wait_whose_condition_holds_does_not_wait() {
        static QUEUE: WaitQueue = WaitQueue::new();
        let mut tests = 0;
        QUEUE.wait_until(|| { tests += 1; true });
        check_eq!(tests, 1, "tests of a condition that holds");
        check_eq!(QUEUE.wait_until_timeout(|| true, Timeout::Now), Ok(()));
        check_eq!(QUEUE.wait_until_timeout(|| false, Timeout::Now), Err(Error::WouldBlock));
        check!(QUEUE.is_empty());
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_wake_up_without_the_condition_is_not_enough() {
        static QUEUE: WaitQueue = WaitQueue::new();
        static CONDITION: AtomicBool = AtomicBool::new(false);
        static LOG: Events = Events::new();
        let waiter = task::build("waiter").fifo(10).spawn(|| {
            QUEUE.wait_until(|| {
                LOG.mark('t');
                CONDITION.load(Ordering::Relaxed)
            });
            LOG.mark('w');
        })?;
        check_eq!(QUEUE.len(), 1);
        check!(QUEUE.wake_one(), "nobody was there to be woken");
        LOG.mark('.');
        CONDITION.store(true, Ordering::Relaxed);
        check!(QUEUE.wake_one(), "nobody was there to be woken the second time");
        LOG.mark('.');
        waiter.join();
        check_eq!(LOG.text(), "tt.tw.");
        check!(!QUEUE.wake_one(), "an empty queue had somebody to wake");
        check_eq!(QUEUE.wake_all(), 0);
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn wake_one_wakes_the_most_important_and_wake_all_wakes_everybody() {
        static QUEUE: WaitQueue = WaitQueue::new();
        static TICKETS: AtomicU32 = AtomicU32::new(0);
        static LOG: Events = Events::new();
        let mut tasks = alloc::vec::Vec::new();
        for (letter, priority) in [('a', 10), ('b', 12), ('c', 11), ('d', 10), ('e', 12)] {
            tasks.push(task::build("waiter").fifo(priority).spawn(move || {
                QUEUE.wait_until(|| TICKETS.load(Ordering::Relaxed) > 0);
                TICKETS.fetch_sub(1, Ordering::Relaxed);
                LOG.mark(letter);
            })?);
        }
        check_eq!(QUEUE.len(), 5);
        TICKETS.store(1, Ordering::Relaxed);
        QUEUE.wake_one();
        LOG.mark('.');
        check_eq!(QUEUE.len(), 4);
        TICKETS.store(4, Ordering::Relaxed);
        check_eq!(QUEUE.wake_all(), 4);
        LOG.mark('.');
        for task in tasks {
            task.join();
        }
        check_eq!(LOG.text(), "b.ecad.");
    }
}

ktest! {
    fn a_wait_with_a_limit_tests_once_more_and_gives_up() {
        static QUEUE: WaitQueue = WaitQueue::new();
        let due = now_ns() + 400_000;
        let mut tests = 0;
        let result = QUEUE.wait_until_timeout(|| { tests += 1; false }, Timeout::In(400_000));
        check_eq!(result, Err(Error::TimedOut));
        check!(now_ns() >= due, "it gave up too soon");
        check_eq!(tests, 2, "tests: before the wait and after it");
        // The condition came true, and nobody said so: the last test finds it.
        let result = QUEUE.wait_until_timeout(|| now_ns() > due + 500_000, Timeout::In(600_000));
        check_eq!(result, Ok(()), "a condition that holds when the time is over");
        check!(QUEUE.is_empty());
    }
}

ktest! {
    /// The limit is for the call, and not for each of its rounds.
    fn wake_ups_in_vain_do_not_prolong_a_wait() {
        static QUEUE: WaitQueue = WaitQueue::new();
        let storm = Timer::new_hard(|| { QUEUE.wake_all(); });
        storm.start_periodic(50_000)?;
        let begun = now_ns();
        let result = QUEUE.wait_until_timeout(|| false, Timeout::In(1_000_000));
        let took = now_ns() - begun;
        storm.cancel();
        check_eq!(result, Err(Error::TimedOut));
        check!(took >= 1_000_000, "it gave up after {took} ns");
        check!(!crate::framework::clock::is_exact() || took <= 1_100_000, "it waited for {took} ns");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_task_that_the_condition_wakes_runs_when_the_wait_is_over() {
        static QUEUE: WaitQueue = WaitQueue::new();
        static MESSAGES: stint::ipc::MsgQueue<u8, 1> = stint::ipc::MsgQueue::new();
        static LOG: Events = Events::new();
        let _tick = crate::framework::clock::TickOff::new();
        MESSAGES.put(1);
        let sender = task::build("sender").fifo(10).spawn(|| {
            MESSAGES.put(2);
            LOG.mark('s');
        })?;
        // Taking a message makes room for the sender's.
        QUEUE.wait_until(|| MESSAGES.try_get() == Ok(1));
        LOG.mark('r');
        sender.join();
        check_eq!(LOG.text(), "sr");
    }
}
