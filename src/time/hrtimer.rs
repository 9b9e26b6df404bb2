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
//! Context: any; everything under masked IRQs on the CPU's own base.

use super::ns_to_ticks;
use super::tick::Tick;
use super::tree::TimerTree;
use crate::locking::RawLock;
use crate::per_cpu;
use arch::irqflags;
use core::cell::Cell;
use core::ptr;
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
    pub(super) link: RBTreeLink,
    expires_ns: Cell<u64>,
    pub(super) callback: Cell<Option<Callback>>,
}

/// A CPU's timers.
#[repr(C)]
pub(super) struct Base {
    /// First: its address is the base's.
    pub(super) lock: RawLock,
    /// The first expiry that the hardware must not miss, the tick apart: the earlier of the first hard one
    /// and `soft_armed_ns`.
    next_ns: Cell<u64>,
    /// The same in counter ticks, so that a tick with timers pending has nothing to convert.
    next_ticks: Cell<u64>,
    /// The tick: always there, so it is not in a tree.
    pub(super) tick: Tick,
    hard: TimerTree,
    pub(super) soft: TimerTree,
    /// The first soft expiry, or `u64::MAX` while the softirq is raised for what is due.
    soft_armed_ns: Cell<u64>,
    pub(super) soft_raised: Cell<bool>,
    /// The soft timer whose callback runs, and (where softirqs are threads) by whom it is run.
    pub(super) running: Cell<*const Hrtimer>,
    pub(super) runner: Cell<*const crate::task::Task>,
}

// SAFETY: the timers in the trees are reached with IRQs masked, on the CPU of the base; `runner` is compared.
unsafe impl Send for Base {}

per_cpu! {
    pub(super) static BASE: Base = Base {
        lock: RawLock::new(),
        next_ns: Cell::new(u64::MAX),
        next_ticks: Cell::new(u64::MAX),
        tick: Tick::new(),
        hard: TimerTree::new(),
        soft: TimerTree::new(),
        soft_armed_ns: Cell::new(u64::MAX),
        soft_raised: Cell::new(false),
        running: Cell::new(ptr::null()),
        runner: Cell::new(ptr::null()),
    };
}

impl Hrtimer {
    /// A timer that is not pending.
    #[must_use]
    pub const fn new() -> Self {
        Self { link: RBTreeLink::new(), expires_ns: Cell::new(0), callback: Cell::new(None) }
    }

    /// When it is, or was, due.
    #[inline(always)]
    pub fn expires_ns(&self) -> u64 {
        self.expires_ns.get()
    }

    /// Only while it is in no tree: the tree is ordered by it.
    #[inline(always)]
    pub(super) fn set_expires_ns(&self, expires_ns: u64) {
        self.expires_ns.set(expires_ns);
    }

    /// Whether it is pending. IRQs masked, on the CPU that started it.
    #[inline(always)]
    pub(crate) fn is_pending_irqs_off(&self) -> bool {
        self.link.is_linked()
    }

    /// Starts the timer on this CPU as a hard one, or moves it if it is pending. IRQs masked. A time in the
    /// past fires as soon as IRQs are open. The timer stays where it is in memory until it has fired or is
    /// cancelled.
    pub(crate) fn start_irqs_off(&self, expires_ns: u64, callback: Callback) {
        debug_assert!(irqflags::irqs_disabled());
        // SAFETY: IRQs are masked.
        let base = unsafe { BASE.this_cpu() };
        base.lock.lock();
        if self.link.is_linked() {
            base.remove_hard(self);
        }
        self.callback.set(Some(callback));
        base.insert_hard(self, expires_ns);
        // SAFETY: taken above.
        unsafe { base.lock.unlock() };
    }

    /// Takes a hard timer back if it is pending; returns whether it was. IRQs masked, on the CPU that started
    /// it: then its callback is not running. The hardware is left alone: an early interrupt finds nothing.
    #[inline(always)]
    pub(crate) fn cancel_irqs_off(&self) -> bool {
        debug_assert!(irqflags::irqs_disabled());
        if !self.link.is_linked() {
            return false;
        }
        self.cancel_pending_irqs_off();
        true
    }

    fn cancel_pending_irqs_off(&self) {
        // SAFETY: IRQs are masked.
        let base = unsafe { BASE.this_cpu() };
        base.lock.lock();
        base.remove_hard(self);
        // SAFETY: taken above.
        unsafe { base.lock.unlock() };
    }
}

impl Default for Hrtimer {
    fn default() -> Self {
        Self::new()
    }
}

impl Base {
    /// The timer is in no tree; the base is locked.
    #[inline(always)]
    fn insert_hard(&self, timer: &Hrtimer, expires_ns: u64) {
        timer.set_expires_ns(expires_ns);
        // SAFETY: it is pinned while it is pending (contract of `start_irqs_off`).
        if unsafe { self.hard.insert(timer) } {
            self.came_first(expires_ns);
        }
    }

    /// The timer is pending as a hard one; the base is locked.
    #[inline(always)]
    fn remove_hard(&self, timer: &Hrtimer) {
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
    fn update_next(&self) {
        self.set_next(self.hard.first_ns().min(self.soft_armed_ns.get()));
    }

    #[inline(always)]
    fn set_next(&self, next_ns: u64) {
        self.next_ns.set(next_ns);
        self.next_ticks.set(if next_ns == u64::MAX { u64::MAX } else { ns_to_ticks(next_ns) });
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
        self.next_ticks.get()
    }
}

/// Sets the hardware to what comes first: a timer or the tick.
#[inline(always)]
pub(super) fn program(base: &Base) {
    arch::timer::set_compare(base.tick.next_ticks().min(base.next_ticks.get()));
}

/// Runs `f` with this CPU's tick.
pub(super) fn peek_tick<R>(f: impl FnOnce(&Tick) -> R) -> R {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs are masked.
    let result = f(unsafe { &BASE.this_cpu().tick });
    irqflags::local_irq_restore(flags);
    result
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
pub(crate) fn timer_interrupt(_: usize) {
    let now_ticks = arch::timer::counter();
    // SAFETY: hard interrupt, IRQs masked.
    let base = unsafe { BASE.this_cpu() };
    if now_ticks >= base.next_ticks.get() {
        run_expired(base, super::ticks_to_ns(now_ticks));
    }
    base.tick.run_if_due(now_ticks);
    program(base);
}

#[inline(never)]
fn run_expired(base: &Base, now_ns: u64) {
    for _ in 0..EXPIRED_PER_IRQ {
        base.lock.lock();
        let due = base.hard.pop_due(now_ns);
        // SAFETY: taken above.
        unsafe { base.lock.unlock() };
        let Some(timer) = due else { break };
        // SAFETY: it was pending a moment ago, so it is alive; with IRQs masked nobody on this CPU can
        // cancel and free it before its callback has returned.
        let timer = unsafe { timer.as_ref() };
        if let Some(callback) = timer.callback.get()
            && let Restart::At(expires_ns) = callback(timer)
        {
            restart(base, timer, expires_ns);
        }
    }
    if base.soft_armed_ns.get() <= now_ns {
        super::soft::raise(base);
    }
    base.update_next();
}

#[inline(never)]
fn restart(base: &Base, timer: &Hrtimer, expires_ns: u64) {
    base.lock.lock();
    base.insert_hard(timer, expires_ns);
    // SAFETY: taken above.
    unsafe { base.lock.unlock() };
}
