//! P3: the tick preempts a fair task that has had its turn, and nobody else.

use crate::framework::clock::{fair_scale, hog, is_exact, spin_ns, tick_ns};
use crate::framework::runs::Runs;
use crate::tests::{HIGH, LOW};
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicBool, Ordering};
use stint::sched::core::with_rq;
use stint::task;
use stint::time::tick;

/// Runs of the first few rounds are of uneven length: new tasks start a turn in debt.
const SETTLED_AFTER: usize = 6;
/// What a run's measured length may differ by from what the scheduler has accounted: the interrupt, the switch and
/// the turns of the measuring loop at both ends.
const BLUR_NS: u64 = 20_000;

/// Lets `count` CPU-bound tasks of nice 0 run for the time of `turns` turns and returns the lengths of their
/// runs, from the time on at which they have settled.
fn fair_runs(
    runs: &'static Runs,
    count: u32,
    turns: u64,
) -> Result<alloc::vec::Vec<u64>, crate::framework::Failure> {
    let mut hogs = alloc::vec::Vec::new();
    for me in 1..=count {
        hogs.push(task::build("hog").spawn(move || runs.hog(me))?);
    }
    // A turn ends at a tick; the longest ideal one is 3 ms where there is one CPU.
    task::sleep_ns(turns * tick_ns().max(4_000_000) * fair_scale());
    runs.stop();
    for hog in hogs {
        hog.join();
    }
    let lengths: alloc::vec::Vec<u64> =
        runs.completed().iter().skip(SETTLED_AFTER).map(|run| run.ns).collect();
    // The last runs are those in which they end.
    Ok(lengths[..lengths.len().saturating_sub(count as usize + 1)].to_vec())
}

ktest! {
    fn the_tick_preempts_at_the_first_tick_after_the_ideal_runtime() {
        static RUNS: Runs = Runs::new();
        let ideal_ns = with_rq(|rq| rq.cfs().tunables().sched_latency_ns) / 2;
        let lengths = fair_runs(&RUNS, 2, 30)?;
        check!(lengths.len() >= 10 || !is_exact(), "only {} runs: nobody preempts", lengths.len());
        for ns in &lengths {
            if is_exact() {
                check!(*ns + BLUR_NS >= ideal_ns, "a run of {ns} ns is shorter than the ideal runtime, {ideal_ns} ns");
                check!(*ns <= ideal_ns + tick_ns() + BLUR_NS, "a run of {ns} ns is longer than the ideal runtime, {ideal_ns} ns, and a tick");
            }
        }
    }
}

ktest! {
    /// Ten tasks are more than the latency has turns for: the period grows so that nobody gets less than the
    /// minimum granularity.
    fn many_tasks_still_get_the_minimum_granularity_each() {
        static RUNS: Runs = Runs::new();
        let minimum_ns = with_rq(|rq| rq.cfs().tunables().sched_min_granularity_ns);
        let lengths = fair_runs(&RUNS, 10, 40)?;
        check!(lengths.len() >= 10 || !is_exact(), "only {} runs", lengths.len());
        if is_exact() {
            for ns in &lengths {
                check!(*ns + BLUR_NS >= minimum_ns, "a run of {ns} ns is shorter than the minimum granularity, {minimum_ns} ns");
            }
        }
    }
}

ktest! {
    fn all_tasks_get_their_turn_in_every_period() {
        static RUNS: Runs = Runs::new();
        let _ = fair_runs(&RUNS, 4, 40)?;
        let runs = RUNS.completed();
        // In any eight runs in a row each of four equal tasks comes up.
        for window in runs[..runs.len().saturating_sub(5)].windows(8).skip(SETTLED_AFTER) {
            for me in 1..=4 {
                check!(window.iter().any(|run| run.who == me), "task {me} is missing from {window:?}");
            }
        }
    }
}

ktest! {
    fn a_fair_task_alone_is_never_preempted_by_the_tick() {
        crate::framework::cpus::nobody_looks_around()?;
        static STOP: AtomicBool = AtomicBool::new(false);
        let hog = task::build("hog").spawn(|| hog(&STOP))?;
        // Behind the kernel's own threads, should they have something to do.
        task::sleep_ns(10 * tick_ns());
        let before = hog.task().info().switches;
        let wakes = 5;
        for _ in 0..wakes {
            task::sleep_ns(10 * tick_ns());
        }
        let after = hog.task().info().switches;
        STOP.store(true, Ordering::Relaxed);
        hog.join();
        check_eq!(after.0, before.0, "voluntary switches of a task that never waits");
        check_eq!(after.1 - before.1, wakes, "involuntary switches: one per wake-up of the test's own task");
    }
}

ktest! {
    fn the_tick_preempts_no_fifo_task_for_its_equal() {
        static RUNS: Runs = Runs::new();
        let first = task::build("first").fifo(LOW).create(|_| {
            for _ in 0..100 {
                RUNS.here(1);
                spin_ns(tick_ns() / 10);
            }
        }, 0)?;
        let second = task::build("second").fifo(LOW).create(|_| RUNS.here(2), 0)?;
        let starter = task::build("starter").fifo(HIGH).spawn({
            let (first, second) = (first.clone(), second.clone());
            move || {
                first.start();
                second.start();
            }
        })?;
        starter.join();
        first.wait_exited();
        second.wait_exited();
        let runs = RUNS.completed();
        check_eq!(runs.len(), 1, "runs before the second task's");
        check!(runs[0].ns >= 10 * tick_ns(), "the first task ran for {} ns only", runs[0].ns);
    }
}

ktest! {
    fn ticks_are_counted_also_when_interrupts_were_masked_for_some() {
        task::sleep_ns(2 * tick_ns());
        let before = tick::jiffies();
        let flags = arch::irqflags::local_irq_save();
        spin_ns(5 * tick_ns());
        arch::irqflags::local_irq_restore(flags);
        spin_ns(tick_ns() / 100);
        let passed = tick::jiffies() - before;
        check!((5..=6).contains(&passed) || !is_exact() && passed >= 5, "{passed} ticks were counted while five passed");
    }
}

ktest! {
    fn the_tick_keeps_its_grid() {
        // Over many ticks the count agrees with the clock to one tick: lateness does not add up.
        let (before_ns, before) = (stint::time::now_ns(), tick::jiffies());
        task::sleep_ns(100 * tick_ns());
        let (passed_ns, passed) = (stint::time::now_ns() - before_ns, tick::jiffies() - before);
        let by_clock = passed_ns / tick_ns();
        check!(passed.abs_diff(by_clock) <= 1, "{passed} ticks in the time of {by_clock}");
    }
}
