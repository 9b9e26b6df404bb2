//! CFS checkpoints: tick and wake-up, with every comparison's strictness.

use core::cmp::Ordering;

use super::*;

/// The turn of one of two nice 0 tasks.
const IDEAL: u64 = 2_999_998;
const MIN_GRANULARITY: u64 = 750_000;
const WAKEUP_GRANULARITY: i64 = 1_000_000;

/// `a` runs since now at `offset` after `b`, which waits at `min_vruntime`.
fn running_ahead_by(offset: i64) -> (Cpu, SchedRef, SchedRef) {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal_at(0, 0), cpu.normal_at(0, 0));
    cpu.run(a);
    cpu.set_offset(a, offset);
    (cpu, a, b)
}

/// What the tick says after `ran` ns, if `a` is `lead` ahead of `b` by then.
fn tick_after(ran: u64, lead: i64) -> Resched {
    let (mut cpu, ..) = running_ahead_by(lead - ran as i64);
    cpu.pass(ran);
    cpu.rq.task_tick()
}

#[test]
fn tick_preempts_when_the_task_ran_longer_than_its_ideal_runtime() {
    assert_eq!(tick_after(IDEAL + 1, -1), Resched::Yes);
}

#[test]
fn tick_does_not_preempt_at_exactly_the_ideal_runtime() {
    assert_eq!(tick_after(IDEAL, -1), Resched::No);
}

#[test]
fn tick_does_not_preempt_for_another_before_the_minimum_granularity() {
    assert_eq!(tick_after(MIN_GRANULARITY - 1, i64::from(u32::MAX)), Resched::No);
}

#[test]
fn tick_looks_at_the_others_from_exactly_the_minimum_granularity_on() {
    assert_eq!(tick_after(MIN_GRANULARITY, i64::from(u32::MAX)), Resched::Yes);
}

#[test]
fn tick_preempts_when_the_leftmost_is_behind_by_more_than_the_ideal_runtime() {
    assert_eq!(tick_after(MIN_GRANULARITY, IDEAL as i64 + 1), Resched::Yes);
}

#[test]
fn tick_does_not_preempt_when_the_leftmost_is_behind_by_exactly_the_ideal_runtime() {
    assert_eq!(tick_after(MIN_GRANULARITY, IDEAL as i64), Resched::No);
}

#[test]
fn tick_does_not_preempt_for_a_leftmost_that_is_ahead() {
    for lead in [0, -1, -1_000_000_000] {
        assert_eq!(tick_after(MIN_GRANULARITY, lead), Resched::No, "lead {lead}");
    }
}

#[test]
fn tick_never_preempts_a_lone_task() {
    let mut cpu = Cpu::new();
    let a = cpu.normal(0);
    cpu.run(a);
    for _ in 0..100 {
        cpu.pass(4_000_000);
        assert_eq!(cpu.rq.task_tick(), Resched::No);
    }
}

#[test]
fn a_turn_begins_when_the_task_starts_to_run_not_when_it_is_charged() {
    let (mut cpu, a, b) = running_ahead_by(0);
    for _ in 0..2 {
        cpu.pass(IDEAL / 2);
        assert_eq!(cpu.rq.task_tick(), Resched::No);
    }
    cpu.pass(1);
    assert_eq!(cpu.rq.task_tick(), Resched::Yes, "the charges add up");
    assert_eq!(cpu.schedule(), b);
    assert_eq!(cpu.rq.task_tick(), Resched::No, "b's turn is new");
    assert_eq!(cpu.fair_order(), [a]);
}

#[test]
fn the_task_that_is_picked_again_goes_on_with_the_turn_it_has() {
    let (mut cpu, a, _) = running_ahead_by(-100_000_000);
    cpu.pass(IDEAL + 1);
    assert_eq!(cpu.rq.task_tick(), Resched::Yes);
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.rq.task_tick(), Resched::Yes, "its turn is over, it only has no competitor");
}

#[test]
fn a_task_whose_turn_is_over_loses_its_buddy_mark() {
    let (mut cpu, a, b) = running_ahead_by(0);
    cpu.rq.cfs.last = Some(a);
    cpu.pass(IDEAL + 1);
    assert_eq!(cpu.rq.task_tick(), Resched::Yes);
    assert_eq!(cpu.rq.cfs.last, None);
    assert_eq!(cpu.schedule(), b);
}

#[test]
fn a_heavier_task_has_a_longer_turn() {
    let mut cpu = Cpu::new();
    let (heavy, light) = (cpu.normal_at(0, 0), cpu.normal_at(5, 0));
    for (p, turn) in [(heavy, 4_520_971), (light, 1_479_028)] {
        cpu.run(p);
        cpu.set_offset(p, -100_000_000);
        cpu.pass(turn);
        assert_eq!(cpu.rq.task_tick(), Resched::No);
        cpu.pass(1);
        assert_eq!(cpu.rq.task_tick(), Resched::Yes);
    }
}

/// `wakeup_preempt_entity` for a candidate of this nice value, behind by `lead`.
fn verdict(nice: i32, lead: i64) -> Ordering {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.normal_at(0, lead), cpu.normal_at(nice, 0));
    cpu.rq.cfs.wakeup_preempt_entity(a, b)
}

#[test]
fn a_task_that_is_not_behind_does_not_preempt() {
    assert_eq!(verdict(0, 0), Ordering::Less);
    assert_eq!(verdict(0, -1), Ordering::Less);
}

#[test]
fn a_task_that_is_behind_by_up_to_the_granularity_does_not_preempt_yet() {
    assert_eq!(verdict(0, 1), Ordering::Equal);
    assert_eq!(verdict(0, WAKEUP_GRANULARITY), Ordering::Equal);
}

