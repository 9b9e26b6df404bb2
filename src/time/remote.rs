//! Timers where there is more than one CPU: who may touch them, and what happens to them when a CPU comes and goes.
//!
//! A timer is started on the CPU that starts it, and says on whose base it is ([`Hrtimer::base`]). From any CPU it is
//! cancelled, and started anew, under the lock of that base: look where it is, lock, look again.
//!
//! **Its callback may be running** on another CPU. Then
//!
//! * *cancelling* waits for its end, and what it has started again is taken off: when `cancel` returns, nobody knows
//!   the timer. The wait is as long as the callback, which is short and cannot be preempted; whoever cancels must not
//!   hold a lock that the callback takes.
//! * *starting* leaves it on that CPU's base, so that one timer's callback never runs on two CPUs at once (Linux:
//!   `switch_hrtimer_base`). The hardware there need not be told: that CPU sets it behind its callbacks. So no CPU ever
//!   has to interrupt another one for a timer.
//!
//! Invariants: a timer is in a tree of the base that it names, or in none. It names [`MOVING`] only while its holder
//! goes from one base's lock to another's; no two are held at once.
//!
//! Context: any, IRQs masked; [`migrate_from`] from threads, [`starting`] and [`dying`] on a CPU that comes or goes. Lock: the base's, innermost.

use super::hrtimer::{BASE, Base, Callback, Hrtimer, program};
use super::soft::{self, Stopped};
use arch::irqflags;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

/// Expires in the interrupt.
pub(super) const HARD: u8 = 0;
/// Expires in the softirq.
pub(super) const SOFT: u8 = 1;

/// Where a timer is between two bases.
const MOVING: *mut Base = ptr::without_provenance_mut(1);

/// The base that `timer` is, or was last, on, locked; none if it has never been started.
fn lock_base(timer: &Hrtimer) -> Option<&'static Base> {
    loop {
        let at = timer.base.load(Ordering::Acquire);
        if at.is_null() {
            return None;
        }
        if at != MOVING {
            // SAFETY: a per-CPU variable, which is there for ever, once its CPU has been.
            let base = unsafe { &*at };
            base.lock::<true>();
            if timer.base.load(Ordering::Relaxed) == at {
                return Some(base);
            }
            // SAFETY: taken above.
            unsafe { base.unlock::<true>() };
        }
        arch::cpu::relax();
    }
}

/// Takes `timer` off its tree, and locks the base that it is to be on: this CPU's, or the one that runs its callback.
fn lock_new_base<const KIND: u8>(timer: &Hrtimer) -> &'static Base {
    // SAFETY: IRQs are masked.
    let this = unsafe { BASE.this_cpu() };
    loop {
        if let Some(base) = lock_base(timer) {
            remove::<KIND>(base, timer);
            if ptr::eq(base, this) || runs(base, timer) {
                return base;
            }
            timer.base.store(MOVING, Ordering::Relaxed);
            // SAFETY: locked by `lock_base`.
            unsafe { base.unlock::<true>() };
        } else {
            let first =
                timer.base.compare_exchange(ptr::null_mut(), MOVING, Ordering::Relaxed, Ordering::Relaxed);
            if first.is_err() {
                // Two start it for the first time.
                continue;
            }
        }
        this.lock::<true>();
        settle(timer, this);
        return this;
    }
}

/// `timer`, which was [`MOVING`], is on `base` from now on. The base is locked.
fn settle(timer: &Hrtimer, base: &Base) {
    timer.base.store(ptr::from_ref(base).cast_mut(), Ordering::Release);
}

/// Whether a callback of `timer` runs, hard or soft. The base is locked.
fn runs(base: &Base, timer: &Hrtimer) -> bool {
    ptr::eq(base.hard_running.get(), timer) || ptr::eq(base.running.get(), timer)
}

/// Takes it off if it is pending; returns whether it was. The base is the timer's, locked.
fn remove<const KIND: u8>(base: &Base, timer: &Hrtimer) -> bool {
    let pending = timer.link.is_linked();
    if pending && KIND == SOFT {
        soft::remove(base, timer);
    } else if pending {
        base.remove_hard(timer);
    }
    pending
}

/// Starts it, hard or soft, or moves it. IRQs masked.
#[cold]
#[inline(never)]
pub(super) fn start<const KIND: u8>(timer: &Hrtimer, expires_ns: u64, callback: Callback) {
    let base = lock_new_base::<KIND>(timer);
    timer.callback.set(Some(callback));
    insert::<KIND>(base, timer, expires_ns);
    // SAFETY: locked above.
    unsafe { base.unlock::<true>() };
}

/// It is in no tree, and names `base`, which is locked.
fn insert<const KIND: u8>(base: &Base, timer: &Hrtimer, expires_ns: u64) {
    if KIND == SOFT {
        // Another CPU's runs a soft callback: then it leaves the hardware alone until that has returned.
        debug_assert!(base.is_this_cpus() || base.soft_raised.get());
        soft::insert(base, timer, expires_ns);
    } else if base.is_this_cpus() {
        base.insert_hard(timer, expires_ns);
    } else {
        timer.set_expires_ns(expires_ns);
        // SAFETY: it is in no tree, and pinned while it is pending (contract of `start_irqs_off`).
        unsafe { base.hard.insert(timer) };
        base.update_next();
    }
}

