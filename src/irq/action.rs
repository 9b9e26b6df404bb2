//! What a driver registers on an interrupt line, and what the kernel keeps about the line.
//!
//! A [`Line`] exists while somebody has requested it by [`super::request_irq`]; it is a list of [`Action`]s, one
//! for each driver on the line. An action may have a primary handler, which runs in hard-interrupt context, and a
//! thread, which runs what the primary handler leaves to it.
//!
//! Ownership of the fields: the cells of a line are touched under its lock, IRQs masked; on one CPU the mask is enough.
//! Its list is changed under that lock and LINES (`manage`), and walked under either, or by the flow handler: what is
//! taken off the list is freed when that has returned. Other cells are written before the action is linked.

use super::IrqHandler;
use crate::locking::RawLock;
use crate::task::TaskRef;
use bitflags::bitflags;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

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
    pub(super) next: AtomicPtr<Action>,
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
    pub(super) run: AtomicBool,
    pub(super) stop: AtomicBool,
    /// The line goes to other CPUs, and the thread has not gone there.
    pub(super) moved: AtomicBool,
    /// Counter ticks: when the thread was woken, its longest wait, the longest handler.
    pub(super) woken_at: AtomicU64,
    pub(super) longest_wait: AtomicU64,
    pub(super) longest: AtomicU64,
}

/// A line that was requested.
pub(super) struct Line {
    pub(super) irq: u32,
    pub(super) flags: IrqFlags,
    pub(super) first: AtomicPtr<Action>,
    lock: RawLock,
    /// How often it is disabled.
    pub(super) depth: Cell<u32>,
    /// A handler is being asked.
    pub(super) in_progress: AtomicBool,
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
            first: AtomicPtr::new(core::ptr::null_mut()),
            lock: RawLock::new(),
            depth: Cell::new(u32::from(flags.contains(IrqFlags::NO_AUTOEN))),
            in_progress: AtomicBool::new(false),
            masked: Cell::new(false),
            pending: Cell::new(false),
            stuck: Cell::new(false),
            threads_oneshot: Cell::new(0),
            threads_active: Cell::new(0),
            spurious: super::spurious::Watch::new(),
        }
    }

    /// Takes the line's lock where there is one: `SMP` is what `static_branch::<SMP_LOCKS>` says. IRQs masked.
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

    /// Runs `f` with the line locked. IRQs masked.
    pub(super) fn locked<R>(&self, f: impl FnOnce(&Self) -> R) -> R {
        self.lock::<true>();
        let answer = f(self);
        // SAFETY: taken above.
        unsafe { self.unlock::<true>() };
        answer
    }

    /// The actions, first requested first.
    ///
    /// # Safety
    /// While the iterator and what it yields are used, the line's lock or LINES is held, or the line is in progress.
    pub(super) unsafe fn actions(&self) -> impl Iterator<Item = &Action> {
        let mut next = self.first.load(Ordering::Acquire);
        core::iter::from_fn(move || {
            // SAFETY: an action that is, or was a moment ago, linked is not freed while one of the three holds.
            let action = unsafe { next.as_ref() }?;
            next = action.next.load(Ordering::Acquire);
            Some(action)
        })
    }
}

/// Raises a figure to `value`; it has one writer at a time. Always stores: every interrupt takes the same way.
pub(super) fn raise_to(figure: &AtomicU64, value: u64) {
    figure.store(figure.load(Ordering::Relaxed).max(value), Ordering::Relaxed);
}
