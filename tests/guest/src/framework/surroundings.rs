//! What every test must leave as it found it; checked by the runner after each.

use super::{Outcome, lock_problems};
use crate::{check, check_eq};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use stint::sched::core::with_rq;
use stint::{mm, preempt, task};

/// How long tasks that have ended may take to be reaped: rounds of a sleep.
const ROUNDS: u32 = 200;
const ROUND_NS: u64 = 1_000_000;

/// The state before a test.
pub struct Surroundings {
    tasks: Vec<u32>,
    heap_used_bytes: usize,
    lock_problems: usize,
}

impl Surroundings {
    /// Takes it down.
    pub fn take() -> Self {
        let mut tasks = Vec::new();
        task::for_each(|task| tasks.push(task.id()));
        let heap_used_bytes = mm::stats().heap.used_bytes;
        Self { tasks, heap_used_bytes, lock_problems: lock_problems::count() }
    }

    /// Checks that nothing of the test is left: no task, no memory, no count, no request, no mask, and queues that agree
    /// with themselves.
    pub fn check_restored(&self) -> Outcome {
        check_eq!(preempt::preempt_count(), 0, "the preempt count after the test");
        check!(!arch::irqflags::irqs_disabled(), "the test left interrupts masked");
        // What ended may still have to be reaped.
        let mut rounds = 0;
        while rounds < ROUNDS && !(self.strangers().is_empty() && self.heap_is_as_before()) {
            task::sleep_ns(ROUND_NS);
            rounds += 1;
        }
        let left = self.strangers();
        check!(left.is_empty(), "the test left tasks behind:{left}");
        drop(left);
        check_eq!(mm::stats().heap.used_bytes, self.heap_used_bytes, "bytes of heap in use after the test");
        check_eq!(
            arch::thread_info::preempt_word(),
            arch::thread_info::PREEMPT_ENABLED,
            "the preempt word after the test"
        );
        let (rt, fair, deadline) =
            with_rq(|rq| (rq.rt().is_consistent(), rq.cfs().is_consistent(), rq.dl().is_consistent()));
        check!(deadline, "trees and tasks of the deadline queue disagree");
        check!(rt, "bitmap and lists of the real-time queue disagree");
        check!(fair, "sums and tree of the fair queue disagree");
        check_eq!(
            lock_problems::count(),
            self.lock_problems,
            "problems with locks that were found; they are in the log"
        );
        Ok(())
    }

    fn heap_is_as_before(&self) -> bool {
        mm::stats().heap.used_bytes == self.heap_used_bytes
    }

    /// The tasks that were not there before.
    fn strangers(&self) -> String {
        let mut names = String::new();
        task::for_each(|task| {
            // A CPU that comes back has a new one.
            let is_cpus = task.name().starts_with("ksoftirqd/");
            if !is_cpus && !self.tasks.contains(&task.id()) {
                // Writing to a string does not fail.
                let _ = write!(names, " {}/{}", task.name(), task.id());
            }
        });
        names
    }
}
