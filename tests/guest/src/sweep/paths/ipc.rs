//! The message queue. Where it does not change the outcome, H and the interrupt handler send messages of
//! their own in every run.
#![forbid(unsafe_code)]

use super::Slot;
use crate::cast::{HIGH, LOW, note};
use crate::path::{Check, Path, expect};
use crate::probe;
use stint::ipc::MsgQueue;

pub const PATHS: &[Path] = &[
    Path {
        setup: empty,
        intrude: put_another,
        in_irq: put_third,
        check: one_got_others_left,
        ..Path::new("msgq_put_get", put_get)
    },
    Path { setup: high_gets, diary: "hv", check: got, ..Path::new("msgq_put_wakes_high", put_and_note) },
    Path { setup: low_gets, diary: "vl", check: got, ..Path::new("msgq_put_wakes_low", put_and_note) },
    Path {
        setup: empty,
        ready: low_puts,
        diary: "lvL",
        check: got,
        ..Path::new("msgq_get_blocks", get_and_note)
    },
    Path {
        setup: full,
        ready: low_makes_room,
        diary: "lvL",
        check: in_order,
        ..Path::new("msgq_put_blocks", put_and_note)
    },
];

const CAPACITY: usize = 3;
static QUEUE: MsgQueue<u64, CAPACITY> = MsgQueue::new();
static GOT: Slot = Slot::new();
/// The message of the path, that of H, and that of the interrupt handler.
const MESSAGE: u64 = 7;
const ANOTHER: u64 = 100;
const THIRD: u64 = 1000;

fn empty() {
    while QUEUE.try_get().is_ok() {}
    GOT.set(0);
}

/// Messages 1, 2, 3.
fn full() {
    empty();
    for message in 1..=CAPACITY as u64 {
        QUEUE.put(message);
    }
}

fn put_another() {
    let _ = QUEUE.try_put(ANOTHER);
}

fn put_third() {
    let _ = QUEUE.try_put(THIRD);
}

fn put_get() {
    QUEUE.put(MESSAGE);
    GOT.set(QUEUE.get());
}

fn put_and_note() {
    QUEUE.put(MESSAGE);
    note(b'v');
}

fn get_and_note() {
    GOT.set(QUEUE.get());
    note(b'v');
}

fn high_gets() {
    empty();
    HIGH.play(|| {
        GOT.set(QUEUE.get());
        note(b'h');
    });
}

fn low_gets() {
    empty();
    LOW.play(|| {
        GOT.set(QUEUE.get());
        note(b'l');
    });
}

fn low_puts() {
    LOW.play(|| {
        note(b'l');
        QUEUE.put(MESSAGE);
        note(b'L');
    });
}

fn low_makes_room() {
    LOW.play(|| {
        note(b'l');
        GOT.set(QUEUE.get());
        note(b'L');
    });
}

/// Which of the three came first is open; each is there once.
fn one_got_others_left() -> Check {
    let reading = probe::reading();
    let sent = MESSAGE + ANOTHER * u64::from(reading.intrusions) + THIRD * u64::from(reading.irqs);
    let left = QUEUE.try_get().unwrap_or(0) + QUEUE.try_get().unwrap_or(0);
    expect("messages got and left, added up", GOT.get() + left, sent)?;
    expect("messages in the queue", QUEUE.len() as u64, 0)
}

fn got() -> Check {
    expect("message", GOT.get(), MESSAGE)?;
    expect("messages in the queue", QUEUE.len() as u64, 0)
}

fn in_order() -> Check {
    expect("first message", GOT.get(), 1)?;
    for right in [2, 3, MESSAGE] {
        expect("next message", QUEUE.try_get().unwrap_or(0), right)?;
    }
    expect("messages in the queue", QUEUE.len() as u64, 0)
}
