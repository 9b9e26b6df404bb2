//! Changed policies, priorities and nice values.

use super::*;
use crate::sched::{OnRq, PrioError};

fn fifo(rt_priority: u32) -> SchedAttr {
    SchedAttr::fifo(rt_priority).unwrap()
}

fn rr(rt_priority: u32) -> SchedAttr {
    SchedAttr::rr(rt_priority).unwrap()
}

#[test]
fn a_raised_task_goes_to_the_tail_of_its_new_list() {
    let mut cpu = Cpu::new();
    let (top, a, b) = (cpu.fifo(50), cpu.fifo(20), cpu.fifo(10));
    assert_eq!(cpu.schedule(), top);
    assert_eq!(cpu.set_scheduler(b, fifo(20)), Resched::No);
    assert_eq!(cpu.rt_order(), [top, a, b]);
    cpu.check();
}

#[test]
fn a_lowered_task_goes_to_the_head_of_its_new_list() {
    let mut cpu = Cpu::new();
    let (top, a, b) = (cpu.fifo(50), cpu.fifo(20), cpu.fifo(10));
    assert_eq!(cpu.schedule(), top);
    assert_eq!(cpu.set_scheduler(a, fifo(10)), Resched::No);
    assert_eq!(cpu.rt_order(), [top, a, b]);
    cpu.check();
}

#[test]
fn setting_the_same_policy_and_priority_is_no_change_at_all() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.rr(10), cpu.rr(10));
    assert_eq!(cpu.schedule(), a);
    let _ = cpu.rq.task_tick();
    assert_eq!(cpu.set_scheduler(a, rr(10)), Resched::No);
    assert_eq!(cpu.set_scheduler(b, rr(10)), Resched::No);
    assert_eq!(cpu.rt_order(), [a, b], "not a yield");
    assert_eq!(a.time_slice(), 24, "nor a fresh slice");
}

#[test]
fn exchanging_fifo_and_rr_at_the_same_priority_keeps_the_place() {
    let mut cpu = Cpu::new();
    let (a, b, c) = (cpu.fifo(10), cpu.fifo(10), cpu.fifo(10));
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.set_scheduler(a, rr(10)), Resched::No);
    assert_eq!(cpu.set_scheduler(b, rr(10)), Resched::No);
    assert_eq!(cpu.rt_order(), [a, b, c]);
    assert_eq!(b.policy(), Policy::Rr);
    cpu.check();
}

#[test]
fn a_running_task_lowered_below_another_makes_room_at_once() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.fifo(20), cpu.fifo(10));
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.set_scheduler(a, fifo(9)), Resched::Yes);
    assert_eq!(cpu.schedule(), b);
}

#[test]
fn a_running_task_lowered_to_the_best_of_the_rest_goes_on() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.fifo(20), cpu.fifo(10));
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.set_scheduler(a, fifo(10)), Resched::No);
    assert_eq!(cpu.rt_order(), [a, b], "head of the new list: nobody there is more important");
    assert_eq!(cpu.schedule(), a);
}

#[test]
fn a_running_task_that_is_raised_goes_on() {
    let mut cpu = Cpu::new();
    let a = cpu.fifo(20);
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.set_scheduler(a, fifo(30)), Resched::No);
    assert_eq!(cpu.schedule(), a);
}

#[test]
fn a_waiting_task_preempts_at_once_only_if_raised_strictly_above_the_running_one() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.fifo(20), cpu.fifo(10));
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.set_scheduler(b, fifo(20)), Resched::No);
    assert_eq!(cpu.set_scheduler(b, fifo(21)), Resched::Yes);
    assert_eq!(cpu.schedule(), b);
}

#[test]
fn a_waiting_fair_task_made_real_time_preempts() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal(0), cpu.normal(0));
    cpu.run(a);
    assert_eq!(cpu.set_scheduler(b, fifo(1)), Resched::Yes);
    assert_eq!(cpu.schedule(), b);
    cpu.check();
}

