//! Stand-in for the softirqs of `irq`: runs at the end of the timer interrupt, inside it.
#![forbid(unsafe_code)]

use super::hrtimer::Base;
use core::sync::atomic::{AtomicBool, Ordering};

/// The vectors that timers know.
pub enum Vector {
    /// Soft timers.
    Hrtimer = 8,
}

static PENDING: AtomicBool = AtomicBool::new(false);

pub fn open_softirq(_: Vector, _: fn()) {}

pub fn raise_softirq_irqoff(_: Vector) {
    PENDING.store(true, Ordering::Relaxed);
}

#[inline(always)]
pub(super) fn irq_exit(base: &Base) {
    if PENDING.swap(false, Ordering::Relaxed) {
        arch::thread_info::preempt_count_sub(arch::HARDIRQ_OFFSET - 0x100);
        super::soft::run();
        arch::thread_info::preempt_count_add(arch::HARDIRQ_OFFSET - 0x100);
        if PENDING.swap(false, Ordering::Relaxed) {
            // The rest in another interrupt.
            base.soft_raised.set(false);
            base.arm_soft(base.soft.first_ns());
        }
    }
}
