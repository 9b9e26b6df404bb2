//! P11 in the running kernel: shares by nice level, yield, and the change of a running task's level.

use crate::framework::clock::{TickOff, fair_scale, hog, is_exact, spin_ns};
use crate::framework::events::Events;
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use stint::sched::prio::{Policy, SchedAttr};
use stint::task::{self, JoinHandle};

/// Nothing, in a thousandth of the CPU, may be further from its share than this.
const TOLERANCE_PERMILLE: u64 = 20;

fn attr(policy: Policy, nice: i32) -> SchedAttr {
    SchedAttr::new(policy, 0, nice).expect("a policy and a nice level")
}

/// Tasks that use the CPU until told to stop.
fn hogs(
    stop: &'static AtomicBool,
    attrs: &[SchedAttr],
) -> Result<Vec<JoinHandle<()>>, crate::framework::Failure> {
    stop.store(false, Ordering::Relaxed);
    let mut tasks = Vec::new();
    for &attr in attrs {
        tasks.push(task::build("hog").attr(attr).spawn(move || hog(stop))?);
    }
    Ok(tasks)
}

/// The shares of `tasks` over `ns`, or where turns are longer over as many of them, in thousandths.
fn shares(tasks: &[JoinHandle<()>], ns: u64) -> Vec<u64> {
    let cycles = || tasks.iter().map(|task| task.task().info().runtime_cycles).collect::<Vec<u64>>();
    let before = cycles();
    task::sleep_ns(ns * fair_scale());
    let used: Vec<u64> =
        cycles().iter().zip(&before).map(|(after, before)| after.wrapping_sub(*before)).collect();
    let all: u64 = used.iter().sum();
    used.iter().map(|used| used * 1000 / all.max(1)).collect()
}

fn check_shares(found: &[u64], weights: &[u64]) -> crate::framework::Outcome {
    let all: u64 = weights.iter().sum();
    for (found, weight) in found.iter().zip(weights) {
        let expected = weight * 1000 / all;
        // Without an exact clock the host may stop the machine at any time, in anybody's run.
        check!(
            !is_exact() || found.abs_diff(expected) <= TOLERANCE_PERMILLE,
            "a share of {found} thousandths, expected {expected}"
        );
    }
    Ok(())
}

ktest! {
    fn nice_levels_share_the_cpu_by_weight() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let tasks = hogs(&STOP, &[attr(Policy::Normal, -5), attr(Policy::Normal, 0), attr(Policy::Normal, 5)])?;
        task::sleep_ms(50);
        let found = shares(&tasks, 1_000_000_000);
        STOP.store(true, Ordering::Relaxed);
        for task in tasks {
            task.join();
        }
        check_shares(&found, &[3121, 1024, 335])?;
    }
}

ktest! {
    fn equals_share_the_cpu_equally() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let tasks = hogs(&STOP, &[attr(Policy::Normal, 0), attr(Policy::Batch, 0), attr(Policy::Normal, 0), attr(Policy::Normal, 0)])?;
        task::sleep_ms(50);
        let found = shares(&tasks, 400_000_000);
        STOP.store(true, Ordering::Relaxed);
        for task in tasks {
            task.join();
        }
        check_shares(&found, &[1; 4])?;
    }
}

ktest! {
    fn the_idle_policy_gets_next_to_nothing_beside_a_normal_task() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let tasks = hogs(&STOP, &[attr(Policy::Normal, 0), attr(Policy::Idle, 0)])?;
        task::sleep_ms(50);
        let found = shares(&tasks, 300_000_000);
        STOP.store(true, Ordering::Relaxed);
        for task in tasks {
            task.join();
        }
        check_shares(&found, &[1024, 3])?;
    }
}

ktest! {
    fn a_changed_nice_level_changes_the_share_of_a_running_task() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let tasks = hogs(&STOP, &[attr(Policy::Normal, 0), attr(Policy::Normal, 0)])?;
        task::sleep_ms(50);
        let equal = shares(&tasks, 200_000_000);
        tasks[0].task().set_scheduler(attr(Policy::Normal, 5))?;
        task::sleep_ms(50);
        let unequal = shares(&tasks, 300_000_000);
        STOP.store(true, Ordering::Relaxed);
        for task in tasks {
            task.join();
        }
        check_shares(&equal, &[1, 1])?;
        check_shares(&unequal, &[335, 1024])?;
    }
}

ktest! {
    fn a_real_time_task_takes_its_time_from_all_fair_ones_alike() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let tasks = hogs(&STOP, &[attr(Policy::Normal, 0), attr(Policy::Normal, 0)])?;
        let busy = task::build("busy").fifo(20).spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                spin_ns(1_000_000);
                task::sleep_ns(1_777_000);
            }
        })?;
        task::sleep_ms(50);
        let found = shares(&tasks, 300_000_000);
        STOP.store(true, Ordering::Relaxed);
        for task in tasks {
            task.join();
        }
        busy.join();
        check_shares(&found, &[1, 1])?;
    }
}

ktest! {
    /// The second one starts 3 ms ahead of the first in virtual time (each new task owes a turn of the queue as it was
    /// then; on several CPUs all of this is longer). It yields when it is 0.5 ms from catching up: still the least served, and passed over all the same.
    fn a_fair_task_that_yields_is_passed_over_once() {
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let tasks = ['a', 'b'].map(|letter| {
            task::build("yielder").spawn(move || {
                spin_ns(2_500_000 * fair_scale());
                LOG.mark(letter);
                task::yield_now();
                LOG.mark(letter.to_ascii_uppercase());
            })
        });
        for task in tasks {
            task?.join();
        }
        check_eq!(LOG.text(), "baBA");
    }
}

ktest! {
    fn a_fair_task_that_yields_alone_goes_on() {
        let alone = task::build("alone").spawn(|| {
            let before = task::current_ref().info().switches;
            for _ in 0..10 {
                task::yield_now();
            }
            (before, task::current_ref().info().switches)
        })?;
        let switches = alone.join();
        check!(switches.is_some_and(|(before, after)| before == after), "a yield with nobody to yield to switched: {switches:?}");
    }
}
