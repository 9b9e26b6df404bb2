//! High-resolution timers (R3): a compare value of the generic timer, not a tick.
//!
//! Each CPU has two trees of pending timers (`tree`). **Hard** ones expire in the timer interrupt, with
//! IRQs masked: task sleeps, timeouts of waits, and what was asked to. **Soft** ones (`soft`) expire in the
//! HRTIMER softirq, with IRQs open; the timer interrupt only raises it. The hardware is set to what comes
//! first: a hard timer, a soft one, the tick. A timer is part of what it belongs to and allocates nothing.
//!
//! **Bound:** one interrupt runs at most [`EXPIRED_PER_IRQ`] hard callbacks; if more are due, the compare
//! value is left in the past, and the next interrupt follows at once, behind the preemption check.
//!
//! Invariant: after every operation the hardware fires at or before the earliest pending expiry; while the
//! softirq is raised, soft expiries do not count, so that what is due and waits does not fire again and again
//! (Linux: `softirq_activated`).
//! **More than one CPU** (`remote`). A timer is started on the CPU that starts it, and may be cancelled from any. Each
//! base has a lock, and says whose callback it runs. On one CPU masked interrupts are that lock, and the paths here
//! are without it.
//!
//! Context: any, IRQs masked. Lock: the base's, innermost; callbacks run without it.

use super::ns_to_ticks;
use super::remote;
use super::soft::Stopped;
use super::tick::Tick;
use super::tree::TimerTree;
use crate::locking::RawLock;
use crate::sched::core as sched;
use crate::{klog, per_cpu, trace};
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use intrusive_collections::RBTreeLink;

/// The most callbacks that one interrupt runs.
pub const EXPIRED_PER_IRQ: usize = 16;

/// What a callback decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Done.
    No,
    /// Again at this monotonic time. Not if the callback has started the timer itself.
    At(u64),
}

/// A callback. Called with IRQs masked, and returns so: a hard one in hard-interrupt context, a few dozen
/// instructions; a soft one in the softirq, where it opens them for its work.
pub type Callback = fn(&Hrtimer) -> Restart;

/// A timer. Pinned while it is pending: it is a node of one of the CPU's trees. Whoever has it starts and
/// cancels it either as a hard or as a soft one, always the same.
pub struct Hrtimer {
    /// Under the lock of `base`, as is the callback.
    pub(super) link: RBTreeLink,
    /// Written under that lock; read by the callback too.
    expires_ns: AtomicU64,
    pub(super) callback: Cell<Option<Callback>>,
    /// Where it is, or was last, pending; where there is one CPU, nothing (`remote`).
    pub(super) base: AtomicPtr<Base>,
    /// It is about its CPU, and does not go to another one when that is switched off.
    pub(super) pinned: bool,
}

/// A CPU's timers.
#[repr(C)]
pub(super) struct Base {
    /// First: its address is the base's.
    pub(super) lock: RawLock,
    /// The first expiry that the hardware must not miss, the tick apart: the earlier of the first hard one
    /// and `soft_armed_ns`.
    next_ns: Cell<u64>,
    /// The same in counter ticks, so that a tick with timers pending has nothing to convert. Written under the lock;
    /// its own CPU reads it without: another one can only have made it later (`remote`).
    next_ticks: AtomicU64,
    /// The tick: always there, so it is not in a tree. Its own CPU's alone.
    pub(super) tick: Tick,
    pub(super) hard: TimerTree,
    pub(super) soft: TimerTree,
    /// The first soft expiry, or `u64::MAX` while the softirq is raised for what is due.
    soft_armed_ns: Cell<u64>,
    pub(super) soft_raised: Cell<bool>,
    /// The hard timer whose callback runs. Kept where there is another CPU to ask.
    pub(super) hard_running: Cell<*const Hrtimer>,
    /// The soft timer whose callback runs, and (where softirqs are threads) by whom it is run.
    pub(super) running: Cell<*const Hrtimer>,
    pub(super) runner: Cell<*const crate::task::Task>,
}

// SAFETY: what is in cells, and the timers in the trees, are reached with IRQs masked and the base locked; the tick
// by its own CPU alone; `runner` is compared.
unsafe impl Send for Base {}