#[test]
fn a_running_fair_task_made_real_time_goes_on_without_a_reschedule() {
    let mut cpu = Cpu::new();
    let (a, _b) = (cpu.normal(0), cpu.normal(0));
    cpu.run(a);
    assert_eq!(cpu.set_scheduler(a, fifo(1)), Resched::No);
    assert_eq!(cpu.rq.cfs().curr(), None);
    assert_eq!(cpu.rq.cfs().nr_running(), 1);
    assert_eq!(cpu.schedule(), a);
    cpu.check();
}

#[test]
fn a_running_real_time_task_made_fair_reschedules_and_may_run_on() {
    let mut cpu = Cpu::new();
    let a = cpu.fifo(5);
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.set_scheduler(a, SchedAttr::NORMAL), Resched::Yes);
    assert_eq!(cpu.rq.cfs().curr(), Some(a));
    assert_eq!(cpu.schedule(), a);
    assert!(cpu.rq.rt().is_empty());
    cpu.check();
}

#[test]
fn a_waiting_real_time_task_made_fair_does_not_disturb_real_time() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.fifo(5), cpu.fifo(4));
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.set_scheduler(b, SchedAttr::NORMAL), Resched::No);
    assert_eq!(cpu.fair_order(), [b]);
    cpu.check();
}

#[test]
fn virtual_time_is_relative_while_a_task_is_real_time() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal_at(0, 0), cpu.normal_at(0, 4_000));
    cpu.run(a);
    let _ = cpu.set_scheduler(b, fifo(1));
    assert_eq!(b.se.vruntime.get(), 4_000);
    cpu.pass(1_000_000);
    let _ = cpu.rq.task_tick();
    let min = cpu.rq.cfs.min_vruntime;
    let _ = cpu.set_scheduler(b, SchedAttr::NORMAL);
    assert_eq!(b.se.vruntime.get().wrapping_sub(min), 4_000, "as far behind the others as before");
    cpu.check();
}

#[test]
fn a_sleeping_task_that_changes_class_is_placed_and_made_relative_and_back() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal_at(0, 0), cpu.normal_at(0, 0));
    cpu.run(a);
    assert_eq!(cpu.sleep(), b);
    cpu.pass(100_000_000);
    let _ = cpu.rq.task_tick();
    assert_eq!(cpu.set_scheduler(a, fifo(1)), Resched::No);
    assert_eq!(a.se.vruntime.get() as i64, -3_000_000, "its credit is bounded as if it had woken");
    let _ = cpu.set_scheduler(a, SchedAttr::NORMAL);
    assert_eq!(a.se.vruntime.get(), cpu.rq.cfs.min_vruntime.wrapping_sub(3_000_000));
    assert_eq!(a.on_rq(), OnRq::No);
    cpu.check();
}

#[test]
fn a_task_never_woken_stays_relative_whatever_its_class() {
    let mut cpu = Cpu::new();
    let parent = cpu.normal(0);
    cpu.run(parent);
    let run_for_a_while = |cpu: &mut Cpu| {
        cpu.pass(50_000_000);
        let _ = cpu.rq.task_tick();
    };
    run_for_a_while(&mut cpu);
    let child = cpu.task(SchedAttr::NORMAL);
    let _ = cpu.rq.task_fork(child);
    let debt = child.se.vruntime.get();
    let _ = cpu.set_scheduler(child, fifo(1));
    assert_eq!(child.se.vruntime.get(), debt);
    run_for_a_while(&mut cpu);
    let _ = cpu.set_scheduler(child, SchedAttr::NORMAL);
    assert_eq!(child.se.vruntime.get(), debt);
    let _ = cpu.rq.wake_up_new_task(child);
    let min = cpu.rq.cfs.min_vruntime;
    assert_eq!(child.se.vruntime.get(), min.wrapping_add(debt));
}

#[test]
fn nice_changes_the_weight_of_waiting_running_and_sleeping_tasks() {
    let mut cpu = Cpu::new();
    let (a, b, c) = (cpu.normal(0), cpu.normal(0), cpu.normal(0));
    cpu.run(c);
    cpu.sleep();
    cpu.run(a);
    for p in [a, b, c] {
        let _ = cpu.rq.set_nice(p, 5).unwrap();
        assert_eq!((p.nice(), p.prio(), p.normal_prio()), (5, 125, 125));
        assert_eq!(p.se.load.get().weight(), 335 << 10);
        cpu.check();
    }
    assert_eq!(cpu.rq.cfs().load().weight(), 2 * (335 << 10));
    assert_eq!(cpu.rq.cfs().curr(), Some(a));
}

