//! Patching the text while the kernel runs: [`arch::patch::set`] with its lock and its window.
//!
//! Invariant: one thread at a time; the window is mapped only while it holds the lock, so writable text exists for the
//! time of a switch and not longer, at an address at which it cannot be executed.
//!
//! Context: threads. Locks: PATCHING, and inside it those of the address space and the page allocator.
#![forbid(unsafe_code)]

use crate::locking::Mutex;
use arch::patch::{Key, PatchError};

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
    arch::patch::set(key, on, &mut crate::mm::PatchWindow::new())
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
