//! CFS accounts: who has had how much, and who is placed where.

use super::*;
use crate::sched::fair::before;

fn offset(cpu: &Cpu, p: SchedRef) -> i64 {
    p.se.vruntime.get().wrapping_sub(cpu.rq.cfs.min_vruntime) as i64
}

#[test]
fn the_running_task_is_out_of_the_timeline_but_counts() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal(0), cpu.normal(0));
    assert_eq!(cpu.rq.cfs().nr_running(), 2);
    cpu.run(a);
    assert_eq!(cpu.fair_order(), [b]);
    assert_eq!(cpu.rq.cfs().nr_running(), 2);
    assert_eq!(cpu.rq.cfs().load().weight(), 2 * (1024 << 10));
    assert_eq!(cpu.rq.nr_running(), 2);
    cpu.check();
}

#[test]
fn virtual_time_passes_by_weight() {
    for (nice, expected) in [(-5, 328_099), (0, 1_000_000), (5, 3_056_716)] {
        let mut cpu = Cpu::new();
        let a = cpu.normal(nice);
        cpu.run(a);
        let v = a.se.vruntime.get();
        cpu.pass(1_000_000);
        let _ = cpu.rq.task_tick();
        assert_eq!(a.se.vruntime.get().wrapping_sub(v), expected, "nice {nice}");
        assert_eq!(a.se.sum_exec_runtime.get(), 1_000_000);
    }
}

#[test]
fn a_clock_that_stands_or_steps_back_charges_nothing() {
    let mut cpu = Cpu::new();
    let a = cpu.normal(0);
    cpu.run(a);
    cpu.rq.update_clock(cpu.now);
    let _ = cpu.rq.task_tick();
    cpu.rq.update_clock(cpu.now - 1000);
    let _ = cpu.rq.task_tick();
    assert_eq!(a.se.sum_exec_runtime.get(), 0);
    assert_eq!(cpu.rq.clock_ns(), cpu.now);
    cpu.pass(5);
    let _ = cpu.rq.task_tick();
    assert_eq!(a.se.sum_exec_runtime.get(), 5);
    assert_eq!(cpu.rq.clock_task_ns(), cpu.now);
}

#[test]
fn equal_virtual_runtimes_are_served_in_order_of_arrival() {
    let mut cpu = Cpu::new();
    let tasks: Vec<SchedRef> = (0..5).map(|_| cpu.normal_at(0, 77)).collect();
    assert_eq!(cpu.fair_order(), tasks);
    assert_eq!(cpu.rq.cfs().leftmost(), Some(tasks[0]));
}

#[test]
fn the_order_survives_the_wrap_of_virtual_time() {
    let mut cpu = Cpu::new();
    // min_vruntime starts 2^20 ns before the wrap.
    let (late, early) = (cpu.normal_at(0, 2_000_000), cpu.normal_at(0, 10));
    assert!(late.se.vruntime.get() < early.se.vruntime.get(), "wrapped");
    assert_eq!(cpu.fair_order(), [early, late]);
    cpu.run(early);
    cpu.pass(10_000_000);
    let _ = cpu.rq.task_tick();
    assert_eq!(offset(&cpu, late), 0, "min_vruntime followed over the wrap");
    cpu.check();
}

#[test]
fn min_vruntime_follows_the_least_served_and_never_goes_back() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal_at(0, 0), cpu.normal_at(0, 3_000));
    cpu.run(a);
    let start = cpu.rq.cfs.min_vruntime;
    cpu.pass(1_000);
    let _ = cpu.rq.task_tick();
    assert_eq!(cpu.rq.cfs.min_vruntime.wrapping_sub(start), 1_000, "the running one is behind");
    cpu.pass(9_000);
    let _ = cpu.rq.task_tick();
    assert_eq!(cpu.rq.cfs.min_vruntime.wrapping_sub(start), 3_000, "the waiting one is behind");
    cpu.set_offset(b, -2_000);
    cpu.pass(10);
    let _ = cpu.rq.task_tick();
    assert_eq!(cpu.rq.cfs.min_vruntime.wrapping_sub(start), 3_000, "not back");
}

#[test]
fn min_vruntime_stays_when_the_queue_empties() {
    let mut cpu = Cpu::new();
    let a = cpu.normal_at(0, 0);
    cpu.run(a);
    cpu.pass(5_000);
    assert_eq!(cpu.sleep(), cpu.rq.idle());
    let min = cpu.rq.cfs.min_vruntime;
    assert_eq!(min, a.se.vruntime.get());
    cpu.pass(1_000_000_000);
    let _ = cpu.wake(a);
    assert_eq!(cpu.rq.cfs.min_vruntime, min);
    cpu.check();
}

#[test]
fn a_long_sleeper_gets_half_a_latency_of_credit() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal_at(0, 0), cpu.normal_at(0, 0));
    cpu.run(a);
    assert_eq!(cpu.sleep(), b);
    cpu.pass(1_000_000_000);
    let _ = cpu.wake(a);
    assert_eq!(offset(&cpu, a), -3_000_000);
}

#[test]
fn a_short_sleeper_never_gains_virtual_time() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal_at(0, 0), cpu.normal_at(0, 0));
    cpu.run(a);
    cpu.pass(2_000_000);
    assert_eq!(cpu.sleep(), b);
    let v = a.se.vruntime.get();
    cpu.pass(1_000);
    let _ = cpu.wake(a);
    assert_eq!(a.se.vruntime.get(), v, "it is ahead of the others and stays there");
}

