//! One run: the measuring task, its alarm, and what it found.
//!
//! The task is FIFO 90. Its fragments lie on a grid of absolute times. For each it sets a one-shot timer to
//! the next point, waits, and takes the time with its first instruction; the timer's handler has left its
//! own time. So a latency has two parts: from the programmed expiry to the handler (interrupts were masked,
//! or another interrupt was served), and from the handler to the task (preemption was off, or inert).
//!
//! A fragment that comes late does not move the grid, and one that is past when its turn comes is measured
//! like any other: a kernel that is late once is late for everything it held up, and the figures say so.
//!
//! Clocks: the CPU waits in WFI between fragments, where a cycle counter of silicon stands still. So what begins before
//! the wake-up is measured by the system's counter, which never does; the cycle counter is used from the handler on.
//!
//! With `blame` each new worst is explained on the spot ([`super::witness`]). That takes time of its own: fragments that have
//! become due meanwhile are left out, since their being late says nothing.
//!
//! Context: threads.
#![forbid(unsafe_code)]

use super::conditions::Conditions;
use super::draw::Plot;
use super::histogram::Histogram;
use super::load::Running;
use super::params::Params;
use super::witness::Witness;
use crate::error::Result;
use crate::locking::{Completion, Semaphore};
use crate::percpu::raw_smp_processor_id;
use crate::sched::wait::Timeout;
use crate::task::{self, JoinHandle};
use crate::time::{self, Timer};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Real-time priority of the measuring task: above everything but what the kernel may need itself.
pub const PRIORITY: i32 = 90;
/// Before the first fragment: the loads are up, the caches are as they will be.
const SETTLE_NS: u64 = 10_000_000;
/// How often whoever started the run looks whether it should go on.
const POLL_NS: u64 = 100_000_000;
/// Three histograms are built on the stack.
const STACK_BYTES: usize = 64 * 1024;

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// What was asked for.
    pub params: Params,
    /// From the programmed expiry to the task's first instruction, in nanoseconds.
    pub wakeup_ns: Histogram,
    /// Of that, to the timer's handler.
    pub handler_ns: Histogram,
    /// From the handler to the task, in cycles of the CPU. Fragments whose task was woken on another CPU than that of
    /// the handler are not in it: their cycle counters are two clocks.
    pub dispatch_cycles: Histogram,
    /// How long the task computed in a fragment; empty unless it was to.
    pub burn_ns: Histogram,
    /// The latencies over time.
    pub plot: Plot,
    /// Fragments that were not done before the next was due: drop-outs.
    pub missed: u64,
    /// Paths that the loads ran meanwhile.
    pub load_paths: u64,
    /// The conditions before and behind the run, where somebody knows them.
    pub conditions: Option<(Conditions, Conditions)>,
    /// Why the last new worsts came as late as they did, if that was asked for.
    pub witness: Option<Witness>,
}

/// What the measuring task, its alarm and its starter share.
struct Shared {
    alarm: Semaphore,
    handler_ns: AtomicU64,
    handler_cycles: AtomicU64,
    handler_cpu: AtomicUsize,
    done: Completion,
    stop: AtomicBool,
    fragment: AtomicU64,
}

/// Measures once. `go_on` is asked now and then; `false` ends the run early.
///
/// # Errors
/// [`crate::Error::NoMemory`].
pub fn run(params: Params, mut go_on: impl FnMut(u64) -> bool) -> Result<Box<Report>> {
    let shared = Arc::new(Shared {
        alarm: Semaphore::new(0),
        handler_ns: AtomicU64::new(0),
        handler_cycles: AtomicU64::new(0),
        handler_cpu: AtomicUsize::new(0),
        done: Completion::new(),
        stop: AtomicBool::new(false),
        fragment: AtomicU64::new(0),
    });
    let loads = Running::start(params.loads.iter())?;
    let task = start(params, &shared)?;
    while shared.done.wait_timeout(Timeout::In(POLL_NS)).is_err() {
        if !go_on(shared.fragment.load(Ordering::Relaxed)) {
            shared.stop.store(true, Ordering::Relaxed);
        }
    }
    let load_paths = loads.stop();
    // It completes `done` as its last act before it returns its report.
    let mut report = task.join().expect("the measuring task returns a report");
    report.load_paths = load_paths;
    Ok(report)
}

fn start(params: Params, shared: &Arc<Shared>) -> Result<JoinHandle<Box<Report>>> {
    let shared = Arc::clone(shared);
    task::build("latency").fifo(PRIORITY).stack_bytes(STACK_BYTES).spawn(move || {
        let report = measure(params, &shared);
        shared.done.complete_all();
        report
    })
}

