//! A message queue of fixed capacity.
//!
//! FIFO; the most important waiting task is served first. A message sent while somebody waits for one is
//! written straight to where the receiver wants it, and a receiver that makes room puts the message of the
//! most important waiting sender in: the woken task finds its call done (Linux's mqueue does the same).
//!
//! Allocates nothing; the messages live in the queue. Context: `try_*` from any, the others from threads.

use crate::error::{Error, Result};
use crate::locking::{SchedLock, SchedLockGuard};
use crate::plist::PlistHead;
use crate::sched::wait::{self, Timeout};
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ptr;

/// A queue of at most `N` messages. Meant for small `T`: a message is copied with interrupts masked.
pub struct MsgQueue<T, const N: usize> {
    inner: SchedLock<Inner<T, N>>,
}

struct Inner<T, const N: usize> {
    head: Cell<usize>,
    len: Cell<usize>,
    senders: PlistHead,
    receivers: PlistHead,
    ring: UnsafeCell<[MaybeUninit<T>; N]>,
}

// SAFETY: the ring is reached under the lock alone, and messages move from task to task (`Send`).
unsafe impl<T: Send, const N: usize> Send for Inner<T, N> {}

impl<T, const N: usize> Inner<T, N> {
    /// The caller holds the lock and there is room.
    #[inline(always)]
    fn push(&self, message: T) {
        let mut at = self.head.get() + self.len.get();
        if at >= N {
            at -= N;
        }
        // SAFETY: `at < N`, a free place, and the lock is held.
        unsafe { self.ring.get().cast::<MaybeUninit<T>>().add(at).write(MaybeUninit::new(message)) };
        self.len.set(self.len.get() + 1);
    }

    /// The caller holds the lock and there is a message.
    #[inline(always)]
    fn pop(&self) -> T {
        let at = self.head.get();
        self.head.set(if at + 1 == N { 0 } else { at + 1 });
        self.len.set(self.len.get() - 1);
        // SAFETY: the place at `head` holds the oldest message, and the lock is held.
        unsafe { self.ring.get().cast::<MaybeUninit<T>>().add(at).read().assume_init() }
    }
}

impl<T: Send, const N: usize> MsgQueue<T, N> {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(N > 0, "a queue has room for a message") };
        Self {
            inner: SchedLock::new(Inner {
                head: Cell::new(0),
                len: Cell::new(0),
                senders: PlistHead::new(),
                receivers: PlistHead::new(),
                ring: UnsafeCell::new([const { MaybeUninit::uninit() }; N]),
            }),
        }
    }

    /// Puts a message in, waiting for room if there is none. May switch to the receiver.
    #[inline]
    pub fn put(&self, message: T) {
        crate::preempt::might_resched();
        // `Never` cannot fail, so there is nothing to hand back.
        self.put_or(message, Timeout::Never, (), |_, _| ());
    }

    /// Puts a message in if there is room.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], with the message back.
    #[inline]
    pub fn try_put(&self, message: T) -> core::result::Result<(), (Error, T)> {
        self.put_timeout(message, Timeout::Now)
    }

    /// Puts a message in, waiting as `timeout` says.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::WouldBlock`], with the message back.
    #[inline]
    pub fn put_timeout(&self, message: T, timeout: Timeout) -> core::result::Result<(), (Error, T)> {
        self.put_or(message, timeout, Ok(()), |error, message| Err((error, message)))
    }

    /// Puts a message in and answers `done`, or what `failed` makes of the reason and the message. A caller for whom
    /// the latter is nothing does not carry the place for a message through the wake-up.
    #[inline(always)]
    fn put_or<R>(&self, message: T, timeout: Timeout, done: R, failed: impl FnOnce(Error, T) -> R) -> R {
        let inner = self.inner.lock();
        if inner.receivers.is_empty() && inner.len.get() < N {
            inner.push(message);
            inner.unlock_no_resched();
            return done;
        }
        Self::put_slow(inner, message, timeout, done, failed)
    }

    /// Hands the message to a receiver, or waits for room.
    #[inline(never)]
    fn put_slow<R>(
        inner: SchedLockGuard<'_, Inner<T, N>>,
        message: T,
        timeout: Timeout,
        done: R,
        failed: impl FnOnce(Error, T) -> R,
    ) -> R {
        if let Some(receiver) = wait::first(&inner.receivers) {
            // SAFETY: the slot is the receiver's place for it, on a stack that waits.
            unsafe { receiver.wait.slot().cast::<MaybeUninit<T>>().write(MaybeUninit::new(message)) };
            wait::grant_and_unlock(inner, |i| &i.receivers, receiver);
            return done;
        }
        let mut message = MaybeUninit::new(message);
        match wait::block_for(inner, |i| &i.senders, ptr::from_mut(&mut message).cast(), timeout) {
            // The receiver that made room has moved the message out of this frame.
            Ok(()) => done,
            // SAFETY: nobody took it: it is still here.
            Err(error) => failed(error, unsafe { message.assume_init() }),
        }
    }

    /// Takes the oldest message, waiting for one if there is none.
    #[inline]
    pub fn get(&self) -> T {
        crate::preempt::might_resched();
        match self.get_timeout(Timeout::Never) {
            Ok(message) => message,
            Err(_) => unreachable!("waiting for ever does not time out"),
        }
    }

    /// Takes the oldest message if there is one.
    ///
    /// # Errors
    /// [`Error::WouldBlock`].
    #[inline]
    pub fn try_get(&self) -> Result<T> {
        self.get_timeout(Timeout::Now)
    }

    /// Takes the oldest message, waiting as `timeout` says.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::WouldBlock`].
    #[inline]
    pub fn get_timeout(&self, timeout: Timeout) -> Result<T> {
        let inner = self.inner.lock();
        if inner.len.get() > 0 {
            let message = inner.pop();
            let Some(sender) = wait::first(&inner.senders) else {
                inner.unlock_no_resched();
                return Ok(message);
            };
            // SAFETY: the slot is the waiting sender's message; the sender forgets it when granted.
            inner.push(unsafe { sender.wait.slot().cast::<MaybeUninit<T>>().read().assume_init() });
            wait::grant_and_unlock(inner, |i| &i.senders, sender);
            return Ok(message);
        }
        let mut message = MaybeUninit::<T>::uninit();
        wait::block_for(inner, |i| &i.receivers, ptr::from_mut(&mut message).cast(), timeout)?;
        // SAFETY: granted means that a sender wrote it.
        Ok(unsafe { message.assume_init() })
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let inner = self.inner.lock();
        let len = inner.len.get();
        inner.unlock_no_resched();
        len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send, const N: usize> Default for MsgQueue<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> Drop for Inner<T, N> {
    fn drop(&mut self) {
        while self.len.get() > 0 {
            drop(self.pop());
        }
    }
}
