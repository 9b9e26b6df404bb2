//! Does a CPU get on? The decision, without a clock or a CPU: from one look to the next.
//!
//! A look ([`Sight`]) is what can be seen from outside: whether it has switched and whether its tick has come since the
//! look before, whether it idles and whether anybody waits for it. From these follow two verdicts:
//!
//! * **stalled**: a CPU that is not idle and whose tick runs has taken no tick: it has its interrupts masked, or hangs.
//! * **locked up**: it has not switched while others wait for it (Linux's soft lockup), or it idles while they wait.
//!
//! A task that has its CPU for itself may keep it for ever, and a CPU may idle for ever.
//!
//! Each is told once, and so is its end. Between two looks nothing is known, so a time told may be short by their
//! distance and is never too long.
//!
//! Context: any; pure. Bound: constant.
#![forbid(unsafe_code)]

/// What one look at a CPU shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Changes when another task gets the CPU.
    pub switch_stamp: u64,
    /// Ticks taken; nothing while the tick is stopped on purpose.
    pub ticks: Option<u64>,
    /// The idle task runs.
    pub is_idle: bool,
    /// Somebody who does not run is ready to.
    pub waiting: bool,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// It has not switched for this long while others wait.
    LockedUp {
        /// Nanoseconds since it was last seen to get on, at least.
        for_ns: u64,
    },
    /// It has taken no tick for this long.
    Stalled {
        /// As above.
        for_ns: u64,
    },
    /// What was told is over.
    Recovered {
        /// From when it was last seen to get on to now.
        after_ns: u64,
    },
}

/// What is remembered of a CPU.
#[derive(Clone, Copy, Debug)]
pub struct CpuWatch {
    last: Option<Sight>,
    /// When it last was seen to have switched, to idle with nobody waiting, or to have nobody waiting.
    got_on_ns: u64,
    /// When it last was seen to have taken a tick, or not to need one.
    ticked_ns: u64,
    told: bool,
}

impl CpuWatch {
    /// Nothing has been seen.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None, got_on_ns: 0, ticked_ns: 0, told: false }
    }

    /// A look at `now_ns`; what goes on for `thresh_ns` is told.
    pub fn look(&mut self, now_ns: u64, sight: Sight, thresh_ns: u64) -> Verdict {
        let last = self.last.replace(sight);
        let switched = last.is_none_or(|last| last.switch_stamp != sight.switch_stamp);
        let ticked = last.is_none_or(|last| last.ticks != sight.ticks) || sight.ticks.is_none();
        let since_ns = self.got_on_ns.min(self.ticked_ns);
        if switched || ticked || sight.is_idle {
            self.ticked_ns = now_ns;
        }
        if switched || !sight.waiting {
            self.got_on_ns = now_ns;
        }
        let stalled_ns = now_ns - self.ticked_ns;
        let stuck_ns = now_ns - self.got_on_ns;
        if stalled_ns < thresh_ns && stuck_ns < thresh_ns {
            return if core::mem::take(&mut self.told) {
                Verdict::Recovered { after_ns: now_ns - since_ns }
            } else {
                Verdict::Fine
            };
        }
        if core::mem::replace(&mut self.told, true) {
            Verdict::Fine
        } else if stalled_ns >= thresh_ns {
            Verdict::Stalled { for_ns: stalled_ns }
        } else {
            Verdict::LockedUp { for_ns: stuck_ns }
        }
    }
}

