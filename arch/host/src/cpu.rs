//! The host CPU.

/// Lets somebody else run.
pub fn relax() {
    std::thread::yield_now();
}
/// A PC test has no idle loop.
pub fn wait_for_interrupt() {
    std::thread::yield_now();
}
