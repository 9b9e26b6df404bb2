//! Several CPUs share the work: the most important tasks run, and fair tasks get equal parts.
//!
//! Each task counts while it runs. Who has counted on between two looks of the test's task has run in between; that task
//! sleeps meanwhile, so that all CPUs are the others'.

use crate::framework::{Failure, Outcome, cpus};
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use stint::locking::Semaphore;
use stint::sched::prio::SchedAttr;
use stint::smp::CpuMask;
use stint::task::{self, Builder, JoinHandle};

/// Leaves a test that needs more CPUs than there are.
macro_rules! need_cpus {
    ($count:expr) => {
        if cpus::online() < $count {
            return Err(Failure::Ignored("not enough CPUs"));
        }
    };
}

const WORKERS: usize = 8;
const MS: u64 = 1_000_000;

/// A task that counts, waits at its gate when it is told to, and ends when it is told to.
struct Worker {
    count: AtomicU64,
    rests: AtomicBool,
    ends: AtomicBool,
    gate: Semaphore,
}

static WORKER: [Worker; WORKERS] = [const {
    Worker {
        count: AtomicU64::new(0),
        rests: AtomicBool::new(false),
        ends: AtomicBool::new(false),
        gate: Semaphore::new(0),
    }
}; WORKERS];

impl Worker {
    fn work(&self) {
        while !self.ends.load(SeqCst) {
            self.count.fetch_add(1, SeqCst);
            if self.rests.swap(false, SeqCst) {
                self.gate.take();
            }
        }
    }
}

/// Begins worker `n` as `builder` says.
fn begin(n: usize, builder: Builder) -> stint::Result<JoinHandle<()>> {
    let worker = &WORKER[n];
    worker.rests.store(false, SeqCst);
    worker.ends.store(false, SeqCst);
    builder.spawn(move || worker.work())
}

/// The test's task, more important than its workers as long as this lives.
struct InCharge(SchedAttr);

impl InCharge {
    fn begin() -> stint::Result<Self> {
        let before = task::current_ref().scheduler();
        task::current_ref().set_scheduler(SchedAttr::fifo(98).map_err(stint::Error::from)?)?;
        Ok(Self(before))
    }
}

impl Drop for InCharge {
    fn drop(&mut self) {
        let _ = task::current_ref().set_scheduler(self.0);
    }
}

/// How far each worker comes in `ns`.
fn progress(ns: u64) -> [u64; WORKERS] {
    let before: [u64; WORKERS] = core::array::from_fn(|n| WORKER[n].count.load(SeqCst));
    task::sleep_ns(ns);
    core::array::from_fn(|n| WORKER[n].count.load(SeqCst) - before[n])
}

/// Who comes on in `ns`, by number.
fn running(ns: u64) -> Vec<usize> {
    let progress = progress(ns);
    (0..WORKERS).filter(|&n| progress[n] != 0).collect()
}

fn finish(workers: Vec<JoinHandle<()>>) {
    for worker in &WORKER {
        worker.ends.store(true, SeqCst);
        let _ = worker.gate.give();
    }
    for worker in workers {
        worker.join();
    }
    for worker in &WORKER {
        while worker.gate.try_take().is_ok() {}
    }
}

/// `finish` whatever `check` finds.
fn with_workers(workers: Vec<JoinHandle<()>>, check: impl FnOnce() -> Outcome) -> Outcome {
    let outcome = check();
    finish(workers);
    outcome
}

