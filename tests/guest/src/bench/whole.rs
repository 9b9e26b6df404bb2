//! Whole rounds, as they are measured on kernels with user space: a message there and back, a sleep over a busy CPU, a
//! thread's life. Linux's figures for the same, each with its entries to and exits from the kernel, are beside them in
//! the table; here all threads are the kernel's.

use crate::sample::{Bench, REPETITIONS, WARM_UP, cycles};
use crate::{HIGH, LOW};
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};
use stint::ipc::MsgQueue;
use stint::{task, time};

const ROUNDS: usize = REPETITIONS + WARM_UP;
/// A millisecond is a million instructions to emulate.
const SLEEPS: usize = 200 + WARM_UP;
const PERIOD_NS: u64 = 1_000_000;

/// A message of 16 bytes to a higher thread, and its answer: from the put to the return from the get.
pub fn queue_ping_pong() -> Bench {
    static THERE: MsgQueue<[u64; 2], 4> = MsgQueue::new();
    static BACK: MsgQueue<[u64; 2], 4> = MsgQueue::new();
    let answering = || (0..ROUNDS).for_each(|_| BACK.put(THERE.get()));
    let other = task::build("answers").fifo(HIGH).spawn(answering).expect("a thread");
    let mut bench = Bench::new();
    for i in 0..ROUNDS as u64 {
        let message = black_box([i, !i]);
        let start = cycles();
        THERE.put(message);
        let answer = BACK.get();
        bench.add(cycles() - start);
        assert!(answer == message, "an answer came back as {answer:x?} to {message:x?}");
    }
    other.join();
    bench
}

/// A real-time thread sleeps to the next millisecond while a fair one computes: how late it is, by the clock, as
/// cyclictest measures it. The tick runs.
pub fn sleep_over_busy() -> Bench {
    static DONE: AtomicBool = AtomicBool::new(false);
    DONE.store(false, Ordering::Relaxed);
    let busy = task::build("busy").spawn(|| while !black_box(DONE.load(Ordering::Relaxed)) {});
    let busy = busy.expect("a thread");
    time::tick::start_this_cpu();
    let sleeper = task::build("sleeps").fifo(HIGH).spawn(|| {
        let mut bench = Bench::with_overhead(0);
        let mut due_ns = time::now_ns();
        for _ in 0..SLEEPS {
            due_ns += PERIOD_NS;
            task::sleep_until(due_ns);
            bench.add(time::now_ns() - due_ns);
        }
        bench
    });
    let bench = sleeper.expect("a thread").join().expect("samples");
    time::tick::stop_this_cpu();
    DONE.store(true, Ordering::Relaxed);
    busy.join();
    bench
}

/// A thread with memory of the kernel is made, runs, ends, and is waited for by its maker, whose equal it is.
pub fn thread_create_join() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        let made = task::build("made").fifo(LOW).spawn(|| ());
        let value = made.map(|thread| thread.join());
        bench.add(cycles() - start);
        assert!(value == Ok(Some(())), "a thread that was made and waited for: {value:?}");
    }
    bench
}