per_cpu! {
    pub(super) static BASE: Base = Base {
        lock: RawLock::new(),
        next_ns: Cell::new(u64::MAX),
        next_ticks: AtomicU64::new(u64::MAX),
        tick: Tick::new(),
        hard: TimerTree::new(),
        soft: TimerTree::new(),
        soft_armed_ns: Cell::new(u64::MAX),
        soft_raised: Cell::new(false),
        hard_running: Cell::new(ptr::null()),
        running: Cell::new(ptr::null()),
        runner: Cell::new(ptr::null()),
    };
}

impl Hrtimer {
    /// A timer that is not pending.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            link: RBTreeLink::new(),
            expires_ns: AtomicU64::new(0),
            callback: Cell::new(None),
            base: AtomicPtr::new(ptr::null_mut()),
            pinned: false,
        }
    }

    /// One that is about the CPU that starts it: when that is switched off, the timer waits there until it is back.
    #[must_use]
    pub const fn new_pinned() -> Self {
        Self { pinned: true, ..Self::new() }
    }

    /// When it is, or was, due.
    #[inline(always)]
    pub fn expires_ns(&self) -> u64 {
        self.expires_ns.load(Ordering::Relaxed)
    }

    /// Only while it is in no tree: the tree is ordered by it.
    #[inline(always)]
    pub(super) fn set_expires_ns(&self, expires_ns: u64) {
        self.expires_ns.store(expires_ns, Ordering::Relaxed);
    }

    /// Whether it is pending. IRQs masked.
    #[inline(always)]
    pub(crate) fn is_pending_irqs_off(&self) -> bool {
        if static_branch::<SMP_LOCKS>() {
            return remote::is_pending(self);
        }
        self.link.is_linked()
    }

    /// Starts the timer on this CPU as a hard one, or moves it if it is pending. IRQs masked. A time in the
    /// past fires as soon as IRQs are open. The timer stays where it is in memory until it has fired or is
    /// cancelled.
    pub(crate) fn start_irqs_off(&self, expires_ns: u64, callback: Callback) {
        debug_assert!(irqflags::irqs_disabled());
        trace::hrtimer_start(self, callback, expires_ns);
        if static_branch::<SMP_LOCKS>() {
            return remote::start::<{ remote::HARD }>(self, expires_ns, callback);
        }
        // SAFETY: IRQs are masked.
        let base = unsafe { BASE.this_cpu() };
        base.lock::<false>();
        if self.link.is_linked() {
            base.remove_hard(self);
        }
        self.callback.set(Some(callback));
        base.insert_hard(self, expires_ns);
        // SAFETY: taken above.
        unsafe { base.unlock::<false>() };
    }

    /// Takes a hard timer back if it is pending; returns whether it was. When it returns, the callback is not running,
    /// unless it is the callback that calls: if it runs on another CPU, this waits for its end, so the caller holds
    /// no lock that the callback takes. IRQs masked. The hardware is left alone: an early interrupt finds nothing.
    #[inline(always)]
    pub(crate) fn cancel_irqs_off(&self) -> bool {
        debug_assert!(irqflags::irqs_disabled());
        if static_branch::<SMP_LOCKS>() {
            return remote::cancel(self);
        }
        if !self.link.is_linked() {
            return false;
        }
        self.cancel_pending_irqs_off();
        true
    }

    /// [`Self::cancel_irqs_off`] without waiting: false if the callback is running on another CPU. IRQs masked.
    pub(crate) fn try_cancel_irqs_off(&self) -> bool {
        self.stop_irqs_off() != Stopped::Runs
    }

    /// [`Self::cancel_irqs_off`] without waiting.
    pub(super) fn stop_irqs_off(&self) -> Stopped {
        if static_branch::<SMP_LOCKS>() {
            return remote::stop_hard(self);
        }
        // In the interrupt that calls it nobody else can be.
        if self.cancel_irqs_off() { Stopped::WasPending } else { Stopped::Idle }
    }

    fn cancel_pending_irqs_off(&self) {
        trace::hrtimer_cancel(self);
        // SAFETY: IRQs are masked.
        let base = unsafe { BASE.this_cpu() };
        base.lock::<false>();
        base.remove_hard(self);
        // SAFETY: taken above.
        unsafe { base.unlock::<false>() };
    }
}

