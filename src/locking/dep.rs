//! A lock's part in the validation of the lock order (`lockdep`): in debug builds its class, in release builds nothing,
//! of no size and no instruction.
//!
//! Every kind of lock has one of these and calls it where it is taken and released; what is below it, the words and
//! mutexes that a lock is made of, has one too if it can be taken alone, and is [`Dep::none`] if not.
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
    key: Option<LockKey>,
}

impl Dep {
    /// Of a part of another lock, which is validated in its place.
    #[expect(dead_code, reason = "for spin locks that are made of a word and a mutex")]
    pub(crate) const fn none() -> Self {
        Self {
            #[cfg(debug_assertions)]
            key: None,
        }
    }

    /// Of a lock that spins in every model, made by the caller.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) const fn raw() -> Self {
        Self {
            #[cfg(debug_assertions)]
            key: Some(LockKey::new(Kind::Raw)),
        }
    }

    /// Of a lock that sleeps in every model, made by the caller.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) const fn sleep() -> Self {
        Self {
            #[cfg(debug_assertions)]
            key: Some(LockKey::new(Kind::Sleep)),
        }
    }

    /// The lock is about to be taken, as long as that may take. Interrupts are as they will be while it is held.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn acquire(&self) {
        #[cfg(debug_assertions)]
        if let Some(key) = &self.key {
            lockdep::acquire(key);
        }
    }

    /// The lock was taken without waiting.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn acquired_by_trying(&self) {
        #[cfg(debug_assertions)]
        if let Some(key) = &self.key {
            lockdep::acquired_by_trying(key);
        }
    }

    /// The lock is about to be released, or was not taken after all.
    #[inline(always)]
    pub(crate) fn release(&self) {
        #[cfg(debug_assertions)]
        if let Some(key) = &self.key {
            lockdep::release(key);
        }
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
