//! What the lock-free protocols are made of: the atomics of the core library.
//!
//! The models (tests/loom) compile the same files with this module replaced by loom's, and so try every order in which
//! the CPUs may come, and every value that their loads may see. What is written in its terms alone is in the models as
//! it is in the kernel.
#![forbid(unsafe_code)]

pub(crate) use core::sync::atomic::{AtomicPtr, Ordering};
