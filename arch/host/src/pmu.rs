//! A cycle counter: nanoseconds.

/// Nothing to start.
pub fn init() {}

/// Nanoseconds since the first call.
#[must_use]
pub fn cycles() -> u64 {
    crate::timer::counter()
}
