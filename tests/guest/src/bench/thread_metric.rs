//! Thread-Metric: the eight tests of the suite that many kernels publish, written anew from its definitions.
//!
//! Each test is one to five threads, each of which adds one to a counter of its own per round, for ever. The thread that
//! reports is above all of them; it wakes after a while, and what counts is how far they have come meanwhile. So nothing
//! is measured inside of a test, and the tick and the report itself are in the figure, as they are in everybody's.
//!
//! The figure: instructions between two reports, divided by what the counters have gained. Cooperative and preemptive
//! divide by the sum of the five counters, the tests with an interrupt by the number of interrupts; that is what the suite
//! prints.
//!
//! What a kernel may choose, and what Stint takes: a thread is resumed by `unpark` and suspends itself by `park`; the interrupt
//! is a software-generated one; a message is 16 bytes, of which the last word is checked; a block of memory is one of a
//! [`Pool`]. On a 64-bit machine the suite's counters have to be volatile, or the compiler keeps them in registers.
//!
//! Invariant: as in the suite, no counter is further than one from the average of its test; if one is, the test
//! panics.

use crate::LOW;
use crate::irq;
use crate::sample::cycles;
use arch::gic::v3;
use core::cell::UnsafeCell;
use core::hint::black_box;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use stint::ipc::{MsgQueue, Pool};
use stint::locking::Semaphore;
use stint::task::{self, Task, TaskRef};
use stint::{kprintln, time};

/// Between two reports: 100,000 rounds of the quickest tests.
const WINDOW_NS: u64 = 10_000_000;
/// A round of the calibration is ten thousand instructions long.
const CALIBRATION_NS: u64 = 100_000_000;
/// Before the first report.
const WARM_UP_NS: u64 = 1_000_000;
/// The longest round is over by then.
const ROUND_NS: u64 = 50_000;
const ATTEMPTS: usize = 100;
/// Threads of a test, at most.
const THREADS: usize = 5;

/// The threads' priorities are below that of the thread that reports.
const EQUAL: i32 = LOW - THREADS as i32;
const _: () = assert!(EQUAL > 0);

/// What a thread or a handler runs.
type Entry = fn(usize);

/// A test of the suite.
struct Test {
    name: &'static str,
    /// Entry and priority, from the highest to the lowest.
    threads: &'static [(Entry, i32)],
    handler: Option<stint::irq::Handler>,
    /// Counters in use, and how many counts make one of the figure's.
    counters: usize,
    counts: u64,
    window_ns: u64,
}

const COUNTED_BY_ITSELF: Test =
    Test { name: "", threads: &[], handler: None, counters: 1, counts: 1, window_ns: WINDOW_NS };

const TESTS: [Test; 8] = [
    Test { name: "basic", threads: &[(basic, EQUAL)], window_ns: CALIBRATION_NS, ..COUNTED_BY_ITSELF },
    Test {
        name: "cooperative",
        threads: &[(cooperative as Entry, EQUAL); THREADS],
        counters: 5,
        ..COUNTED_BY_ITSELF
    },
    Test {
        name: "preemptive",
        threads: &[
            (preemptive_last, EQUAL + 4),
            (preemptive, EQUAL + 3),
            (preemptive, EQUAL + 2),
            (preemptive, EQUAL + 1),
            (preemptive_first, EQUAL),
        ],
        counters: 5,
        ..COUNTED_BY_ITSELF
    },
    Test {
        name: "interrupt",
        threads: &[(interrupt, EQUAL)],
        handler: Some(giving),
        counters: 2,
        counts: 2,
        ..COUNTED_BY_ITSELF
    },
    Test {
        name: "interrupt_preemption",
        threads: &[(interrupt_high, EQUAL + 1), (interrupt_low, EQUAL)],
        handler: Some(resuming),
        counters: 3,
        counts: 3,
        ..COUNTED_BY_ITSELF
    },
    Test { name: "message", threads: &[(message, EQUAL)], ..COUNTED_BY_ITSELF },
    Test { name: "synchronization", threads: &[(synchronization, EQUAL)], ..COUNTED_BY_ITSELF },
    Test { name: "memory", threads: &[(memory, EQUAL)], ..COUNTED_BY_ITSELF },
];

