//! Deadline class: the rules for one task and for a CPU's tasks, and admission.

use super::Cpu;
use crate::sched::deadline::{BW_UNIT, DlParams, to_ratio};
use crate::sched::deadline_admit::DlRefused;
use crate::sched::prio::PrioError;
use crate::sched::{Class, DequeueFlags, EnqueueFlags, Policy, Resched, SchedAttr, SchedRef, WakeFlags};

const MS: u64 = 1_000_000;

fn dl(runtime_ms: u64, deadline_ms: u64, period_ms: u64) -> SchedAttr {
    SchedAttr::deadline(runtime_ms * MS, deadline_ms * MS, period_ms * MS).unwrap()
}

impl Cpu {
    /// A new task that has reserved this, woken.
    fn deadline(&mut self, attr: SchedAttr) -> SchedRef {
        let p = self.task(SchedAttr::NORMAL);
        let _ = self.set_scheduler(p, attr);
        let _ = self.rq.wake_up_new_task(p);
        p
    }

    /// Lets time pass as the core does: the timer is served when it is due, then the pick if one is wanted.
    fn run_for(&mut self, ns: u64) {
        let until = self.now + ns;
        while self.rq.next_event_ns() <= until {
            self.now = self.rq.next_event_ns().max(self.now);
            self.rq.update_clock(self.now);
            if self.rq.event().is_yes() {
                self.schedule();
            }
        }
        self.now = until;
        self.rq.update_clock(until);
    }
}

#[test]
fn bandwidths_are_those_of_the_reference() {
    assert_eq!(to_ratio(1_000_000, 950_000), 996_147);
    assert_eq!(to_ratio(100 * MS, 10 * MS), 104_857);
    assert_eq!(to_ratio(10, 3), 314_572);
    assert_eq!(to_ratio(0, 3), 0);
    assert_eq!((dl(3, 5, 10).dl().bw(), dl(3, 5, 10).dl().density()), (314_572, to_ratio(5, 3)));
}

#[test]
fn times_are_checked_and_the_error_names_them() {
    let attr = |runtime, deadline, period| SchedAttr::deadline(runtime, deadline, period);
    assert_eq!(attr(1023, MS, MS), Err(PrioError::DlRuntime(1023)));
    assert!(attr(1024, MS, MS).is_ok());
    assert_eq!(attr(MS + 1, MS, MS), Err(PrioError::DlDeadline { runtime_ns: MS + 1, deadline_ns: MS }));
    assert_eq!(
        attr(MS, 3 * MS, 2 * MS),
        Err(PrioError::DlDeadlineBehindPeriod { deadline_ns: 3 * MS, period_ns: 2 * MS })
    );
    assert_eq!(attr(2000, 99_999, 0), Err(PrioError::DlPeriod(99_999)));
    assert!(attr(2000, 100_000, 0).is_ok());
    let longest = (1 << 22) * 1000;
    assert!(attr(2000, longest, longest).is_ok());
    assert_eq!(attr(2000, 2000, longest + 1), Err(PrioError::DlPeriod(longest + 1)));
    // No period: one as long as the deadline.
    assert_eq!(attr(MS, 5 * MS, 0).unwrap().dl().period_ns(), 5 * MS);
    let text = std::format!("{}", attr(MS + 1, MS, MS).unwrap_err());
    assert!(text.contains("1000001") && text.contains("1000000 ns"), "{text}");
    assert_eq!(SchedAttr::new(Policy::Deadline, 0, 0), Err(PrioError::DeadlineWithoutTimes));
}

#[test]
fn every_priority_has_its_class_and_only_0_to_99_is_real_time() {
    assert_eq!([-1, 0, 99, 100, 139, 140].map(Class::of_prio), {
        use Class::{Deadline, Fair, Idle, Rt};
        [Deadline, Rt, Rt, Fair, Fair, Idle]
    });
    let mut cpu = Cpu::new();
    let p = cpu.deadline(dl(1, 10, 10));
    assert!(p.is_deadline() && !p.is_rt() && !p.is_fair());
    assert_eq!((p.prio(), p.normal_prio(), p.policy()), (-1, -1, Policy::Deadline));
    assert_eq!(p.attr(), dl(1, 10, 10));
}

