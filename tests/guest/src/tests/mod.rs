//! The tests, by what they show. The letters are rows of the requirements: P preemption, K kernel rules,
//! R real time, M measurement.

mod affinity;
mod api_errors;
mod blame;
mod completion;
mod condvar;
mod context;
mod cross_call;
mod cyclictest;
mod deadline;
mod deadline_changes;
mod driver;
mod enable;
mod fair;
mod fifo;
mod inert;
mod irq_exit;
mod irq_lines;
mod irq_threads;
mod isolation;
mod loads;
#[cfg(debug_assertions)]
mod lockdep;
mod locks;
mod logging;
mod lost_wakeup;
mod markers;
mod matrix;
mod memory;
mod msg_queue;
mod mutex;
mod once;
mod panics;
mod percpu;
mod periodic;
mod pi;
mod pick;
mod pool;
mod preempt_stats;
mod registers;
mod round_robin;
mod runtime;
mod rwlock;
mod semaphore;
mod sleep;
mod sleeping_spin;
mod smp_cpus;
mod smp_irqs;
mod smp_locks;
mod smp_mix;
mod smp_patching;
mod smp_place;
mod smp_races;
mod smp_records;
mod smp_timers;
mod softirq;
mod spread;
mod tasklet;
mod tasks;
mod throttling;
mod throughput;
mod tick;
mod tickless;
mod timers;
mod timers_soft;
mod traced;
mod tracers;
mod wait_queue;
mod wakeup;
mod wakeup_fair;
mod watchdog;
mod word;
mod workqueue;

use crate::framework::events::Events;
use stint::locking::Semaphore;
use stint::task::{self, JoinHandle};

/// Priorities of helper tasks; the test's own task has 1.
pub const LOW: i32 = 10;
/// See [`LOW`].
pub const MIDDLE: i32 = 20;
/// See [`LOW`].
pub const HIGH: i32 = 30;

/// A task of the highest priority in use that waits at `gate`, marks `H` and ends. When this returns it waits.
pub fn high_waiter(log: &'static Events, gate: &'static Semaphore) -> stint::Result<JoinHandle<()>> {
    task::build("high").fifo(HIGH).spawn(move || {
        gate.take();
        log.mark('H');
    })
}

/// The addresses of this CPU's interrupt stack, found by asking an interrupt.
pub fn irq_stack_place() -> core::ops::Range<usize> {
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static HERE: AtomicUsize = AtomicUsize::new(0);
    let asker = crate::framework::interrupt::Interrupt::request(10, || {
        let here = 0u8;
        HERE.store((&raw const here).addr(), Relaxed);
    })
    .expect("SGI 10 is free");
    asker.raise();
    let owner =
        stint::mm::stack::owner_of(HERE.load(Relaxed)).expect("the interrupt stack is one of the stacks");
    owner.bottom..owner.top
}
