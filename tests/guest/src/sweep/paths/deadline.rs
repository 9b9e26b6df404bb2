//! Deadline tasks: a budget that begins, and the ways into the class and out of it.
#![forbid(unsafe_code)]

use super::{Flag, Slot};
use crate::VICTIM_PRIO;
use crate::cast::{LOW, LOW_PRIO, note};
use crate::path::{Check, Path, expect};
use stint::sched::prio::SchedAttr;
use stint::task;
use stint::time::now_ns;

pub const PATHS: &[Path] = &[
    Path {
        ready: low_waits_for_its_budget,
        reroutes: true,
        diary: "lv",
        check: low_is_back,
        ..Path::new("deadline_replenishment", wait_for_low)
    },
    Path {
        reroutes: true,
        diary: "v",
        check: victim_is_back,
        ..Path::new("deadline_in_and_out", in_and_out)
    },
];

const RUNTIME_NS: u64 = 20_000;
/// The shortest period there is.
const PERIOD_NS: u64 = 100_000;
/// How long before the budget begins the path does.
const AHEAD_NS: u64 = 400;

static BEGINS_NS: Slot = Slot::new();
static RUNS: Flag = Flag::new();

fn fifo(priority: i32) -> SchedAttr {
    SchedAttr::fifo(priority.unsigned_abs()).expect("a good priority")
}

fn reservation() -> SchedAttr {
    SchedAttr::deadline(RUNTIME_NS, PERIOD_NS, PERIOD_NS).expect("good times")
}

/// LOW has yielded: its next budget begins in the path.
fn low_waits_for_its_budget() {
    RUNS.lower();
    BEGINS_NS.set(0);
    LOW.play(|| {
        let me = task::current_ref();
        // What it has had before is used up long since.
        if me.set_scheduler(reservation()).is_err() {
            note(b'!');
        }
        BEGINS_NS.set(me.deadline_info().map_or(0, |info| info.absolute_ns));
        task::yield_now();
        note(b'l');
        RUNS.raise();
        let _ = me.set_scheduler(fifo(LOW_PRIO));
    });
    while BEGINS_NS.get() == 0 {
        task::sleep_ns(10_000);
    }
    while now_ns() + AHEAD_NS < BEGINS_NS.get() {}
}

fn wait_for_low() {
    RUNS.spin();
    note(b'v');
}

fn low_is_back() -> Check {
    expect("kernel priority of LOW", LOW.task().info().prio as u64, 99 - LOW_PRIO as u64)
}

fn in_and_out() {
    let me = task::current_ref();
    if me.set_scheduler(reservation()).is_err() {
        note(b'!');
    }
    let _ = me.set_scheduler(fifo(VICTIM_PRIO));
    note(b'v');
}

fn victim_is_back() -> Check {
    expect("kernel priority of the victim", task::current_ref().info().prio as u64, 99 - VICTIM_PRIO as u64)
}
