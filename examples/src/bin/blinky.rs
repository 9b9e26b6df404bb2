//! The first program: two tasks and a timer.
//!
//! A timer beats twice a second. A real-time task waits for the beat and switches the light; a task of low
//! importance computes all the time. The light does not care: each beat preempts the computation.
//!
//! QEMU's `virt` machine has no LED, so the light is a word on the console.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, Ordering};
use stint::locking::Semaphore;
use stint::time::{Timer, now_ns};
use stint::{kprintln, power, task};

stint_board::entry!(main);

const HALF_SECOND_NS: u64 = 500_000_000;
const BLINKS: u32 = 6;

static BEAT: Semaphore = Semaphore::new(0);
static DONE: AtomicBool = AtomicBool::new(false);

fn main() {
    // A timer's function runs in interrupt context: it wakes somebody and returns.
    let timer = Timer::new(|| {
        // A semaphore without a limit is never full.
        let _ = BEAT.give();
    });

    let light = task::build("light").fifo(50).spawn(blink).expect("a task for the light");
    let worker = task::build("worker").nice(10).spawn(find_primes).expect("a task to compute");
    timer.start_periodic(HALF_SECOND_NS).expect("half a second is a good period");

    light.join();
    DONE.store(true, Ordering::Relaxed);
    let primes = worker.join().unwrap_or(0);
    kprintln!("the worker found {primes} primes meanwhile");
    power::exit(0)
}

fn blink() {
    for number in 0..BLINKS {
        BEAT.take();
        let light = if number % 2 == 0 { "on" } else { "off" };
        kprintln!("{:>6} ms  light {light}", now_ns() / 1_000_000);
    }
}

/// Computes until it is told to stop, and returns how many primes it found. It never thinks of others.
fn find_primes() -> u32 {
    let mut found = 0;
    let mut number = 2u32;
    while !DONE.load(Ordering::Relaxed) {
        if (2..number)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
        {
            found += 1;
        }
        number += 1;
    }
    found
}
