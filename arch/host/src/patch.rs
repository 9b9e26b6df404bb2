//! Keys without patching: a test reads a flag.

use std::sync::atomic::{AtomicU32, Ordering};

/// What can be patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Key {
    /// Lock words.
    SmpLocks = 0,
    /// No preemption points.
    PreemptInert = 1,
    /// Trace ring.
    Trace = 2,
    /// GICv2.
    GicV2 = 3,
}

/// As a const argument.
pub const SMP_LOCKS: u32 = Key::SmpLocks as u32;
/// As a const argument.
pub const PREEMPT_INERT: u32 = Key::PreemptInert as u32;
/// As a const argument.
pub const TRACE: u32 = Key::Trace as u32;
/// As a const argument.
pub const GIC_V2: u32 = Key::GicV2 as u32;

/// The tests of a process run in several threads, which are CPUs to a lock: the lock words are on.
static ENABLED: AtomicU32 = AtomicU32::new(1 << SMP_LOCKS);

/// Whether the key is on.
#[must_use]
pub fn static_branch<const KEY: u32>() -> bool {
    ENABLED.load(Ordering::Relaxed) & (1 << KEY) != 0
}
/// Switches a key on, for the whole test process.
pub fn enable(key: Key) {
    ENABLED.fetch_or(1 << key as u32, Ordering::Relaxed);
}
/// Whether the key is on.
#[must_use]
pub fn is_enabled(key: Key) -> bool {
    ENABLED.load(Ordering::Relaxed) & (1 << key as u32) != 0
}
