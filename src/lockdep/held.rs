//! The locks that a task holds, in the order in which it took them; part of the task.
//!
//! An interrupt runs on top of a task and puts its locks on the same stack, marked with its context. They are
//! gone when it returns, and have no order with the task's own: the task cannot go on before the interrupt
//! has let go of them. (That the interrupt may wait for the task is the business of the uses, `checker`.)
//!
//! Invariant: entries below `len` are locks that are held, or waited for by the task.
//! Context: any; only by the task it belongs to, or what interrupts it, with IRQs masked. Locks: none.
#![forbid(unsafe_code)]

use super::class::{ClassId, Place};
use core::cell::Cell;

/// The deepest nesting that is followed.
pub const HELD_MAX: usize = 16;

/// Where code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A thread.
    Thread,
    /// A softirq, on the stack of interrupts.
    SoftIrq,
    /// A hard interrupt.
    HardIrq,
}

/// A lock that is held.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Its class.
    pub class: ClassId,
    /// Which lock of the class: its address.
    pub lock: usize,
    /// Where it was taken.
    pub at: Place,
    /// By what.
    pub context: Context,
}

/// See the module's text.
pub struct HeldStack {
    entries: [Cell<Option<Held>>; HELD_MAX],
    len: Cell<usize>,
    /// Of which period of checking this is; what is left of another one is not true any more.
    period: Cell<u32>,
    /// The checker runs for this task right now: what it uses itself is not checked.
    busy: Cell<bool>,
}

impl HeldStack {
    /// Nothing held.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: [const { Cell::new(None) }; HELD_MAX],
            len: Cell::new(0),
            period: Cell::new(0),
            busy: Cell::new(false),
        }
    }

    /// How many locks are held.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Whether none is.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    /// The locks, the first taken first.
    pub fn iter(&self) -> impl Iterator<Item = Held> + '_ {
        self.entries.iter().take(self.len.get()).filter_map(Cell::get)
    }

    /// One more. Returns whether there was room.
    #[inline(always)]
    pub fn push(&self, held: Held) -> bool {
        let len = self.len.get();
        let Some(entry) = self.entries.get(len) else { return false };
        entry.set(Some(held));
        self.len.set(len + 1);
        true
    }

    /// Takes out the lock at this address, most often the last one; the others keep their order.
    #[inline(always)]
    pub fn remove(&self, lock: usize) -> Option<Held> {
        let len = self.len.get();
        let at = (0..len).rev().find(|&i| self.entries[i].get().is_some_and(|held| held.lock == lock))?;
        let found = self.entries[at].get();
        for i in at + 1..len {
            self.entries[i - 1].set(self.entries[i].get());
        }
        self.len.set(len - 1);
        found
    }

    /// Runs `f`, in this period of checking, unless it is running already. IRQs masked.
    #[inline(always)]
    pub(super) fn once_inside(&self, period: u32, f: impl FnOnce()) {
        if !self.busy.replace(true) {
            if self.period.replace(period) != period {
                self.len.set(0);
            }
            f();
            self.busy.set(false);
        }
    }
}

impl Default for HeldStack {
    fn default() -> Self {
        Self::new()
    }
}
