//! K4: preempted is not sleeping.
//!
//! The classic idiom is: set the state to "asleep", test the condition, call `schedule()`. A task that is
//! preempted in between must stay on the run queue whatever its state says: the wake-up it would wait for may
//! be over already.

use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::tests::{HIGH, LOW};
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use stint::locking::{Completion, Semaphore, WaitQueue};
use stint::sched::core::{schedule, wake_up_process};
use stint::sched::wait::Timeout;
use stint::task::{self, state};

/// Long after everything is over.
const PATIENCE: Timeout = Timeout::In(1_000_000_000);

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// If the preemption took the task off the queue, it would never come back to see that the condition holds.
    fn a_task_preempted_between_setting_its_state_and_schedule_stays_runnable() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static DONE: Completion = Completion::new();
        static CONDITION: AtomicBool = AtomicBool::new(true);
        static SEEN: AtomicU32 = AtomicU32::new(0);
        let _tick = TickOff::new();
        let waker = Lent(Interrupt::request(8, || { let _ = GATE.give(); })?);
        let waiter = task::build("waiter").fifo(LOW).create(|_| {
            LOG.mark('w');
            task::set_current_state(state::INTERRUPTIBLE);
            // Here it is preempted: the interrupt wakes the higher task.
            arch::gic::send_sgi_self(8);
            crate::framework::clock::work(1000);
            LOG.mark('t');
            if CONDITION.load(Ordering::Relaxed) {
                task::set_current_state(state::RUNNING);
            } else {
                schedule();
            }
            LOG.mark('W');
            DONE.complete_all();
        }, 0)?;
        let observed = waiter.clone();
        let high = task::build("high").fifo(HIGH).spawn(move || {
            GATE.take();
            LOG.mark('H');
            let info = observed.info();
            SEEN.store(info.state << 1 | u32::from(info.queued), Ordering::Relaxed);
        })?;
        waiter.start();
        let came_back = DONE.wait_timeout(PATIENCE);
        check_eq!(LOG.text(), "wHtW");
        check_eq!(came_back, Ok(()), "the waiter");
        check_eq!(SEEN.load(Ordering::Relaxed), state::INTERRUPTIBLE << 1 | 1, "state and queue of the preempted task");
        high.join();
        waiter.wait_exited();
        check_eq!(waker.0.taken(), 1);
    }
}

/// An interrupt raised by number from another task.
struct Lent(Interrupt);

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// The waker finds it on the queue: it must not be queued twice, and its `schedule()` must not sleep.
    fn a_wake_up_that_meets_a_preempted_task_makes_its_schedule_return() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static DONE: Completion = Completion::new();
        let _tick = TickOff::new();
        let waker = Interrupt::request(8, || { let _ = GATE.give(); })?;
        let waiter = task::build("waiter").fifo(LOW).create(|_| {
            task::set_current_state(state::INTERRUPTIBLE);
            LOG.mark('w');
            arch::gic::send_sgi_self(8);
            crate::framework::clock::work(1000);
            LOG.mark('s');
            schedule();
            LOG.mark('W');
            DONE.complete_all();
        }, 0)?;
        let woken = waiter.clone();
        let high = task::build("high").fifo(HIGH).spawn(move || {
            GATE.take();
            LOG.mark(if wake_up_process(&woken) { 'H' } else { '?' });
            // It is awake now: a second wake-up finds nothing to do.
            LOG.mark(if wake_up_process(&woken) { '?' } else { 'h' });
        })?;
        waiter.start();
        let came_back = DONE.wait_timeout(PATIENCE);
        check_eq!(LOG.text(), "wHhsW");
        check_eq!(came_back, Ok(()), "the waiter");
        high.join();
        waiter.wait_exited();
        drop(waker);
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn schedule_with_a_sleeping_state_sleeps_until_the_wake_up() {
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let waiter = task::build("waiter").fifo(LOW).spawn(|| {
            LOG.mark('w');
            task::set_current_state(state::INTERRUPTIBLE);
            schedule();
            LOG.mark('W');
        })?;
        LOG.mark('m');
        let asleep = waiter.task().info();
        check!(!asleep.queued, "it sleeps and is queued");
        check_eq!(asleep.state, state::INTERRUPTIBLE);
        check!(wake_up_process(waiter.task()), "the wake-up found nobody asleep");
        LOG.mark('n');
        waiter.join();
        check_eq!(LOG.text(), "wmWn");
    }
}

ktest! {
    /// Waiters and wakers under a storm of preemptions: every round's wake-up comes between the waiter's test and
    /// its sleep, or before, or after; none may be lost.
    fn no_wake_up_is_lost_under_a_storm_of_preemptions() {
        const ROUNDS: u32 = 2000;
        static QUEUE: WaitQueue = WaitQueue::new();
        static ROUND: AtomicU32 = AtomicU32::new(0);
        static SERVED: AtomicU32 = AtomicU32::new(0);
        static ANSWER: WaitQueue = WaitQueue::new();
        let storm = stint::time::Timer::new_hard(|| { QUEUE.wake_one(); });
        storm.start_periodic(7_333)?;
        let waiter = task::build("waiter").fifo(LOW).spawn(|| {
            for round in 1..=ROUNDS {
                QUEUE.wait_until(|| ROUND.load(Ordering::Relaxed) >= round);
                SERVED.store(round, Ordering::Relaxed);
                ANSWER.wake_all();
            }
        })?;
        let mut lost = None;
        for round in 1..=ROUNDS {
            ROUND.store(round, Ordering::Relaxed);
            QUEUE.wake_one();
            if ANSWER.wait_until_timeout(|| SERVED.load(Ordering::Relaxed) >= round, PATIENCE).is_err() {
                lost = Some(round);
                break;
            }
        }
        storm.cancel();
        if lost.is_some() {
            // Lets the waiter out, if it can still be reached.
            ROUND.store(ROUNDS, Ordering::Relaxed);
            QUEUE.wake_all();
        }
        waiter.join();
        check_eq!(lost, None, "the round whose wake-up was lost");
    }
}
