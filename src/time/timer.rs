//! The software timer: call a function at a time, or every so often.
//!
//! The function runs in hard-interrupt context and must be as short as an interrupt handler: wake somebody,
//! give a semaphore, count. Dropping the timer cancels it.

use super::hrtimer::{Hrtimer, Restart};
use crate::error::{Error, Result};
use alloc::boxed::Box;
use arch::irqflags;
use core::cell::Cell;
use core::fmt;
use core::mem::offset_of;
use core::ptr;

/// A timer with a function. Made, started and dropped in thread context.
pub struct Timer {
    inner: Box<Inner>,
}

#[repr(C)]
struct Inner {
    hrtimer: Hrtimer,
    period_ns: Cell<u64>,
    function: Box<dyn Fn() + Send + Sync>,
}

// SAFETY: the cells are touched with IRQs masked on the CPU that runs the timer; one CPU is online.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

impl Timer {
    /// A stopped timer that will call `function`.
    #[must_use]
    pub fn new(function: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            inner: Box::new(Inner {
                hrtimer: Hrtimer::new(),
                period_ns: Cell::new(0),
                function: Box::new(function),
            }),
        }
    }

    /// Calls the function once, `ns` nanoseconds from now. Replaces an earlier start.
    pub fn start_once(&self, ns: u64) {
        self.start(super::now_ns().saturating_add(ns), 0);
    }

    /// Calls the function once, when the monotonic clock shows `expires_ns`; at once if that is past. Replaces
    /// an earlier start.
    pub fn start_at(&self, expires_ns: u64) {
        self.start(expires_ns, 0);
    }

    /// Calls the function every `period_ns` nanoseconds on a grid that begins now: no drift. If an expiry
    /// comes so late that the next one is past too, the missed ones are left out.
    ///
    /// # Errors
    /// [`Error::Busy`] for a period below 1 µs: the timer would take the whole CPU.
    pub fn start_periodic(&self, period_ns: u64) -> Result<()> {
        if period_ns < 1000 {
            return Err(Error::Busy);
        }
        self.start(super::now_ns().saturating_add(period_ns), period_ns);
        Ok(())
    }

    fn start(&self, expires_ns: u64, period_ns: u64) {
        let flags = irqflags::local_irq_save();
        self.inner.period_ns.set(period_ns);
        self.inner.hrtimer.start_irqs_off(expires_ns, expired);
        irqflags::local_irq_restore(flags);
    }

    /// Stops the timer; returns whether it was running. Its function is not running when this returns, unless
    /// it is the function that calls: a periodic timer that is cancelled by its function does not run again.
    pub fn cancel(&self) -> bool {
        let flags = irqflags::local_irq_save();
        // While its function runs, a periodic timer is not pending, and its period says that it will be.
        let was_periodic = self.inner.period_ns.replace(0) != 0;
        let was_pending = self.inner.hrtimer.cancel_irqs_off();
        irqflags::local_irq_restore(flags);
        was_pending || was_periodic
    }

    /// Whether it will call its function again.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let flags = irqflags::local_irq_save();
        let pending = self.inner.hrtimer.is_pending_irqs_off();
        irqflags::local_irq_restore(flags);
        pending
    }
}

fn expired(timer: &Hrtimer) -> Restart {
    // SAFETY: only `Timer` starts a timer with this callback, and it is inside an `Inner`.
    let inner = unsafe { &*ptr::from_ref(timer).byte_sub(offset_of!(Inner, hrtimer)).cast::<Inner>() };
    (inner.function)();
    let period_ns = inner.period_ns.get();
    // The function may have cancelled the timer, or started it anew: then it is where it wants to be.
    if period_ns == 0 || timer.is_pending_irqs_off() {
        return Restart::No;
    }
    let now_ns = super::now_ns();
    let due_ns = timer.expires_ns();
    // The first point of the grid that is after now (reference 6.3, `forward`).
    let periods = now_ns.saturating_sub(due_ns) / period_ns + 1;
    Restart::At(due_ns + periods * period_ns)
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The running function is part of the timer, and may have reached it.
        assert!(
            !crate::preempt::in_hardirq(),
            "a timer is dropped in a hard interrupt; expected thread context"
        );
        self.cancel();
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("expires_ns", &self.inner.hrtimer.expires_ns()).finish_non_exhaustive()
    }
}
