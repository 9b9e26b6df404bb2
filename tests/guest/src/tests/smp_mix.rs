//! Everything that moves tasks, at once: real-time tasks of many priorities that push and pull each other, fair ones that
//! are balanced, and a CPU that goes and comes back.
//!
//! Judged by what must be true at any speed: nobody is lost, nobody runs where it must not, and the run queues are in
//! order whenever one looks. So it says something above all where the CPUs are threads of the host that really
//! interleave; the list runs it with exact time too.

use crate::framework::cpus::{among, here};
use crate::framework::{Outcome, clock};
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use stint::sched::core::with_rq_of;
use stint::sched::prio::SchedAttr;
use stint::smp::bringup::CpuError;
use stint::smp::hotplug::{cpu_down, cpu_up};
use stint::smp::{self, CpuMask};
use stint::task;

/// Of each class.
const WORKERS: u64 = 8;
/// Their priorities go up to this; those above are the test's and its helpers'.
const HIGHEST: u32 = 9;
/// Above all of them, so that it can look.
const OBSERVER: u32 = 40;

/// Long beside the work: with exact time all CPUs share one CPU's instructions, and a host has fewer CPUs than the machine.
const SLEEP_MAX_NS: u64 = 600_000;
/// How often the CPU goes and comes back; less often where it takes the time of a busy host.
const TURNS: [u32; 2] = [2, 6];

static STOP: AtomicBool = AtomicBool::new(false);
/// The CPUs on which the real-time tasks have been seen.
static SEEN: AtomicU64 = AtomicU64::new(0);
/// Rounds of all tasks.
static ROUNDS: AtomicU32 = AtomicU32::new(0);
/// Found outside of its set, with no CPU away.
static ASTRAY: AtomicU32 = AtomicU32::new(0);

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Works and sleeps until told to stop; returns its rounds.
fn live(seed: u64, is_rt: bool, allowed: CpuMask) -> u32 {
    let mut dice = Dice(seed);
    let mut rounds = 0;
    while !STOP.load(Ordering::Acquire) {
        clock::work(dice.roll(3_000) as u32);
        if !allowed.contains(here()) {
            ASTRAY.fetch_add(1, Ordering::Relaxed);
        }
        if is_rt {
            SEEN.fetch_or(1 << here(), Ordering::Relaxed);
            if dice.roll(4) == 0 {
                // Up or down, as often as not while somebody waits for the CPU.
                let attr = SchedAttr::fifo(2 + dice.roll(u64::from(HIGHEST) - 1) as u32);
                let _ = attr.map(|attr| task::current_ref().set_scheduler(attr));
            }
        }
        rounds += 1;
        ROUNDS.fetch_add(1, Ordering::Relaxed);
        task::sleep_ns(dice.roll(SLEEP_MAX_NS));
    }
    rounds
}

/// The CPU goes and comes back, and in between all run queues are looked at.
fn come_and_go(last: usize) -> Outcome {
    for _ in 0..TURNS[usize::from(clock::is_exact())] {
        match cpu_down(last) {
            Ok(()) => {
                task::sleep_ms(1);
                check_eq!(cpu_up(last), Ok(()), "CPU {last} comes back");
            }
            // On a slow host somebody has not let it go in time.
            Err(CpuError::Stays(_)) => {}
            Err(error) => check!(false, "CPU {last} does not go: {error:?}"),
        }
        for cpu in smp::online().iter() {
            let in_order = with_rq_of(cpu, |rq| {
                rq.is_smp_consistent() && rq.cfs().is_consistent() && rq.dl().is_consistent()
            });
            check!(in_order, "the run queue of CPU {cpu} is not in order");
        }
        task::sleep_ms(2);
    }
    Ok(())
}

ktest! {
    needs_cpus(3),
    fn nobody_is_lost_while_tasks_are_pushed_pulled_and_balanced_and_a_cpu_comes_and_goes() {
        let last = smp::online().count() - 1;
        STOP.store(false, Ordering::Relaxed);
        SEEN.store(0, Ordering::Relaxed);
        ROUNDS.store(0, Ordering::Relaxed);
        ASTRAY.store(0, Ordering::Relaxed);
        let before = task::current_ref().scheduler();
        task::current_ref().set_scheduler(SchedAttr::fifo(OBSERVER).expect("a priority"))?;
        let mut workers = Vec::new();
        for number in 0..WORKERS {
            // Half of them everywhere, half of them not on the CPU that goes: so no set is ever empty.
            let stays = smp::online().without(last);
            let allowed = if number % 2 == 0 { smp::online() } else { stays };
            let rt = among(allowed, task::build("rt")).fifo(2 + (number % 8) as i32);
            workers.push(rt.spawn(move || live(number, true, allowed))?);
            let fair = among(allowed, task::build("fair")).nice(number as i32 % 3);
            workers.push(fair.spawn(move || live(WORKERS + number, false, allowed))?);
        }
        let seen_in_order = come_and_go(last);
        STOP.store(true, Ordering::Release);
        task::current_ref().set_scheduler(before)?;
        seen_in_order?;
        let mut rounds = 0;
        for worker in workers {
            let own = worker.join();
            check!(own.is_some_and(|rounds| rounds > 0), "a task that never ran: {own:?}");
            rounds += own.unwrap_or(0);
        }
        check_eq!(rounds, ROUNDS.load(Ordering::Relaxed), "rounds of each task, and of all");
        check_eq!(ASTRAY.load(Ordering::Relaxed), 0, "tasks outside of their sets");
        let seen = CpuMask::from_bits(SEEN.load(Ordering::Relaxed));
        check!(seen.count() > 1, "real-time tasks ran on CPU {seen} alone");
    }
}
