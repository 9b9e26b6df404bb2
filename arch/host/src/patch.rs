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
    /// `preempt=voluntary`.
    Voluntary = 4,
    /// `preempt=rt`.
    Rt = 5,
    /// `SpinLock` sleeps.
    SleepingSpinLocks = 6,
    /// `preempt_style=event`.
    EventStyle = 7,
    /// preempt-stats.
    PreemptStats = 8,
    /// Interrupt handlers are timed.
    IrqStats = 9,
}

/// As a const argument.
pub const SMP_LOCKS: u32 = Key::SmpLocks as u32;
/// As a const argument.
pub const PREEMPT_INERT: u32 = Key::PreemptInert as u32;
/// As a const argument.
pub const TRACE: u32 = Key::Trace as u32;
/// As a const argument.
pub const GIC_V2: u32 = Key::GicV2 as u32;
/// As a const argument.
pub const VOLUNTARY: u32 = Key::Voluntary as u32;
/// As a const argument.
pub const RT: u32 = Key::Rt as u32;
/// As a const argument.
pub const SLEEPING_SPIN_LOCKS: u32 = Key::SleepingSpinLocks as u32;
/// As a const argument.
pub const EVENT_STYLE: u32 = Key::EventStyle as u32;
/// As a const argument.
pub const PREEMPT_STATS: u32 = Key::PreemptStats as u32;
/// As a const argument.
pub const IRQ_STATS: u32 = Key::IrqStats as u32;

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
