//! Timers started on one CPU and cancelled on another.
//!
//! What must be true: once `cancel` has returned, the timer has fired or will not; so those that fired and those
//! that were cancelled are those that were started.

use super::Scene;
use super::cast::{Cast, Me};
use crate::framework::Outcome;
use crate::framework::clock::work;
use crate::{check, check_eq};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use stint::locking::Semaphore;
use stint::task;
use stint::time::Timer;

pub const SCENE: Scene = Scene { name: "timers", start, release, check };

const PAIRS: usize = 2;
const SPAN_NS: u64 = 40_000;

struct Turn {
    starter: Semaphore,
    canceller: Semaphore,
    started: AtomicU64,
    fired: AtomicU64,
    cancelled: AtomicU64,
    /// A timer that had neither fired nor been cancelled, or both, when `cancel` had returned.
    wrong: AtomicU64,
}

static TURN: [Turn; PAIRS] = [const {
    Turn {
        starter: Semaphore::new(0),
        canceller: Semaphore::new(0),
        started: AtomicU64::new(0),
        fired: AtomicU64::new(0),
        cancelled: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
    }
}; PAIRS];

fn start(cast: &mut Cast) -> stint::Result<()> {
    for (number, turn) in TURN.iter().enumerate() {
        let fire = move || {
            turn.fired.fetch_add(1, Ordering::Release);
        };
        let timer = Arc::new(if number % 2 == 0 { Timer::new(fire) } else { Timer::new_hard(fire) });
        let same = Arc::clone(&timer);
        cast.spawn(task::build("starter").fifo(30), move |me| start_it(me, turn, &timer))?;
        cast.spawn(task::build("canceller").fifo(31), move |me| cancel_it(me, turn, &same))?;
    }
    Ok(())
}

fn start_it(mut me: Me, turn: &'static Turn, timer: &Timer) {
    while !me.is_over() {
        turn.started.fetch_add(1, Ordering::Relaxed);
        timer.start_once(me.random.below(SPAN_NS));
        let _ = turn.canceller.give();
        turn.starter.take();
        me.beat();
    }
}

fn cancel_it(mut me: Me, turn: &'static Turn, timer: &Timer) {
    loop {
        turn.canceller.take();
        if me.is_over() {
            timer.cancel();
            return;
        }
        match me.random.below(3) {
            0 => task::sleep_ns(me.random.below(SPAN_NS)),
            _ => work(me.random.below(2_000) as u32 + 1),
        }
        let cancelled = u64::from(timer.cancel());
        turn.cancelled.fetch_add(cancelled, Ordering::Relaxed);
        let gone = turn.fired.load(Ordering::Acquire) + turn.cancelled.load(Ordering::Relaxed);
        if gone != turn.started.load(Ordering::Relaxed) {
            turn.wrong.fetch_add(1, Ordering::Relaxed);
        }
        me.beat();
        let _ = turn.starter.give();
    }
}

fn release() {
    for turn in &TURN {
        let _ = turn.starter.give();
        let _ = turn.canceller.give();
    }
}

fn check() -> Outcome {
    for (number, turn) in TURN.iter().enumerate() {
        while turn.starter.try_take().is_ok() || turn.canceller.try_take().is_ok() {}
        let (started, fired) =
            (turn.started.swap(0, Ordering::Relaxed), turn.fired.swap(0, Ordering::Relaxed));
        let cancelled = turn.cancelled.swap(0, Ordering::Relaxed);
        check_eq!(
            turn.wrong.swap(0, Ordering::Relaxed),
            0,
            "times at which timer {number} had not gone exactly one way when cancel had returned"
        );
        // The last one may have been stopped without being counted.
        check!(
            (started.saturating_sub(1)..=started).contains(&(fired + cancelled)),
            "timer {number}: {fired} fired and {cancelled} cancelled of {started} started"
        );
    }
    Ok(())
}
