//! A lock's part in the validation of the lock order (`lockdep`): in debug builds its class, in release builds nothing,
//! of no size and no instruction.
//!
//! Every kind of lock has one of these and calls it where it is taken and released. The mutex inside other locks has
//! none: they are validated in its place.
//!
//! Context: any. Locks: none.
#![forbid(unsafe_code)]

use crate::error::Result;
#[cfg(debug_assertions)]
use crate::lockdep::{self, Kind, LockKey};
use crate::sched::wait::Timeout;

/// See the module's text.
pub(crate) struct Dep {
    #[cfg(debug_assertions)]
    key: LockKey,
}

impl Dep {
    /// Of a lock that spins in every model, made by the caller.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) const fn raw() -> Self {
        Self {
            #[cfg(debug_assertions)]
            key: LockKey::new(Kind::Raw),
        }
    }

    /// Of a lock that sleeps in some models, made by the caller.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) const fn spin() -> Self {
        Self {
            #[cfg(debug_assertions)]
            key: LockKey::new(Kind::Spin),
        }
    }

    /// Of a lock that sleeps in every model, made by the caller.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) const fn sleep() -> Self {
        Self {
            #[cfg(debug_assertions)]
            key: LockKey::new(Kind::Sleep),
        }
    }

    /// Where the lock was made.
    #[cfg(debug_assertions)]
    #[inline(always)]
    pub(super) fn made_at(&self) -> crate::lockdep::Place {
        self.key.made_at()
    }

    /// The lock is about to be taken, as long as that may take. Interrupts are as they will be while it is held.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn acquire(&self) {
        #[cfg(debug_assertions)]
        lockdep::acquire(&self.key);
    }

    /// The lock was taken without waiting.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn acquired_by_trying(&self) {
        #[cfg(debug_assertions)]
        lockdep::acquired_by_trying(&self.key);
    }

    /// The lock is about to be released, or was not taken after all.
    #[inline(always)]
    pub(crate) fn release(&self) {
        #[cfg(debug_assertions)]
        lockdep::release(&self.key);
    }

    /// Around a `take` that may give up. What does not wait has no part in a deadlock.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn acquire_timeout(&self, timeout: Timeout, take: impl FnOnce() -> Result<()>) -> Result<()> {
        if timeout != Timeout::Now || !cfg!(debug_assertions) {
            self.acquire();
            return take().inspect_err(|_| self.release());
        }
        take()?;
        self.acquired_by_trying();
        Ok(())
    }
}
