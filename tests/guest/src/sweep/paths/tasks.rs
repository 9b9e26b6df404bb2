//! A task from its making to its end: heap, stack, list of tasks, first switch, exit, join.
#![forbid(unsafe_code)]

use super::Slot;
use crate::cast::{HIGH_PRIO, LOW_PRIO, note};
use crate::path::{Check, Path, expect};
use stint::task;

pub const PATHS: &[Path] = &[
    Path {
        setup: fresh,
        after: spawn_another,
        diary: "cvr",
        check: joined,
        ..Path::new("task_spawn_high_join", || spawn_and_join(HIGH_PRIO))
    },
    Path {
        setup: fresh,
        after: spawn_another,
        diary: "cvr",
        check: joined,
        ..Path::new("task_spawn_low_join", || spawn_and_join(LOW_PRIO))
    },
    Path {
        setup: fresh,
        diary: "cv",
        check: gone,
        ..Path::new("task_spawn_high_detach", || spawn_and_detach(HIGH_PRIO))
    },
    Path {
        setup: fresh,
        diary: "vc",
        check: gone,
        ..Path::new("task_spawn_low_detach", || spawn_and_detach(LOW_PRIO))
    },
];

static RESULT: Slot = Slot::new();
static TASKS: Slot = Slot::new();
const ANSWER: u64 = 42;

fn count_tasks() -> u64 {
    let mut count = 0;
    task::for_each(|_| count += 1);
    count
}

fn fresh() {
    RESULT.set(0);
    TASKS.set(count_tasks());
}

/// The child says hello and answers; the victim waits for it if it has not run yet.
fn spawn_and_join(prio: i32) {
    let child = task::build("child").fifo(prio).stack_bytes(4096).spawn(|| {
        note(b'c');
        ANSWER
    });
    RESULT.set(child.ok().and_then(task::JoinHandle::join).unwrap_or(0));
    note(b'v');
}

/// Gets the memory that the first one had, which must be nobody's by now.
fn spawn_another() {
    let another = task::build("another").fifo(HIGH_PRIO).stack_bytes(4096).spawn(|| note(b'r'));
    let _ = another.map(task::JoinHandle::join);
}

/// Nobody waits for the child: the reaper, which is of the fair class, frees it after the path.
fn spawn_and_detach(prio: i32) {
    drop(task::build("child").fifo(prio).stack_bytes(4096).spawn(|| note(b'c')));
    note(b'v');
}

fn gone() -> Check {
    expect("tasks there are", count_tasks(), TASKS.get())
}

fn joined() -> Check {
    expect("answer of the child", RESULT.get(), ANSWER)?;
    expect("tasks there are", count_tasks(), TASKS.get())
}
