//! The measurement over the wire, and the command.
//!
//! The task is FIFO 90, on one CPU. The interrupt of the input's pin is sent to that CPU for the time of the run and back
//! where it was behind it.
//!
//! Context: threads; one run at a time.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::params::Params;
use super::wire::{self, Missed, Round};
use crate::drivers::bcm2711::gpio::{Edges, Pull};
use crate::drivers::bcm2711::gpio_pins::{self, Input, Level, Output};
use crate::drivers::mmio::Mmio;
use crate::irq;
use crate::latency::histogram::Histogram;
use crate::latency::load::Running;
use crate::latency::run::PRIORITY;
use crate::latency::{ONE_AT_A_TIME, draw};
use crate::locking::Completion;
use crate::percpu::raw_smp_processor_id;
use crate::sched::wait::Timeout;
use crate::shell::command::Failure;
use crate::shell::commands::gpio::pins;
use crate::shell::terminal::Terminal;
use crate::shell::units::ExactNs;
use crate::smp::CpuMask;
use crate::task;
use crate::time::idle::StayAwake;

/// A pull of 50 kOhm and the wire: some microseconds, many times over.
const SETTLE_NS: u64 = 200_000;
/// An edge that has not come by then does not come.
const EDGE_NS: u64 = 100_000_000;
/// Rounds without an interrupt before the run is given up.
const MISSED_MAX: u64 = 3;
const POLL_NS: u64 = 100_000_000;
const STACK_BYTES: usize = 64 * 1024;

/// What a run found; in cycles.
struct Report {
    to_handler: Histogram,
    to_task: Histogram,
    to_answer: Histogram,
    whole: Histogram,
    /// Rounds without an interrupt, with one on another CPU, without an answer.
    no_interrupt: u64,
    other_cpu: u64,
    no_answer: u64,
}

/// `loopback`.
///
/// # Errors
/// A wrong word, pins that are in use, no edge detection, no wire, no memory, Ctrl-C, or a clock that was lowered.
pub(crate) fn command(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let params = Params::parse(args)?;
    let gpio = pins()?;
    let _one = ONE_AT_A_TIME.lock();
    let mut output = gpio.claim(params.output)?.into_output(Level::Low);
    let mut input = gpio.claim(params.input)?.into_input(Pull::None);
    let seen = wire::look(&mut output, &mut input, || task::sleep_ns(SETTLE_NS));
    writeln!(terminal, "wire   pin {} to pin {}: {seen}", params.output, params.input)?;
    let edges = input.listen(Edges::Rising);
    match &edges {
        Ok(()) => writeln!(terminal, "edges  detected at pin {}", params.input)?,
        Err(error) => writeln!(terminal, "edges  {error}")?,
    }
    if let Err(error) = edges {
        output.release();
        return Err(error.into());
    }
    if !seen.is_wired() {
        output.release();
        return Err(Failure::new(format_args!(
            "{seen}; connect pin {} and pin {}, and nothing else to them",
            params.output, params.input
        )));
    }
    let result = measure_and_report(&params, output, input, terminal);
    // The pin is not left driven against whatever is connected next.
    drop(gpio.claim(params.output)?.into_input(Pull::None));
    result
}

fn measure_and_report(
    params: &Params,
    output: Output<'static, Mmio>,
    input: Input<'static, Mmio>,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    writeln!(
        terminal,
        "loopback: {} rounds, one each {}, a FIFO {PRIORITY} task, load {}",
        params.times,
        ExactNs(params.period_ns),
        params.loads
    )?;
    let before = crate::latency::conditions_before();
    let (report, interrupted) = run(*params, output, input, terminal)?;
    let conditions = before.zip(crate::latency::conditions_behind());
    show(terminal, &report)?;
    if let Some((before, behind)) = &conditions {
        writeln!(terminal, "before: {before}\nbehind: {behind}")?;
        if let Some(refusal) = crate::latency::conditions::refusal(before, behind) {
            writeln!(terminal, "no result: {refusal}")?;
            return Err(Failure::new(format_args!("{refusal}")));
        }
    }
    if interrupted {
        return Err(Failure::interrupted());
    }
    if report.whole.n() == 0 {
        return Err(Failure::new(format_args!(
            "no round was complete: {} without an interrupt, {} on another CPU, {} without an answer",
            report.no_interrupt, report.other_cpu, report.no_answer
        )));
    }
    let clock = conditions.map_or(0, |(_, behind)| behind.clock_hz());
    for (name, values) in report.parts() {
        writeln!(
            terminal,
            "result loopback.{name} {} cycles min={} avg={} p50={} p99={} p999={} max={} n={} missed={} load={} \
             period_ns={} cpu_hz={clock}",
            values.max(),
            values.min(),
            values.avg(),
            values.quantile(1, 2),
            values.quantile(99, 100),
            values.quantile(999, 1000),
            values.max(),
            values.n(),
            report.no_interrupt + report.other_cpu + report.no_answer,
            params.loads,
            params.period_ns
        )?;
    }
    Ok(())
}

