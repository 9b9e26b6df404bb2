//! A deadline task gets its next budget.

use crate::sample::{Bench, REPETITIONS, WARM_UP};
use core::sync::atomic::{AtomicBool, Ordering};
use stint::{task, time};

const ROUNDS: usize = REPETITIONS + WARM_UP;
const PERIOD_NS: u64 = 200_000;

/// From the beginning of a period, for which the timer is set, to the first instruction of the throttled task, with
/// this thread running meanwhile: interrupt, new budget and deadline, preemption. On a counter of 1 GHz under
/// `-icount` a nanosecond is an instruction.
pub fn dl_replenish() -> Bench {
    static DONE: AtomicBool = AtomicBool::new(false);
    let task = task::build("periodic")
        .deadline(PERIOD_NS / 4, PERIOD_NS, 0)
        .spawn(|| {
            // Reading the clock costs what two adjacent reads differ by.
            let before = time::now_ns();
            let mut bench = Bench::with_overhead(time::now_ns() - before);
            let me = task::current_ref();
            let mut begin_ns = me.deadline_info().map_or(0, |info| info.absolute_ns);
            for _ in 0..ROUNDS {
                task::yield_now();
                let now_ns = time::now_ns();
                bench.add(now_ns - begin_ns);
                begin_ns += PERIOD_NS;
            }
            DONE.store(true, Ordering::Relaxed);
            bench
        })
        .expect("a reservation of 25 %");
    // Without `yield`, which makes the emulator look at every other CPU.
    while !core::hint::black_box(DONE.load(Ordering::Relaxed)) {
        core::hint::black_box(());
    }
    let bench = task.join().expect("samples");
    // What the reservation leaves behind is taken back at its next deadline: not in a sample of the next row.
    let end_ns = time::now_ns() + 2 * PERIOD_NS;
    while time::now_ns() < end_ns {}
    bench
}
