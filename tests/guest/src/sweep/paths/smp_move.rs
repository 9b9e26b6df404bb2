//! Tasks moved to another CPU by a change of the set of those that they may run on: asleep, ready, running there, and
//! the one that asks itself; and moves that wait for the end of a section without migration.
//!
//! Whoever runs is moved by the stopper of its CPU, which comes in between.
#![forbid(unsafe_code)]

use super::smp_call::{fresh_posts, post_there, posts_have_run};
use super::{Flag, Slot, drain};
use crate::cast::{NOMAD, THERE, THERE_CPU, note};
use crate::path::{Check, Path, expect};
use spin::Once;
use stint::locking::Semaphore;
use stint::percpu::raw_smp_processor_id;
use stint::sched::migrate_disable;
use stint::smp::CpuMask;
use stint::task::{self, TaskRef};

const BASE: Path = Path { cpus: 2, intrude: post_there, check: arrived, ..Path::new("", || {}) };

pub const PATHS: &[Path] = &[
    Path { name: "smp_move_sleeping", setup: sleeps_here, run: move_and_wake, diary: "nv", ..BASE },
    Path {
        name: "smp_move_ready",
        setup: is_here,
        ready: is_ready_here,
        run: move_and_wait,
        diary: "nv",
        ..BASE
    },
    Path {
        name: "smp_move_running_there",
        setup: runs_there,
        run: fetch,
        idles: true,
        check: came_here,
        ..BASE
    },
    Path { name: "smp_move_oneself", setup: fresh, run: there_and_back, idles: true, check: arrived, ..BASE },
    Path { name: "smp_migrate_disable", setup: fresh, run: section, check: posts_have_run, ..BASE },
    Path {
        name: "smp_migrate_enable_moves",
        setup: fresh,
        ready: there_moves_the_victim,
        run: section_that_ends_elsewhere,
        idles: true,
        ..BASE
    },
];

const HERE: CpuMask = CpuMask::of(0);
const OTHER: CpuMask = CpuMask::of(THERE_CPU);

static GATE: Semaphore = Semaphore::new(0);
static SEEN: Flag = Flag::new();
static GO: Flag = Flag::new();
/// The CPU on which the task found itself, and one: 0 is nowhere yet.
static FOUND: Slot = Slot::new();
/// Whom the other CPU is to move.
static VICTIM: Once<TaskRef> = Once::new();
/// Refused changes.
static REFUSED: Slot = Slot::new();

fn fresh() {
    fresh_posts();
    drain(&GATE);
    SEEN.lower();
    GO.lower();
    FOUND.set(0);
    REFUSED.set(0);
}

fn look() {
    FOUND.set(raw_smp_processor_id() as u64 + 1);
}

fn put(task: &TaskRef, cpus: CpuMask) {
    if task.set_affinity(cpus).is_err() {
        REFUSED.set(REFUSED.get() + 1);
    }
}

fn is_here() {
    fresh();
    put(NOMAD.task(), HERE);
}

fn arrive() {
    look();
    note(b'n');
    SEEN.raise();
}

fn sleeps_here() {
    is_here();
    NOMAD.play(|| {
        GATE.take();
        arrive();
    });
}

/// The victim has CPU 0.
fn is_ready_here() {
    NOMAD.play(arrive);
}

fn runs_there() {
    fresh();
    put(NOMAD.task(), OTHER);
    NOMAD.play(|| {
        while raw_smp_processor_id() != 0 {
            arch::cpu::relax();
        }
        look();
    });
}

fn move_and_wake() {
    put(NOMAD.task(), OTHER);
    let _ = GATE.give();
    SEEN.wait();
    note(b'v');
}

fn move_and_wait() {
    put(NOMAD.task(), OTHER);
    SEEN.wait();
    note(b'v');
}

fn fetch() {
    put(NOMAD.task(), HERE);
}

fn there_and_back() {
    let me = task::current_ref();
    put(&me, OTHER);
    look();
    put(&me, HERE);
}

fn section() {
    drop(migrate_disable());
}

fn there_moves_the_victim() {
    VICTIM.call_once(task::current_ref);
    THERE.play(|| {
        GO.wait();
        put(VICTIM.call_once(task::current_ref), OTHER);
    });
}

/// The other CPU's change waits for the end of the section, which then is also the end of the stay here.
fn section_that_ends_elsewhere() {
    let me = task::current_ref();
    let stays = migrate_disable();
    GO.raise();
    while me.affinity() != OTHER {
        arch::cpu::relax();
    }
    let here = raw_smp_processor_id() as u64;
    drop(stays);
    look();
    REFUSED.set(REFUSED.get() + here);
    put(&me, HERE);
}

fn arrived() -> Check {
    expect("changes that were refused", REFUSED.get(), 0)?;
    expect("the CPU where the task found itself, and one", FOUND.get(), THERE_CPU as u64 + 1)?;
    expect("the CPU of the victim", raw_smp_processor_id() as u64, 0)?;
    posts_have_run()
}

fn came_here() -> Check {
    expect("changes that were refused", REFUSED.get(), 0)?;
    expect("the CPU where the task found itself, and one", FOUND.get(), 1)?;
    posts_have_run()
}
