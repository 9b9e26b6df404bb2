//! The host CPU.

/// Lets somebody else run.
pub fn relax() {
    std::thread::yield_now();
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
