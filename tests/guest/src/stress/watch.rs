//! Who has no pulse any more.
//!
//! A task that has made no progress for [`PATIENCE_NS`] waits for something that nobody will bring, or for a CPU
//! that it does not get. Either is a fault; who it is, and what all tasks do, goes to the console before the panic.

use super::cast::{self, Cast};
use crate::framework::runner::print_tasks;
use alloc::vec::Vec;
use stint::time::now_ns;
use stint::{kprintln, task};

/// By the machine's clock, which on a busy host is the host's: longer than anything but a fault.
const PATIENCE_NS: u64 = 60_000_000_000;
/// Between two looks.
const PAUSE_NS: u64 = 20_000_000;

/// What was seen at the last look.
pub struct Watch {
    seen: Vec<(u64, u64)>,
    since_ns: u64,
}

impl Watch {
    /// Everybody is well as of now.
    pub fn new() -> Self {
        Self { seen: Vec::new(), since_ns: now_ns() }
    }

    /// Waits a little, and looks at every pulse.
    pub fn look(&mut self, cast: &Cast) {
        task::sleep_ns(PAUSE_NS);
        let now = now_ns();
        for (index, _) in cast.living() {
            if self.seen.len() <= index {
                self.seen.resize(index + 1, (u64::MAX, now));
            }
            let pulse = cast::pulse(index);
            let (before, since) = self.seen[index];
            if pulse != before {
                self.seen[index] = (pulse, now);
            } else if now - since > PATIENCE_NS {
                kprintln!(
                    "stress: {} has made no progress for {} s, after {pulse} operations",
                    cast.name(index),
                    PATIENCE_NS / 1_000_000_000
                );
                die();
            }
        }
    }

    /// After the stop: nobody has to make progress, but all have to end.
    pub fn wait_for_end(&mut self, cast: &Cast) {
        task::sleep_ns(1_000_000);
        if now_ns() - self.since_ns > PATIENCE_NS {
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
