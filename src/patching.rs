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

/// By the number of a key: who uses it, a bit for each [`User`].
static PATCHING: Mutex<[u8; 32]> = Mutex::new([0; 32]);

/// Who wants a key on: it is off when nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum User {
    /// What the key is named for.
    Owner = 1,
    /// Tracing, of events for which the key has its hooks already.
    Trace = 2,
}

/// Notes whether `user` wants `key`, and says whether anybody does.
fn note(users: &mut [u8; 32], user: User, key: Key, on: bool) -> bool {
    let of_key = &mut users[key as usize];
    if *of_key == 0 && arch::patch::is_enabled(key) {
        // It was switched on at boot.
        *of_key = User::Owner as u8;
    }
    if on {
        *of_key |= user as u8;
    } else {
        *of_key &= !(user as u8);
    }
    *of_key != 0
}

/// [`set_key_for`] what the key is named for.
///
/// # Errors
/// As there.
pub fn set_key(key: Key, on: bool) -> Result<usize, PatchFailure> {
    set_key_for(User::Owner, key, on)
}

/// Why a key was not switched.
#[cfg(target_os = "none")]
pub type PatchFailure = PatchError<crate::mm::SpaceError>;
/// Why a key was not switched.
#[cfg(not(target_os = "none"))]
pub type PatchFailure = PatchError<core::convert::Infallible>;

/// Switches a key that may be switched while the kernel runs; off, if no other user wants it. Returns the number of sites that
/// changed.
///
/// # Errors
/// A key that is decided at boot, or no memory for the tables that map the window.
#[cfg(target_os = "none")]
pub fn set_key_for(user: User, key: Key, on: bool) -> Result<usize, PatchFailure> {
    let mut users = PATCHING.lock();
    let on = note(&mut users, user, key, on);
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
pub fn set_key_for(user: User, key: Key, on: bool) -> Result<usize, PatchFailure> {
    let mut users = PATCHING.lock();
    let on = note(&mut users, user, key, on);
    if !key.is_switchable() {
        return Err(PatchError::BootOnly(key));
    }
    if on {
        arch::patch::enable(key);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_on_while_anybody_wants_it() {
        let mut users = [0; 32];
        let mut note = |user, on| note(&mut users, user, Key::PreemptStats, on);
        assert!(note(User::Owner, true));
        assert!(note(User::Trace, true));
        assert!(note(User::Owner, false));
        assert!(note(User::Trace, true));
        assert!(!note(User::Trace, false));
        assert!(!note(User::Owner, false));
    }
}
