//! Soft expiry: timers whose callbacks run in the HRTIMER softirq, with IRQs open.
//!
//! The timer interrupt finds that the first soft timer is due and raises the softirq; until the softirq has
//! caught up, the hardware is not set to soft expiries any more. The softirq takes the due timers one by
//! one. After each it looks whether somebody more important wants the CPU, and then leaves the rest to the
//! softirq's next run: so one callback is the longest that a storm of timers holds a task up.
//!
//! **Cancelling.** A callback can be interrupted, so somebody may cancel a timer whose callback runs. The base
//! says which that is. On the callback's CPU it can be an interrupt handler, which must not wait
//! ([`Stopped::Runs`] is its answer). On another one it waits in a loop: the runner cannot be preempted. Where
//! softirqs are threads it can, and the one who cancels is a task: it waits on `EXPIRY`, the lock under which the
//! callbacks of a CPU run there, and so lends the runner its priority.
//!
//! Invariants: `running` is the timer whose callback has been entered and not been left; while a callback runs,
//! `soft_raised` is set, so that whoever starts a soft timer leaves the hardware to the end of the run.
//! Context: starting and cancelling from any, IRQs masked; `run` in the softirq. Lock: the timer base;
//! `EXPIRY` (a `SpinLock`, `preempt=rt` alone) outside of it.

use super::hrtimer::{self, BASE, Base, Callback, Hrtimer, Restart, program};
use super::remote;
use crate::irq::softirq::{self, Vector};
use crate::locking::{SpinLock, SpinLockGuard};
use crate::per_cpu;
use crate::{preempt, task, trace};
use arch::irqflags;
use arch::patch::{RT, SMP_LOCKS, static_branch};
use core::ptr;

/// The most callbacks of one run of the softirq, if nobody wants the CPU: functions that start their timers
/// anew for a time that has passed must not keep it for ever.
pub const EXPIRED_PER_SOFTIRQ: usize = 16;

per_cpu! {
    /// Held while a callback runs, where softirqs are threads: in `rt`, where it sleeps. Inside the bottom-half lock.
    static EXPIRY: SpinLock<()> = SpinLock::new(());
}

/// What [`stop_irqs_off`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It was not pending, and does not run but for the caller.
    Idle,
    /// It was pending and is not any more.
    WasPending,
    /// It is not pending, but its callback is running under the caller's feet.
    Runs,
}

/// Starts `timer` on this CPU as a soft one, or moves it. As [`Hrtimer::start_irqs_off`].
pub(super) fn start_irqs_off(timer: &Hrtimer, expires_ns: u64, callback: Callback) {
    debug_assert!(irqflags::irqs_disabled());
    trace::hrtimer_start_soft(timer, callback, expires_ns);
    if static_branch::<SMP_LOCKS>() {
        return remote::start::<{ remote::SOFT }>(timer, expires_ns, callback);
    }
    // SAFETY: IRQs are masked.
    let base = unsafe { BASE.this_cpu() };
    base.lock::<false>();
    if timer.link.is_linked() {
        remove(base, timer);
    }
    timer.callback.set(Some(callback));
    insert(base, timer, expires_ns);
    // SAFETY: taken above.
    unsafe { base.unlock::<false>() };
}

/// Takes a soft timer back. IRQs masked. A callback that runs is not waited for.
pub(super) fn stop_irqs_off(timer: &Hrtimer) -> Stopped {
    debug_assert!(irqflags::irqs_disabled());
    if static_branch::<SMP_LOCKS>() {
        return remote::stop_soft(timer);
    }
    // SAFETY: IRQs are masked.
    let base = unsafe { BASE.this_cpu() };
    let pending = timer.link.is_linked();
    if pending {
        trace::hrtimer_cancel(timer);
        base.lock::<false>();
        remove(base, timer);
        // SAFETY: taken above.
        unsafe { base.unlock::<false>() };
    }
    runs_or(base, timer, pending)
}

/// What a stop has found, once the timer is in no tree.
#[inline(always)]
pub(super) fn runs_or(base: &Base, timer: &Hrtimer, was_pending: bool) -> Stopped {
    if ptr::eq(base.running.get(), timer) && !called_by_runner(base) {
        Stopped::Runs
    } else if was_pending {
        Stopped::WasPending
    } else {
        Stopped::Idle
    }
}

/// Whether the running code is called by the soft callback that runs on `base`, rather than having interrupted it or
/// running beside it. IRQs masked.
fn called_by_runner(base: &Base) -> bool {
    // Softirqs that are no threads cannot be preempted: on their CPU only an interrupt comes in between.
    base.is_this_cpus()
        && !preempt::in_hardirq()
        && (!static_branch::<RT>() || ptr::eq(base.runner.get(), task::current()))
}

