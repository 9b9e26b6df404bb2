//! A log-linear histogram: every power of two is divided into 16 equal parts.
//!
//! A value is known to one sixteenth of itself, whether it is 40 ns or 40 ms, and recording one is a shift,
//! a mask and an increment: no search, no allocation, the same time for every value. Minimum, maximum and
//! mean are exact. (Gil Tene's HdrHistogram, reduced to what a latency needs.)
//!
//! Invariant: `n` is the sum of all counts; a value above [`LIMIT`] is counted in the last bucket and shows
//! in `max` as it was.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

/// Parts of one power of two.
const PARTS: usize = 16;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Values have at most this many bits: 2^40 ns are eighteen minutes.
const VALUE_BITS: u32 = 40;
/// The largest value that has a bucket of its own.
pub const LIMIT: u64 = (1 << VALUE_BITS) - 1;
/// Number of buckets: 0..16 one by one, then sixteen for each higher power of two.
pub const BUCKETS: usize = PARTS * (VALUE_BITS - PART_BITS + 1) as usize;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u32; BUCKETS],
    n: u64,
    sum: u128,
    min: u64,
    max: u64,
}

/// The bucket of a value.
#[inline]
#[must_use]
pub const fn bucket_of(value: u64) -> usize {
    let value = if value > LIMIT { LIMIT } else { value };
    if value < PARTS as u64 {
        return value as usize;
    }
    // The highest bit says which power of two, the four bits below it which part.
    let shift = value.ilog2() - PART_BITS;
    (shift as usize + 1) * PARTS + (value >> shift) as usize - PARTS
}

/// The smallest value of a bucket; for `BUCKETS` itself the first value that has none.
#[must_use]
pub const fn bucket_low(bucket: usize) -> u64 {
    if bucket < PARTS {
        return bucket as u64;
    }
    let shift = bucket / PARTS - 1;
    ((bucket % PARTS + PARTS) as u64) << shift
}

/// The largest value of a bucket.
#[must_use]
pub const fn bucket_high(bucket: usize) -> u64 {
    bucket_low(bucket + 1) - 1
}

