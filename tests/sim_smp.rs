//! Several CPUs in a box: the real scheduling classes, and the real decisions about where tasks run, under random events.
//!
//! Nobody is lost or queued twice, nobody runs where it may not, the most important real-time tasks and the earliest
//! deadlines run wherever they may, virtual time survives a move, and what CPUs tell one another is true. A run is cut
//! into episodes, each of which follows from a seed alone. One that fails is tried again with fewer CPUs and tasks, and
//! the shortest failure that is found is printed as a line for `STINT_SIM_SMP=`.
//!
//! `STINT_SIM_SMP=seed,cpus,isolated,tasks,events,throttles` runs that one episode, and `STINT_SIM_TRACE=1` prints what
//! happens in it; `STINT_SIM_EVENTS=n` sets how many
//! events all together, `STINT_SIM_SEED=n` another beginning.

#[path = "sim_smp/check.rs"]
mod check;
#[path = "sim_smp/glue.rs"]
mod glue;
#[path = "sim_smp/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use std::{env, panic};

use stint::sched::SchedAttr;
use stint::smp::CpuMask;
use world::{Config, Counts, TICK_NS, World};

const EVENTS: u64 = 1_000_000;
const EPISODE: u64 = 4000;
const SEED: u64 = 0x5317;

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .ok()
        .map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v} is not a number")))
}

impl World {
    /// A mask with an online CPU; mostly everything.
    fn random_mask(&mut self) -> CpuMask {
        if self.rng.one_in(2) {
            return CpuMask::ALL;
        }
        let mask = self.rng.mask();
        if (mask & self.online()).is_empty() { CpuMask::ALL } else { mask }
    }

    fn spawn_somewhere(&mut self) {
        let online = self.online();
        let this = online.next_from(self.rng.below(64) as usize).expect("one is online");
        let (attr, mask) = (self.rng.attr(), self.random_mask());
        self.fork(attr, mask, this);
    }

    /// One random event, and what follows from it.
    fn event(&mut self) {
        // Mostly much shorter than a tick, now and then longer than several.
        let ns = if self.rng.one_in(60) { self.rng.below(20_000_000) } else { self.rng.below(200_000) };
        self.pass(ns);
        let online = self.online();
        let c = online.next_from(self.rng.below(64) as usize).expect("one is online");
        let i = self.rng.below(self.slots.len() as u64) as usize;
        let is_alive = self.slots[i].is_alive;
        let what = self.rng.below(44);
        if self.config.is_traced {
            let runs: Vec<_> =
                self.cpus.iter().map(|cpu| (cpu.rq.curr(), cpu.is_preempt_off, cpu.need_resched)).collect();
            eprintln!(
                "{} ns, event {what} on CPU {c}, task {:?} of {}; {runs:?}",
                self.now, self.slots[i].p, self.slots[i].cpu
            );
        }
        match what {
            0..=12 if is_alive && !self.slots[i].is_runnable => self.wake(i, c),
            13..=21 => self.block(c),
            22 if self.slots.iter().filter(|s| s.is_alive).count() < self.config.tasks => {
                self.spawn_somewhere()
            }
            23 if self.rng.one_in(2) => self.exit(c),
            24 | 25 if is_alive => self.change(i),
            26 if is_alive => {
                let nice = self.rng.below(40) as i32 - 20;
                self.set_nice(i, nice);
            }
            27 => self.yield_now(c),
            28 => self.cpus[c].is_preempt_off = true,
            29..=31 => self.cpus[c].is_preempt_off = false,
            32 => self.schedule(c),
            // A deadline task may run everywhere; one that forbids its migration is waited for.
            33 | 34
                if is_alive && !self.slots[i].p.is_deadline() && self.slots[i].p.migrate_disabled() == 0 =>
            {
                let mask = self.random_mask();
                self.set_affinity(i, mask);
            }
            35..=37 => {
                if let Some(i) = self.running(c) {
                    let depth = self.slots[i].p.migrate_disabled();
                    let is_end = depth != 0 && !self.rng.one_in(6);
                    let depth = if is_end { depth - 1 } else { depth + u16::from(self.rng.one_in(3)) };
                    self.slots[i].p.set_migrate_disabled(depth);
                    // What is told of it is for wakers, who may be late.
                    self.schedule(c);
                }
            }
            38 | 39 if is_alive => {
                let is_own = self.slots[i].donated != i32::MAX && !self.rng.one_in(4);
                let waiter = self.rng.attr().normal_prio();
                let donated = if is_own { i32::MAX } else { waiter };
                self.setprio(i, donated);
            }
            40 if self.rng.one_in(4) => {
                self.go_off(c);
            }
            41 if self.rng.one_in(2) => {
                if let Some(c) = self.cpus.iter().position(|cpu| !cpu.is_online) {
                    self.go_on(c);
                }
            }
            42 if self.domain().contains(c) => self.balance(c),
            _ => {}
        }
        self.settle();
    }

