//! Preemption markers and spin locks.
//!
//! The locked data are two equal counters, changed one after the other. H takes the same lock in every run
//! and looks, and so does the interrupt handler where it may: if one of them ever ran inside
//! the section, it would find them different.
#![forbid(unsafe_code)]

use super::Slot;
use crate::cast::{HIGH, note};
use crate::path::{Check, Path, expect};
use crate::probe;
use stint::locking::{Semaphore, SpinLock, SpinLockIrqSave};
use stint::preempt::preempt_disable;

pub const PATHS: &[Path] = &[
    Path::new("preempt_disable_enable", || drop(preempt_disable())),
    Path::new("preempt_disable_nested", || {
        let outer = preempt_disable();
        let inner = preempt_disable();
        drop(inner);
        drop(outer);
    }),
    Path { setup: fresh, intrude: change, check: both_changed, ..Path::new("spin_lock", change) },
    Path {
        setup: fresh,
        intrude: change_nested,
        check: both_changed,
        ..Path::new("spin_lock_nested", change_nested)
    },
    Path {
        setup: fresh,
        intrude: change_irqsave,
        in_irq: change_irqsave,
        check: both_changed,
        ..Path::new("spin_lock_irqsave", change_irqsave)
    },
    Path { ready: wait_high, diary: "vhV", ..Path::new("spin_lock_wakes_high", || wake_in(&LOCKED)) },
    Path { ready: wait_high, diary: "vhV", ..Path::new("spin_lock_irqsave_wakes_high", wake_in_irqsave) },
];

static LOCKED: SpinLock<(u64, u64)> = SpinLock::new((0, 0));
static OTHER: SpinLock<()> = SpinLock::new(());
static MASKED: SpinLockIrqSave<(u64, u64)> = SpinLockIrqSave::new((0, 0));
static TORN: Slot = Slot::new();
static WORK: Semaphore = Semaphore::new(0);

fn fresh() {
    *LOCKED.lock() = (0, 0);
    *MASKED.lock() = (0, 0);
    TORN.set(0);
}

/// One step for each counter, with a look at both before.
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
    step(&mut LOCKED.lock());
}

fn change_nested() {
    let other = OTHER.lock();
    step(&mut LOCKED.lock());
    drop(other);
}

fn change_irqsave() {
    step(&mut MASKED.lock());
}

fn both_changed() -> Check {
    expect("sections that found the data half changed", TORN.get(), 0)?;
    let (locked, masked) = (*LOCKED.lock(), *MASKED.lock());
    let reading = probe::reading();
    // The handler takes only the lock that masks.
    let in_irq = if masked.0 > 0 { reading.irqs } else { 0 };
    let right = 1 + u64::from(reading.intrusions) + u64::from(in_irq);
    expect("sections that counted in the first counter", locked.0 + masked.0, right)?;
    expect("sections that counted in the second counter", locked.1 + masked.1, right)
}

fn wait_high() {
    HIGH.play(|| {
        WORK.take();
        note(b'h');
    });
}

/// A wake-up inside the section: the switch is due at its end, not before.
fn wake_in(lock: &SpinLock<(u64, u64)>) {
    let guard = lock.lock();
    let _ = WORK.give();
    note(b'v');
    drop(guard);
    note(b'V');
}

/// The same with IRQs masked as well: unlocking opens them before it looks.
fn wake_in_irqsave() {
    let guard = MASKED.lock();
    let _ = WORK.give();
    note(b'v');
    drop(guard);
    note(b'V');
}
