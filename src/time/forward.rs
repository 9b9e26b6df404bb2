//! Grids of time: a point every so often, from a first one on, for ever.
//!
//! Everything periodic here (the tick, periodic timers, periodic tasks) keeps to a grid: its k-th point is
//! at `first + k·interval`, however late the points before were served. So lateness does not add up, and
//! what was missed can be counted.
//!
//! Context: any; arithmetic.
#![forbid(unsafe_code)]

/// Linux's `hrtimer_forward` (reference 6.3): by how many intervals `expires` must move to be the first
/// point of its grid that is after `now`; 0 if it is after it already.
///
/// `interval` is not 0. In any unit, as long as all three are in the same.
#[inline(always)]
pub(crate) const fn forward(expires: u64, now: u64, interval: u64) -> u64 {
    if now < expires { 0 } else { (now - expires) / interval + 1 }
}

#[cfg(test)]
mod tests {
    use super::forward;
    use proptest::prelude::*;

    /// Reference 6.5, invariant 4.
    #[test]
    fn forward_goes_to_the_first_point_after_now() {
        for (now, intervals) in [(0, 0), (99, 0), (100, 1), (109, 1), (110, 2), (119, 2), (120, 3)] {
            assert_eq!(forward(100, now, 10), intervals, "now {now}");
        }
    }

    proptest! {
        #[test]
        fn forward_leaves_no_point_between_now_and_the_new_one(
            expires in 0u64..1 << 40, late in 0u64..1 << 40, interval in 1u64..1 << 30
        ) {
            let now = expires + late;
            let next = expires + forward(expires, now, interval) * interval;
            prop_assert!(next > now && next - now <= interval, "{next} after {now}");
        }
    }
}
