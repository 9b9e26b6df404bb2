//! Stand-in for per-CPU data (written elsewhere).
#![forbid(unsafe_code)]

/// Logical number of the CPU we run on.
pub fn cpu_id() -> usize {
    0
}
