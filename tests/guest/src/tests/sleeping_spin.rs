//! P10: `SpinLock` where it sleeps: in `rt`, and in the event-driven style.

use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::tests::{HIGH, LOW, MIDDLE};
use crate::{check, check_eq, ktest};
use arch::irqflags::irqs_disabled;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use stint::locking::{Completion, Semaphore, SpinLock, SpinLockIrqSave};
use stint::preempt::{cond_resched_lock, preempt_count, preempt_disable};
use stint::sched::core::{schedule, wake_up_process};
use stint::task::{self, state};

const SLEEPS: &str = "SpinLock spins in this model";

ktest! {
    only_in(models::SLEEPING, SLEEPS),
    fn a_spin_lock_that_sleeps_neither_counts_nor_masks() {
        static LOCK: SpinLock<u32> = SpinLock::new(1);
        let guard = LOCK.lock();
        let inside = (preempt_count(), irqs_disabled());
        drop(guard);
        check_eq!(inside, (0, false), "count and mask inside");
        let tried = LOCK.try_lock();
        check_eq!((tried.is_some(), preempt_count()), (true, 0), "taken by trying, and the count");
    }
}

ktest! {
    only_in(models::RT, "SpinLockIrqSave masks in this model"),
    fn in_rt_a_spin_lock_that_used_to_mask_does_not() {
        static LOCK: SpinLockIrqSave<()> = SpinLockIrqSave::new(());
        let guard = LOCK.lock();
        let inside = (preempt_count(), irqs_disabled());
        drop(guard);
        check_eq!(inside, (0, false), "count and mask inside");
        check_eq!((preempt_count(), irqs_disabled()), (0, false), "count and mask after");
    }
}

ktest! {
    only_in(models::SLEEPING.and(models::PREEMPTED), SLEEPS),
    /// The holder is preempted inside, the contender sleeps and lends its priority: a middle task does not come between.
    fn the_holder_of_a_spin_lock_that_sleeps_runs_with_the_priority_of_who_waits() {
        static LOG: Events = Events::new();
        static LOCK: SpinLock<()> = SpinLock::new(());
        static IN: Semaphore = Semaphore::new(0);
        static GO: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let low = task::build("low").fifo(LOW).spawn(|| {
            let guard = LOCK.lock();
            let _ = IN.give();
            GO.take();
            LOG.mark('l');
            drop(guard);
            LOG.mark('r');
        })?;
        IN.take();
        let high = task::build("high").fifo(HIGH).spawn(|| {
            LOG.mark('h');
            let refused = LOCK.try_lock().is_none();
            let guard = LOCK.lock();
            LOG.mark(if refused { 'H' } else { '?' });
            drop(guard);
        })?;
        let boosted = low.task().info().prio;
        let middle = task::build("middle").fifo(MIDDLE).create(|_| LOG.mark('m'), 0)?;
        let guard = preempt_disable();
        GO.give()?;
        middle.start();
        drop(guard);
        high.join();
        low.join();
        middle.wait_exited();
        check_eq!(boosted, 99 - HIGH, "the kernel's priority of the holder while the high task waits");
        check_eq!(LOG.text(), "hlHmr");
    }
}

ktest! {
    only_in(models::SLEEPING, SLEEPS),
    /// The wake-up comes while the waiter, already in its sleeping state, waits for the lock. The waiter then must not
    /// sleep: nobody would wake it again.
    fn a_wake_up_that_comes_while_a_waiter_by_hand_waits_for_the_lock_is_not_lost() {
        static LOCK: SpinLock<()> = SpinLock::new(());
        static CONDITION: AtomicBool = AtomicBool::new(false);
        static ROUNDS: AtomicU32 = AtomicU32::new(0);
        static DONE: Completion = Completion::new();
        CONDITION.store(false, Ordering::Relaxed);
        let held = LOCK.lock();
        let waiter = task::build("waiter").fifo(LOW).spawn(|| {
            loop {
                task::set_current_state(state::INTERRUPTIBLE);
                let guard = LOCK.lock();
                let holds = CONDITION.load(Ordering::Relaxed);
                drop(guard);
                if holds {
                    break;
                }
                ROUNDS.fetch_add(1, Ordering::Relaxed);
                schedule();
            }
            task::set_current_state(state::RUNNING);
            DONE.complete_all();
        })?;
        // It waits for the lock.
        task::sleep_ns(100_000);
        let in_lock = waiter.task().info().state;
        // The wake-up: it does not find the waiter in its state, and the condition is true only afterwards for who
        // looks under the lock now.
        let found = wake_up_process(waiter.task());
        drop(held);
        task::sleep_ns(100_000);
        let after = ROUNDS.load(Ordering::Relaxed);
        let guard = LOCK.lock();
        CONDITION.store(true, Ordering::Relaxed);
        drop(guard);
        wake_up_process(waiter.task());
        let done = DONE.wait_timeout(stint::sched::wait::Timeout::In(1_000_000_000));
        waiter.join();
        check_eq!(in_lock, state::UNINTERRUPTIBLE, "the state of who waits for the lock");
        check!(!found, "a wake-up got a task out of its lock");
        check_eq!(after, 2, "tests of the condition: the sleep in the lock has used up the first state");
        check_eq!(done, Ok(()), "the end of the wait");
    }
}

