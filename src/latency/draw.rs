//! The pictures: a histogram with two logarithmic axes, and Senoner's plot of latency over time.
//!
//! Both fit into 78 columns. Logarithms are taken in integers, in 1/256 of a power of two.
//!
//! Context: threads; writes to what it is given, holds nothing.
#![forbid(unsafe_code)]

use super::histogram::{BUCKETS, Histogram, bucket_low};
use crate::shell::units::{ExactNs, Ns};
use core::fmt::{self, Write};

/// Columns of a bar.
const BAR_COLUMNS: u64 = 50;
/// The most rows of the histogram.
const ROWS_MAX: usize = 20;
/// Columns of the plot.
pub const PLOT_COLUMNS: usize = 64;

/// Parts of a column, from one eighth to all of it.
const EIGHTHS: [&str; 8] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];

/// The base-2 logarithm in 1/256, straight between the powers of two (less than 0.09 off); 0 for 0.
fn log2_256(value: u64) -> u64 {
    if value == 0 {
        return 0;
    }
    let whole = value.ilog2();
    let rest = if whole >= 8 { value >> (whole - 8) } else { value << (8 - whole) };
    u64::from(whole) * 256 + (rest & 0xff)
}

/// Draws the histogram: a row for each range of latencies, a bar for how many there were. The bar of one is
/// short and still there: the tail is what the picture is for.
///
/// # Errors
/// Those of `out`.
pub fn histogram(out: &mut dyn Write, histogram: &Histogram, period_ns: u64) -> fmt::Result {
    rows(out, histogram, "fragments", period_ns, Ns)
}

/// As [`histogram`], of values that are numbers of cycles, from rounds that cannot be lost.
///
/// # Errors
/// Those of `out`.
pub fn cycles(out: &mut dyn Write, histogram: &Histogram) -> fmt::Result {
    rows(out, histogram, "rounds", u64::MAX, |cycles| cycles)
}

fn rows<T: fmt::Display>(
    out: &mut dyn Write,
    histogram: &Histogram,
    counted: &str,
    period_ns: u64,
    show: impl Fn(u64) -> T,
) -> fmt::Result {
    let Some((first, last)) = histogram.used() else { return Ok(()) };
    // As fine as fits: one sixteenth of a power of two, an eighth, … then whole powers.
    let mut group = 1;
    while last / group - first / group >= ROWS_MAX {
        group *= 2;
    }
    let rows = || {
        (first / group..=last / group).map(|row| (row * group, (row * group + group - 1).min(BUCKETS - 1)))
    };
    let most = rows().map(|(low, high)| histogram.count_between(low, high)).max().unwrap_or(1);
    writeln!(out, "       from  {counted:>10}   (both scales are logarithmic)")?;
    let mut dropped = bucket_low(first) >= period_ns;
    for (low, high) in rows() {
        if !dropped && bucket_low(low) >= period_ns {
            dropped = true;
            writeln!(
                out,
                "  - - - - - - - - - - -   a fragment of {} is lost from here on",
                ExactNs(period_ns)
            )?;
        }
        let count = histogram.count_between(low, high);
        write!(out, "  {:>9}  {count:>10}", show(bucket_low(low)))?;
        bar(out, count, most)?;
        writeln!(out)?;
    }
    Ok(())
}

fn bar(out: &mut dyn Write, count: u64, most: u64) -> fmt::Result {
    if count == 0 {
        return Ok(());
    }
    // One is a column, the most is all of them.
    let eighths = 8 + log2_256(count) * (BAR_COLUMNS - 1) * 8 / log2_256(most).max(1);
    let eighths = eighths.min(BAR_COLUMNS * 8);
    out.write_str("  ")?;
    for _ in 0..eighths / 8 {
        out.write_str(EIGHTHS[7])?;
    }
    match eighths % 8 {
        0 => Ok(()),
        rest => out.write_str(EIGHTHS[rest as usize - 1]),
    }
}

/// The latencies of a run in the order in which they came: the worst of each 64th of the run.
#[derive(Clone, Debug)]
pub struct Plot {
    worst: [u64; PLOT_COLUMNS],
    least: u64,
    fragments: u64,
}

impl Plot {
    /// For a run of this many fragments.
    #[must_use]
    pub const fn new(fragments: u64) -> Self {
        Self { worst: [0; PLOT_COLUMNS], least: u64::MAX, fragments }
    }

    /// The latency of fragment number `fragment`.
    #[inline]
    pub fn record(&mut self, fragment: u64, latency_ns: u64) {
        self.least = self.least.min(latency_ns);
        let column =
            (u128::from(fragment) * PLOT_COLUMNS as u128 / u128::from(self.fragments.max(1))) as usize;
        if let Some(worst) = self.worst.get_mut(column) {
            *worst = latency_ns.max(*worst);
        }
    }

    /// The worst of each column, in nanoseconds; 0 where the run did not get to.
    #[must_use]
    pub fn worst_ns(&self) -> &[u64] {
        &self.worst
    }

