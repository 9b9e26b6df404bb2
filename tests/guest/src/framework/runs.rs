//! Who had the CPU for how long: CPU-bound tasks that write down the beginning of each of their runs.

use crate::framework::clock::work;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use stint::preempt::cond_resched;
use stint::time::now_ns;

/// The most runs that are kept.
const RUNS_MAX: usize = 1024;

/// The runs of some tasks, numbered from 1. A static of the test that uses it.
pub struct Runs {
    runner: AtomicU32,
    stop: AtomicBool,
    next: AtomicUsize,
    who: [AtomicU32; RUNS_MAX],
    since_ns: [AtomicU64; RUNS_MAX],
}

/// A completed run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The task's number.
    pub who: u32,
    /// From its first instruction to the first of the next one's.
    pub ns: u64,
}

impl Runs {
    /// Nobody has run yet.
    pub const fn new() -> Self {
        Self {
            runner: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            who: [const { AtomicU32::new(0) }; RUNS_MAX],
            since_ns: [const { AtomicU64::new(0) }; RUNS_MAX],
        }
    }

    /// The body of task number `me`: uses the CPU until [`Self::stop`]. As a long path of the kernel has to, it
    /// comes to scheduling points, which do nothing where it is preempted.
    pub fn hog(&self, me: u32) {
        while !self.stop.load(Ordering::Relaxed) {
            self.here(me);
            work(20);
            cond_resched();
        }
    }

    /// Writes down that task number `me` runs, if it is news.
    pub fn here(&self, me: u32) {
        if self.runner.load(Ordering::Relaxed) != me {
            self.runner.store(me, Ordering::Relaxed);
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if at < RUNS_MAX {
                self.who[at].store(me, Ordering::Relaxed);
                self.since_ns[at].store(now_ns(), Ordering::Relaxed);
            }
        }
    }

    /// Ends all [`Self::hog`]s.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The runs that are over, in order.
    pub fn completed(&self) -> Vec<Run> {
        let count = self.next.load(Ordering::Relaxed).min(RUNS_MAX);
        let since = |at: usize| self.since_ns[at].load(Ordering::Relaxed);
        (1..count)
            .map(|at| Run { who: self.who[at - 1].load(Ordering::Relaxed), ns: since(at) - since(at - 1) })
            .collect()
    }
}
