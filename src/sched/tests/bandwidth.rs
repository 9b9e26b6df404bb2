//! Real-time throttling: who may be picked when, and what it costs to know.

use super::Cpu;
use crate::sched::rq::Special;
use crate::sched::{Resched, SchedAttr};

const MS: u64 = 1_000_000;

/// A CPU with this limit.
fn limited(runtime_ms: u64, period_ms: u64) -> Cpu {
    let mut cpu = Cpu::new();
    let _ = cpu.rq.set_rt_bandwidth(runtime_ms * MS, period_ms * MS).unwrap();
    cpu
}

impl Cpu {
    /// Lets time pass as the core does, and counts the timer's interrupts.
    fn serve(&mut self, ns: u64) -> u32 {
        let until = self.now + ns;
        let mut interrupts = 0;
        while self.rq.next_event_ns() <= until {
            self.now = self.rq.next_event_ns().max(self.now);
            self.rq.update_clock(self.now);
            interrupts += 1;
            if self.rq.event().is_yes() {
                self.schedule();
            }
        }
        self.now = until;
        self.rq.update_clock(until);
        interrupts
    }
}

#[test]
fn a_hog_is_held_back_at_its_budget_and_let_go_at_the_period() {
    let mut cpu = limited(95, 100);
    let hog = cpu.fifo(50);
    let fair = cpu.normal(0);
    assert_eq!(cpu.schedule(), hog);
    cpu.serve(95 * MS - 1);
    assert_eq!(cpu.rq.curr(), hog);
    cpu.serve(1);
    assert_eq!(cpu.rq.curr(), fair);
    assert!(cpu.rq.special().contains(Special::RT_THROTTLED));
    assert_eq!(cpu.rt_order(), [hog], "it stays where it is");
    cpu.serve(5 * MS);
    assert_eq!(cpu.rq.curr(), hog);
    assert!(cpu.rq.special().is_empty());
}

#[test]
fn held_back_with_nobody_else_the_cpu_idles() {
    let mut cpu = limited(95, 100);
    let hog = cpu.fifo(50);
    cpu.schedule();
    cpu.serve(95 * MS);
    assert_eq!(cpu.rq.curr(), cpu.rq.idle());
    cpu.serve(5 * MS);
    assert_eq!(cpu.rq.curr(), hog);
}

#[test]
fn a_wake_up_while_they_are_held_back_runs_nobody() {
    let mut cpu = limited(95, 100);
    let sleeper = cpu.fifo(90);
    cpu.schedule();
    cpu.sleep();
    let _hog = cpu.fifo(50);
    let fair = cpu.normal(0);
    cpu.schedule();
    cpu.serve(96 * MS);
    let _ = cpu.wake(sleeper);
    assert_eq!(cpu.schedule(), fair);
}

#[test]
fn only_what_is_not_fair_is_charged() {
    let mut cpu = limited(50, 100);
    let fair = cpu.normal(0);
    let rt = cpu.fifo(1);
    cpu.schedule();
    for _ in 0..9 {
        // 5 ms each: 45 of 50 ms in 90.
        cpu.serve(5 * MS);
        assert_eq!(cpu.rq.curr(), rt);
        assert_eq!(cpu.sleep(), fair);
        cpu.serve(5 * MS);
        let _ = cpu.wake(rt);
        assert_eq!(cpu.schedule(), rt);
    }
    assert_eq!(cpu.rq.rt_bandwidth().used_ns(), 45 * MS);
    cpu.serve(5 * MS);
    assert!(cpu.rq.special().contains(Special::RT_THROTTLED), "at 50 ms to the nanosecond");
}

#[test]
fn what_was_taken_too_much_is_missing_from_the_next_period() {
    let mut cpu = limited(50, 100);
    let hog = cpu.fifo(1);
    cpu.schedule();
    // Nobody looks for 80 ms.
    cpu.pass(80 * MS);
    assert_eq!(cpu.rq.event(), Resched::Yes);
    cpu.schedule();
    cpu.serve(20 * MS);
    assert_eq!((cpu.rq.curr(), cpu.rq.rt_bandwidth().used_ns()), (hog, 30 * MS));
    cpu.serve(20 * MS);
    assert_eq!(cpu.rq.curr(), cpu.rq.idle());
}

#[test]
fn without_real_time_tasks_there_is_no_timer_and_the_next_one_starts_it() {
    let mut cpu = limited(95, 100);
    assert_eq!(cpu.rq.next_event_ns(), u64::MAX);
    let rt = cpu.fifo(1);
    let _fair = cpu.normal(0);
    assert!(cpu.rq.special().contains(Special::RT_PERIOD_OFF));
    assert_eq!(cpu.schedule(), rt);
    assert!(cpu.rq.special().is_empty());
    cpu.serve(MS);
    cpu.sleep();
    assert_eq!(cpu.serve(500 * MS), 1, "interrupts until it is left alone");
    assert_eq!(cpu.rq.next_event_ns(), u64::MAX);
    assert_eq!(cpu.rq.special(), Special::RT_PERIOD_OFF);
    let _ = cpu.wake(rt);
    cpu.schedule();
    // The periods have gone on meanwhile, and their budgets are not saved up.
    assert_eq!(cpu.rq.next_event_ns(), cpu.now + 95 * MS);
}