impl Histogram {
    /// An empty histogram.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: [0; BUCKETS], n: 0, sum: 0, min: u64::MAX, max: 0 }
    }

    /// Counts a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        let count = &mut self.counts[bucket_of(value)];
        *count = count.saturating_add(1);
        self.n += 1;
        self.sum += u128::from(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.n += other.n;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Number of values.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The smallest value, exact; 0 if there is none.
    #[must_use]
    pub fn min(&self) -> u64 {
        if self.n == 0 { 0 } else { self.min }
    }

    /// The largest value, exact; 0 if there is none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, rounded down; 0 if there is none.
    #[must_use]
    pub fn avg(&self) -> u64 {
        match self.n {
            0 => 0,
            n => (self.sum / u128::from(n)) as u64,
        }
    }

    /// The value that `part` of `whole` values do not exceed, for example `quantile(999, 1000)`: the top of
    /// its bucket, so at most one sixteenth too high and never too low. 0 if there is none.
    #[must_use]
    pub fn quantile(&self, part: u64, whole: u64) -> u64 {
        let rank = (u128::from(self.n) * u128::from(part)).div_ceil(u128::from(whole)).max(1) as u64;
        let mut seen = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                // The last bucket is open at the top; no bucket's top is above the largest value.
                let high = if bucket + 1 == BUCKETS { u64::MAX } else { bucket_high(bucket) };
                return high.min(self.max).max(self.min());
            }
        }
        self.max
    }

    /// How many values are in the buckets from that of `low` to that of `high`, both included.
    #[must_use]
    pub fn count_between(&self, low: usize, high: usize) -> u64 {
        self.counts[low..=high.min(BUCKETS - 1)].iter().copied().map(u64::from).sum()
    }

    /// The buckets that are not empty: the smallest value of each, and how many values it has.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let counts = self.counts.iter().enumerate();
        counts.filter(|(_, count)| **count != 0).map(|(bucket, &count)| (bucket_low(bucket), count))
    }

    /// The first and the last bucket that is not empty.
    #[must_use]
    pub fn used(&self) -> Option<(usize, usize)> {
        let first = self.counts.iter().position(|&count| count != 0)?;
        let last = self.counts.iter().rposition(|&count| count != 0)?;
        Some((first, last))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        values.iter().for_each(|&value| histogram.record(value));
        histogram
    }

    #[test]
    fn small_values_have_a_bucket_each() {
        for value in 0..32 {
            assert_eq!(bucket_low(bucket_of(value)), value);
            assert_eq!(bucket_high(bucket_of(value)), value);
        }
    }

    #[test]
    fn a_power_of_two_begins_a_bucket() {
        for bit in 0..VALUE_BITS {
            assert_eq!(bucket_low(bucket_of(1 << bit)), 1 << bit);
        }
        assert_eq!(bucket_of(LIMIT), BUCKETS - 1);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_buckets_join_without_gap() {
        for bucket in 1..BUCKETS {
            assert_eq!(bucket_high(bucket - 1) + 1, bucket_low(bucket));
            assert_eq!(bucket_of(bucket_low(bucket)), bucket);
            assert_eq!(bucket_of(bucket_high(bucket)), bucket);
        }
    }

    #[test]
    fn an_empty_histogram_answers_zero() {
        let empty = Histogram::new();
        assert_eq!((empty.n(), empty.min(), empty.max(), empty.avg()), (0, 0, 0, 0));
        assert_eq!(empty.quantile(99, 100), 0);
        assert_eq!(empty.used(), None);
    }

    #[test]
    fn quantiles_of_a_hundred_numbers_are_the_numbers() {
        let histogram = of(&(1..=31).collect::<Vec<_>>());
        assert_eq!(histogram.quantile(1, 2), 16);
        assert_eq!(histogram.quantile(0, 1), 1);
        assert_eq!(histogram.quantile(1, 1), 31);
    }

    #[test]
    fn one_bad_value_of_a_thousand_is_the_maximum_and_not_the_p99() {
        let mut values = [500; 999].to_vec();
        values.push(2_000_000);
        let histogram = of(&values);
        assert_eq!(histogram.max(), 2_000_000);
        assert!(histogram.quantile(99, 100) < 540);
        assert_eq!(histogram.quantile(1, 1), 2_000_000);
    }

    #[test]
    fn the_buckets_that_have_something_are_told_with_their_smallest_value() {
        let histogram = of(&[3, 3, 700, 701, 5000]);
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(3, 2), (672, 2), (4864, 1)]);
    }

    #[test]
    fn a_value_beyond_the_limit_is_kept_in_the_maximum() {
        let histogram = of(&[1, u64::MAX]);
        assert_eq!(histogram.max(), u64::MAX);
        assert_eq!(histogram.quantile(1, 1), u64::MAX);
        assert_eq!(histogram.count_between(0, BUCKETS), 2);
    }

    proptest! {
        #[test]
        fn a_bucket_is_no_wider_than_a_sixteenth_of_its_values(value in 0..=LIMIT) {
            let bucket = bucket_of(value);
            prop_assert!((bucket_low(bucket)..=bucket_high(bucket)).contains(&value));
            prop_assert!(bucket_high(bucket) - bucket_low(bucket) <= value / 16);
        }

        #[test]
        fn a_larger_value_is_never_in_a_lower_bucket(a: u64, b: u64) {
            prop_assert!(bucket_of(a.max(b)) >= bucket_of(a.min(b)));
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_list_to_a_sixteenth(
            mut values in proptest::collection::vec(0u64..1 << 30, 1..200),
            part in 0u64..=1000,
        ) {
            let histogram = of(&values);
            values.sort_unstable();
            let rank = (values.len() * part as usize).div_ceil(1000).max(1);
            let exact = values[rank - 1];
            let answer = histogram.quantile(part, 1000);
            prop_assert!(answer >= exact && answer - exact <= exact / 16, "{answer} for {exact}");
        }

        #[test]
        fn adding_two_histograms_is_counting_both_lists(
            a in proptest::collection::vec(any::<u64>(), 0..50),
            b in proptest::collection::vec(any::<u64>(), 0..50),
        ) {
            let mut sum = of(&a);
            sum.add(&of(&b));
            let both = of(&[a, b].concat());
            prop_assert_eq!(sum.counts, both.counts);
            prop_assert_eq!((sum.n(), sum.min(), sum.max(), sum.avg()), (both.n(), both.min(), both.max(), both.avg()));
            prop_assert_eq!(sum.used(), both.used());
        }
    }
}
