#![forbid(unsafe_code)]
//! What runs on each CPU: one byte each, in one table.
//!
//! Whoever looks for a CPU on which a task could run at once, or for one that a real-time task may displace somebody
//! from, looks here and not at the run queues: no lock, and one cache line for 64 CPUs.
//!
//! | level | what runs |
//! |---|---|
//! | 0 | nothing |
//! | 1 | a fair task |
//! | 2..=100 | a real-time task: its user priority and 1 |
//! | 101 | a deadline task |
//! | 102 | the stop class |
//! | 255 | no business of ours: offline, or left out of balancing |
//!
//! A CPU's byte is stored by that CPU at each switch, and by a waker that has decided that a task is to run there; both
//! under the lock of its run queue, so a plain store does: no read-modify-write, no heap. A reader may find a value that
//! is out of date as soon as it has it: it decides under the run queue's lock, and looks again if it was wrong.
//!
//! Searching looks at each allowed CPU once, 64 at most, and only where somebody has to be moved. It goes by bytes: in
//! Rust's memory model a table that is stored to by bytes must not be read by words.
//!
//! Contexts: any. Locks: none taken.

use core::sync::atomic::{AtomicU8, Ordering};

use super::entity::SchedTask;
use super::prio::{MAX_PRIO, MAX_RT_PRIO, STOP_PRIO};
use crate::MAX_CPUS;
use crate::smp::CpuMask;

/// Nothing runs.
pub const IDLE: u8 = 0;
/// A fair task runs.
pub const FAIR: u8 = 1;
/// The least of the real-time levels, user priority 1.
pub const RT_MIN: u8 = 2;
/// The most of them, user priority 99: no real-time task is more important.
pub const RT_MAX: u8 = 100;
/// A deadline task runs.
pub const DEADLINE: u8 = 101;
/// A task of the stop class runs.
pub const STOP: u8 = 102;
/// Not to be considered.
pub const OFF: u8 = 255;

/// The level of a CPU that runs a task of this kernel priority.
#[inline]
#[must_use]
pub const fn level_of_prio(prio: i32) -> u8 {
    if prio <= STOP_PRIO {
        STOP
    } else if prio < 0 {
        DEADLINE
    } else if prio < MAX_RT_PRIO {
        // 0 is the most important one: 100 for user priority 99.
        (MAX_RT_PRIO - prio) as u8
    } else if prio < MAX_PRIO {
        FAIR
    } else {
        IDLE
    }
}

/// The level of a CPU that runs this task.
#[inline]
#[must_use]
pub fn level_of(task: &SchedTask) -> u8 {
    level_of_prio(task.prio())
}

/// The table.
#[derive(Debug)]
#[repr(align(64))]
pub struct CpuPri {
    levels: [AtomicU8; MAX_CPUS],
}

impl Default for CpuPri {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuPri {
    /// Every CPU is [`OFF`].
    #[must_use]
    pub const fn new() -> Self {
        Self { levels: [const { AtomicU8::new(OFF) }; MAX_CPUS] }
    }

    /// `cpu` runs something of this level from now on. The lock of its run queue is held.
    #[inline(always)]
    pub fn set(&self, cpu: usize, level: u8) {
        // No CPU has a greater number; so the bounds need no branch.
        self.levels[cpu % MAX_CPUS].store(level, Ordering::Relaxed);
    }

    /// The place of `cpu`, for who tells often. As for [`Self::set`].
    #[must_use]
    pub fn entry(&self, cpu: usize) -> &AtomicU8 {
        &self.levels[cpu % MAX_CPUS]
    }

    /// What `cpu` runs.
    #[inline(always)]
    #[must_use]
    pub fn level(&self, cpu: usize) -> u8 {
        self.levels.get(cpu).map_or(OFF, |entry| entry.load(Ordering::Relaxed))
    }

    /// The CPU of `allowed` where the least important thing runs, if that is below the level `below`. Of equals the
    /// first one that `prefer` names (the CPU whose caches are warm, then this one), else the first one behind it.
    #[must_use]
    pub fn find_lowest(&self, allowed: CpuMask, below: u8, prefer: &[usize]) -> Option<usize> {
        self.lowest_mask(allowed, below).and_then(|mask| choose(mask, prefer))
    }

