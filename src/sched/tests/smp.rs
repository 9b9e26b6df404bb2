//! One CPU of several: who can be taken from it, and what a move keeps.

use super::super::cpu_loads::CpuLoads;
use super::super::cpupri::{self, CpuPri};
use super::super::select::{View, find_pull, find_push, pull_source};
use super::super::tunables::Tunables;
use super::{Cpu, Resched, SchedAttr, SchedRef, WakeFlags};
use crate::smp::CpuMask;

struct Pair {
    a: Cpu,
    b: Cpu,
    pri: CpuPri,
    loads: CpuLoads,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self { a: Cpu::new(), b: Cpu::new(), pri: CpuPri::new(), loads: CpuLoads::new() };
        pair.b.rq.set_cpu(1);
        pair.publish();
        pair
    }

    fn publish(&mut self) {
        for cpu in [&mut self.a, &mut self.b] {
            cpu.rq.publish(&self.pri, &self.loads);
        }
    }

    fn view(&self) -> View<'_> {
        let both = CpuMask::first_n(2);
        View { pri: &self.pri, loads: &self.loads, online: both, domain: both, looking: CpuMask::NONE }
    }

    /// A FIFO task on the first CPU, which switches if that follows from it.
    fn fifo(&mut self, priority: u32) -> SchedRef {
        let p = self.a.fifo(priority);
        self.switch();
        self.a.rq.sync_task(p);
        self.publish();
        p
    }

    fn switch(&mut self) {
        let prev = self.a.rq.curr();
        let next = self.a.schedule();
        self.a.rq.publish_switch(&self.pri, &self.loads, prev, next);
    }

    fn move_over(&mut self, p: SchedRef) -> Resched {
        self.a.rq.detach_task(p);
        self.b.rq.attach_task(p)
    }

    fn check(&self) {
        for cpu in [&self.a, &self.b] {
            cpu.check();
            assert!(cpu.rq.is_smp_consistent());
        }
    }
}

#[test]
fn the_running_the_bound_and_the_fair_are_not_pushable() {
    let mut pair = Pair::new();
    let high = pair.fifo(50);
    assert_eq!(pair.a.rq.rt_pushable(), None, "it runs");
    let bound = pair.fifo(40);
    bound.set_cpus_allowed(CpuMask::of(0));
    pair.a.rq.sync_task(bound);
    assert!(!pair.a.rq.rt_is_overloaded());
    let fair = pair.a.normal(0);
    pair.a.rq.sync_task(fair);
    assert!(!pair.a.rq.rt_is_overloaded());
    let low = pair.fifo(30);
    assert_eq!(pair.a.rq.rt_pushable(), Some(low));
    low.set_migrate_disabled(1);
    pair.a.rq.sync_task(low);
    assert!(!pair.a.rq.rt_is_overloaded());
    bound.set_cpus_allowed(CpuMask::ALL);
    pair.a.rq.sync_task(bound);
    let higher = pair.fifo(60);
    assert_eq!(pair.a.rq.curr(), higher);
    assert_eq!(pair.a.rq.rt_pushable(), Some(high), "it has lost its CPU");
    pair.check();
}

#[test]
fn a_waiting_task_stays_pushable_under_its_new_priority() {
    let mut pair = Pair::new();
    pair.fifo(90);
    let (p, q) = (pair.fifo(20), pair.fifo(30));
    assert_eq!(pair.a.rq.rt_pushable(), Some(q));
    let _ = pair.a.rq.setprio(p, 40, None);
    pair.a.rq.sync_task(p);
    assert_eq!(pair.a.rq.rt_pushable(), Some(p));
    pair.check();
}

#[test]
fn the_best_that_has_a_place_is_pushed_though_a_better_one_has_none() {
    let mut pair = Pair::new();
    pair.fifo(90);
    let (stays, goes) = (pair.fifo(50), pair.fifo(20));
    // Not both CPUs: one that there is not.
    stays.set_cpus_allowed(CpuMask::of(0).with(5));
    assert_eq!(find_push(&pair.view(), &pair.a.rq, 0), Some((goes, 1)));
    let _ = pair.b.fifo(20);
    pair.b.schedule();
    pair.publish();
    assert_eq!(find_push(&pair.view(), &pair.a.rq, 0), None, "equals do not displace one another");
}

