#![forbid(unsafe_code)]
//! Deadline class: a CPU's deadline tasks, earliest deadline first.
//!
//! Two trees. `ready` has those that may run, the running one included (as real-time tasks stay in their
//! lists), by absolute deadline; `throttled` has those whose budget is used up, asleep or not, by the time of
//! their next. Enforcement is exact, not sampled: [`DlRq::next_event_ns`] says when the running task's budget
//! ends or somebody's next one begins, the core keeps a timer at that time, and `DlRq::event` is what to do
//! then.
//!
//! Invariants: a task is in the tree that its `place` names; `ready` tasks are queued and have budget left, as
//! of the last charge; `curr` is charged up to `exec_start`.
//!
//! Contexts: any, under the run-queue lock; `now` is the run queue's clock, brought up to date by the caller.
//! O(log n) but for `DlRq::event`, which renews at most [`RENEWALS_PER_EVENT`] budgets.

use super::class::{Class, DequeueFlags, EnqueueFlags, Resched};
use super::deadline::{Place, SchedDlEntity, Wake, dl_time_before};
use super::deadline_tree::DlTree;
use super::entity::SchedRef;

/// The most budgets renewed by one event; if more are due, the next event is at once.
pub const RENEWALS_PER_EVENT: usize = 8;

/// What people are to be told, once the lock is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DlReport {
    /// This task has used up its runtime for the first time.
    Overrun(SchedRef),
    /// A budget was renewed so late that the deadline that goes with it was past.
    Lagged(SchedRef),
}

/// The deadline part of a run queue.
pub struct DlRq {
    ready: DlTree,
    throttled: DlTree,
    curr: Option<SchedRef>,
    exec_start: u64,
    report: Option<DlReport>,
    is_lag_told: bool,
}

impl DlRq {
    pub(super) const fn new() -> Self {
        Self {
            ready: DlTree::new(),
            throttled: DlTree::new(),
            curr: None,
            exec_start: 0,
            report: None,
            is_lag_told: false,
        }
    }

    /// The running task, if it is a deadline task.
    pub fn curr(&self) -> Option<SchedRef> {
        self.curr
    }

