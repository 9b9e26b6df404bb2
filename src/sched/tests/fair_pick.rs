//! CFS: who is picked, the buddies, and yielding.

use super::*;

/// Waiting tasks of nice 0 at these offsets; nobody runs.
fn waiting(offsets: &[i64]) -> (Cpu, Vec<SchedRef>) {
    let mut cpu = Cpu::new();
    let tasks = offsets.iter().map(|&o| cpu.normal_at(0, o)).collect();
    (cpu, tasks)
}

#[test]
fn the_least_served_runs() {
    let (mut cpu, t) = waiting(&[20, 10, 30]);
    assert_eq!(cpu.schedule(), t[1]);
    assert_eq!(cpu.fair_order(), [t[0], t[2]]);
    cpu.check();
}

#[test]
fn the_running_task_goes_on_only_while_strictly_less_served() {
    let (mut cpu, t) = waiting(&[0, 0]);
    cpu.run(t[0]);
    cpu.set_offset(t[0], -1);
    assert_eq!(cpu.schedule(), t[0]);
    cpu.set_offset(t[0], 0);
    assert_eq!(cpu.schedule(), t[1], "among equals the waiting one has waited longer");
}

#[test]
fn a_lone_task_is_picked_again_and_idle_when_it_sleeps() {
    let (mut cpu, t) = waiting(&[0]);
    assert_eq!(cpu.schedule(), t[0]);
    assert_eq!(cpu.schedule(), t[0]);
    assert_eq!(cpu.sleep(), cpu.rq.idle());
    assert_eq!(cpu.rq.cfs().curr(), None);
    assert_eq!(cpu.schedule(), cpu.rq.idle());
    cpu.check();
}

#[test]
fn a_next_buddy_runs_unless_it_is_ahead_by_more_than_the_granularity() {
    for (ahead, expected) in [(1_000_000, 1), (1_000_001, 0)] {
        let (mut cpu, t) = waiting(&[0, ahead]);
        cpu.rq.cfs.next = Some(t[1]);
        assert_eq!(cpu.schedule(), t[expected], "ahead by {ahead}");
    }
}

#[test]
fn a_last_buddy_runs_unless_it_is_ahead_by_more_than_the_granularity() {
    for (ahead, expected) in [(1_000_000, 1), (1_000_001, 0)] {
        let (mut cpu, t) = waiting(&[0, ahead]);
        cpu.rq.cfs.last = Some(t[1]);
        assert_eq!(cpu.schedule(), t[expected], "ahead by {ahead}");
    }
}

#[test]
fn next_goes_before_last() {
    let (mut cpu, t) = waiting(&[0, 10, 20]);
    cpu.rq.cfs.last = Some(t[1]);
    cpu.rq.cfs.next = Some(t[2]);
    assert_eq!(cpu.schedule(), t[2]);
    assert_eq!(cpu.rq.cfs.next, None, "the chosen one's mark is used up");
    assert_eq!(cpu.rq.cfs.last, Some(t[1]), "the other's stays");
    assert_eq!(cpu.schedule(), t[1]);
}

#[test]
fn an_unfair_next_leaves_the_choice_to_last() {
    let (mut cpu, t) = waiting(&[0, 10, 5_000_000]);
    cpu.rq.cfs.last = Some(t[1]);
    cpu.rq.cfs.next = Some(t[2]);
    assert_eq!(cpu.schedule(), t[1]);
}

#[test]
fn a_sleeping_task_is_nobodys_buddy() {
    let (mut cpu, t) = waiting(&[0, 0]);
    cpu.run(t[0]);
    cpu.rq.cfs.next = Some(t[0]);
    cpu.rq.cfs.last = Some(t[0]);
    cpu.rq.cfs.skip = Some(t[0]);
    assert_eq!(cpu.sleep(), t[1]);
    assert_eq!((cpu.rq.cfs.next, cpu.rq.cfs.last, cpu.rq.cfs.skip), (None, None, None));
    cpu.check();
}

#[test]
fn yield_lets_the_second_run_and_does_not_move_virtual_time() {
    let (mut cpu, t) = waiting(&[0, 900_000]);
    assert_eq!(cpu.schedule(), t[0]);
    let v = t[0].se.vruntime.get();
    cpu.rq.yield_task();
    assert_eq!(t[0].se.vruntime.get(), v);
    assert_eq!(cpu.schedule(), t[1], "although it is ahead");
}

