#![forbid(unsafe_code)]
//! Deadline class: what a reservation is, and when it is used up and renewed.
//!
//! A deadline task has reserved `runtime` of CPU time in every `period`, to be had within `deadline` of the
//! period's beginning (R5). This file is the rules for one task, the constant bandwidth server: an absolute
//! deadline and a budget; the budget is charged while the task runs; when it is used up the task is held back
//! (*throttled*) until its next period, so that what it takes too much is taken from itself and not from its
//! neighbours. `deadline_rq` applies the rules to a CPU's tasks and runs the earliest deadline first.
//!
//! Invariant: over any interval a task gets no more than its reservation allows, but for the time that an
//! enforcement comes late, and that time is charged to its next period.
//!
//! Every comparison of absolute times is of a signed difference, as in Linux 5.11, whose rules these are
//! (reference 5.3) but for bandwidth reclaiming (GRUB), which is left out.
//!
//! Contexts: any, under the run-queue lock. Nothing loops.

use core::cell::Cell;

use super::prio::{DL_PERIOD_MAX_NS, DL_PERIOD_MIN_NS, DL_RUNTIME_MIN_NS, PrioError};

/// Bits behind the point of a bandwidth: 1 << 20 is a whole CPU.
pub const BW_SHIFT: u32 = 20;
/// A whole CPU.
pub const BW_UNIT: u64 = 1 << BW_SHIFT;
/// What the products of the wake-up rule are shifted by, each factor, so as not to overflow.
const DL_SCALE: u32 = 10;

/// `runtime / period` in units of 1 / [`BW_UNIT`]; 0 for a period of 0.
pub const fn to_ratio(period_ns: u64, runtime_ns: u64) -> u64 {
    match (runtime_ns << BW_SHIFT).checked_div(period_ns) {
        Some(ratio) => ratio,
        None => 0,
    }
}

/// Is time `a` before `b`?
#[inline]
pub(super) const fn dl_time_before(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) < 0
}

/// Runtime, relative deadline and period, checked: runtime <= deadline <= period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DlParams {
    // The longest period, 2^22 us, fits: the three travel in registers.
    runtime_ns: u32,
    deadline_ns: u32,
    period_ns: u32,
}

const _: () = assert!(DL_PERIOD_MAX_NS <= u32::MAX as u64);

impl DlParams {
    /// No reservation.
    pub const NONE: Self = Self { runtime_ns: 0, deadline_ns: 0, period_ns: 0 };

    pub(super) const fn new(runtime_ns: u64, deadline_ns: u64, period_ns: u64) -> Result<Self, PrioError> {
        let period_ns = if period_ns == 0 { deadline_ns } else { period_ns };
        if runtime_ns < DL_RUNTIME_MIN_NS {
            return Err(PrioError::DlRuntime(runtime_ns));
        }
        if deadline_ns < runtime_ns {
            return Err(PrioError::DlDeadline { runtime_ns, deadline_ns });
        }
        if period_ns < deadline_ns {
            return Err(PrioError::DlDeadlineBehindPeriod { deadline_ns, period_ns });
        }
        if period_ns < DL_PERIOD_MIN_NS || period_ns > DL_PERIOD_MAX_NS {
            return Err(PrioError::DlPeriod(period_ns));
        }
        Ok(Self {
            runtime_ns: runtime_ns as u32,
            deadline_ns: deadline_ns as u32,
            period_ns: period_ns as u32,
        })
    }

    /// CPU time per period.
    pub const fn runtime_ns(self) -> u64 {
        self.runtime_ns as u64
    }

    /// From the beginning of a period to when its runtime is to have been had.
    pub const fn deadline_ns(self) -> u64 {
        self.deadline_ns as u64
    }

    /// From one beginning to the next.
    pub const fn period_ns(self) -> u64 {
        self.period_ns as u64
    }

    /// The share of a CPU: what admission adds up.
    pub const fn bw(self) -> u64 {
        to_ratio(self.period_ns(), self.runtime_ns())
    }

    /// The share of a CPU between the beginning of a period and its deadline.
    pub const fn density(self) -> u64 {
        to_ratio(self.deadline_ns(), self.runtime_ns())
    }

    /// The deadline is the end of the period.
    pub const fn is_implicit(self) -> bool {
        self.deadline_ns == self.period_ns
    }
}

/// Where a deadline task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In no tree: asleep.
    Out,
    /// Among those that may run, by deadline.
    Ready,
    /// Among those that are held back, by the time of their next budget.
    Throttled,
}

/// Deadline class: what it keeps in a task. Written when the task first gets into the class.
#[derive(Debug)]
pub struct SchedDlEntity {
    params: Cell<DlParams>,
    /// Of the task that this one has inherited the class from: its parameters are in force meanwhile.
    boost: Cell<Option<DlParams>>,
    /// Budget left, in ns; negative by as much as an enforcement came late.
    runtime: Cell<i64>,
    /// Absolute, in the run queue's clock.
    deadline: Cell<u64>,
    /// In which order the tree at `place` has it.
    pub(super) key: Cell<u64>,
    pub(super) place: Cell<Place>,
    /// Has had no period yet.
    is_new: Cell<bool>,
    yielded: Cell<bool>,
    overruns: Cell<u32>,
    /// The overrun that is told to people, the first, has been.
    pub(super) is_overrun_told: Cell<bool>,
}

/// What the wake-up rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// It may run.
    Runs,
    /// It comes between its deadline and the next period: held back until then.
    Waits,
}

