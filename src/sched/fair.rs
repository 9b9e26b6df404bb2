#![forbid(unsafe_code)]
//! Fair class: CFS, as in Linux 5.11, without groups and load tracking.
//!
//! Every task's CPU time is counted in *virtual* nanoseconds, which pass more
//! slowly for heavier tasks; the task that has had least runs. This file keeps
//! the account (who has had how much, who waits where); `fair_preempt` decides
//! from it who runs and for how long.
//!
//! The running task is **not** in the timeline, but its weight stays in the
//! load and it stays counted in `nr_running`.
//!
//! Invariants: `load` is the sum of the weights of all entities with `on_rq`;
//! `min_vruntime` never goes back; a task's `vruntime` is absolute while it is
//! queued or asleep, and relative to `min_vruntime` while it is new, migrating
//! or under another class. All comparisons are of signed differences.
//!
//! `now` is always the run queue's `clock_task`, which the caller has brought
//! up to date. Cost: O(log n) for enqueue, dequeue and pick; the rest O(1).
//!
//! Contexts: any, under the run-queue lock.

use super::class::{DequeueFlags, EnqueueFlags};
use super::entity::SchedRef;
use super::load::{LoadWeight, calc_delta, calc_delta_fair};
use super::timeline::Timeline;
use super::tunables::{GENTLE_FAIR_SLEEPERS, START_DEBIT, Tunables};

/// Where virtual time starts: shortly before it wraps, so that whoever forgets
/// that it can wrap finds out at once.
const FIRST_VRUNTIME: u64 = (1u64 << 20).wrapping_neg();

/// The fair part of a run queue.
pub struct CfsRq {
    pub(super) load: LoadWeight,
    pub(super) nr_running: u32,
    pub(super) min_vruntime: u64,
    pub(super) timeline: Timeline,
    pub(super) curr: Option<SchedRef>,
    /// Buddies: preferred (`next`, then `last`) or passed over (`skip`) at the
    /// next pick, within the bounds of fairness.
    pub(super) next: Option<SchedRef>,
    pub(super) last: Option<SchedRef>,
    pub(super) skip: Option<SchedRef>,
    pub(super) tunables: Tunables,
}

/// Is virtual time `a` before `b`?
#[inline(always)]
pub(super) const fn before(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) < 0
}

impl CfsRq {
    pub(super) const fn new() -> Self {
        Self {
            load: LoadWeight::ZERO,
            nr_running: 0,
            min_vruntime: FIRST_VRUNTIME,
            timeline: Timeline::new(),
            curr: None,
            next: None,
            last: None,
            skip: None,
            tunables: Tunables::for_cpus(1),
        }
    }

    /// Fair tasks that run or wait.
    #[inline(always)]
    pub fn nr_running(&self) -> u32 {
        self.nr_running
    }

    /// Sum of the weights of the tasks that run or wait.
    pub fn load(&self) -> LoadWeight {
        self.load
    }

    /// The virtual time up to which everybody has been served; never goes back.
    pub fn min_vruntime(&self) -> u64 {
        self.min_vruntime
    }

    /// The running task, if it is a fair one.
    #[inline(always)]
    pub fn curr(&self) -> Option<SchedRef> {
        self.curr
    }

    /// The waiting task that has had least.
    pub fn leftmost(&self) -> Option<SchedRef> {
        self.timeline.leftmost()
    }

