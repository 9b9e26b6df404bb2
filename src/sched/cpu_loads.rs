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
use crate::smp::{AtomicCpuMask, CpuMask};

/// In the place of a deadline, where there is none.
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
    /// The level (`cpupri`) of the most important real-time task that waits there and could run elsewhere; 0 for none.
    pushable: [AtomicU8; MAX_CPUS],
    load_avg: [AtomicU64; MAX_CPUS],
    /// The earliest deadline there; 0 for none.
    deadline: [AtomicU64; MAX_CPUS],
    /// The earliest that waits there and could run elsewhere.
    pushable_deadline: [AtomicU64; MAX_CPUS],
    /// Where `pushable` or `pushable_deadline` is not 0. Written where that changes only.
    overloaded: AtomicCpuMask,
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
            pushable: [const { AtomicU8::new(0) }; MAX_CPUS],
            pushable_deadline: [const { AtomicU64::new(NONE) }; MAX_CPUS],
            overloaded: AtomicCpuMask::new(),
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
        // One that runs above the fair class is somebody the fair ones wait for; the stopper does not stay.
        let nr = fair + u32::from(matches!(curr.class(), Class::Deadline | Class::Rt));
        self.nr_running[cpu].store(nr.min(255) as u8, Ordering::Relaxed);
        let only_idle =
            fair != 0 && rq.cfs().load().weight() == u64::from(fair) * LoadWeight::IDLE_POLICY.weight();
        self.only_idle_policy[cpu].store(u8::from(only_idle), Ordering::Relaxed);
        self.load_avg[cpu].store(rq.load_avg(), Ordering::Relaxed);
        store_deadline(&self.deadline[cpu], rq.earliest_deadline());
        store_deadline(&self.pushable_deadline[cpu], rq.dl_pushable().map(|p| p.dl().deadline_ns()));
        self.publish_pushable(cpu, rq.best_pushable());
    }

    /// The most important real-time task that waits on `cpu` and could run elsewhere is of this level; 0 for none.
    #[inline]
    pub(super) fn publish_pushable(&self, cpu: usize, level: u8) {
        self.pushable[cpu].store(level, Ordering::Relaxed);
        let is_overloaded = level != 0 || self.pushable_deadline[cpu].load(Ordering::Relaxed) != NONE;
        if self.overloaded.load().contains(cpu) != is_overloaded {
            if is_overloaded {
                self.overloaded.set(cpu)
            } else {
                self.overloaded.clear(cpu)
            };
        }
    }

    /// The CPUs where a real-time or deadline task waits that could run elsewhere: looked at first, because as a rule
    /// there is none.
    #[inline(always)]
    #[must_use]
    pub fn overloaded(&self) -> CpuMask {
        self.overloaded.load()
    }

    /// What `publish_pushable` said.
    #[inline]
    #[must_use]
    pub fn pushable(&self, cpu: usize) -> u8 {
        self.pushable.get(cpu).map_or(0, |level| level.load(Ordering::Relaxed))
    }

    /// The earliest deadline that waits on `cpu` and could run elsewhere.
    #[must_use]
    pub fn pushable_deadline(&self, cpu: usize) -> Option<u64> {
        load_deadline(self.pushable_deadline.get(cpu)?)
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
        self.load_avg[cpu].store(0, Ordering::Relaxed);
        store_deadline(&self.deadline[cpu], None);
        store_deadline(&self.pushable_deadline[cpu], None);
        self.publish_pushable(cpu, 0);
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
        load_deadline(self.deadline.get(cpu)?)
    }
}

fn load_deadline(at: &AtomicU64) -> Option<u64> {
    let deadline = at.load(Ordering::Relaxed);
    (deadline != NONE).then_some(deadline)
}

fn store_deadline(at: &AtomicU64, deadline: Option<u64>) {
    at.store(deadline.map_or(NONE, |deadline| deadline.max(1)), Ordering::Relaxed);
}
