//! From whom fair tasks are taken, how much, and when.

use super::super::balance::{
    Balancer, Busiest, CpuIdle, Imbalance, MIGRATION_COST_NS, Outcome, find_busiest, nohz_kick,
};
use super::super::cpu_loads::CpuLoads;
use super::super::cpupri::CpuPri;
use super::super::select::View;
use super::{Cpu, SchedAttr, SchedRef};
use crate::smp::CpuMask;
use std::vec::Vec;

struct Machine {
    cpus: Vec<Cpu>,
    pri: CpuPri,
    loads: CpuLoads,
}

impl Machine {
    /// CPUs with so many hogs each, that have run for a second.
    fn new(hogs: &[usize]) -> Self {
        let mut machine = Self { cpus: Vec::new(), pri: CpuPri::new(), loads: CpuLoads::new() };
        for (number, &hogs) in hogs.iter().enumerate() {
            let mut cpu = Cpu::new();
            cpu.rq.set_cpu(number);
            for _ in 0..hogs {
                let p = cpu.normal(0);
                cpu.rq.sync_task(p);
            }
            machine.cpus.push(cpu);
            machine.switch(number);
        }
        machine.pass(1_000_000_000);
        machine
    }

    fn switch(&mut self, number: usize) {
        let cpu = &mut self.cpus[number];
        let prev = cpu.rq.curr();
        let next = cpu.schedule();
        cpu.rq.publish_switch(&self.pri, &self.loads, prev, next);
    }

    fn pass(&mut self, ns: u64) {
        for cpu in &mut self.cpus {
            cpu.pass(ns);
            for p in cpu.fair_order() {
                cpu.rq.sync_task(p);
            }
            cpu.rq.sync_curr_load();
            cpu.rq.publish(&self.pri, &self.loads);
        }
    }

    fn view(&self) -> View<'_> {
        let online = CpuMask::first_n(self.cpus.len());
        View { pri: &self.pri, loads: &self.loads, online, domain: online, looking: CpuMask::NONE }
    }

    fn busiest(&self, this: usize, idle: CpuIdle) -> Option<Busiest> {
        find_busiest(&self.view(), this, idle)
    }
}

fn tasks(cpu: usize, n: u32) -> Option<Busiest> {
    Some(Busiest { cpu, imbalance: Imbalance::Tasks(n) })
}

#[test]
fn an_idle_cpu_takes_half_of_the_most() {
    let m = Machine::new(&[0, 2, 5, 3]);
    assert_eq!(m.busiest(0, CpuIdle::Idle), tasks(2, 2));
    assert_eq!(m.busiest(0, CpuIdle::NewlyIdle), tasks(2, 2));
}

#[test]
fn one_that_runs_alone_is_left_alone() {
    let m = Machine::new(&[0, 1, 1]);
    assert_eq!(m.busiest(0, CpuIdle::Idle), None);
    assert_eq!(m.busiest(1, CpuIdle::Busy), None);
}

#[test]
fn a_fair_task_behind_a_real_time_one_is_taken_by_an_idle_cpu() {
    let mut m = Machine::new(&[0, 1]);
    m.cpus[1].fifo(10);
    m.switch(1);
    assert_eq!(m.busiest(0, CpuIdle::Idle), tasks(1, 1));
    let mut imbalance = Imbalance::Tasks(1);
    m.pass(MIGRATION_COST_NS);
    assert!(m.cpus[1].rq.detach_one(0, &mut imbalance, 0).is_some());
    assert!(imbalance.is_settled());
}

#[test]
fn busy_cpus_go_by_load_and_only_beyond_seventeen_percent() {
    let m = Machine::new(&[1, 1, 2]);
    let busiest = m.busiest(0, CpuIdle::Busy).expect("1 against 2 is more than 17 %");
    assert_eq!(busiest.cpu, 2);
    let Imbalance::Load(load) = busiest.imbalance else { panic!("{busiest:?}") };
    assert!((200..400).contains(&load), "neither ends on the other side of the mean: {load}");
    let m = Machine::new(&[6, 6, 7]);
    assert_eq!(m.busiest(0, CpuIdle::Busy), None, "7 against 6 is 16.7 %");
    assert_eq!(m.busiest(2, CpuIdle::Busy), None, "the busiest takes from nobody");
}

