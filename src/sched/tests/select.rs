//! Where a task wakes up.

use super::super::cpu_loads::CpuLoads;
use super::super::cpupri::{self, CpuPri};
use super::super::rq::Special;
use super::super::select::{View, Wakeup, fallback, push_target, record_wakee, select_task_rq};
use super::{Cpu, SchedAttr, SchedRef};
use crate::smp::CpuMask;
use std::vec::Vec;

/// Four CPUs of which nothing is real but what they say of themselves, and one that makes tasks.
struct Machine {
    maker: Cpu,
    others: Vec<Cpu>,
    pri: CpuPri,
    loads: CpuLoads,
    online: CpuMask,
    domain: CpuMask,
}

const SLEPT: Wakeup = Wakeup::Woken { sync: false };

impl Machine {
    fn new() -> Self {
        let all = CpuMask::first_n(4);
        let mut machine = Self {
            maker: Cpu::new(),
            others: (0..4).map(|_| Cpu::new()).collect(),
            pri: CpuPri::new(),
            loads: CpuLoads::new(),
            online: all,
            domain: all,
        };
        for cpu in 0..4 {
            machine.others[cpu].rq.set_cpu(cpu);
            machine.publish(cpu);
        }
        machine
    }

    fn publish(&mut self, cpu: usize) {
        self.others[cpu].rq.publish(&self.pri, &self.loads);
    }

    /// `cpu` runs a new task of this kind from now on.
    fn runs(&mut self, cpu: usize, attr: SchedAttr) -> SchedRef {
        let p = self.others[cpu].start(attr);
        let prev = self.others[cpu].rq.curr();
        let next = self.others[cpu].schedule();
        self.others[cpu].rq.publish_switch(&self.pri, &self.loads, prev, next);
        p
    }

    fn runs_fifo(&mut self, cpu: usize, priority: u32) -> SchedRef {
        self.runs(cpu, SchedAttr::fifo(priority).unwrap())
    }

    fn view(&self) -> View<'_> {
        let (online, domain, looking) = (self.online, self.domain, CpuMask::NONE);
        View { pri: &self.pri, loads: &self.loads, online, domain, looking }
    }

    fn select(&self, p: SchedRef, prev: usize, this: usize) -> usize {
        select_task_rq(&self.view(), &p, prev, this, &self.others[this].rq.curr(), SLEPT)
    }

    fn fifo(&mut self, priority: u32) -> SchedRef {
        self.maker.task(SchedAttr::fifo(priority).unwrap())
    }

    fn fair(&mut self) -> SchedRef {
        self.maker.task(SchedAttr::NORMAL)
    }
}

#[test]
fn a_real_time_task_stays_where_it_beats_what_runs() {
    let mut m = Machine::new();
    m.runs_fifo(2, 40);
    let p = m.fifo(50);
    assert_eq!(m.select(p, 2, 0), 2, "though others idle");
}

#[test]
fn a_real_time_task_leaves_an_equal_for_the_least_important_cpu() {
    let mut m = Machine::new();
    for cpu in 0..4 {
        m.runs_fifo(cpu, 50);
    }
    let p = m.fifo(50);
    assert_eq!(m.select(p, 2, 0), 2, "nowhere better");
    m.runs(3, SchedAttr::NORMAL);
    let q = m.fifo(60);
    assert_eq!(m.select(q, 2, 0), 2, "it beats what runs");
    let mut m = Machine::new();
    for (cpu, priority) in [(0, 30), (1, 20), (2, 50), (3, 40)] {
        m.runs_fifo(cpu, priority);
    }
    let p = m.fifo(50);
    assert_eq!(m.select(p, 2, 0), 1);
}

#[test]
fn a_real_time_task_does_not_displace_one_that_is_bound_if_it_can_go_elsewhere() {
    let mut m = Machine::new();
    let bound = m.runs_fifo(2, 40);
    bound.set_cpus_allowed(CpuMask::of(2));
    m.publish(2);
    let p = m.fifo(50);
    assert_eq!(m.select(p, 2, 1), 1, "this CPU idles");
}

