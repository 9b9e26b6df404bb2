//! Semaphores, mutexes and message queues.

use crate::sample::{Bench, REPETITIONS, Stamp, WARM_UP, cycles, stamp_overhead};
use crate::{HIGH, LOW};
use alloc::vec::Vec;
use core::hint::black_box;
use stint::ipc::MsgQueue;
use stint::locking::{Mutex, Semaphore};
use stint::task::{self, JoinHandle};

const ROUNDS: usize = REPETITIONS + WARM_UP;

/// Sixteen bytes, as the peers' messages.
type Message = [u64; 2];

static START: Stamp = Stamp::new();
static SEMAPHORE: Semaphore = Semaphore::new(0);
static MUTEX: Mutex<u32> = Mutex::new(0);
static QUEUE: MsgQueue<Message, 8> = MsgQueue::new();

fn high<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    task::build("high").fifo(HIGH).spawn(body).expect("a thread")
}

pub fn sem_give_wake() -> Bench {
    // The higher thread measures: from the stamp to its return from `take`.
    let waiter = high(|| {
        let mut bench = Bench::with_overhead(stamp_overhead());
        for _ in 0..ROUNDS {
            SEMAPHORE.take();
            let now = cycles();
            bench.add(now - START.get());
        }
        bench
    });
    for _ in 0..ROUNDS {
        START.now();
        let _ = SEMAPHORE.give();
    }
    waiter.join().expect("samples")
}

/// What a wake-up of a fair thread costs a real-time one, which goes on.
pub fn fair_give_wake() -> Bench {
    static DONE: Semaphore = Semaphore::new(0);
    let waiter = task::build("fair").spawn(|| {
        for _ in 0..ROUNDS {
            SEMAPHORE.take();
            let _ = DONE.give();
        }
    });
    let waiter = waiter.expect("a thread");
    // It runs up to its first wait.
    task::sleep_ns(50_000);
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        let given = SEMAPHORE.give();
        bench.add(cycles() - start);
        let _ = black_box(given);
        DONE.take();
        // Behind its next wait.
        task::sleep_ns(20_000);
    }
    waiter.join();
    bench
}

pub fn block_to_giver() -> Bench {
    let mut bench = Bench::with_overhead(stamp_overhead());
    let waiter = high(|| {
        for _ in 0..=ROUNDS {
            START.now();
            SEMAPHORE.take();
        }
    });
    for _ in 0..ROUNDS {
        let _ = SEMAPHORE.give();
        let now = cycles();
        bench.add(now - START.get());
    }
    let _ = SEMAPHORE.give();
    waiter.join();
    bench
}

pub fn sem_give() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        let given = SEMAPHORE.give();
        bench.add(cycles() - start);
        let _ = black_box(given);
        SEMAPHORE.take();
    }
    bench
}

pub fn sem_take() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let _ = SEMAPHORE.give();
        let start = cycles();
        SEMAPHORE.take();
        bench.add(cycles() - start);
    }
    bench
}

pub fn mutex_lock() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        let guard = MUTEX.lock();
        bench.add(cycles() - start);
        drop(guard);
    }
    bench
}

pub fn mutex_unlock() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let guard = MUTEX.lock();
        let start = cycles();
        drop(guard);
        bench.add(cycles() - start);
    }
    bench
}

/// Unlock by a boosted holder → the waiter that boosted it owns the mutex and runs.
pub fn mutex_pi_handoff() -> Bench {
    static TURN: Semaphore = Semaphore::new(0);
    let waiter = high(|| {
        let mut bench = Bench::with_overhead(stamp_overhead());
        for _ in 0..ROUNDS {
            // The lower thread has the mutex when it lets this one go.
            TURN.take();
            let guard = MUTEX.lock();
            let now = cycles();
            bench.add(now - START.get());
            drop(guard);
        }
        bench
    });
    for _ in 0..ROUNDS {
        let guard = MUTEX.lock();
        let _ = TURN.give();
        START.now();
        drop(guard);
    }
    waiter.join().expect("samples")
}

/// Eight mutexes, each holder waiting for the one before: the highest thread wants the last → the holder of the first,
/// which is the one that can run, goes on with its priority.
pub fn pi_chain_8() -> Bench {
    const LOCKS: usize = 8;
    static MUTEXES: [Mutex<()>; LOCKS] = [const { Mutex::new(()) }; LOCKS];
    static TURNS: [Semaphore; LOCKS] = [const { Semaphore::new(0) }; LOCKS];
    let mut tasks = Vec::new();
    for index in 1..LOCKS {
        // Each above the one before, so that it comes at once, whatever the boosts.
        let link = task::build("link").fifo(LOW + index as i32).spawn(move || {
            for _ in 0..ROUNDS {
                TURNS[index].take();
                let own = MUTEXES[index].lock();
                drop(MUTEXES[index - 1].lock());
                drop(own);
            }
        });
        tasks.push(link.expect("a thread"));
    }
    tasks.push(high(|| {
        for _ in 0..ROUNDS {
            TURNS[0].take();
            START.now();
            drop(MUTEXES[LOCKS - 1].lock());
        }
    }));
    let mut bench = Bench::with_overhead(stamp_overhead());
    for _ in 0..ROUNDS {
        let first = MUTEXES[0].lock();
        for turn in &TURNS[1..] {
            let _ = turn.give();
        }
        let _ = TURNS[0].give();
        let now = cycles();
        bench.add(now - START.get());
        drop(first);
    }
    for task in tasks {
        task.join();
    }
    bench
}

pub fn queue_put() -> Bench {
    let mut bench = Bench::new();
    for i in 0..ROUNDS as u64 {
        let message = black_box([i, i]);
        let start = cycles();
        QUEUE.put(message);
        bench.add(cycles() - start);
        black_box(QUEUE.get());
    }
    bench
}

pub fn queue_get() -> Bench {
    let mut bench = Bench::new();
    for i in 0..ROUNDS as u64 {
        QUEUE.put(black_box([i, i]));
        let start = cycles();
        let message = QUEUE.get();
        bench.add(cycles() - start);
        black_box(message);
    }
    bench
}

pub fn queue_put_wake() -> Bench {
    let waiter = high(|| {
        let mut bench = Bench::with_overhead(stamp_overhead());
        for _ in 0..ROUNDS {
            let message = QUEUE.get();
            let now = cycles();
            black_box(message);
            bench.add(now - START.get());
        }
        bench
    });
    for i in 0..ROUNDS as u64 {
        let message = black_box([i, i]);
        START.now();
        QUEUE.put(message);
    }
    waiter.join().expect("samples")
}