#[test]
fn what_slept_on_a_third_cpu_of_late_does_not_keep_two_others_apart() {
    let mut m = Machine::new(&[1, 1, 3]);
    let heavy = m.cpus[0].normal(-20);
    m.cpus[0].rq.sync_task(heavy);
    m.pass(1_000_000_000);
    m.switch(0);
    m.cpus[0].run(heavy);
    m.pass(1_000_000);
    m.cpus[0].sleep();
    m.cpus[0].rq.sync_task(heavy);
    m.switch(0);
    m.pass(0);
    assert!(m.loads.load_avg(0) > 50_000, "it counts: {}", m.loads.load_avg(0));
    let busiest = m.busiest(1, CpuIdle::Busy).expect("1 against 3");
    assert_eq!(busiest.cpu, 2);
    let Imbalance::Load(load) = busiest.imbalance else { panic!("{busiest:?}") };
    assert!((900..1100).contains(&load), "half the difference: {load}");
}

#[test]
fn where_nothing_may_move_nobody_is_sent_for_it_and_it_is_looked_ever_less_often() {
    const MS: u64 = 1_000_000;
    let m = Machine::new(&[0, 3]);
    let rq = &m.cpus[1].rq;
    assert!(rq.has_movable(0));
    rq.cfs().iter().for_each(|p| p.set_cpus_allowed(CpuMask::of(1)));
    assert!(rq.has_movable(0), "what runs may move, when it is stopped");
    rq.curr().set_cpus_allowed(CpuMask::of(1));
    assert!(!rq.has_movable(0));
    let mut b = Balancer::new(4);
    assert!((0..20).all(|_| !b.done(0, CpuIdle::Idle, Outcome::Pinned)), "the stopper is not sent");
    assert_eq!((b.nr_failed(), b.next_ns()), (0, 512 * MS));
    let _ = b.done(0, CpuIdle::Idle, Outcome::Moved);
    assert_eq!(b.next_ns(), 4 * MS);
}

#[test]
fn the_thread_that_looks_around_is_no_load() {
    let mut m = Machine::new(&[1, 3]);
    m.cpus[0].fifo(1);
    m.switch(0);
    assert_eq!(m.busiest(0, CpuIdle::Busy), None, "a real-time task has most of the CPU");
    let view = View { looking: CpuMask::of(0), ..m.view() };
    assert_eq!(find_busiest(&view, 0, CpuIdle::Busy).map(|busiest| busiest.cpu), Some(1));
    let mut m = Machine::new(&[0, 3]);
    m.cpus[0].fifo(1);
    m.switch(0);
    let view = View { looking: CpuMask::of(0), ..m.view() };
    assert_eq!(find_busiest(&view, 0, CpuIdle::Idle), tasks(1, 1));
}

#[test]
fn a_cpu_outside_the_domain_neither_gives_nor_takes() {
    let m = Machine::new(&[0, 4, 0]);
    let mut view = m.view();
    view.domain = CpuMask::of(0).with(2);
    assert_eq!(find_busiest(&view, 0, CpuIdle::Idle), None);
    assert_eq!(find_busiest(&view, 1, CpuIdle::Idle), None);
}

#[test]
fn what_would_run_last_goes_first_and_what_is_bound_or_warm_stays() {
    let mut m = Machine::new(&[0, 4]);
    let rq = &mut m.cpus[1].rq;
    let waiting: Vec<SchedRef> = rq.cfs().iter().collect();
    waiting[2].set_cpus_allowed(CpuMask::of(1));
    let mut imbalance = Imbalance::Tasks(3);
    assert_eq!(rq.find_one(0, &mut imbalance, 0), Some(waiting[1]));
    waiting[1].se.exec_start.set(rq.clock_task_ns() - MIGRATION_COST_NS + 1);
    assert_eq!(rq.find_one(0, &mut imbalance, 0), Some(waiting[0]), "the other has just run");
    assert_eq!(imbalance, Imbalance::Tasks(1));
    waiting[1].se.exec_start.set(rq.clock_task_ns() - MIGRATION_COST_NS);
    assert_eq!(rq.find_one(0, &mut imbalance, 0), Some(waiting[1]));
    let mut imbalance = Imbalance::Tasks(1);
    waiting[1].se.exec_start.set(rq.clock_task_ns());
    waiting[0].se.exec_start.set(rq.clock_task_ns());
    assert_eq!(rq.find_one(0, &mut imbalance, 1), None);
    assert_eq!(
        rq.find_one(0, &mut imbalance, 2),
        Some(waiting[1]),
        "after two failures warmth does not count"
    );
}

#[test]
fn the_last_one_is_never_taken_from_a_cpu_that_would_idle() {
    let mut m = Machine::new(&[0, 2]);
    let mut imbalance = Imbalance::Tasks(5);
    assert!(m.cpus[1].rq.detach_one(0, &mut imbalance, 9).is_some());
    assert!(m.cpus[1].rq.detach_one(0, &mut imbalance, 9).is_none(), "it runs");
    let mut m = Machine::new(&[0, 0]);
    let p = m.cpus[1].normal(0);
    assert!(m.cpus[1].rq.find_one(0, &mut imbalance, 9).is_none(), "{p:?} is about to run");
}

