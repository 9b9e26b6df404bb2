//! The host CPU.

/// Lets somebody else run.
pub fn relax() {
    std::thread::yield_now();
}
/// Waits for `word` to be something else than `value`, or less.
pub fn wait_while(word: &std::sync::atomic::AtomicU32, value: u32) {
    if word.load(std::sync::atomic::Ordering::Relaxed) == value {
        relax();
    }
}
/// A PC test has no idle loop.
pub fn wait_for_interrupt() {
    std::thread::yield_now();
}

/// Runs `f` with IRQs masked.
pub fn with_irqs_masked<R>(f: impl FnOnce() -> R) -> R {
    let flags = crate::irqflags::local_irq_save();
    let result = f();
    crate::irqflags::local_irq_restore(flags);
    result
}

/// There is no interrupt to take.
pub fn synchronize() {}

/// Nothing to wait for.
pub fn complete_maintenance() {}
