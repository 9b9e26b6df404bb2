//! One task lets another go on: by semaphore, by completion, and by hand.
//!
//! What must be true: units given are units taken or still there; a token that goes around a ring has passed
//! everybody equally often, give or take one.

use super::Scene;
use super::cast::{Cast, Me};
use crate::framework::Outcome;
use crate::{check, check_eq};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use stint::locking::{Completion, Mutex, Semaphore};
use stint::sched::core::{schedule, wake_up_process};
use stint::sched::wait::Timeout;
use stint::task::{self, TaskRef, state};

pub const PAIRS: Scene =
    Scene { name: "handover", start: start_pairs, release: release_pairs, check: check_pairs };
pub const RINGS: Scene =
    Scene { name: "rings", start: start_rings, release: release_rings, check: check_rings };

const PAIRS_MAX: usize = 3;

/// What one side of a pair waits for.
struct Side {
    semaphore: Semaphore,
    completion: Completion,
    given: AtomicU64,
    taken: AtomicU64,
}

static SIDES: [[Side; 2]; PAIRS_MAX] = [const {
    [const {
        Side {
            semaphore: Semaphore::new(0),
            completion: Completion::new(),
            given: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        }
    }; 2]
}; PAIRS_MAX];

impl Side {
    fn give(&self, by_completion: bool) {
        self.given.fetch_add(1, Ordering::Relaxed);
        if by_completion {
            self.completion.complete();
        } else {
            // Without a limit that could be reached.
            let _ = self.semaphore.give();
        }
    }

    fn take(&self, by_completion: bool) {
        if by_completion {
            self.completion.wait()
        } else {
            self.semaphore.take()
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
    }
}

/// Pairs with an odd number use completions.
fn by_completion(pair: usize) -> bool {
    pair % 2 == 1
}

fn start_pairs(cast: &mut Cast) -> stint::Result<()> {
    for pair in 0..PAIRS_MAX {
        for side in 0..2 {
            let task = match pair {
                0 => task::build("pair").fifo(20 + side as i32),
                _ => task::build("pair"),
            };
            cast.spawn(task, move |me| play(&me, pair, side))?;
        }
    }
    Ok(())
}

fn play(me: &Me, pair: usize, side: usize) {
    let (mine, other) = (&SIDES[pair][side], &SIDES[pair][1 - side]);
    while !me.is_over() {
        other.give(by_completion(pair));
        mine.take(by_completion(pair));
        me.beat();
    }
    other.give(by_completion(pair));
}

fn release_pairs() {}

fn check_pairs() -> Outcome {
    for (pair, sides) in SIDES.iter().enumerate() {
        for (number, side) in sides.iter().enumerate() {
            let mut left = 0;
            if by_completion(pair) {
                while side.completion.wait_timeout(Timeout::Now).is_ok() {
                    left += 1;
                }
            } else {
                while side.semaphore.try_take().is_ok() {
                    left += 1;
                }
            }
            let (given, taken) =
                (side.given.swap(0, Ordering::Relaxed), side.taken.swap(0, Ordering::Relaxed));
            check_eq!(
                taken + left,
                given,
                "side {number} of pair {pair}: units taken and left of those given"
            );
        }
    }
    Ok(())
}

const RINGS_MAX: usize = 2;
const MEMBERS: usize = 4;

/// A ring of tasks that wait by hand.
struct Ring {
    tasks: Mutex<Vec<TaskRef>>,
    token: [AtomicBool; MEMBERS],
    passes: [AtomicU64; MEMBERS],
}

static RING: [Ring; RINGS_MAX] = [const {
    Ring {
        tasks: Mutex::new(Vec::new()),
        token: [const { AtomicBool::new(false) }; MEMBERS],
        passes: [const { AtomicU64::new(0) }; MEMBERS],
    }
}; RINGS_MAX];

fn start_rings(cast: &mut Cast) -> stint::Result<()> {
    for (number, ring) in RING.iter().enumerate() {
        let mut tasks = ring.tasks.lock();
        for place in 0..MEMBERS {
            let task = task::build("ring").nice(number as i32 * 5);
            let member = cast.spawn(task, move |me| pass(&me, &RING[number], place))?;
            tasks.push(member);
        }
        ring.token[0].store(true, Ordering::Relaxed);
    }
    Ok(())
}

fn pass(me: &Me, ring: &'static Ring, place: usize) {
    let next = (place + 1) % MEMBERS;
    let follower = ring.tasks.lock()[next].clone();
    loop {
        wait_by_hand(&ring.token[place]);
        if me.is_over() {
            // The token is put back for those who have not seen it yet, whoever it was for.
            ring.token[next].store(true, Ordering::Release);
            wake_up_process(&follower);
            return;
        }
        ring.passes[place].fetch_add(1, Ordering::Relaxed);
        me.beat();
        ring.token[next].store(true, Ordering::Release);
        wake_up_process(&follower);
    }
}

/// Linux's loop: state, condition, schedule.
fn wait_by_hand(token: &AtomicBool) {
    loop {
        task::set_current_state(state::INTERRUPTIBLE);
        if token.swap(false, Ordering::AcqRel) {
            break;
        }
        schedule();
    }
    task::set_current_state(state::RUNNING);
}

fn release_rings() {}

fn check_rings() -> Outcome {
    for (number, ring) in RING.iter().enumerate() {
        drop(core::mem::take(&mut *ring.tasks.lock()));
        let passes: Vec<u64> = ring.passes.iter().map(|passes| passes.swap(0, Ordering::Relaxed)).collect();
        ring.token.iter().for_each(|token| token.store(false, Ordering::Relaxed));
        let (most, least) = (passes.iter().max(), passes.iter().min());
        let spread = most.zip(least).map_or(0, |(most, least)| most - least);
        check!(
            spread <= 1,
            "ring {number}: the token came {passes:?} times to its members; expected equal, give or take 1"
        );
    }
    Ok(())
}
