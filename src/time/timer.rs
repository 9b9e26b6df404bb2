//! The software timer: call a function at a time, or every so often.
//!
//! By default the function is called in the HRTIMER softirq ([`Timer::new`]): IRQs are open, so it delays no
//! interrupt, and after each function the softirq makes room for whoever is more important. It may not sleep.
//! In `preempt=rt` softirqs are threads, and it can be preempted. [`Timer::new_hard`] calls it in the timer
//! interrupt itself: nothing is more punctual, and it must be as short as an interrupt handler: wake
//! somebody, give a semaphore, count.
//!
//! **Periods** keep to a grid and do not drift. A point of the grid that passes without a call of its own is
//! an *overrun* of the next call (POSIX's meaning), so calls and overruns together are the points that have
//! passed. Times are never early.
//!
//! **Cancelling** does not race with expiry: once [`Timer::cancel`] has returned, the function is not running and
//! will not run, whatever interrupted what. Dropping the timer cancels it.
//!
//! Context: made and dropped in thread context; started, asked and [tried to be cancelled](Timer::try_cancel)
//! from any; cancelled from threads, from functions of timers (its own included), and, if it is hard, from any.

use super::forward::forward;
use super::hrtimer::{Hrtimer, Restart};
use super::soft::{self, Stopped};
use crate::error::{Error, Result};
use alloc::boxed::Box;
use arch::irqflags;
use core::fmt;
use core::mem::{ManuallyDrop, offset_of};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};

/// The shortest period: below it a timer would take the whole CPU.
pub const MIN_PERIOD_NS: u64 = 1000;

/// A timer with a function. See the module's text.
pub struct Timer {
    /// From a `Box`, which would claim to be the only way to it; its function knows another one.
    inner: NonNull<Inner>,
}

type Function = dyn Fn(&Timer) + Send + Sync;

#[repr(C)]
struct Inner {
    hrtimer: Hrtimer,
    is_soft: bool,
    /// 0: it calls once, or not at all.
    period_ns: AtomicU64,
    /// Of the last call.
    overruns: AtomicU64,
    /// Points that passed during the last call: overruns of the next one.
    skipped: AtomicU64,
    function: Box<Function>,
}

// SAFETY: the hrtimer's parts are touched under the lock of its base, the rest is atomic, and the function is `Send` and
// `Sync`.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

impl Timer {
    /// A stopped timer that will call `function` in the HRTIMER softirq.
    #[must_use]
    pub fn new(function: impl Fn() + Send + Sync + 'static) -> Self {
        Self::make(true, Box::new(move |_| function()))
    }

    /// A stopped timer that will call `function` in the timer interrupt, IRQs masked.
    #[must_use]
    pub fn new_hard(function: impl Fn() + Send + Sync + 'static) -> Self {
        Self::make(false, Box::new(move |_| function()))
    }

    /// As [`Timer::new`], for a function that wants its timer: to ask for overruns, start it anew, cancel it.
    #[must_use]
    pub fn with_self(function: impl Fn(&Self) + Send + Sync + 'static) -> Self {
        Self::make(true, Box::new(function))
    }

    /// As [`Timer::with_self`], in the timer interrupt.
    #[must_use]
    pub fn hard_with_self(function: impl Fn(&Self) + Send + Sync + 'static) -> Self {
        Self::make(false, Box::new(function))
    }

    fn make(is_soft: bool, function: Box<Function>) -> Self {
        let inner = Box::new(Inner {
            hrtimer: Hrtimer::new(),
            is_soft,
            period_ns: AtomicU64::new(0),
            overruns: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            function,
        });
        Self { inner: NonNull::from(Box::leak(inner)) }
    }

