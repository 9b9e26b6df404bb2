//! Locks, and what to use when.
//!
//! | type | masks IRQs | preemption | may the section sleep | for |
//! |---|---|---|---|---|
//! | [`SpinLock`] | no | off | no | short sections between threads |
//! | [`SpinLockIrqSave`] | yes | off | no | data shared with an interrupt handler |
//! | [`RawSpinLock`] | no | off | no | as `SpinLock`, and stays one when `SpinLock` learns to sleep |
//! | [`SchedLock`] | yes | (masked) | no | the kernel's own queues: a few dozen instructions |
//! | [`Mutex`] | no | on | yes | everything longer |
//!
//! On one CPU the lock word is not there: the marker is the lock (K2). The word is patched in when there
//! is a second CPU, or by `smp_locks=1` (`arch::patch`).
//!
//! Lock order: see docs/locking.md.

mod completion;
mod mutex;
pub(crate) mod pi;
mod raw;
pub(crate) mod raw_mutex;
mod sched_lock;
mod semaphore;
mod spin;
mod wait_queue;

pub use completion::Completion;
pub use mutex::{Mutex, MutexGuard};
pub(crate) use raw::RawLock;
#[cfg(debug_assertions)]
pub(crate) use raw::Yield;
pub use sched_lock::{SchedLock, SchedLockGuard};
pub use semaphore::Semaphore;
pub use spin::{
    RawSpinLock, RawSpinLockGuard, SpinLock, SpinLockGuard, SpinLockIrqSave, SpinLockIrqSaveGuard,
};
pub use wait_queue::WaitQueue;
