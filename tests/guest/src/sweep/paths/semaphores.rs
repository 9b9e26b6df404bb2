//! Semaphores: units given and taken with nobody waiting, with a less and with a more important waiter, and
//! waits that end by a unit or by the time.
//!
//! Where it does not change the outcome, H gives a unit and takes one in every run, and the interrupt
//! handler gives one.
#![forbid(unsafe_code)]

use super::{Slot, drain};
use crate::cast::{FAIR, HIGH, LOW, note};
use crate::path::{Check, Path, expect, expect_true};
use crate::probe;
use stint::Error;
use stint::locking::Semaphore;
use stint::sched::wait::Timeout;

pub const PATHS: &[Path] = &[
    Path {
        setup: none,
        intrude: give_and_take,
        in_irq: give,
        check: one_left,
        ..Path::new("sem_give", give)
    },
    Path {
        setup: one,
        intrude: give_and_take,
        in_irq: give,
        check: one_from_irq,
        ..Path::new("sem_take", take)
    },
    Path {
        setup: low_waits,
        diary: "vl",
        check: none_left,
        ..Path::new("sem_give_wakes_low", give_and_note)
    },
    Path {
        setup: high_waits,
        diary: "hv",
        check: none_left,
        ..Path::new("sem_give_wakes_high", give_and_note)
    },
    Path {
        setup: both_wait,
        diary: "hvl",
        check: none_left,
        ..Path::new("sem_give_twice_wakes_both", give_twice)
    },
    Path {
        setup: none,
        ready: low_gives,
        diary: "lvL",
        check: none_left,
        ..Path::new("sem_take_blocks", take_and_note)
    },
    Path {
        setup: none,
        ready: low_gives,
        diary: "lvL",
        check: granted,
        ..Path::new("sem_take_timeout_granted", take_in_time)
    },
    Path {
        setup: fair_waits,
        diary: "vf",
        check: none_left,
        ..Path::new("sem_give_wakes_fair", give_and_note)
    },
    Path {
        setup: none,
        ready: fair_gives,
        diary: "fvF",
        check: none_left,
        ..Path::new("sem_take_blocks_fair", take_and_note)
    },
    Path {
        setup: none,
        idles: true,
        diary: "v",
        check: timed_out,
        ..Path::new("sem_take_timeout_expires", take_in_time)
    },
];

static SEM: Semaphore = Semaphore::new(0);
static RESULT: Slot = Slot::new();
const TIMEOUT_NS: u64 = 5_000;

fn none() {
    drain(&SEM);
}

fn one() {
    drain(&SEM);
    let _ = SEM.give();
}

fn give() {
    let _ = SEM.give();
}

fn take() {
    SEM.take();
}

fn give_and_take() {
    let _ = SEM.give();
    SEM.take();
}

fn give_and_note() {
    let _ = SEM.give();
    note(b'v');
}

fn give_twice() {
    let _ = SEM.give();
    let _ = SEM.give();
    note(b'v');
}

fn take_and_note() {
    SEM.take();
    note(b'v');
}

fn take_in_time() {
    RESULT.set(match SEM.take_timeout(Timeout::In(TIMEOUT_NS)) {
        Ok(()) => 1,
        Err(Error::TimedOut) => 2,
        Err(_) => 3,
    });
    note(b'v');
}

fn low_waits() {
    drain(&SEM);
    LOW.play(|| {
        SEM.take();
        note(b'l');
    });
}

fn high_waits() {
    drain(&SEM);
    HIGH.play(|| {
        SEM.take();
        note(b'h');
    });
}

fn fair_waits() {
    drain(&SEM);
    FAIR.play(|| {
        SEM.take();
        note(b'f');
    });
}

/// LOW comes first, HIGH is served first.
fn both_wait() {
    low_waits();
    high_waits();
}

fn low_gives() {
    LOW.play(|| {
        note(b'l');
        let _ = SEM.give();
        note(b'L');
    });
}

fn fair_gives() {
    FAIR.play(|| {
        note(b'f');
        let _ = SEM.give();
        note(b'F');
    });
}

fn one_left() -> Check {
    expect("units in the semaphore", SEM.count().into(), 1 + u64::from(probe::reading().irqs))
}

fn one_from_irq() -> Check {
    expect("units in the semaphore", SEM.count().into(), probe::reading().irqs.into())
}

fn none_left() -> Check {
    expect("units in the semaphore", SEM.count().into(), 0)
}

fn granted() -> Check {
    none_left()?;
    expect("result of the wait (1: granted)", RESULT.get(), 1)
}

fn timed_out() -> Check {
    none_left()?;
    expect("result of the wait (2: timed out)", RESULT.get(), 2)?;
    expect_true("nobody is left in the queue", SEM.give().is_ok() && SEM.count() == 1)
}
