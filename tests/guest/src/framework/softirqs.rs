//! Softirqs above the test, in every model.
//!
//! In `preempt=rt` softirqs are a thread's, one priority above the task a test runs in (`runner`), and below the tasks that
//! it makes. A test whose own task is raised, and that computes while softirqs come, asks for the order that the other
//! models have.

use crate::tests::MIDDLE;
use arch::patch::{Key, is_enabled};
use stint::sched::prio::SchedAttr;
use stint::task;

/// What the runner gives ksoftirqd in `rt`.
const RT_PRIORITY: u32 = super::runner::SOFTIRQ_PRIORITY;

/// While it lives, softirqs come before the test's task, and after tasks of priority `HIGH`.
#[must_use = "softirqs have their own priority again as soon as it is dropped"]
pub struct SoftirqsFirst(());

impl SoftirqsFirst {
    /// From now on.
    pub fn new() -> Self {
        set_priority(MIDDLE.unsigned_abs());
        Self(())
    }
}

impl Drop for SoftirqsFirst {
    fn drop(&mut self) {
        set_priority(RT_PRIORITY);
    }
}

fn set_priority(priority: u32) {
    if is_enabled(Key::Rt) {
        let attr = SchedAttr::fifo(priority).expect("a real-time priority");
        task::for_each(|task| {
            if task.name().starts_with("ksoftirqd") {
                task.set_scheduler(attr).expect("ksoftirqd is no idle task");
            }
        });
    }
}
