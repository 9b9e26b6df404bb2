//! The stress: everything that moves a task, at once, on all CPUs, and no wake-up may be lost.
//!
//! `test=stress` runs it for [`OPS`] operations, `test=stress:ops=N,seed=N` for as many as are asked for, with
//! `only=<scene>` one scene alone. A *scene* is a kind of work whose outcome can be counted: units given are
//! units taken, passes of a token differ by one at most, timers started have fired or been cancelled. *Shakers*
//! change priorities, policies and CPU sets of the tasks of all scenes meanwhile; CPUs go off and come back.
//!
//! | module | what |
//! |---|---|
//! | `cast` | the tasks: each with a number, random numbers of its own, and a pulse |
//! | `handover` | semaphores, completions, and waiting by hand with `wake_up_process` |
//! | `race` | grants against timeouts |
//! | `boost` | mutexes held over priorities, with and without time limit |
//! | `timers` | timers started on one CPU and cancelled on another |
//! | `births` | tasks made, joined, left alone and aborted |
//! | `travel` | tasks that move themselves; yielding |
//! | `calls` | functions called on other CPUs |
//! | `hotplug` | CPUs that go off and come back |
//! | `shake` | changes of priority, policy and CPU set |
//! | `watch` | who has no pulse any more, and the dump |
//!
//! An operation is one beat of a pulse: a wake-up that arrived, a section, a start, a move, a change. Every task
//! beats for itself, so one that waits for a lost wake-up is found while all others go on.

mod births;
mod boost;
mod calls;
mod cast;
mod handover;
mod hotplug;
mod race;
mod shake;
mod timers;
mod travel;
mod watch;

use crate::framework::{Failure, Outcome, cpus};
use alloc::vec::Vec;
use cast::Cast;
use core::sync::atomic::Ordering;
use stint::sched::prio::SchedAttr;
use stint::{kprintln, task};

/// Operations of a run that does not say.
pub const OPS: u64 = 10_000_000;
/// The task that watches is above everything that it watches.
const WATCHER: u32 = 99;

/// A kind of work.
struct Scene {
    name: &'static str,
    /// Makes its tasks.
    start: fn(&mut Cast) -> stint::Result<()>,
    /// Gives those who still wait what they wait for. Called again and again after the stop, until all have ended.
    release: fn(),
    /// Whether everything adds up, once all have ended. Leaves nothing behind.
    check: fn() -> Outcome,
}

const SCENES: &[Scene] = &[
    handover::PAIRS,
    handover::RINGS,
    race::SCENE,
    boost::SCENE,
    timers::SCENE,
    births::SCENE,
    travel::SCENE,
    calls::SCENE,
    hotplug::SCENE,
    // Last: it shakes the tasks that were made before.
    shake::SCENE,
];

/// What a run is to be.
#[derive(Clone, Copy)]
pub struct Wishes<'a> {
    /// Operations of all tasks together.
    pub ops: u64,
    /// What the random numbers come from.
    pub seed: u64,
    /// Scenes with this in their name; the shakers are always there.
    pub only: &'a str,
}

impl<'a> Wishes<'a> {
    /// Reads `ops=N,seed=N,only=name`; nothing of it has to be there.
    ///
    /// # Errors
    /// The word that is not understood.
    pub fn parse(text: &'a str) -> Result<Self, &'a str> {
        let mut wishes = Self { ops: OPS, seed: 1, only: "" };
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                Some(("ops", n)) => wishes.ops = n.parse().map_err(|_| word)?,
                Some(("seed", n)) => wishes.seed = n.parse().map_err(|_| word)?,
                Some(("only", name)) => wishes.only = name,
                _ => return Err(word),
            }
        }
        Ok(wishes)
    }
}

/// Runs it, and prints a line for each scene.
pub fn run(wishes: &Wishes<'_>) -> Outcome {
    let before = task::current_ref().scheduler();
    become_(SchedAttr::fifo(WATCHER).expect("a priority"))?;
    let outcome = run_watching(wishes);
    become_(before)?;
    outcome
}

fn become_(attr: SchedAttr) -> Outcome {
    Ok(task::current_ref().set_scheduler(attr)?)
}

fn run_watching(wishes: &Wishes<'_>) -> Outcome {
    let began_ns = stint::time::now_ns();
    kprintln!("stress: {} operations, seed {}, {} CPUs", wishes.ops, wishes.seed, cpus::online());
    cast::reset();
    let mut cast = Cast::new(wishes.seed);
    let chosen = |scene: &&Scene| scene.name.contains(wishes.only) || scene.name == shake::NAME;
    let scenes: Vec<&Scene> = SCENES.iter().filter(chosen).collect();
    for scene in &scenes {
        cast.scene = scene.name;
        (scene.start)(&mut cast)?;
    }
    cast::GO.complete_all();
    let mut watch = watch::Watch::new();
    let mut tenth = 1;
    while cast::ops() < wishes.ops {
        watch.look(&cast);
        // For whoever waits: a long run is silent otherwise.
        while tenth < 10 && cast::ops() * 10 >= wishes.ops * tenth {
            kprintln!("stress: {tenth}0 % after {} ms", (stint::time::now_ns() - began_ns) / 1_000_000);
            tenth += 1;
        }
    }
    // First those that change others, so that what is left at the end is nobody's doing.
    cast::STOP_SHAKERS.store(true, Ordering::Release);
    kprintln!("stress: all operations done after {} ms", (stint::time::now_ns() - began_ns) / 1_000_000);
    while cast.lives(|scene| scene == shake::NAME) {
        watch.look(&cast);
    }
    cast::STOP.store(true, Ordering::Release);
    let mut ending = watch::Watch::new();
    while cast.lives(|_| true) {
        scenes.iter().for_each(|scene| (scene.release)());
        ending.wait_for_end(&cast);
    }
    let lines = cast.totals();
    drop(cast);
    let ms = (stint::time::now_ns() - began_ns) / 1_000_000;
    for (name, ops) in lines {
        kprintln!("result stress.{name} {ops} ops");
    }
    kprintln!("result stress.all {} ops ms={ms} seed={}", cast::ops(), wishes.seed);
    let mut outcome = Ok(());
    for scene in scenes {
        if let Err(failure) = (scene.check)() {
            if let Failure::Failed { at, why } = &failure {
                kprintln!("stress: {}: {why} ({at})", scene.name);
            }
            outcome = Err(failure);
        }
    }
    outcome
}
