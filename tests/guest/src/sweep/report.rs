//! The lines that the host reads.
//!
//! ```text
//! sweep-fail <path> n=<N>: <what is wrong>; interrupted <where>
//! result sweep.<path> <points> points length=<insn> preempted_at_irq=… deferred=… idle=… masked=… … failures=<count>
//! sweep: <N> paths, <M> points, <F> failures
//! ```
#![forbid(unsafe_code)]

use crate::oracle::Verdict;
use crate::path::{Path, Wrong};
use crate::run::Points;
use core::fmt;
use stint::early_println;
use stint::ksyms::Symbol;

/// Failed points that are printed for one path.
const SHOWN: usize = 10;

/// The sums.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Paths.
    pub paths: usize,
    /// Runs.
    pub points: usize,
    /// Runs with something wrong.
    pub failures: usize,
}

/// Reports one path.
pub fn path(path: &Path, points: &Points, verdict: &Verdict, repeated: usize, totals: &mut Totals) {
    let name = path.name;
    let mut failures = 0;
    if let Some(wrong) = points.wrong {
        failures += 1;
        early_println!("sweep-fail {name} n=0: without an interrupt: {}", Words(wrong));
    }
    for point in &points.points {
        let Some(wrong) = point.wrong else { continue };
        failures += 1;
        if failures <= SHOWN {
            let place = Symbol(point.reading.pc);
            let count = point.reading.count;
            early_println!(
                "sweep-fail {name} n={}: {}; interrupted {place} with count {count:#x}",
                point.n,
                Words(wrong)
            );
        }
    }
    if failures > SHOWN {
        early_println!("sweep-fail {name} n=more: {} further points failed", failures - SHOWN);
    }
    let Verdict {
        direct,
        deferred,
        idle,
        masked,
        masked_max,
        deferred_max,
        timer,
        timer_insns,
        off_max,
        switch_insns: _,
    } = *verdict;
    early_println!(
        "result sweep.{name} {} points length={} preempted_at_irq={direct} deferred={deferred} idle={idle} masked={masked} \
         deferred_max={deferred_max} masked_max={masked_max} timer={timer} timer_insns={timer_insns} off_max={off_max} repeated={repeated} failures={failures}",
        points.points.len(),
        points.length,
    );
    totals.paths += 1;
    totals.points += points.points.len();
    totals.failures += failures;
}

/// Reports everything.
pub fn closing(totals: &Totals) {
    let Totals { paths, points, failures } = *totals;
    early_println!("sweep: {paths} paths, {points} points, {failures} failures");
}

/// A [`Wrong`] as a line; the letters of a diary as letters.
struct Words(Wrong);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wrong { what, found, right } = self.0;
        if what != "order of events" {
            return write!(f, "{}", self.0);
        }
        write!(f, "{what}: ")?;
        letters(f, found)?;
        write!(f, " instead of ")?;
        letters(f, right)
    }
}

fn letters(f: &mut fmt::Formatter<'_>, number: u64) -> fmt::Result {
    let all = number.to_be_bytes();
    let used = all.iter().position(|&letter| letter != 0).map_or(&[][..], |at| &all[at..]);
    write!(f, "\"{}\"", core::str::from_utf8(used).unwrap_or("?"))
}