impl Default for CpuWatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{CpuWatch, Sight, Verdict};
    use proptest::prelude::*;

    const N: u64 = 10;

    fn sight(switch_stamp: u64, ticks: impl Into<Option<u64>>, is_idle: bool, waiting: bool) -> Sight {
        Sight { switch_stamp, ticks: ticks.into(), is_idle, waiting }
    }

    /// Looks every 5 units of time.
    fn verdicts(sights: &[Sight]) -> std::vec::Vec<Verdict> {
        let mut watch = CpuWatch::new();
        (0..).zip(sights).map(|(i, &sight)| watch.look(1000 + 5 * i, sight, N)).collect()
    }

    #[test]
    fn a_cpu_that_switches_is_fine_though_others_always_wait() {
        let sights: std::vec::Vec<_> = (0..20).map(|i| sight(i, i, false, true)).collect();
        assert!(verdicts(&sights).iter().all(|&verdict| verdict == Verdict::Fine));
    }

    #[test]
    fn a_cpu_that_idles_or_has_one_task_is_fine_for_ever() {
        assert!(verdicts(&[sight(7, None, true, false); 20]).iter().all(|&v| v == Verdict::Fine));
        let alone: std::vec::Vec<_> = (0..20).map(|i| sight(7, i, false, false)).collect();
        assert!(verdicts(&alone).iter().all(|&v| v == Verdict::Fine));
    }

    #[test]
    fn a_cpu_that_does_not_switch_while_others_wait_is_told_once_and_its_end_once() {
        let mut sights: std::vec::Vec<_> = (0..6).map(|i| sight(7, i, false, true)).collect();
        sights.push(sight(8, 6, false, true));
        sights.push(sight(9, 7, false, true));
        let mut expected = [Verdict::Fine; 8];
        expected[2] = Verdict::LockedUp { for_ns: 10 };
        expected[6] = Verdict::Recovered { after_ns: 30 };
        assert_eq!(verdicts(&sights), expected);
    }

    #[test]
    fn a_cpu_without_ticks_is_stalled_though_nobody_waits() {
        let mut expected = [Verdict::Fine; 4];
        expected[2] = Verdict::Stalled { for_ns: 10 };
        assert_eq!(verdicts(&[sight(7, 3, false, false); 4]), expected);
    }

    #[test]
    fn a_tick_that_is_stopped_on_purpose_is_no_stall() {
        assert!(verdicts(&[sight(7, None, false, false); 9]).iter().all(|&v| v == Verdict::Fine));
        let mut expected = [Verdict::Fine; 3];
        expected[2] = Verdict::LockedUp { for_ns: 10 };
        assert_eq!(verdicts(&[sight(7, None, false, true); 3]), expected);
    }

    #[test]
    fn a_cpu_that_sleeps_through_a_wake_up_is_told() {
        let mut sights = std::vec::Vec::from([sight(7, None, true, false); 3]);
        sights.extend([sight(7, None, true, true); 3]);
        let mut expected = [Verdict::Fine; 6];
        expected[4] = Verdict::LockedUp { for_ns: 10 };
        assert_eq!(verdicts(&sights), expected);
    }

    #[test]
    fn a_wait_that_has_just_begun_does_not_count_from_the_last_switch() {
        let mut sights = std::vec::Vec::from([sight(7, None, false, false); 8]);
        sights.push(sight(7, None, false, true));
        assert!(verdicts(&sights).iter().all(|&v| v == Verdict::Fine));
    }

    proptest! {
        /// Told and ended alternate, and a time told is never more than has passed.
        #[test]
        fn what_is_told_ends_before_it_is_told_again(
            looks in proptest::collection::vec((1u64..8, 0u64..3, proptest::option::of(0u64..3), any::<bool>(), any::<bool>()), 1..60)
        ) {
            let mut watch = CpuWatch::new();
            let (mut now, mut told) = (100, false);
            for (step, stamp, ticks, is_idle, waiting) in looks {
                now += step;
                match watch.look(now, sight(stamp, ticks, is_idle, waiting), N) {
                    Verdict::Fine => {}
                    Verdict::Recovered { after_ns } => {
                        prop_assert!(told && after_ns <= now - 100);
                        told = false;
                    }
                    Verdict::LockedUp { for_ns } | Verdict::Stalled { for_ns } => {
                        prop_assert!(!told && for_ns >= N && for_ns <= now - 100);
                        told = true;
                    }
                }
            }
        }
    }
}
