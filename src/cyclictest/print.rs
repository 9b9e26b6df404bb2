//! The output, in the form in which Linux's tool prints: what draws that reads this.
//!
//! With `-h` every line that is not a row of the table begins with `#`, since the scripts take all others for rows; so do
//! our own result lines then, and a reader of serial logs knows them all the same.
//!
//! Context: threads; writes to what it is given.
#![forbid(unsafe_code)]

use super::options::Options;
use super::thread::{Figures, Report};
use crate::preempt_stats;
use core::fmt::{self, Write};

/// In the unit that was asked for.
fn shown(options: &Options, ns: u64) -> u64 {
    if options.nsecs { ns } else { ns / 1000 }
}

/// The line of a thread: `T: 0 (  123) P:99 I:1000 C:   1000 Min:      5 Act:   10 Avg:   14 Max:      39`.
///
/// # Errors
/// Those of `out`.
pub fn status(
    out: &mut dyn Write,
    options: &Options,
    number: usize,
    id: u32,
    figures: &Figures,
) -> fmt::Result {
    let width = if options.nsecs { 8 } else { 5 };
    writeln!(
        out,
        "T:{number:2} ({id:5}) P:{:2} I:{} C:{:7} Min:{:7} Act:{:width$} Avg:{:width$} Max:{:8}",
        options.prio,
        options.interval_us_of(number),
        figures.cycles,
        shown(options, figures.min_ns),
        shown(options, figures.act_ns),
        shown(options, figures.avg_ns()),
        shown(options, figures.max_ns)
    )
}

/// The histogram of all threads: a row for each value, a column for each thread, and what it all comes to.
///
/// # Errors
/// Those of `out`.
pub fn histogram(out: &mut dyn Write, options: &Options, reports: &[Report]) -> fmt::Result {
    writeln!(out, "# Histogram")?;
    for row in 0..options.histogram.unwrap_or(0) {
        write!(out, "{row:06} ")?;
        for (number, report) in reports.iter().enumerate() {
            let tab = if number == 0 { "" } else { "\t" };
            write!(out, "{tab}{:06}", report.rows.at(row))?;
        }
        writeln!(out)?;
    }
    let mut sum = |name: &str, width: usize, of: &dyn Fn(&Report) -> u64| {
        write!(out, "# {name}:")?;
        reports.iter().try_for_each(|report| write!(out, " {:0width$}", of(report)))?;
        writeln!(out)
    };
    sum("Total", 9, &|report| report.rows.total())?;
    sum("Min Latencies", 5, &|report| shown(options, report.figures.min_ns))?;
    sum("Avg Latencies", 5, &|report| shown(options, report.figures.avg_ns()))?;
    sum("Max Latencies", 5, &|report| shown(options, report.figures.max_ns))?;
    sum("Histogram Overflows", 5, &|report| report.rows.overflows)?;
    writeln!(out, "# Histogram Overflow at cycle number:")?;
    for (number, report) in reports.iter().enumerate() {
        write!(out, "# Thread {number}:")?;
        report.rows.overflow_at.iter().try_for_each(|cycle| write!(out, " {cycle:05}"))?;
        match report.rows.overflows - report.rows.overflow_at.len() as u64 {
            0 => writeln!(out)?,
            more => writeln!(out, " # {more:05} others")?,
        }
    }
    Ok(())
}

/// The result lines, always in nanoseconds.
///
/// # Errors
/// Those of `out`.
pub fn results(out: &mut dyn Write, options: &Options, reports: &[Report], preempt: &str) -> fmt::Result {
    let mark = if options.histogram.is_some() { "# " } else { "" };
    for (number, report) in reports.iter().enumerate() {
        let figures = &report.figures;
        writeln!(
            out,
            "{mark}result cyclictest.wakeup {max} ns min={} avg={} max={max} n={} overruns={} thread={number} prio={} \
             interval_us={} load={} preempt={preempt}{}",
            figures.min_ns,
            figures.avg_ns(),
            figures.cycles,
            figures.overruns,
            options.prio,
            options.interval_us_of(number),
            options.loads,
            preempt_stats::mark(),
            max = figures.max_ns,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::thread::{Live, Rows};
    use super::*;
    use crate::smp::CpuMask;
    use std::string::String;

    fn options(line: &str) -> Options {
        let args: std::vec::Vec<&str> = line.split_ascii_whitespace().collect();
        Options::parse(&args, CpuMask::first_n(2)).unwrap()
    }

    fn report(options: &Options, ns: &[u64]) -> Report {
        let live = Live::default();
        let mut rows = Rows::new(options.histogram.unwrap_or(0)).unwrap();
        for (cycle, &ns) in ns.iter().enumerate() {
            live.record(ns);
            rows.count(shown(options, ns), cycle as u64);
        }
        Report { id: 123, figures: live.figures(), rows }
    }

    #[test]
    fn a_thread_is_shown_as_linux_shows_it() {
        let figures = Figures {
            cycles: 1000,
            min_ns: 5_900,
            act_ns: 10_000,
            sum_ns: 14_000_000,
            max_ns: 39_001,
            overruns: 0,
        };
        let mut text = String::new();
        status(&mut text, &options("-p99"), 0, 123, &figures).unwrap();
        status(&mut text, &options("-p99 -N"), 1, 4711, &figures).unwrap();
        assert_eq!(
            text,
            "T: 0 (  123) P:99 I:1000 C:   1000 Min:      5 Act:   10 Avg:   14 Max:      39\n\
             T: 1 ( 4711) P:99 I:1500 C:   1000 Min:   5900 Act:   10000 Avg:   14000 Max:   39001\n"
        );
    }

    #[test]
    fn the_histogram_is_the_one_that_scripts_draw() {
        let options = options("-Sp90 -h4 -q");
        let reports = [report(&options, &[1_000, 1_999, 3_000]), report(&options, &[2_000, 9_000])];
        let mut text = String::new();
        histogram(&mut text, &options, &reports).unwrap();
        assert_eq!(
            text,
            "# Histogram\n000000 000000\t000000\n000001 000002\t000000\n000002 000000\t000001\n000003 000001\t000000\n\
             # Total: 000000003 000000001\n# Min Latencies: 00001 00002\n# Avg Latencies: 00001 00005\n\
             # Max Latencies: 00003 00009\n# Histogram Overflows: 00000 00001\n# Histogram Overflow at cycle number:\n\
             # Thread 0:\n# Thread 1: 00001\n"
        );
        results(&mut text, &options, &reports, "full").unwrap();
        let rows: std::vec::Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(rows.len(), 4, "a line that is no row would be drawn as one:\n{text}");
        assert!(text.contains(
            "# result cyclictest.wakeup 9000 ns min=2000 avg=5500 max=9000 n=2 overruns=0 thread=1 prio=90 \
             interval_us=1000 load=none preempt=full\n"
        ));
    }
}
