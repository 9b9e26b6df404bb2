//! Timers: starting, cancelling, and from the programmed time to the task that slept until then.
//!
//! `now_ns` and the counter are the same here: one tick of the 1 GHz counter is one nanosecond.

use crate::HIGH;
use crate::sample::{Bench, REPETITIONS, WARM_UP, cycles};
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};
use stint::task;
use stint::time::{Timer, now_ns};

const ROUNDS: usize = REPETITIONS + WARM_UP;
/// Longer than the bench.
const FAR_NS: u64 = 1_000_000_000_000;
/// Before it: the timer that is started is the first, and the hardware is set.
const NEAR_NS: u64 = 100_000_000_000;
/// Time for the sleeper to fall asleep.
const SLEEP_NS: u64 = 5_000;

/// A soft timer, and another one that is pending.
fn timers() -> (Timer, Timer) {
    let other = Timer::new(|| {});
    other.start_once(FAR_NS);
    (Timer::new(|| {}), other)
}

pub fn timer_start() -> Bench {
    let (timer, _other) = timers();
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        timer.start_once(NEAR_NS);
        bench.add(cycles() - start);
        timer.cancel();
    }
    bench
}

pub fn timer_cancel() -> Bench {
    let (timer, _other) = timers();
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        timer.start_once(NEAR_NS);
        let start = cycles();
        let cancelled = timer.cancel();
        bench.add(cycles() - start);
        black_box(cancelled);
    }
    bench
}

/// The higher thread sleeps until a time while a lower one runs. Its first instruction behind the sleep is the
/// `isb` before the counter is read: both are the cost of measuring.
pub fn timer_to_thread() -> Bench {
    static DONE: AtomicBool = AtomicBool::new(false);
    let sleeper = task::build("sleeper").fifo(HIGH).spawn(|| {
        let mut bench = Bench::with_overhead(2);
        for _ in 0..ROUNDS {
            let due_ns = now_ns() + SLEEP_NS;
            task::sleep_until(due_ns);
            bench.add(arch::timer::counter() - due_ns);
        }
        DONE.store(true, Ordering::Relaxed);
        bench
    });
    let sleeper = sleeper.expect("a thread");
    while !DONE.load(Ordering::Relaxed) {
        black_box(());
    }
    sleeper.join().expect("samples")
}