    #[inline(always)]
    fn inner(&self) -> &Inner {
        // SAFETY: from a `Box` that `drop` alone frees. What changes is in cells.
        unsafe { self.inner.as_ref() }
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

    /// Calls the function every `period_ns` nanoseconds, the first time one period from now: no drift, and what
    /// is missed is counted ([`Self::overruns`]). Replaces an earlier start.
    ///
    /// # Errors
    /// [`Error::BadTimerPeriod`] for a period below [`MIN_PERIOD_NS`]; then the timer is as it was.
    pub fn start_periodic(&self, period_ns: u64) -> Result<()> {
        self.start_periodic_at(super::now_ns().saturating_add(period_ns), period_ns)
    }

    /// As [`Self::start_periodic`], the first time when the monotonic clock shows `first_ns`; if that is past, the
    /// first call comes at once and has the points of the grid since then as its overruns.
    ///
    /// # Errors
    /// As [`Self::start_periodic`].
    pub fn start_periodic_at(&self, first_ns: u64, period_ns: u64) -> Result<()> {
        if period_ns < MIN_PERIOD_NS {
            return Err(Error::BadTimerPeriod { ns: period_ns as u32 });
        }
        self.start(first_ns, period_ns);
        Ok(())
    }

    fn start(&self, expires_ns: u64, period_ns: u64) {
        let inner = self.inner();
        let flags = irqflags::local_irq_save();
        inner.period_ns.store(period_ns, Ordering::Relaxed);
        inner.overruns.store(0, Ordering::Relaxed);
        inner.skipped.store(0, Ordering::Relaxed);
        match (inner.is_soft, period_ns) {
            (true, 0) => soft::start_irqs_off(&inner.hrtimer, expires_ns, soft_once),
            (true, _) => soft::start_irqs_off(&inner.hrtimer, expires_ns, soft_periodic),
            (false, 0) => inner.hrtimer.start_irqs_off(expires_ns, hard_once),
            (false, _) => inner.hrtimer.start_irqs_off(expires_ns, hard_periodic),
        }
        irqflags::local_irq_restore(flags);
    }

    /// Stops the timer; returns whether it was to call its function again. When this returns, the function is not
    /// running, unless it is the function that calls, and will not run until the next start.
    ///
    /// A function that runs on another CPU is waited for: so the caller holds no lock that the function takes. In
    /// `preempt=rt`, where the function of a soft timer can be preempted, the waiter lends it its priority.
    ///
    /// # Panics
    /// If it would have to wait for the function of a soft timer in an interrupt handler: there, use
    /// [`Self::try_cancel`].
    pub fn cancel(&self) -> bool {
        let mut was_started = false;
        loop {
            let (started, stopped) = self.stop();
            was_started |= started;
            if stopped != Stopped::Runs {
                return was_started;
            }
            if self.inner().is_soft {
                soft::wait_for_running(&self.inner().hrtimer);
            } else {
                // On another CPU, with its interrupts masked.
                arch::cpu::relax();
            }
        }
    }

    /// As [`Self::cancel`], without waiting.
    ///
    /// # Errors
    /// [`Error::Busy`] if the caller has interrupted the function, or it runs on another CPU. Then that call is the
    /// last, but it is not over yet.
    pub fn try_cancel(&self) -> Result<bool> {
        match self.stop() {
            (_, Stopped::Runs) => Err(Error::Busy),
            (was_started, _) => Ok(was_started),
        }
    }

    fn stop(&self) -> (bool, Stopped) {
        let inner = self.inner();
        let flags = irqflags::local_irq_save();
        // While its function runs, a periodic timer is not pending, and its period says that it will be.
        let was_periodic = inner.period_ns.load(Ordering::Relaxed) != 0;
        inner.period_ns.store(0, Ordering::Relaxed);
        let stopped =
            if inner.is_soft { soft::stop_irqs_off(&inner.hrtimer) } else { inner.hrtimer.stop_irqs_off() };
        irqflags::local_irq_restore(flags);
        (was_periodic || stopped == Stopped::WasPending, stopped)
    }

    /// Whether it will call its function again.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let inner = self.inner();
        let flags = irqflags::local_irq_save();
        let running = inner.hrtimer.is_pending_irqs_off() || inner.period_ns.load(Ordering::Relaxed) != 0;
        irqflags::local_irq_restore(flags);
        running
    }

