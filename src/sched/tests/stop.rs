//! The stop class: before everything, and nothing displaces it.

use super::{Cpu, Resched, SchedAttr};
use crate::sched::class::Class;
use crate::sched::rq::Special;

const DEADLINE: (u64, u64) = (2_000_000, 10_000_000);

/// A CPU with a task of every class, the deadline task running; and its stopper, asleep.
fn cpu_and_stopper() -> (Cpu, crate::sched::SchedRef) {
    let mut cpu = Cpu::new();
    cpu.normal(0);
    cpu.fifo(99);
    let reserved = cpu.normal(0);
    let _ = cpu.set_scheduler(reserved, SchedAttr::deadline(DEADLINE.0, DEADLINE.1, DEADLINE.1).unwrap());
    assert_eq!(cpu.schedule(), reserved);
    let stopper = cpu.task(SchedAttr::NORMAL);
    stopper.make_stopper();
    (cpu, stopper)
}

#[test]
fn a_stopper_displaces_a_deadline_task_and_nothing_displaces_it() {
    let (mut cpu, stopper) = cpu_and_stopper();
    assert_eq!(stopper.class(), Class::Stop);
    assert_eq!(cpu.rq.wake_up_new_task(stopper), Resched::Yes);
    assert!(cpu.rq.special().contains(Special::STOP));
    assert_eq!(cpu.schedule(), stopper);
    let others = [SchedAttr::NORMAL, SchedAttr::fifo(99).unwrap()];
    for attr in others {
        let p = cpu.task(attr);
        assert_eq!(cpu.rq.wake_up_new_task(p), Resched::No, "{attr:?}");
        assert_eq!(cpu.schedule(), stopper, "{attr:?}");
    }
    let p = cpu.task(SchedAttr::NORMAL);
    assert!(cpu.rq.set_scheduler(p, SchedAttr::deadline(1_000_000, 2_000_000, 2_000_000).unwrap()).is_ok());
    assert_eq!(cpu.rq.wake_up_new_task(p), Resched::No, "an earlier deadline");
    cpu.pass(DEADLINE.1 * 3);
    assert_eq!(cpu.rq.task_tick(), Resched::No);
    let _ = cpu.rq.event();
    assert_eq!(cpu.schedule(), stopper, "after budgets have come and gone");
}

#[test]
fn when_the_stopper_sleeps_everything_goes_on_as_before() {
    let (mut cpu, stopper) = cpu_and_stopper();
    let before = cpu.rq.curr();
    let left = before.dl().runtime_ns();
    let _ = cpu.rq.wake_up_new_task(stopper);
    assert_eq!(cpu.schedule(), stopper);
    cpu.pass(1_000_000);
    assert_eq!(cpu.sleep(), before);
    assert!(!cpu.rq.special().contains(Special::STOP));
    assert_eq!(before.dl().runtime_ns(), left, "the stopper's time is not the deadline task's");
    cpu.check();
}

#[test]
fn the_stopper_takes_nothing_of_what_real_time_tasks_may_have() {
    let mut cpu = Cpu::new();
    assert!(cpu.rq.set_rt_bandwidth(5_000_000, 10_000_000).is_ok());
    cpu.fifo(10);
    cpu.schedule();
    cpu.pass(1_000_000);
    let stopper = cpu.task(SchedAttr::NORMAL);
    stopper.make_stopper();
    let _ = cpu.rq.wake_up_new_task(stopper);
    assert_eq!(cpu.schedule(), stopper);
    let used = cpu.rq.rt_bandwidth().used_ns();
    cpu.pass(20_000_000);
    cpu.sleep();
    cpu.normal(0);
    assert_eq!((used, cpu.rq.rt_bandwidth().used_ns()), (1_000_000, 1_000_000));
}