#[test]
fn what_is_about_to_run_is_not_pushed_and_an_equal_at_the_head_is() {
    let mut pair = Pair::new();
    let p = pair.fifo(50);
    let q = pair.a.fifo(60);
    pair.a.rq.publish_wakeup(&pair.pri, &pair.loads, q, Resched::Yes);
    assert!(pair.a.rq.is_next(q) && !pair.a.rq.is_next(p));
    assert_eq!(find_push(&pair.view(), &pair.a.rq, 0), None);
    assert_eq!(pair.pri.level(0), 61, "wakers know what is coming");
    let _ = pair.a.rq.setprio(q, p.prio(), None);
    pair.a.rq.publish_change(&pair.pri, &pair.loads, q);
    assert!(!pair.a.rq.is_next(q));
    assert_eq!(find_push(&pair.view(), &pair.a.rq, 0), Some((q, 1)));
}

#[test]
fn a_cpu_that_falls_idle_pulls_the_best_that_it_may_have() {
    let mut pair = Pair::new();
    pair.fifo(90);
    let (p, q) = (pair.fifo(50), pair.fifo(60));
    assert_eq!(pair.loads.pushable(0), 61);
    assert_eq!(pull_source(&pair.view(), &pair.b.rq, CpuMask::NONE), Some(0));
    assert_eq!(find_pull(&pair.b.rq, &pair.a.rq), Some(q));
    q.set_cpus_allowed(CpuMask::of(0).with(7));
    assert_eq!(find_pull(&pair.b.rq, &pair.a.rq), Some(p));
    assert_eq!(pull_source(&pair.view(), &pair.b.rq, CpuMask::of(0)), None, "it has been tried");
    let _ = pair.b.fifo(60);
    assert_eq!(pull_source(&pair.view(), &pair.b.rq, CpuMask::NONE), None, "an equal of its own is as good");
}

#[test]
fn a_cpu_that_holds_real_time_tasks_back_gets_none() {
    let mut pair = Pair::new();
    pair.fifo(90);
    pair.fifo(50);
    pair.b.rq.special |= super::super::rq::Special::RT_THROTTLED;
    pair.publish();
    assert_eq!(find_push(&pair.view(), &pair.a.rq, 0), None);
    assert_eq!(pull_source(&pair.view(), &pair.b.rq, CpuMask::NONE), None);
    assert_eq!(find_pull(&pair.b.rq, &pair.a.rq), None);
    pair.b.rq.special -= super::super::rq::Special::RT_THROTTLED;
    pair.a.rq.special |= super::super::rq::Special::RT_THROTTLED;
    pair.publish();
    assert_eq!(find_pull(&pair.b.rq, &pair.a.rq), None, "what is held back does not go on elsewhere");
}

#[test]
fn a_real_time_task_goes_behind_its_equals() {
    let mut pair = Pair::new();
    let (_, p) = (pair.fifo(50), pair.fifo(40));
    let theirs = pair.b.fifo(40);
    pair.b.rq.sync_task(theirs);
    assert_eq!(pair.move_over(p), Resched::Yes, "the CPU idles");
    assert_eq!(pair.b.rt_order(), [theirs, p]);
    pair.check();
}

#[test]
fn a_queued_fair_task_keeps_its_distance_in_virtual_time() {
    let mut pair = Pair::new();
    pair.a.normal(0);
    pair.a.schedule();
    pair.a.pass(50_000_000);
    let p = pair.a.normal_at(0, 3_000_000);
    let distance = p.se().vruntime().wrapping_sub(pair.a.rq.cfs().min_vruntime());
    let _ = pair.move_over(p);
    assert_eq!(p.se().vruntime().wrapping_sub(pair.b.rq.cfs().min_vruntime()), distance);
    assert_eq!(p.se.exec_start.get(), 0, "its data is in no cache here");
    pair.check();
}

#[test]
fn a_sleeper_that_wakes_elsewhere_gets_the_credit_of_a_sleeper_and_no_more() {
    let mut pair = Pair::new();
    let p = pair.a.normal(0);
    pair.a.schedule();
    pair.a.pass(500_000_000);
    pair.a.sleep();
    pair.b.normal(0);
    pair.b.schedule();
    pair.b.pass(7_000_000_000);
    pair.a.rq.detach_sleeping(p);
    let _ = pair.b.rq.wake_up_migrated(p, WakeFlags::empty());
    let behind = pair.b.rq.cfs().min_vruntime().wrapping_sub(p.se().vruntime()) as i64;
    assert!((0..=3_000_000).contains(&behind), "{behind}");
    pair.check();
}

