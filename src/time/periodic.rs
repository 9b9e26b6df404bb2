//! The periodic task: do something every so often, on time.
//!
//! ```ignore
//! let mut period = Periodic::ms(1);
//! loop {
//!     let missed = period.wait();
//!     step();
//! }
//! ```
//!
//! The points of its grid lie at `start + k·period`, whenever the task gets to them: a late round does not move
//! the next one. A task that is still at work when a point comes has missed that point: it goes on at the
//! next one, never off the grid, and is told how many it missed. So rounds and missed points together are all
//! points there were.
//!
//! Context: threads.
#![forbid(unsafe_code)]

use super::forward::forward;
use super::now_ns;
use crate::task;
use core::time::Duration;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Periodic {
    period_ns: u64,
    /// The point that the next [`Self::wait`] waits for.
    next_ns: u64,
}

impl Periodic {
    /// A grid of `period`, whose first point comes one period from now.
    ///
    /// # Panics
    /// If the period is zero.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        Self::ns(u64::try_from(period.as_nanos()).unwrap_or(u64::MAX))
    }

    /// [`Self::new`] in milliseconds.
    #[must_use]
    pub fn ms(ms: u64) -> Self {
        Self::ns(ms.saturating_mul(1_000_000))
    }

    /// [`Self::new`] in microseconds.
    #[must_use]
    pub fn us(us: u64) -> Self {
        Self::ns(us.saturating_mul(1000))
    }

    /// [`Self::new`] in nanoseconds.
    #[must_use]
    pub fn ns(period_ns: u64) -> Self {
        Self::starting_at(now_ns().saturating_add(period_ns), period_ns)
    }

    /// A grid whose first point is at `first_ns` of the monotonic clock, for tasks that are to keep step, or
    /// to be out of step by so much.
    ///
    /// # Panics
    /// If the period is zero.
    #[must_use]
    pub fn starting_at(first_ns: u64, period_ns: u64) -> Self {
        assert!(period_ns != 0, "a period of 0 ns: expected at least 1");
        Self { period_ns, next_ns: first_ns }
    }

    /// Sleeps until the next point of the grid. Returns how many points have passed since the last one that was
    /// waited for: 0 if the task is on time.
    pub fn wait(&mut self) -> u64 {
        let missed = self.skip_past(now_ns());
        task::sleep_until(self.next_ns);
        self.next_ns = self.next_ns.saturating_add(self.period_ns);
        missed
    }

    /// The point that the present round began at: how late it is, is `now_ns() - due_ns()`. Before the first
    /// round, one period before it.
    #[must_use]
    pub fn due_ns(&self) -> u64 {
        self.next_ns.saturating_sub(self.period_ns)
    }

    /// The period.
    #[must_use]
    pub fn period_ns(&self) -> u64 {
        self.period_ns
    }

    /// Leaves out the points before `now_ns`; one that is right now is still in time.
    fn skip_past(&mut self, now_ns: u64) -> u64 {
        let Some(before_ns) = now_ns.checked_sub(1) else { return 0 };
        let missed = forward(self.next_ns, before_ns, self.period_ns);
        self.next_ns = self.next_ns.saturating_add(missed.saturating_mul(self.period_ns));
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::Periodic;

    #[test]
    fn a_task_that_is_late_goes_on_at_the_next_point_and_knows_what_it_missed() {
        for (now_ns, missed, next_ns) in [
            (0, 0, 100),
            (99, 0, 100),
            (100, 0, 100),
            (101, 1, 110),
            (110, 1, 110),
            (111, 2, 120),
            (135, 4, 140),
        ] {
            let mut period = Periodic::starting_at(100, 10);
            assert_eq!((period.skip_past(now_ns), period.next_ns), (missed, next_ns), "at {now_ns}");
        }
    }

    #[test]
    fn a_grid_does_not_overflow_at_the_end_of_time() {
        let mut period = Periodic::starting_at(u64::MAX - 1, u64::MAX / 2);
        assert_eq!((period.skip_past(u64::MAX), period.next_ns), (1, u64::MAX));
    }

    #[test]
    #[should_panic(expected = "a period of 0 ns")]
    fn a_period_of_nothing_is_refused() {
        let _ = Periodic::starting_at(0, 0);
    }
}
