//! The sleeping mutex. H takes it in every run too, so at every instruction somebody more important comes
//! and wants it; and where the victim is to find it taken, H sleeps while it owns it.
#![forbid(unsafe_code)]

use super::Slot;
use crate::cast::{HIGH, LOW, note};
use crate::path::{Check, Path, expect, expect_true};
use crate::probe;
use stint::locking::{Mutex, Semaphore};
use stint::task;

pub const PATHS: &[Path] = &[
    Path {
        setup: fresh,
        intrude: change_slowly,
        check: changed_once,
        ..Path::new("mutex_lock_unlock", change)
    },
    Path {
        setup: fresh,
        intrude: change_slowly,
        check: changed_or_refused,
        ..Path::new("mutex_try_lock", try_change)
    },
    Path {
        setup: fresh,
        intrude: change,
        diary: "hv",
        check: changed_twice,
        ..Path::new("mutex_handed_to_high", hand_over)
    },
    Path {
        setup: low_owns,
        intrude: change,
        diary: "abvc",
        check: changed_twice,
        ..Path::new("mutex_lock_blocks", wait_for_low)
    },
];

static MUTEX: Mutex<(u64, u64)> = Mutex::new((0, 0));
static GATE: Semaphore = Semaphore::new(0);
static TORN: Slot = Slot::new();
const SLOWLY_NS: u64 = 2_000;
static REFUSED: Slot = Slot::new();

fn fresh() {
    *MUTEX.lock() = (0, 0);
    TORN.set(0);
    REFUSED.set(0);
}

fn step(pair: &mut (u64, u64)) {
    if pair.0 != pair.1 {
        TORN.set(TORN.get() + 1);
    }
    pair.0 += 1;
    // The compiler would make one store of two.
    core::hint::black_box(&mut *pair);
    pair.1 += 1;
}

fn change() {
    step(&mut MUTEX.lock());
}

fn try_change() {
    match MUTEX.try_lock() {
        Some(mut pair) => step(&mut pair),
        None => REFUSED.set(REFUSED.get() + 1),
    }
}

/// Owns it for a while, and sleeps in the middle of the change.
fn change_slowly() {
    let mut pair = MUTEX.lock();
    if pair.0 != pair.1 {
        TORN.set(TORN.get() + 1);
    }
    pair.0 += 1;
    task::sleep_ns(SLOWLY_NS);
    pair.1 += 1;
}

/// HIGH comes while the victim has it, waits, and owns it from the moment the victim lets go.
fn hand_over() {
    let mut pair = MUTEX.lock();
    HIGH.play(|| {
        change();
        note(b'h');
    });
    step(&mut pair);
    drop(pair);
    note(b'v');
}

/// LOW has it and waits at a gate.
fn low_owns() {
    fresh();
    LOW.play(|| {
        let mut pair = MUTEX.lock();
        note(b'a');
        GATE.take();
        note(b'b');
        step(&mut pair);
        drop(pair);
        note(b'c');
    });
}

fn wait_for_low() {
    let _ = GATE.give();
    change();
    note(b'v');
}

fn changed(times: u64) -> Check {
    expect_true("the mutex is free", !MUTEX.is_locked())?;
    expect("owners that found the data half changed", TORN.get(), 0)?;
    let (first, second) = *MUTEX.lock();
    expect("owners that counted in the first counter", first, times)?;
    expect("owners that counted in the second counter", second, times)
}

fn intrusions() -> u64 {
    probe::reading().intrusions.into()
}

fn changed_once() -> Check {
    changed(1 + intrusions())
}

fn changed_twice() -> Check {
    changed(2 + intrusions())
}

/// Refused or not: whoever got it counted.
fn changed_or_refused() -> Check {
    changed(1 + intrusions() - REFUSED.get())
}
