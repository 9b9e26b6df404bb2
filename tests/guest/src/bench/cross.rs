//! From one CPU to another: waking, calling, moving. On machines with more than one CPU.
//!
//! Under icount all CPUs' instructions advance the one clock, and the emulator runs one CPU at a time: it leaves the
//! sender at the interrupt it sends and goes to the CPU that has something to do, until that idles in WFI again. So
//! what is counted is the sender's way to the interrupt and the other CPU's way from it, one behind the other, as on
//! silicon they follow each other; the sender's way back is not in it. The CPU that is sent to idles in WFI before, and
//! its tick is off. The clock is the machine's, which all CPUs share; the cycle counter is each one's own.

use crate::sample::{Bench, REPETITIONS, WARM_UP};
use crate::{HIGH, LOW};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use stint::locking::Semaphore;
use stint::smp::call::call_function_single;
use stint::smp::{self, CpuMask};
use stint::task;
use stint::time::idle::woken_ns_of;
use stint::time::{now_ns, tick};

const ROUNDS: usize = REPETITIONS + WARM_UP;
/// Time for the other CPU to come to rest.
const REST_NS: u64 = 20_000;

/// Samples between two readings of the clock.
fn bench() -> Bench {
    let before = now_ns();
    Bench::with_overhead(now_ns() - before)
}

/// The CPU that is sent to.
fn other() -> usize {
    smp::online().without(0).first().expect("a second CPU")
}

/// Every CPU's tick would come in between, and so would the timer that a CPU sets when it leaves the idle task.
pub fn stop_ticks() {
    for cpu in smp::online().iter() {
        let stopper = task::build("ticks").fifo(HIGH).affinity(CpuMask::of(cpu));
        stopper.spawn(tick::stop_this_cpu).expect("a thread").join();
    }
}

/// A give wakes a task of an idle CPU: from the interrupt that is sent to the task's first instruction.
pub fn cross_wake() -> Bench {
    wake(task::build("there").fifo(HIGH), Since::Interrupt)
}

/// The same from the give's first instruction.
pub fn cross_give() -> Bench {
    wake(task::build("there").fifo(HIGH), Since::Give)
}

/// [`cross_wake`] of a fair task.
pub fn cross_wake_fair() -> Bench {
    wake(task::build("there"), Since::Interrupt)
}

/// [`cross_give`] to a fair task.
pub fn cross_give_fair() -> Bench {
    wake(task::build("there"), Since::Give)
}

/// Where a sample begins.
#[derive(Clone, Copy)]
enum Since {
    /// The sender's call.
    Give,
    /// The interrupt: the receiver waits in WFI, and notes the clock with the first instruction behind it. (The emulator
    /// leaves the sender with the instruction that sends.)
    Interrupt,
}

fn wake(waiter: task::Builder, since: Since) -> Bench {
    static GATE: Semaphore = Semaphore::new(0);
    static GIVEN_NS: AtomicU64 = AtomicU64::new(0);
    let there = other();
    let waiter = waiter.affinity(CpuMask::of(there)).spawn(move || {
        let mut bench = bench();
        for _ in 0..ROUNDS {
            GATE.take();
            let now = now_ns();
            bench.add(
                now - match since {
                    Since::Give => GIVEN_NS.load(Ordering::Relaxed),
                    Since::Interrupt => woken_ns_of(there),
                },
            );
        }
        bench
    });
    let waiter = waiter.expect("a thread");
    for _ in 0..ROUNDS {
        task::sleep_ns(REST_NS);
        GIVEN_NS.store(now_ns(), Ordering::Relaxed);
        let _ = GATE.give();
    }
    waiter.join().expect("samples")
}

/// A fair task of another CPU sleeps, its CPU looks for other work, idles, takes the timer's interrupt and goes on: all
/// instructions of it but for those that it idled.
pub fn idle_round_wake() -> Bench {
    let there = other();
    let sleeper = task::build("sleeper").affinity(CpuMask::of(there)).spawn(move || {
        let mut bench = Bench::with_overhead(0);
        for _ in 0..ROUNDS {
            let (start, idle) = (now_ns(), stint::time::idle::time_ns_of(there));
            task::sleep_ns(5 * REST_NS);
            let (end, idle_end) = (now_ns(), stint::time::idle::time_ns_of(there));
            bench.add((end - start) - (idle_end - idle));
        }
        bench
    });
    sleeper.expect("a thread").join().expect("samples")
}

