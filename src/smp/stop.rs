//! The end of all CPUs: the one that panics stops the others, and says where they were.
//!
//! Context: any, everything masked. Locks: none.

use arch::irqflags;

/// Stops the calling CPU for good. From its interrupt.
pub(crate) fn stop_this_cpu() -> ! {
    irqflags::mask_all();
    arch::psci::stop()
}
