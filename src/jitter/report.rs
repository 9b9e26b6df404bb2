//! What a measurement of gaps found, for people and for programs.
//!
//! Context: threads.

use super::gaps::Cause;
use super::params::Params;
use super::run::{self, Report};
use crate::latency::draw;
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::{ExactNs, Ns};
use crate::smp::{self, isolation};
use core::fmt::{self, Write};

/// How often the waiting command looks for Ctrl-C.
const POLL_NS: u64 = 100_000_000;

/// `jitter [cpu=N] [for=10s] [threshold=…] [prio=90]`.
///
/// # Errors
/// A wrong word, no memory, or Ctrl-C.
pub fn command(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let params = Params::parse(args, smp::online(), isolation::isolated())?;
    let cpu = params.cpu;
    writeln!(
        terminal,
        "jitter: CPU {cpu}{}, a FIFO {} task that reads the counter for {}",
        match (isolation::is_isolated(cpu), isolation::is_nohz_full(cpu)) {
            (_, true) => " (isolated, without a tick)",
            (true, false) => " (isolated)",
            _ => "",
        },
        params.prio,
        ExactNs(params.for_ns)
    )?;
    let running = run::start(params)?;
    let mut interrupted = false;
    let mut left_ns = params.for_ns;
    while !interrupted && left_ns != 0 && !running.is_done() {
        let step_ns = left_ns.min(POLL_NS);
        interrupted = terminal.sleep_interruptibly(step_ns);
        left_ns -= step_ns;
    }
    let report = if interrupted { running.stop() } else { running.join() };
    write(terminal, &report)?;
    if interrupted { Err(Failure::interrupted()) } else { Ok(()) }
}

fn write(mut out: &mut dyn Terminal, report: &Report) -> fmt::Result {
    let gaps = &report.gaps;
    writeln!(
        out,
        "two readings lie {} to {} apart; more than {} is a gap; measured for {}",
        Ns(report.own_min_ns),
        Ns(report.own_max_ns),
        Ns(report.threshold_ns),
        Ns(report.measured_ns)
    )?;
    if gaps.worst().is_empty() {
        writeln!(out, "no gaps: nothing has disturbed this CPU")?;
    } else {
        writeln!(out, "{:<16}{:>9} {:>10} {:>10}", "cause", "gaps", "longest", "in all")?;
        for cause in Cause::ALL {
            let (n, longest, sum) = gaps.of(cause);
            if n != 0 {
                writeln!(out, "{:<16}{n:>9} {:>10} {:>10}", cause.name(), Ns(longest), Ns(sum))?;
            }
        }
        draw::histogram(&mut out, &gaps.histogram, u64::MAX)?;
        writeln!(out, "the longest:")?;
        for gap in gaps.worst() {
            let (s, us) = (gap.at_ns / 1_000_000_000, gap.at_ns / 1000 % 1_000_000);
            writeln!(out, "  at {s:>4}.{us:06} s {:>10}  {}", Ns(gap.ns), gap.counted)?;
        }
    }
    result(out, report)
}

/// `max` and `n` are those of all gaps; `own_…` of those that the CPU has counted something in.
fn result(out: &mut dyn Write, report: &Report) -> fmt::Result {
    let histogram = &report.gaps.histogram;
    let (own_n, own_max) = report.gaps.own();
    writeln!(
        out,
        "result jitter.cpu{} {own_max} ns max={own_max} n={own_n} all_max={} all_n={} loop={} threshold={} for_ms={}",
        report.params.cpu,
        histogram.max(),
        histogram.n(),
        report.own_min_ns,
        report.threshold_ns,
        report.measured_ns / 1_000_000
    )
}