#[test]
fn a_task_that_is_behind_by_more_than_the_granularity_preempts() {
    assert_eq!(verdict(0, WAKEUP_GRANULARITY + 1), Ordering::Greater);
}

#[test]
fn a_light_task_needs_a_bigger_lead_and_a_heavy_one_a_smaller() {
    for (nice, gran) in [(-5, 328_099), (5, 3_056_716), (19, 68_266_666)] {
        assert_eq!(verdict(nice, gran), Ordering::Equal, "nice {nice}");
        assert_eq!(verdict(nice, gran + 1), Ordering::Greater, "nice {nice}");
    }
}

fn wakeup(cpu: &mut Cpu, p: SchedRef) -> Resched {
    cpu.rq.check_preempt_curr(p, WakeFlags::empty())
}

#[test]
fn wakeup_preempts_by_more_than_the_granularity_and_marks_the_next_buddy() {
    let (mut cpu, _, b) = running_ahead_by(WAKEUP_GRANULARITY);
    assert_eq!(wakeup(&mut cpu, b), Resched::No);
    assert_eq!(cpu.rq.cfs.next, None, "NEXT_BUDDY is off: a wake-up alone marks nothing");
    cpu.pass(1);
    assert_eq!(wakeup(&mut cpu, b), Resched::Yes, "the running task is charged before it is compared");
    assert_eq!(cpu.rq.cfs.next, Some(b));
}

#[test]
fn a_task_does_not_preempt_itself() {
    let (mut cpu, a, _) = running_ahead_by(1_000_000_000);
    assert_eq!(wakeup(&mut cpu, a), Resched::No);
}

#[test]
fn wakeup_decides_nothing_when_the_running_task_is_already_flagged() {
    let (mut cpu, _, b) = running_ahead_by(1_000_000_000);
    assert_eq!(cpu.rq.check_preempt_curr(b, WakeFlags::CURR_FLAGGED), Resched::No);
    assert_eq!(cpu.rq.cfs.next, None);
}

#[test]
fn a_fork_preempts_by_the_same_rule_as_a_wakeup() {
    let (mut cpu, _, b) = running_ahead_by(WAKEUP_GRANULARITY + 1);
    assert_eq!(cpu.rq.check_preempt_curr(b, WakeFlags::FORK), Resched::Yes);
}

#[test]
fn batch_and_idle_policy_tasks_never_preempt_on_wakeup() {
    for policy in [Policy::Batch, Policy::Idle] {
        let mut cpu = Cpu::new();
        let (a, b) = (cpu.normal_at(0, 0), cpu.with_policy(policy));
        cpu.run(a);
        cpu.set_offset(a, 1_000_000_000_000);
        assert_eq!(wakeup(&mut cpu, b), Resched::No, "{policy:?}");
        assert_eq!(cpu.rq.cfs.next, None);
    }
}

#[test]
fn an_idle_policy_task_makes_room_for_every_other_policy_at_once() {
    for policy in [Policy::Normal, Policy::Batch] {
        let mut cpu = Cpu::new();
        let (a, b) = (cpu.with_policy(Policy::Idle), cpu.with_policy(policy));
        cpu.run(a);
        cpu.set_offset(a, -1_000_000_000);
        assert_eq!(wakeup(&mut cpu, b), Resched::Yes, "{policy:?}");
        assert_eq!(cpu.rq.cfs.next, None, "no buddy: the choice was not by virtual time");
    }
}

#[test]
fn an_idle_policy_task_does_not_make_room_for_another() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.with_policy(Policy::Idle), cpu.with_policy(Policy::Idle));
    cpu.run(a);
    cpu.set_offset(a, 1_000_000_000_000);
    assert_eq!(wakeup(&mut cpu, b), Resched::No);
}

#[test]
fn the_preempted_task_becomes_the_last_buddy_from_eight_tasks_on() {
    for (tasks, expected) in [(7, false), (8, true)] {
        let mut cpu = Cpu::new();
        let all: Vec<SchedRef> = (0..tasks).map(|_| cpu.normal_at(0, 0)).collect();
        cpu.run(all[0]);
        cpu.set_offset(all[0], WAKEUP_GRANULARITY + 1);
        assert_eq!(wakeup(&mut cpu, all[1]), Resched::Yes);
        assert_eq!(cpu.rq.cfs.last == Some(all[0]), expected, "{tasks} tasks");
        cpu.check();
    }
}

#[test]
fn an_idle_policy_task_never_becomes_a_buddy() {
    let mut cpu = Cpu::new();
    let idler = cpu.with_policy(Policy::Idle);
    let others: Vec<SchedRef> = (0..9).map(|_| cpu.normal_at(0, 0)).collect();
    cpu.run(idler);
    assert_eq!(wakeup(&mut cpu, others[0]), Resched::Yes);
    assert_eq!(cpu.rq.cfs.last, None);
}

#[test]
fn a_wakeup_after_a_long_sleep_preempts_a_nice_0_task() {
    let (mut cpu, a, b) = running_ahead_by(0);
    cpu.pass(1_000);
    assert_eq!(cpu.sleep(), b);
    cpu.pass(20_000_000);
    assert_eq!(cpu.wake(a), Resched::Yes, "three milliseconds of credit against one of granularity");
    assert_eq!(cpu.schedule(), a);
}

#[test]
fn a_wakeup_after_a_short_sleep_does_not_preempt() {
    let (mut cpu, a, b) = running_ahead_by(0);
    cpu.pass(1_000);
    assert_eq!(cpu.sleep(), b);
    cpu.pass(900_000);
    assert_eq!(cpu.wake(a), Resched::No);
}
