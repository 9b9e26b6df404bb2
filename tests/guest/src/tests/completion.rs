//! The completion.

use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::{check, check_eq, ktest};
use stint::Error;
use stint::locking::Completion;
use stint::sched::wait::Timeout;
use stint::task;

ktest! {
    fn a_completion_that_came_first_lets_one_wait_pass() {
        static DONE: Completion = Completion::new();
        check!(!DONE.is_done());
        DONE.complete();
        check!(DONE.is_done());
        DONE.wait();
        check!(!DONE.is_done(), "one completion let more than one wait pass");
        check_eq!(DONE.wait_timeout(Timeout::Now), Err(Error::WouldBlock));
        DONE.complete();
        DONE.complete();
        DONE.wait();
        check_eq!(DONE.wait_timeout(Timeout::Now), Ok(()), "the second wait after two completions");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn each_completion_lets_one_waiter_go_the_most_important_first() {
        static DONE: Completion = Completion::new();
        static LOG: Events = Events::new();
        let mut tasks = alloc::vec::Vec::new();
        for (letter, priority) in [('a', 10), ('b', 12), ('c', 11)] {
            tasks.push(task::build("waiter").fifo(priority).spawn(move || {
                DONE.wait();
                LOG.mark(letter);
            })?);
        }
        for _ in 0..3 {
            DONE.complete();
            LOG.mark('.');
        }
        for task in tasks {
            task.join();
        }
        check_eq!(LOG.text(), "b.c.a.");
        check!(!DONE.is_done(), "a completion was counted although somebody waited for it");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn complete_all_lets_everybody_go_now_and_for_ever() {
        static DONE: Completion = Completion::new();
        static LOG: Events = Events::new();
        let mut tasks = alloc::vec::Vec::new();
        for _ in 0..20 {
            tasks.push(task::build("waiter").fifo(10).stack_bytes(8192).spawn(|| {
                DONE.wait();
                LOG.mark('w');
            })?);
        }
        check_eq!(LOG.len(), 0, "waiters that did not wait");
        DONE.complete_all();
        check_eq!(LOG.len(), 20, "waiters that were let go");
        for task in tasks {
            task.join();
        }
        for _ in 0..3 {
            DONE.wait();
            check_eq!(DONE.wait_timeout(Timeout::Now), Ok(()), "a wait after complete_all");
        }
        check!(DONE.is_done());
    }
}

ktest! {
    fn waiting_for_a_completion_times_out() {
        static DONE: Completion = Completion::new();
        let before = stint::time::now_ns();
        check_eq!(DONE.wait_timeout(Timeout::In(300_000)), Err(Error::TimedOut));
        check!(stint::time::now_ns() - before >= 300_000, "the wait was too short");
        DONE.complete();
        check_eq!(DONE.wait_timeout(Timeout::In(300_000)), Ok(()), "a wait after a time-out");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn an_interrupt_can_complete() {
        static DONE: Completion = Completion::new();
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let interrupt = Interrupt::request(8, || DONE.complete())?;
        let waiter = task::build("waiter").fifo(10).spawn(|| {
            DONE.wait();
            LOG.mark('w');
        })?;
        interrupt.raise();
        LOG.mark('m');
        waiter.join();
        check_eq!(LOG.text(), "wm");
    }
}
