//! What a path is: some code of the kernel, the stage it needs, and what must be true afterwards.
#![forbid(unsafe_code)]

use crate::probe::nothing;
use core::fmt;

/// A path. `Path { setup, ..Path::new(name, run) }` says what is not at its default.
pub struct Path {
    /// Its name in the reports.
    pub name: &'static str,
    /// Sets the stage; afterwards every task but the victim gets the time to block or finish.
    pub setup: fn(),
    /// The last step before the path, for what must be ready to run and not have run.
    pub ready: fn(),
    /// The path.
    pub run: fn(),
    /// The first step behind it.
    pub after: fn(),
    /// What H does besides being woken: usually the same operation on the same object, so that the object
    /// too is seen in every intermediate state.
    pub intrude: fn(),
    /// What the interrupt handler does besides waking H: the same, for objects that it may touch.
    pub in_irq: fn(),
    /// Whether `in_irq` changes what the path does from there on, or timers come between the interrupt and H that are
    /// not all alike. Then the way to H is not known beforehand and not judged.
    pub reroutes: bool,
    /// Whether the CPU runs out of work in it. Then QEMU's clock is not always exact: see `run::certain`.
    pub idles: bool,
    /// How many CPUs must be online. With more than one it is about others too: what they do advances the clock, in turns
    /// that depend on when the interrupt is due, so the way to H is judged by what H finds and not by how long it was.
    pub cpus: usize,
    /// Instructions from one point to the next: 1, but for what is too long for that.
    pub step: u64,
    /// The letters that victim and actors must have written, in this order.
    pub diary: &'static str,
    /// The path's own result.
    pub check: fn() -> Check,
}

impl Path {
    /// A path that needs no stage, and has no result but that the kernel is as before.
    pub const fn new(name: &'static str, run: fn()) -> Self {
        Self {
            name,
            setup: nothing,
            ready: nothing,
            run,
            after: nothing,
            intrude: nothing,
            in_irq: nothing,
            reroutes: false,
            idles: false,
            cpus: 1,
            step: 1,
            diary: "",
            check: || Ok(()),
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// In words.
    pub what: &'static str,
    /// The value there is.
    pub found: u64,
    /// The value there should be.
    pub right: u64,
}

/// The verdict on one thing.
pub type Check = Result<(), Wrong>;

/// `what` should be `right`.
pub fn expect(what: &'static str, found: u64, right: u64) -> Check {
    if found == right { Ok(()) } else { Err(Wrong { what, found, right }) }
}

/// `what` should be so.
pub fn expect_true(what: &'static str, holds: bool) -> Check {
    expect(what, u64::from(holds), 1)
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses and preempt words read better in hexadecimal, counts in decimal.
        let value = |f: &mut fmt::Formatter<'_>, v: u64| {
            if v > 0xffff { write!(f, "{v:#x}") } else { write!(f, "{v}") }
        };
        write!(f, "{}: ", self.what)?;
        value(f, self.found)?;
        write!(f, " instead of ")?;
        value(f, self.right)
    }
}
