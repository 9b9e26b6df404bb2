//! Locks, and what to use when.
//!
//! | type | masks IRQs | preemption | may the section sleep | for |
//! |---|---|---|---|---|
//! | [`SpinLock`] | no | off | no | short sections between threads |
//! | [`SpinLockIrqSave`] | yes | off | no | data shared with an interrupt handler |
//! | [`RawSpinLock`] | no | off | no | as `SpinLock`, where it must not sleep in any model |
//! | [`RawSpinLockIrqSave`] | yes | off | no | as `SpinLockIrqSave`, in every model |
//! | [`SchedLock`] | yes | (masked) | no | the kernel's own queues: a few dozen instructions |
//! | [`Mutex`] | no | on | yes | everything longer |
//! | [`RwLock`] | no | on | yes | as `Mutex`, where many only look |
//! | [`SeqLock`] | writers | (masked) | no | a small value that is read everywhere and all the time |
//!
//! [`Mutex`] and what is made of its lock ([`RwLock`], [`Once`], [`Lazy`]) has priority inheritance. [`Condvar`],
//! [`Semaphore`], [`Completion`] and [`WaitQueue`] belong to nobody, so there is nobody to boost.
//!
//! That is the model `full`; what `rt` and the event-driven style make of the first four is in `spin`.
//!
//! On one CPU the lock word is not there: the marker is the lock (K2). The word is patched in when there
//! is a second CPU, or by `smp_locks=1` (`arch::patch`). It is a ticket lock: first come, first served
//! (`raw`, docs/adr/0014).
//!
//! Lock order: see docs/locking.md.

mod completion;
mod condvar;
pub(crate) mod dep;
#[cfg(debug_assertions)]
mod holder;
mod mutex;
mod once;
pub(crate) mod pi;
mod raw;
pub(crate) mod raw_mutex;
mod rwlock;
mod sched_lock;
mod semaphore;
mod seqlock;
mod spin;
mod spin_bh;
mod spin_kind;
mod wait_queue;

pub use completion::Completion;
pub use condvar::Condvar;
pub use mutex::{Mutex, MutexGuard};
pub use once::{Lazy, Once};
pub(crate) use raw::RawLock;
#[cfg(debug_assertions)]
pub(crate) use raw::Yield;
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use sched_lock::{Far, Near, Reach, SchedLock, SchedLockGuard};
pub use semaphore::Semaphore;
pub use seqlock::{Plain, SeqLock};
pub use spin::{
    RawSpinLock, RawSpinLockGuard, RawSpinLockIrqSave, RawSpinLockIrqSaveGuard, SpinLock, SpinLockGuard,
    SpinLockIrqSave, SpinLockIrqSaveGuard,
};
pub use spin_bh::{SpinLockBhGuard, spin_lock_bh};
pub use wait_queue::WaitQueue;