#[test]
fn the_first_activation_begins_a_period() {
    let mut cpu = Cpu::new();
    let p = cpu.deadline(dl(2, 8, 10));
    assert_eq!((p.dl().deadline_ns(), p.dl().runtime_ns()), (cpu.now + 8 * MS, 2 * MS as i64));
}

#[test]
fn the_earliest_deadline_runs_and_equals_in_order_of_arrival() {
    let mut cpu = Cpu::new();
    let b = cpu.deadline(dl(1, 20, 20));
    assert_eq!(cpu.schedule(), b);
    let c = cpu.deadline(dl(1, 20, 20));
    assert_eq!(cpu.rq.check_preempt_curr(c, WakeFlags::empty()), Resched::No, "equal is not earlier");
    let a = cpu.deadline(dl(1, 10, 10));
    assert_eq!(cpu.rq.check_preempt_curr(a, WakeFlags::empty()), Resched::Yes);
    assert_eq!(cpu.rq.dl().iter().collect::<std::vec::Vec<_>>(), [a, b, c]);
    assert_eq!(cpu.schedule(), a);
    assert_eq!(cpu.sleep(), b);
    assert_eq!(cpu.sleep(), c);
    assert_eq!(cpu.sleep(), cpu.rq.idle());
    cpu.check();
}

#[test]
fn a_deadline_task_displaces_every_other_class_and_none_displaces_it() {
    let mut cpu = Cpu::new();
    let fifo = cpu.fifo(99);
    cpu.schedule();
    let d = cpu.deadline(dl(1, 10, 10));
    assert_eq!(cpu.rq.check_preempt_curr(d, WakeFlags::empty()), Resched::Yes);
    assert_eq!(cpu.schedule(), d);
    let (high, fair) = (cpu.fifo(99), cpu.normal(-20));
    for p in [fifo, high, fair] {
        assert_eq!(cpu.rq.check_preempt_curr(p, WakeFlags::empty()), Resched::No, "{p:?}");
    }
    assert_eq!(cpu.schedule(), d);
    // The preempted FIFO task kept the head of its list.
    assert_eq!(cpu.sleep(), fifo);
}

#[test]
fn a_used_up_budget_throttles_until_the_next_period() {
    let mut cpu = Cpu::new();
    let begin = cpu.now;
    let d = cpu.deadline(dl(2, 8, 10));
    let fair = cpu.normal(0);
    cpu.schedule();
    assert_eq!(cpu.rq.next_event_ns(), begin + 2 * MS, "the end of the budget");
    cpu.run_for(2 * MS - 1);
    assert_eq!(cpu.rq.curr(), d);
    cpu.run_for(1);
    assert_eq!(cpu.rq.curr(), fair);
    assert!(d.dl().is_throttled() && d.is_queued());
    assert_eq!((cpu.rq.next_event_ns(), d.dl().overruns()), (begin + 10 * MS, 1));
    cpu.run_for(8 * MS);
    assert_eq!(cpu.rq.curr(), d);
    assert_eq!((d.dl().deadline_ns(), d.dl().runtime_ns()), (begin + 18 * MS, 2 * MS as i64));
    cpu.check();
}

#[test]
fn what_was_taken_too_much_is_missing_from_the_next_budget() {
    let mut cpu = Cpu::new();
    let begin = cpu.now;
    let d = cpu.deadline(dl(2, 10, 10));
    cpu.schedule();
    // Nobody looks for 5 ms: interrupts are masked, say.
    cpu.pass(5 * MS);
    assert_eq!(cpu.rq.event(), Resched::Yes);
    assert_eq!(d.dl().runtime_ns(), -3 * MS as i64);
    cpu.schedule();
    cpu.run_for(5 * MS);
    // One budget does not pay for it: two periods at once.
    assert_eq!((d.dl().runtime_ns(), d.dl().deadline_ns()), (MS as i64, begin + 30 * MS));
}

