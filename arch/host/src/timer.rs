//! The host's monotonic clock as a counter of nanoseconds.

use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since the first call.
#[must_use]
pub fn counter() -> u64 {
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
/// 1 GHz.
#[must_use]
pub fn freq_hz() -> u64 {
    1_000_000_000
}
/// Nothing fires on a PC.
pub fn set_compare(_cval: u64) {}
/// As [`set_compare`].
pub fn move_compare(_cval: u64) {}
/// Nothing to stop.
pub fn stop() {}

/// Gives the calling CPU its timer: a PC has none.
pub fn init_cpu() {}
