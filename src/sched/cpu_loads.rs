#![forbid(unsafe_code)]
//! How much there is to do on each CPU: one table, beside the one of what runs there (`cpupri`).
//!
//! Who chooses a CPU for a task, or looks for one to relieve, must not take 64 locks for it. Each CPU tells here what
//! others may want to know, under its run queue's lock, with plain stores, when it has changed; a reader gets a picture
//! that is out of date by a moment, decides by it, and finds out under the lock whether it was right.
//!
//! By kind and not by CPU: a search reads one cache line of counts and goes further only where there is something.
//!
//! Contexts: any. Locks: none taken.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::class::Class;
use super::entity::SchedTask;
use super::load::LoadWeight;
use super::rq::Rq;
use crate::MAX_CPUS;

/// The deadline of a CPU with no deadline task.
const NONE: u64 = 0;

/// The table.
#[derive(Debug)]
#[repr(align(64))]
pub struct CpuLoads {
    nr_running: [AtomicU8; MAX_CPUS],
    /// All fair tasks there are of the idle policy.
    only_idle_policy: [AtomicU8; MAX_CPUS],
    /// What runs there may not run elsewhere.
    is_bound: [AtomicU8; MAX_CPUS],
    load_avg: [AtomicU64; MAX_CPUS],
    deadline: [AtomicU64; MAX_CPUS],
}

impl Default for CpuLoads {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuLoads {
    /// Nothing to do anywhere.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            nr_running: [const { AtomicU8::new(0) }; MAX_CPUS],
            only_idle_policy: [const { AtomicU8::new(0) }; MAX_CPUS],
            is_bound: [const { AtomicU8::new(0) }; MAX_CPUS],
            load_avg: [const { AtomicU64::new(0) }; MAX_CPUS],
            deadline: [const { AtomicU64::new(NONE) }; MAX_CPUS],
        }
    }

    /// Tells what is to be told of `rq`, whose lock is held.
    #[inline]
    pub fn publish(&self, rq: &Rq) {
        let cpu = rq.cpu();
        if cpu >= MAX_CPUS {
            return;
        }
        let curr = rq.curr();
        let fair = rq.cfs().nr_running();
        // One that runs above the fair class is somebody the fair ones wait for.
        let nr = fair + u32::from(curr.class() < Class::Fair);
        self.nr_running[cpu].store(nr.min(255) as u8, Ordering::Relaxed);
        let only_idle =
            fair != 0 && rq.cfs().load().weight() == u64::from(fair) * LoadWeight::IDLE_POLICY.weight();
        self.only_idle_policy[cpu].store(u8::from(only_idle), Ordering::Relaxed);
        self.load_avg[cpu].store(rq.load_avg(), Ordering::Relaxed);
        let deadline = rq.earliest_deadline().map_or(NONE, |deadline| deadline.max(1));
        self.deadline[cpu].store(deadline, Ordering::Relaxed);
    }

    /// `cpu` runs `curr` from now on.
    #[inline(always)]
    pub fn runs(&self, cpu: usize, curr: &SchedTask) {
        if let Some(is_bound) = self.is_bound.get(cpu) {
            is_bound.store(u8::from(!curr.is_migratable()), Ordering::Relaxed);
        }
    }

    /// `cpu` has gone.
    pub fn clear(&self, cpu: usize) {
        for (table, value) in [(&self.load_avg, 0), (&self.deadline, NONE)] {
            table[cpu].store(value, Ordering::Relaxed);
        }
        self.nr_running[cpu].store(0, Ordering::Relaxed);
        self.only_idle_policy[cpu].store(0, Ordering::Relaxed);
        self.is_bound[cpu].store(0, Ordering::Relaxed);
    }

    /// Fair tasks, and the running one if it is of a better class; up to 255.
    #[inline]
    #[must_use]
    pub fn nr_running(&self, cpu: usize) -> u32 {
        self.nr_running.get(cpu).map_or(0, |nr| u32::from(nr.load(Ordering::Relaxed)))
    }

    /// What the fair tasks have wanted of late.
    #[inline]
    #[must_use]
    pub fn load_avg(&self, cpu: usize) -> u64 {
        self.load_avg.get(cpu).map_or(0, |load| load.load(Ordering::Relaxed))
    }

    /// There are fair tasks, and all of them make room for any other.
    #[inline]
    #[must_use]
    pub fn has_only_idle_policy(&self, cpu: usize) -> bool {
        self.only_idle_policy.get(cpu).is_some_and(|yes| yes.load(Ordering::Relaxed) != 0)
    }

    /// What runs there may not run elsewhere.
    #[inline]
    #[must_use]
    pub fn is_curr_bound(&self, cpu: usize) -> bool {
        self.is_bound.get(cpu).is_some_and(|yes| yes.load(Ordering::Relaxed) != 0)
    }

    /// The earliest deadline there, if there is a deadline task that runs or may run.
    #[must_use]
    pub fn deadline(&self, cpu: usize) -> Option<u64> {
        let deadline = self.deadline.get(cpu)?.load(Ordering::Relaxed);
        (deadline != NONE).then_some(deadline)
    }
}