    fn exit(&mut self, c: usize) {
        let Some(i) = self.running(c) else { return };
        if self.slots.iter().filter(|s| s.is_alive).count() < 3 {
            return;
        }
        self.slots[i].p.set_migrate_disabled(0);
        if self.slots[i].donated != i32::MAX {
            self.setprio(i, i32::MAX);
        }
        // As the core does: nobody leaves with a reservation.
        self.set_scheduler(i, SchedAttr::NORMAL);
        if self.running(c) == Some(i) {
            self.block(c);
            let slot = &mut self.slots[i];
            assert!(!slot.is_runnable);
            self.cpus[slot.cpu].rq.detach_sleeping(slot.p);
            slot.is_alive = false;
            let (pri, loads) = (&self.pri, &self.loads);
            self.cpus[slot.cpu].rq.publish(pri, loads);
        }
    }

    fn change(&mut self, i: usize) {
        let covers = stint::sched::deadline_admit::covers(self.slots[i].p.cpus_allowed(), self.domain());
        let is_in_domain = self.domain().contains(self.slots[i].cpu);
        let attr =
            if self.rng.one_in(3) && covers && is_in_domain { self.rng.deadline() } else { self.rng.attr() };
        self.set_scheduler(i, attr);
    }
}

fn run(config: Config) -> Counts {
    let mut world = World::new(config);
    for _ in 0..config.tasks / 2 + 1 {
        world.spawn_somewhere();
    }
    world.settle();
    for event in 0..config.events {
        EVENT.with(|at| at.set(event));
        world.event();
        // To look at everything takes longer than an event, the more the more CPUs there are.
        if event % (config.cpus as u64).div_ceil(4) == 0 || event + 1 == config.events {
            world.check();
        }
    }
    world.counts
}

thread_local! {
    static EVENT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// At which event an episode fails, if it does.
fn fails(config: Config) -> Option<u64> {
    catch_unwind(AssertUnwindSafe(|| run(config))).err().map(|_| EVENT.with(std::cell::Cell::get))
}

fn line(c: Config) -> String {
    let Config { seed, cpus, isolated, tasks, events, throttles, .. } = c;
    format!("STINT_SIM_SMP={seed},{cpus},{isolated},{tasks},{events},{}", u8::from(throttles))
}

/// The shortest failure among the same episode and some that are smaller, as many as there is patience for.
fn shrink(config: Config, at: u64) -> Config {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let until = Instant::now() + Duration::from_secs(20);
    let mut best = Config { events: at + 1, ..config };
    for cpus in (2..=config.cpus).filter(|&n| n <= 4 || n == config.cpus) {
        for tasks in [2, 3, 4, 6, 8, 12, config.tasks] {
            for seed in config.seed..config.seed + 6 {
                if Instant::now() > until {
                    continue;
                }
                let isolated = config.isolated.min(cpus - 1);
                let smaller = Config { seed, cpus, isolated, tasks, ..best };
                if let Some(at) = fails(smaller).filter(|&at| at + 1 < best.events) {
                    best = Config { events: at + 1, ..smaller };
                }
            }
        }
    }
    panic::set_hook(hook);
    best
}

/// Runs episodes of this shape, as many as are `share` of all.
fn episodes(shape: Config, share: u64) -> Counts {
    if let Ok(one) = env::var("STINT_SIM_SMP") {
        let n: Vec<u64> = one.split(',').map(|n| n.parse().expect("six numbers")).collect();
        let [seed, cpus, isolated, tasks, events, throttles] = n[..] else {
            panic!("six numbers, not {one}")
        };
        let size = |n: u64| n as usize;
        let (cpus, isolated, tasks) = (size(cpus), size(isolated), size(tasks));
        let is_traced = env::var("STINT_SIM_TRACE").is_ok();
        run(Config { seed, cpus, isolated, tasks, events, throttles: throttles != 0, is_traced });
        return Counts::default();
    }
    let all = number("STINT_SIM_EVENTS", EVENTS) * share / 100;
    let first = number("STINT_SIM_SEED", SEED);
    let mut sum = Counts::default();
    for episode in 0..all.div_ceil(EPISODE) {
        let config = Config { seed: first + 1000 * episode, events: EPISODE.min(all), ..shape };
        match catch_unwind(AssertUnwindSafe(|| run(config))) {
            Ok(counts) => sum += counts,
            Err(_) => {
                let at = EVENT.with(std::cell::Cell::get);
                eprintln!("episode failed at event {at}: {}", line(config));
                let small = shrink(config, at);
                panic!("the shortest failure found, at its last event: {}", line(small));
            }
        }
    }
    println!("{} CPUs: {all} events, {sum:?}", shape.cpus);
    sum
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, o: Self) {
        self.switches += o.switches;
        self.selected_elsewhere += o.selected_elsewhere;
        self.pushed += o.pushed;
        self.pulled += o.pulled;
        self.balanced += o.balanced;
        self.newly_idle += o.newly_idle;
        self.active += o.active;
        self.forced += o.forced;
        self.evacuated += o.evacuated;
        self.equal += o.equal;
        self.settled += o.settled;
    }
}

