//! Wake-ups from one CPU to another: given directly and by the wake list, to a CPU that idles and to one that runs
//! something less important, sent from here and received here.
//!
//! H posts a call to the other CPU in every run, so its lists too are entered at every instruction.
#![forbid(unsafe_code)]

use super::smp_call::{fresh_posts, post_there, posts_have_run};
use super::{Flag, drain};
use crate::VICTIM_PRIO;
use crate::cast::{HIGH, LOW_PRIO, THERE, THERE_CPU, THERE_HIGH, note};
use crate::path::{Check, Path, expect};
use stint::locking::{Mutex, Semaphore};
use stint::sched::core::{with_rq, with_rq_of};
use stint::task;

const BASE: Path = Path { cpus: 2, intrude: post_there, check: none_left, ..Path::new("", || {}) };

pub const PATHS: &[Path] = &[
    Path { name: "smp_give_to_idle_cpu", setup: there_waits, run: give_and_wait, diary: "tv", ..BASE },
    Path {
        name: "smp_give_preempts_there",
        setup: there_high_waits,
        ready: there_spins,
        run: give_and_wait,
        diary: "htv",
        ..BASE
    },
    Path {
        name: "smp_given_from_there",
        setup: || {
            high_waits();
            there_gives();
        },
        run: ask_and_wait,
        diary: "hv",
        ..BASE
    },
    Path {
        name: "smp_given_from_there_to_idle",
        setup: || {
            fresh();
            there_gives();
        },
        run: ask_and_take,
        idles: true,
        diary: "v",
        ..BASE
    },
    Path { name: "smp_give_by_wake_list", setup: there_waits, run: give_by_list, diary: "tv", ..BASE },
    Path {
        name: "smp_given_by_wake_list",
        setup: high_waits,
        ready: there_gives_when_asked,
        run: lock_until_given,
        diary: "hv",
        ..BASE
    },
    Path {
        name: "smp_mutex_of_another_cpu",
        setup: there_locks,
        run: boost_and_lock,
        idles: true,
        diary: "tv",
        check: all_is_back,
        ..BASE
    },
];

static SEM: Semaphore = Semaphore::new(0);
static ASKED: Semaphore = Semaphore::new(0);
static MUTEX: Mutex<()> = Mutex::new(());
static SEEN: Flag = Flag::new();
static GO: Flag = Flag::new();
static GIVEN: Flag = Flag::new();

fn fresh() {
    fresh_posts();
    drain(&SEM);
    drain(&ASKED);
    SEEN.lower();
    GO.lower();
    GIVEN.lower();
}

fn there_waits() {
    fresh();
    THERE.play(|| {
        SEM.take();
        note(b't');
        SEEN.raise();
    });
}

fn there_high_waits() {
    fresh();
    THERE_HIGH.play(|| {
        SEM.take();
        note(b'h');
        GO.raise();
    });
}

fn there_spins() {
    THERE.play(|| {
        GO.wait();
        note(b't');
        SEEN.raise();
    });
}

fn high_waits() {
    fresh();
    HIGH.play(|| {
        SEM.take();
        note(b'h');
        SEEN.raise();
    });
}

/// Waits to be asked, and gives.
fn there_gives() {
    // Not `fresh`: HIGH may wait already.
    drain(&ASKED);
    THERE.play(|| {
        ASKED.take();
        let _ = SEM.give();
    });
}

/// Watches a flag, and gives.
fn there_gives_when_asked() {
    THERE.play(|| {
        GO.wait();
        let _ = SEM.give();
        GIVEN.raise();
    });
}

fn there_locks() {
    fresh();
    THERE.play(|| {
        let guard = MUTEX.lock();
        ASKED.take();
        note(b't');
        drop(guard);
    });
}

fn give_and_wait() {
    let _ = SEM.give();
    SEEN.wait();
    note(b'v');
}

fn ask_and_wait() {
    let _ = ASKED.give();
    SEEN.wait();
    note(b'v');
}

fn ask_and_take() {
    let _ = ASKED.give();
    SEM.take();
    note(b'v');
}

/// The other run queue is locked while the unit is given: so its CPU is left the task to wake.
fn give_by_list() {
    with_rq_of(THERE_CPU, |_| {
        let _ = SEM.give();
    });
    SEEN.wait();
    note(b'v');
}

/// This run queue is locked while the other CPU gives.
fn lock_until_given() {
    with_rq(|_| {
        GO.raise();
        GIVEN.wait();
    });
    SEEN.wait();
    note(b'v');
}

/// The holder, on the other CPU, gets the victim's priority and gives it back with the mutex.
fn boost_and_lock() {
    let _ = ASKED.give();
    drop(MUTEX.lock());
    note(b'v');
}

fn none_left() -> Check {
    expect("units in the semaphore", SEM.count().into(), 0)?;
    posts_have_run()
}

fn all_is_back() -> Check {
    none_left()?;
    let prio = |task: &task::Task| (99 - task.info().prio) as u64;
    expect("the mutex is locked", MUTEX.is_locked().into(), 0)?;
    expect("the priority of THERE", prio(THERE.task()), LOW_PRIO as u64)?;
    expect("the priority of the victim", prio(&task::current_ref()), VICTIM_PRIO as u64)
}
