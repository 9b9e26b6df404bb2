//! Timers that another CPU has started: cancelled and moved from here, and cancelled while they go off there.
#![forbid(unsafe_code)]

use super::{Flag, Slot};
use crate::cast::THERE;
use crate::path::{Check, Path, expect, expect_true};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use spin::Once;
use stint::time::Timer;

const BASE: Path = Path { cpus: 2, ..Path::new("", || {}) };

pub const PATHS: &[Path] = &[
    Path { name: "smp_timer_cancel_there", setup: hard_late, run: cancel, check: was_cancelled, ..BASE },
    Path { name: "smp_soft_timer_cancel_there", setup: soft_late, run: cancel, check: was_cancelled, ..BASE },
    Path { name: "smp_timer_moved_here", setup: hard_late, run: start_here, check: runs, ..BASE },
    Path { name: "smp_soft_timer_moved_here", setup: soft_late, run: start_here, check: runs, ..BASE },
    Path {
        name: "smp_timer_expires_there_against_cancel",
        setup: || choose(HARD),
        ready: there_starts_soon,
        intrude: cancel_by_intruder,
        run: expires_meanwhile,
        check: cancelled_or_called,
        ..BASE
    },
    Path {
        name: "smp_soft_timer_expires_there_against_cancel",
        setup: || choose(SOFT),
        ready: there_starts_soon,
        intrude: cancel_by_intruder,
        run: expires_meanwhile,
        check: cancelled_or_called,
        ..BASE
    },
];

const HARD: u64 = 0;
const SOFT: u64 = 1;
/// Later than the end of the path.
const LATE_NS: u64 = 1_000_000;
/// Behind the way into the path, and before its end.
const SOON_NS: u64 = 4_000;

static TIMERS: [Once<Timer>; 2] = [const { Once::new() }; 2];
static WHICH: Slot = Slot::new();
static STARTED: Flag = Flag::new();
static EXPIRED: Flag = Flag::new();
/// Cancels that found the timer pending.
static CANCELLED: Slot = Slot::new();
static CALLS: AtomicU32 = AtomicU32::new(0);
/// Calls that there may be at most, once somebody has cancelled the timer.
static CALLS_MAX: Slot = Slot::new();

pub fn init() {
    let function = || {
        CALLS.fetch_add(1, Relaxed);
        EXPIRED.raise();
    };
    TIMERS[HARD as usize].call_once(|| Timer::new_hard(function));
    TIMERS[SOFT as usize].call_once(|| Timer::new(function));
}

fn timer() -> &'static Timer {
    TIMERS[WHICH.get() as usize].get().expect("made by init")
}

fn choose(which: u64) {
    WHICH.set(which);
    timer().cancel();
    STARTED.lower();
    EXPIRED.lower();
    CANCELLED.set(0);
    CALLS.store(0, Relaxed);
    CALLS_MAX.set(u64::MAX);
}

fn hard_late() {
    choose(HARD);
    THERE.play(|| timer().start_once(LATE_NS));
}

fn soft_late() {
    choose(SOFT);
    THERE.play(|| timer().start_once(LATE_NS));
}

fn there_starts_soon() {
    THERE.play(|| {
        timer().start_once(SOON_NS);
        STARTED.raise();
    });
    STARTED.wait();
}

fn cancel() {
    CANCELLED.set(timer().cancel().into());
}

fn start_here() {
    timer().start_once(LATE_NS);
}

/// By whoever comes first: the timer, or H, which cancels it.
fn expires_meanwhile() {
    while !EXPIRED.is_up() && CALLS_MAX.get() == u64::MAX {
        arch::cpu::relax();
    }
}

fn cancel_by_intruder() {
    let was_pending = timer().cancel();
    CANCELLED.set(CANCELLED.get() + u64::from(was_pending));
    CALLS_MAX.set(CALLS.load(Relaxed).into());
}

fn was_cancelled() -> Check {
    expect("answer of cancel", CANCELLED.get(), 1)?;
    expect("calls of a timer that was cancelled", CALLS.load(Relaxed).into(), 0)?;
    stands_still()
}

fn runs() -> Check {
    expect_true("the timer runs", timer().is_running())?;
    expect_true("the timer could be cancelled", timer().cancel())?;
    expect("calls", CALLS.load(Relaxed).into(), 0)
}

fn stands_still() -> Check {
    expect_true("the timer stands still", !timer().is_running())?;
    expect("answer of a second cancel", timer().cancel().into(), 0)
}

/// A cancel that found it pending is in the call's stead; and none comes behind a cancel.
fn cancelled_or_called() -> Check {
    let calls = u64::from(CALLS.load(Relaxed));
    expect("calls and successful cancels", calls + CANCELLED.get(), 1)?;
    expect_true("no call after the timer was cancelled", calls <= CALLS_MAX.get())?;
    stands_still()
}
