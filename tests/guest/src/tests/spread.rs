//! Several CPUs share the work: the most important tasks run, and fair tasks get equal parts.
//!
//! Each task counts while it runs. Who has counted on between two looks has run in between. The looks are a timer's, in its
//! interrupt: a task that woke up to look would displace somebody, who would displace somebody else.

use crate::framework::{Failure, Outcome, clock, cpus};
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use stint::Error;
use stint::locking::Semaphore;
use stint::sched::core::set_rt_bandwidth;
use stint::sched::prio::SchedAttr;
use stint::smp::CpuMask;
use stint::task::{self, Builder, JoinHandle};
use stint::time::Timer;

/// Leaves a test that needs more CPUs than there are, or a clock that says how far each CPU has come.
macro_rules! need_cpus {
    ($count:expr) => {
        if cpus::online() < $count {
            return Err(Failure::Ignored("not enough CPUs"));
        }
        if !clock::is_exact() {
            return Err(Failure::Ignored("who runs in a millisecond is the host's to say here"));
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
        // The workers have all that there is.
        set_rt_bandwidth(None, 1_000_000)?;
        task::current_ref().set_scheduler(SchedAttr::fifo(98).map_err(stint::Error::from)?)?;
        Ok(Self(before))
    }
}

impl Drop for InCharge {
    fn drop(&mut self) {
        let _ = task::current_ref().set_scheduler(self.0);
        let _ = set_rt_bandwidth(Some(950_000), 1_000_000);
    }
}

/// What each worker has counted at the first and at the second look.
static SEEN: [[AtomicU64; WORKERS]; 2] = [const { [const { AtomicU64::new(0) }; WORKERS] }; 2];
static LOOKS: AtomicUsize = AtomicUsize::new(0);
static SEEN_BOTH: Semaphore = Semaphore::new(0);

/// How far each worker comes in `ns`, from `settle_ns` on. The caller sleeps until then.
fn progress_after(settle_ns: u64, ns: u64) -> [u64; WORKERS] {
    LOOKS.store(0, SeqCst);
    let timer = Timer::hard_with_self(move |timer| {
        let look = LOOKS.fetch_add(1, SeqCst);
        for (seen, worker) in SEEN[look].iter().zip(&WORKER) {
            seen.store(worker.count.load(SeqCst), SeqCst);
        }
        if look == 0 {
            timer.start_once(ns);
        } else {
            let _ = SEEN_BOTH.give();
        }
    });
    timer.start_once(settle_ns);
    SEEN_BOTH.take();
    core::array::from_fn(|n| SEEN[1][n].load(SeqCst) - SEEN[0][n].load(SeqCst))
}

/// How far each worker comes in `ns`.
fn progress(ns: u64) -> [u64; WORKERS] {
    progress_after(0, ns)
}

/// Who comes on in `ns`, by number.
fn running(ns: u64) -> Vec<usize> {
    running_after(0, ns)
}

/// The same, from `settle_ns` on.
fn running_after(settle_ns: u64, ns: u64) -> Vec<usize> {
    let progress = progress_after(settle_ns, ns);
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
                ("4 may run where 2 runs, and there alone", &|| tasks[4].set_affinity(CpuMask::of(tasks[2].cpu())), &[0, 2, 3, 4]),
            ];
            for (what, change, expected) in changes {
                change()?;
                // What the change has set going passes through several CPUs, one after the other, and the emulator runs each
                // for some hundred microseconds at a time.
                check_eq!(running_after(4 * MS, 2 * MS), expected, "who runs when {what}");
            }
            Ok(())
        })?;
    }
}

