//! Sets of physical address ranges: what is RAM, less what is taken.
//!
//! Invariant: the ranges are sorted, not empty, and neither touch nor overlap; all ends are page aligned.
//! Added ranges are rounded inwards and removed ones outwards, so a page is in the set only if all of it
//! was added and none of it removed.
//!
//! Context: boot; pure. Bound: linear in the number of ranges, which is at most [`MAX`].
#![forbid(unsafe_code)]

use heapless::Vec;

/// Most ranges a set can hold.
pub const MAX: usize = 64;

const PAGE: u64 = 4096;

/// One range: `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
}

impl Region {
    /// Length.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// The set has more holes than it can describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRegions;

/// A set of pages.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    list: Vec<Region, MAX>,
}

impl Regions {
    /// The empty set.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Region> + '_ {
        self.list.iter().copied()
    }

    /// Bytes in the set.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|r| r.bytes()).sum()
    }

    /// Adds the whole pages of `start..end`.
    pub fn add(&mut self, start: u64, end: u64) -> Result<(), TooManyRegions> {
        let Some(start) = start.checked_next_multiple_of(PAGE) else { return Ok(()) };
        let mut new = Region { start, end: end & !(PAGE - 1) };
        if new.start >= new.end {
            return Ok(());
        }
        // Swallow everything that touches the new range, then put it where it belongs.
        self.list.retain(|r| {
            let apart = r.end < new.start || new.end < r.start;
            if !apart {
                new.start = new.start.min(r.start);
                new.end = new.end.max(r.end);
            }
            apart
        });
        let at = self.list.iter().position(|r| r.start > new.start).unwrap_or(self.list.len());
        self.list.insert(at, new).map_err(|_| TooManyRegions)
    }

    /// Removes every page that `start..end` touches.
    pub fn remove(&mut self, start: u64, end: u64) -> Result<(), TooManyRegions> {
        if start >= end {
            return Ok(());
        }
        let start = start & !(PAGE - 1);
        let end = end.checked_next_multiple_of(PAGE).unwrap_or(!(PAGE - 1));
        let mut at = 0;
        while at < self.list.len() {
            let r = self.list[at];
            if r.end <= start || end <= r.start {
                at += 1;
                continue;
            }
            self.list.remove(at);
            for piece in [Region { start: r.start, end: start }, Region { start: end, end: r.end }] {
                if piece.start < piece.end {
                    self.list.insert(at, piece).map_err(|_| TooManyRegions)?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// The lowest `bytes` in the set that start at a multiple of `align` (a power of two).
    pub fn find(&self, bytes: u64, align: u64) -> Option<u64> {
        self.iter().find_map(|r| {
            let start = r.start.checked_next_multiple_of(align)?;
            (start.checked_add(bytes)? <= r.end).then_some(start)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec as StdVec;

    fn set(ranges: &[(u64, u64)]) -> Regions {
        let mut set = Regions::new();
        for &(start, end) in ranges {
            set.add(start, end).unwrap();
        }
        set
    }

    fn list(set: &Regions) -> StdVec<(u64, u64)> {
        set.iter().map(|r| (r.start, r.end)).collect()
    }

    #[test]
    fn added_ranges_shrink_to_whole_pages() {
        assert_eq!(list(&set(&[(0x1001, 0x3fff)])), [(0x2000, 0x3000)]);
        assert_eq!(list(&set(&[(0x1001, 0x1fff)])), []);
    }

    #[test]
    fn removed_ranges_grow_to_whole_pages() {
        let mut set = set(&[(0x1000, 0x5000)]);
        set.remove(0x2fff, 0x3001).unwrap();
        assert_eq!(list(&set), [(0x1000, 0x2000), (0x4000, 0x5000)]);
    }

    #[test]
    fn touching_ranges_become_one() {
        assert_eq!(list(&set(&[(0x3000, 0x4000), (0x1000, 0x2000), (0x2000, 0x3000)])), [(0x1000, 0x4000)]);
    }

    #[test]
    fn an_empty_removal_removes_nothing() {
        let mut set = set(&[(0x1000, 0x5000)]);
        set.remove(0x2800, 0x2800).unwrap();
        assert_eq!(list(&set), [(0x1000, 0x5000)]);
    }

    #[test]
    fn more_holes_than_fit_are_an_error() {
        let mut set = set(&[(0, 0x100_0000)]);
        let result = (0..MAX as u64).try_for_each(|i| set.remove(i * 0x2000 + 0x1000, i * 0x2000 + 0x2000));
        assert_eq!(result, Err(TooManyRegions));
    }

    #[test]
    fn the_ends_of_the_address_space_are_no_trouble() {
        let mut set = set(&[(0, u64::MAX)]);
        set.remove(u64::MAX - 1, u64::MAX).unwrap();
        assert_eq!(set.iter().next().unwrap().start, 0);
        assert_eq!(set.find(u64::MAX, 4096), None);
    }

    proptest! {
        /// Against a plain table of pages.
        #[test]
        fn the_set_is_what_was_added_less_what_was_removed(
            ops in proptest::collection::vec((any::<bool>(), 0u64..64 * PAGE, 0u64..16 * PAGE), 1..24)
        ) {
            let mut set = Regions::new();
            let mut pages = vec![false; 96];
            for (add, start, bytes) in ops {
                let end = start + bytes;
                if add {
                    set.add(start, end).unwrap();
                    for page in start.div_ceil(PAGE)..end / PAGE { pages[page as usize] = true; }
                } else {
                    set.remove(start, end).unwrap();
                    if bytes > 0 {
                        for page in start / PAGE..end.div_ceil(PAGE) { pages[page as usize] = false; }
                    }
                }
                let mut ours = vec![false; 96];
                let mut last_end = None;
                for r in set.iter() {
                    prop_assert!(r.start < r.end && last_end.is_none_or(|e| e < r.start));
                    last_end = Some(r.end);
                    for page in r.start / PAGE..r.end / PAGE { ours[page as usize] = true; }
                }
                prop_assert_eq!(&ours, &pages);
            }
            if let Some(at) = set.find(2 * PAGE, 2 * PAGE) {
                prop_assert!(at % (2 * PAGE) == 0);
                prop_assert!(pages[(at / PAGE) as usize] && pages[(at / PAGE) as usize + 1]);
            }
        }
    }
}
