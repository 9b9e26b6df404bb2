//! What a run found, for people and for programs.
//!
//! A person gets a table, a histogram and a plot; a program gets result lines, in the form that all of the
//! kernel's measurements have: `result <group>.<name> <value> <unit> key=value …`. From these the pictures cannot be
//! drawn again, so two more lines follow, of the same name:
//!
//! ```text
//! hist latency.wakeup ns n=1000 load=all 352:9 384:104 …     smallest value of a bucket : how many values in it
//! plot latency.wakeup ns fragments=1000 load=all 607 640 …   the worst of each 64th of the run, in its order
//! ```
//!
//! With `blame`, a sentence and a line for each explanation: see [`super::blame_text`].
//!
//! A bucket is one sixteenth of a power of two wide (see [`super::histogram`]), so its width need not be told.
//!
//! Context: threads.
#![forbid(unsafe_code)]

use super::blame_text::{self, Sentence};
use super::conditions::{Refusal, refusal};
use super::draw;
use super::histogram::Histogram;
use super::params::Params;
use super::run::{PRIORITY, Report};
use crate::preempt_stats;
use crate::shell::units::{ExactNs, Ns, Percent};
use crate::trace::show::Kernel;
use alloc::boxed::Box;
use core::fmt::{self, Display, Write};

/// Says what is about to be measured.
pub(super) fn announce(out: &mut dyn Write, params: &Params, preempt: &str) -> fmt::Result {
    write!(
        out,
        "latency: {} fragments of {}, a FIFO {PRIORITY} task, preempt={preempt}",
        params.fragments,
        ExactNs(params.period_ns)
    )?;
    if params.burn_percent != 0 {
        write!(out, ", {}% of each burned", params.burn_percent)?;
    }
    writeln!(out)
}

/// Everything there is to say of some runs: the table, each one's parts and pictures, the result lines.
pub(super) fn whole(out: &mut dyn Write, reports: &[Box<Report>], preempt: &str) -> fmt::Result {
    let Some(first) = reports.first() else { return Ok(()) };
    announce(out, &first.params, preempt)?;
    table_head(out)?;
    reports.iter().try_for_each(|report| table_row(out, report))?;
    for report in reports {
        pictures(out, report)?;
        parts(out, report)?;
        explanations(out, report)?;
    }
    writeln!(out)?;
    reports.iter().try_for_each(|report| conditions(out, report))?;
    reports.iter().try_for_each(|report| result_lines(out, report, preempt))
}

/// The head of the table of runs.
pub(super) fn table_head(out: &mut dyn Write) -> fmt::Result {
    writeln!(
        out,
        "{:<11}{:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}",
        "load", "min", "avg", "p50", "p99", "p99.9", "max", "missed"
    )
}

/// One run as a row of the table.
pub(super) fn table_row(out: &mut dyn Write, report: &Report) -> fmt::Result {
    let mut load: heapless::String<48> = heapless::String::new();
    // The longest list is 38 bytes.
    let _ = write!(load, "{}", report.params.loads);
    if load.len() > 10 {
        load.truncate(9);
        let _ = load.push('+');
    }
    row(out, &load, &report.wakeup_ns, Ns)?;
    writeln!(out, " {:>6}", report.missed)
}

fn row<T: Display>(
    out: &mut dyn Write,
    name: &str,
    values: &Histogram,
    show: impl Fn(u64) -> T,
) -> fmt::Result {
    write!(out, "{name:<11}")?;
    let [min, avg, p50, p99, p999, max] = figures(values);
    write!(
        out,
        "{:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        show(min),
        show(avg),
        show(p50),
        show(p99),
        show(p999),
        show(max)
    )
}

/// Minimum, mean, p50, p99, p99.9, maximum.
fn figures(values: &Histogram) -> [u64; 6] {
    [
        values.min(),
        values.avg(),
        values.quantile(1, 2),
        values.quantile(99, 100),
        values.quantile(999, 1000),
        values.max(),
    ]
}

/// Where the time went: the two parts of a wake-up, and the computing.
pub(super) fn parts(out: &mut dyn Write, report: &Report) -> fmt::Result {
    row(out, " to handler", &report.handler_ns, Ns)?;
    writeln!(out)?;
    row(out, " to task", &report.dispatch_cycles, Cycles)?;
    writeln!(out)?;
    if report.burn_ns.n() != 0 {
        row(out, " cpu loop", &report.burn_ns, Ns)?;
        writeln!(out)?;
    }
    Ok(())
}

/// A number of cycles.
struct Cycles(u64);

impl Display for Cycles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text: heapless::String<24> = heapless::String::new();
        let _ = match self.0 {
            0..100_000 => write!(text, "{} c", self.0),
            100_000..100_000_000 => write!(text, "{} kc", self.0 / 1000),
            _ => write!(text, "{} Mc", self.0 / 1_000_000),
        };
        f.pad(&text)
    }
}