#[test]
fn a_deadline_task_keeps_budget_and_deadline_and_waits_where_it_goes_if_it_is_spent() {
    let mut pair = Pair::new();
    let attr = SchedAttr::deadline(2_000_000, 10_000_000, 10_000_000).unwrap();
    let p = pair.a.normal(0);
    let _ = pair.a.set_scheduler(p, attr);
    pair.a.schedule();
    pair.a.pass(500_000);
    pair.b.pass(500_000);
    let q = pair.a.normal(0);
    let earlier = SchedAttr::deadline(1_000_000, 2_000_000, 2_000_000).unwrap();
    let _ = pair.a.set_scheduler(q, earlier);
    assert_eq!(pair.a.schedule(), q);
    let before = (p.dl().deadline_ns(), p.dl().runtime_ns());
    assert_eq!(pair.a.rq.dl_pushable(), Some(p));
    assert_eq!(pair.move_over(p), Resched::Yes);
    assert_eq!((p.dl().deadline_ns(), p.dl().runtime_ns()), before);
    // Spent, it is held back on the CPU that it is on.
    pair.a.pass(1_200_000);
    let _ = pair.a.rq.event();
    assert!(q.dl().is_throttled());
    pair.a.schedule();
    let _ = pair.move_over(q);
    assert!(q.dl().is_throttled() && pair.b.rq.dl().iter_throttled().any(|p| p == q));
    assert!(pair.a.rq.dl().iter_throttled().next().is_none());
    pair.check();
}

#[test]
fn of_equals_the_one_that_can_go_elsewhere_makes_room() {
    let mut pair = Pair::new();
    let curr = pair.fifo(50);
    let p = pair.a.fifo(50);
    assert_eq!(pair.a.rq.check_preempt_equal(p, true, true), Resched::No, "both can go");
    p.set_cpus_allowed(CpuMask::of(0));
    assert_eq!(pair.a.rq.check_preempt_equal(p, false, false), Resched::No, "nobody has room");
    assert_eq!(pair.a.rq.check_preempt_equal(p, true, false), Resched::Yes);
    assert_eq!(pair.a.rt_order(), [p, curr]);
    pair.check();
}

#[test]
fn a_cpu_that_is_off_is_nobodys_choice_and_takes_nothing() {
    let mut pair = Pair::new();
    pair.fifo(90);
    pair.fifo(50);
    pair.b.rq.set_off(true);
    pair.publish();
    assert_eq!(pair.pri.level(1), cpupri::OFF);
    assert_eq!(find_push(&pair.view(), &pair.a.rq, 0), None);
    assert_eq!(find_pull(&pair.b.rq, &pair.a.rq), None);
}

#[test]
fn load_follows_a_task_to_where_it_goes() {
    let mut pair = Pair::new();
    let (p, q) = (pair.a.normal(0), pair.a.normal(0));
    pair.switch();
    for p in [p, q] {
        pair.a.rq.sync_task(p);
    }
    let waits = if pair.a.rq.curr() == p { q } else { p };
    assert_eq!((pair.a.rq.load_avg(), waits.load_avg()), (2048, 1024), "a new task wants its weight");
    let _ = pair.move_over(waits);
    assert_eq!((pair.a.rq.load_avg(), pair.b.rq.load_avg()), (1024, 1024));
    let _ = pair.b.rq.setprio(waits, 40, None);
    pair.b.rq.sync_task(waits);
    assert_eq!(pair.b.rq.load_avg(), 0, "a real-time task is no load of the fair class");
    let _ = pair.b.rq.setprio(waits, 120, None);
    pair.b.rq.sync_task(waits);
    assert!(pair.b.rq.load_avg() >= 1000);
}

#[test]
fn periods_grow_when_cpus_come_and_shrink_when_they_go() {
    let mut cpu = Cpu::new();
    let latency = |cpu: &Cpu| cpu.rq.cfs().tunables().sched_latency_ns;
    cpu.rq.set_tunables(Tunables::for_cpus(4));
    assert_eq!(latency(&cpu), 18_000_000);
    cpu.rq.set_tunables(Tunables::for_cpus(1));
    assert_eq!(latency(&cpu), 6_000_000);
}
