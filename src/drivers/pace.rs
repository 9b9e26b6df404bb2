//! How a driver waits for its device: by looking now and then, and sleeping in between.
//!
//! A driver says what it waits for and how long that may take; a [`Pace`] has the clock and the sleep. In the kernel
//! that is [`TaskPace`], in a test a clock that only moves when somebody waits.
//!
//! Invariant: a wait ends at the first look after its time is over, whatever the device does, and what was waited for
//! is looked at once more after that: who was kept from looking by a more important task does not see a timeout.
//!
//! Context: threads, with preemption on: a wait may sleep.
#![forbid(unsafe_code)]

/// Looks this close together are made without sleeping: most commands are done by then.
const SPIN_NS: u64 = 20_000;
/// The first sleep; each one is twice as long as the one before.
const SLEEP_FIRST_NS: u64 = 20_000;
/// The longest sleep between two looks.
const SLEEP_MOST_NS: u64 = 1_000_000;

/// A clock, and a way to let time go by.
pub trait Pace {
    /// Nanoseconds since some moment.
    fn now_ns(&self) -> u64;
    /// Lets `ns` go by, or more.
    fn pause(&self, ns: u64);

    /// Asks `look` until it answers, for `limit_ns` at most. Nothing if it never did.
    fn wait<T>(&self, limit_ns: u64, mut look: impl FnMut() -> Option<T>) -> Option<T>
    where
        Self: Sized,
    {
        let start_ns = self.now_ns();
        let mut sleep_ns = SLEEP_FIRST_NS;
        loop {
            let waited_ns = self.now_ns() - start_ns;
            if let Some(answer) = look() {
                return Some(answer);
            }
            if waited_ns >= limit_ns {
                return None;
            }
            if waited_ns >= SPIN_NS {
                self.pause(sleep_ns.min(limit_ns - waited_ns));
                sleep_ns = (sleep_ns * 2).min(SLEEP_MOST_NS);
            } else {
                self.relax();
            }
        }
    }

    /// Between two looks that are close together.
    fn relax(&self) {}
}

impl<P: Pace> Pace for &P {
    fn now_ns(&self) -> u64 {
        (**self).now_ns()
    }

    fn pause(&self, ns: u64) {
        (**self).pause(ns);
    }

    fn relax(&self) {
        (**self).relax();
    }
}

/// The pace of a task: the kernel's clock, and sleeping; on a PC, where nothing sleeps, turning.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskPace;

impl Pace for TaskPace {
    fn now_ns(&self) -> u64 {
        crate::time::now_ns()
    }

    #[cfg(target_os = "none")]
    fn pause(&self, ns: u64) {
        crate::task::sleep_ns(ns);
    }

    #[cfg(not(target_os = "none"))]
    fn pause(&self, _ns: u64) {
        self.relax();
    }

    fn relax(&self) {
        arch::cpu::relax();
    }
}

/// A clock for tests: every look takes a microsecond, and a sleep as long as it was asked for.
#[cfg(test)]
pub(crate) mod fake {
    use super::Pace;
    use core::cell::Cell;

    /// See the module.
    #[derive(Debug, Default)]
    pub(crate) struct FakePace {
        now_ns: Cell<u64>,
        /// Sleeps so far.
        pub(crate) pauses: Cell<u32>,
    }

    impl FakePace {
        /// The time, without taking any.
        pub(crate) fn peek_ns(&self) -> u64 {
            self.now_ns.get()
        }
    }

    impl Pace for FakePace {
        fn now_ns(&self) -> u64 {
            self.now_ns.set(self.now_ns.get() + 1_000);
            self.now_ns.get()
        }

        fn pause(&self, ns: u64) {
            self.pauses.set(self.pauses.get() + 1);
            self.now_ns.set(self.now_ns.get() + ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::FakePace;
    use super::*;

    #[test]
    fn what_comes_soon_is_waited_for_without_a_sleep() {
        let pace = FakePace::default();
        let mut looks = 0;
        let found = pace.wait(1_000_000, || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!((found, pace.pauses.get()), (Some(3), 0));
    }

    #[test]
    fn what_never_comes_is_given_up_when_the_time_is_over() {
        let pace = FakePace::default();
        let start_ns = pace.now_ns();
        assert_eq!(pace.wait(50_000_000, || None::<()>), None);
        let waited_ns = pace.now_ns() - start_ns;
        assert!((50_000_000..50_200_000).contains(&waited_ns), "{waited_ns}");
        assert!((50..80).contains(&pace.pauses.get()), "{} sleeps", pace.pauses.get());
    }

    #[test]
    fn a_late_look_counts_if_the_device_was_ready() {
        let pace = FakePace::default();
        let ready_ns = pace.now_ns() + 9_000_000;
        // The time is over before the second look: as if the task had been kept from running.
        let mut looks = 0;
        let found = pace.wait(10_000, || {
            looks += 1;
            if looks == 1 {
                pace.pause(10_000_000);
                return None;
            }
            (pace.now_ns() >= ready_ns).then_some(())
        });
        assert_eq!(found, Some(()));
    }
}