/// The verdict, the histogram and the plot.
pub(super) fn pictures(out: &mut dyn Write, report: &Report) -> fmt::Result {
    let period_ns = report.params.period_ns;
    writeln!(out, "\nwake-up latency, load {}", report.params.loads)?;
    draw::histogram(out, &report.wakeup_ns, period_ns)?;
    writeln!(out)?;
    report.plot.draw(out, period_ns)?;
    writeln!(out)?;
    verdict(out, report)
}

fn verdict(out: &mut dyn Write, report: &Report) -> fmt::Result {
    let (n, min, max) = (report.wakeup_ns.n(), report.wakeup_ns.min(), report.wakeup_ns.max());
    match report.missed {
        0 => write!(out, "no fragment of {n} was missed")?,
        missed => write!(out, "{missed} of {n} fragments were missed ({}%)", Percent(missed, n))?,
    }
    let tenths = u128::from(max) * 10 / u128::from(min.max(1));
    writeln!(
        out,
        "; worst {} = {}.{} x the minimum; {} paths of load",
        Ns(max),
        tenths / 10,
        tenths % 10,
        report.load_paths
    )
}

/// Why each of the last new worsts came as late as it did.
pub(super) fn explanations(out: &mut dyn Write, report: &Report) -> fmt::Result {
    let Some(witness) = &report.witness else { return Ok(()) };
    let kernel = Kernel::now();
    writeln!(out, "\neach new worst, load {}: where its time went, in ns", report.params.loads)?;
    witness.explanations().iter().try_for_each(|worst| writeln!(out, "  {}", Sentence(worst, &kernel)))
}

/// What is known of the clock and the temperature, as fields of a result line.
struct Measured<'a>(&'a Report);

impl Display for Measured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.conditions {
            None => Ok(()),
            Some((_, behind)) => write!(f, " cpu_hz={} temp_mc={}", behind.clock_hz(), behind.temperature_mc),
        }
    }
}

/// The conditions before and behind a run, where they are known.
pub(super) fn conditions(out: &mut dyn Write, report: &Report) -> fmt::Result {
    let Some((before, behind)) = &report.conditions else { return Ok(()) };
    let loads = report.params.loads;
    writeln!(out, "load {loads}, before: {before}\nload {loads}, behind: {behind}")
}

/// Why a run has no result.
pub(super) fn refused(report: &Report) -> Option<Refusal> {
    report.conditions.as_ref().and_then(|(before, behind)| refusal(before, behind))
}

/// The result lines of a run; a run that is refused has none, and says why.
pub(super) fn result_lines(out: &mut dyn Write, report: &Report, preempt: &str) -> fmt::Result {
    if let Some(refusal) = refused(report) {
        return writeln!(out, "no result for load {}: {refusal}", report.params.loads);
    }
    let mut line = |name: &str, unit: &str, values: &Histogram| {
        let [min, avg, p50, p99, p999, max] = figures(values);
        let params = &report.params;
        writeln!(
            out,
            "result latency.{name} {max} {unit} min={min} avg={avg} p50={p50} p99={p99} p999={p999} max={max} \
             n={} missed={} load={} period_ns={} burn={} preempt={preempt}{}{}",
            values.n(),
            report.missed,
            params.loads,
            params.period_ns,
            params.burn_percent,
            Measured(report),
            preempt_stats::mark(),
        )
    };
    line("wakeup", "ns", &report.wakeup_ns)?;
    line("handler", "ns", &report.handler_ns)?;
    line("dispatch", "cycles", &report.dispatch_cycles)?;
    if report.burn_ns.n() != 0 {
        line("burn", "ns", &report.burn_ns)?;
    }
    let loads = &report.params.loads;
    histogram_line(out, loads, &report.wakeup_ns)?;
    plot_line(out, loads, report.params.fragments, report.plot.worst_ns())?;
    let Some(witness) = &report.witness else { return Ok(()) };
    let kernel = Kernel::now();
    let conditions = format_args!("load={loads} preempt={preempt}{}", Measured(report));
    witness
        .explanations()
        .iter()
        .try_for_each(|worst| blame_text::result_line(out, worst, &conditions, &kernel))
}

fn histogram_line(out: &mut dyn Write, loads: &dyn Display, values: &Histogram) -> fmt::Result {
    write!(out, "hist latency.wakeup ns n={} load={loads}", values.n())?;
    for (low, count) in values.buckets() {
        write!(out, " {low}:{count}")?;
    }
    writeln!(out)
}

fn plot_line(out: &mut dyn Write, loads: &dyn Display, fragments: u64, worst_ns: &[u64]) -> fmt::Result {
    write!(out, "plot latency.wakeup ns fragments={fragments} load={loads}")?;
    for worst in worst_ns {
        write!(out, " {worst}")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn the_pictures_are_told_to_programs_in_two_lines() {
        let mut values = Histogram::new();
        [352, 353, 1795].into_iter().for_each(|value| values.record(value));
        let mut text = String::new();
        histogram_line(&mut text, &"all", &values).unwrap();
        plot_line(&mut text, &"all", 3, &[353, 1795, 0]).unwrap();
        assert_eq!(
            text,
            "hist latency.wakeup ns n=3 load=all 352:2 1792:1\nplot latency.wakeup ns fragments=3 load=all 353 1795 0\n"
        );
    }
}