ktest! {
    only_in(models::SLEEPING, SLEEPS),
    fn a_waiter_by_hand_under_a_storm_of_contention_and_wake_ups_always_sees_the_last_one() {
        static LOCK: SpinLock<u32> = SpinLock::new(0);
        static SEEN: AtomicU32 = AtomicU32::new(0);
        const LAST: u32 = 200;
        *LOCK.lock() = 0;
        SEEN.store(0, Ordering::Relaxed);
        let waiter = task::build("waiter").fifo(LOW).spawn(|| {
            while SEEN.load(Ordering::Relaxed) < LAST {
                task::set_current_state(state::INTERRUPTIBLE);
                let now = *LOCK.lock();
                if now == SEEN.load(Ordering::Relaxed) {
                    schedule();
                } else {
                    SEEN.store(now, Ordering::Relaxed);
                }
                task::set_current_state(state::RUNNING);
            }
        })?;
        for number in 1..=LAST {
            let mut guard = LOCK.lock();
            // Every other time the waiter comes to the lock while it is held.
            if number % 2 == 0 {
                wake_up_process(waiter.task());
                task::sleep_ns(u64::from(number) * 100);
            }
            *guard = number;
            drop(guard);
            wake_up_process(waiter.task());
            task::sleep_ns(u64::from(number % 7) * 300);
        }
        waiter.join();
        check_eq!(SEEN.load(Ordering::Relaxed), LAST, "the last value that the waiter has seen");
    }
}

ktest! {
    only_in(models::SLEEPING, SLEEPS),
    fn cond_resched_lock_gives_a_contended_lock_to_who_waits_for_it() {
        static LOG: Events = Events::new();
        static LOCK: SpinLock<u32> = SpinLock::new(0);
        let _tick = TickOff::new();
        *LOCK.lock() = 0;
        let mut guard = LOCK.lock();
        let free = cond_resched_lock(&mut guard);
        let waiter = task::build("waiter").fifo(LOW).spawn(|| {
            let mut guard = LOCK.lock();
            LOG.mark('w');
            *guard = 5;
        })?;
        task::sleep_ns(10_000);
        LOG.mark('m');
        let broken = cond_resched_lock(&mut guard);
        LOG.mark('n');
        let value = *guard;
        drop(guard);
        waiter.join();
        check_eq!((free, broken), (false, true), "whether it let go, of a free lock and of a wanted one");
        check_eq!(LOG.text(), "mwn");
        check_eq!(value, 5, "the value of who had it meanwhile");
    }
}

ktest! {
    only_in(models::RT, "in the other models it is no mistake, or has a test of its own"),
    panics = "sleeping in atomic context",
    fn in_rt_a_spin_lock_with_preemption_off_is_a_panic() {
        static LOCK: SpinLock<()> = SpinLock::new(());
        let _guard = preempt_disable();
        drop(LOCK.lock());
        Ok(())
    }
}

ktest! {
    panics = "SpinLock in a hard interrupt",
    fn a_spin_lock_in_a_hard_interrupt_is_a_panic() {
        static LOCK: SpinLock<()> = SpinLock::new(());
        let waker = crate::framework::interrupt::Interrupt::request(8, || drop(LOCK.lock()))?;
        waker.raise();
        Ok(())
    }
}