/// A word that is read and written in memory.
struct Volatile(UnsafeCell<u64>);

// SAFETY: one thread or handler writes it, on the CPU on which it is read.
unsafe impl Sync for Volatile {}

impl Volatile {
    const fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    #[inline(always)]
    fn get(&self) -> u64 {
        // SAFETY: see `Sync`.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn set(&self, value: u64) {
        // SAFETY: see `Sync`.
        unsafe { self.0.get().write_volatile(value) };
    }

    #[inline(always)]
    fn increment(&self) {
        self.set(self.get().wrapping_add(1));
    }

    /// Adds one; false if that is the end, which the suite's threads have not. The addition sets the flags, so it costs the
    /// branch on them: one instruction at most, none where the branch back is the one.
    #[inline(always)]
    fn goes_on(&self) -> bool {
        let next = self.get().wrapping_add(1);
        self.set(next);
        next != END
    }
}

/// The count at which a thread ends. None comes so far by itself.
const END: u64 = 0;

static COUNTERS: [Volatile; THREADS] = [const { Volatile::new() }; THREADS];
/// The threads of the test, from the lowest to the highest: each knows itself and the others by its number.
static RUNNING: [AtomicPtr<Task>; THREADS] = [const { AtomicPtr::new(ptr::null_mut()) }; THREADS];

/// A thread of the test that runs.
#[inline(always)]
fn thread(number: usize) -> &'static Task {
    // SAFETY: written before any thread of the test starts; `report` keeps them until all have ended.
    unsafe { &*RUNNING[number].load(Ordering::Relaxed) }
}

/// Runs the tests whose names `is_wanted`, and prints a result line for each.
pub fn print(is_wanted: impl Fn(&str) -> bool) {
    for test in TESTS.iter().filter(|test| is_wanted(test.name)) {
        match test.handler {
            Some(handler) => irq::with_handler(handler, || report(test)),
            None => report(test),
        }
    }
}

/// What a report sees: the counter, and the sum of the threads' counters.
fn look(test: &Test) -> (u64, u64) {
    (cycles(), COUNTERS[..test.counters].iter().map(Volatile::get).sum())
}

fn report(test: &Test) {
    COUNTERS.iter().for_each(|counter| counter.set(0));
    // The suite measures time by the kernel's tick.
    time::tick::start_this_cpu();
    let number_of_threads = test.threads.len();
    let threads: [Option<TaskRef>; THREADS] = core::array::from_fn(|index| {
        let (entry, priority) = *test.threads.get(index)?;
        let number = number_of_threads - 1 - index;
        let thread = task::build("thread-metric").fifo(priority).create(entry, number).expect("a thread");
        RUNNING[number].store(ptr::from_ref::<Task>(&thread).cast_mut(), Ordering::Relaxed);
        Some(thread)
    });
    threads.iter().flatten().for_each(|thread| thread.start());
    task::sleep_ns(WARM_UP_NS);
    let (begun, before) = look(test);
    task::sleep_ns(test.window_ns);
    let (ended, after) = look(test);
    time::tick::stop_this_cpu();
    let average = after / test.counters as u64;
    for (index, counter) in COUNTERS[..test.counters].iter().enumerate() {
        let count = counter.get();
        assert!(
            count.abs_diff(average) <= 1,
            "thread_metric.{}: counter {index} is {count}, and the average {average}: they may differ by 1",
            test.name
        );
    }
    threads
        .iter()
        .flatten()
        .enumerate()
        .for_each(|(index, thread)| end(number_of_threads - 1 - index, thread));
    let (instructions, counts) = (ended - begun, (after - before) / test.counts);
    assert!(counts > 0, "thread_metric.{}: nothing was counted in {instructions} instructions", test.name);
    let tenths = (instructions * 10 + counts / 2) / counts;
    kprintln!(
        "result thread_metric.{} {}.{} insn elapsed={instructions} counts={counts}",
        test.name,
        tenths / 10,
        tenths % 10
    );
}