const SHAPE: Config =
    Config { seed: 0, cpus: 0, isolated: 0, tasks: 0, events: 0, throttles: false, is_traced: false };

#[test]
fn two_cpus_run_the_right_tasks() {
    let counts = episodes(Config { cpus: 2, tasks: 10, ..SHAPE }, 25);
    assert!(counts.pushed > 0 && counts.pulled > 0 && counts.evacuated > 0, "{counts:?}");
}

#[test]
fn four_cpus_run_the_right_tasks() {
    let counts = episodes(Config { cpus: 4, tasks: 20, ..SHAPE }, 30);
    let rare = [counts.equal, counts.active, counts.newly_idle, counts.balanced, counts.forced];
    assert!(env::var("STINT_SIM_EVENTS").is_ok() || rare.iter().all(|&n| n > 0), "{counts:?}");
}

#[test]
fn eight_cpus_two_of_them_isolated_run_the_right_tasks() {
    episodes(Config { cpus: 8, isolated: 2, tasks: 32, ..SHAPE }, 20);
}

#[test]
fn four_cpus_that_hold_real_time_tasks_back_run_the_right_tasks() {
    episodes(Config { cpus: 4, tasks: 16, throttles: true, ..SHAPE }, 10);
}

#[test]
fn sixteen_cpus_run_the_right_tasks() {
    episodes(Config { cpus: 16, tasks: 40, ..SHAPE }, 10);
}

#[test]
fn sixty_four_cpus_run_the_right_tasks() {
    episodes(Config { cpus: 64, isolated: 4, tasks: 100, ..SHAPE }, 5);
}

/// The shares of one CPU that equal hogs get on several, all of them bound to one at first.
fn shares(cpus: usize, hogs: usize, ns: u64) -> Vec<f64> {
    let mut world = World::new(Config { seed: 1, cpus, tasks: hogs, ..SHAPE });
    for _ in 0..hogs {
        world.fork(SchedAttr::NORMAL, CpuMask::of(0), 0);
    }
    world.settle();
    for i in 0..hogs {
        world.set_affinity(i, CpuMask::ALL);
    }
    // The first second is for finding one's place.
    world.pass(1_000_000_000);
    let before: Vec<u64> = world.slots.iter().map(|s| s.ran_ns).collect();
    for _ in 0..ns / TICK_NS {
        world.pass(TICK_NS);
    }
    world.check();
    world.slots.iter().zip(before).map(|(s, before)| (s.ran_ns - before) as f64 / ns as f64).collect()
}

#[test]
fn equal_hogs_that_divide_evenly_get_equal_shares_within_two_percent() {
    for (cpus, each) in [(2, 1), (2, 3), (4, 2), (4, 4), (8, 3), (16, 1), (64, 2)] {
        for (i, share) in shares(cpus, cpus * each, 4_000_000_000).into_iter().enumerate() {
            let fair = 1.0 / each as f64;
            assert!((share / fair - 1.0).abs() < 0.02, "hog {i} of {each} on each of {cpus}: {share:.4}");
        }
    }
}

#[test]
fn no_cpu_idles_and_no_hog_starves_when_they_do_not_divide_evenly() {
    for (cpus, hogs) in [(2, 3), (4, 5), (4, 7), (8, 9), (8, 20)] {
        let shares = shares(cpus, hogs, 20_000_000_000);
        let sum: f64 = shares.iter().sum();
        assert!((sum / cpus as f64 - 1.0).abs() < 0.001, "{cpus} CPUs and {hogs} hogs: {sum:.4} CPUs used");
        let fair = cpus as f64 / hogs as f64;
        let least = shares.iter().copied().fold(f64::MAX, f64::min);
        println!("{cpus} CPUs and {hogs} hogs: {shares:.3?}");
        assert!(least > fair * 0.75, "{cpus} CPUs and {hogs} hogs: {shares:.3?}, {fair:.3} would be fair");
    }
}
