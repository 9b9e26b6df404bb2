//! Priority inheritance through a chain: FLOOR has the first mutex, LOW the second one and waits for the first, the
//! victim comes for the second. H takes and releases the second one too, so at every instruction of the walk somebody
//! more important joins the same chain. (A wait that gives up begins its walk in the timer's interrupt; that takes so long
//! that the order of two interrupts shows in the figures. The kernel tests have it.)
#![forbid(unsafe_code)]

use crate::cast::{FLOOR, LOW, LOW_PRIO, note};
use crate::path::{Check, Path, expect, expect_true};
use stint::locking::{Mutex, Semaphore};
use stint::sched::wait::Timeout;
use stint::task::{self, TaskRef};

pub const PATHS: &[Path] = &[
    Path {
        setup: chain,
        intrude: take_second,
        diary: "flv",
        check: all_is_back,
        ..Path::new("pi_boost_chain", boosted_to_the_end)
    },
    Path {
        setup: chain,
        after: release,
        intrude: try_second,
        diary: "fl",
        check: all_is_back,
        ..Path::new("pi_raise_and_lower_waiter", raise_and_lower)
    },
];

static FIRST: Mutex<()> = Mutex::new(());
static SECOND: Mutex<()> = Mutex::new(());
static GATE: Semaphore = Semaphore::new(0);
/// LOW's sleep until FLOOR has come: longer than the way into it and out of it, so that FLOOR comes at all.
const WAIT_NS: u64 = 5_000;
/// The time limit of H's wait, which the chain does not end.
const LIMIT_NS: u64 = 2_000;

fn chain() {
    FLOOR.play(|| {
        let guard = FIRST.lock();
        GATE.take();
        note(b'f');
        drop(guard);
    });
    LOW.play(|| {
        let second = SECOND.lock();
        // FLOOR comes when everybody else sleeps.
        while !FIRST.is_locked() {
            task::sleep_ns(WAIT_NS);
        }
        let first = FIRST.lock();
        note(b'l');
        drop(first);
        drop(second);
    });
}

fn take_second() {
    drop(SECOND.lock());
}

fn try_second() {
    drop(SECOND.lock_timeout(Timeout::In(LIMIT_NS)));
}

/// The victim, then FLOOR and LOW with its priority, and the victim again.
fn boosted_to_the_end() {
    let _ = GATE.give();
    drop(SECOND.lock());
    note(b'v');
}

/// LOW waits for the first mutex: its holder goes up and down with it.
fn raise_and_lower() {
    for priority in [45, LOW_PRIO as u32] {
        let attr = stint::sched::SchedAttr::fifo(priority).expect("a priority");
        let _ = LOW.task().set_scheduler(attr);
    }
}

fn release() {
    let _ = GATE.give();
}

fn priority(task: &TaskRef) -> u64 {
    (99 - task.info().prio) as u64
}

fn all_is_back() -> Check {
    expect_true("the mutexes are free", !FIRST.is_locked() && !SECOND.is_locked())?;
    expect("the priority of FLOOR", priority(FLOOR.task()), 1)?;
    expect("the priority of LOW", priority(LOW.task()), LOW_PRIO as u64)?;
    expect("the priority of the victim", priority(&task::current_ref()), crate::VICTIM_PRIO as u64)
}