impl SchedDlEntity {
    pub(super) const fn new() -> Self {
        Self {
            params: Cell::new(DlParams::NONE),
            boost: Cell::new(None),
            runtime: Cell::new(0),
            deadline: Cell::new(0),
            key: Cell::new(0),
            place: Cell::new(Place::Out),
            is_new: Cell::new(true),
            yielded: Cell::new(false),
            overruns: Cell::new(0),
            is_overrun_told: Cell::new(false),
        }
    }

    /// What the task has reserved.
    pub fn params(&self) -> DlParams {
        self.params.get()
    }

    /// The budget left of this period, in ns; negative if enforcement came late.
    pub fn runtime_ns(&self) -> i64 {
        self.runtime.get()
    }

    /// The absolute deadline, in the run queue's clock.
    pub fn deadline_ns(&self) -> u64 {
        self.deadline.get()
    }

    /// How often the task has used up its runtime before it was done with its period.
    pub fn overruns(&self) -> u32 {
        self.overruns.get()
    }

    /// Held back until its next period.
    pub fn is_throttled(&self) -> bool {
        self.place.get() == Place::Throttled
    }

    /// Runs under another task's reservation, whose mutex it holds.
    pub fn is_boosted(&self) -> bool {
        self.boost.get().is_some()
    }

    pub(super) fn set_params(&self, params: DlParams) {
        self.params.set(params);
    }

    /// Forgets the past: the next activation begins the first period.
    pub(super) fn start_anew(&self) {
        self.is_new.set(true);
        self.yielded.set(false);
    }

    /// The parameters are its own again. The deadline stays what it was, as in Linux, until it is due.
    pub(super) fn end_loan(&self) {
        self.boost.set(None);
    }

    /// The parameters in force: the donor's while there is one.
    fn effective(&self) -> DlParams {
        self.boost.get().unwrap_or(self.params.get())
    }

    /// The beginning of the next period, which is when a used-up budget is renewed.
    pub(super) fn next_period(&self) -> u64 {
        let params = self.effective();
        self.deadline.get().wrapping_sub(params.deadline_ns()).wrapping_add(params.period_ns())
    }

    /// A period that begins now.
    fn begin_period(&self, now: u64) {
        let params = self.effective();
        self.deadline.set(now.wrapping_add(params.deadline_ns()));
        self.runtime.set(params.runtime_ns() as i64);
        self.is_new.set(false);
    }

    /// Would the budget left, spent until the deadline, be more than the reservation? Then a task that slept
    /// must not keep it.
    fn overflows(&self, now: u64) -> bool {
        let params = self.effective();
        let left = (params.deadline_ns() >> DL_SCALE) as i64 * (self.runtime.get() >> DL_SCALE);
        let right =
            (self.deadline.get().wrapping_sub(now) >> DL_SCALE).wrapping_mul(params.runtime_ns() >> DL_SCALE);
        dl_time_before(right, left as u64)
    }

    /// The task becomes runnable: from sleep, or, with `woken` false, from another class or as a new task.
    pub(super) fn activate(&self, now: u64, woken: bool) -> Wake {
        if self.is_new.get() {
            self.begin_period(now);
            return Wake::Runs;
        }
        let params = self.effective();
        let is_past = dl_time_before(self.deadline.get(), now);
        if is_past && !params.is_implicit() && !self.is_boosted() && dl_time_before(now, self.next_period()) {
            // To run now would give it two budgets within one period.
            self.runtime.set(self.runtime.get().min(0));
            return Wake::Waits;
        }
        if is_past {
            self.begin_period(now);
        } else if woken && self.overflows(now) {
            if params.is_implicit() || self.is_boosted() {
                self.begin_period(now);
            } else {
                // A constrained deadline is kept: the budget shrinks to what fits in front of it.
                let laxity = self.deadline.get().wrapping_sub(now);
                self.runtime.set(((params.density() * laxity) >> BW_SHIFT) as i64);
            }
        }
        Wake::Runs
    }

    pub(super) fn charge(&self, ns: u64) {
        self.runtime.set(self.runtime.get() - ns as i64);
    }

    /// Done for this period: what is left of the budget is given back at the next.
    pub(super) fn set_yielded(&self) {
        self.yielded.set(true);
    }

    /// The budget is used up, or given back.
    pub(super) fn is_spent(&self) -> bool {
        self.runtime.get() <= 0 || self.yielded.get()
    }

    /// Used up by running on, and not given back.
    pub(super) fn count_overrun(&self) -> bool {
        let overrun = !self.yielded.get() && !self.is_boosted();
        if overrun {
            self.overruns.set(self.overruns.get().saturating_add(1));
        }
        overrun
    }

    /// A new budget and the deadline that goes with it. False if it came so late that even that deadline is
    /// past: then the periods begin anew.
    pub(super) fn replenish(&self, now: u64) -> bool {
        let params = self.effective();
        let runtime = params.runtime_ns() as i64;
        let mut left = self.runtime.get();
        if self.yielded.replace(false) {
            left = left.min(0);
        }
        if left <= 0 {
            // Linux adds one period at a time until the budget is positive.
            let periods = -left / runtime + 1;
            self.runtime.set(left + periods * runtime);
            self.deadline.set(self.deadline.get().wrapping_add(periods as u64 * params.period_ns()));
        }
        let in_time = !dl_time_before(self.deadline.get(), now);
        if !in_time {
            self.begin_period(now);
        }
        in_time
    }

    /// The class is inherited: the donor's deadline, and its budget.
    pub(super) fn inherit_from(&self, donor: &Self) {
        self.boost.set(Some(donor.effective()));
        self.deadline.set(donor.deadline.get());
        self.runtime.set(donor.effective().runtime_ns() as i64);
        self.is_new.set(false);
        self.yielded.set(false);
    }
}
