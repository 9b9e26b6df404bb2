//! Sets of CPUs: one bit for each, by logical number.
//!
//! Context: any. Locks: none.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{BitAnd, BitOr, Not};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::MAX_CPUS;

const _: () = assert!(MAX_CPUS <= 64, "a CpuMask is one word");

/// A set of CPUs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct CpuMask(u64);

impl CpuMask {
    /// No CPU.
    pub const NONE: Self = Self(0);
    /// Every CPU there can be.
    pub const ALL: Self = Self(u64::MAX);

    /// The set with these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// One bit for each CPU.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set of one. `cpu` is below [`MAX_CPUS`].
    #[must_use]
    pub const fn of(cpu: usize) -> Self {
        Self(1 << cpu)
    }

    /// The CPUs below `count`.
    #[must_use]
    pub const fn first_n(count: usize) -> Self {
        if count >= 64 { Self::ALL } else { Self((1 << count) - 1) }
    }

    /// Whether `cpu` is in it.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, cpu: usize) -> bool {
        self.0 >> cpu & 1 != 0
    }

    /// The set and `cpu`.
    #[must_use]
    pub const fn with(self, cpu: usize) -> Self {
        Self(self.0 | 1 << cpu)
    }

    /// The set without `cpu`.
    #[must_use]
    pub const fn without(self, cpu: usize) -> Self {
        Self(self.0 & !(1 << cpu))
    }

    /// Whether there is none.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    #[must_use]
    pub const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The one with the lowest number.
    #[inline(always)]
    #[must_use]
    pub const fn first(self) -> Option<usize> {
        if self.0 == 0 { None } else { Some(self.0.trailing_zeros() as usize) }
    }

    /// The next one from `start` on, around the end if need be.
    #[must_use]
    pub const fn next_from(self, start: usize) -> Option<usize> {
        let above = if start < 64 { Self(self.0 & (u64::MAX << start)) } else { Self::NONE };
        if above.is_empty() { self.first() } else { above.first() }
    }

    /// The CPUs in it, from the lowest.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let cpu = Self(left).first()?;
            left &= left - 1;
            Some(cpu)
        })
    }
}

impl BitAnd for CpuMask {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for CpuMask {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Not for CpuMask {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// As Linux's CPU lists: `0-3,7`; nothing for the empty set.
impl fmt::Display for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        let mut separator = "";
        while left != 0 {
            let start = left.trailing_zeros();
            let length = (left >> start).trailing_ones();
            f.write_str(separator)?;
            match length {
                1 => write!(f, "{start}")?,
                _ => write!(f, "{start}-{}", start + length - 1)?,
            }
            separator = ",";
            left = left.checked_shr(start + length).unwrap_or(0).checked_shl(start + length).unwrap_or(0);
        }
        Ok(())
    }
}

impl fmt::Debug for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuMask({self})")
    }
}

/// A set of CPUs that several change at once.
#[derive(Debug, Default)]
pub struct AtomicCpuMask(AtomicU64);

impl AtomicCpuMask {
    /// No CPU.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// What it is at this moment. Acquire.
    #[inline(always)]
    #[must_use]
    pub fn load(&self) -> CpuMask {
        CpuMask(self.0.load(Ordering::Acquire))
    }

    /// Makes it `mask`. Release.
    pub fn store(&self, mask: CpuMask) {
        self.0.store(mask.0, Ordering::Release);
    }

    /// Puts `cpu` in; returns whether it was. A full barrier.
    pub fn set(&self, cpu: usize) -> bool {
        self.0.fetch_or(1 << cpu, Ordering::SeqCst) >> cpu & 1 != 0
    }

    /// Takes `cpu` out; returns whether it was in. A full barrier.
    pub fn clear(&self, cpu: usize) -> bool {
        self.0.fetch_and(!(1 << cpu), Ordering::SeqCst) >> cpu & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::CpuMask;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn prints_as_a_cpu_list() {
        let show = |bits| CpuMask::from_bits(bits).to_string();
        assert_eq!(show(0), "");
        assert_eq!(show(1), "0");
        assert_eq!(show(0b1000_1111), "0-3,7");
        assert_eq!(show(1 << 63), "63");
        assert_eq!(show(u64::MAX), "0-63");
    }

    #[test]
    fn next_goes_around_the_end() {
        let mask = CpuMask::from_bits(0b10010);
        assert_eq!(mask.next_from(0), Some(1));
        assert_eq!(mask.next_from(2), Some(4));
        assert_eq!(mask.next_from(5), Some(1));
        assert_eq!(mask.next_from(64), Some(1));
        assert_eq!(CpuMask::NONE.next_from(3), None);
        assert_eq!(mask.iter().collect::<Vec<_>>(), [1, 4]);
        assert_eq!(CpuMask::first_n(64), CpuMask::ALL);
        assert_eq!(CpuMask::first_n(3).bits(), 7);
    }
}
