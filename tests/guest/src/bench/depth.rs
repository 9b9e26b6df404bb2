//! What a wake-up costs the run queue when many tasks are on it already: 10, 1,000, 100,000.
//!
//! The run queue is one of its own, on which nobody runs: the tasks are what the classes see of a task
//! (`SchedTask`), without stacks, since 100,000 stacks would be gigabytes. The code is the run queue's real one,
//! in the release image: queueing and the decision whether to preempt; then the pick; then off the queue again.
//! Real-time is flat (a bitmap and lists), fair is logarithmic (a tree).

use crate::sample::{Bench, WARM_UP, cycles};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::NonNull;
use stint::sched::{DequeueFlags, EnqueueFlags, Rq, SchedAttr, SchedRef, SchedTask, WakeFlags};

const ROUNDS: usize = 200 + WARM_UP;

/// A run queue with tasks on it that never run.
struct Filled {
    rq: Box<Rq>,
    idle: SchedRef,
    now_ns: u64,
    tasks: Vec<NonNull<SchedTask>>,
}

pub fn leak(task: SchedTask) -> NonNull<SchedTask> {
    NonNull::from(Box::leak(Box::new(task)))
}

pub fn reference(task: NonNull<SchedTask>) -> SchedRef {
    // SAFETY: leaked, so in place until its run queue is dropped; one task uses that.
    unsafe { SchedRef::new(task) }
}

impl Filled {
    fn new(count: usize, attr: impl Fn(usize) -> SchedAttr) -> Self {
        let idle = leak(SchedTask::new_idle());
        let mut rq = Box::new(Rq::new());
        rq.init(reference(idle), 250, 1);
        let mut filled = Self { rq, idle: reference(idle), now_ns: 1_000_000, tasks: Vec::from([idle]) };
        for number in 0..count {
            let task = filled.add(attr(number));
            filled.rq.enqueue_task(task, EnqueueFlags::WAKEUP);
        }
        filled
    }

    fn add(&mut self, attr: SchedAttr) -> SchedRef {
        let task = leak(SchedTask::new());
        self.tasks.push(task);
        let p = reference(task);
        p.init(attr);
        self.now_ns += 1_000;
        self.rq.update_clock(self.now_ns);
        let _ = self.rq.task_fork(p);
        p
    }

    /// While one of the tasks runs, another wakes, somebody is picked, and it sleeps again.
    fn measure(&mut self, attr: SchedAttr) -> (Bench, Bench, Bench) {
        let p = self.add(attr);
        let (mut wake, mut pick, mut sleep) = (Bench::new(), Bench::new(), Bench::new());
        let mut curr = self.rq.pick_next_task(self.idle);
        for _ in 0..ROUNDS {
            self.now_ns += 1_000;
            self.rq.update_clock(self.now_ns);
            let start = cycles();
            let decision = self.rq.wake_up_task(p, WakeFlags::empty());
            wake.add(cycles() - start);
            let _ = core::hint::black_box(decision);
            let start = cycles();
            let next = self.rq.pick_next_task(curr);
            pick.add(cycles() - start);
            let start = cycles();
            self.rq.dequeue_task(p, DequeueFlags::SLEEP);
            sleep.add(cycles() - start);
            curr = if next == p { self.rq.pick_next_task(p) } else { next };
        }
        (wake, pick, sleep)
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        for task in &self.tasks {
            // SAFETY: from `Box::leak`; nobody uses the run queue any more.
            drop(unsafe { Box::from_raw(task.as_ptr()) });
        }
    }
}

/// Names of the rows by number of tasks.
const DEPTHS: [(usize, [&str; 6]); 3] = [
    (10, ["rt_wake_10", "rt_pick_10", "rt_sleep_10", "fair_wake_10", "fair_pick_10", "fair_sleep_10"]),
    (
        1_000,
        [
            "rt_wake_1000",
            "rt_pick_1000",
            "rt_sleep_1000",
            "fair_wake_1000",
            "fair_pick_1000",
            "fair_sleep_1000",
        ],
    ),
    (
        100_000,
        [
            "rt_wake_100000",
            "rt_pick_100000",
            "rt_sleep_100000",
            "fair_wake_100000",
            "fair_pick_100000",
            "fair_sleep_100000",
        ],
    ),
];

/// All rows.
pub fn print() {
    for (count, names) in DEPTHS {
        let mut rt =
            Filled::new(count, |number| SchedAttr::fifo(1 + number as u32 % 49).expect("a priority"));
        let (wake, pick, sleep) = rt.measure(SchedAttr::fifo(50).expect("a priority"));
        drop(rt);
        wake.print_as("scale", names[0]);
        pick.print_as("scale", names[1]);
        sleep.print_as("scale", names[2]);
        let mut fair =
            Filled::new(count, |number| SchedAttr::normal(number as i32 % 5).expect("a nice value"));
        let (wake, pick, sleep) = fair.measure(SchedAttr::NORMAL);
        drop(fair);
        wake.print_as("scale", names[3]);
        pick.print_as("scale", names[4]);
        sleep.print_as("scale", names[5]);
    }
}