    /// The waiting tasks, least served first; for diagnostics.
    pub fn iter(&self) -> impl Iterator<Item = SchedRef> + '_ {
        self.timeline.iter()
    }

    /// The waiting tasks, most served first.
    pub(super) fn iter_from_last(&self) -> impl Iterator<Item = SchedRef> + '_ {
        self.timeline.iter_from_last()
    }

    /// `p` is preferred at the next pick.
    pub(super) fn is_buddy(&self, p: SchedRef) -> bool {
        self.next == Some(p) || self.last == Some(p)
    }

    /// Periods and granularities in force.
    pub fn tunables(&self) -> Tunables {
        self.tunables
    }

    /// The wall time of one turn of `p`: its share, by weight, of the period.
    pub fn sched_slice(&mut self, p: SchedRef) -> u64 {
        let se = &p.se;
        let is_extra = !se.on_rq.get();
        let slice = self.tunables.period_ns(self.nr_running + u32::from(is_extra));
        if is_extra {
            let mut load = self.load;
            load.add(se.load.get().weight());
            calc_delta(slice, se.load.get().weight(), &load)
        } else {
            self.load.update_inv_weight();
            calc_delta(slice, se.load.get().weight(), &self.load)
        }
    }

    /// The same turn in virtual time.
    fn sched_vslice(&mut self, p: SchedRef) -> u64 {
        calc_delta_fair(self.sched_slice(p), &p.se.load.get())
    }

    /// Charges the running task for the time since it was last charged.
    pub(super) fn update_curr(&mut self, now: u64) {
        let Some(curr) = self.curr else { return };
        let se = &curr.se;
        let delta = now.wrapping_sub(se.exec_start.get());
        if delta as i64 <= 0 {
            return;
        }
        se.exec_start.set(now);
        se.sum_exec_runtime.set(se.sum_exec_runtime.get() + delta);
        let virtual_delta = calc_delta_fair(delta, &se.load.get());
        se.vruntime.set(se.vruntime.get().wrapping_add(virtual_delta));
        self.update_min_vruntime();
    }

    fn update_min_vruntime(&mut self) {
        let running = self.curr.filter(|c| c.se.on_rq.get()).map(|c| c.se.vruntime.get());
        let waiting = self.timeline.leftmost().map(|l| l.se.vruntime.get());
        let candidate = match (running, waiting) {
            (Some(r), Some(w)) => {
                if before(w, r) {
                    w
                } else {
                    r
                }
            }
            (Some(v), None) | (None, Some(v)) => v,
            (None, None) => return,
        };
        if before(self.min_vruntime, candidate) {
            self.min_vruntime = candidate;
        }
    }

    fn place(&mut self, p: SchedRef, start: u64) {
        if before(p.se.vruntime.get(), start) {
            p.se.vruntime.set(start);
        }
    }

    /// Places a task that has slept: credit for the sleep, but a bounded one,
    /// and never a move back in virtual time.
    fn place_woken(&mut self, p: SchedRef) {
        let latency = self.tunables.sched_latency_ns;
        let credit = if GENTLE_FAIR_SLEEPERS { latency / 2 } else { latency };
        self.place(p, self.min_vruntime.wrapping_sub(credit));
    }

    /// Places a new task: one turn in debt, so that creating tasks is no way
    /// to more CPU time.
    fn place_new(&mut self, p: SchedRef) {
        let debit = if START_DEBIT { self.sched_vslice(p) } else { 0 };
        self.place(p, self.min_vruntime.wrapping_add(debit));
    }

    fn make_absolute(&self, p: SchedRef) {
        p.se.vruntime.set(p.se.vruntime.get().wrapping_add(self.min_vruntime));
    }

    fn make_relative(&self, p: SchedRef) {
        p.se.vruntime.set(p.se.vruntime.get().wrapping_sub(self.min_vruntime));
    }

    #[inline(never)]
    pub(super) fn enqueue(&mut self, p: SchedRef, flags: EnqueueFlags, now: u64) {
        let renormalise = !flags.contains(EnqueueFlags::WAKEUP) || flags.contains(EnqueueFlags::MIGRATED);
        let is_curr = self.curr == Some(p);
        // The running task must be absolute before it is charged; any other is
        // placed by the `min_vruntime` that the charge brings up to date.
        if renormalise && is_curr {
            self.make_absolute(p);
        }
        self.update_curr(now);
        if renormalise && !is_curr {
            self.make_absolute(p);
        }
        self.load.add(p.se.load.get().weight());
        self.nr_running += 1;
        if flags.contains(EnqueueFlags::WAKEUP) {
            self.place_woken(p);
        }
        if !is_curr {
            self.timeline.insert(p);
        }
        p.se.on_rq.set(true);
    }

    #[inline(never)]
    pub(super) fn dequeue(&mut self, p: SchedRef, flags: DequeueFlags, now: u64) {
        self.update_curr(now);
        self.clear_buddies(p);
        if self.curr != Some(p) {
            self.timeline.remove(p);
        }
        p.se.on_rq.set(false);
        self.load.sub(p.se.load.get().weight());
        self.nr_running -= 1;
        if !flags.contains(DequeueFlags::SLEEP) {
            self.make_relative(p);
        }
        // Someone who comes straight back must not find that time has passed.
        if flags & (DequeueFlags::SAVE | DequeueFlags::MOVE) != DequeueFlags::SAVE {
            self.update_min_vruntime();
        }
    }

    pub(super) fn clear_buddies(&mut self, p: SchedRef) {
        for buddy in [&mut self.next, &mut self.last, &mut self.skip] {
            if *buddy == Some(p) {
                *buddy = None;
            }
        }
    }

    /// `p` starts to run: out of the timeline, its turn begins.
    pub(super) fn set_next(&mut self, p: SchedRef, now: u64) {
        if p.se.on_rq.get() {
            self.timeline.remove(p);
        }
        p.se.exec_start.set(now);
        p.se.prev_sum_exec_runtime.set(p.se.sum_exec_runtime.get());
        self.curr = Some(p);
    }

    /// The running task stops running: charged, and back in the timeline if it
    /// is still runnable.
    #[inline(never)]
    pub(super) fn put_prev(&mut self, now: u64) {
        let Some(prev) = self.curr else { return };
        if prev.se.on_rq.get() {
            self.update_curr(now);
            self.timeline.insert(prev);
        }
        self.curr = None;
    }

    /// A new task `p` is being created by the running one, which it starts
    /// beside. True when the running one is to make room at once.
    pub(super) fn task_fork(&mut self, p: SchedRef, now: u64) -> bool {
        self.update_curr(now);
        let parent = self.curr;
        if let Some(parent) = parent {
            p.se.vruntime.set(parent.se.vruntime.get());
        }
        self.place_new(p);
        let overtaken = parent
            .filter(|_| self.tunables.child_runs_first)
            .filter(|parent| before(parent.se.vruntime.get(), p.se.vruntime.get()));
        if let Some(parent) = overtaken {
            p.se.vruntime.swap(&parent.se.vruntime);
        }
        self.make_relative(p);
        overtaken.is_some()
    }

    /// A task that is on no queue leaves the class (`p` has been awake under
    /// it, so its `vruntime` is absolute).
    pub(super) fn detach_sleeping(&mut self, p: SchedRef) {
        self.place_woken(p);
        self.make_relative(p);
    }

    /// A task that is on no queue joins the class.
    pub(super) fn attach_sleeping(&mut self, p: SchedRef) {
        self.make_absolute(p);
    }

    /// A sleeping task is about to be woken on another CPU, whose virtual time is another.
    pub(super) fn leave_sleeping(&mut self, p: SchedRef) {
        self.make_relative(p);
    }

    /// True when sums, cache and order are what they should be; for tests and
    /// debug builds. Walks everything.
    pub fn is_consistent(&self) -> bool {
        let mut weight = 0;
        let mut nr = 0;
        let mut ordered = true;
        let mut previous: Option<SchedRef> = None;
        for p in self.timeline.iter() {
            weight += p.se.load.get().weight();
            nr += 1;
            ordered &= p.se.on_rq.get() && p.is_fair() && Some(p) != self.curr;
            ordered &= previous.is_none_or(|q| !before(p.se.vruntime.get(), q.se.vruntime.get()));
            previous = Some(p);
        }
        if let Some(curr) = self.curr.filter(|c| c.se.on_rq.get()) {
            weight += curr.se.load.get().weight();
            nr += 1;
        }
        let buddies = [self.next, self.last, self.skip];
        ordered
            && weight == self.load.weight()
            && nr == self.nr_running
            && self.timeline.leftmost() == self.timeline.iter().next()
            && buddies.iter().flatten().all(|b| b.se.on_rq.get())
    }
}
