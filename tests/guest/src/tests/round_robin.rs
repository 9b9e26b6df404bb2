//! SCHED_RR: slices among equals, kept over preemption and sleep.

use crate::framework::clock::{hog, is_exact, spin_ns, tick_ns};
use crate::framework::cpus;
use crate::framework::runs::Runs;
use crate::tests::{HIGH, LOW};
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicBool, Ordering};
use stint::sched::core::with_rq;
use stint::sched::prio::SchedAttr;
use stint::{preempt, task};

/// Measuring loops, interrupts and switches at both ends of a run.
const BLUR_NS: u64 = 50_000;

fn slice_ns() -> u64 {
    with_rq(|rq| u64::from(rq.rt().rr_timeslice_ticks())) * tick_ns()
}

/// Puts the test's own task above all others, so that it goes on when its time comes.
fn stay_above() -> stint::Result<()> {
    task::current_ref().set_scheduler(SchedAttr::fifo(HIGH as u32 + 1).expect("a priority"))
}

ktest! {
    fn the_slice_is_a_hundred_milliseconds() {
        check!(slice_ns() <= 100_000_000 && slice_ns() > 100_000_000 - tick_ns(), "the slice is {} ns", slice_ns());
    }
}

ktest! {
    only_in(models::PREEMPTED_SPINNING, models::AT_ONCE_AND_MAKES_TASKS_IN_ATOMIC),
    fn equals_take_turns_of_one_slice() {
        static RUNS: Runs = Runs::new();
        let _unlimited = super::throttling::Limits::none()?;
        stay_above()?;
        let guard = preempt::preempt_disable();
        let tasks = [1, 2, 3].map(|me| task::build("turn").rr(LOW).spawn(move || RUNS.hog(me)));
        drop(guard);
        task::sleep_ns(6 * slice_ns());
        RUNS.stop();
        for task in tasks {
            task?.join();
        }
        let runs = RUNS.completed();
        check!(runs.len() >= 5, "only {} turns in the time of six", runs.len());
        // The first began between two ticks, the last ones in which they end are no turns.
        for (place, run) in runs.iter().enumerate().take(5).skip(1) {
            check_eq!(run.who, place as u32 % 3 + 1, "whose turn number {place} is");
            if is_exact() {
                check!(run.ns.abs_diff(slice_ns()) <= BLUR_NS, "turn {place} took {} ns, a slice is {} ns", run.ns, slice_ns());
            }
        }
    }
}

ktest! {
    only_in(models::PREEMPTED_SPINNING, models::AT_ONCE_AND_MAKES_TASKS_IN_ATOMIC),
    /// A slice that began anew after each preemption would keep the first one running for ever.
    fn a_preempted_task_keeps_what_is_left_of_its_slice() {
        static RUNS: Runs = Runs::new();
        static STOP: AtomicBool = AtomicBool::new(false);
        // A throttled pause of 50 ms would count as part of a turn.
        let _unlimited = super::throttling::Limits::none()?;
        stay_above()?;
        let guard = preempt::preempt_disable();
        let first = task::build("first").rr(LOW).spawn(|| RUNS.hog(1));
        let second = task::build("second").rr(LOW).spawn(|| RUNS.hog(2));
        drop(guard);
        // Preempts every other tick or so for a while, at places that no tick sees.
        let high = task::build("high").fifo(HIGH).spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                task::sleep_ns(2 * tick_ns() + 111_000);
                spin_ns(100_000);
            }
        })?;
        task::sleep_ns(7 * slice_ns() / 2);
        STOP.store(true, Ordering::Relaxed);
        RUNS.stop();
        first?.join();
        second?.join();
        high.join();
        let runs = RUNS.completed();
        check!(runs.len() >= 2, "only {} turns in the time of three and a half: preemption gives a fresh slice", runs.len());
        for run in runs.iter().take(2) {
            if is_exact() {
                // A tick that falls into the higher task is charged to it: one in twenty.
                check!(run.ns <= slice_ns() + slice_ns() / 10 + BLUR_NS, "a turn of {} ns with preemptions, a slice is {} ns", run.ns, slice_ns());
            }
        }
    }
}

ktest! {
    fn a_sleeping_task_keeps_what_is_left_of_its_slice() {
        let ticks = with_rq(|rq| rq.rt().rr_timeslice_ticks());
        let sleeper = task::build("sleeper").rr(LOW).spawn(|| {
            let left = || with_rq(|rq| rq.curr().time_slice());
            let full = left();
            spin_ns(4 * tick_ns() + tick_ns() / 2);
            let used = left();
            task::sleep_ns(3 * tick_ns());
            (full, used, left())
        })?;
        let Some((full, used, after)) = sleeper.join() else { return Err(crate::framework::Failure::new(format_args!("no result"))) };
        check_eq!(full, ticks, "ticks of a new task's slice");
        // (On several CPUs the emulator runs one at a time, and a tick that comes late is not made up for.)
        if is_exact() && cpus::online() == 1 {
            check!((4..=5).contains(&(full - used)), "{} ticks were used in the time of four and a half", full - used);
        }
        check!(used - after <= 1, "the slice changed from {used} to {after} ticks in a sleep");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_task_alone_is_not_switched_when_its_slice_is_over() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let _unlimited = super::throttling::Limits::none()?;
        let alone = task::build("alone").rr(LOW).create(|_| hog(&STOP), 0)?;
        let before = alone.info().switches;
        stay_above()?;
        alone.start();
        task::sleep_ns(2 * slice_ns());
        let after = alone.info().switches;
        STOP.store(true, Ordering::Relaxed);
        alone.wait_exited();
        // The one is this task's wake-up.
        check_eq!((after.0 - before.0, after.1 - before.1), (0, 1), "switches over two slices");
    }
}

ktest! {
    only_in(models::SPINNING, models::MAKES_TASKS_IN_ATOMIC),
    fn a_fifo_task_among_round_robin_equals_is_not_rotated() {
        static RUNS: Runs = Runs::new();
        let guard = preempt::preempt_disable();
        let fifo = task::build("fifo").fifo(LOW).spawn(|| {
            RUNS.here(1);
            spin_ns(slice_ns() + slice_ns() / 2);
            RUNS.here(1);
        });
        let rr = task::build("rr").rr(LOW).spawn(|| RUNS.here(2));
        drop(guard);
        fifo?.join();
        rr?.join();
        let runs = RUNS.completed();
        check_eq!(runs.len(), 1, "turns before the round-robin task's only one");
        check!(runs[0].ns >= slice_ns() + slice_ns() / 2, "the FIFO task was rotated after {} ns", runs[0].ns);
    }
}
