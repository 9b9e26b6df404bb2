//! Inherited priorities: what a boost does to the place in the queues and to virtual time.

use super::*;

/// The kernel priority of a user's.
fn of(rt_priority: u32) -> i32 {
    99 - rt_priority as i32
}

#[test]
fn a_boosted_task_goes_to_the_tail_of_its_new_list_and_back_to_the_head_of_its_old_one() {
    let mut cpu = Cpu::new();
    let (high, low, other) = (cpu.fifo(50), cpu.fifo(10), cpu.fifo(10));
    assert_eq!(cpu.schedule(), high);
    assert_eq!(cpu.rq.setprio(low, of(50), Some(high)), Resched::No);
    assert_eq!(cpu.rt_order(), [high, low, other]);
    assert_eq!(cpu.rq.setprio(low, of(10), None), Resched::No);
    assert_eq!(cpu.rt_order(), [high, low, other], "in front of its equals: it lost the CPU to nobody");
    assert_eq!(cpu.rq.setprio(other, of(10), None), Resched::No);
    assert_eq!(cpu.rt_order(), [high, low, other], "no change is no move");
    cpu.check();
}

#[test]
fn a_running_task_that_sinks_below_another_makes_room() {
    let mut cpu = Cpu::new();
    let (low, middle) = (cpu.fifo(10), cpu.fifo(20));
    assert_eq!(cpu.rq.setprio(low, of(50), Some(middle)), Resched::Yes, "it beats the idle task");
    assert_eq!(cpu.schedule(), low);
    assert_eq!(cpu.rq.setprio(low, of(10), None), Resched::Yes);
    assert_eq!(cpu.schedule(), middle);
    cpu.check();
}

#[test]
fn a_running_task_that_sinks_to_its_equals_goes_on_but_not_past_one_that_it_kept_waiting() {
    let mut cpu = Cpu::new();
    let (low, equal) = (cpu.fifo(10), cpu.fifo(10));
    assert_eq!(cpu.schedule(), low);
    assert_eq!(cpu.rq.setprio(low, of(50), Some(equal)), Resched::No);
    assert_eq!(cpu.rq.setprio(low, of(10), None), Resched::No);
    assert_eq!(cpu.schedule(), low);
    // At the boosted level somebody else is ready: the next in that list, before the woken waiter.
    assert_eq!(cpu.rq.setprio(low, of(50), Some(equal)), Resched::No);
    let at_level = cpu.fifo(50);
    assert_eq!(cpu.rq.setprio(low, of(10), None), Resched::Yes);
    assert_eq!(cpu.schedule(), at_level);
    cpu.check();
}

#[test]
fn a_waiting_fair_task_keeps_its_distance_in_virtual_time_over_a_boost() {
    let mut cpu = Cpu::new();
    let donor = cpu.fifo(50);
    assert_eq!(cpu.schedule(), donor);
    let _ = cpu.sleep();
    let (hog, boosted) = (cpu.normal_at(0, 0), cpu.normal_at(5, 7_000_000));
    cpu.run(hog);
    let offset = |cpu: &Cpu| boosted.se.vruntime.get().wrapping_sub(cpu.rq.cfs().min_vruntime()) as i64;
    let before = offset(&cpu);
    assert_eq!(cpu.rq.setprio(boosted, of(50), Some(donor)), Resched::Yes);
    assert_eq!(cpu.rq.cfs().nr_running(), 1, "its weight left the fair queue");
    assert_eq!(cpu.schedule(), boosted);
    cpu.pass(100_000_000);
    assert_eq!(cpu.rq.setprio(boosted, 125, None), Resched::Yes);
    assert_eq!(offset(&cpu), before, "boosted time is not charged");
    assert_eq!(boosted.policy(), Policy::Normal);
    assert_eq!(boosted.se.load(), crate::sched::load::LoadWeight::of_nice(5));
    assert_eq!(cpu.schedule(), hog);
    cpu.check();
}

#[test]
fn a_running_fair_task_is_charged_up_to_its_boost_and_not_during_it() {
    let mut cpu = Cpu::new();
    let (runner, other) = (cpu.normal_at(0, 0), cpu.normal_at(0, 1_000_000));
    cpu.run(runner);
    cpu.pass(3_000_000);
    assert_eq!(cpu.rq.setprio(runner, of(50), None), Resched::No);
    let charged = runner.se.sum_exec_runtime();
    cpu.pass(50_000_000);
    assert_eq!(cpu.rq.setprio(runner, 120, None), Resched::Yes);
    assert_eq!((charged, runner.se.sum_exec_runtime()), (3_000_000, 3_000_000));
    assert_eq!(cpu.schedule(), other, "it is two milliseconds ahead of the other");
    cpu.check();
}

#[test]
fn a_sleeping_fair_task_that_is_boosted_wakes_real_time_and_comes_back_to_fair_time() {
    let mut cpu = Cpu::new();
    let (hog, sleeper) = (cpu.normal_at(0, 0), cpu.normal_at(0, 0));
    cpu.run(sleeper);
    assert_eq!(cpu.sleep(), hog);
    cpu.pass(20_000_000);
    assert_eq!(cpu.rq.setprio(sleeper, of(50), None), Resched::No);
    assert_eq!(cpu.wake(sleeper), Resched::Yes);
    assert_eq!(cpu.schedule(), sleeper);
    assert_eq!(cpu.rq.setprio(sleeper, 120, None), Resched::Yes);
    let behind = cpu.rq.cfs().min_vruntime().wrapping_sub(sleeper.se.vruntime.get()) as i64;
    assert!((0..=3_000_000).contains(&behind), "credit of {behind} ns: at most half a latency");
    cpu.check();
}

#[test]
fn a_change_of_parameters_under_a_boost_takes_the_better_priority() {
    let mut cpu = Cpu::new();
    let p = cpu.fifo(40);
    assert_eq!(cpu.schedule(), p);
    let _ = cpu.rq.set_scheduler_boosted(p, SchedAttr::fifo(10).unwrap(), of(30));
    assert_eq!((p.prio(), p.normal_prio(), p.rt_priority()), (of(30), of(10), 10));
    let _ = cpu.rq.set_scheduler_boosted(p, SchedAttr::normal(0).unwrap(), of(30));
    assert_eq!((p.prio(), p.normal_prio(), p.policy()), (of(30), 120, Policy::Normal));
    assert!(p.is_rt());
    assert_eq!(cpu.rq.set_nice(p, 5), Ok(Resched::No));
    assert_eq!((p.prio(), p.normal_prio()), (of(30), 125), "a nice value does not end a boost");
    let _ = cpu.rq.setprio(p, 125, None);
    assert!(p.is_fair());
    cpu.check();
}