#[test]
fn nothing_is_sent_where_it_may_not_run() {
    let mut m = Machine::new();
    for make in [Machine::fair as fn(&mut Machine) -> SchedRef, |m| m.fifo(10)] {
        let p = make(&mut m);
        p.set_cpus_allowed(CpuMask::of(3));
        for prev in 0..4 {
            assert_eq!(m.select(p, prev, 0), 3);
        }
        m.online = CpuMask::first_n(3);
        assert!(m.select(p, 3, 0) < 3, "its only CPU has gone: somewhere");
        m.online = CpuMask::first_n(4);
    }
}

#[test]
fn a_task_that_forbids_its_migration_wakes_where_it_slept() {
    let mut m = Machine::new();
    m.runs_fifo(2, 90);
    for p in [m.fifo(10), m.fair()] {
        p.set_migrate_disabled(1);
        assert_eq!(m.select(p, 2, 0), 2);
        p.set_migrate_disabled(0);
        assert_ne!(m.select(p, 2, 0), 2);
    }
}

#[test]
fn an_isolated_cpu_gets_only_those_that_are_on_it() {
    let mut m = Machine::new();
    m.domain = CpuMask::first_n(3);
    m.others[3].rq.set_off(true);
    m.publish(3);
    assert_eq!(m.pri.level(3), cpupri::OFF);
    for cpu in 0..3 {
        m.runs_fifo(cpu, 90);
    }
    let (p, q) = (m.fifo(10), m.fair());
    assert_ne!(m.select(p, 0, 0), 3);
    assert_ne!(m.select(q, 0, 0), 3);
    p.set_cpus_allowed(CpuMask::of(3));
    q.set_cpus_allowed(CpuMask::of(3));
    assert_eq!((m.select(p, 3, 0), m.select(q, 3, 0)), (3, 3));
}

#[test]
fn a_fair_task_wakes_where_it_slept_if_that_is_idle_and_else_where_something_is() {
    let mut m = Machine::new();
    let p = m.fair();
    m.runs(0, SchedAttr::NORMAL);
    assert_eq!(m.select(p, 2, 0), 2);
    m.runs(2, SchedAttr::NORMAL);
    assert_eq!(m.select(p, 2, 0), 3, "the next that idles, behind where it was");
    m.runs(3, SchedAttr::NORMAL);
    assert_eq!(m.select(p, 2, 0), 1);
}

#[test]
fn where_real_time_tasks_are_held_back_a_deadline_task_may_run_and_no_real_time_task() {
    let mut m = Machine::new();
    for (cpu, priority) in [(0, 99), (1, 99), (2, 99)] {
        m.runs_fifo(cpu, priority);
    }
    m.others[3].rq.special.insert(Special::RT_THROTTLED);
    m.publish(3);
    let (p, q) = (m.fifo(99), m.maker.task(SchedAttr::deadline(1_000_000, 5_000_000, 5_000_000).unwrap()));
    assert_eq!(push_target(&m.view(), &p, 0, 0), None);
    for cpu in 0..3 {
        m.others[cpu].rq.special.insert(Special::STOP);
        m.pri.set(cpu, cpupri::STOP);
    }
    assert_eq!(push_target(&m.view(), &q, 0, 0), Some(3));
}

#[test]
fn a_fair_task_comes_to_a_waker_that_is_about_to_sleep_and_alone() {
    let mut m = Machine::new();
    for cpu in 0..4 {
        m.runs(cpu, SchedAttr::NORMAL);
    }
    let p = m.fair();
    let waker = m.others[1].rq.curr();
    let sync = Wakeup::Woken { sync: true };
    assert_eq!(select_task_rq(&m.view(), &p, 2, 1, &waker, sync), 1);
    m.others[1].start(SchedAttr::NORMAL);
    m.publish(1);
    // By weight now: here one more than there.
    assert_eq!(select_task_rq(&m.view(), &p, 2, 1, &waker, SLEPT), 2);
}

