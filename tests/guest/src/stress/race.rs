//! Grants against timeouts: the unit comes at about the time at which the waiter's patience ends.
//!
//! What must be true: a wait that timed out has taken nothing, one that did not has taken exactly one unit.

use super::Scene;
use super::cast::{Cast, Me};
use crate::check_eq;
use crate::framework::Outcome;
use core::sync::atomic::{AtomicU64, Ordering};
use stint::locking::Semaphore;
use stint::sched::wait::Timeout;
use stint::task;

pub const SCENE: Scene = Scene { name: "race", start, release: || (), check };

const RACES: usize = 2;
/// Both sides wait up to this long.
const SPAN_NS: u64 = 30_000;

struct Race {
    semaphore: Semaphore,
    given: AtomicU64,
    taken: AtomicU64,
    timed_out: AtomicU64,
}

static RACE: [Race; RACES] = [const {
    Race {
        semaphore: Semaphore::new(0),
        given: AtomicU64::new(0),
        taken: AtomicU64::new(0),
        timed_out: AtomicU64::new(0),
    }
}; RACES];

fn start(cast: &mut Cast) -> stint::Result<()> {
    for race in &RACE {
        cast.spawn(task::build("giver").fifo(25), move |me| give(me, race))?;
        cast.spawn(task::build("taker").fifo(26), move |me| take(me, race))?;
    }
    Ok(())
}

fn give(mut me: Me, race: &'static Race) {
    while !me.is_over() {
        task::sleep_ns(me.random.below(SPAN_NS));
        race.given.fetch_add(1, Ordering::Relaxed);
        // Without a limit that could be reached.
        let _ = race.semaphore.give();
        me.beat();
    }
}

fn take(mut me: Me, race: &'static Race) {
    while !me.is_over() {
        match race.semaphore.take_timeout(Timeout::In(1 + me.random.below(SPAN_NS))) {
            Ok(()) => race.taken.fetch_add(1, Ordering::Relaxed),
            Err(_) => race.timed_out.fetch_add(1, Ordering::Relaxed),
        };
        me.beat();
    }
}

fn check() -> Outcome {
    for (number, race) in RACE.iter().enumerate() {
        let mut left = 0;
        while race.semaphore.try_take().is_ok() {
            left += 1;
        }
        let taken = race.taken.swap(0, Ordering::Relaxed);
        let timed_out = race.timed_out.swap(0, Ordering::Relaxed);
        let given = race.given.swap(0, Ordering::Relaxed);
        check_eq!(
            taken + left,
            given,
            "race {number} with {timed_out} timeouts: units taken and left of those given"
        );
    }
    Ok(())
}