#[test]
fn what_was_used_before_the_timer_stopped_counts_when_it_starts_again() {
    let mut cpu = limited(50, 100);
    let rt = cpu.fifo(1);
    let fair = cpu.normal(0);
    cpu.schedule();
    cpu.serve(30 * MS);
    cpu.sleep();
    // It is looked for at 50 ms, when it could have been used up, and is not there.
    cpu.serve(30 * MS);
    assert_eq!(cpu.rq.special(), Special::RT_PERIOD_OFF);
    let _ = cpu.wake(rt);
    assert_eq!(cpu.schedule(), rt);
    cpu.serve(20 * MS);
    assert_eq!(cpu.rq.curr(), fair, "30 and 20 ms are 50");
}

#[test]
fn the_timer_comes_twice_a_period_and_a_few_times_more_near_the_end_of_the_budget() {
    let mut cpu = limited(95, 100);
    let rt = cpu.fifo(1);
    let _fair = cpu.normal(0);
    cpu.schedule();
    let mut interrupts = 0;
    for _ in 0..100 {
        interrupts += cpu.serve(5 * MS);
        cpu.sleep();
        interrupts += cpu.serve(5 * MS);
        let _ = cpu.wake(rt);
        cpu.schedule();
    }
    assert!(interrupts <= 2 * 10 + 1, "{interrupts} interrupts in ten periods of half load");
}

#[test]
fn deadline_tasks_count_and_are_not_held_back() {
    let mut cpu = limited(50, 100);
    let d = cpu.task(SchedAttr::NORMAL);
    let _ = cpu.set_scheduler(d, SchedAttr::deadline(40 * MS, 100 * MS, 0).unwrap());
    let _ = cpu.rq.wake_up_new_task(d);
    let rt = cpu.fifo(1);
    let fair = cpu.normal(0);
    // The period begins with the first real-time task that runs.
    cpu.schedule();
    assert_eq!(cpu.rq.curr(), d);
    cpu.serve(40 * MS);
    assert_eq!(cpu.rq.curr(), rt);
    assert!(!cpu.rq.special().contains(Special::RT_PERIOD_OFF));
    cpu.serve(50 * MS);
    assert_eq!(cpu.rq.curr(), fair, "its 50 ms are used");
    // Throttled: the deadline task's next budget comes all the same.
    cpu.serve(10 * MS + 1);
    assert_eq!(cpu.rq.curr(), d);
}

#[test]
fn a_limit_below_what_is_reserved_is_refused() {
    let mut cpu = limited(95, 100);
    let d = cpu.task(SchedAttr::NORMAL);
    let _ = cpu.set_scheduler(d, SchedAttr::deadline(60 * MS, 100 * MS, 0).unwrap());
    assert!(cpu.rq.set_rt_bandwidth(50 * MS, 100 * MS).is_err());
    assert_eq!(cpu.rq.rt_bandwidth().limits(), (95 * MS, 100 * MS));
    assert!(cpu.rq.set_rt_bandwidth(0, 100 * MS).is_ok());
    assert!(cpu.rq.special().is_empty());
}

#[test]
fn turning_it_off_lets_them_go() {
    let mut cpu = limited(95, 100);
    let hog = cpu.fifo(50);
    cpu.normal(0);
    cpu.schedule();
    cpu.serve(95 * MS);
    assert_eq!(cpu.rq.set_rt_bandwidth(0, 100 * MS), Ok(Resched::Yes));
    assert_eq!(cpu.schedule(), hog);
    assert_eq!(cpu.serve(1000 * MS), 0);
    assert_eq!(cpu.rq.curr(), hog);
}

#[test]
fn a_running_task_that_changes_class_is_charged_for_what_it_was() {
    let mut cpu = limited(50, 100);
    let p = cpu.fifo(1);
    cpu.schedule();
    cpu.serve(20 * MS);
    let _ = cpu.set_scheduler(p, SchedAttr::NORMAL);
    cpu.schedule();
    cpu.serve(20 * MS);
    let _ = cpu.set_scheduler(p, SchedAttr::fifo(1).unwrap());
    cpu.schedule();
    cpu.serve(10 * MS);
    cpu.sleep();
    assert_eq!(cpu.rq.rt_bandwidth().used_ns(), 30 * MS);
}