    /// The tasks that may run, earliest deadline first; for diagnostics.
    pub fn iter(&self) -> impl Iterator<Item = SchedRef> + '_ {
        self.ready.iter()
    }

    /// The tasks that are held back, asleep or not, by the time of their next budget; for diagnostics.
    pub fn iter_throttled(&self) -> impl Iterator<Item = SchedRef> + '_ {
        self.throttled.iter()
    }

    /// Nobody to run and nobody running: the class has no part in the next pick.
    pub(super) fn is_idle(&self) -> bool {
        self.curr.is_none() && self.ready.first().is_none()
    }

    /// The task to run: that of the earliest deadline.
    pub(super) fn pick(&self) -> Option<SchedRef> {
        self.ready.first()
    }

    fn ready(&mut self, p: SchedRef) {
        p.dl().place.set(Place::Ready);
        self.ready.insert(p, p.dl().deadline_ns());
    }

    fn hold_back(&mut self, p: SchedRef) {
        p.dl().place.set(Place::Throttled);
        self.throttled.insert(p, p.dl().next_period());
    }

    fn take_out(&mut self, p: SchedRef) {
        match p.dl().place.replace(Place::Out) {
            Place::Out => {}
            Place::Ready => self.ready.remove(p),
            Place::Throttled => self.throttled.remove(p),
        }
    }

    /// `p`, which is queued from now on, takes its place.
    pub(super) fn enqueue(&mut self, p: SchedRef, flags: EnqueueFlags, now: u64) {
        let dl = p.dl();
        if dl.is_throttled() {
            if !dl.is_boosted() {
                // It waits for its budget. The time of that may have changed with its parameters.
                self.take_out(p);
                return self.hold_back(p);
            }
            // An inherited deadline is not held to a budget: somebody waits for what the task holds.
            self.take_out(p);
        }
        match dl.activate(now, flags.contains(EnqueueFlags::WAKEUP)) {
            Wake::Waits => self.hold_back(p),
            Wake::Runs if dl.is_spent() => self.spent(p, now),
            Wake::Runs => self.ready(p),
        }
    }

    /// `p`, which was runnable on another CPU, is so here, with the budget and the deadline that it has.
    pub(super) fn attach(&mut self, p: SchedRef, now: u64) {
        if p.dl().is_spent() { self.spent(p, now) } else { self.ready(p) }
    }

    /// `p` sleeps, or is taken off to be changed. A budget that is used up stays so meanwhile.
    pub(super) fn dequeue(&mut self, p: SchedRef, _flags: DequeueFlags, now: u64) {
        if self.curr == Some(p) {
            self.charge(now);
        }
        if p.dl().place.get() == Place::Ready {
            self.take_out(p);
        }
    }

    /// `p` leaves the class; it has been dequeued, and put away if it ran.
    pub(super) fn leave(&mut self, p: SchedRef) {
        self.take_out(p);
        if matches!(self.report, Some(DlReport::Overrun(q) | DlReport::Lagged(q)) if q == p) {
            self.report = None;
        }
    }

    /// `p` inherits a deadline, and is not held back any more.
    pub(super) fn end_throttle(&mut self, dl: &SchedDlEntity, p: SchedRef) {
        if dl.is_throttled() {
            self.take_out(p);
        }
    }

    /// `p`, which is ready, starts to run.
    pub(super) fn set_next(&mut self, p: SchedRef, now: u64) {
        self.exec_start = now;
        self.curr = Some(p);
    }

    /// The running task stops running.
    pub(super) fn put_prev(&mut self, now: u64) {
        self.charge(now);
        self.curr = None;
    }

    /// Charges the running task for the time since it was last charged, and holds it back if its budget is
    /// used up.
    fn charge(&mut self, now: u64) {
        let Some(curr) = self.curr else { return };
        let ran = now.wrapping_sub(self.exec_start);
        if ran as i64 > 0 {
            self.exec_start = now;
            curr.dl().charge(ran);
        }
        if curr.dl().place.get() == Place::Ready && curr.dl().is_spent() {
            self.take_out(curr);
            if curr.dl().count_overrun() && !curr.dl().is_overrun_told.replace(true) {
                self.report = Some(DlReport::Overrun(curr));
            }
            self.spent(curr, now);
        }
    }

    /// The budget of `p`, which is in no tree, is used up: until the next period, if that is still to come.
    fn spent(&mut self, p: SchedRef, now: u64) {
        if p.dl().is_boosted() || !dl_time_before(now, p.dl().next_period()) {
            self.renew(p, now);
            self.ready(p);
        } else {
            self.hold_back(p);
        }
    }

    fn renew(&mut self, p: SchedRef, now: u64) {
        if !p.dl().replenish(now) && !self.is_lag_told {
            self.is_lag_told = true;
            self.report = Some(DlReport::Lagged(p));
        }
    }

    /// The running task is done for this period.
    pub(super) fn yield_task(&mut self, curr: SchedRef, now: u64) {
        curr.dl().set_yielded();
        self.charge(now);
    }

    /// Checkpoint: the periodic tick, or anything else, while a deadline task runs.
    pub(super) fn task_tick(&mut self, now: u64) -> Resched {
        self.charge(now);
        Resched::when(self.curr.is_some() && self.curr != self.ready.first())
    }

    /// Does `p`, a deadline task that has become runnable, displace `curr`, of whatever class?
    pub(super) fn check_preempt(&self, curr: SchedRef, p: SchedRef) -> Resched {
        if p == curr || curr.class() == Class::Stop || p.dl().place.get() != Place::Ready {
            return Resched::No;
        }
        Resched::when(
            curr.class() > Class::Deadline
                || curr.dl().place.get() != Place::Ready
                || dl_time_before(p.dl().deadline_ns(), curr.dl().deadline_ns()),
        )
    }

    /// A queued deadline task has other parameters, or has come from another class.
    pub(super) fn changed(&self, curr: SchedRef, p: SchedRef) -> Resched {
        if p == curr { Resched::when(self.ready.first() != Some(p)) } else { self.check_preempt(curr, p) }
    }

    /// When `event` is next to be called; `u64::MAX` for not at all.
    pub fn next_event_ns(&self) -> u64 {
        let budget_ends = self
            .curr
            .filter(|curr| curr.dl().place.get() == Place::Ready)
            .map_or(u64::MAX, |curr| self.exec_start.saturating_add(curr.dl().runtime_ns().max(0) as u64));
        let budget_begins = self.throttled.first().map_or(u64::MAX, |p| p.dl().key.get());
        budget_ends.min(budget_begins)
    }

    /// A time that [`Self::next_event_ns`] told has come (or not quite: then nothing happens).
    pub(super) fn event(&mut self, curr: SchedRef, now: u64) -> Resched {
        let mut wanted = self.task_tick(now).is_yes();
        for _ in 0..RENEWALS_PER_EVENT {
            let Some(p) = self.throttled.first().filter(|p| !dl_time_before(now, p.dl().key.get())) else {
                break;
            };
            self.take_out(p);
            self.renew(p, now);
            // Who sleeps gets the budget, and its deadline, and uses them if it wakes in time.
            if p.is_queued() {
                self.ready(p);
                wanted |= self.check_preempt(curr, p).is_yes();
            }
        }
        Resched::when(wanted)
    }

    /// What people are to be told, once.
    pub fn take_report(&mut self) -> Option<DlReport> {
        self.report.take()
    }

    /// True when trees and tasks agree; for tests and debug builds. Walks everything.
    pub fn is_consistent(&self) -> bool {
        let ordered = |tree: &DlTree| {
            let mut last: Option<SchedRef> = None;
            tree.iter()
                .all(|p| last.replace(p).is_none_or(|q| !dl_time_before(p.dl().key.get(), q.dl().key.get())))
                && tree.first() == tree.iter().next()
        };
        ordered(&self.ready)
            && ordered(&self.throttled)
            && self.ready.iter().all(|p| {
                p.is_queued()
                    && p.dl().place.get() == Place::Ready
                    && p.dl().key.get() == p.dl().deadline_ns()
            })
            && self.throttled.iter().all(|p| p.dl().is_throttled() && !p.dl().is_boosted())
    }
}