#[test]
fn a_budget_renewed_far_too_late_begins_anew_and_says_so_once() {
    let mut cpu = Cpu::new();
    let d = cpu.deadline(dl(2, 10, 10));
    cpu.schedule();
    cpu.run_for(2 * MS);
    cpu.pass(35 * MS);
    let _ = cpu.rq.event();
    assert_eq!((d.dl().runtime_ns(), d.dl().deadline_ns()), (2 * MS as i64, cpu.now + 10 * MS));
    assert_eq!(cpu.rq.take_dl_report(), Some(crate::sched::deadline_rq::DlReport::Lagged(d)));
}

#[test]
fn the_first_overrun_of_a_task_is_told_and_all_are_counted() {
    let mut cpu = Cpu::new();
    let d = cpu.deadline(dl(2, 10, 10));
    cpu.schedule();
    cpu.run_for(2 * MS);
    assert_eq!(cpu.rq.take_dl_report(), Some(crate::sched::deadline_rq::DlReport::Overrun(d)));
    cpu.run_for(30 * MS);
    assert_eq!((d.dl().overruns(), cpu.rq.take_dl_report()), (4, None));
}

#[test]
fn a_yield_gives_back_the_rest_and_is_no_overrun() {
    let mut cpu = Cpu::new();
    let begin = cpu.now;
    let d = cpu.deadline(dl(4, 10, 10));
    cpu.schedule();
    cpu.pass(MS);
    cpu.rq.yield_task();
    assert_eq!(cpu.schedule(), cpu.rq.idle());
    assert!(d.dl().is_throttled());
    cpu.run_for(9 * MS - 1);
    assert_eq!(cpu.rq.curr(), cpu.rq.idle());
    cpu.run_for(1);
    assert_eq!(cpu.rq.curr(), d);
    assert_eq!((d.dl().runtime_ns(), d.dl().deadline_ns()), (4 * MS as i64, begin + 20 * MS));
    assert_eq!(d.dl().overruns(), 0);
}

/// Sleeps `ran` into its period for `slept`, wakes, and says what it has left and until when, after waking.
fn slept(attr: SchedAttr, ran: u64, slept: u64) -> (i64, i64, bool) {
    let mut cpu = Cpu::new();
    let d = cpu.deadline(attr);
    cpu.schedule();
    cpu.pass(ran);
    cpu.sleep();
    cpu.run_for(slept);
    let _ = cpu.wake(d);
    cpu.check();
    (d.dl().runtime_ns(), d.dl().deadline_ns() as i64 - cpu.now as i64, d.dl().is_throttled())
}

#[test]
fn a_short_sleep_keeps_budget_and_deadline() {
    // 3 of 4 ms left, 8 of 10 ms to the deadline: 3/8 is below 4/10.
    assert_eq!(slept(dl(4, 10, 10), MS, MS), (3 * MS as i64, 8 * MS as i64, false));
}

#[test]
fn a_budget_too_big_for_the_time_left_is_replaced_with_a_new_deadline() {
    // 3 ms left, 5 to the deadline: more than 4/10.
    assert_eq!(slept(dl(4, 10, 10), MS, 4 * MS), (4 * MS as i64, 10 * MS as i64, false));
}

#[test]
fn who_wakes_after_the_deadline_begins_a_new_period() {
    assert_eq!(slept(dl(4, 10, 10), MS, 50 * MS), (4 * MS as i64, 10 * MS as i64, false));
}

#[test]
fn a_constrained_budget_shrinks_to_what_fits_in_front_of_the_deadline() {
    // 3 of 4 ms left, 2 of 8 ms to the deadline: the deadline stays, and 4/8 of 2 ms may be used.
    assert_eq!(slept(dl(4, 8, 20), MS, 5 * MS), (MS as i64, 2 * MS as i64, false));
}

