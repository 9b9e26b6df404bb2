//! Timers between CPUs: started on one, cancelled on another, and never in two places.

use crate::framework::Outcome;
use crate::framework::clock::{self, spin_ns};
use crate::framework::cpus::{here, on};
use crate::framework::softirqs::SoftirqsFirst;
use crate::tests::LOW;
use crate::{check, check_eq, ktest};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use stint::task;
use stint::time::{Timer, idle, now_ns};

/// So many rounds where CPUs interleave, fewer where they take turns.
fn rounds(parallel: u32) -> u32 {
    if clock::is_exact() { (parallel / 20).max(50) } else { parallel }
}

/// A function of a timer that is watched.
struct Watched {
    inside: AtomicBool,
    runs: AtomicU32,
    /// Calls while another one was not over.
    overlaps: AtomicU32,
    /// The CPU of the last call.
    cpu: AtomicUsize,
}

impl Watched {
    const fn new() -> Self {
        Self {
            inside: AtomicBool::new(false),
            runs: AtomicU32::new(0),
            overlaps: AtomicU32::new(0),
            cpu: AtomicUsize::new(usize::MAX),
        }
    }

    fn call(&self) {
        if self.inside.swap(true, Ordering::SeqCst) {
            self.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        self.cpu.store(here(), Ordering::Relaxed);
        // Long enough to be found inside.
        let limit = now_ns() + 3_000;
        while now_ns() < limit {
            arch::cpu::relax();
        }
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.inside.store(false, Ordering::SeqCst);
    }

    fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }
}

/// Waits, on this CPU.
fn until(condition: impl Fn() -> bool) -> bool {
    let limit = now_ns() + 20_000_000_000;
    while !condition() {
        if now_ns() > limit {
            return false;
        }
        arch::cpu::relax();
        stint::preempt::cond_resched();
    }
    true
}

/// A timer that CPU 1 starts, over and over, is cancelled here, at any moment of its life.
fn cancel_from_here(watched: &'static Watched, timer: Timer) -> Outcome {
    let timer = Arc::new(timer);
    // The round that the starter is to start the timer for, 0 at the end; and the one it has.
    let (go, started) = (Arc::new(AtomicU32::new(u32::MAX)), Arc::new(AtomicU32::new(u32::MAX)));
    let starter = {
        let (timer, go, started) = (Arc::clone(&timer), Arc::clone(&go), Arc::clone(&started));
        on(1, task::build("starter")).fifo(LOW).spawn(move || {
            loop {
                match go.load(Ordering::Acquire) {
                    0 => return,
                    round if round != started.load(Ordering::Relaxed) => {
                        // Some far off, for a host that takes longer than the time of the others.
                        timer.start_once(if round % 8 == 1 { 5_000_000 } else { 2_000 });
                        started.store(round, Ordering::Release);
                    }
                    _ => arch::cpu::relax(),
                }
                stint::preempt::cond_resched();
            }
        })?
    };
    let (mut before, mut after) = (0, 0);
    for round in 1..=rounds(300) {
        let runs = watched.runs();
        go.store(round, Ordering::Release);
        check!(until(|| started.load(Ordering::Acquire) == round), "CPU 1 does not start the timer");
        // Every other time in the middle of its function.
        let in_function = round % 2 == 0;
        if in_function {
            check!(
                until(|| watched.inside.load(Ordering::SeqCst) || watched.runs() > runs),
                "it does not go off"
            );
        } else {
            spin_ns(u64::from(round) * 137 % 4_000);
        }
        let was_started = timer.cancel();
        check!(!watched.inside.load(Ordering::SeqCst), "cancel returned while the function was running");
        let runs_then = watched.runs();
        if was_started {
            before += 1
        } else {
            after += 1
        }
        if was_started {
            check_eq!(runs_then, runs, "calls of a timer that was cancelled before");
        }
        spin_ns(6_000);
        check_eq!(watched.runs(), runs_then, "calls after cancel has returned");
    }
    go.store(0, Ordering::Release);
    starter.join();
    check!(before > 0, "never cancelled before it went off ({after} after)");
    check_eq!(watched.overlaps.load(Ordering::Relaxed), 0);
    Ok(())
}