/// Has a thread come to its end. It is preempted or parked; if the former was between the two halves of its count, it
/// takes another attempt.
fn end(number: usize, thread: &TaskRef) {
    for _ in 0..ATTEMPTS {
        COUNTERS[number].set(END.wrapping_sub(1));
        thread.unpark();
        task::sleep_ns(ROUND_NS);
        if thread.is_dead() {
            thread.wait_exited();
            return;
        }
    }
    panic!("thread {number} of Thread-Metric has not come to its end in {ATTEMPTS} attempts");
}

/// A thread: its rounds, each of which counts as one.
#[inline(always)]
fn rounds(number: usize, mut round: impl FnMut()) {
    let counter = &COUNTERS[number];
    loop {
        round();
        if !counter.goes_on() {
            return;
        }
    }
}

/// The calibration: what the machine and the compiler do without a kernel.
fn basic(number: usize) {
    static ARRAY: [Volatile; 1024] = [const { Volatile::new() }; 1024];
    let counter = &COUNTERS[number];
    rounds(number, || {
        for word in &ARRAY {
            word.set(word.get().wrapping_add(counter.get()) ^ word.get());
        }
    });
}

/// Five equals that let each other go on.
fn cooperative(number: usize) {
    rounds(number, task::yield_now);
}

/// The lowest of five resumes the second, which preempts it and resumes the third, and so on; and each suspends itself.
fn preemptive_first(number: usize) {
    let next = thread(number + 1);
    rounds(number, || next.unpark());
}

fn preemptive(number: usize) {
    let next = thread(number + 1);
    rounds(number, || {
        task::park();
        next.unpark();
    });
}

fn preemptive_last(number: usize) {
    rounds(number, task::park);
}

static GIVEN: Semaphore = Semaphore::new(0);

/// A thread interrupts itself and takes what the handler has given.
fn interrupt(number: usize) {
    let sgi = irq::prepared();
    rounds(number, || {
        v3::send_prepared(sgi);
        GIVEN.take();
    });
}

fn giving(_: usize) {
    COUNTERS[1].increment();
    GIVEN.give().expect("room for a unit");
}

/// A thread interrupts itself, and the handler resumes a higher one, which suspends itself again.
fn interrupt_low(number: usize) {
    let sgi = irq::prepared();
    rounds(number, || v3::send_prepared(sgi));
}

fn interrupt_high(number: usize) {
    rounds(number, task::park);
}

fn resuming(_: usize) {
    COUNTERS[2].increment();
    thread(1).unpark();
}

/// A thread sends a message to itself.
fn message(number: usize) {
    static QUEUE: MsgQueue<[u32; 4], 10> = MsgQueue::new();
    static SENT: Volatile = Volatile::new();
    rounds(number, || {
        QUEUE.put([0x1111_2222, 0x3333_4444, 0x5555_6666, SENT.get() as u32]);
        let received = QUEUE.get();
        assert!(received[3] == SENT.get() as u32, "a message came back as {:#x}", received[3]);
        SENT.increment();
    });
}

/// A semaphore is taken and given, and nobody waits.
fn synchronization(number: usize) {
    static SEMAPHORE: Semaphore = Semaphore::new(1);
    rounds(number, || {
        SEMAPHORE.take();
        SEMAPHORE.give().expect("room for the unit");
    });
}

/// A block of 128 bytes is taken from a pool and given back.
fn memory(number: usize) {
    static POOL: Pool<128, 16> = Pool::new();
    rounds(number, || {
        let block = POOL.alloc().expect("a block");
        POOL.free(black_box(block));
    });
}
