//! R4: the choice of the next real-time task: the right one, and in constant time.

use crate::framework::clock::{TickOff, is_exact};
use crate::framework::events::Events;
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use stint::sched::prio::SchedAttr;
use stint::task::{self, TaskRef};

ktest! {
    fn of_ninety_nine_priorities_the_highest_runs_first() {
        static ORDER: [AtomicU32; 99] = [const { AtomicU32::new(0) }; 99];
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        task::current_ref().set_scheduler(SchedAttr::fifo(99).expect("a priority"))?;
        let mut tasks = Vec::new();
        for n in 0..99u32 {
            // All of them, in a scattered order: 37 and 99 have no common divisor.
            let priority = (n * 37) % 99 + 1;
            tasks.push(task::build("level").fifo(priority as i32).stack_bytes(8192).spawn(move || {
                ORDER[NEXT.fetch_add(1, Ordering::Relaxed)].store(priority, Ordering::Relaxed);
            })?);
        }
        check_eq!(NEXT.load(Ordering::Relaxed), 0, "tasks that ran before this one made room");
        for task in tasks {
            task.join();
        }
        for (place, priority) in ORDER.iter().enumerate() {
            check_eq!(priority.load(Ordering::Relaxed), 99 - place as u32, "the priority that ran at place {place}");
        }
    }
}

ktest! {
    only_in(models::PREEMPTED_SPINNING, models::AT_ONCE_AND_MAKES_TASKS_IN_ATOMIC),
    fn real_time_comes_before_fair_however_favoured() {
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let fair = task::build("fair").nice(-20).spawn(|| LOG.mark('f'))?;
        let guard = stint::preempt::preempt_disable();
        let rt = task::build("rt").fifo(2).spawn(|| LOG.mark('r'));
        LOG.mark('g');
        drop(guard);
        LOG.mark('m');
        rt?.join();
        fair.join();
        check_eq!(LOG.text(), "grmf");
    }
}

/// The instructions of a yield between two tasks of one priority, with `crowd` lesser ones ready to run.
fn yield_cost(crowd: u32) -> Result<u64, crate::framework::Failure> {
    static STOP: AtomicBool = AtomicBool::new(false);
    STOP.store(false, Ordering::Relaxed);
    let me = task::current_ref();
    me.set_scheduler(SchedAttr::fifo(50).expect("a priority"))?;
    let mut tasks: Vec<TaskRef> = Vec::new();
    for n in 0..crowd {
        let task = task::build("crowd").fifo(1 + (n % 40) as i32).stack_bytes(8192).create(|_| {}, 0)?;
        task.start();
        tasks.push(task);
    }
    let other = task::build("other").fifo(50).spawn(|| {
        while !STOP.load(Ordering::Relaxed) {
            task::yield_now();
        }
    })?;
    let mut cost = 0;
    for _ in 0..4 {
        let before = arch::pmu::cycles();
        task::yield_now();
        cost = arch::pmu::cycles() - before;
    }
    STOP.store(true, Ordering::Relaxed);
    other.join();
    for task in &tasks {
        task.wait_exited();
    }
    Ok(cost)
}

ktest! {
    fn switching_costs_the_same_whatever_the_number_of_ready_tasks() {
        let _tick = TickOff::new();
        let alone = yield_cost(0)?;
        let among_few = yield_cost(3)?;
        let among_many = yield_cost(300)?;
        check!(alone > 0);
        if is_exact() {
            check_eq!(among_few, alone, "instructions of two switches with 3 more tasks ready, against none");
            check_eq!(among_many, alone, "instructions of two switches with 300 more tasks ready, against none");
        }
    }
}

ktest! {
    fn hundreds_of_equals_run_first_come_first_served() {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static OUT_OF_ORDER: AtomicU32 = AtomicU32::new(0);
        task::current_ref().set_scheduler(SchedAttr::fifo(90).expect("a priority"))?;
        let mut tasks = Vec::new();
        for n in 0..300u32 {
            tasks.push(task::build("equal").fifo(60).stack_bytes(8192).spawn(move || {
                if NEXT.fetch_add(1, Ordering::Relaxed) != n {
                    OUT_OF_ORDER.fetch_add(1, Ordering::Relaxed);
                }
            })?);
        }
        for task in tasks {
            task.join();
        }
        check_eq!((NEXT.load(Ordering::Relaxed), OUT_OF_ORDER.load(Ordering::Relaxed)), (300, 0), "tasks that ran, out of order");
    }
}