/// Whether the running code is called by `timer`'s callback. IRQs masked.
pub(super) fn called_by(timer: &Hrtimer) -> bool {
    // SAFETY: IRQs are masked.
    let base = unsafe { BASE.this_cpu() };
    ptr::eq(base.running.get(), timer) && called_by_runner(base)
}

/// Waits until the callback of `timer`, which was found running, may have returned. In `rt` from thread context, lending
/// its runner the caller's priority.
#[cold]
pub(super) fn wait_for_running(timer: &Hrtimer) {
    let rt = static_branch::<RT>();
    assert!(
        if rt { preempt::preemptible() } else { !preempt::in_hardirq() },
        "Timer::cancel would wait for the timer's function, which is running (preempt count {:#x}); \
         expected try_cancel here",
        preempt::preempt_count()
    );
    if rt {
        // SAFETY: the lock may be anybody's; its CPU is there, because it runs the timer.
        drop(unsafe { EXPIRY.of(remote::cpu_of(timer)) }.lock());
    } else {
        arch::cpu::relax();
    }
}

/// The timer is in no tree; the base is locked.
#[inline(always)]
pub(super) fn insert(base: &Base, timer: &Hrtimer, expires_ns: u64) {
    timer.set_expires_ns(expires_ns);
    // SAFETY: it is in no tree, and pinned while it is pending (contract of `start_irqs_off`).
    if unsafe { base.soft.insert(timer) } && !base.soft_raised.get() {
        base.arm_soft_first(expires_ns);
    }
}

/// The timer is pending as a soft one; the base is locked.
#[inline(always)]
pub(super) fn remove(base: &Base, timer: &Hrtimer) {
    // SAFETY: linked, and it is started as a soft timer only.
    if unsafe { base.soft.remove(timer) } && !base.soft_raised.get() {
        base.arm_soft(base.soft.first_ns());
    }
}

/// The first soft timer is due, and the base says so: from the timer interrupt, no lock held.
#[cold]
#[inline(never)]
pub(super) fn raise() {
    softirq::raise_softirq_irqoff(Vector::Hrtimer);
}

/// The HRTIMER softirq. IRQs open.
pub(super) fn run() {
    if static_branch::<SMP_LOCKS>() { run_due::<true>() } else { run_due::<false>() }
}

fn run_due<const SMP: bool>() {
    for _ in 0..EXPIRED_PER_SOFTIRQ {
        arch::bound!(EXPIRED_PER_SOFTIRQ);
        // Before the timer is taken off: whoever finds the callback running must find the lock taken.
        let expiry = static_branch::<RT>().then(lock_expiry);
        let flags = irqflags::local_irq_save();
        // SAFETY: IRQs are masked.
        let base = unsafe { BASE.this_cpu() };
        base.lock::<SMP>();
        if let Some(timer) = base.soft.pop_due(super::now_ns()) {
            // SAFETY: it was pending a moment ago, so it is alive; whoever wants to free it cancels it first, finds
            // it running and waits. `running` is set before the base is unlocked and IRQs are open again.
            call::<SMP>(base, unsafe { &*timer.as_ptr() });
        }
        let more = base.soft.first_ns() <= super::now_ns();
        if !more {
            base.soft_raised.set(false);
            base.arm_soft(base.soft.first_ns());
        }
        // SAFETY: taken above.
        unsafe { base.unlock::<SMP>() };
        if !more {
            program(base);
        }
        irqflags::local_irq_restore(flags);
        drop(expiry);
        if !more {
            return;
        }
        if softirq::should_stop() {
            break;
        }
    }
    // Somebody wants the CPU, or has not had it for long.
    let flags = irqflags::local_irq_save();
    softirq::raise_softirq_irqoff(Vector::Hrtimer);
    irqflags::local_irq_restore(flags);
}

#[cold]
fn lock_expiry() -> SpinLockGuard<'static, ()> {
    // SAFETY: the softirq's thread stays on its CPU.
    unsafe { EXPIRY.this_cpu() }.lock()
}

/// Runs the callback. IRQs masked and the base locked before and after.
fn call<const SMP: bool>(base: &Base, timer: &Hrtimer) {
    base.runner.set(task::current());
    base.running.set(timer);
    let callback = timer.callback.get();
    // SAFETY: taken by the caller.
    unsafe { base.unlock::<SMP>() };
    let restart = hrtimer::call_back(timer, callback);
    base.lock::<SMP>();
    // Another CPU may have started it anew meanwhile.
    if let Restart::At(expires_ns) = restart
        && !(SMP && timer.link.is_linked())
    {
        insert(base, timer, expires_ns);
    }
    // The last step: from the end of this section on the timer may be gone.
    base.running.set(ptr::null());
}

/// Takes the softirq. Once, at boot.
pub(crate) fn init() {
    softirq::open_softirq(Vector::Hrtimer, run);
}
