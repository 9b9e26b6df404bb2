//! Real-time rules: who is where in its list after what.

use super::*;
use crate::sched::{Class, Interval};

#[test]
fn the_highest_priority_runs_and_the_longest_waiting_among_equals() {
    let mut cpu = Cpu::new();
    let (low, a, b, top) = (cpu.fifo(1), cpu.fifo(50), cpu.fifo(50), cpu.fifo(99));
    assert_eq!(cpu.rt_order(), [top, a, b, low]);
    assert_eq!(cpu.schedule(), top);
    assert_eq!(cpu.sleep(), a);
    assert_eq!(cpu.sleep(), b);
    assert_eq!(cpu.sleep(), low);
    assert_eq!(cpu.sleep(), cpu.rq.idle());
    cpu.check();
}

#[test]
fn every_priority_is_found_in_both_words_of_the_bitmap() {
    for rt_priority in 1..=99 {
        let mut cpu = Cpu::new();
        let p = cpu.fifo(rt_priority);
        assert_eq!(p.prio(), 99 - rt_priority as i32);
        assert_eq!(cpu.rq.rt().highest_prio(), p.prio());
        cpu.check();
        assert_eq!(cpu.schedule(), p);
        assert_eq!(cpu.sleep(), cpu.rq.idle());
        assert!(cpu.rq.rt().is_empty());
        assert_eq!(cpu.rq.rt().highest_prio(), 128);
        cpu.check();
    }
}

#[test]
fn preempted_fifo_task_keeps_the_head_of_its_list() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.fifo(10), cpu.fifo(10));
    assert_eq!(cpu.schedule(), a);
    let urgent = cpu.fifo(20);
    assert_eq!(cpu.schedule(), urgent);
    assert_eq!(cpu.sleep(), a, "not b: a never left the head");
    assert_eq!(cpu.rt_order(), [a, b]);
}

#[test]
fn a_blocked_fifo_task_comes_back_to_the_tail() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.fifo(10), cpu.fifo(10));
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.sleep(), b);
    assert_eq!(cpu.wake(a), Resched::No);
    assert_eq!(cpu.rt_order(), [b, a]);
}

#[test]
fn yield_goes_to_the_tail_of_equals_and_not_below_them() {
    let mut cpu = Cpu::new();
    let (a, b, lower) = (cpu.fifo(10), cpu.fifo(10), cpu.fifo(5));
    assert_eq!(cpu.schedule(), a);
    cpu.rq.yield_task();
    assert_eq!(cpu.rt_order(), [b, a, lower]);
    assert_eq!(cpu.schedule(), b);
}

#[test]
fn a_lone_task_that_yields_keeps_running() {
    let mut cpu = Cpu::new();
    let (a, _lower) = (cpu.fifo(10), cpu.fifo(5));
    assert_eq!(cpu.schedule(), a);
    cpu.rq.yield_task();
    assert_eq!(cpu.schedule(), a);
}

#[test]
fn only_a_strictly_higher_priority_preempts() {
    let mut cpu = Cpu::new();
    let running = cpu.fifo(10);
    assert_eq!(cpu.schedule(), running);
    for (rt_priority, expected) in [(9, Resched::No), (10, Resched::No), (11, Resched::Yes)] {
        let p = cpu.task(SchedAttr::fifo(rt_priority).unwrap());
        assert_eq!(cpu.wake(p), expected, "{rt_priority} against 10");
    }
}

#[test]
fn real_time_preempts_fair_and_idle_and_fair_preempts_only_idle() {
    let mut cpu = Cpu::new();
    let fair = cpu.task(SchedAttr::NORMAL);
    assert_eq!(cpu.wake(fair), Resched::Yes, "over idle");
    assert_eq!(cpu.schedule(), fair);
    let rt = cpu.task(SchedAttr::fifo(1).unwrap());
    assert_eq!(cpu.wake(rt), Resched::Yes, "over fair");
    assert_eq!(cpu.schedule(), rt);
    let nicest = cpu.task(SchedAttr::normal(-20).unwrap());
    assert_eq!(cpu.wake(nicest), Resched::No, "never over real-time");
    assert_eq!((rt.class(), fair.class(), cpu.rq.idle().class()), (Class::Rt, Class::Fair, Class::Idle));
}

#[test]
fn a_combined_wake_up_is_the_same_as_its_two_halves() {
    let mut cpu = Cpu::new();
    let running = cpu.fifo(10);
    cpu.schedule();
    let (lower, higher) = (cpu.task(SchedAttr::fifo(9).unwrap()), cpu.task(SchedAttr::fifo(11).unwrap()));
    assert_eq!(cpu.rq.wake_up_task(lower, WakeFlags::empty()), Resched::No);
    assert_eq!(cpu.rq.wake_up_task(higher, WakeFlags::empty()), Resched::Yes);
    let fair = cpu.task(SchedAttr::NORMAL);
    assert_eq!(cpu.rq.wake_up_task(fair, WakeFlags::empty()), Resched::No);
    assert!(lower.is_queued() && higher.is_queued() && fair.is_queued());
    assert_eq!(cpu.rt_order(), [higher, running, lower]);
    cpu.check();
}

#[test]
fn rr_slice_is_100_ms_of_ticks() {
    for (hz, ticks) in [(100, 10), (250, 25), (300, 30), (1000, 100), (5, 1)] {
        let mut cpu = Cpu::new();
        let idle = cpu.rq.idle();
        cpu.rq.init(idle, hz, 1);
        let p = cpu.rr(1);
        assert_eq!(p.time_slice(), ticks, "hz {hz}");
        assert_eq!(cpu.rq.rr_interval(p), Interval::Ticks(ticks));
    }
}