/// The measuring task.
fn measure(params: Params, shared: &Arc<Shared>) -> Box<Report> {
    let mut report = Box::new(Report::new(params));
    let alarm = alarm(shared);
    let burn = Burn::calibrate(params.period_ns * params.burn_percent / 100);
    report.witness = params.blame.then(Witness::new);
    let mut due_ns = time::now_ns() + SETTLE_NS;
    for fragment in 0..params.fragments {
        let armed_ns = time::now_ns();
        alarm.start_at(due_ns);
        shared.alarm.take();
        let cycles = arch::pmu::cycles();
        let now_ns = time::now_ns();
        let cpu = raw_smp_processor_id();

        let is_worst = now_ns.saturating_sub(due_ns) > report.wakeup_ns.max() || fragment == 0;
        report.record(
            fragment,
            now_ns.saturating_sub(due_ns),
            // If the fragment before was so late that this one was past already, the timer is not to blame.
            shared.handler_ns.load(Ordering::Relaxed).saturating_sub(due_ns.max(armed_ns)),
            (shared.handler_cpu.load(Ordering::Relaxed) == cpu)
                .then(|| cycles.saturating_sub(shared.handler_cycles.load(Ordering::Relaxed))),
        );
        let mut end_ns = now_ns;
        if burn.rounds != 0 {
            burn.run();
            end_ns = time::now_ns();
            report.burn_ns.record(end_ns - now_ns);
        }
        let late_ns = due_ns;
        due_ns += params.period_ns;
        if end_ns >= due_ns {
            report.missed += 1;
        }
        if is_worst && let Some(witness) = &mut report.witness {
            let timer_cpu = shared.handler_cpu.load(Ordering::Relaxed);
            witness.explain(fragment, late_ns, now_ns, timer_cpu);
            // To the next point of the grid that is to come.
            let passed_ns = time::now_ns().saturating_sub(due_ns);
            due_ns += passed_ns.div_ceil(params.period_ns) * params.period_ns;
        }
        shared.fragment.store(fragment + 1, Ordering::Relaxed);
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
    }
    report
}

/// The timer whose handler notes when it ran and wakes the task.
fn alarm(shared: &Arc<Shared>) -> Timer {
    let shared = Arc::clone(shared);
    Timer::new_hard(move || {
        shared.handler_cycles.store(arch::pmu::cycles(), Ordering::Relaxed);
        shared.handler_ns.store(time::now_ns(), Ordering::Relaxed);
        shared.handler_cpu.store(raw_smp_processor_id(), Ordering::Relaxed);
        // The limit is out of reach: one alarm at a time.
        let _ = shared.alarm.give();
    })
}

impl Report {
    fn new(params: Params) -> Self {
        Self {
            params,
            wakeup_ns: Histogram::new(),
            handler_ns: Histogram::new(),
            dispatch_cycles: Histogram::new(),
            burn_ns: Histogram::new(),
            plot: Plot::new(params.fragments),
            missed: 0,
            load_paths: 0,
            conditions: None,
            witness: None,
        }
    }

    fn record(&mut self, fragment: u64, wakeup_ns: u64, handler_ns: u64, dispatch_cycles: Option<u64>) {
        self.wakeup_ns.record(wakeup_ns);
        self.handler_ns.record(handler_ns);
        if let Some(cycles) = dispatch_cycles {
            self.dispatch_cycles.record(cycles);
        }
        self.plot.record(fragment, wakeup_ns);
    }
}

/// The calibrated loop: a fixed amount of computing, as the synthesis of a fragment of sound is.
struct Burn {
    rounds: u64,
}

/// Rounds that are timed to learn how fast the CPU is.
const CALIBRATION_ROUNDS: u64 = 20_000;
/// The fastest of so many: the others were interrupted.
const CALIBRATIONS: usize = 5;

impl Burn {
    /// A loop that takes `ns` on an undisturbed CPU.
    fn calibrate(ns: u64) -> Self {
        if ns == 0 {
            return Self { rounds: 0 };
        }
        let time_one = |_| {
            let begin_ns = time::now_ns();
            Self { rounds: CALIBRATION_ROUNDS }.run();
            time::now_ns() - begin_ns
        };
        let fastest_ns = (0..CALIBRATIONS).map(time_one).min().unwrap_or(1).max(1);
        Self {
            rounds: (u128::from(ns) * u128::from(CALIBRATION_ROUNDS) / u128::from(fastest_ns)).max(1) as u64,
        }
    }

    fn run(&self) {
        for round in 0..self.rounds {
            black_box(round);
        }
    }
}
