#![forbid(unsafe_code)]
//! The fair class's periods, granularities and switches.
//!
//! Base values are for one CPU and grow with the logarithm of the number of
//! CPUs, because more CPUs means more to lose by switching often and more
//! places for a waiting task to go.
//!
//! Contexts: any. Locks: a run queue's copy is guarded by its lock.

/// On wake-up, a sleeper gets half a latency of credit, not a whole one.
pub(super) const GENTLE_FAIR_SLEEPERS: bool = true;
/// A new task starts one slice in debt.
pub(super) const START_DEBIT: bool = true;
/// The preempted task is preferred when its preemptor sleeps again.
pub(super) const LAST_BUDDY: bool = true;
/// Every wake-up marks the task as the next to run (only those that preempt do).
pub(super) const NEXT_BUDDY: bool = false;

/// Periods and granularities, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunables {
    /// The time in which every runnable task should get one turn.
    pub sched_latency_ns: u64,
    /// What a turn should not fall below.
    pub sched_min_granularity_ns: u64,
    /// The lead in virtual time that a waking task needs to preempt.
    pub sched_wakeup_granularity_ns: u64,
    /// More tasks than this make the period longer than the latency.
    pub sched_nr_latency: u32,
    /// A new task is to run before the one that created it.
    pub child_runs_first: bool,
}

impl Tunables {
    /// The values for a number of CPUs online.
    pub const fn for_cpus(cpus: u32) -> Self {
        let counted = if cpus > 8 {
            8
        } else if cpus == 0 {
            1
        } else {
            cpus
        };
        let factor = (1 + counted.ilog2()) as u64;
        Self {
            sched_latency_ns: 6_000_000 * factor,
            sched_min_granularity_ns: 750_000 * factor,
            sched_wakeup_granularity_ns: 1_000_000 * factor,
            sched_nr_latency: 8,
            child_runs_first: false,
        }
    }

    /// The time in which `nr_running` tasks get one turn each.
    #[inline(always)]
    pub(super) const fn period_ns(&self, nr_running: u32) -> u64 {
        if nr_running > self.sched_nr_latency {
            nr_running as u64 * self.sched_min_granularity_ns
        } else {
            self.sched_latency_ns
        }
    }
}