#[test]
fn a_constrained_task_that_wakes_between_deadline_and_period_waits_for_the_period() {
    let (left, ahead, throttled) = slept(dl(4, 8, 20), MS, 10 * MS);
    assert!(throttled && left <= 0, "{left} ns left");
    assert_eq!(ahead, -3 * MS as i64);
    let mut cpu = Cpu::new();
    let begin = cpu.now;
    let d = cpu.deadline(dl(4, 8, 20));
    cpu.schedule();
    cpu.sleep();
    cpu.run_for(10 * MS);
    assert_eq!(cpu.wake(d), Resched::No);
    cpu.run_for(10 * MS);
    assert_eq!((cpu.rq.curr(), d.dl().deadline_ns()), (d, begin + 28 * MS));
    assert_eq!(d.dl().runtime_ns(), 4 * MS as i64);
}

#[test]
fn a_budget_is_renewed_in_sleep_and_does_not_wake_anybody() {
    let mut cpu = Cpu::new();
    let begin = cpu.now;
    let d = cpu.deadline(dl(2, 10, 10));
    cpu.schedule();
    cpu.pass(3 * MS);
    cpu.sleep();
    assert!(d.dl().is_throttled() && !d.is_queued());
    cpu.run_for(7 * MS);
    assert!(!d.dl().is_throttled() && !d.is_queued());
    assert_eq!((d.dl().runtime_ns(), d.dl().deadline_ns()), (MS as i64, begin + 20 * MS));
    assert_eq!(cpu.rq.next_event_ns(), u64::MAX, "nothing more to come");
}

#[test]
fn admission_lets_in_up_to_the_limit_and_says_what_is_in_the_way() {
    let mut cpu = Cpu::new();
    let _ = cpu.rq.set_rt_bandwidth(950 * MS, 1000 * MS).unwrap();
    let (a, b, c) = (cpu.task(SchedAttr::NORMAL), cpu.task(SchedAttr::NORMAL), cpu.task(SchedAttr::NORMAL));
    let _ = cpu.set_scheduler(a, dl(90, 100, 100));
    let refused = cpu.rq.set_scheduler(b, dl(6, 100, 100)).unwrap_err();
    assert_eq!(refused, DlRefused { asked: 62_914, in_use: 943_718, limit: 996_147 });
    assert_eq!((b.policy(), b.prio()), (Policy::Normal, 120), "after a refusal");
    let text = std::format!("{refused}");
    assert!(text.contains("6.00 %") && text.contains("90.00 %") && text.contains("95.00 %"), "{text}");
    let _ = cpu.set_scheduler(b, dl(5, 100, 100));
    assert!(cpu.rq.set_scheduler(c, dl(1, 1000, 1000)).is_err());
    // Its own share is not in the way of a change.
    let _ = cpu.set_scheduler(a, dl(45, 50, 50));
    let _ = cpu.set_scheduler(a, SchedAttr::NORMAL);
    let _ = cpu.set_scheduler(c, dl(90, 100, 100));
}

#[test]
fn a_share_is_free_when_it_would_have_been_used_up() {
    let mut cpu = Cpu::new();
    let d = cpu.deadline(dl(50, 100, 100));
    cpu.schedule();
    let begin = cpu.now;
    cpu.pass(40 * MS);
    // 10 of 50 ms left: used up at 50 % by the deadline less 20 ms.
    let _ = cpu.set_scheduler(d, SchedAttr::NORMAL);
    let share = dl(50, 100, 100).dl().bw();
    assert_eq!(cpu.rq.dl_bandwidth().in_use(begin + 80 * MS - 1), share);
    assert_eq!(cpu.rq.dl_bandwidth().in_use(begin + 80 * MS), 0);
    // Who has used nothing leaves nothing behind.
    let fresh = cpu.deadline(dl(30, 100, 100));
    let _ = cpu.set_scheduler(fresh, SchedAttr::NORMAL);
    assert_eq!(cpu.rq.dl_bandwidth().in_use(begin + 80 * MS), 0);
}

