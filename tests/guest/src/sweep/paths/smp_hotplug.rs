//! A CPU that goes and comes back, with the interrupt on the CPU that sends it away or starts it.
//!
//! The way there and back is longer than all other paths together, most of it the same instructions over and over:
//! therefore the interrupt comes at every so many of them only.
#![forbid(unsafe_code)]

use super::Slot;
use crate::others;
use crate::path::{Check, Path, expect};
use stint::smp;
use stint::smp::hotplug::{cpu_down, cpu_up};

pub const PATHS: &[Path] =
    &[Path { run: down, after: up, ..BASE }, Path { name: "smp_cpu_on", setup: down, run: up, ..BASE }];

/// Prime, so that it hits the instructions of every loop in turn.
const STEP: u64 = 211;
const BASE: Path = Path {
    setup: fresh,
    // Not CPU 1, on which actors are.
    cpus: 3,
    step: STEP,
    idles: true,
    check: is_back,
    ..Path::new("smp_cpu_off", || {})
};

static REFUSED: Slot = Slot::new();
static BEFORE: Slot = Slot::new();

fn last() -> usize {
    smp::present().count() - 1
}

fn fresh() {
    REFUSED.set(0);
    BEFORE.set(smp::online().bits());
}

fn down() {
    fresh();
    REFUSED.set(REFUSED.get() + u64::from(cpu_down(last()).is_err()));
}

fn up() {
    REFUSED.set(REFUSED.get() + u64::from(cpu_up(last()).is_err()));
}

fn is_back() -> Check {
    others::bring_to_rest();
    expect("steps that were refused", REFUSED.get(), 0)?;
    expect("CPUs online", smp::online().bits(), BEFORE.get())
}