/// Runs the measuring task on this CPU, with the input's interrupt beside it; `true` if Ctrl-C ended it.
fn run(
    params: Params,
    mut output: Output<'static, Mmio>,
    mut input: Input<'static, Mmio>,
    terminal: &mut dyn Terminal,
) -> Result<(Box<Report>, bool), Failure> {
    let cpu = raw_smp_processor_id();
    let irq = gpio_pins::interrupt_of(params.input)
        .ok_or_else(|| Failure::new(format_args!("pin {} has no interrupt", params.input)))?;
    let was = irq::irq_affinity(irq)?;
    irq::irq_set_affinity(irq, CpuMask::of(cpu))?;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(Completion::new()));
    // From here on every way leads past the restoring of the affinity.
    let result = (|| {
        let loads = Running::start(params.loads.iter())?;
        let task = task::build("loopback").fifo(PRIORITY).affinity(CpuMask::of(cpu)).stack_bytes(STACK_BYTES);
        let task = task.spawn({
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            move || {
                let report = measure(&params, cpu, &mut output, &mut input, &stop);
                done.complete_all();
                report
            }
        })?;
        let mut interrupted = false;
        while done.wait_timeout(Timeout::In(POLL_NS)).is_err() {
            if terminal.interrupted() {
                interrupted = true;
                stop.store(true, Ordering::Relaxed);
            }
        }
        loads.stop();
        Ok((task.join().expect("the measuring task returns a report"), interrupted))
    })();
    irq::irq_set_affinity(irq, was)?;
    result
}

/// The measuring task.
fn measure(
    params: &Params,
    cpu: usize,
    output: &mut Output<'static, Mmio>,
    input: &mut Input<'static, Mmio>,
    stop: &AtomicBool,
) -> Box<Report> {
    let mut report = Box::new(Report::new());
    // The cycle counter counts while the task waits for its edge.
    let _awake = StayAwake::new();
    for _ in 0..params.times {
        task::sleep_ns(params.period_ns);
        let round = wire::round(output, input, cpu, Timeout::In(EDGE_NS), |_| arch::pmu::cycles(), || {});
        report.record(round);
        if stop.load(Ordering::Relaxed) || report.no_interrupt >= MISSED_MAX {
            break;
        }
    }
    report
}

impl Report {
    fn new() -> Self {
        let [to_handler, to_task, to_answer, whole] = [const { Histogram::new() }; 4];
        Self { to_handler, to_task, to_answer, whole, no_interrupt: 0, other_cpu: 0, no_answer: 0 }
    }

    fn record(&mut self, round: Result<Round, Missed>) {
        match round {
            Ok(round) => {
                self.to_handler.record(round.to_handler);
                self.to_task.record(round.to_task);
                self.to_answer.record(round.to_answer);
                self.whole.record(round.whole());
            }
            Err(Missed::NoInterrupt) => self.no_interrupt += 1,
            Err(Missed::OtherCpu(_)) => self.other_cpu += 1,
            Err(Missed::NoAnswer) => self.no_answer += 1,
        }
    }

    fn parts(&self) -> [(&'static str, &Histogram); 4] {
        [
            ("handler", &self.to_handler),
            ("task", &self.to_task),
            ("answer", &self.to_answer),
            ("whole", &self.whole),
        ]
    }
}

fn show(mut out: &mut dyn Terminal, report: &Report) -> fmt::Result {
    writeln!(
        out,
        "{:<11}{:>9} {:>9} {:>9} {:>9} {:>9} {:>9}  in cycles",
        "part", "min", "avg", "p50", "p99", "p99.9", "max"
    )?;
    for (name, values) in report.parts() {
        writeln!(
            out,
            "{name:<11}{:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            values.min(),
            values.avg(),
            values.quantile(1, 2),
            values.quantile(99, 100),
            values.quantile(999, 1000),
            values.max()
        )?;
    }
    writeln!(out, "\nfrom the edge to the answer, in cycles")?;
    draw::cycles(&mut out, &report.whole)
}