ktest! {
    fn a_cpu_whose_task_sinks_takes_what_is_better_than_its_own_next() {
        need_cpus!(3);
        let _in_charge = InCharge::begin()?;
        let pair = CpuMask::of(1).with(2);
        let workers = Vec::from([
            begin(0, cpus::on(1, task::build("sinks").fifo(60)))?,
            begin(1, cpus::on(1, task::build("next").fifo(20)))?,
            begin(2, cpus::on(2, task::build("bound").fifo(70)))?,
            begin(3, cpus::on(2, task::build("waits").fifo(40)))?,
        ]);
        let (sinks, waits) = (workers[0].task().clone(), workers[3].task().clone());
        with_workers(workers, || {
            waits.set_affinity(pair)?;
            check_eq!((running_after(2 * MS, 2 * MS), waits.cpu()), (Vec::from([0, 2]), 2), "before");
            // Below what waits on its own CPU, which is below what waits on the other.
            sinks.set_scheduler(SchedAttr::fifo(5).map_err(stint::Error::from)?)?;
            check_eq!(running_after(4 * MS, 2 * MS), [2, 3], "when it has sunk");
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
            for _ in 0..3 {
                WORKER[1].rests.store(true, SeqCst);
                WORKER[0].rests.store(true, SeqCst);
                let _ = running(MS);
                check_eq!(running(MS), Vec::<usize>::new());
                // It wakes where nothing runs, maybe on CPU 1; then the better one comes, which can run there alone.
                WORKER[1].gate.give()?;
                let _ = running(MS);
                WORKER[0].gate.give()?;
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
        let tasks: Vec<_> = workers.iter().map(|worker| worker.task().clone()).collect();
        let places = || tasks.iter().map(|task| task.cpu()).collect::<Vec<_>>();
        with_workers(workers, || {
            // Four rounds of looking around for busy CPUs, 64 ms to 128 ms each.
            task::sleep_ns(500 * MS);
            let before = places();
            for cpu in four.iter() {
                check_eq!(before.iter().filter(|&&place| place == cpu).count(), 2, "hogs on CPU {cpu}: {before:?}");
            }
            let progress = progress(100 * MS);
            check_eq!(places(), before, "balanced, and yet they were moved");
            // The emulator gives its CPUs unequal times; each CPU's two share what it has.
            for n in 0..WORKERS {
                let of_cpu = (0..WORKERS).filter(|&m| before[m] == before[n]).map(|m| progress[m]).sum::<u64>();
                check!(
                    progress[n] * 100 >= of_cpu * 40,
                    "hog {n} had {} of the {of_cpu} of CPU {}: {progress:?} {before:?}", progress[n], before[n]
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
            // At once, unless the CPU has not idled long as a rule; then when a tick of CPU 1 has it woken, and one that is
            // not warm waits.
            let _ = running(60 * MS);
            check!(tasks[1].cpu() != tasks[2].cpu(), "both fair tasks are on CPU {}", tasks[1].cpu());
            check_eq!(running(2 * MS), [1, 2]);
            Ok(())
        })?;
    }
}

ktest! {
    fn of_equals_the_one_that_cannot_go_elsewhere_runs_and_the_other_goes() {
        need_cpus!(3);
        let _in_charge = InCharge::begin()?;
        let pair = CpuMask::of(1).with(2);
        let mut workers = Vec::from([begin(0, cpus::among(pair, task::build("free").fifo(50)))?]);
        let free = workers[0].task().clone();
        // One that is made ready beside an equal that does not run yet waits for its turn.
        check_eq!(running_after(2 * MS, MS), [0], "before the other is there");
        workers.push(begin(1, cpus::on(1, task::build("bound").fifo(50)))?);
        with_workers(workers, || {
            for _ in 0..3 {
                WORKER[1].rests.store(true, SeqCst);
                let _ = running(MS);
                free.set_affinity(CpuMask::of(1))?;
                free.set_affinity(pair)?;
                check_eq!((running(MS), free.cpu()), (Vec::from([0]), 1), "before");
                WORKER[1].gate.give()?;
                let _ = running(MS);
                check_eq!((running(MS), free.cpu()), (Vec::from([0, 1]), 2), "when the bound one is back");
            }
            Ok(())
        })?;
    }
}

ktest! {
    fn deadline_tasks_run_wherever_there_is_a_cpu_and_the_earliest_deadlines_first() {
        need_cpus!(4);
        let _in_charge = InCharge::begin()?;
        let three = CpuMask::first_n(4);
        let mut workers = Vec::new();
        for n in 0..4 {
            // Each has a third of a CPU: 3 ms of every 9, with deadlines that differ.
            let period = (9 + n as u64) * MS;
            workers.push(begin(n, cpus::among(three, task::build("dl").deadline(3 * MS, period, period)))?);
        }
        let tasks: Vec<_> = workers.iter().map(|worker| worker.task().clone()).collect();
        with_workers(workers, || {
            let _ = running(20 * MS);
            // Up to the last switch: a budget has been had when the next begins.
            let had_ns = || tasks.iter().map(|task| task.info().runtime_cycles).collect::<Vec<_>>();
            let before = had_ns();
            task::sleep_ns(99 * MS);
            let after = had_ns();
            for n in 0..4 {
                let (had, periods) = ((after[n] - before[n]) / MS, 99 / (9 + n as u64));
                let least = (periods - 1) * 3;
                let most = (periods + 2) * 3;
                check!((least..=most).contains(&had), "task {n} had {had} ms, expected {least} to {most}");
            }
            Ok(())
        })?;
    }
}

ktest! {
    fn a_deadline_task_may_run_on_all_cpus_or_on_one() {
        need_cpus!(3);
        let reserve = |cpus: CpuMask| cpus::among(cpus, task::build("dl").deadline(MS, 10 * MS, 10 * MS)).create(|_| {}, 0);
        for (cpus, fits) in [(CpuMask::ALL, true), (CpuMask::of(1), true), (CpuMask::first_n(2), false)] {
            match reserve(cpus) {
                Ok(task) => {
                    check!(fits, "a deadline task was let in on {cpus}");
                    check_eq!(task.set_affinity(CpuMask::first_n(2)), Err(Error::DeadlineAffinity));
                    task.start();
                    task.wait_exited();
                }
                Err(error) => {
                    check!(!fits, "on {cpus}: {error}");
                    check_eq!(error, Error::DeadlineAffinity);
                }
            }
        }
    }
}

ktest! {
    fn deadline_tasks_reserve_of_all_cpus_together_and_of_one_what_it_has() {
        need_cpus!(4);
        let reserve = |cpus: CpuMask| cpus::among(cpus, task::build("dl").deadline(6 * MS, 10 * MS, 10 * MS)).create(|_| {}, 0);
        // What the tasks before had is free again.
        task::sleep_ms(50);
        let mut tasks = Vec::new();
        let per_cpu = reserve(CpuMask::of(1))?;
        check!(matches!(reserve(CpuMask::of(1)), Err(Error::NoBandwidth { .. })), "120 % of CPU 1");
        // 95 % of each CPU, in parts of 60 %, one of which is CPU 1's.
        let room = cpus::online() * 95 / 60 - 1;
        for _ in 0..room {
            tasks.push(reserve(CpuMask::ALL)?);
        }
        check!(matches!(reserve(CpuMask::ALL), Err(Error::NoBandwidth { .. })), "one more than {room} of all CPUs");
        drop(per_cpu);
        // It never ran, so nothing of it is on its way out.
        tasks.push(reserve(CpuMask::ALL)?);
        drop(tasks);
    }
}
