//! K6: per-CPU data is only reachable with preemption off, and then its sums are exact under any stress.

use crate::framework::clock::work;
use crate::{check_eq, ktest};
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};
use stint::locking::{RawSpinLockIrqSave, SpinLock};
use stint::preempt::preempt_disable;
use stint::task;
use stint::time::Timer;

stint::per_cpu! {
    static COUNTER: Cell<u64> = Cell::new(0);
    static SHARED_WITH_HANDLER: Cell<u64> = Cell::new(0);
}

/// Increments with a wide window between load and store: whoever gets in between loses an increment.
fn increment(cell: &Cell<u64>) {
    let value = cell.get();
    work(40);
    cell.set(value + 1);
}

const TASKS: u64 = 6;
const ROUNDS: u64 = 400;

/// Runs `body` in `TASKS` tasks of all classes, `ROUNDS` times each, with timer interrupts that run `handler` and
/// wake the real-time ones among them.
fn stress(body: fn(), handler: fn()) -> crate::framework::Outcome {
    let storm = Timer::new_hard(handler);
    storm.start_periodic(4_999)?;
    let mut tasks = alloc::vec::Vec::new();
    for index in 0..TASKS {
        let builder = task::build("counter");
        let builder = match index % 3 {
            0 => builder.nice(0),
            1 => builder.nice(5),
            _ => builder.fifo(10 + index as i32),
        };
        tasks.push(builder.spawn(move || {
            for round in 0..ROUNDS {
                body();
                // The real-time ones sleep now and then, and come back by preempting somebody.
                if index % 3 == 2 && round % 4 == 0 {
                    task::sleep_ns(13_000);
                }
            }
        })?);
    }
    for task in tasks {
        task.join();
    }
    storm.cancel();
    Ok(())
}

ktest! {
    fn per_cpu_sums_are_exact_under_preemption_stress() {
        let before = COUNTER.get(&preempt_disable()).get();
        stress(|| increment(COUNTER.get(&preempt_disable())), || {})?;
        check_eq!(COUNTER.get(&preempt_disable()).get() - before, TASKS * ROUNDS, "the sum");
    }
}

ktest! {
    /// The same counter in a handler: then preemption off is not enough, and a lock that masks is.
    fn per_cpu_sums_shared_with_a_handler_are_exact_under_interrupt_stress() {
        static GATE: RawSpinLockIrqSave<()> = RawSpinLockIrqSave::new(());
        static IN_HANDLER: AtomicU64 = AtomicU64::new(0);
        let before = SHARED_WITH_HANDLER.get(&preempt_disable()).get();
        stress(
            || {
                let guard = GATE.lock();
                increment(SHARED_WITH_HANDLER.get(&guard));
            },
            || {
                let guard = GATE.lock();
                increment(SHARED_WITH_HANDLER.get(&guard));
                IN_HANDLER.fetch_add(1, Ordering::Relaxed);
            },
        )?;
        let sum = SHARED_WITH_HANDLER.get(&preempt_disable()).get() - before;
        check_eq!(sum, TASKS * ROUNDS + IN_HANDLER.load(Ordering::Relaxed), "the sum");
    }
}

ktest! {
    fn a_value_in_a_spin_lock_is_exact_under_preemption_stress() {
        static SUM: SpinLock<u64> = SpinLock::new(0);
        stress(
            || {
                let mut sum = SUM.lock();
                let value = *sum;
                work(40);
                *sum = value + 1;
            },
            || {},
        )?;
        check_eq!(*SUM.lock(), TASKS * ROUNDS, "the sum");
    }
}

ktest! {
    fn this_cpu_has_a_number_that_stays_while_preemption_is_off() {
        let guard = preempt_disable();
        let first = stint::percpu::smp_processor_id(&guard);
        work(100_000);
        check_eq!(stint::percpu::smp_processor_id(&guard), first);
        check_eq!(stint::percpu::raw_smp_processor_id(), first);
    }
}
