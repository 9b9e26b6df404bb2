#![forbid(unsafe_code)]
//! Admission: a deadline task is let in only if the CPU has what it asks for.
//!
//! The shares (`runtime / period`) of all deadline tasks of a CPU must not add up to more than the limit,
//! which is the share that real-time tasks may take too (95 % unless `rt_runtime_us` says otherwise; a whole
//! CPU when that is off). With that, earliest deadline first misses no deadline of tasks whose deadline is
//! their period. For shorter deadlines the sum is necessary and not sufficient, as in Linux.
//!
//! **When a share is free again.** A task that leaves in the middle of a period may have used its whole budget
//! already; if its share went to another at once, the two together would have had more than the share for that
//! while, and a neighbour could miss its deadline. A share is therefore free only when the time used so far
//! would have been used at the reserved rate (the 0-lag time). Linux keeps a timer in every task for that; here
//! all shares that are on their way out are one sum, free at the latest of their times, looked at when somebody
//! asks: no timer and constant memory, at the price that an early one may wait for a later one, at most one
//! period (4.2 s) after the last departure.
//!
//! **Several CPUs.** Deadline tasks run wherever the earliest deadlines are to run, so they are admitted to all CPUs
//! together: one sum, up to the limit times the number of CPUs, and a task that may not run everywhere is refused
//! ([`covers`]). The sum is then not a run queue's; `Rq::with_root` lends it to one for the length of a change. (That
//! the sum fits bounds how late a task can be on several CPUs, and does not make it be in time, as on one.)
//!
//! Contexts: any, under the run-queue lock; the sum of several CPUs has a lock of its own inside that.

use core::fmt;

use super::deadline::{BW_SHIFT, BW_UNIT, DlParams, dl_time_before};
use super::entity::SchedRef;
use crate::smp::CpuMask;

/// A reservation that was refused: shares in units of 1 / 2^20 of the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DlRefused {
    /// The share asked for.
    pub asked: u64,
    /// What the others have.
    pub in_use: u64,
    /// What all together may have.
    pub limit: u64,
}

impl DlRefused {
    /// A share in hundredths of a percent, rounded to the nearest: 9500 for 95 %.
    pub const fn hundredths_of_percent(bw: u64) -> u16 {
        let rounded = (bw * 10_000 + BW_UNIT / 2) >> BW_SHIFT;
        if rounded > u16::MAX as u64 { u16::MAX } else { rounded as u16 }
    }
}

impl fmt::Display for DlRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::error::Error::from(*self).fmt(f)
    }
}

/// May a task with this mask be a deadline task where these CPUs share them?
#[must_use]
pub fn covers(allowed: CpuMask, domain: CpuMask) -> bool {
    (domain & !allowed).is_empty()
}

/// What is reserved of a CPU, or of the CPUs that deadline tasks share.
#[derive(Debug)]
pub struct DlBandwidth {
    limit: u64,
    cpus: u64,
    in_use: u64,
    leaving: u64,
    free_at: u64,
}

impl Default for DlBandwidth {
    fn default() -> Self {
        Self::new()
    }
}

impl DlBandwidth {
    /// One CPU, of which everything may be reserved and nothing is.
    pub const fn new() -> Self {
        Self { limit: BW_UNIT, cpus: 1, in_use: 0, leaving: 0, free_at: 0 }
    }

    /// The share that all deadline tasks together may have, of 1 << 20.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The share that is reserved, of 1 << 20; with what is not free yet.
    pub fn in_use(&self, now: u64) -> u64 {
        self.in_use + if dl_time_before(now, self.free_at) { self.leaving } else { 0 }
    }

    /// Sets the limit for each CPU.
    ///
    /// # Errors
    /// If more than that is reserved.
    pub(super) fn set_limit(&mut self, limit: u64, now: u64) -> Result<(), DlRefused> {
        self.set_total(limit * self.cpus, now)
    }

    /// Deadline tasks share so many CPUs now (a root domain; 0 counts as 1).
    ///
    /// # Errors
    /// If they have reserved more than fewer CPUs have to give.
    pub fn set_cpus(&mut self, cpus: usize, now: u64) -> Result<(), DlRefused> {
        let cpus = (cpus as u64).max(1);
        self.set_total(self.limit / self.cpus * cpus, now)?;
        self.cpus = cpus;
        Ok(())
    }

    fn set_total(&mut self, limit: u64, now: u64) -> Result<(), DlRefused> {
        let in_use = self.in_use(now);
        if in_use > limit {
            return Err(DlRefused { asked: 0, in_use, limit });
        }
        self.limit = limit;
        Ok(())
    }

    /// Reserves `wanted` in the place of `held`, which is `DlParams::NONE` for a task new to the class.
    pub(super) fn reserve(&mut self, wanted: DlParams, held: DlParams, now: u64) -> Result<(), DlRefused> {
        if !dl_time_before(now, self.free_at) {
            self.leaving = 0;
        }
        let in_use = self.in_use + self.leaving - held.bw();
        if in_use + wanted.bw() > self.limit {
            return Err(DlRefused { asked: wanted.bw(), in_use, limit: self.limit });
        }
        self.in_use = self.in_use - held.bw() + wanted.bw();
        Ok(())
    }

    /// `p` leaves the class, charged up to now.
    pub(super) fn release(&mut self, p: SchedRef, now: u64) {
        let dl = p.dl();
        let params = dl.params();
        self.in_use -= params.bw();
        if !dl_time_before(now, self.free_at) {
            self.leaving = 0;
        }
        // When the budget left would be gone at the reserved rate. A task that never had a period: long ago.
        let left = dl.runtime_ns() as i128 * params.period_ns() as i128 / params.runtime_ns().max(1) as i128;
        let zero_lag = dl.deadline_ns().wrapping_sub(left as u64);
        if dl_time_before(now, zero_lag) {
            if self.leaving == 0 || dl_time_before(self.free_at, zero_lag) {
                self.free_at = zero_lag;
            }
            self.leaving += params.bw();
        }
    }
}
