#![forbid(unsafe_code)]
//! Lines that fire and nobody wants: counted, and shut off before they eat the machine.
//!
//! Linux's rule: of each 100,000 interrupts of a line, if more than 99,900 were handled by nobody, the line is
//! stuck. Single ones that come further apart than 100 ms do not add up. A primary handler that only wakes its
//! thread says nothing about the device: then the question is whether the thread has handled anything since the
//! interrupt before.
//!
//! Context: hard interrupt, the line locked. Pure but for the cells.

use super::IrqReturn;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};

/// The interrupts that are looked at together.
pub const WINDOW: u32 = 100_000;
/// More unhandled ones than this make the line a stuck one.
pub const UNHANDLED_MAX: u32 = 99_900;
/// Unhandled interrupts further apart than this begin anew.
const APART_NS: u64 = 100_000_000;

/// What is remembered about a line.
pub(super) struct Watch {
    taken: Cell<u32>,
    unhandled: Cell<u32>,
    last_unhandled_ns: Cell<u64>,
    /// What the line's threads have handled; added to by them.
    pub(super) threads_handled: AtomicU32,
    /// `threads_handled` at the last interrupt that only woke a thread.
    seen_handled: Cell<Option<u32>>,
}

impl Watch {
    pub(super) const fn new() -> Self {
        Self {
            taken: Cell::new(0),
            unhandled: Cell::new(0),
            last_unhandled_ns: Cell::new(0),
            threads_handled: AtomicU32::new(0),
            seen_handled: Cell::new(None),
        }
    }

    /// Unhandled interrupts of the present window.
    pub(super) fn unhandled(&self) -> u32 {
        self.unhandled.get()
    }

    /// Takes note of what the handlers of one interrupt answered: whether one handled it, and whether one woke
    /// its thread. `now_ns` is asked for unhandled ones alone. Returns whether the line is stuck.
    pub(super) fn note(&self, answer: IrqReturn, now_ns: impl FnOnce() -> u64) -> bool {
        let unhandled = match answer {
            IrqReturn::Handled => false,
            IrqReturn::None => true,
            IrqReturn::WakeThread => {
                let handled = self.threads_handled.load(Ordering::Relaxed);
                // The first time there is nothing to compare with.
                self.seen_handled.replace(Some(handled)) == Some(handled)
            }
        };
        if unhandled {
            let now_ns = now_ns();
            let apart = now_ns.saturating_sub(self.last_unhandled_ns.replace(now_ns)) > APART_NS;
            self.unhandled.set(if apart { 1 } else { self.unhandled.get() + 1 });
        }
        self.taken.set(self.taken.get() + 1);
        if self.taken.get() < WINDOW {
            return false;
        }
        self.taken.set(0);
        self.unhandled.replace(0) > UNHANDLED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `count` interrupts with this answer end in a stuck line.
    fn stuck(watch: &Watch, answer: IrqReturn, count: u32, step_ns: u64) -> bool {
        (0..count).any(|n| watch.note(answer, || 1_000_000_000 + u64::from(n) * step_ns))
    }

    #[test]
    fn a_line_that_nobody_handles_is_stuck_after_a_window() {
        let watch = Watch::new();
        assert!(!stuck(&watch, IrqReturn::None, WINDOW - 1, 1000));
        assert!(stuck(&watch, IrqReturn::None, 1, 1000));
    }

    #[test]
    fn a_line_with_a_hundred_handled_ones_in_the_window_is_not_stuck() {
        let watch = Watch::new();
        assert!(!stuck(&watch, IrqReturn::Handled, WINDOW - UNHANDLED_MAX, 1000));
        assert!(!stuck(&watch, IrqReturn::None, UNHANDLED_MAX, 1000));
        assert!(!stuck(&watch, IrqReturn::Handled, WINDOW - UNHANDLED_MAX - 1, 1000));
        assert!(stuck(&watch, IrqReturn::None, UNHANDLED_MAX + 1, 1000), "one fewer handled, and it is");
    }

    #[test]
    fn unhandled_ones_far_apart_do_not_add_up() {
        assert!(!stuck(&Watch::new(), IrqReturn::None, 3 * WINDOW, APART_NS + 1));
    }

    #[test]
    fn a_thread_that_handles_nothing_makes_the_line_stuck_and_one_that_does_not_is_not() {
        let watch = Watch::new();
        assert!(!stuck(&watch, IrqReturn::WakeThread, WINDOW - 1, 1000));
        assert!(stuck(&watch, IrqReturn::WakeThread, 1, 1000));
        let watch = Watch::new();
        let works = (0..2 * WINDOW).any(|n| {
            watch.threads_handled.store(n, Ordering::Relaxed);
            watch.note(IrqReturn::WakeThread, || 1000 * u64::from(n))
        });
        assert!(!works);
    }
}