#[test]
fn leaving_the_class_leaves_both_trees() {
    for throttled in [false, true] {
        let mut cpu = Cpu::new();
        let d = cpu.deadline(dl(2, 10, 10));
        let other = cpu.deadline(dl(1, 30, 30));
        cpu.schedule();
        cpu.run_for(if throttled { 2 * MS } else { MS });
        assert_eq!(d.dl().is_throttled(), throttled);
        let _ = cpu.set_scheduler(d, SchedAttr::NORMAL);
        assert!(d.is_fair() && d.se().is_on_rq());
        assert_eq!(cpu.schedule(), other);
        assert_eq!(cpu.sleep(), d);
        let _ = cpu.set_scheduler(d, SchedAttr::fifo(3).unwrap());
        let _ = cpu.set_scheduler(d, dl(2, 10, 10));
        assert_eq!((d.dl().runtime_ns(), d.dl().deadline_ns()), (2 * MS as i64, cpu.now + 10 * MS));
        cpu.check();
    }
}

#[test]
fn an_inherited_deadline_is_the_donors_and_is_not_held_to_a_budget() {
    let mut cpu = Cpu::new();
    let owner = cpu.normal(0);
    let donor = cpu.deadline(dl(1, 10, 10));
    cpu.schedule();
    cpu.sleep();
    let deadline = donor.dl().deadline_ns();
    assert_eq!(cpu.rq.setprio(owner, -1, Some(donor)), Resched::No, "it runs already");
    assert!(owner.is_deadline() && owner.dl().is_boosted());
    assert_eq!((owner.dl().deadline_ns(), owner.policy()), (deadline, Policy::Normal));
    let _high = cpu.fifo(99);
    cpu.run_for(5 * MS);
    assert_eq!(cpu.rq.curr(), owner);
    assert_eq!(owner.dl().overruns(), 0);
    // The loan ends, and it is what it was.
    assert_eq!(cpu.rq.setprio(owner, 120, None), Resched::Yes);
    assert!(owner.is_fair() && !owner.dl().is_boosted());
    cpu.check();
}

#[test]
fn inheriting_ends_a_throttling() {
    let mut cpu = Cpu::new();
    let owner = cpu.deadline(dl(2, 50, 50));
    cpu.schedule();
    cpu.run_for(2 * MS);
    assert!(owner.dl().is_throttled());
    let donor = cpu.deadline(dl(1, 10, 10));
    cpu.schedule();
    cpu.sleep();
    assert_eq!(cpu.rq.setprio(owner, -1, Some(donor)), Resched::Yes);
    assert_eq!(cpu.schedule(), owner);
    assert_eq!(owner.dl().deadline_ns(), donor.dl().deadline_ns());
    cpu.check();
    let _ = cpu.rq.setprio(owner, -1, None);
    assert!(!owner.dl().is_boosted());
    cpu.check();
}

#[test]
fn params_none_reserves_nothing() {
    assert_eq!((DlParams::NONE.bw(), DlParams::NONE.density(), BW_UNIT), (0, 0, 1 << 20));
}

#[test]
fn dequeued_while_throttled_it_is_out_of_the_way() {
    let mut cpu = Cpu::new();
    let d = cpu.deadline(dl(2, 10, 10));
    cpu.schedule();
    cpu.run_for(2 * MS);
    cpu.rq.dequeue_task(d, DequeueFlags::SLEEP);
    cpu.run_for(20 * MS);
    assert_eq!(cpu.rq.curr(), cpu.rq.idle());
    cpu.rq.enqueue_task(d, EnqueueFlags::WAKEUP);
    assert_eq!(cpu.schedule(), d);
}