#[test]
fn a_cpu_with_tasks_of_the_idle_policy_alone_is_as_good_as_idle() {
    let mut m = Machine::new();
    for cpu in 0..4 {
        m.runs(cpu, SchedAttr::NORMAL);
    }
    let idlers = SchedAttr::new(super::Policy::Idle, 0, 0).unwrap();
    let mut m2 = Machine::new();
    for cpu in 0..4 {
        m2.runs(cpu, idlers);
    }
    let p = m2.fair();
    assert!(m2.loads.has_only_idle_policy(2) && !m.loads.has_only_idle_policy(2));
    assert_eq!(m2.select(p, 2, 2), 2);
}

#[test]
fn a_waker_of_many_does_not_draw_them_to_itself() {
    let mut m = Machine::new();
    for cpu in 0..4 {
        m.runs(cpu, SchedAttr::NORMAL);
    }
    let waker = m.others[0].rq.curr();
    let tasks: Vec<SchedRef> = (0..8).map(|_| m.fair()).collect();
    // Each has woken many as well: a waker that wakes those who wake others.
    for _ in 0..20 {
        for &p in &tasks {
            record_wakee(&waker, &p, 0);
        }
    }
    let p = m.runs(3, SchedAttr::NORMAL);
    for _ in 0..4 {
        for &other in &tasks[..2] {
            record_wakee(&p, &other, 0);
        }
    }
    let sync = Wakeup::Woken { sync: true };
    assert_eq!(select_task_rq(&m.view(), &tasks[0], 2, 0, &waker, sync), 0, "one that wakes nobody is drawn");
    assert_eq!(select_task_rq(&m.view(), &p, 2, 0, &waker, sync), 2, "one that wakes others is not");
}

#[test]
fn a_new_fair_task_goes_where_the_least_is_to_do() {
    let mut m = Machine::new();
    for cpu in 0..4 {
        m.runs(cpu, SchedAttr::NORMAL);
    }
    m.runs(0, SchedAttr::NORMAL);
    m.runs(1, SchedAttr::normal(-5).unwrap());
    m.runs(2, SchedAttr::NORMAL);
    let p = m.fair();
    let fork = |m: &Machine| select_task_rq(&m.view(), &p, 0, 0, &m.others[0].rq.curr(), Wakeup::Fork);
    assert_eq!(fork(&m), 3);
    m.runs_fifo(3, 1);
    assert_ne!(fork(&m), 3, "not behind a real-time task, however little there is to do");
}

#[test]
fn a_deadline_task_goes_to_a_cpu_without_one_and_else_to_the_latest() {
    let mut m = Machine::new();
    let attr = |ms: u64| SchedAttr::deadline(1_000_000, ms * 1_000_000, ms * 1_000_000).unwrap();
    let make = |m: &mut Machine, cpu: usize, ms: u64| {
        let p = m.runs(cpu, SchedAttr::NORMAL);
        let _ = m.others[cpu].set_scheduler(p, attr(ms));
        m.others[cpu].schedule();
        m.publish(cpu);
        p
    };
    for (cpu, ms) in [(0, 10), (1, 40), (2, 20)] {
        make(&mut m, cpu, ms);
    }
    let p = make(&mut m, 3, 15);
    let target = |m: &Machine| push_target(&m.view(), &p, 3, 3);
    assert_eq!(target(&m), Some(1), "the latest");
    assert_eq!(m.select(p, 0, 0), 1);
    let q = make(&mut m, 3, 50);
    assert_eq!(push_target(&m.view(), &q, 3, 3), None, "nowhere is a later one");
    let curr = m.others[2].rq.curr();
    let _ = m.others[2].set_scheduler(curr, SchedAttr::NORMAL);
    m.others[2].schedule();
    m.publish(2);
    assert_eq!(target(&m), Some(2), "one without");
}

#[test]
fn where_nothing_is_better_the_least_important_of_the_allowed_is_taken() {
    let mut m = Machine::new();
    for (cpu, priority) in [(0, 30), (1, 20), (2, 50), (3, 40)] {
        m.runs_fifo(cpu, priority);
    }
    let p = m.fifo(5);
    p.set_cpus_allowed(CpuMask::of(0).with(3));
    assert_eq!(fallback(&m.view(), &p, 2), 0);
}
