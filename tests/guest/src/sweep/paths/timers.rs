//! One-shot timers: started, moved, cancelled, and going off, with a callback that wakes somebody.
//!
//! H starts and cancels a timer of its own in every run, so the tree of timers too is entered at every
//! instruction.
#![forbid(unsafe_code)]

use super::{Flag, Slot};
use crate::cast::{HIGH, note};
use crate::path::{Check, Path, expect, expect_true};
use spin::Once;
use stint::locking::Semaphore;
use stint::time::Timer;

pub const PATHS: &[Path] = &[
    Path { setup: stopped, intrude: own_timer, check: runs, ..Path::new("timer_start", start) },
    Path {
        setup: stopped,
        intrude: own_timer,
        check: runs,
        ..Path::new("timer_start_as_last", start_as_last)
    },
    Path {
        setup: stopped,
        ready: start,
        intrude: own_timer,
        check: was_cancelled,
        ..Path::new("timer_cancel", cancel)
    },
    Path {
        setup: stopped,
        ready: start,
        intrude: own_timer,
        check: runs,
        ..Path::new("timer_move", start_as_last)
    },
    Path {
        setup: stopped,
        intrude: own_timer,
        diary: "tv",
        check: went_off,
        ..Path::new("timer_goes_off", go_off)
    },
    Path {
        setup: high_waits,
        intrude: own_timer,
        diary: "thv",
        check: went_off,
        ..Path::new("timer_wakes_high", go_off)
    },
];

/// Sooner than the sweep's own watchdog, which is the first in the tree then, and later than it.
const SOON_NS: u64 = 1_000_000;
const LATE_NS: u64 = 1_000_000_000;
/// Within the path.
const NOW_NS: u64 = 600;

static TIMER: Once<Timer> = Once::new();
static INTRUDER: Once<Timer> = Once::new();
static EXPIRED: Flag = Flag::new();
static WORK: Semaphore = Semaphore::new(0);
static WAITS: Flag = Flag::new();
static CANCELLED: Slot = Slot::new();

pub fn init() {
    TIMER.call_once(|| {
        Timer::new(|| {
            note(b't');
            if WAITS.is_up() {
                let _ = WORK.give();
            }
            EXPIRED.raise();
        })
    });
    INTRUDER.call_once(|| Timer::new(|| note(b'!')));
}

fn timer() -> &'static Timer {
    TIMER.get().expect("made by init")
}

fn stopped() {
    timer().cancel();
    EXPIRED.lower();
    WAITS.lower();
    CANCELLED.set(0);
}

fn own_timer() {
    let timer = INTRUDER.get().expect("made by init");
    timer.start_once(SOON_NS / 2);
    timer.cancel();
}

fn start() {
    timer().start_once(SOON_NS);
}

fn start_as_last() {
    timer().start_once(LATE_NS);
}

fn cancel() {
    CANCELLED.set(timer().cancel().into());
}

fn go_off() {
    timer().start_once(NOW_NS);
    EXPIRED.spin();
    note(b'v');
}

fn high_waits() {
    stopped();
    WAITS.raise();
    HIGH.play(|| {
        WORK.take();
        note(b'h');
    });
}

fn runs() -> Check {
    expect_true("the timer runs", timer().is_running())?;
    expect_true("the timer could be cancelled", timer().cancel())?;
    expect_true("the timer has not gone off", !EXPIRED.is_up())
}

fn was_cancelled() -> Check {
    expect("answer of cancel", CANCELLED.get(), 1)?;
    stands_still()
}

fn went_off() -> Check {
    expect_true("the timer has gone off", EXPIRED.is_up())?;
    stands_still()
}

fn stands_still() -> Check {
    expect_true("the timer stands still", !timer().is_running())?;
    expect("answer of a second cancel", timer().cancel().into(), 0)
}
