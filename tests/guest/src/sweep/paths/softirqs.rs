//! Softirqs behind an interrupt, at `local_bh_enable`, and raised by an interrupt at every instruction of a section;
//! and the wake-up of an interrupt thread.
#![forbid(unsafe_code)]

use super::{Flag, Slot, drain};
use crate::cast::{HIGH, HIGH_PRIO, note};
use crate::path::{Check, Path, expect, expect_true};
use stint::drivers::irqchip;
use stint::irq::info::line_info;
use stint::irq::softirq::{
    Vector, local_bh_disable, local_softirq_pending, open_softirq, raise_softirq, raise_softirq_irqoff,
};
use stint::irq::{self, IrqFlags, IrqReturn};
use stint::locking::Semaphore;
use stint::sched::prio::SchedAttr;

pub const PATHS: &[Path] = &[
    Path {
        setup: reset,
        diary: "isv",
        check: ran_once,
        ..Path::new("softirq_behind_interrupt", by_interrupt)
    },
    Path {
        setup: high_waits,
        diary: "ishv",
        check: ran_once,
        ..Path::new("softirq_wakes_high", by_interrupt)
    },
    Path { setup: reset, check: nothing_pending, ..Path::new("bh_enable", section) },
    // An interrupt between the look at the hint and the mask runs the softirq itself: another way to H.
    Path {
        setup: reset,
        diary: "asv",
        reroutes: true,
        check: ran_once,
        ..Path::new("bh_enable_pending", raised_in_section)
    },
    Path {
        setup: high_waits,
        diary: "ashv",
        reroutes: true,
        check: ran_once,
        ..Path::new("bh_enable_wakes_high", raised_in_section)
    },
    // The interrupt raises it, wherever it comes: at its own exit, or at the end of the section, it has run.
    Path {
        setup: quiet,
        in_irq: raise_in_interrupt,
        after: look_whether_pending,
        reroutes: true,
        check: ran_as_often_as_raised,
        ..Path::new("bh_enable_against_interrupt", section)
    },
    Path {
        setup: quiet,
        in_irq: raise_in_interrupt,
        reroutes: true,
        check: ran_after_the_last_raise,
        ..Path::new("softirq_against_interrupt", by_interrupt)
    },
    Path { setup: reset, diary: "tv", check: line_is_open, ..Path::new("irq_thread_wake", by_thread) },
];

/// A software-generated interrupt, and a shared one that no device has.
const SGI: u32 = 9;
const SPI: u32 = 216;

static RAN: Slot = Slot::new();
static EARLY: Slot = Slot::new();
static RAISED: Slot = Slot::new();
static RAISED_BEFORE_RUN: Slot = Slot::new();
static QUIET: Flag = Flag::new();
static DONE: Flag = Flag::new();
static WAITS: Flag = Flag::new();
static WORK: Semaphore = Semaphore::new(0);

pub fn init() -> Result<(), &'static str> {
    open_softirq(Vector::Spare, || {
        RAN.set(RAN.get() + 1);
        RAISED_BEFORE_RUN.set(RAISED.get());
        mark(b's');
        if WAITS.is_up() {
            let _ = WORK.give();
        }
        DONE.raise();
    });
    irq::request(
        SGI,
        |_| {
            mark(b'i');
            raise_softirq_irqoff(Vector::Spare);
        },
        0,
    )
    .map_err(|_| "the SGI of the softirq paths cannot be requested")?;
    let served = |_| {
        mark(b't');
        DONE.raise();
        IrqReturn::Handled
    };
    let flags = IrqFlags::ONESHOT | IrqFlags::EDGE;
    // For as long as the machine runs.
    let _ = irq::request_threaded_irq(SPI, None, served, flags, "sweep")
        .map_err(|_| "the SPI of the interrupt thread cannot be requested")?;
    let line = line_info(SPI).ok_or("the SPI was requested and is not there")?;
    let high = SchedAttr::fifo(HIGH_PRIO as u32).map_err(|_| "HIGH_PRIO is no priority")?;
    let thread = line.actions.first().and_then(|action| action.thread.clone());
    thread.ok_or("the SPI has no thread")?.set_scheduler(high).map_err(|_| "its priority cannot be set")
}

fn reset() {
    drain(&WORK);
    RAN.set(0);
    EARLY.set(0);
    RAISED.set(0);
    RAISED_BEFORE_RUN.set(0);
    QUIET.lower();
    DONE.lower();
    WAITS.lower();
}

/// For paths whose events have no fixed order.
fn quiet() {
    reset();
    QUIET.raise();
}

fn mark(letter: u8) {
    if !QUIET.is_up() {
        note(letter);
    }
}

fn raise_in_interrupt() {
    RAISED.set(RAISED.get() + 1);
    raise_softirq_irqoff(Vector::Spare);
}

fn high_waits() {
    reset();
    WAITS.raise();
    HIGH.play(|| {
        WORK.take();
        mark(b'h');
    });
}

fn by_interrupt() {
    arch::gic::send_sgi_self(SGI);
    DONE.spin();
    mark(b'v');
}

fn section() {
    let outer = local_bh_disable();
    drop(local_bh_disable());
    drop(outer);
}

fn raised_in_section() {
    let guard = local_bh_disable();
    raise_softirq(Vector::Spare);
    mark(b'a');
    drop(guard);
    mark(b'v');
}

fn by_thread() {
    irqchip::set_pending(0, SPI);
    DONE.spin();
    mark(b'v');
}

/// The first step behind the path, K5: an interrupt that came has left nothing pending.
fn look_whether_pending() {
    EARLY.set(local_softirq_pending().into());
}

fn nothing_pending() -> Check {
    expect("softirqs pending after the path", local_softirq_pending().into(), 0)?;
    expect("runs of the softirq", RAN.get(), 0)
}

fn ran_once() -> Check {
    expect("softirqs pending after the path", local_softirq_pending().into(), 0)?;
    expect("runs of the softirq", RAN.get(), 1)
}

fn ran_as_often_as_raised() -> Check {
    expect("softirqs pending at the end of the path", EARLY.get(), 0)?;
    expect("runs of the softirq", RAN.get(), RAISED.get())
}

/// The wake-up of H may have ended the run early: then ksoftirqd has what is left.
fn ran_after_the_last_raise() -> Check {
    expect("softirqs pending after the path", local_softirq_pending().into(), 0)?;
    expect("raises that the softirq's last run came behind", RAISED_BEFORE_RUN.get(), RAISED.get())?;
    expect_true("the softirq has run", RAN.get() >= 1)
}

fn line_is_open() -> Check {
    let line = line_info(SPI);
    expect_true("the line is let through", line.is_some_and(|line| !line.masked && line.disabled == 0))
}