#[test]
fn a_running_task_that_gets_nicer_reschedules_and_one_that_gets_meaner_does_not() {
    let mut cpu = Cpu::new();
    let (a, _b) = (cpu.normal(0), cpu.normal(0));
    cpu.run(a);
    assert_eq!(cpu.rq.set_nice(a, 1), Ok(Resched::Yes));
    assert_eq!(cpu.rq.set_nice(a, -1), Ok(Resched::No));
}

#[test]
fn a_lone_task_does_not_reschedule_for_its_nice_value() {
    let mut cpu = Cpu::new();
    let a = cpu.normal(0);
    cpu.run(a);
    assert_eq!(cpu.rq.set_nice(a, 19), Ok(Resched::No));
}

#[test]
fn a_waiting_task_whose_nice_value_changes_preempts_by_the_wakeup_rule() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal_at(0, 0), cpu.normal_at(0, 0));
    cpu.run(a);
    cpu.set_offset(a, 500_000);
    // Behind by half a millisecond: less than nice 0 needs, more than nice -5.
    assert_eq!(cpu.rq.set_nice(b, 1), Ok(Resched::No));
    assert_eq!(cpu.rq.set_nice(b, -5), Ok(Resched::Yes));
}

#[test]
fn changing_nice_does_not_move_a_task_in_virtual_time() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal_at(0, 0), cpu.normal_at(0, 10_000));
    cpu.run(a);
    let v = b.se.vruntime.get();
    let _ = cpu.rq.set_nice(b, -5);
    assert_eq!(b.se.vruntime.get(), v);
}

#[test]
fn nice_of_a_real_time_task_is_kept_for_later() {
    let mut cpu = Cpu::new();
    let a = cpu.fifo(10);
    assert_eq!(cpu.rq.set_nice(a, 7), Ok(Resched::No));
    assert_eq!((a.prio(), a.nice()), (89, 7));
    let _ = cpu.set_scheduler(a, SchedAttr::normal(7).unwrap());
    assert_eq!((a.prio(), a.se.load.get().weight()), (127, 215 << 10));
}

#[test]
fn a_nice_value_out_of_range_is_refused_and_changes_nothing() {
    let mut cpu = Cpu::new();
    let a = cpu.normal(3);
    assert_eq!(cpu.rq.set_nice(a, 20), Err(PrioError::Nice(20)));
    assert_eq!(cpu.rq.set_nice(a, -21), Err(PrioError::Nice(-21)));
    assert_eq!(a.nice(), 3);
}

#[test]
fn idle_policy_weighs_3_whatever_the_nice_value() {
    let mut cpu = Cpu::new();
    let a = cpu.normal(-20);
    let _ = cpu.set_scheduler(a, SchedAttr::new(Policy::Idle, 0, -20).unwrap());
    assert_eq!(a.se.load.get().weight(), 3 << 10);
    cpu.check();
    let _ = cpu.set_scheduler(a, SchedAttr::normal(0).unwrap());
    assert_eq!(a.se.load.get().weight(), 1024 << 10);
    cpu.check();
}

#[test]
fn a_child_inherits_policy_and_parameters() {
    let mut cpu = Cpu::new();
    let parent = cpu.rr(42);
    let child = cpu.task(SchedAttr::NORMAL);
    child.inherit(&parent);
    assert_eq!((child.policy(), child.rt_priority(), child.prio()), (Policy::Rr, 42, 57));
}

#[test]
fn changing_a_sleeping_real_time_task_touches_no_queue() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.fifo(10), cpu.fifo(10));
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.sleep(), b);
    assert_eq!(cpu.set_scheduler(a, fifo(60)), Resched::No);
    assert_eq!(cpu.rt_order(), [b]);
    assert_eq!(cpu.wake(a), Resched::Yes);
    cpu.check();
}