/// A function called on an idle CPU: from the call's first instruction to the function's.
pub fn cross_call() -> Bench {
    let there = other();
    let mut bench = bench();
    for _ in 0..ROUNDS {
        task::sleep_ns(REST_NS);
        let ran_ns = AtomicU64::new(0);
        let start = now_ns();
        let asked = call_function_single(there, &|| ran_ns.store(now_ns(), Ordering::Relaxed));
        assert!(asked.is_ok(), "the CPU is online");
        bench.add(ran_ns.load(Ordering::Relaxed) - start);
    }
    bench
}

/// The same until the caller goes on: it waits, on a CPU that the emulator counts too.
pub fn cross_call_round() -> Bench {
    let there = other();
    let mut bench = bench();
    for _ in 0..ROUNDS {
        task::sleep_ns(REST_NS);
        let start = now_ns();
        let asked = call_function_single(there, &|| ());
        let end = now_ns();
        assert!(asked.is_ok(), "the CPU is online");
        bench.add(end - start);
    }
    bench
}

/// A task that waits on another CPU is pulled by one that is about to idle: from the call by which that one's thread
/// goes to sleep to the pulled task's first instruction here.
pub fn rt_pull() -> Bench {
    static GATE: Semaphore = Semaphore::new(0);
    static DONE: Semaphore = Semaphore::new(0);
    static SLEEPS_NS: AtomicU64 = AtomicU64::new(0);
    static STOP: AtomicBool = AtomicBool::new(false);
    let there = other();
    STOP.store(false, Ordering::Relaxed);
    let hog = task::build("hog").fifo(HIGH).affinity(CpuMask::of(there)).spawn(|| {
        while !STOP.load(Ordering::Relaxed) {
            arch::cpu::relax();
        }
    });
    let pulled = task::build("pulled").fifo(LOW - 1).affinity(CpuMask::of(there)).spawn(|| {
        let mut bench = bench();
        for _ in 0..ROUNDS {
            GATE.take();
            let now = now_ns();
            bench.add(now - SLEEPS_NS.load(Ordering::Relaxed));
            let _ = DONE.give();
        }
        bench
    });
    let (hog, pulled) = (hog.expect("a thread"), pulled.expect("a thread"));
    for _ in 0..ROUNDS {
        // Behind the hog, and then allowed here too, where something more important runs.
        assert!(pulled.task().set_affinity(CpuMask::of(there)).is_ok(), "the CPU is online");
        let _ = GATE.give();
        assert!(pulled.task().set_affinity(CpuMask::of(there).with(0)).is_ok(), "the CPUs are online");
        SLEEPS_NS.store(now_ns(), Ordering::Relaxed);
        DONE.take();
    }
    STOP.store(true, Ordering::Relaxed);
    hog.join();
    pulled.join().expect("samples")
}

/// A task is displaced by one that it wakes, and pushed to an idle CPU: from the call that wakes to the next instruction of
/// the displaced one, there.
pub fn rt_push() -> Bench {
    static GATE: Semaphore = Semaphore::new(0);
    static WENT: AtomicBool = AtomicBool::new(false);
    let there = other();
    let rules = task::build("rules").fifo(HIGH + 1).affinity(CpuMask::of(0)).spawn(|| {
        for _ in 0..ROUNDS {
            GATE.take();
            while !WENT.load(Ordering::Relaxed) {
                arch::cpu::relax();
            }
        }
    });
    let pushed = task::build("pushed").fifo(HIGH).affinity(CpuMask::of(0)).spawn(move || {
        let me = task::current_ref();
        let mut bench = bench();
        for _ in 0..ROUNDS {
            task::sleep_ns(REST_NS);
            WENT.store(false, Ordering::Relaxed);
            assert!(me.set_affinity(CpuMask::of(0).with(there)).is_ok(), "the CPUs are online");
            let start = now_ns();
            let _ = GATE.give();
            let end = now_ns();
            bench.add(end - start);
            WENT.store(true, Ordering::Relaxed);
            assert!(me.set_affinity(CpuMask::of(0)).is_ok(), "the CPU is online");
        }
        bench
    });
    let bench = pushed.expect("a thread").join().expect("samples");
    rules.expect("a thread").join();
    bench
}

/// A task moves itself to an idle CPU, there and back: from the call to its first instruction there.
pub fn migrate() -> Bench {
    let there = other();
    let mover = task::build("mover").fifo(HIGH).affinity(CpuMask::of(0)).spawn(move || {
        let me = task::current_ref();
        let mut bench = bench();
        for round in 0..ROUNDS {
            task::sleep_ns(REST_NS);
            let to = if round % 2 == 0 { there } else { 0 };
            let start = now_ns();
            let moved = me.set_affinity(CpuMask::of(to));
            let end = now_ns();
            assert!(moved.is_ok(), "the CPU is online");
            bench.add(end - start);
        }
        bench
    });
    mover.expect("a thread").join().expect("samples")
}
