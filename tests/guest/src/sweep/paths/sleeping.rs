//! `__schedule` and wake-up by themselves: sleeping, parking, yielding, conditions.
#![forbid(unsafe_code)]

use super::Flag;
use crate::VICTIM_PRIO;
use crate::cast::{EQUAL, FLOOR, HIGH, HIGH_PRIO, LOW, LOW_PRIO, note};
use crate::path::{Check, Path, expect};
use spin::Once;
use stint::locking::{Completion, WaitQueue};
use stint::sched::core as sched;
use stint::sched::prio::SchedAttr;
use stint::task::{self, TaskRef, state};
use stint::time;

pub const PATHS: &[Path] = &[
    Path { idles: true, diary: "v", ..Path::new("sleep_until_idle", sleep) },
    Path {
        setup: lower,
        ready: floor_spins,
        after: raise,
        diary: "v",
        ..Path::new("sleep_until_busy", sleep)
    },
    Path { idles: true, diary: "v", ..Path::new("sleep_until_past", sleep_until_past) },
    Path { diary: "v", ..Path::new("yield_alone", yield_and_note) },
    Path { ready: equal_yields, diary: "aebf", ..Path::new("yield_to_equal", yield_between) },
    Path { ready: || LOW.play(note_low), diary: "vl", ..Path::new("yield_not_to_low", yield_and_note) },
    Path { setup: || LOW.play(park_low), diary: "vl", ..Path::new("unpark_wakes_low", unpark_low) },
    Path { setup: || HIGH.play(park_high), diary: "hv", ..Path::new("unpark_wakes_high", unpark_high) },
    Path { ready: low_unparks, diary: "lvL", ..Path::new("park_blocks", park) },
    Path { setup: lower, ready: low_wakes, diary: "lvL", ..Path::new("wait_queue_blocks", wait_for_flag) },
    Path { setup: raise, diary: "v", ..Path::new("wait_by_hand_true", wait_by_hand) },
    Path {
        setup: lower,
        ready: low_wakes_victim,
        intrude: wake_victim,
        diary: "v",
        ..Path::new("wait_by_hand_woken", wait_by_hand)
    },
    Path { setup: high_waits_for_flag, diary: "hv", ..Path::new("wait_queue_wakes_high", raise_and_wake) },
    Path { setup: high_waits_for_done, diary: "hv", ..Path::new("completion_wakes_high", complete) },
    Path {
        ready: || LOW.play(note_low),
        after: low_again,
        diary: "lv",
        check: prios_are_back,
        ..Path::new("raise_ready_task", raise_low)
    },
];

/// A little more than the way into the sleep.
const SLEEP_NS: u64 = 1_500;
static FLAG: Flag = Flag::new();
static QUEUE: WaitQueue = WaitQueue::new();
static DONE: Completion = Completion::new();
static VICTIM: Once<TaskRef> = Once::new();

pub fn init() {
    VICTIM.call_once(task::current_ref);
}

fn lower() {
    FLAG.lower();
}

fn raise() {
    FLAG.raise();
}

fn note_low() {
    note(b'l');
}

fn sleep() {
    task::sleep_until(time::now_ns() + SLEEP_NS);
    note(b'v');
}

fn sleep_until_past() {
    task::sleep_until(1);
    note(b'v');
}

/// The CPU is never idle: the sleeper's timer interrupts a task, which is preempted.
fn floor_spins() {
    FLOOR.play(|| FLAG.spin());
}

fn yield_and_note() {
    task::yield_now();
    note(b'v');
}

fn yield_between() {
    note(b'a');
    task::yield_now();
    note(b'b');
}

fn equal_yields() {
    EQUAL.play(|| {
        note(b'e');
        task::yield_now();
        note(b'f');
    });
}

fn park_low() {
    task::park();
    note(b'l');
}

fn park_high() {
    task::park();
    note(b'h');
}

fn unpark_low() {
    LOW.task().unpark();
    note(b'v');
}

fn unpark_high() {
    HIGH.task().unpark();
    note(b'v');
}

fn low_unparks() {
    LOW.play(|| {
        note(b'l');
        VICTIM.get().expect("set by init").unpark();
        note(b'L');
    });
}

fn park() {
    task::park();
    note(b'v');
}

fn low_wakes() {
    LOW.play(|| {
        note(b'l');
        FLAG.raise();
        QUEUE.wake_one();
        note(b'L');
    });
}

fn wait_for_flag() {
    QUEUE.wait_until(|| FLAG.is_up());
    note(b'v');
}

/// The idiom under every wait: say that you sleep, look once more, then go. Preempted in between, a task
/// is asleep by its state and must run on all the same, for nobody may be left to wake it.
fn wait_by_hand() {
    loop {
        task::set_current_state(state::INTERRUPTIBLE);
        if FLAG.is_up() {
            break;
        }
        sched::schedule();
    }
    task::set_current_state(state::RUNNING);
    note(b'v');
}

fn wake_victim() {
    FLAG.raise();
    sched::wake_up_process(VICTIM.get().expect("set by init"));
}

fn low_wakes_victim() {
    LOW.play(wake_victim);
}

fn high_waits_for_flag() {
    FLAG.lower();
    HIGH.play(|| {
        QUEUE.wait_until(|| FLAG.is_up());
        note(b'h');
    });
}

fn raise_and_wake() {
    FLAG.raise();
    QUEUE.wake_one();
    note(b'v');
}

fn high_waits_for_done() {
    HIGH.play(|| {
        DONE.wait();
        note(b'h');
    });
}

fn complete() {
    DONE.complete();
    note(b'v');
}

fn set_low(priority: i32) {
    if let Ok(attr) = SchedAttr::fifo(priority.unsigned_abs()) {
        // A good priority of a living task.
        let _ = LOW.task().set_scheduler(attr);
    }
}

/// LOW is ready and becomes the most important one.
fn raise_low() {
    set_low(HIGH_PRIO);
    note(b'v');
}

fn low_again() {
    set_low(LOW_PRIO);
}

fn prios_are_back() -> Check {
    let kernel_prio = |priority: i32| 99 - priority as u64;
    expect("kernel priority of LOW", LOW.task().info().prio as u64, kernel_prio(LOW_PRIO))?;
    let victim = VICTIM.get().map_or(0, |victim| victim.info().prio as u64);
    expect("kernel priority of the victim", victim, kernel_prio(VICTIM_PRIO))
}
