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

impl Key {
    /// Whether [`set`] may change it.
    #[must_use]
    pub const fn is_switchable(self) -> bool {
        matches!(self, Self::Trace | Self::PreemptStats | Self::IrqStats)
    }
}

/// A writable view of text.
///
/// # Safety
/// As in the AArch64 crate; never asked here.
pub unsafe trait TextWindow {
    /// Why a page cannot be shown.
    type Error;
    /// Shows a page.
    ///
    /// # Errors
    /// As the implementation says.
    fn show(&mut self, page: usize) -> Result<*mut u8, Self::Error>;
    /// How many pages at once.
    fn pages(&self) -> usize;
    /// Hides them.
    ///
    /// # Errors
    /// As the implementation says.
    fn hide_all(&mut self) -> Result<(), Self::Error>;
}

/// Keeps other CPUs away from text.
///
/// # Safety
/// As in the AArch64 crate; never asked here.
pub unsafe trait Standstill {
    /// How many sites may be changed in one go.
    fn sites(&self) -> usize;
    /// Runs `change`, once.
    fn hold(&mut self, change: &(dyn Fn() + Sync));
}

/// Where there is one CPU.
#[derive(Debug)]
pub struct OneCpu;

// SAFETY: there is no text.
unsafe impl Standstill for OneCpu {
    fn sites(&self) -> usize {
        1
    }

    fn hold(&mut self, change: &(dyn Fn() + Sync)) {
        change();
    }
}

/// Why a key was not switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchError<E> {
    /// The key is decided at boot.
    BootOnly(Key),
    /// Never on a PC.
    Window(E),
}

impl<E: std::fmt::Display> std::fmt::Display for PatchError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BootOnly(key) => {
                write!(f, "{key:?} is decided at boot; expected Trace, PreemptStats or IrqStats")
            }
            Self::Window(error) => write!(f, "the kernel's text cannot be written to: {error}"),
        }
    }
}

/// Switches a key, for the whole test process. There are no sites.
///
/// # Errors
/// For a key that is decided at boot.
pub fn set<W: TextWindow, S: Standstill>(
    key: Key,
    on: bool,
    _window: &mut W,
    _stop: &mut S,
) -> Result<usize, PatchError<W::Error>> {
    if !key.is_switchable() {
        return Err(PatchError::BootOnly(key));
    }
    if on {
        ENABLED.fetch_or(1 << key as u32, Ordering::Relaxed);
    } else {
        ENABLED.fetch_and(!(1 << key as u32), Ordering::Relaxed);
    }
    Ok(0)
}

/// No sites on a PC.
#[must_use]
pub fn count_sites(_key: Key) -> (usize, usize) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoWindow;
    // SAFETY: never shows a page.
    unsafe impl TextWindow for NoWindow {
        type Error = &'static str;
        fn show(&mut self, _page: usize) -> Result<*mut u8, Self::Error> {
            Err("not on a PC")
        }
        fn pages(&self) -> usize {
            1
        }
        fn hide_all(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    #[test]
    fn a_boot_key_is_refused_by_name_and_a_switchable_one_is_switched() {
        let error = set(Key::PreemptInert, true, &mut NoWindow, &mut OneCpu).unwrap_err();
        assert!(std::format!("{error}").starts_with("PreemptInert is decided at boot"));
        assert!(!is_enabled(Key::PreemptInert));
        assert_eq!(set(Key::IrqStats, true, &mut NoWindow, &mut OneCpu), Ok(0));
        assert!(is_enabled(Key::IrqStats));
        assert_eq!(set(Key::IrqStats, false, &mut NoWindow, &mut OneCpu), Ok(0));
        assert!(!is_enabled(Key::IrqStats));
    }
}
