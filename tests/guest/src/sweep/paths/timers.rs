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
    Path { setup: hard, intrude: own_timer, check: runs, ..Path::new("timer_start", start) },
    Path { setup: hard, intrude: own_timer, check: runs, ..Path::new("timer_start_as_last", start_as_last) },
    Path {
        setup: hard,
        ready: start,
        intrude: own_timer,
        check: was_cancelled,
        ..Path::new("timer_cancel", cancel)
    },
    Path {
        setup: hard,
        ready: start,
        intrude: own_timer,
        check: runs,
        ..Path::new("timer_move", start_as_last)
    },
    Path {
        setup: hard,
        intrude: own_timer,
        diary: "tv",
        check: went_off,
        ..Path::new("timer_goes_off", go_off)
    },
    Path {
        setup: || high_waits(hard),
        intrude: own_timer,
        diary: "thv",
        check: went_off,
        ..Path::new("timer_wakes_high", go_off)
    },
    Path { setup: soft, intrude: own_timer, check: runs, ..Path::new("soft_timer_start", start) },
    Path {
        setup: soft,
        ready: start,
        intrude: own_timer,
        check: was_cancelled,
        ..Path::new("soft_timer_cancel", cancel)
    },
    Path {
        setup: soft,
        intrude: own_timer,
        diary: "tv",
        check: went_off,
        ..Path::new("soft_timer_goes_off", go_off)
    },
    Path {
        setup: || high_waits(soft),
        intrude: own_timer,
        diary: "thv",
        check: went_off,
        ..Path::new("soft_timer_wakes_high", go_off)
    },
    Path {
        setup: hard,
        intrude: cancel_by_intruder,
        check: cancelled_or_called,
        ..Path::new("timer_expires_against_cancel", expire_meanwhile)
    },
    Path {
        setup: soft,
        intrude: cancel_by_intruder,
        check: cancelled_or_called,
        ..Path::new("soft_timer_expires_against_cancel", expire_meanwhile)
    },
    Path {
        setup: soft,
        in_irq: try_cancel_in_irq,
        reroutes: true,
        check: cancelled_or_called,
        ..Path::new("soft_timer_expires_against_interrupt", expire_meanwhile)
    },
    Path {
        setup: soft,
        intrude: cancel_by_intruder,
        reroutes: true,
        after: cancel,
        check: no_call_after_cancel,
        ..Path::new("soft_timer_period_against_cancel", periods_pass)
    },
    Path {
        setup: soft,
        in_irq: try_cancel_in_irq,
        reroutes: true,
        after: cancel,
        check: no_call_after_cancel,
        ..Path::new("soft_timer_period_against_interrupt", periods_pass)
    },
];

/// Sooner than the sweep's own watchdog, which is the first in the tree then, and later than it.
const SOON_NS: u64 = 1_000_000;
const LATE_NS: u64 = 1_000_000_000;
/// Within the path.
const NOW_NS: u64 = 600;

/// The shortest period.
const PERIOD_NS: u64 = 1_000;

static TIMERS: [Once<Timer>; 2] = [const { Once::new() }; 2];
/// Which of them the path is about: 0 the hard one, 1 the soft one.
static WHICH: Slot = Slot::new();
static INTRUDER: Once<Timer> = Once::new();
static EXPIRED: Flag = Flag::new();
static WORK: Semaphore = Semaphore::new(0);
static WAITS: Flag = Flag::new();
static STARTED: Flag = Flag::new();
/// Cancels that found the timer pending.
static CANCELLED: Slot = Slot::new();
/// Calls of the function.
static CALLS: Slot = Slot::new();
/// Calls that there may be at most, once somebody has cancelled the timer.
static CALLS_MAX: Slot = Slot::new();

pub fn init() {
    let function = || {
        CALLS.set(CALLS.get() + 1);
        if !EXPIRED.is_up() {
            note(b't');
        }
        if WAITS.is_up() {
            let _ = WORK.give();
        }
        EXPIRED.raise();
    };
    TIMERS[0].call_once(|| Timer::new_hard(function));
    TIMERS[1].call_once(|| Timer::new(function));
    INTRUDER.call_once(|| Timer::new(|| note(b'!')));
}

fn timer() -> &'static Timer {
    TIMERS[WHICH.get() as usize].get().expect("made by init")
}

fn hard() {
    stopped(0);
}

fn soft() {
    stopped(1);
}

fn stopped(which: u64) {
    WHICH.set(which);
    timer().cancel();
    EXPIRED.lower();
    WAITS.lower();
    STARTED.lower();
    CANCELLED.set(0);
    CALLS.set(0);
    CALLS_MAX.set(u64::MAX);
}

fn own_timer() {
    let timer = INTRUDER.get().expect("made by init");
    timer.start_once(SOON_NS / 2);
    timer.cancel();
}

fn cancel_by_intruder() {
    let started = STARTED.is_up();
    let was_pending = timer().cancel();
    if started || was_pending {
        CANCELLED.set(CANCELLED.get() + u64::from(was_pending));
        CALLS_MAX.set(CALLS.get());
    }
}

/// If it has interrupted the function, that call may not have counted itself yet.
fn try_cancel_in_irq() {
    let (started, calls) = (STARTED.is_up(), CALLS.get());
    match timer().try_cancel() {
        Ok(was_pending) if started || was_pending => {
            CANCELLED.set(CANCELLED.get() + u64::from(was_pending));
            CALLS_MAX.set(calls);
        }
        Ok(_) => {}
        Err(_) => CALLS_MAX.set(calls + 1),
    }
}

/// Long enough for the timer to expire in the middle, whoever comes in between.
fn expire_meanwhile() {
    EXPIRED.raise();
    timer().start_once(NOW_NS);
    STARTED.raise();
    spin_ns(3 * NOW_NS);
}

fn periods_pass() {
    EXPIRED.raise();
    // A good period.
    let _ = timer().start_periodic(PERIOD_NS);
    STARTED.raise();
    spin_ns(3 * PERIOD_NS + PERIOD_NS / 2);
    timer().cancel();
}

/// By instructions, not by the clock: the path is to be the same in each run until it is interrupted.
fn spin_ns(ns: u64) {
    for round in 0..ns / 4 {
        core::hint::black_box(round);
    }
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

fn high_waits(kind: fn()) {
    kind();
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

/// A cancel that found it pending is in the call's stead: there is one of the two.
fn cancelled_or_called() -> Check {
    expect("calls and successful cancels", CALLS.get() + CANCELLED.get(), 1)?;
    no_call_after_cancel()
}

fn no_call_after_cancel() -> Check {
    expect_true("no call after the timer was cancelled", CALLS.get() <= CALLS_MAX.get())?;
    stands_still()
}
