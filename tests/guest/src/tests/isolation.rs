//! Isolated CPUs: who gets there, and what still comes there.
//!
//! For a machine with four CPUs that is told `isolcpus=2,3 nohz_full=3`; on any other these tests are ignored.

use crate::framework::clock::{is_exact, spin_ns, tick_ns, work};
use crate::framework::{Failure, cpus};
use crate::tests::HIGH;
use crate::tests::throttling::Limits;
use crate::{check, check_eq, ktest};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use stint::jitter::gaps::Cause;
use stint::jitter::params::Params;
use stint::jitter::run;
use stint::smp::{CpuMask, isolation};
use stint::time::{now_ns, tick};
use stint::{klog, task};

/// Isolated, with a tick.
const ISOLATED: usize = 2;
/// Isolated, without one.
const QUIET: usize = 3;
const MS: u64 = 1_000_000;

fn on_the_isolated_machine() -> Result<(), Failure> {
    let told =
        isolation::isolated() == CpuMask::from_bits(0b1100) && isolation::nohz_full() == CpuMask::of(QUIET);
    if !told {
        return Err(Failure::Ignored("it needs isolcpus=2,3 nohz_full=3"));
    }
    Ok(())
}

fn params(cpu: usize, for_ns: u64) -> Params {
    Params { cpu, for_ns, threshold_ns: None, prio: 90 }
}

ktest! {
    needs_cpus(4),
    fn tasks_that_do_not_ask_for_it_do_not_get_to_an_isolated_cpu() {
        on_the_isolated_machine()?;
        let mut strangers = Vec::new();
        task::for_each(|task| {
            if task.name() == "klogd" && task.affinity() != isolation::housekeeping() {
                strangers.push(task.affinity());
            }
        });
        check!(strangers.is_empty(), "the kernel's own threads may run on CPU {:?}", strangers);
        let hogs: Vec<_> = (0..6)
            .map(|_| {
                cpus::among(CpuMask::ALL, task::build("hog")).spawn(|| {
                    let mut seen = CpuMask::NONE;
                    let end = now_ns() + 40 * MS;
                    while now_ns() < end {
                        work(500);
                        seen = seen.with(cpus::here());
                    }
                    seen
                })
            })
            .collect::<Result<_, _>>()?;
        for hog in hogs {
            let seen = hog.join().unwrap_or_default();
            check!((seen & isolation::isolated()).is_empty(), "a task ran on CPU {seen}");
        }
    }
}

ktest! {
    needs_cpus(4),
    fn a_task_that_asks_for_it_gets_to_an_isolated_cpu_and_stays() {
        on_the_isolated_machine()?;
        for cpu in [ISOLATED, QUIET] {
            let task = cpus::on(cpu, task::build("asks")).spawn(|| {
                let first = cpus::here();
                task::sleep_ns(5 * MS);
                (first, cpus::here())
            })?;
            check_eq!(task.join(), Some((cpu, cpu)), "where it ran");
        }
    }
}

ktest! {
    needs_cpus(4),
    fn an_isolated_cpu_without_a_tick_leaves_one_task_alone() {
        on_the_isolated_machine()?;
        if !is_exact() {
            return Err(Failure::Ignored("it needs a machine with virtual time"));
        }
        // What another CPU does is a gap too, where the machine runs one after the other.
        let _unlimited = Limits::none()?;
        let report = run::start(params(QUIET, 500 * MS))?.join();
        let gaps = &report.gaps;
        for cause in Cause::ALL {
            check_eq!(gaps.of(cause).0, 0, "gaps by {} in half a second; the longest: {:?}", cause.name(), gaps.worst().first());
        }
    }
}

ktest! {
    needs_cpus(4),
    fn work_on_other_cpus_does_not_reach_an_isolated_cpu_without_a_tick() {
        on_the_isolated_machine()?;
        let stop = Arc::new(AtomicBool::new(false));
        let load = |cpu: usize| {
            let stop = stop.clone();
            cpus::on(cpu, task::build("load")).spawn(move || {
                while !stop.load(Relaxed) {
                    work(1000);
                    task::sleep_ns(MS / 10);
                }
            })
        };
        let loads = [load(0)?, load(1)?, load(ISOLATED)?];
        let before = tick::taken_by(QUIET);
        let running = run::start(params(QUIET, 50 * MS))?;
        let report = running.join();
        stop.store(true, Relaxed);
        for load in loads {
            load.join();
        }
        let own = report.gaps.own();
        check_eq!(own.0, 0, "gaps that the CPU itself made (ticks before: {before:?}); the longest: {:?}", report.gaps.worst().first());
    }
}

