//! Threads: yielding, making, starting, ending; and the markers.

use crate::sample::{Bench, REPETITIONS, Stamp, WARM_UP, cycles, stamp_overhead};
use crate::{HIGH, LOW};
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering};
use stint::locking::{RawSpinLock, RawSpinLockIrqSave, Semaphore, SpinLock};
use stint::sched::SchedAttr;
use stint::task::{self, Name, TaskMem};

const ROUNDS: usize = REPETITIONS + WARM_UP;

pub fn yield_none() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        task::yield_now();
        bench.add(cycles() - start);
    }
    bench
}

pub fn yield_switch() -> Bench {
    static LAST: Stamp = Stamp::new();
    let mut bench = Bench::with_overhead(stamp_overhead());
    let other = task::build("yielder")
        .fifo(LOW)
        .spawn(|| {
            for _ in 0..ROUNDS {
                LAST.now();
                task::yield_now();
            }
        })
        .expect("a thread");
    for _ in 0..ROUNDS {
        task::yield_now();
        let now = cycles();
        bench.add(now - LAST.get());
    }
    other.join();
    bench
}

fn fifo(priority: u32) -> SchedAttr {
    SchedAttr::fifo(priority).expect("a priority")
}

const NAME: Name = Name::new("bench");
static MEMORY: TaskMem<4096> = TaskMem::new();

extern "C" fn stop_at_once(_: usize) -> ! {
    STARTED.store(cycles() as usize, Ordering::Relaxed);
    task::exit()
}

static STARTED: AtomicUsize = AtomicUsize::new(0);

pub fn thread_create() -> Bench {
    let mut bench = Bench::new();
    let attr = fifo(LOW as u32);
    for _ in 0..ROUNDS {
        let start = cycles();
        // SAFETY: the task of the round before has ended and is dropped.
        let made = unsafe { MEMORY.create(NAME, attr, stop_at_once, 0) };
        bench.add(cycles() - start);
        made.start();
        made.wait_exited();
    }
    bench
}

pub fn thread_start() -> Bench {
    let mut bench = Bench::new();
    let attr = fifo(HIGH as u32);
    for _ in 0..ROUNDS {
        // SAFETY: as in `thread_create`.
        let made = unsafe { MEMORY.create(NAME, attr, stop_at_once, 0) };
        let start = cycles();
        made.start();
        bench.add(STARTED.load(Ordering::Relaxed) as u64 - start);
        made.wait_exited();
    }
    bench
}

static EXIT: Stamp = Stamp::new();

extern "C" fn exit_at_once(_: usize) -> ! {
    EXIT.now();
    task::exit()
}

pub fn thread_exit() -> Bench {
    let mut bench = Bench::with_overhead(stamp_overhead());
    let attr = fifo(HIGH as u32);
    for _ in 0..ROUNDS {
        // SAFETY: as in `thread_create`.
        let made = unsafe { MEMORY.create(NAME, attr, exit_at_once, 0) };
        made.start();
        // The higher thread has run and ended: here the creator goes on.
        let now = cycles();
        bench.add(now - EXIT.get());
        made.wait_exited();
    }
    bench
}

pub fn thread_abort() -> Bench {
    let mut bench = Bench::new();
    let attr = fifo(LOW as u32 - 1);
    for _ in 0..ROUNDS {
        // SAFETY: as in `thread_create`.
        let made = unsafe { MEMORY.create(NAME, attr, stop_at_once, 0) };
        made.start();
        let start = cycles();
        // SAFETY: the thread has not run: it holds nothing.
        let aborted = unsafe { made.abort() };
        bench.add(cycles() - start);
        assert!(black_box(aborted).is_ok());
    }
    bench
}

pub fn preempt_enable() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let guard = stint::preempt::preempt_disable();
        let start = cycles();
        drop(guard);
        bench.add(cycles() - start);
    }
    bench
}

/// With a switch pending: from the end of the section in which a higher thread became ready to that thread's first
/// instruction.
pub fn preempt_enable_resched() -> Bench {
    static ENABLE: Stamp = Stamp::new();
    let waiter = task::build("high")
        .fifo(HIGH)
        .spawn(|| {
            let mut bench = Bench::with_overhead(stamp_overhead());
            for _ in 0..ROUNDS {
                WOKEN.take();
                let now = cycles();
                bench.add(now - ENABLE.get());
            }
            bench
        })
        .expect("a thread");
    for _ in 0..ROUNDS {
        let guard = stint::preempt::preempt_disable();
        let _ = WOKEN.give();
        ENABLE.now();
        drop(guard);
    }
    waiter.join().expect("samples")
}

/// The end of a section with bottom halves disabled over which nobody raised anything.
pub fn bh_enable_idle() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let guard = stint::irq::softirq::local_bh_disable();
        let start = cycles();
        drop(guard);
        bench.add(cycles() - start);
    }
    bench
}

static LOCK: SpinLock<u32> = SpinLock::new(0);

pub fn spin_lock() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        let guard = LOCK.lock();
        bench.add(cycles() - start);
        drop(guard);
    }
    bench
}

pub fn spin_unlock() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let guard = LOCK.lock();
        let start = cycles();
        drop(guard);
        bench.add(cycles() - start);
    }
    bench
}

static RAW: RawSpinLock<u32> = RawSpinLock::new(0);
static RAW_MASKING: RawSpinLockIrqSave<u32> = RawSpinLockIrqSave::new(0);
static WOKEN: Semaphore = Semaphore::new(0);

pub fn raw_spin_lock() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        let guard = RAW.lock();
        bench.add(cycles() - start);
        drop(guard);
    }
    bench
}

pub fn raw_spin_unlock() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let guard = RAW.lock();
        let start = cycles();
        drop(guard);
        bench.add(cycles() - start);
    }
    bench
}

pub fn raw_irqsave_lock() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        let guard = RAW_MASKING.lock();
        bench.add(cycles() - start);
        drop(guard);
    }
    bench
}

pub fn raw_irqsave_unlock() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let guard = RAW_MASKING.lock();
        let start = cycles();
        drop(guard);
        bench.add(cycles() - start);
    }
    bench
}

/// From the give inside of a section to the woken higher thread's first instruction behind its end: what polling
/// and what interrupting cost when there is something to find.
pub fn raw_section_wake() -> Bench {
    static START: Stamp = Stamp::new();
    let waiter = task::build("high")
        .fifo(HIGH)
        .spawn(|| {
            let mut bench = Bench::with_overhead(stamp_overhead());
            for _ in 0..ROUNDS {
                WOKEN.take();
                let now = cycles();
                bench.add(now - START.get());
            }
            bench
        })
        .expect("a thread");
    for _ in 0..ROUNDS {
        let guard = RAW.lock();
        START.now();
        let _ = WOKEN.give();
        drop(guard);
    }
    waiter.join().expect("samples")
}
