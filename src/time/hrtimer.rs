//! One-shot high-resolution timers (R3): a compare value of the generic timer, not a tick.
//!
//! Each CPU has a red-black tree of its pending timers, ordered by expiry (equal ones in the order they
//! were started), with the first expiry cached; the hardware is set to the earlier of that and the next
//! tick. A timer is part of what it belongs to and allocates nothing.
//!
//! Callbacks run in hard-interrupt context with IRQs masked. **Bound:** one interrupt runs at most
//! [`EXPIRED_PER_IRQ`] of them; if more are due, the compare value is left in the past, and the next
//! interrupt follows at once, behind the preemption check.
//!
//! Invariant: after every operation the hardware fires at or before the earliest pending expiry.
//! Context: any; everything under masked IRQs on the CPU's own base.

use super::ns_to_ticks;
use super::tick::Tick;
use crate::locking::RawLock;
use crate::per_cpu;
use arch::irqflags;
use core::cell::{Cell, RefCell};
use core::ptr;
use intrusive_collections::{Bound, KeyAdapter, RBTree, RBTreeLink, UnsafeRef, intrusive_adapter};

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

/// A callback: hard-interrupt context, IRQs masked, a few dozen instructions.
pub type Callback = fn(&Hrtimer) -> Restart;

/// A timer. Pinned while it is pending: it is a node of the CPU's tree.
pub struct Hrtimer {
    link: RBTreeLink,
    expires_ns: Cell<u64>,
    callback: Cell<Option<Callback>>,
}

intrusive_adapter!(ByExpiry = UnsafeRef<Hrtimer>: Hrtimer { link => RBTreeLink });
impl<'a> KeyAdapter<'a> for ByExpiry {
    type Key = u64;
    fn get_key(&self, timer: &'a Hrtimer) -> u64 {
        timer.expires_ns.get()
    }
}

struct Base {
    /// Expiry of the first pending timer; `u64::MAX` if there is none.
    first_ns: Cell<u64>,
    /// The tick: always there, so it is not in the tree.
    tick: Tick,
    lock: RawLock,
    tree: RefCell<RBTree<ByExpiry>>,
}

// SAFETY: the timers in the tree are reached with IRQs masked, on the CPU of the base.
unsafe impl Send for Base {}

per_cpu! {
    static BASE: Base = Base {
        first_ns: Cell::new(u64::MAX),
        tick: Tick::new(),
        lock: RawLock::new(),
        tree: RefCell::new(RBTree::new(ByExpiry::NEW)),
    };
}

impl Hrtimer {
    /// A timer that is not pending.
    #[must_use]
    pub const fn new() -> Self {
        Self { link: RBTreeLink::new(), expires_ns: Cell::new(0), callback: Cell::new(None) }
    }

    /// When it is, or was, due.
    pub fn expires_ns(&self) -> u64 {
        self.expires_ns.get()
    }

    /// Whether it is pending. IRQs masked, on the CPU that started it.
    pub(crate) fn is_pending_irqs_off(&self) -> bool {
        self.link.is_linked()
    }

    /// Starts the timer on this CPU, or moves it if it is pending. IRQs masked. A time in the past fires as
    /// soon as IRQs are open. The timer stays where it is in memory until it has fired or is cancelled.
    pub(crate) fn start_irqs_off(&self, expires_ns: u64, callback: Callback) {
        debug_assert!(irqflags::irqs_disabled());
        // SAFETY: IRQs are masked.
        let base = unsafe { BASE.this_cpu() };
        base.lock.lock();
        base.remove(self);
        self.callback.set(Some(callback));
        base.insert(self, expires_ns);
        if expires_ns == base.first_ns.get() {
            program(base);
        }
        // SAFETY: taken above.
        unsafe { base.lock.unlock() };
    }

    /// Takes the timer back if it is pending; returns whether it was. IRQs masked, on the CPU that started
    /// it: then its callback is not running. The hardware is left alone: an early interrupt finds nothing.
    pub(crate) fn cancel_irqs_off(&self) -> bool {
        debug_assert!(irqflags::irqs_disabled());
        if !self.link.is_linked() {
            return false;
        }
        // SAFETY: IRQs are masked.
        let base = unsafe { BASE.this_cpu() };
        base.lock.lock();
        let removed = base.remove(self);
        // SAFETY: taken above.
        unsafe { base.lock.unlock() };
        removed
    }
}

impl Default for Hrtimer {
    fn default() -> Self {
        Self::new()
    }
}

impl Base {
    fn insert(&self, timer: &Hrtimer, expires_ns: u64) {
        timer.expires_ns.set(expires_ns);
        let mut tree = self.tree.borrow_mut();
        // SAFETY: the timer is pinned while it is pending (contract of `start_irqs_off`).
        let node = unsafe { UnsafeRef::from_raw(ptr::from_ref(timer)) };
        if expires_ns < self.first_ns.get() {
            // The new first: no search.
            self.first_ns.set(expires_ns);
            tree.front_mut().insert_before(node);
        } else {
            // Behind its equals.
            tree.upper_bound_mut(Bound::Included(&expires_ns)).insert_after(node);
        }
    }

    fn remove(&self, timer: &Hrtimer) -> bool {
        if !timer.link.is_linked() {
            return false;
        }
        let mut tree = self.tree.borrow_mut();
        // SAFETY: linked, and a timer is linked into its CPU's tree only.
        let mut cursor = unsafe { tree.cursor_mut_from_ptr(ptr::from_ref(timer)) };
        cursor.remove();
        if timer.expires_ns.get() == self.first_ns.get() {
            self.first_ns.set(tree.front().get().map_or(u64::MAX, Hrtimer::expires_ns));
        }
        true
    }

    /// Takes off the first timer if it is due.
    fn pop_due(&self, now_ns: u64) -> Option<*const Hrtimer> {
        if self.first_ns.get() > now_ns {
            return None;
        }
        let mut tree = self.tree.borrow_mut();
        let mut cursor = tree.front_mut();
        let timer = cursor.remove()?;
        self.first_ns.set(cursor.get().map_or(u64::MAX, Hrtimer::expires_ns));
        Some(UnsafeRef::into_raw(timer))
    }
}

/// Sets the hardware to what comes first: a timer or the tick.
#[inline(always)]
fn program(base: &Base) {
    let next_tick = base.tick.next_ticks();
    let first_ns = base.first_ns.get();
    let next = if first_ns == u64::MAX { next_tick } else { next_tick.min(ns_to_ticks(first_ns)) };
    arch::timer::set_compare(next);
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
    if base.first_ns.get() != u64::MAX {
        run_expired(base, super::ticks_to_ns(now_ticks));
    }
    base.tick.run_if_due(now_ticks);
    program(base);
}

#[inline(never)]
fn run_expired(base: &Base, now_ns: u64) {
    for _ in 0..EXPIRED_PER_IRQ {
        base.lock.lock();
        let due = base.pop_due(now_ns);
        // SAFETY: taken above.
        unsafe { base.lock.unlock() };
        let Some(timer) = due else { return };
        // SAFETY: it was pending a moment ago, so it is alive; with IRQs masked nobody on this CPU can
        // cancel and free it before its callback has returned.
        let timer = unsafe { &*timer };
        if let Some(callback) = timer.callback.get()
            && let Restart::At(expires_ns) = callback(timer)
        {
            base.lock.lock();
            base.insert(timer, expires_ns);
            // SAFETY: taken above.
            unsafe { base.lock.unlock() };
        }
    }
}