impl Default for Hrtimer {
    fn default() -> Self {
        Self::new()
    }
}

impl Base {
    /// Takes the lock where there is one: `SMP` is what `static_branch::<SMP_LOCKS>` says. IRQs masked.
    #[inline(always)]
    pub(super) fn lock<const SMP: bool>(&self) {
        if SMP || cfg!(debug_assertions) {
            self.lock.lock();
        }
    }

    /// # Safety
    /// The caller has taken it, by the same `SMP`.
    #[inline(always)]
    pub(super) unsafe fn unlock<const SMP: bool>(&self) {
        if SMP || cfg!(debug_assertions) {
            // SAFETY: by contract.
            unsafe { self.lock.unlock() };
        }
    }

    /// Whether it is this CPU's. IRQs masked.
    #[inline(always)]
    pub(super) fn is_this_cpus(&self) -> bool {
        // SAFETY: IRQs are masked.
        ptr::eq(self, unsafe { BASE.this_cpu() })
    }

    /// The timer is in no tree; the base is locked.
    #[inline(always)]
    pub(super) fn insert_hard(&self, timer: &Hrtimer, expires_ns: u64) {
        timer.set_expires_ns(expires_ns);
        // SAFETY: it is pinned while it is pending (contract of `start_irqs_off`).
        if unsafe { self.hard.insert(timer) } {
            self.came_first(expires_ns);
        }
    }

    /// The timer is pending as a hard one; the base is locked.
    #[inline(always)]
    pub(super) fn remove_hard(&self, timer: &Hrtimer) {
        // SAFETY: linked, and it is started as a hard timer only.
        if unsafe { self.hard.remove(timer) } {
            self.update_next();
        }
    }

    /// A timer has become the first of its tree: it may be the first of all.
    #[inline(always)]
    pub(super) fn came_first(&self, expires_ns: u64) {
        if expires_ns < self.next_ns.get() {
            self.set_next(expires_ns);
            program(self);
        }
    }

    /// `next_ns` anew, from both trees. The hardware is left alone.
    #[inline(always)]
    pub(super) fn update_next(&self) {
        self.set_next(self.hard.first_ns().min(self.soft_armed_ns.get()));
    }

    #[inline(always)]
    fn set_next(&self, next_ns: u64) {
        self.next_ns.set(next_ns);
        let next_ticks = if next_ns == u64::MAX { u64::MAX } else { ns_to_ticks(next_ns) };
        self.next_ticks.store(next_ticks, Ordering::Relaxed);
    }

    /// A new first soft timer, which the hardware has to care for.
    #[inline(always)]
    pub(super) fn arm_soft_first(&self, first_ns: u64) {
        self.soft_armed_ns.set(first_ns);
        self.came_first(first_ns);
    }

    /// The first soft expiry that the hardware has to care for; `u64::MAX` if it has not. It is left alone.
    #[inline(always)]
    pub(super) fn arm_soft(&self, first_ns: u64) {
        self.soft_armed_ns.set(first_ns);
        self.update_next();
    }

    /// The next expiry in counter ticks; `u64::MAX` if there is none.
    #[inline(always)]
    pub(super) fn next_timer_ticks(&self) -> u64 {
        self.next_ticks.load(Ordering::Relaxed)
    }
}

/// Sets the hardware to what comes first: a timer or the tick.
#[inline(always)]
pub(super) fn program(base: &Base) {
    arch::timer::set_compare(first_ticks(base));
}

#[inline(always)]
fn first_ticks(base: &Base) -> u64 {
    base.tick.next_ticks().min(base.next_timer_ticks())
}

/// Runs `f` with this CPU's tick.
pub(super) fn peek_tick<R>(f: impl FnOnce(&Tick) -> R) -> R {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs are masked.
    let result = f(unsafe { &BASE.this_cpu().tick });
    irqflags::local_irq_restore(flags);
    result
}