#[test]
fn rr_expiry_refills_the_slice_and_goes_to_the_tail() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.rr(10), cpu.rr(10));
    assert_eq!(cpu.schedule(), a);
    for tick in 1..25 {
        assert_eq!(cpu.rq.task_tick(), Resched::No, "tick {tick}");
    }
    assert_eq!(a.time_slice(), 1);
    assert_eq!(cpu.rq.task_tick(), Resched::Yes, "the 25th");
    assert_eq!(a.time_slice(), 25);
    assert_eq!(cpu.rt_order(), [b, a]);
    assert_eq!(cpu.schedule(), b);
}

#[test]
fn rr_expiry_of_a_lone_task_refills_and_goes_on() {
    let mut cpu = Cpu::new();
    let (a, _lower) = (cpu.rr(10), cpu.rr(9));
    assert_eq!(cpu.schedule(), a);
    for _ in 0..60 {
        assert_eq!(cpu.rq.task_tick(), Resched::No);
    }
    assert_eq!(a.time_slice(), 25 - 10);
    assert_eq!(cpu.schedule(), a);
}

#[test]
fn a_fifo_task_has_no_slice_even_beside_round_robin_equals() {
    let mut cpu = Cpu::new();
    let (a, _b) = (cpu.fifo(10), cpu.rr(10));
    assert_eq!(cpu.schedule(), a);
    for _ in 0..1000 {
        assert_eq!(cpu.rq.task_tick(), Resched::No);
    }
    assert_eq!(cpu.rq.rr_interval(a), Interval::Unlimited);
}

#[test]
fn rr_slice_is_kept_over_preemption() {
    let mut cpu = Cpu::new();
    let (a, b) = (cpu.rr(10), cpu.rr(10));
    assert_eq!(cpu.schedule(), a);
    for _ in 0..20 {
        let _ = cpu.rq.task_tick();
    }
    let urgent = cpu.fifo(20);
    assert_eq!(cpu.schedule(), urgent);
    assert_eq!(cpu.rq.task_tick(), Resched::No);
    assert_eq!(cpu.sleep(), a);
    assert_eq!(a.time_slice(), 5, "what it had left, not a fresh one");
    for _ in 0..4 {
        assert_eq!(cpu.rq.task_tick(), Resched::No);
    }
    assert_eq!(cpu.rq.task_tick(), Resched::Yes);
    assert_eq!(cpu.schedule(), b);
}

#[test]
fn rr_slice_is_kept_over_sleep() {
    let mut cpu = Cpu::new();
    let a = cpu.rr(10);
    assert_eq!(cpu.schedule(), a);
    for _ in 0..20 {
        let _ = cpu.rq.task_tick();
    }
    cpu.sleep();
    let _ = cpu.wake(a);
    assert_eq!(a.time_slice(), 5);
}

#[test]
fn picking_real_time_over_fair_puts_the_fair_task_back_with_its_time_charged() {
    let mut cpu = Cpu::new();
    let fair = cpu.normal(0);
    assert_eq!(cpu.schedule(), fair);
    let before = fair.se.sum_exec_runtime.get();
    let rt = cpu.fifo(1);
    cpu.pass(700);
    assert!(cpu.rq.needs_clock(), "a fair task stops");
    assert_eq!(cpu.schedule(), rt);
    assert_eq!(fair.se.sum_exec_runtime.get(), before + 700);
    assert_eq!(cpu.fair_order(), [fair]);
    assert_eq!(cpu.rq.cfs().curr(), None);
    cpu.pass(5000);
    assert_eq!(cpu.sleep(), fair);
    cpu.pass(1);
    let _ = cpu.rq.task_tick();
    assert_eq!(fair.se.sum_exec_runtime.get(), before + 701, "not charged for what the real-time task used");
    cpu.check();
}

#[test]
fn the_clock_is_needed_only_when_a_fair_task_stops_or_starts() {
    let mut cpu = Cpu::new();
    assert!(!cpu.rq.needs_clock(), "idle stays idle");
    let fair = cpu.normal(0);
    assert!(cpu.rq.needs_clock(), "idle to fair");
    let (_a, _b) = (cpu.fifo(10), cpu.fifo(10));
    assert!(!cpu.rq.needs_clock(), "idle to real-time");
    cpu.schedule();
    let a = cpu.rq.curr();
    cpu.rq.dequeue_task(a, DequeueFlags::SLEEP);
    assert!(!cpu.rq.needs_clock(), "real-time to real-time");
    cpu.schedule();
    let b = cpu.rq.curr();
    cpu.rq.dequeue_task(b, DequeueFlags::SLEEP);
    assert!(cpu.rq.needs_clock(), "real-time to fair");
    assert_eq!(cpu.schedule(), fair);
    let _ = cpu.wake(a);
    assert!(cpu.rq.needs_clock(), "fair to real-time");
    cpu.schedule();
    cpu.rq.dequeue_task(fair, DequeueFlags::SLEEP);
    cpu.rq.dequeue_task(a, DequeueFlags::SLEEP);
    assert!(!cpu.rq.needs_clock(), "real-time to idle");
    assert_eq!(cpu.schedule(), cpu.rq.idle());
}

#[test]
#[should_panic(expected = "scheduling from the idle thread")]
fn the_idle_task_must_not_block() {
    let mut cpu = Cpu::new();
    cpu.sleep();
}
