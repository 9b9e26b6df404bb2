#![forbid(unsafe_code)]
//! Fair class: who runs, and when the running task has had enough.
//!
//! The decisions that make CFS preemptive, taken at four checkpoints: the
//! tick, a wake-up, a fork, and a changed nice value. Whether a comparison is
//! strict is part of the behaviour, so the tests name each one.
//!
//! Invariants: no wake-up preempts unless the waking task is behind by more
//! than the wake-up granularity; no tick preempts for another's sake before
//! the minimum granularity; a buddy never runs when that would be unfair by
//! more than the wake-up granularity.
//!
//! Contexts: any, under the run-queue lock; `now` as in `fair`.

use core::cmp::Ordering;

use super::class::{Resched, WakeFlags};
use super::entity::SchedRef;
use super::fair::{CfsRq, before};
use super::load::calc_delta_fair;
use super::prio::Policy;
use super::tunables::{LAST_BUDDY, NEXT_BUDDY};

impl CfsRq {
    /// May `candidate` preempt `curr`? `Greater`: yes, it is behind by more
    /// than the wake-up granularity; `Equal`: it is behind, but not by more;
    /// `Less`: it is not behind.
    ///
    /// The granularity is wall time of the *candidate*: a light task needs a
    /// bigger lead.
    pub(super) fn wakeup_preempt_entity(&self, curr: SchedRef, candidate: SchedRef) -> Ordering {
        let lead = curr.se.vruntime.get().wrapping_sub(candidate.se.vruntime.get()) as i64;
        if lead <= 0 {
            return Ordering::Less;
        }
        let gran = calc_delta_fair(self.tunables.sched_wakeup_granularity_ns, &candidate.se.load.get());
        if lead > gran as i64 { Ordering::Greater } else { Ordering::Equal }
    }

    /// Chooses from the timeline and `curr`, the running task if it may go on.
    /// None when there is no candidate at all.
    fn pick_next_entity(&mut self, curr: Option<SchedRef>) -> Option<SchedRef> {
        let waiting = self.timeline.leftmost();
        let left = match (waiting, curr) {
            (Some(w), Some(c)) if before(c.se.vruntime.get(), w.se.vruntime.get()) => c,
            (Some(w), _) => w,
            (None, c) => c?,
        };
        let mut chosen = left;
        if self.skip == Some(left) {
            let second = if curr == Some(left) {
                waiting
            } else {
                match (self.timeline.next_after(left), curr) {
                    (Some(n), Some(c)) if before(c.se.vruntime.get(), n.se.vruntime.get()) => Some(c),
                    (None, c) => c,
                    (n, _) => n,
                }
            };
            if let Some(second) = second.filter(|&s| self.is_fair_enough(s, left)) {
                chosen = second;
            }
        }
        if let Some(next) = self.next.filter(|&b| self.is_fair_enough(b, left)) {
            chosen = next;
        } else if let Some(last) = self.last.filter(|&b| self.is_fair_enough(b, left)) {
            chosen = last;
        }
        self.clear_buddies(chosen);
        Some(chosen)
    }

    /// May `p` run although `left` has had less?
    fn is_fair_enough(&self, p: SchedRef, left: SchedRef) -> bool {
        self.wakeup_preempt_entity(p, left) != Ordering::Greater
    }

    /// Makes the best fair task the running one and returns it; puts the fair
    /// task that ran before, if there was one, back. None when no fair task is
    /// runnable.
    #[inline(never)]
    pub(super) fn pick_next(&mut self, now: u64) -> Option<SchedRef> {
        let prev = self.curr;
        let runnable = prev.filter(|c| c.se.on_rq.get());
        if runnable.is_some() {
            self.update_curr(now);
        }
        let Some(next) = self.pick_next_entity(runnable) else {
            self.curr = None;
            return None;
        };
        // The same task again goes on with the turn it has.
        if prev != Some(next) {
            self.put_prev(now);
            self.set_next(next, now);
        }
        Some(next)
    }

    /// Checkpoint: the tick, while the fair `curr` runs.
    pub(super) fn task_tick(&mut self, now: u64) -> Resched {
        self.update_curr(now);
        match self.curr {
            Some(curr) if self.nr_running > 1 => self.check_preempt_tick(curr),
            _ => Resched::No,
        }
    }

    /// Has `curr` had its turn, or does somebody wait who has had far less?
    fn check_preempt_tick(&mut self, curr: SchedRef) -> Resched {
        let ideal_runtime = self.sched_slice(curr);
        let se = &curr.se;
        let ran = se.sum_exec_runtime.get() - se.prev_sum_exec_runtime.get();
        if ran > ideal_runtime {
            // A buddy mark would let it win again at once.
            self.clear_buddies(curr);
            return Resched::Yes;
        }
        if ran < self.tunables.sched_min_granularity_ns {
            return Resched::No;
        }
        let Some(left) = self.timeline.leftmost() else {
            return Resched::No;
        };
        let delta = se.vruntime.get().wrapping_sub(left.se.vruntime.get()) as i64;
        // Virtual time against wall time, on purpose: as the original does.
        Resched::when(delta >= 0 && delta > ideal_runtime as i64)
    }

    /// Checkpoint: `p`, a fair task, has become runnable while the fair `curr`
    /// runs.
    pub(super) fn check_preempt_wakeup(
        &mut self,
        curr: SchedRef,
        p: SchedRef,
        flags: WakeFlags,
        now: u64,
    ) -> Resched {
        if curr == p {
            return Resched::No;
        }
        // Sampled before anything changes; many tasks make cache warmth count.
        let is_crowded = self.nr_running >= self.tunables.sched_nr_latency;
        let marks_next = NEXT_BUDDY && is_crowded && !flags.contains(WakeFlags::FORK);
        if marks_next {
            self.set_next_buddy(p);
        }
        if flags.contains(WakeFlags::CURR_FLAGGED) {
            return Resched::No;
        }
        let is_idle_displaced = curr.policy() == Policy::Idle && p.policy() != Policy::Idle;
        if !is_idle_displaced {
            // Batch and idle-policy tasks wait for the tick.
            if p.policy() != Policy::Normal {
                return Resched::No;
            }
            self.update_curr(now);
            if self.wakeup_preempt_entity(curr, p) != Ordering::Greater {
                return Resched::No;
            }
            if !marks_next {
                self.set_next_buddy(p);
            }
        }
        if LAST_BUDDY && is_crowded && curr.se.on_rq.get() && curr.policy() != Policy::Idle {
            self.last = Some(curr);
        }
        Resched::Yes
    }

    fn set_next_buddy(&mut self, p: SchedRef) {
        if p.se.on_rq.get() && p.policy() != Policy::Idle {
            self.next = Some(p);
        }
    }

    /// The running `curr` lets the others go first, as far as that is fair.
    /// Its virtual time does not change.
    pub(super) fn yield_task(&mut self, curr: SchedRef, now: u64) {
        self.clear_buddies(curr);
        if curr.policy() != Policy::Batch {
            self.update_curr(now);
        }
        self.skip = Some(curr);
    }

    /// Checkpoint: a queued task's priority has changed from `old_prio`, or it
    /// has come from another class. `None` means: ask `check_preempt_curr`.
    pub(super) fn prio_changed(&self, curr: SchedRef, p: SchedRef, old_prio: i32) -> Option<Resched> {
        if self.nr_running == 1 {
            return Some(Resched::No);
        }
        (curr == p).then(|| Resched::when(p.prio() > old_prio))
    }
}