    /// An idle CPU of `allowed`; of several, as [`Self::find_lowest`].
    #[must_use]
    pub fn find_idle(&self, allowed: CpuMask, prefer: &[usize]) -> Option<usize> {
        self.find_lowest(allowed, FAIR, prefer)
    }

    /// Is there a CPU of `allowed` below the level `below`?
    #[must_use]
    pub fn has_lower(&self, allowed: CpuMask, below: u8) -> bool {
        allowed.iter().any(|cpu| self.level(cpu) < below)
    }

    /// All CPUs of `allowed` that have the lowest level there is among them, if that is below `below`.
    #[must_use]
    pub fn lowest_mask(&self, allowed: CpuMask, below: u8) -> Option<CpuMask> {
        let mut lowest = below;
        let mut mask = CpuMask::NONE;
        for cpu in allowed.iter() {
            let level = self.level(cpu);
            if level < lowest {
                lowest = level;
                mask = CpuMask::of(cpu);
            } else if level == lowest && !mask.is_empty() {
                mask = mask.with(cpu);
            }
        }
        (!mask.is_empty()).then_some(mask)
    }
}

/// One of `mask`: the first of `prefer` that is in it, else the next behind the first of `prefer`.
pub(super) fn choose(mask: CpuMask, prefer: &[usize]) -> Option<usize> {
    let preferred = prefer.iter().copied().find(|&cpu| cpu < MAX_CPUS && mask.contains(cpu));
    preferred.or_else(|| mask.next_from(prefer.first().copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn levels_rise_with_importance() {
        let prios = [MAX_PRIO, 139, 100, 98, 97, 1, 0, -1, STOP_PRIO];
        let levels: Vec<u8> = prios.into_iter().map(level_of_prio).collect();
        assert_eq!(levels, [IDLE, FAIR, FAIR, RT_MIN, 3, 99, RT_MAX, DEADLINE, STOP]);
    }

    #[test]
    fn a_table_that_nobody_has_written_has_no_cpu_to_offer() {
        assert_eq!(CpuPri::new().find_lowest(CpuMask::ALL, STOP, &[0]), None);
        assert_eq!(CpuPri::new().level(64), OFF);
    }

    #[test]
    fn an_equal_level_is_not_below() {
        let table = CpuPri::new();
        table.set(0, 50);
        assert_eq!(table.find_lowest(CpuMask::ALL, 50, &[0]), None);
        assert_eq!(table.find_lowest(CpuMask::ALL, 51, &[0]), Some(0));
    }

    #[test]
    fn among_equals_the_preferred_cpus_come_first_and_then_the_next_behind() {
        let table = CpuPri::new();
        for cpu in 0..8 {
            table.set(cpu, IDLE);
        }
        table.set(3, FAIR);
        let find = |prefer: &[usize]| table.find_idle(CpuMask::ALL, prefer);
        assert_eq!(find(&[5, 2]), Some(5));
        assert_eq!(find(&[3, 2]), Some(2), "3 is busy, this CPU is not");
        assert_eq!(find(&[3]), Some(4), "the next behind");
        assert_eq!(find(&[]), Some(0));
    }

    proptest! {
        #[test]
        fn finds_what_a_sort_finds(
            levels in prop::collection::vec(prop_oneof![0u8..4, 40u8..44, 100u8..103, Just(OFF)], MAX_CPUS),
            allowed: u64, below in 0u8..=103, prefer in prop::collection::vec(0usize..70, 0..3),
        ) {
            let table = CpuPri::new();
            for (cpu, &level) in levels.iter().enumerate() {
                table.set(cpu, level);
            }
            let mut fit: Vec<(u8, usize, usize)> = (0..MAX_CPUS)
                .filter(|&cpu| allowed >> cpu & 1 != 0 && levels[cpu] < below)
                .map(|cpu| {
                    let start = prefer.first().copied().unwrap_or(0);
                    let behind = if cpu >= start { cpu - start } else { cpu + 64 };
                    let rank = prefer.iter().position(|&c| c == cpu).unwrap_or(prefer.len() + behind);
                    (levels[cpu], rank, cpu)
                })
                .collect();
            fit.sort_unstable();
            let found = table.find_lowest(CpuMask::from_bits(allowed), below, &prefer);
            prop_assert_eq!(found, fit.first().map(|f| f.2));
            prop_assert_eq!(table.has_lower(CpuMask::from_bits(allowed), below), found.is_some());
        }
    }
}