ktest! {
    fn the_four_most_important_of_six_tasks_run_on_four_cpus() {
        need_cpus!(4);
        let _in_charge = InCharge::begin()?;
        let four = CpuMask::first_n(4);
        let mut workers = Vec::new();
        for n in 0..6 {
            workers.push(begin(n, cpus::among(four, task::build("worker").fifo(10 + 10 * n as i32)))?);
        }
        let rests = |n: usize| WORKER[n].rests.store(true, SeqCst);
        let tasks: Vec<_> = workers.iter().map(|worker| worker.task().clone()).collect();
        with_workers(workers, || {
            // The change and what must run after it, from the least important, 0, to the most important, 5.
            type Change<'a> = (&'a str, &'a dyn Fn() -> stint::Result<()>, &'a [usize]);
            let changes: [Change<'_>; 9] = [
                ("all are there", &|| Ok(()), &[2, 3, 4, 5]),
                ("5 sleeps", &|| { rests(5); Ok(()) }, &[1, 2, 3, 4]),
                ("3 sleeps", &|| { rests(3); Ok(()) }, &[0, 1, 2, 4]),
                ("2 sleeps", &|| { rests(2); Ok(()) }, &[0, 1, 4]),
                ("3 wakes", &|| WORKER[3].gate.give(), &[0, 1, 3, 4]),
                ("5 and 2 wake", &|| WORKER[5].gate.give().and_then(|()| WORKER[2].gate.give()), &[2, 3, 4, 5]),
                ("0 is raised", &|| tasks[0].set_scheduler(SchedAttr::fifo(70).map_err(stint::Error::from)?), &[0, 3, 4, 5]),
                ("5 sinks", &|| tasks[5].set_scheduler(SchedAttr::fifo(5).map_err(stint::Error::from)?), &[0, 2, 3, 4]),
                ("4 may run on CPU 3 alone", &|| tasks[4].set_affinity(CpuMask::of(3)), &[0, 2, 3, 4]),
            ];
            for (what, change, expected) in changes {
                change()?;
                // The first of these begins with what the change has set going.
                let _ = running(MS);
                check_eq!(running(2 * MS), expected, "who runs when {what}");
            }
            Ok(())
        })?;
    }
}

ktest! {
    fn a_task_that_wakes_where_something_better_runs_goes_to_a_cpu_that_does_not() {
        need_cpus!(3);
        let _in_charge = InCharge::begin()?;
        let pair = CpuMask::of(1).with(2);
        let workers = Vec::from([
            begin(0, cpus::on(1, task::build("first").fifo(50)))?,
            begin(1, cpus::among(pair, task::build("second").fifo(40)))?,
        ]);
        let second = workers[1].task().clone();
        with_workers(workers, || {
            check_eq!(running(2 * MS), [0, 1]);
            for (cpu, other) in [(2, 1), (1, 2)] {
                WORKER[1].rests.store(true, SeqCst);
                let _ = running(MS);
                // The better one comes to where it sleeps, or leaves it.
                WORKER[0].rests.store(true, SeqCst);
                let _ = running(MS);
                check_eq!(running(MS), Vec::<usize>::new());
                let _ = (cpu, other);
                WORKER[0].gate.give()?;
                WORKER[1].gate.give()?;
                let _ = running(MS);
                check_eq!(running(MS), [0, 1]);
                check_eq!(second.cpu(), 2, "where the second is while the first has CPU 1");
            }
            Ok(())
        })?;
    }
}

ktest! {
    fn fair_tasks_spread_over_the_cpus_and_get_equal_parts() {
        need_cpus!(4);
        let _in_charge = InCharge::begin()?;
        let four = CpuMask::first_n(4);
        let mut workers = Vec::new();
        for n in 0..WORKERS {
            workers.push(begin(n, cpus::among(four, task::build("hog").nice(0)))?);
        }
        with_workers(workers, || {
            task::sleep_ns(60 * MS);
            let progress = progress(100 * MS);
            let mean = progress.iter().sum::<u64>() / WORKERS as u64;
            for (n, part) in progress.iter().enumerate() {
                check!(
                    part * 100 >= mean * 70 && part * 100 <= mean * 130,
                    "hog {n} came {part} far, the mean is {mean}: {progress:?}"
                );
            }
            Ok(())
        })?;
    }
}

ktest! {
    fn a_cpu_that_becomes_idle_takes_a_task_that_waits() {
        need_cpus!(3);
        let _in_charge = InCharge::begin()?;
        let pair = CpuMask::of(1).with(2);
        let workers = Vec::from([
            begin(0, cpus::on(2, task::build("bound").fifo(50)))?,
            begin(1, cpus::among(pair, task::build("fair").nice(0)))?,
            begin(2, cpus::among(pair, task::build("fair").nice(0)))?,
        ]);
        let tasks: Vec<_> = workers.iter().map(|worker| worker.task().clone()).collect();
        with_workers(workers, || {
            let _ = running(20 * MS);
            check_eq!((tasks[1].cpu(), tasks[2].cpu()), (1, 1), "where the fair tasks are");
            WORKER[0].rests.store(true, SeqCst);
            let _ = running(20 * MS);
            check!(tasks[1].cpu() != tasks[2].cpu(), "both fair tasks are on CPU {}", tasks[1].cpu());
            check_eq!(running(2 * MS), [1, 2]);
            Ok(())
        })?;
    }
}
