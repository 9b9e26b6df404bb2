//! What one thread has found: counted for the histogram, and seen by others while it goes on.
//!
//! Context: [`Live`] any; the rest belongs to its thread. Recording is constant time and allocates nothing.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// Cycles whose latency did not fit the histogram, of which the number is kept.
const OVERFLOWS_NAMED: usize = 10;

/// The figures that are shown while a thread runs. One thread writes; readers may see one figure newer than another.
#[derive(Debug, Default)]
pub struct Live {
    cycles: AtomicU64,
    min_ns: AtomicU64,
    act_ns: AtomicU64,
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
    overruns: AtomicU64,
}

/// A copy of the figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Wake-ups that were measured.
    pub cycles: u64,
    /// The least latency, or 0 before the first.
    pub min_ns: u64,
    /// The last one.
    pub act_ns: u64,
    /// Of all.
    pub sum_ns: u64,
    /// The greatest.
    pub max_ns: u64,
    /// Points of the grid that were past when the thread got to them, and were skipped.
    pub overruns: u64,
}

impl Figures {
    /// The mean, or 0 before the first.
    #[must_use]
    pub fn avg_ns(&self) -> u64 {
        self.sum_ns / self.cycles.max(1)
    }
}

impl Live {
    /// The figures of now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        Figures {
            cycles: read(&self.cycles),
            min_ns: read(&self.min_ns),
            act_ns: read(&self.act_ns),
            sum_ns: read(&self.sum_ns),
            max_ns: read(&self.max_ns),
            overruns: read(&self.overruns),
        }
    }

    /// One more latency. Called by the thread alone, so plain loads and stores do.
    pub(super) fn record(&self, ns: u64) {
        let now = self.figures();
        let write = |value: &AtomicU64, ns| value.store(ns, Ordering::Relaxed);
        write(&self.min_ns, if now.cycles == 0 { ns } else { now.min_ns.min(ns) });
        write(&self.act_ns, ns);
        write(&self.sum_ns, now.sum_ns + ns);
        write(&self.max_ns, now.max_ns.max(ns));
        write(&self.cycles, now.cycles + 1);
    }

    pub(super) fn skip(&self, points: u64) {
        self.overruns.store(self.overruns.load(Ordering::Relaxed) + points, Ordering::Relaxed);
    }
}

/// A row for each microsecond, or nanosecond, from 0.
#[derive(Debug, Default)]
pub struct Rows {
    counts: Vec<u64>,
    /// Latencies beyond the last row.
    pub overflows: u64,
    /// The numbers of the first few of these cycles.
    pub overflow_at: heapless::Vec<u64, OVERFLOWS_NAMED>,
}

impl Rows {
    /// So many rows, all 0.
    ///
    /// # Errors
    /// No memory for them.
    pub fn new(rows: usize) -> Result<Self> {
        let mut counts = Vec::new();
        let bytes = (rows * size_of::<u64>()) as u32;
        counts.try_reserve_exact(rows).map_err(|_| Error::NoMemory { bytes })?;
        counts.resize(rows, 0);
        Ok(Self { counts, ..Self::default() })
    }

    /// A latency of cycle number `cycle`, in the unit of the rows.
    pub fn count(&mut self, value: u64, cycle: u64) {
        match usize::try_from(value).ok().and_then(|row| self.counts.get_mut(row)) {
            Some(count) => *count += 1,
            None => {
                self.overflows += 1;
                // The first few are named, the others counted.
                let _ = self.overflow_at.push(cycle);
            }
        }
    }

    /// How many latencies had this value.
    #[must_use]
    pub fn at(&self, row: usize) -> u64 {
        self.counts.get(row).copied().unwrap_or(0)
    }

    /// All that fitted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What a thread leaves behind.
#[derive(Debug)]
pub struct Report {
    /// The number of its task.
    pub id: u32,
    /// Its figures.
    pub figures: Figures,
    /// Its histogram; without rows unless one was asked for.
    pub rows: Rows,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_what_was_recorded() {
        let live = Live::default();
        [7, 3, 11].into_iter().for_each(|ns| live.record(ns));
        live.skip(2);
        let figures = live.figures();
        assert_eq!((figures.cycles, figures.min_ns, figures.act_ns, figures.max_ns), (3, 3, 11, 11));
        assert_eq!((figures.avg_ns(), figures.overruns), (7, 2));
        assert_eq!(Figures::default().avg_ns(), 0);
    }

    #[test]
    fn what_does_not_fit_the_rows_is_counted_and_the_first_are_named() {
        let mut rows = Rows::new(3).unwrap();
        [0, 2, 2, 3, u64::MAX]
            .into_iter()
            .enumerate()
            .for_each(|(cycle, value)| rows.count(value, cycle as u64));
        assert_eq!([0, 1, 2, 3].map(|row| rows.at(row)), [1, 0, 2, 0]);
        assert_eq!((rows.total(), rows.overflows, rows.overflow_at.as_slice()), (3, 2, &[3, 4][..]));
        (0..20).for_each(|cycle| rows.count(9, cycle));
        assert_eq!((rows.overflows, rows.overflow_at.len()), (22, OVERFLOWS_NAMED));
    }
}
