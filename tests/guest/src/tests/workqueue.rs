//! Work queues: functions for threads, run once, never twice at a time.

use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::{check, check_eq, ktest};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use stint::locking::Semaphore;
use stint::preempt;
use stint::task;
use stint::workqueue::{DelayedWork, Work, schedule_work, system_highpri_wq, system_wq};

ktest! {
    fn a_work_queued_many_times_before_it_runs_runs_once() {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let work = Work::new(|| { RUNS.fetch_add(1, Relaxed); });
        check!(schedule_work(&work), "a work that was not queued was refused");
        for _ in 0..4 {
            check!(!schedule_work(&work), "a pending work was queued again");
        }
        work.flush();
        check_eq!(RUNS.load(Relaxed), 1);
        check!(schedule_work(&work));
        work.flush();
        check_eq!(RUNS.load(Relaxed), 2);
    }
}

ktest! {
    fn a_work_queued_by_an_interrupt_runs_in_a_worker_which_may_sleep() {
        static LOG: Events = Events::new();
        let work = Work::new(|| {
            LOG.mark(if preempt::preemptible() { 'w' } else { '!' });
            task::sleep_ms(1);
            LOG.mark('W');
        });
        let queued = work.clone();
        let interrupt = Interrupt::request(8, move || { schedule_work(&queued); })?;
        interrupt.raise();
        LOG.mark('m');
        work.flush();
        LOG.mark('f');
        check_eq!(LOG.text(), "mwWf");
    }
}

ktest! {
    fn works_begin_in_their_order_and_those_that_sleep_let_others_run() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        // Four workers: the fifth work waits for one of them.
        let works: Vec<Work> = ('a'..='e').map(|letter| Work::new(move || {
            LOG.mark(letter);
            GATE.take();
        })).collect();
        for work in &works {
            check!(schedule_work(work));
        }
        task::sleep_ms(5);
        LOG.mark('-');
        GATE.give()?;
        task::sleep_ms(5);
        for _ in 0..4 {
            GATE.give()?;
        }
        system_wq().flush();
        check_eq!(LOG.text(), "abcd-e");
        check!(works.iter().all(|work| !work.is_pending()));
    }
}

ktest! {
    fn a_work_queued_while_it_runs_runs_again_and_not_at_the_same_time() {
        static NOW: AtomicU32 = AtomicU32::new(0);
        static MOST: AtomicU32 = AtomicU32::new(0);
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let work = Work::new(|| {
            MOST.fetch_max(NOW.fetch_add(1, Relaxed) + 1, Relaxed);
            task::sleep_ms(2);
            NOW.fetch_sub(1, Relaxed);
            RUNS.fetch_add(1, Relaxed);
        });
        schedule_work(&work);
        task::sleep_ms(1);
        check!(schedule_work(&work), "a running work was refused");
        check!(!schedule_work(&work), "a running work was queued twice");
        work.flush();
        check_eq!(RUNS.load(Relaxed), 2, "runs");
        check_eq!(MOST.load(Relaxed), 1, "runs at the same time");
    }
}

ktest! {
    fn a_cancelled_work_does_not_run_and_cancel_sync_waits_for_one_that_does() {
        static LOG: Events = Events::new();
        let work = Work::new(|| {
            LOG.mark('[');
            task::sleep_ms(2);
            LOG.mark(']');
        });
        schedule_work(&work);
        check!(system_wq().cancel(&work), "a pending work was not there to be cancelled");
        check!(!system_wq().cancel(&work), "it was cancelled twice");
        task::sleep_ms(1);
        LOG.mark('a');
        schedule_work(&work);
        task::sleep_ms(1);
        check!(!system_wq().cancel_sync(&work), "a running work was pending");
        LOG.mark('b');
        schedule_work(&work);
        task::sleep_ms(1);
        schedule_work(&work);
        check!(system_wq().cancel_sync(&work), "the second run was not pending");
        task::sleep_ms(5);
        check_eq!(LOG.text(), "a[]b[]");
    }
}

ktest! {
    fn a_flush_waits_for_what_was_queued_before_it() {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let works: Vec<Work> = (0..20).map(|_| Work::new(|| {
            task::sleep_ns(100_000);
            RUNS.fetch_add(1, Relaxed);
        })).collect();
        works.iter().for_each(|work| { schedule_work(work); });
        system_wq().flush();
        check_eq!(RUNS.load(Relaxed), 20);
        // One that queues itself for ever does not hold a flush up.
        let stop = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&stop);
        let forever = Arc::new_cyclic(|itself: &alloc::sync::Weak<Work>| {
            let itself = itself.clone();
            Work::new(move || {
                task::sleep_ns(50_000);
                if seen.load(Relaxed) == 0
                    && let Some(work) = itself.upgrade()
                {
                    schedule_work(&work);
                }
            })
        });
        schedule_work(&forever);
        system_wq().flush();
        system_wq().flush();
        stop.store(1, Relaxed);
        system_wq().cancel_sync(&forever);
        task::sleep_ms(1);
        forever.flush();
    }
}

ktest! {
    fn a_delayed_work_waits_for_its_time() {
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let work = DelayedWork::new(system_wq(), || LOG.mark('w'));
        check!(work.queue_after(2_000_000));
        check!(!work.queue_after(1_000), "it was started twice");
        task::sleep_ms(1);
        LOG.mark('a');
        task::sleep_ms(2);
        LOG.mark('b');
        work.queue_after(1_000_000);
        work.modify(3_000_000);
        task::sleep_ms(2);
        LOG.mark('c');
        work.flush();
        LOG.mark('d');
        work.queue_after(1_000_000);
        check!(work.cancel_sync(), "a waiting one was not there to be cancelled");
        task::sleep_ms(2);
        check_eq!(LOG.text(), "awbcwd");
    }
}

ktest! {
    fn urgent_works_run_before_other_fair_tasks() {
        static SEEN: AtomicU32 = AtomicU32::new(0);
        let work = Work::new(|| SEEN.store(task::current_ref().info().prio as u32, Relaxed));
        system_highpri_wq().queue_work(&work);
        work.flush();
        check_eq!(SEEN.load(Relaxed), 100, "the kernel priority of nice -20");
        system_wq().queue_work(&work);
        work.flush();
        check_eq!(SEEN.load(Relaxed), 120, "the kernel priority of nice 0");
    }
}
