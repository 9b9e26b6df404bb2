//! The actors: tasks above, beside and below the one that walks the path, and the diary of who did what.
//!
//! An actor sleeps until a path starts it, plays its script, and sleeps again. What happens in a path is
//! written down as single letters, and the path says which text must be there at the end: so nothing can
//! get lost, happen twice, or in another order.
#![forbid(unsafe_code)]

use crate::VICTIM_PRIO;
use crate::others;
use crate::path::{Check, expect};
use arch::thread_info::{self, PREEMPT_ENABLED};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use spin::Once;
use stint::locking::{RawSpinLock, Semaphore};
use stint::smp::CpuMask;
use stint::task::{self, Task, TaskRef};

/// Below the victim.
pub static LOW: Actor = Actor::new();
/// Above it.
pub static HIGH: Actor = Actor::new();
/// Its equal.
pub static EQUAL: Actor = Actor::new();
/// Below them all: runs when they wait.
pub static FLOOR: Actor = Actor::new();
/// Of the fair class, so below every other.
pub static FAIR: Actor = Actor::new();

/// On CPU 1, as important as LOW; as the rest, only where there are several CPUs.
pub static THERE: Actor = Actor::new();
/// On CPU 1, as important as HIGH.
pub static THERE_HIGH: Actor = Actor::new();
/// Between LOW and the victim, and allowed where a path says.
pub static NOMAD: Actor = Actor::new();

/// Priority of [`LOW`].
pub const LOW_PRIO: i32 = 40;
/// Priority of [`HIGH`].
pub const HIGH_PRIO: i32 = 60;

/// Priority of [`NOMAD`].
pub const NOMAD_PRIO: i32 = 45;
/// The CPU of [`THERE`].
pub const THERE_CPU: usize = 1;

/// With their names, the count that says whether they are through, what they are, and where.
static ACTORS: [(&Actor, &str, &str, Option<i32>, usize); 8] = [
    (&LOW, "low", "scripts that LOW has not finished", Some(LOW_PRIO), 0),
    (&HIGH, "high", "scripts that HIGH has not finished", Some(HIGH_PRIO), 0),
    (&EQUAL, "equal", "scripts that EQUAL has not finished", Some(VICTIM_PRIO), 0),
    (&FLOOR, "floor", "scripts that FLOOR has not finished", Some(1), 0),
    (&FAIR, "fair", "scripts that FAIR has not finished", None, 0),
    (&THERE, "there", "scripts that THERE has not finished", Some(LOW_PRIO), THERE_CPU),
    (&THERE_HIGH, "there-high", "scripts that THERE_HIGH has not finished", Some(HIGH_PRIO), THERE_CPU),
    (&NOMAD, "nomad", "scripts that NOMAD has not finished", Some(NOMAD_PRIO), THERE_CPU),
];

/// A task that waits to be given something to do.
pub struct Actor {
    start: Semaphore,
    script: RawSpinLock<fn()>,
    task: Once<TaskRef>,
    started: AtomicU32,
    finished: AtomicU32,
}

impl Actor {
    const fn new() -> Self {
        Self {
            start: Semaphore::new(0),
            script: RawSpinLock::new(crate::probe::nothing),
            task: Once::new(),
            started: AtomicU32::new(0),
            finished: AtomicU32::new(0),
        }
    }

    /// Lets it play `script` once. It begins at once if it is more important than the caller.
    pub fn play(&self, script: fn()) {
        *self.script.lock() = script;
        self.started.store(self.started.load(Relaxed) + 1, Relaxed);
        // No limit to run into.
        let _ = self.start.give();
    }

    /// The task.
    pub fn task(&self) -> &TaskRef {
        self.task.get().expect("the actors were made before the first path")
    }

    /// Address of its `ThreadInfo`, which is its first member.
    pub fn thread_info(&self) -> u64 {
        core::ptr::from_ref::<Task>(self.task()).addr() as u64
    }

    fn perform(&self) {
        loop {
            self.start.take();
            check_own_word();
            let script = *self.script.lock();
            script();
            check_own_word();
            self.finished.store(self.finished.load(Relaxed) + 1, Relaxed);
        }
    }
}

/// Makes the actors.
pub fn init() -> Result<(), &'static str> {
    for (actor, name, _, prio, cpu) in ACTORS.iter().filter(|(.., cpu)| *cpu < others::online()) {
        let builder = task::build(name).affinity(CpuMask::of(*cpu));
        let builder = if let Some(prio) = *prio { builder.fifo(prio) } else { builder.nice(0) };
        let handle = builder.spawn(|| actor.perform()).map_err(|_| "no memory for an actor")?;
        actor.task.call_once(|| handle.task().clone());
    }
    Ok(())
}

/// Every actor has played everything to the end.
pub fn all_have_finished() -> Check {
    ACTORS.iter().try_for_each(|(actor, _, what, ..)| {
        let left = actor.started.load(Relaxed).wrapping_sub(actor.finished.load(Relaxed));
        expect(what, left.into(), 0)
    })
}

/// How many letters the diary keeps.
const DIARY_BYTES: usize = 16;
static DIARY: [AtomicU8; DIARY_BYTES] = [const { AtomicU8::new(0) }; DIARY_BYTES];
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Writes a letter into the diary. Any task; a letter is one step, so no two get the same place.
pub fn note(letter: u8) {
    let at = WRITTEN.fetch_add(1, Relaxed);
    if let Some(place) = DIARY.get(at) {
        place.store(letter, Relaxed);
    }
}

/// The diary.
pub fn diary() -> ([u8; DIARY_BYTES], usize) {
    let letters = core::array::from_fn(|i| DIARY[i].load(Relaxed));
    (letters, WRITTEN.load(Relaxed))
}

static UNCLEAN: AtomicU64 = AtomicU64::new(PREEMPT_ENABLED);

/// A task that runs with nothing disabled has the word `PREEMPT_ENABLED`: any other is remembered.
pub fn check_own_word() {
    let word = thread_info::preempt_word();
    if word != PREEMPT_ENABLED {
        UNCLEAN.store(word, Relaxed);
    }
}

/// The word that a task has found its own to be: the last wrong one, if there was any.
pub fn word_of_actors() -> u64 {
    UNCLEAN.load(Relaxed)
}

/// An empty diary, and all actors at their beginning.
pub fn reset() {
    WRITTEN.store(0, Relaxed);
    UNCLEAN.store(PREEMPT_ENABLED, Relaxed);
}
