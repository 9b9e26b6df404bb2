//! A value that is made once: by the first task that needs it, while the others sleep.
//!
//! Who makes it holds a lock with priority inheritance, so a task of low priority that is at it is not kept from it by
//! those between it and a task that waits. Afterwards a look is one load.
//!
//! Context: threads; `get` from any. Lock: the PI lock, in the first use.

use super::dep::Dep;
use super::raw_mutex::RawMutex;
use crate::preempt;
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, Ordering};

/// A place for a value that is made once.
pub struct Once<T> {
    made: AtomicBool,
    making: RawMutex,
    dep: Dep,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written once, by the owner of `making`, before `made` says so, and shared from then on. `Send`:
// it may be made by one task and dropped by another.
unsafe impl<T: Send + Sync> Sync for Once<T> {}
// SAFETY: owning the place is owning the value.
unsafe impl<T: Send> Send for Once<T> {}

impl<T> Once<T> {
    /// Nothing yet. Messages name it by the place of the call.
    #[must_use]
    #[track_caller]
    pub const fn new() -> Self {
        Self {
            made: AtomicBool::new(false),
            making: RawMutex::new(),
            dep: Dep::sleep(),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// The value, if it is there. Any context.
    #[inline(always)]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: `made` was set behind the one write of the value.
        self.made.load(Ordering::Acquire).then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// The value; made by `make` if it is not there, or waited for while another task makes it.
    ///
    /// # Panics
    /// If `make` needs the value itself.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        preempt::might_sleep();
        match self.get() {
            Some(value) => value,
            None => self.init(make),
        }
    }

    #[cold]
    #[inline(never)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn init(&self, make: impl FnOnce() -> T) -> &T {
        self.dep.acquire();
        self.making.lock();
        if !self.made.load(Ordering::Relaxed) {
            let value = make();
            // SAFETY: the owner of `making`, and nobody looks before `made` is set.
            unsafe { (*self.value.get()).write(value) };
            self.made.store(true, Ordering::Release);
        }
        self.dep.release();
        self.making.unlock();
        // SAFETY: made, here or by the owner before.
        unsafe { (*self.value.get()).assume_init_ref() }
    }
}

impl<T> Default for Once<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Once<T> {
    fn drop(&mut self) {
        if *self.made.get_mut() {
            // SAFETY: made, and dropped once.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Once").field(&self.get()).finish()
    }
}

/// A value that is made at its first use. For statics: `static TABLE: Lazy<Table> = Lazy::new(Table::compute);`
#[derive(Debug)]
pub struct Lazy<T, F = fn() -> T> {
    once: Once<T>,
    make: F,
}

impl<T, F: Fn() -> T> Lazy<T, F> {
    /// A value that `make` will make.
    #[must_use]
    #[track_caller]
    pub const fn new(make: F) -> Self {
        Self { once: Once::new(), make }
    }

    /// The value; thread context.
    #[inline]
    pub fn force(&self) -> &T {
        self.once.get_or_init(&self.make)
    }
}

impl<T, F: Fn() -> T> Deref for Lazy<T, F> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.force()
    }
}
