#![forbid(unsafe_code)]
//! Real-time throttling: deadline and real-time tasks leave the others a share of the CPU.
//!
//! By default they may have 950 ms of every second. When they have had that, real-time tasks are not picked
//! until the second is over; they stay where they are in their lists. If nobody else wants the CPU it idles,
//! as in Linux: the point is that a runaway real-time task can be seen to be one. A deadline task counts here
//! but is never held back here: its own budget does that, and admission has made sure that it fits.
//!
//! **What it costs.** Nothing where a real-time task follows a real-time task. The time of fair and idle tasks
//! is known exactly, because every switch to or from one reads the clock anyway; what they did not have, the
//! classes above had. One store when one of these begins to run is all that is added to such a switch.
//!
//! **How exact.** A timer, not the tick: armed for the earliest time at which the budget can be used up. Found
//! too early, because fair tasks ran as well, it is armed for the earliest time again, but no sooner than
//! [`GRANULE_NS`]. So the budget is exceeded by at most that and the time in which interrupts are masked.
//! Where the timer finds no real-time task it is not armed again: the next one to run does that, once, on a
//! longer way (`Special::RT_PERIOD_OFF`). So a CPU that idles is interrupted once and then left alone.
//!
//! Contexts: any, under the run-queue lock; `now` is the run queue's clock.

use super::deadline::{BW_UNIT, to_ratio};

/// The least time between two looks at the budget.
pub const GRANULE_NS: u64 = 10_000;
/// Not running, or no timer.
const NEVER: u64 = u64::MAX;

/// What the end of a period or of a budget changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// From now on no real-time task is picked.
    Throttled,
    /// From now on they are picked again.
    Unthrottled,
    /// No timer until the next real-time task runs.
    Stopped,
}

/// The budget of the classes above the fair one.
#[derive(Debug)]
pub struct RtBandwidth {
    /// 0: off.
    runtime_ns: u64,
    period_ns: u64,
    /// What has been used of this period, and what was too much in earlier ones.
    used_ns: u64,
    /// Since when a task above the fair class runs.
    above_since: u64,
    period_end: u64,
    check_at: u64,
    is_throttled: bool,
}

impl RtBandwidth {
    pub(super) const fn new() -> Self {
        Self {
            runtime_ns: 0,
            period_ns: 0,
            used_ns: 0,
            above_since: NEVER,
            period_end: NEVER,
            check_at: NEVER,
            is_throttled: false,
        }
    }

    /// True unless throttling is off.
    pub fn is_enabled(&self) -> bool {
        self.runtime_ns != 0
    }

    /// Budget and period in ns; a budget of 0 is no limit.
    pub fn limits(&self) -> (u64, u64) {
        (self.runtime_ns, self.period_ns)
    }

    /// True while real-time tasks are held back.
    pub fn is_throttled(&self) -> bool {
        self.is_throttled
    }

    /// What has been used of the period, as of the last switch to or from a fair task.
    pub fn used_ns(&self) -> u64 {
        self.used_ns
    }

    /// The share of the CPU, of 1 << 20.
    pub(super) fn ratio(runtime_ns: u64, period_ns: u64) -> u64 {
        if runtime_ns == 0 { BW_UNIT } else { to_ratio(period_ns, runtime_ns) }
    }

    /// Sets budget and period (trusted: budget <= period) and forgets what was used.
    pub(super) fn set(&mut self, runtime_ns: u64, period_ns: u64) {
        *self = Self { runtime_ns, period_ns, above_since: self.above_since, ..Self::new() };
    }

    /// A real-time task is about to run, and there is no timer: the first period begins, or the present one is
    /// looked after again.
    pub(super) fn start(&mut self, now: u64) {
        if self.period_end == NEVER {
            self.used_ns = 0;
            if self.above_since != NEVER {
                self.above_since = now;
            }
            self.period_end = now + self.period_ns;
        } else {
            self.charge(now);
            self.roll(now);
        }
        self.arm(now);
    }

    /// What the periods that are over have paid for is not used any more.
    fn roll(&mut self, now: u64) {
        if now >= self.period_end {
            let periods = (now - self.period_end) / self.period_ns + 1;
            self.used_ns = self.used_ns.saturating_sub(periods.saturating_mul(self.runtime_ns));
            self.period_end += periods * self.period_ns;
        }
    }

    /// The earliest time at which the budget can be used up.
    fn arm(&mut self, now: u64) {
        let left = self.runtime_ns.saturating_sub(self.used_ns);
        self.check_at = self.period_end.min(now + left.max(GRANULE_NS));
    }

    /// A task above the fair class runs from now on, in the place of one that was not.
    #[inline(always)]
    pub(super) fn begin(&mut self, now: u64) {
        self.above_since = now;
    }

    /// A fair task, or nobody, runs from now on.
    pub(super) fn end(&mut self, now: u64) {
        self.charge(now);
        self.above_since = NEVER;
    }

    /// True while a task above the fair class runs.
    pub(super) fn is_above(&self) -> bool {
        self.above_since != NEVER
    }

    fn charge(&mut self, now: u64) {
        if self.above_since != NEVER {
            self.used_ns += now.saturating_sub(self.above_since);
            self.above_since = now;
        }
    }

    /// When `event` is to be called; `u64::MAX` for not at all.
    pub fn next_event_ns(&self) -> u64 {
        self.check_at
    }

    /// The time has come. `wanted`: a real-time task is queued.
    pub(super) fn event(&mut self, now: u64, wanted: bool) -> Change {
        if now < self.check_at {
            return Change::Nothing;
        }
        self.charge(now);
        self.roll(now);
        let was_throttled = self.is_throttled;
        self.is_throttled = self.used_ns >= self.runtime_ns;
        if self.is_throttled {
            self.check_at = self.period_end;
        } else if !self.is_above() && !wanted {
            self.check_at = NEVER;
            return Change::Stopped;
        } else {
            self.arm(now);
        }
        match (was_throttled, self.is_throttled) {
            (false, true) => Change::Throttled,
            (true, false) => Change::Unthrottled,
            _ => Change::Nothing,
        }
    }
}