#[test]
fn yield_charges_the_task_unless_it_is_batch() {
    for (policy, charged) in [(Policy::Normal, 500), (Policy::Batch, 0)] {
        let mut cpu = Cpu::new();
        let (a, _b) = (cpu.with_policy(policy), cpu.normal(0));
        cpu.run(a);
        cpu.pass(500);
        cpu.rq.yield_task();
        assert_eq!(a.se.sum_exec_runtime.get(), charged, "{policy:?}");
    }
}

#[test]
fn yield_to_a_second_that_is_too_far_ahead_changes_nothing() {
    for (ahead, expected) in [(1_000_000, 1), (1_000_001, 0)] {
        let (mut cpu, t) = waiting(&[0, ahead]);
        assert_eq!(cpu.schedule(), t[0]);
        cpu.rq.yield_task();
        assert_eq!(cpu.schedule(), t[expected], "ahead by {ahead}");
    }
}

#[test]
fn a_lone_task_that_yields_is_not_marked() {
    let (mut cpu, t) = waiting(&[0]);
    assert_eq!(cpu.schedule(), t[0]);
    cpu.rq.yield_task();
    assert_eq!(cpu.rq.cfs.skip, None);
    assert_eq!(cpu.schedule(), t[0]);
}

#[test]
fn a_yielding_task_gives_up_its_buddy_marks() {
    let (mut cpu, t) = waiting(&[0, 0]);
    assert_eq!(cpu.schedule(), t[0]);
    cpu.rq.cfs.next = Some(t[0]);
    cpu.rq.cfs.last = Some(t[0]);
    cpu.rq.yield_task();
    assert_eq!((cpu.rq.cfs.next, cpu.rq.cfs.last), (None, None));
    assert_eq!(cpu.schedule(), t[1]);
}

#[test]
fn the_skip_mark_stays_until_its_task_is_picked() {
    let (mut cpu, t) = waiting(&[0, 10, 5_000_000]);
    assert_eq!(cpu.schedule(), t[0]);
    cpu.rq.yield_task();
    assert_eq!(cpu.schedule(), t[1]);
    assert_eq!(cpu.rq.cfs.skip, Some(t[0]));
    // t[0] waits at the left; t[1] runs on behind it; nobody else is near.
    cpu.set_offset(t[1], 2_000_000);
    assert_eq!(cpu.schedule(), t[0]);
    assert_eq!(cpu.rq.cfs.skip, None);
}

#[test]
fn a_skipped_waiting_task_gives_way_to_its_neighbour_or_the_running_one() {
    // The left is skipped; the second of the timeline and the running task
    // compete for its place.
    for (running_at, expected) in [(5, 0), (15, 2)] {
        let (mut cpu, t) = waiting(&[0, 0, 10]);
        cpu.run(t[0]);
        cpu.set_offset(t[0], running_at);
        cpu.rq.cfs.skip = Some(t[1]);
        assert_eq!(cpu.schedule(), t[expected], "running at {running_at}");
    }
}

#[test]
fn a_skipped_waiting_task_alone_with_the_running_one_lets_it_go_on() {
    let (mut cpu, t) = waiting(&[0, 0]);
    cpu.run(t[0]);
    cpu.set_offset(t[0], 10);
    cpu.rq.cfs.skip = Some(t[1]);
    assert_eq!(cpu.schedule(), t[0]);
}

#[test]
fn a_skipped_lone_waiting_task_runs_all_the_same() {
    let (mut cpu, t) = waiting(&[0]);
    cpu.rq.cfs.skip = Some(t[0]);
    assert_eq!(cpu.schedule(), t[0]);
}

#[test]
fn a_buddy_goes_before_the_second_of_a_skipped_task() {
    let (mut cpu, t) = waiting(&[0, 10, 20]);
    assert_eq!(cpu.schedule(), t[0]);
    cpu.rq.yield_task();
    cpu.rq.cfs.next = Some(t[2]);
    assert_eq!(cpu.schedule(), t[2]);
}
