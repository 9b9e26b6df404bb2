//! Patching the text while the kernel runs: [`arch::patch::set`] with its lock and its window.
//!
//! Where there are several CPUs, they stand still for `SITES` sites at a time if the sites are not `nop`s
//! (`stop_machine`): each such batch costs every CPU the gathering and the writing, some tens of microseconds in which it takes
//! no interrupt. Switching preempt-stats on is a thousand sites. It is a tool for debugging; latencies are measured behind it.
//!
//! Invariant: one thread at a time; the window is mapped only while it holds the lock, so writable text exists for the
//! time of a switch and not longer, at an address at which it cannot be executed.
//!
//! Context: threads. Locks: PATCHING, and inside it those of the address space and the page allocator.

use crate::locking::Mutex;
use arch::patch::{Key, PatchError};
#[cfg(target_os = "none")]
use arch::patch::{OneCpu, SMP_LOCKS, Standstill, static_branch};

static PATCHING: Mutex<()> = Mutex::new(());

/// Why a key was not switched.
#[cfg(target_os = "none")]
pub type PatchFailure = PatchError<crate::mm::SpaceError>;
/// Why a key was not switched.
#[cfg(not(target_os = "none"))]
pub type PatchFailure = PatchError<core::convert::Infallible>;

/// Switches a key that may be switched while the kernel runs. Returns the number of sites that changed.
///
/// # Errors
/// A key that is decided at boot, or no memory for the tables that map the window.
#[cfg(target_os = "none")]
pub fn set_key(key: Key, on: bool) -> Result<usize, PatchFailure> {
    let _one = PATCHING.lock();
    let window = &mut crate::mm::PatchWindow::new();
    if !static_branch::<SMP_LOCKS>() {
        return arch::patch::set(key, on, window, &mut OneCpu);
    }
    let changed = arch::patch::set(key, on, window, &mut AllCpus);
    // From here on every CPU sees every site as it is: the way into an interrupt synchronises, but this says so.
    crate::smp::call::on_each_cpu(&arch::cpu::synchronize);
    changed
}

/// Sites that are changed while all CPUs wait.
const SITES: usize = 128;

/// All other CPUs, in their stoppers.
#[cfg(target_os = "none")]
struct AllCpus;

// SAFETY: `stop_machine` runs the function with interrupts masked on every CPU that is online; the others wait for it in a
// loop without a patch site, and execute an `isb` at its end, before they restore their interrupts.
#[cfg(target_os = "none")]
unsafe impl Standstill for AllCpus {
    fn sites(&self) -> usize {
        SITES
    }

    fn hold(&mut self, change: &(dyn Fn() + Sync)) {
        crate::sched::stop::stop_machine(change);
    }
}

/// A PC has no text to patch.
///
/// # Errors
/// A key that is decided at boot.
#[cfg(not(target_os = "none"))]
pub fn set_key(key: Key, on: bool) -> Result<usize, PatchFailure> {
    let _one = PATCHING.lock();
    if !key.is_switchable() {
        return Err(PatchError::BootOnly(key));
    }
    if on {
        arch::patch::enable(key);
    }
    Ok(0)
}
