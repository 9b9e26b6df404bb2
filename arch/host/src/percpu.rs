//! One CPU, offset 0: tests that share per-CPU variables run in one thread.

/// 0.
#[must_use]
pub fn this_cpu_offset() -> usize {
    0
}