/// Whether it is pending. IRQs masked.
#[cold]
#[inline(never)]
pub(super) fn is_pending(timer: &Hrtimer) -> bool {
    let Some(base) = lock_base(timer) else { return false };
    let pending = timer.link.is_linked();
    // SAFETY: locked above.
    unsafe { base.unlock::<true>() };
    pending
}

/// [`Hrtimer::cancel_irqs_off`].
#[cold]
#[inline(never)]
pub(super) fn cancel(timer: &Hrtimer) -> bool {
    loop {
        match stop_hard(timer) {
            Stopped::Idle => return false,
            Stopped::WasPending => return true,
            // It may be started again, by its callback.
            Stopped::Runs => arch::cpu::relax(),
        }
    }
}

/// Takes a hard timer back, and says whether its callback runs on another CPU. IRQs masked.
#[cold]
#[inline(never)]
pub(super) fn stop_hard(timer: &Hrtimer) -> Stopped {
    let Some(base) = lock_base(timer) else { return Stopped::Idle };
    let pending = remove::<HARD>(base, timer);
    if pending {
        crate::trace::hrtimer_cancel(timer);
    }
    // With IRQs masked, this CPU runs it only if it is the callback that asks.
    let runs = ptr::eq(base.hard_running.get(), timer) && !base.is_this_cpus();
    // SAFETY: locked above.
    unsafe { base.unlock::<true>() };
    match (runs, pending) {
        (true, _) => Stopped::Runs,
        (false, true) => Stopped::WasPending,
        (false, false) => Stopped::Idle,
    }
}

/// The same for a soft one.
#[cold]
#[inline(never)]
pub(super) fn stop_soft(timer: &Hrtimer) -> Stopped {
    let Some(base) = lock_base(timer) else { return Stopped::Idle };
    let pending = remove::<SOFT>(base, timer);
    if pending {
        crate::trace::hrtimer_cancel(timer);
    }
    let stopped = soft::runs_or(base, timer, pending);
    // SAFETY: locked above.
    unsafe { base.unlock::<true>() };
    stopped
}

/// The CPU that runs, or ran last, the callback of `timer`.
pub(super) fn cpu_of(timer: &Hrtimer) -> usize {
    let at = timer.base.load(Ordering::Acquire);
    // SAFETY: compared, not used.
    crate::smp::present().iter().find(|&cpu| ptr::eq(unsafe { BASE.of(cpu) }, at)).unwrap_or(0)
}

/// Takes over the timers of `cpu`, which is off: all but those that are about that CPU. One at a time. Thread context.
pub(crate) fn migrate_from(cpu: usize) {
    // SAFETY: it was online, so its copy is there; everything but its tick, which is left alone, is under the lock.
    let from = unsafe { BASE.of(cpu) };
    while take_one::<HARD>(from) {}
    while take_one::<SOFT>(from) {}
    let flags = irqflags::local_irq_save();
    from.lock::<true>();
    // Its softirq was raised, or is not; there is nothing left for it.
    from.soft_raised.set(false);
    from.arm_soft(from.soft.first_ns());
    // SAFETY: taken above.
    unsafe { from.unlock::<true>() };
    irqflags::local_irq_restore(flags);
}

fn take_one<const KIND: u8>(from: &Base) -> bool {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs are masked.
    let this = unsafe { BASE.this_cpu() };
    assert!(!ptr::eq(from, this), "the timers of the CPU that is to take them over: expected another one's");
    from.lock::<true>();
    let tree = if KIND == SOFT { &from.soft } else { &from.hard };
    let timer = tree.pop_where(|timer| !timer.pinned);
    if let Some(timer) = timer {
        // SAFETY: it was pending a moment ago, so it is alive; nobody can finish with it while it is `MOVING`.
        unsafe { timer.as_ref() }.base.store(MOVING, Ordering::Relaxed);
    }
    from.update_next();
    // SAFETY: taken above.
    unsafe { from.unlock::<true>() };
    if let Some(timer) = timer {
        put_here::<KIND>(this, timer);
    }
    irqflags::local_irq_restore(flags);
    timer.is_some()
}

/// IRQs masked; `timer` is [`MOVING`], and `this` is this CPU's base.
fn put_here<const KIND: u8>(this: &Base, timer: NonNull<Hrtimer>) {
    this.lock::<true>();
    // SAFETY: as in `take_one`.
    let timer = unsafe { timer.as_ref() };
    settle(timer, this);
    insert::<KIND>(this, timer, timer.expires_ns());
    // SAFETY: taken above.
    unsafe { this.unlock::<true>() };
}

/// This CPU begins to take timer interrupts: what has waited for it since it was off is due now. IRQs masked.
pub(crate) fn starting() {
    arch::timer::init_cpu();
    // SAFETY: IRQs are masked.
    program(unsafe { BASE.this_cpu() });
    super::tick::start_this_cpu();
}

/// This CPU takes no timer interrupts any more. IRQs masked.
pub(crate) fn dying() {
    super::tick::stop_this_cpu();
    arch::timer::stop();
}
