//! What a driver registers on an interrupt line, and what the kernel keeps about the line.
//!
//! A [`Line`] exists while somebody has requested it by [`super::request_irq`]; it is a list of [`Action`]s, one
//! for each driver on the line. An action may have a primary handler, which runs in hard-interrupt context, and a
//! thread, which runs what the primary handler leaves to it.
//!
//! Ownership of the fields: everything in a cell is changed with IRQs masked on the line's CPU, that is by the
//! flow handler, or under the lock of `manage`. The rest is written before the action is linked.

use super::IrqHandler;
use crate::task::TaskRef;
use bitflags::bitflags;
use core::cell::Cell;

bitflags! {
    /// How a line is used. Linux's `IRQF_`, as far as used.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct IrqFlags: u32 {
        /// Others may be on the line too. All of them must say so, and agree on `ONESHOT`, `PERCPU` and trigger.
        const SHARED = 1;
        /// The line is held back from the primary handler until the threads of all its actions are done.
        const ONESHOT = 2;
        /// Never made a thread by `threadirqs` or `rt`.
        const NO_THREAD = 4;
        /// The interrupt is a CPU's own; never made a thread. Implied for software-generated interrupts.
        const PERCPU = 8;
        /// The line stays disabled until [`super::enable_irq`].
        const NO_AUTOEN = 16;
        /// The device signals by an edge.
        const EDGE = 32;
        /// The device signals by a level.
        const LEVEL = 64;
    }
}

/// One driver on a line.
pub(super) struct Action {
    pub(super) next: Cell<*const Action>,
    pub(super) line: Cell<*const Line>,
    pub(super) irq: u32,
    pub(super) id: u32,
    pub(super) name: &'static str,
    pub(super) flags: IrqFlags,
    /// In hard-interrupt context; without one the thread is woken each time.
    pub(super) primary: Option<IrqHandler>,
    /// In the thread.
    pub(super) thread_fn: Option<IrqHandler>,
    /// In the thread, if `thread_fn` asks for it: what the driver wanted a thread for itself.
    pub(super) forced_thread_fn: Option<IrqHandler>,
    /// `thread_fn` is written for hard-interrupt context: bottom halves are disabled around it.
    pub(super) forced: bool,
    pub(super) thread: Option<TaskRef>,
    /// The thread's bit in `Line::threads_oneshot`.
    pub(super) thread_mask: Cell<u64>,
    /// RUNTHREAD: the thread has been woken and has not begun. Wake-ups meanwhile are one.
    pub(super) run: Cell<bool>,
    pub(super) stop: Cell<bool>,
    /// Counter ticks: when the thread was woken, its longest wait, the longest handler.
    pub(super) woken_at: Cell<u64>,
    pub(super) longest_wait: Cell<u64>,
    pub(super) longest: Cell<u64>,
}

/// A line that was requested.
pub(super) struct Line {
    pub(super) irq: u32,
    pub(super) flags: IrqFlags,
    pub(super) first: Cell<*const Action>,
    /// How often it is disabled.
    pub(super) depth: Cell<u32>,
    pub(super) in_progress: Cell<bool>,
    /// Held back for threads (`ONESHOT`).
    pub(super) masked: Cell<bool>,
    /// Taken while disabled: sent again when it is enabled.
    pub(super) pending: Cell<bool>,
    /// Shut off, because nobody handled it.
    pub(super) stuck: Cell<bool>,
    /// Threads that have not finished, by their masks.
    pub(super) threads_oneshot: Cell<u64>,
    /// Wake-ups that have not been served.
    pub(super) threads_active: Cell<u32>,
    pub(super) spurious: super::spurious::Watch,
}

impl Line {
    pub(super) fn new(irq: u32, flags: IrqFlags) -> Self {
        Self {
            irq,
            flags,
            first: Cell::new(core::ptr::null()),
            depth: Cell::new(u32::from(flags.contains(IrqFlags::NO_AUTOEN))),
            in_progress: Cell::new(false),
            masked: Cell::new(false),
            pending: Cell::new(false),
            stuck: Cell::new(false),
            threads_oneshot: Cell::new(0),
            threads_active: Cell::new(0),
            spurious: super::spurious::Watch::new(),
        }
    }

    /// The actions, first requested first.
    ///
    /// # Safety
    /// IRQs masked on the line's CPU while the iterator and what it yields are used.
    pub(super) unsafe fn actions(&self) -> impl Iterator<Item = &Action> {
        let mut next = self.first.get();
        core::iter::from_fn(move || {
            // SAFETY: a linked action is alive, and it is unlinked with IRQs masked.
            let action = unsafe { next.as_ref() }?;
            next = action.next.get();
            Some(action)
        })
    }
}

/// Raises a cell to `value`. Always stores: every interrupt takes the same way.
pub(super) fn raise_to(cell: &Cell<u64>, value: u64) {
    cell.set(cell.get().max(value));
}
