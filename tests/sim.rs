//! A CPU in a box: the real scheduling classes under random events.
//!
//! Nobody is lost, nobody is queued twice, the right task runs, fair time is
//! charged to the nanosecond to whom it belongs, shares are fair, reservations
//! are kept, and real-time tasks leave the others theirs.
//!
//! Everything follows from a seed. `STINT_SIM_SEED=n` chooses another one,
//! `STINT_SIM_EVENTS=n` another length; a failure prints both.

#[path = "sim/machine.rs"]
mod machine;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use machine::{Sim, TICK_NS};
use stint::sched::SchedAttr;

const EVENTS: u64 = 1_000_000;
const SEED: u64 = 0x5eed_0f57_1417;

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .ok()
        .map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v} is not a number")))
}

#[test]
fn a_million_random_events_lose_nobody_and_run_the_right_task() {
    let (seed, events) = (number("STINT_SIM_SEED", SEED), number("STINT_SIM_EVENTS", EVENTS));
    let mut sim = Sim::new(seed);
    let _ = sim.rq.set_rt_bandwidth(95_000_000, 100_000_000).unwrap();
    for _ in 0..8 {
        sim.spawn(SchedAttr::NORMAL);
    }
    for event in 0..events {
        let result = catch_unwind(AssertUnwindSafe(|| sim.event()));
        if let Err(panic) = result {
            eprintln!("event {event} failed; again with STINT_SIM_SEED={seed} STINT_SIM_EVENTS={events}");
            resume_unwind(panic);
        }
    }
    // The events must have been worth something.
    let scale = events / 100;
    assert!(sim.switches > 20 * scale, "only {} switches", sim.switches);
    // 20 ms is the longest that preemption is held off at a time, and it is paid back.
    assert!(
        sim.above_ns < sim.now / 100 * 95 + 1_000_000_000,
        "real-time and deadline tasks had {} of {} ns",
        sim.above_ns,
        sim.now
    );
    println!("{events} events, {} switches, {} s of virtual time", sim.switches, sim.now / 1_000_000_000);
}

/// Runs CPU hogs of these nice values for `ns` and returns each one's share.
fn shares(nices: &[i32], ns: u64) -> Vec<f64> {
    let mut sim = Sim::new(1);
    for &nice in nices {
        sim.spawn(SchedAttr::normal(nice).unwrap());
    }
    sim.schedule();
    sim.pass(ns);
    sim.slots.iter().map(|s| s.ran_ns as f64 / ns as f64).collect()
}

fn weight(nice: i32) -> f64 {
    stint::sched::load::LoadWeight::of_nice(nice).weight() as f64
}

#[test]
fn equal_cpu_hogs_get_equal_shares_within_two_percent() {
    for n in [2, 3, 5, 8, 9, 16] {
        for (i, share) in shares(&vec![0; n], 10_000_000_000).into_iter().enumerate() {
            let fair = 1.0 / n as f64;
            assert!((share / fair - 1.0).abs() < 0.02, "hog {i} of {n}: {share:.4} instead of {fair:.4}");
        }
    }
}

#[test]
fn nice_levels_get_shares_by_weight_within_two_percent() {
    for nices in [vec![-5, 0, 5], vec![0, 1], vec![-20, 0], vec![0, 0, 10], vec![-3, 3, 3, 8]] {
        let total: f64 = nices.iter().map(|&n| weight(n)).sum();
        for (share, &nice) in shares(&nices, 60_000_000_000).into_iter().zip(&nices) {
            let fair = weight(nice) / total;
            assert!(
                (share / fair - 1.0).abs() < 0.02,
                "nice {nice} of {nices:?}: {share:.4} instead of {fair:.4}"
            );
        }
    }
}

#[test]
fn one_second_is_enough_for_two_percent_of_the_cpu_at_nice_minus_5_0_and_5() {
    let nices = [-5, 0, 5];
    let total: f64 = nices.iter().map(|&n| weight(n)).sum();
    for (share, nice) in shares(&nices, 1_000_000_000).into_iter().zip(nices) {
        let fair = weight(nice) / total;
        assert!((share - fair).abs() < 0.02, "nice {nice}: {share:.4} instead of {fair:.4}");
    }
}