    /// How many points of the grid passed before the last call, or the present one, without a call of their own.
    /// 0 if it came in its period, and for timers that are not periodic. Starting the timer sets it to 0.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.inner().overruns.load(Ordering::Relaxed)
    }
}

/// # Safety
/// `timer` is inside an `Inner`.
#[inline(always)]
unsafe fn inner_of(timer: &Hrtimer) -> &Inner {
    // SAFETY: by contract.
    unsafe { &*ptr::from_ref(timer).byte_sub(offset_of!(Inner, hrtimer)).cast::<Inner>() }
}

/// Calls the function. IRQs masked before and after.
#[inline(always)]
fn call<const SOFT: bool>(inner: &Inner) {
    let handle = ManuallyDrop::new(Timer { inner: NonNull::from(inner) });
    if SOFT {
        irqflags::local_irq_enable();
    }
    (inner.function)(&handle);
    if SOFT {
        irqflags::local_irq_disable();
    }
}

// The callbacks have names of their own, not those of one generic function: so an image says which of them is called with
// interrupts masked.

fn soft_once(timer: &Hrtimer) -> Restart {
    once::<true>(timer)
}

fn hard_once(timer: &Hrtimer) -> Restart {
    once::<false>(timer)
}

fn soft_periodic(timer: &Hrtimer) -> Restart {
    periodic::<true>(timer)
}

fn hard_periodic(timer: &Hrtimer) -> Restart {
    periodic::<false>(timer)
}

/// The callback of timers that call once.
#[inline(always)]
fn once<const SOFT: bool>(timer: &Hrtimer) -> Restart {
    // SAFETY: only `Timer::start` starts a timer with this callback.
    call::<SOFT>(unsafe { inner_of(timer) });
    Restart::No
}

/// The callback of timers that have a period.
#[inline(always)]
fn periodic<const SOFT: bool>(timer: &Hrtimer) -> Restart {
    // SAFETY: only `Timer::start` starts a timer with this callback.
    let inner = unsafe { inner_of(timer) };
    let period_ns = inner.period_ns.load(Ordering::Relaxed);
    if period_ns == 0 {
        // Another CPU has stopped it, or started it to call once, since it was taken off its tree.
        return Restart::No;
    }
    // This call stands for every point up to now.
    let late = forward(timer.expires_ns(), super::now_ns(), period_ns).saturating_sub(1);
    let served_ns = timer.expires_ns().saturating_add(late.saturating_mul(period_ns));
    inner.overruns.store(inner.skipped.load(Ordering::Relaxed) + late, Ordering::Relaxed);
    call::<SOFT>(inner);
    // The function, or an interrupt meanwhile, may have cancelled the timer, or started it anew: then it is
    // where it is to be.
    if inner.period_ns.load(Ordering::Relaxed) == 0 || timer.is_pending_irqs_off() {
        return Restart::No;
    }
    // Never for a point that has passed: a function that takes longer than its period leaves time to others.
    let periods = forward(served_ns, super::now_ns(), period_ns);
    inner.skipped.store(periods.saturating_sub(1), Ordering::Relaxed);
    Restart::At(served_ns.saturating_add(periods.saturating_mul(period_ns)))
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The running function is part of the timer, and may have reached it.
        let in_function = {
            let flags = irqflags::local_irq_save();
            let own = soft::called_by(&self.inner().hrtimer);
            irqflags::local_irq_restore(flags);
            own
        };
        assert!(
            crate::preempt::in_task() && !in_function,
            "a timer is dropped in {}; expected thread context",
            if crate::preempt::in_hardirq() { "a hard interrupt" } else { "a softirq or its own function" }
        );
        self.cancel();
        // SAFETY: made by `Box` in `make`, and freed here alone: neither pending nor running, nobody else
        // knows it.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("expires_ns", &self.inner().hrtimer.expires_ns())
            .field("period_ns", &self.inner().period_ns.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