#[test]
fn a_sleeper_keeps_its_absolute_virtual_runtime() {
    let mut cpu = Cpu::new();
    let a = cpu.normal_at(0, 123);
    cpu.run(a);
    let v = a.se.vruntime.get();
    cpu.sleep();
    assert_eq!(a.se.vruntime.get(), v);
}

#[test]
fn a_migrating_task_keeps_its_distance_to_the_others() {
    let (mut from, mut to) = (Cpu::new(), Cpu::new());
    let (busy, p) = (from.normal_at(0, 0), from.normal_at(0, 250_000));
    from.run(busy);
    from.rq.dequeue_task(p, DequeueFlags::empty());
    assert_eq!(p.se.vruntime.get(), 250_000, "relative on the way");
    let other = to.normal_at(0, 0);
    to.run(other);
    to.pass(50_000_000);
    to.rq.enqueue_task(p, EnqueueFlags::MIGRATED);
    assert_eq!(offset(&to, p), 250_000);
    from.check();
    to.check();
    to.rq.dequeue_task(p, DequeueFlags::SLEEP);
}

#[test]
fn a_new_task_is_relative_until_it_is_woken() {
    let mut cpu = Cpu::new();
    let parent = cpu.normal_at(0, 0);
    cpu.run(parent);
    cpu.pass(400);
    let child = cpu.task(SchedAttr::NORMAL);
    let _ = cpu.rq.task_fork(child);
    assert_eq!(parent.se.sum_exec_runtime.get(), 400, "the parent is charged first");
    assert_eq!(child.se.vruntime.get(), 2_999_998);
    cpu.pass(100);
    let _ = cpu.rq.wake_up_new_task(child);
    assert_eq!(offset(&cpu, child), 2_999_998);
    cpu.check();
}

#[test]
fn a_new_task_does_not_start_before_a_parent_that_is_far_ahead() {
    let mut cpu = Cpu::new();
    let (parent, _other) = (cpu.normal_at(0, 9_000_000), cpu.normal_at(0, 0));
    cpu.run(parent);
    let child = cpu.task(SchedAttr::NORMAL);
    let _ = cpu.rq.task_fork(child);
    assert_eq!(child.se.vruntime.get(), 9_000_000, "beside its parent, later than the debt alone");
}

#[test]
fn child_runs_first_exchanges_the_two_and_makes_room() {
    let mut cpu = Cpu::new();
    let mut tunables = cpu.rq.cfs().tunables();
    tunables.child_runs_first = true;
    cpu.rq.set_tunables(tunables);
    let parent = cpu.normal_at(0, 0);
    cpu.run(parent);
    let child = cpu.task(SchedAttr::NORMAL);
    assert_eq!(cpu.rq.task_fork(child), Resched::Yes);
    assert_eq!(child.se.vruntime.get(), 0);
    assert_eq!(offset(&cpu, parent), 2_999_998);
    let _ = cpu.rq.wake_up_new_task(child);
    assert_eq!(cpu.schedule(), child);
}

#[test]
fn without_child_runs_first_the_parent_goes_on() {
    let mut cpu = Cpu::new();
    let parent = cpu.normal_at(0, 0);
    cpu.run(parent);
    let child = cpu.task(SchedAttr::NORMAL);
    assert_eq!(cpu.rq.task_fork(child), Resched::No);
    assert_eq!(cpu.rq.wake_up_new_task(child), Resched::No);
}

#[test]
fn leaving_lets_min_vruntime_advance_unless_the_task_comes_straight_back() {
    for (flags, advances) in [
        (DequeueFlags::SLEEP, true),
        (DequeueFlags::empty(), true),
        (DequeueFlags::SAVE.union(DequeueFlags::MOVE), true),
        (DequeueFlags::SAVE, false),
    ] {
        let mut cpu = Cpu::new();
        let (a, b) = (cpu.normal_at(0, 0), cpu.normal_at(0, 700));
        let min = cpu.rq.cfs.min_vruntime;
        cpu.rq.cfs.dequeue(a, flags, cpu.now);
        let moved = cpu.rq.cfs.min_vruntime.wrapping_sub(min);
        assert_eq!(moved, if advances { 700 } else { 0 }, "{flags:?}");
        assert!(!before(b.se.vruntime.get(), cpu.rq.cfs.min_vruntime));
        assert_eq!(cpu.fair_order(), [b]);
    }
}

#[test]
fn a_running_task_that_is_requeued_is_charged_first() {
    let mut cpu = Cpu::new();
    let a = cpu.normal_at(0, 0);
    cpu.run(a);
    cpu.pass(900);
    let _ = cpu.rq.set_nice(a, 5);
    assert_eq!(a.se.sum_exec_runtime.get(), 900, "at the old weight");
    assert_eq!(offset(&cpu, a), 0);
    cpu.check();
}

#[test]
fn the_turn_of_an_unqueued_task_counts_it_in() {
    let mut cpu = Cpu::new();
    let _running = cpu.normal(0);
    let p = cpu.task(SchedAttr::NORMAL);
    assert_eq!(cpu.rq.cfs.sched_slice(p), 2_999_998);
    let nine: Vec<SchedRef> = (0..8).map(|_| cpu.normal(0)).collect();
    assert_eq!(cpu.rq.cfs.nr_running, 9);
    assert_eq!(cpu.rq.cfs.sched_slice(nine[0]), 749_998);
    assert_eq!(cpu.rq.cfs.sched_slice(p), 749_999, "a tenth in a period of ten");
}