ktest! {
    needs_cpus(2),
    fn a_hard_timer_cancelled_from_another_cpu_is_not_running_and_does_not_run() {
        static WATCHED: Watched = Watched::new();
        cancel_from_here(&WATCHED, Timer::new_hard(|| WATCHED.call()))?;
    }
}

ktest! {
    needs_cpus(2),
    fn a_soft_timer_cancelled_from_another_cpu_is_not_running_and_does_not_run() {
        // In `rt` the task that starts it would be above the softirqs' thread.
        let _first = SoftirqsFirst::new();
        static WATCHED: Watched = Watched::new();
        cancel_from_here(&WATCHED, Timer::new(|| WATCHED.call()))?;
    }
}

ktest! {
    needs_cpus(2),
    fn a_timer_goes_off_on_the_cpu_that_started_it_last() {
        static WATCHED: Watched = Watched::new();
        let timer = Arc::new(Timer::new_hard(|| WATCHED.call()));
        for cpu in [1, 0, 1, 1, 0] {
            let before = WATCHED.runs();
            // Pending elsewhere until then.
            let there = Arc::clone(&timer);
            on(1 - cpu, task::build("first")).fifo(LOW).spawn(move || there.start_once(1_000_000_000))?.join();
            let there = Arc::clone(&timer);
            on(cpu, task::build("last")).fifo(LOW).spawn(move || there.start_once(20_000))?.join();
            check!(until(|| WATCHED.runs() > before), "it does not go off");
            check_eq!(WATCHED.cpu.load(Ordering::Relaxed), cpu, "the CPU it went off on");
        }
        check!(!timer.cancel());
    }
}

ktest! {
    needs_cpus(3),
    fn a_timer_that_three_cpus_start_and_cancel_never_runs_in_two_places() {
        let _first = SoftirqsFirst::new();
        static WATCHED: [Watched; 2] = [const { Watched::new() }; 2];
        let timers = Arc::new([Timer::new_hard(|| WATCHED[0].call()), Timer::new(|| WATCHED[1].call())]);
        let rounds = rounds(2000);
        let play = |cpu: usize| {
            let timers = Arc::clone(&timers);
            on(cpu, task::build("player")).fifo(LOW).spawn(move || {
                let mut dice = cpu as u32;
                for _ in 0..rounds {
                    dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let timer = &timers[(dice >> 30 & 1) as usize];
                    match dice >> 16 & 7 {
                        0 => drop(timer.cancel()),
                        1 => drop(timer.try_cancel()),
                        2 => drop(timer.start_periodic(10_000)),
                        _ => timer.start_once(u64::from(dice >> 20 & 0x7ff)),
                    }
                    spin_ns(u64::from(dice >> 8 & 0x3ff));
                    stint::preempt::cond_resched();
                }
            })
        };
        let players = [play(0)?, play(1)?, play(2)?];
        for player in players {
            player.join();
        }
        for (timer, watched) in timers.iter().zip(&WATCHED) {
            timer.cancel();
            let runs = watched.runs();
            check!(runs > 0, "it never went off");
            spin_ns(10_000);
            check_eq!((watched.runs(), watched.overlaps.load(Ordering::Relaxed)), (runs, 0), "calls, and calls at the same time");
            check!(!timer.is_running());
        }
    }
}

ktest! {
    needs_cpus(2),
    fn the_idle_time_of_another_cpu_grows_while_it_idles() {
        // Nothing of this test is there.
        let first_ns = idle::time_ns_of(1);
        check!(until(|| idle::time_ns_of(1) >= first_ns + 100_000), "CPU 1 does not idle");
        let mut last_ns = idle::time_ns_of(1);
        for _ in 0..200 {
            let now_ns = idle::time_ns_of(1);
            check!(now_ns >= last_ns, "the idle time went back from {last_ns} to {now_ns}");
            last_ns = now_ns;
        }
        check!(idle::waits_of(1) > 0);
    }
}
