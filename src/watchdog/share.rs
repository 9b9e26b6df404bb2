//! Which CPU watches which.
//!
//! A CPU whose interrupts are masked cannot watch itself, so each is watched by the next one that keeps house. Where
//! only one CPU keeps house, that one watches itself too: it sees at least a task that does not give it up.
//!
//! Invariant: every online CPU is watched by exactly one, which keeps house.
//! Context: any; pure.
#![forbid(unsafe_code)]

use crate::smp::CpuMask;

/// The CPUs of `online` that `me` watches. `keepers` are those that keep house.
#[must_use]
pub fn watched_by(me: usize, keepers: CpuMask, online: CpuMask) -> CpuMask {
    let keepers = keepers & online;
    online.iter().filter(|&cpu| watcher_of(cpu, keepers) == Some(me)).fold(CpuMask::NONE, CpuMask::with)
}

fn watcher_of(cpu: usize, keepers: CpuMask) -> Option<usize> {
    let others = keepers.without(cpu);
    if others.is_empty() { keepers.first() } else { others.next_from(cpu + 1) }
}

#[cfg(test)]
mod tests {
    use super::{CpuMask, watched_by};
    use proptest::prelude::*;

    #[test]
    fn the_next_one_watches_and_the_last_one_is_watched_by_the_first() {
        let all = CpuMask::first_n(4);
        assert_eq!(watched_by(1, all, all), CpuMask::of(0));
        assert_eq!(watched_by(0, all, all), CpuMask::of(3));
    }

    #[test]
    fn one_cpu_watches_itself() {
        assert_eq!(watched_by(0, CpuMask::ALL, CpuMask::of(0)), CpuMask::of(0));
        assert_eq!(watched_by(0, CpuMask::of(0), CpuMask::first_n(4)), CpuMask::first_n(4));
    }

    proptest! {
        #[test]
        fn everybody_is_watched_once_and_by_another_one_if_there_is_one(keepers in 1u64.., online in 1u64..) {
            let (keepers, online) = (CpuMask::from_bits(keepers), CpuMask::from_bits(online));
            let awake = keepers & online;
            for cpu in online.iter() {
                let by = (0..64).filter(|&me| watched_by(me, keepers, online).contains(cpu));
                let by: std::vec::Vec<usize> = by.collect();
                prop_assert_eq!(by.len(), usize::from(!awake.is_empty()), "CPU {}", cpu);
                for me in by {
                    prop_assert!(awake.contains(me));
                    prop_assert!(me != cpu || awake == CpuMask::of(cpu));
                }
            }
        }
    }
}
