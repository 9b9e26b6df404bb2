//! The most important tasks run: a task that is displaced goes to a CPU with something less important, one that waits
//! elsewhere comes when this CPU has something less important, and one that wakes goes where it can run at once.
#![forbid(unsafe_code)]

use super::smp_call::{fresh_posts, post_there, posts_have_run};
use super::{Flag, Slot, drain};
use crate::VICTIM_PRIO;
use crate::cast::{HIGH, LOW_PRIO, NOMAD, THERE_CPU, THERE_HIGH, note};
use crate::path::{Check, Path, expect};
use stint::locking::Semaphore;
use stint::percpu::raw_smp_processor_id;
use stint::sched::SchedAttr;
use stint::smp::CpuMask;
use stint::task;

const BASE: Path = Path { cpus: 2, intrude: post_there, ..Path::new("", || {}) };

pub const PATHS: &[Path] = &[
    Path {
        name: "smp_wake_chooses_idle_cpu",
        setup: sleeps_here,
        run: give_and_wait,
        diary: "nv",
        check: is_there,
        ..BASE
    },
    Path {
        name: "smp_push_displaced",
        setup: high_waits,
        ready: is_ready_here,
        run: let_it_run,
        diary: "hnv",
        check: is_there,
        ..BASE
    },
    Path {
        name: "smp_pull_before_idle",
        setup: there_is_busy,
        ready: waits_there,
        run: let_it_come,
        after: there_is_free,
        diary: "nv",
        check: came_here,
        ..BASE
    },
    Path {
        name: "smp_pull_when_lowered",
        setup: there_is_busy,
        ready: waits_there,
        run: sink_below_it,
        after: rise_again,
        diary: "nv",
        check: came_here,
        ..BASE
    },
];

const HERE: CpuMask = CpuMask::of(0);
const OTHER: CpuMask = CpuMask::of(THERE_CPU);
const BOTH: CpuMask = HERE.with(THERE_CPU);

static GATE: Semaphore = Semaphore::new(0);
static DONE: Semaphore = Semaphore::new(0);
static SEEN: Flag = Flag::new();
/// HIGH has CPU 0.
static RULES: Flag = Flag::new();
static FREE: Flag = Flag::new();
/// The CPU on which NOMAD found itself, and one.
static FOUND: Slot = Slot::new();

fn fresh(nomad_on: CpuMask) {
    fresh_posts();
    drain(&GATE);
    drain(&DONE);
    SEEN.lower();
    RULES.lower();
    FREE.lower();
    FOUND.set(0);
    allow(nomad_on);
}

/// Where NOMAD may run.
fn allow(cpus: CpuMask) {
    if NOMAD.task().set_affinity(cpus).is_err() {
        note(b'!');
    }
}

fn arrive() {
    FOUND.set(raw_smp_processor_id() as u64 + 1);
    note(b'n');
    SEEN.raise();
    let _ = DONE.give();
}

/// It slept on CPU 0, where the victim runs, and may run on both.
fn sleeps_here() {
    fresh(HERE);
    NOMAD.play(|| {
        allow(BOTH);
        GATE.take();
        arrive();
    });
}

fn give_and_wait() {
    let _ = GATE.give();
    SEEN.wait();
    note(b'v');
}

/// HIGH keeps CPU 0 until NOMAD has run.
fn high_waits() {
    fresh(HERE);
    HIGH.play(|| {
        GATE.take();
        note(b'h');
        RULES.raise();
        SEEN.wait();
    });
}

/// It is bound to CPU 0 until it runs there; then HIGH displaces it.
fn is_ready_here() {
    NOMAD.play(|| {
        allow(BOTH);
        let _ = GATE.give();
        // Where H has displaced it before, it is not on CPU 0 any more and would be quicker.
        RULES.wait();
        arrive();
    });
}

fn let_it_run() {
    DONE.take();
    note(b'v');
}

/// CPU 1 has something more important than NOMAD to do, until it is said that it has not.
fn there_is_busy() {
    fresh(OTHER);
    THERE_HIGH.play(|| FREE.wait());
}

fn there_is_free() {
    FREE.raise();
}

/// On CPU 1, behind that; from here on it may come to CPU 0, where the victim is more important too.
fn waits_there() {
    NOMAD.play(arrive);
    allow(BOTH);
}

fn let_it_come() {
    DONE.take();
    note(b'v');
}

fn set_priority(priority: i32) {
    let attr = SchedAttr::fifo(priority.unsigned_abs()).expect("a good priority");
    if task::current_ref().set_scheduler(attr).is_err() {
        note(b'!');
    }
}

fn sink_below_it() {
    set_priority(LOW_PRIO);
    note(b'v');
}

fn rise_again() {
    set_priority(VICTIM_PRIO);
    there_is_free();
}

fn found(cpu: usize) -> Check {
    expect("the CPU where NOMAD found itself, and one", FOUND.get(), cpu as u64 + 1)?;
    posts_have_run()
}

fn is_there() -> Check {
    found(THERE_CPU)
}

fn came_here() -> Check {
    found(0)
}