    /// Draws it: time to the right, latency upwards, a line where a fragment is lost.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn draw(&self, out: &mut dyn Write, period_ns: u64) -> fmt::Result {
        let most = self.worst.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return Ok(());
        }
        let mut step = Step::at_or_below(most.max(period_ns));
        let floor = Step::at_or_below(self.least);
        writeln!(out, "   worst of each {} of the run; the line is a drop-out", Share(self.fragments))?;
        loop {
            let (low, high) = (step.ns(), step.next().ns());
            let line = (low..high).contains(&period_ns);
            write!(out, "{:>9} ┤", ExactNs(low))?;
            for &worst in &self.worst {
                let mark = match worst {
                    0 if line => "-",
                    0 => " ",
                    _ if worst >= high => "█",
                    _ if worst >= low => "▄",
                    _ if line => "-",
                    _ => " ",
                };
                out.write_str(mark)?;
            }
            writeln!(out)?;
            if step.0 <= floor.0 {
                break;
            }
            step = step.previous();
        }
        writeln!(out, "          └{:─<PLOT_COLUMNS$}", "")?;
        writeln!(out, "           0{:>width$}", self.fragments, width = PLOT_COLUMNS - 1)
    }
}

/// How many fragments a column of the plot stands for.
struct Share(u64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.div_ceil(PLOT_COLUMNS as u64) {
            1 => f.write_str("fragment"),
            n => write!(f, "{n} fragments"),
        }
    }
}

/// A mark of the latency axis: 1, 2 or 5 times a power of ten.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Step(u32);

impl Step {
    fn ns(self) -> u64 {
        [1, 2, 5][self.0 as usize % 3] * 10u64.saturating_pow(self.0 / 3)
    }

    fn at_or_below(ns: u64) -> Self {
        let mut step = Self(0);
        // At most 57 steps to the end of a u64.
        while step.0 < 56 && step.next().ns() <= ns {
            step = step.next();
        }
        step
    }

    fn next(self) -> Self {
        Self(self.0 + 1)
    }

    fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    fn drawn(values: &[u64]) -> String {
        let mut counted = Histogram::new();
        values.iter().for_each(|&value| counted.record(value));
        let mut text = String::new();
        histogram(&mut text, &counted, 1_000_000).unwrap();
        text
    }

    fn plotted(values: &[u64]) -> String {
        let mut plot = Plot::new(values.len() as u64);
        values.iter().enumerate().for_each(|(at, &value)| plot.record(at as u64, value));
        let mut text = String::new();
        plot.draw(&mut text, 1_000_000).unwrap();
        text
    }

    #[test]
    fn the_logarithm_is_right_at_the_powers_and_grows_between_them() {
        assert_eq!([1, 2, 4, 1 << 40].map(log2_256), [0, 256, 512, 40 * 256]);
        assert!((1..5000u64).all(|value| log2_256(value) <= log2_256(value + 1)));
    }

    #[test]
    fn a_single_outlier_is_seen_behind_a_thousand_good_ones() {
        let mut values = [600; 1000].to_vec();
        values.push(900_000);
        let text = drawn(&values);
        let last = text.lines().last().unwrap();
        assert!(last.contains(" 1  █"), "{text}");
        assert!(text.lines().any(|line| line.contains(&"█".repeat(BAR_COLUMNS as usize))), "{text}");
        assert!(!text.contains("lost"), "{text}");
    }

    #[test]
    fn a_fragment_that_was_missed_is_below_the_line() {
        let text = drawn(&[600, 3_000_000]);
        let line = text.lines().position(|line| line.contains("a fragment of 1ms is lost")).unwrap();
        assert_eq!(line, text.lines().count() - 3, "{text}");
    }

    #[test]
    fn the_plot_has_its_line_at_the_period_and_its_peaks_above() {
        let mut values = [600; 128].to_vec();
        values[64] = 2_500_000;
        let text = plotted(&values);
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[1].trim_start().starts_with("2ms ┤"), "{text}");
        assert_eq!(rows[1].matches('▄').count(), 1, "{text}");
        let line = rows.iter().find(|row| row.trim_start().starts_with("1ms")).unwrap();
        assert_eq!(line.matches('-').count(), PLOT_COLUMNS - 1, "{text}");
        assert!(
            rows.iter().any(|row| row.trim_start().starts_with("500ns") && row.matches('▄').count() == 63),
            "{text}"
        );
    }

    #[test]
    fn nothing_measured_is_nothing_drawn() {
        assert_eq!(drawn(&[]), "");
        assert_eq!(plotted(&[]), "");
    }

    proptest! {
        #[test]
        fn no_picture_is_wider_than_78_columns_or_higher_than_a_screen(
            values in proptest::collection::vec(prop_oneof![0u64..100_000, any::<u64>()], 1..300),
        ) {
            for text in [drawn(&values), plotted(&values)] {
                prop_assert!(text.lines().all(|line| line.chars().count() <= 78), "{}", text);
            }
            prop_assert!(drawn(&values).lines().count() <= ROWS_MAX + 2);
        }
    }
}
