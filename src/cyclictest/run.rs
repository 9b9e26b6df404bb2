//! The threads.
//!
//! Each has a grid of its own, which begins one interval after its first instruction. It sleeps until an absolute time, so
//! that lateness does not add up, and the difference to the clock of its first instruction is the latency. Points that
//! are past by then are skipped and counted.

use super::options::{Options, Places};
use super::thread::{Live, Report, Rows};
use crate::error::Result;
use crate::latency::load::Running as Loads;
use crate::locking::Completion;
use crate::sched::wait::Timeout;
use crate::smp::CpuMask;
use crate::task::{self, JoinHandle};
use crate::time;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How often whoever started the threads looks at them.
const POLL_NS: u64 = 100_000_000;

/// What the threads and their starter share.
struct Shared {
    stop: AtomicBool,
    left: AtomicUsize,
    all_ended: Completion,
}

/// A thread that runs: its task's number, and its figures.
pub type Seen = (u32, Arc<Live>);

/// The threads of a run. They end with it.
struct Threads {
    shared: Arc<Shared>,
    seen: Vec<Seen>,
    tasks: Vec<JoinHandle<Rows>>,
}

/// Runs the threads beside their load, and returns what each has found. `look` is called now and then; with `false` it ends
/// the run.
///
/// # Errors
/// No memory, or a CPU has gone offline.
pub fn run(options: &Options, mut look: impl FnMut(&[Seen]) -> bool) -> Result<Vec<Report>> {
    let loads = Loads::start(options.loads.iter())?;
    let shared = Shared {
        stop: AtomicBool::new(false),
        left: AtomicUsize::new(options.threads),
        all_ended: Completion::new(),
    };
    let mut threads = Threads { shared: Arc::new(shared), seen: Vec::new(), tasks: Vec::new() };
    for number in 0..options.threads {
        threads.add(options, number)?;
    }
    while threads.shared.all_ended.wait_timeout(Timeout::In(POLL_NS)).is_err() {
        if !look(&threads.seen) {
            threads.shared.stop.store(true, Ordering::Relaxed);
        }
    }
    let rows = threads.tasks.drain(..).map(|task| task.join().expect("a thread returns its histogram"));
    let reports =
        rows.zip(&threads.seen).map(|(rows, (id, live))| Report { id: *id, figures: live.figures(), rows });
    let reports = reports.collect();
    loads.stop();
    Ok(reports)
}

impl Threads {
    fn add(&mut self, options: &Options, number: usize) -> Result<()> {
        let live = Arc::new(Live::default());
        let rows = Rows::new(options.histogram.unwrap_or(0))?;
        let mut task = task::build("cyclictest");
        if options.prio > 0 {
            task = task.fifo(options.prio as i32);
        }
        if let Places::EachOnOne(cpus) = options.places {
            let cpu = cpus.iter().nth(number % cpus.count().max(1)).unwrap_or(0);
            task = task.affinity(CpuMask::of(cpu));
        }
        let (shared, options, seen) = (Arc::clone(&self.shared), *options, Arc::clone(&live));
        let task = task.spawn(move || {
            let rows = measure(&options, number, &seen, rows, &shared.stop);
            if shared.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                shared.all_ended.complete_all();
            }
            rows
        })?;
        self.seen.push((task.task().id(), live));
        self.tasks.push(task);
        Ok(())
    }
}

/// Threads of a run that could not be begun as a whole.
impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.join();
        }
    }
}

/// With longer intervals a thread looks so often whether it is to go on.
const LOOK_NS: u64 = 100_000_000;

/// Sleeps until there is less than [`LOOK_NS`] to `due_ns`. `false`: it is not to wait for that any more.
fn sleep_until_near(due_ns: u64, until_ns: Option<u64>, stop: &AtomicBool) -> bool {
    loop {
        let now_ns = time::now_ns();
        if due_ns.saturating_sub(now_ns) < LOOK_NS {
            return true;
        }
        if stop.load(Ordering::Relaxed) || until_ns.is_some_and(|until_ns| now_ns >= until_ns) {
            return false;
        }
        task::sleep_until(now_ns + LOOK_NS);
    }
}

/// One thread.
fn measure(options: &Options, number: usize, live: &Live, mut rows: Rows, stop: &AtomicBool) -> Rows {
    let interval_ns = options.interval_us_of(number) * 1000;
    let begin_ns = time::now_ns();
    let until_ns = options.duration_ns.map(|ns| begin_ns.saturating_add(ns));
    let mut due_ns = begin_ns + interval_ns;
    let mut cycle = 0;
    while !stop.load(Ordering::Relaxed) {
        if interval_ns > LOOK_NS && !sleep_until_near(due_ns, until_ns, stop) {
            break;
        }
        task::sleep_until(due_ns);
        let now_ns = time::now_ns();
        let latency_ns = now_ns.saturating_sub(due_ns);
        live.record(latency_ns);
        if options.histogram.is_some() {
            rows.count(if options.nsecs { latency_ns } else { latency_ns / 1000 }, cycle);
        }
        cycle += 1;
        if options.loops.is_some_and(|loops| cycle >= loops)
            || until_ns.is_some_and(|until_ns| now_ns >= until_ns)
        {
            break;
        }
        due_ns += interval_ns;
        if due_ns < now_ns {
            let skipped = (now_ns - due_ns).div_ceil(interval_ns);
            live.skip(skipped);
            due_ns += skipped * interval_ns;
        }
    }
    rows
}
