//! Who has no pulse any more.
//!
//! A task that has made no progress for longer than the patience waits for something that nobody will bring, or for a CPU
//! that it does not get. Either is a fault; who it is, and what all tasks do, goes to the console before the panic.

use super::cast::{self, Cast};
use crate::framework::clock::is_exact;
use crate::framework::runner::print_tasks;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use stint::time::{Timer, now_ns};
use stint::{kprintln, task};

/// By the machine's clock, where that is the host's, which may be busy: longer than anything but a fault.
const PATIENCE_NS: u64 = 60_000_000_000;
/// The same where the clock counts instructions.
const PATIENCE_EXACT_NS: u64 = 3_000_000_000;
/// Between two looks.
const PAUSE_NS: u64 = 20_000_000;

/// When the watcher last looked. It could lose its own wake-up.
static LOOKED_NS: AtomicU64 = AtomicU64::new(0);

/// What was seen at the last look.
pub struct Watch {
    seen: Vec<(u64, u64)>,
    since_ns: u64,
    patience_ns: u64,
    /// The watcher's watcher: an interrupt.
    _guard: Timer,
}

impl Watch {
    /// Everybody is well as of now.
    pub fn new() -> Self {
        let patience_ns = if is_exact() { PATIENCE_EXACT_NS } else { PATIENCE_NS };
        LOOKED_NS.store(now_ns(), Ordering::Relaxed);
        let guard = Timer::new_hard(move || {
            if now_ns().saturating_sub(LOOKED_NS.load(Ordering::Relaxed)) > patience_ns {
                kprintln!("stress: the watcher itself, of the highest priority, has not run for so long");
                die();
            }
        });
        guard.start_periodic(PAUSE_NS * 8).expect("a period that is long enough");
        Self { seen: Vec::new(), since_ns: now_ns(), patience_ns, _guard: guard }
    }

    /// Waits a little, and looks at every pulse.
    pub fn look(&mut self, cast: &Cast) {
        task::sleep_ns(PAUSE_NS);
        let now = now_ns();
        LOOKED_NS.store(now, Ordering::Relaxed);
        for (index, _) in cast.living() {
            if self.seen.len() <= index {
                self.seen.resize(index + 1, (u64::MAX, now));
            }
            let pulse = cast::pulse(index);
            let (before, since) = self.seen[index];
            if pulse != before {
                self.seen[index] = (pulse, now);
            } else if now - since > self.patience_ns {
                kprintln!(
                    "stress: {} has made no progress for {} s, after {pulse} operations",
                    cast.name(index),
                    self.patience_ns / 1_000_000_000
                );
                die();
            }
        }
    }

    /// After the stop: nobody has to make progress, but all have to end.
    pub fn wait_for_end(&mut self, cast: &Cast) {
        task::sleep_ns(1_000_000);
        LOOKED_NS.store(now_ns(), Ordering::Relaxed);
        if now_ns() - self.since_ns > self.patience_ns {
            cast.living().for_each(|(index, _)| kprintln!("stress: {} does not end", cast.name(index)));
            die();
        }
    }
}

fn die() -> ! {
    print_tasks();
    #[cfg(debug_assertions)]
    kprintln!("stress: lockdep has found {} problems", stint::lockdep::reports());
    panic!("stress: a wake-up was lost, or a task does not get a CPU");
}