#[test]
fn a_real_time_hog_leaves_nothing_to_fair_tasks() {
    let mut sim = Sim::new(1);
    let fair = sim.spawn(SchedAttr::normal(-20).unwrap());
    let rt = sim.spawn(SchedAttr::fifo(1).unwrap());
    sim.schedule();
    sim.pass(1_000_000_000);
    assert_eq!((sim.slots[fair].ran_ns, sim.slots[rt].ran_ns), (0, 1_000_000_000));
}

#[test]
fn round_robin_equals_share_in_slices_of_100_ms() {
    let mut sim = Sim::new(1);
    let tasks: Vec<usize> = (0..4).map(|_| sim.spawn(SchedAttr::rr(10).unwrap())).collect();
    sim.schedule();
    sim.pass(400_000_000);
    for i in tasks {
        assert_eq!(sim.slots[i].ran_ns, 100_000_000);
    }
}

#[test]
fn a_waking_sleeper_waits_less_than_a_tick_for_a_nice_0_hog() {
    let mut sim = Sim::new(1);
    let hog = sim.spawn(SchedAttr::NORMAL);
    let sleeper = sim.spawn(SchedAttr::NORMAL);
    sim.schedule();
    for round in 0..200 {
        while sim.running != Some(sleeper) {
            sim.pass(TICK_NS);
        }
        sim.pass(50_000);
        sim.block();
        assert_eq!(sim.running, Some(hog));
        sim.pass(10_000_000);
        sim.wake(sleeper);
        assert!(sim.need_resched, "round {round}: a sleeper is three milliseconds behind");
        sim.preempt_if_allowed();
        assert_eq!(sim.running, Some(sleeper), "round {round}");
    }
}

#[test]
fn a_deadline_task_never_has_more_than_its_reservation() {
    for seed in 1..40 {
        let mut sim = Sim::new(seed);
        let _ = sim.rq.set_rt_bandwidth(950_000_000, 1_000_000_000).unwrap();
        sim.spawn(SchedAttr::NORMAL);
        sim.spawn(SchedAttr::fifo(99).unwrap());
        let mut reserved = Vec::new();
        for _ in 0..6 {
            let attr = sim.rng.deadline();
            let i = sim.spawn(SchedAttr::NORMAL);
            if let Ok(answer) = sim.rq.set_scheduler(sim.slots[i].p, attr) {
                sim.need_resched |= answer.is_yes();
                reserved.push((i, attr.dl(), sim.slots[i].ran_ns));
            }
        }
        sim.schedule();
        let begin = sim.now;
        for _ in 0..20_000 {
            let ns = sim.rng.below(2_000_000);
            sim.pass(ns);
            let i = sim.rng.below(sim.slots.len() as u64) as usize;
            match sim.rng.below(4) {
                // The FIFO and the fair hog never sleep.
                0 if sim.running.is_some_and(|i| i > 1) => sim.block(),
                1 | 2 if !sim.slots[i].p.is_queued() => sim.wake(i),
                _ => {}
            }
            sim.preempt_if_allowed();
            for &(i, dl, before) in &reserved {
                let (had, time) = (sim.slots[i].ran_ns - before, sim.now - begin);
                // Served at the rate of the reservation, but for one budget at either end.
                let most = time as u128 * dl.runtime_ns() as u128 / dl.period_ns() as u128;
                let most = most as u64 + 2 * dl.runtime_ns();
                assert!(had <= most, "seed {seed}: {dl:?} had {had} of {most} ns in {time}");
            }
        }
        assert!(sim.switches > 1000, "seed {seed}: {} switches", sim.switches);
    }
}

#[test]
fn a_real_time_hog_leaves_a_twentieth_of_every_second() {
    let mut sim = Sim::new(1);
    let _ = sim.rq.set_rt_bandwidth(950_000_000, 1_000_000_000).unwrap();
    let fair = sim.spawn(SchedAttr::NORMAL);
    let rt = sim.spawn(SchedAttr::fifo(1).unwrap());
    sim.schedule();
    sim.pass(10_000_000_000);
    assert_eq!((sim.slots[fair].ran_ns, sim.slots[rt].ran_ns), (500_000_000, 9_500_000_000));
}