ktest! {
    needs_cpus(4),
    fn an_ordinary_cpu_takes_its_ticks() {
        on_the_isolated_machine()?;
        for cpu in [1, ISOLATED] {
            let report = run::start(params(cpu, 50 * MS))?.join();
            let (ticks, ..) = report.gaps.of(Cause::Tick);
            let expected = report.measured_ns / tick_ns();
            check!(ticks.abs_diff(expected) <= 2 || !is_exact(), "CPU {cpu}: {ticks} ticks in the time of {expected}");
            check!(ticks > 0, "CPU {cpu} takes no tick");
        }
    }
}

ktest! {
    needs_cpus(4),
    fn the_tick_comes_back_when_a_second_task_does_and_goes_when_it_does() {
        on_the_isolated_machine()?;
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let spinner = |i: usize| {
            let (stop, turns) = (stop.clone(), turns.clone());
            cpus::on(QUIET, task::build("turn")).spawn(move || {
                while !stop.load(Relaxed) {
                    work(500);
                    turns[i].fetch_add(1, Relaxed);
                }
            })
        };
        let first = spinner(0)?;
        task::sleep_ns(10 * tick_ns());
        check!(tick::taken_by(QUIET).is_none(), "the tick runs for one task");
        let second = spinner(1)?;
        task::sleep_ns(30 * tick_ns());
        let ran = [turns[0].load(Relaxed), turns[1].load(Relaxed)];
        let ticks = tick::taken_by(QUIET);
        task::sleep_ns(30 * tick_ns());
        let more = [turns[0].load(Relaxed) - ran[0], turns[1].load(Relaxed) - ran[1]];
        stop.store(true, Relaxed);
        first.join();
        second.join();
        check!(ticks.is_some(), "no tick for two tasks");
        check!(more[0] > 0 && more[1] > 0, "turns of the two tasks in 30 ticks: {more:?}");
        // A round-robin task keeps it, a FIFO task does not.
        let ticks_under = |task: task::Builder| -> Result<Option<u64>, Failure> {
            let spins = cpus::on(QUIET, task).spawn(|| {
                spin_ns(10 * tick_ns());
                let ticks = tick::taken_by(QUIET);
                spin_ns(5 * tick_ns());
                ticks
            })?;
            Ok(spins.join().flatten())
        };
        check!(ticks_under(task::build("rr").rr(HIGH))?.is_some(), "no tick for a round-robin task");
        check!(ticks_under(task::build("fifo").fifo(HIGH))?.is_none(), "a tick for a FIFO task");
    }
}

ktest! {
    needs_cpus(4),
    fn jiffies_follow_the_clock_where_the_tick_is_stopped() {
        on_the_isolated_machine()?;
        let passed = cpus::on(QUIET, task::build("counts").fifo(HIGH)).spawn(|| {
            spin_ns(5 * tick_ns());
            let (before, before_ns) = (tick::jiffies(), now_ns());
            spin_ns(50 * tick_ns());
            (tick::jiffies() - before, (now_ns() - before_ns) / tick_ns())
        })?;
        let (jiffies, by_clock) = passed.join().unwrap_or_default();
        check!(jiffies.abs_diff(by_clock) <= 1, "{jiffies} jiffies in the time of {by_clock}");
    }
}

ktest! {
    needs_cpus(4),
    fn what_is_logged_on_a_cpu_without_a_tick_comes_out() {
        on_the_isolated_machine()?;
        let stop = Arc::new(AtomicBool::new(false));
        let logs = cpus::on(QUIET, task::build("logs").fifo(HIGH)).spawn({
            let stop = stop.clone();
            move || {
                spin_ns(10 * tick_ns());
                log::info!("out of the silence");
                while !stop.load(Relaxed) {
                    work(500);
                }
            }
        })?;
        task::sleep_ns(40 * tick_ns());
        let pending = klog::pending();
        stop.store(true, Relaxed);
        logs.join();
        check!(!pending, "the message waits for a tick");
    }
}