#[test]
fn a_task_that_is_too_big_moves_after_some_failures() {
    let mut m = Machine::new(&[1, 1, 2]);
    let imbalance = m.busiest(0, CpuIdle::Busy).unwrap().imbalance;
    let rq = &mut m.cpus[2].rq;
    let failures = (0..5).find(|&failed| rq.find_one(0, &mut imbalance.clone(), failed).is_some());
    assert_eq!(failures, Some(2), "1024 against about 340");
}

#[test]
fn a_kick_goes_to_an_idle_cpu_without_a_tick_and_only_from_one_with_too_much() {
    let m = Machine::new(&[2, 1, 0, 0]);
    assert_eq!(nohz_kick(&m.view(), 0, CpuMask::of(3)), Some(3));
    assert_eq!(nohz_kick(&m.view(), 0, CpuMask::NONE), None);
    assert_eq!(nohz_kick(&m.view(), 0, CpuMask::of(1)), None, "it has become busy");
    assert_eq!(nohz_kick(&m.view(), 1, CpuMask::of(3)), None);
}

#[test]
fn a_busy_cpu_looks_around_sixteen_times_less_often_and_all_the_less_where_all_is_well() {
    const MS: u64 = 1_000_000;
    let mut b = Balancer::new(4);
    assert!(b.is_due(0));
    assert!(!b.done(0, CpuIdle::Busy, Outcome::Moved));
    assert_eq!(b.next_ns(), 4 * 16 * MS);
    assert!(!b.done(0, CpuIdle::Busy, Outcome::Balanced));
    assert_eq!(b.next_ns(), 8 * 16 * MS);
    assert!(!b.done(0, CpuIdle::Idle, Outcome::Balanced));
    assert_eq!(b.next_ns(), 8 * MS, "twice the number of CPUs in ms is the most");
    let _ = b.done(0, CpuIdle::Busy, Outcome::Balanced);
    b.idle_begins(5 * MS);
    assert_eq!(b.next_ns(), 13 * MS, "what was long for a busy CPU is too long for an idle one");
}

#[test]
fn after_four_failures_the_stopper_is_sent() {
    let mut b = Balancer::new(4);
    let failures = (1..10).find(|_| b.done(0, CpuIdle::Idle, Outcome::Failed));
    assert_eq!(failures, Some(4));
    let mut b = Balancer::new(4);
    assert!(
        (1..10).all(|_| !b.done(0, CpuIdle::NewlyIdle, Outcome::Failed)),
        "one about to idle does not count"
    );
}

#[test]
fn a_cpu_that_never_idles_for_long_does_not_take_tasks_for_it() {
    let mut b = Balancer::new(4);
    assert!(b.is_worth_it());
    let mut now = 0;
    for _ in 0..20 {
        b.idle_begins(now);
        now += 10_000;
        b.idle_ends(now);
    }
    assert!(!b.is_worth_it());
    b.idle_begins(now);
    b.idle_ends(now + 100_000_000);
    assert!(b.is_worth_it(), "one long one is enough");
}

#[test]
fn a_domain_is_left_to_deadline_tasks_as_a_whole() {
    use super::super::deadline_admit::{DlBandwidth, covers};
    let mut root = DlBandwidth::new();
    root.set_cpus(2, 0).unwrap();
    let (mut a, mut b) = (Cpu::new(), Cpu::new());
    let attr = SchedAttr::deadline(6_000_000, 10_000_000, 10_000_000).unwrap();
    let reserve = |cpu: &mut Cpu, root: &mut DlBandwidth| {
        let p = cpu.normal(0);
        (p, cpu.rq.with_root(root, |rq| rq.set_scheduler(p, attr).is_ok()))
    };
    let (p, fits) = reserve(&mut a, &mut root);
    assert!(fits);
    let (_, fits) = reserve(&mut a, &mut root);
    assert!(fits, "1.2 of 2, though both are on one CPU");
    assert!(reserve(&mut b, &mut root).1, "1.8");
    assert!(!reserve(&mut b, &mut root).1, "2.4 does not fit");
    assert!(root.set_cpus(1, 0).is_err(), "nor 1.8 on one");
    // Given back on another CPU than it was asked for on.
    let _ = a.rq.with_root(&mut root, |rq| rq.set_scheduler(p, SchedAttr::NORMAL)).unwrap();
    assert!(covers(CpuMask::ALL, CpuMask::first_n(2)) && !covers(CpuMask::of(1), CpuMask::first_n(2)));
}
