//! Samples of one benchmark.

use stint::kprintln;

/// Repetitions of every benchmark.
pub const REPETITIONS: usize = 1000;
/// Left out at the start: caches and branch history on silicon, first-use paths everywhere.
pub const WARM_UP: usize = 16;

/// Minimum, sum and maximum of the samples, less what the measuring itself costs.
#[derive(Clone, Copy)]
pub struct Bench {
    min: u64,
    max: u64,
    sum: u64,
    n: u64,
    skip: usize,
    overhead: u64,
}

impl Bench {
    /// For samples between two adjacent counter reads: the second read counts itself.
    pub const fn new() -> Self {
        Self::with_overhead(1)
    }

    /// For samples whose measuring code costs `overhead` instructions.
    pub const fn with_overhead(overhead: u64) -> Self {
        Self { min: u64::MAX, max: 0, sum: 0, n: 0, skip: WARM_UP, overhead }
    }

    /// Takes a raw difference of two counter reads.
    #[inline(always)]
    pub fn add(&mut self, difference: u64) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let value = difference.saturating_sub(self.overhead);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.n += 1;
    }

    /// The result line.
    pub fn print(&self, name: &str) {
        self.print_as("bench", name);
    }

    /// The result line of another group.
    pub fn print_as(&self, group: &str, name: &str) {
        if self.n == 0 {
            kprintln!("{group} {name}: no samples");
            return;
        }
        let average = (self.sum + self.n / 2) / self.n;
        kprintln!("result {group}.{name} {average} insn min={} max={} n={}", self.min, self.max, self.n);
    }
}

/// The counter.
#[inline(always)]
pub fn cycles() -> u64 {
    arch::pmu::cycles()
}

/// A counter value that two contexts pass to each other.
pub struct Stamp(core::cell::UnsafeCell<u64>);

// SAFETY: one side writes before the switch or interrupt that makes the other read; one CPU.
unsafe impl Sync for Stamp {}

impl Stamp {
    pub const fn new() -> Self {
        Self(core::cell::UnsafeCell::new(0))
    }

    /// Stamps now.
    #[inline(always)]
    pub fn now(&self) {
        // SAFETY: see `Sync`.
        unsafe { self.0.get().write_volatile(cycles()) };
    }

    /// What was stamped.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        // SAFETY: see `Sync`.
        unsafe { self.0.get().read_volatile() }
    }
}

/// What a stamp and the read after it cost with nothing in between.
pub fn stamp_overhead() -> u64 {
    static PROBE: Stamp = Stamp::new();
    PROBE.now();
    let now = cycles();
    now - PROBE.get()
}
