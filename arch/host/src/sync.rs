//! What the portable protocols are made of. The models replace this module by loom's (tests/loom), and so run the very
//! code that includes it.

pub use core::sync::atomic::{AtomicU16, Ordering};

/// One turn of a loop that waits for another thread.
pub fn relax() {
    std::thread::yield_now();
}
