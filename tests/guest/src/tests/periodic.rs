//! R3: tasks that do something every so often: on the grid, without drift, and aware of what they missed.

use crate::framework::Failure;
use crate::framework::clock::{LATE_NS, is_exact, spin_until_ns};
use crate::{check, check_eq, ktest};
use core::time::Duration;
use stint::time::{Periodic, now_ns};

fn only_with_an_exact_clock() -> Result<(), Failure> {
    if is_exact() { Ok(()) } else { Err(Failure::Ignored("the clock is the host's")) }
}

ktest! {
    fn a_periodic_task_is_never_early_and_does_not_drift_in_ten_thousand_periods() {
        const PERIOD_NS: u64 = 100_003;
        let mut period = Periodic::new(Duration::from_nanos(PERIOD_NS));
        let start = period.due_ns();
        let mut missed = 0;
        for round in 1..=10_000 {
            missed += period.wait();
            let now = now_ns();
            let due = start + (round + missed) * PERIOD_NS;
            check_eq!(period.due_ns(), due, "the point of round {round}");
            check!(now >= due, "round {round} is {} ns early", due - now);
            if is_exact() {
                check_eq!(missed, 0, "missed points in round {round}");
                check!(now - due <= 2 * LATE_NS, "round {round} is {} ns late", now - due);
            }
        }
    }
}

ktest! {
    fn a_periodic_task_that_takes_too_long_is_told_and_returns_to_its_grid() {
        only_with_an_exact_clock()?;
        const PERIOD_NS: u64 = 1_000_000;
        let mut period = Periodic::ms(1);
        let start = period.due_ns();
        check_eq!(period.wait(), 0);
        // Works until the middle between its points 3 and 4: 2 and 3 have passed.
        spin_until_ns(start + 3 * PERIOD_NS + PERIOD_NS / 2);
        check_eq!(period.wait(), 2, "missed points");
        check_eq!(period.due_ns(), start + 4 * PERIOD_NS);
        check!(now_ns() - period.due_ns() <= 2 * LATE_NS, "{} ns late", now_ns() - period.due_ns());
        check_eq!(period.wait(), 0, "missed points of a round in time");
    }
}

ktest! {
    fn periodic_tasks_may_choose_when_they_start() {
        only_with_an_exact_clock()?;
        // Behind the first ten milliseconds of the clock, which the grid below begins before.
        stint::task::sleep_ms(20);
        let base = now_ns() + 1_000_000;
        let mut early = Periodic::starting_at(base, 500_000);
        let mut late = Periodic::starting_at(base + 250_000, 500_000);
        for round in 0..4 {
            check_eq!((early.wait(), late.wait()), (0, 0), "missed points of round {round}");
            let due = base + 250_000 + round * 500_000;
            check!(now_ns() >= due && now_ns() - due <= 2 * LATE_NS, "round {round} at {} instead of {due}", now_ns());
        }
        // A grid that has begun long ago: it is joined, and the past told.
        let mut old = Periodic::starting_at(base - 10_000_000, 1_000_000);
        check!(old.wait() >= 10, "the points that passed before the task came");
        check_eq!((old.due_ns() - base) % 1_000_000, 0, "distance from the grid");
    }
}