/// Runs `f` with the tick of `cpu`, which is present and has been started, and may be changing it.
pub(super) fn peek_tick_of<R>(cpu: usize, f: impl FnOnce(&Tick) -> R) -> R {
    // SAFETY: by contract; the caller reads single words.
    f(unsafe { &BASE.of(cpu).tick })
}

/// Runs `f` with this CPU's tick and sets the hardware to what comes first afterwards.
pub(super) fn with_tick(f: impl FnOnce(&Tick)) {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs are masked.
    let base = unsafe { BASE.this_cpu() };
    f(&base.tick);
    program(base);
    irqflags::local_irq_restore(flags);
}

/// The timer interrupt.
///
/// Most often it is the tick alone, over a task to which it does not matter.
pub(crate) fn timer_interrupt(_: usize) {
    let now_ticks = arch::timer::counter();
    // SAFETY: hard interrupt, IRQs masked.
    let base = unsafe { BASE.this_cpu() };
    let timer_ticks = base.next_timer_ticks();
    let has_nothing_to_do;
    if now_ticks < timer_ticks
        && let Some(next_ticks) = base.tick.take_if_on_time(now_ticks)
    {
        has_nothing_to_do = sched::tick_has_nothing_to_do();
        if has_nothing_to_do && !klog::is_undrained() {
            return arch::timer::move_compare(next_ticks.min(timer_ticks));
        }
    } else {
        if now_ticks >= timer_ticks {
            let now_ns = super::ticks_to_ns(now_ticks);
            if static_branch::<SMP_LOCKS>() {
                run_expired_smp(base, now_ns);
            } else {
                run_expired::<false>(base, now_ns);
            }
        }
        if !base.tick.take_if_due(now_ticks) {
            // It is on, or has been turned off because there is nothing to come.
            return arch::timer::move_compare(first_ticks(base));
        }
        has_nothing_to_do = sched::tick_has_nothing_to_do();
    }
    if !has_nothing_to_do {
        sched::scheduler_tick();
    }
    #[cfg(target_os = "none")]
    klog::tick();
    arch::timer::move_compare(first_ticks(base));
}

/// Calls a timer's function.
#[inline(always)]
pub(super) fn call_back(timer: &Hrtimer, callback: Option<Callback>) -> Restart {
    callback.map_or(Restart::No, |callback| trace::hrtimer_expire(timer, callback, || callback(timer)))
}

#[cold]
#[inline(never)]
fn run_expired_smp(base: &Base, now_ns: u64) {
    run_expired::<true>(base, now_ns);
}

#[inline(never)]
fn run_expired<const SMP: bool>(base: &Base, now_ns: u64) {
    base.lock::<SMP>();
    for _ in 0..EXPIRED_PER_IRQ {
        arch::bound!(EXPIRED_PER_IRQ);
        let Some(timer) = base.hard.pop_due(now_ns) else { break };
        // SAFETY: it was pending a moment ago, so it is alive. Nobody on this CPU can cancel and free it before its
        // callback has returned, because IRQs are masked; on another CPU it is found running, and waited for.
        let timer = unsafe { timer.as_ref() };
        let callback = timer.callback.get();
        if SMP {
            base.hard_running.set(timer);
        }
        // SAFETY: taken above.
        unsafe { base.unlock::<SMP>() };
        let restart = call_back(timer, callback);
        base.lock::<SMP>();
        // Another CPU may have started it anew meanwhile: then that is what counts.
        if let Restart::At(expires_ns) = restart
            && !(SMP && timer.link.is_linked())
        {
            base.insert_hard(timer, expires_ns);
        }
        if SMP {
            // From the end of this section on it may be gone.
            base.hard_running.set(ptr::null());
        }
    }
    let soft_is_due = base.soft_armed_ns.get() <= now_ns;
    if soft_is_due {
        base.soft_raised.set(true);
        base.soft_armed_ns.set(u64::MAX);
    }
    base.update_next();
    // SAFETY: taken above.
    unsafe { base.unlock::<SMP>() };
    if soft_is_due {
        super::soft::raise();
    }
}
