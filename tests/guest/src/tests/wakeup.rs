//! P4, across classes: who displaces whom when a task becomes runnable, and at fork.

use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::tests::{HIGH, LOW, MIDDLE};
use crate::{check_eq, ktest};
use stint::locking::Semaphore;
use stint::sched::prio::{Policy, SchedAttr};
use stint::task::{self, Builder};
use stint::time::Timer;

/// Lets a task made from `builder` wait, and a task made from `waker` wake it; "wW…" if the woken one ran at once,
/// "wgW" if the waker went on first.
fn order(
    log: &'static Events,
    gate: &'static Semaphore,
    sleeper: Builder,
    waker: Builder,
) -> Result<alloc::string::String, crate::framework::Failure> {
    let _tick = TickOff::new();
    let sleeper = sleeper.spawn(move || {
        gate.take();
        log.mark('W');
    })?;
    // Everybody has come to rest when this task goes on.
    task::sleep_ms(1);
    let waker = waker.spawn(move || {
        log.mark('w');
        let _ = gate.give();
        log.mark('g');
    })?;
    sleeper.join();
    waker.join();
    Ok(log.text())
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_real_time_task_displaces_a_fair_one() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, task::build("rt").fifo(LOW), task::build("fair").nice(-20))?, "wWg");
    }
}

ktest! {
    fn a_fair_task_never_displaces_a_real_time_one() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, task::build("fair").nice(-20), task::build("rt").fifo(1))?, "wgW");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_higher_priority_displaces_a_lower_one() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, task::build("high").fifo(LOW + 1), task::build("low").fifo(LOW))?, "wWg");
    }
}

ktest! {
    fn an_equal_priority_displaces_nobody() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, task::build("one").fifo(LOW), task::build("other").fifo(LOW))?, "wgW");
    }
}

ktest! {
    fn round_robin_and_fifo_of_one_priority_are_equals() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, task::build("fifo").fifo(LOW), task::build("rr").rr(LOW))?, "wgW");
    }
}

ktest! {
    fn a_lower_priority_displaces_nobody() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, task::build("low").fifo(LOW), task::build("high").fifo(MIDDLE))?, "wgW");
    }
}

ktest! {
    fn any_task_displaces_the_idle_task() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let attr = SchedAttr::new(Policy::Idle, 0, 0).expect("a policy");
        let least = task::build("least").attr(attr).spawn(|| {
            GATE.take();
            LOG.mark('W');
        })?;
        let _tick = TickOff::new();
        task::sleep_ms(1);
        let timer = Timer::new_hard(|| {
            LOG.mark('t');
            let _ = GATE.give();
        });
        timer.start_once(100_000);
        // The CPU is idle until the timer.
        task::sleep_ms(1);
        LOG.mark('m');
        least.join();
        check_eq!(LOG.text(), "tWm");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_new_task_of_a_higher_class_runs_before_spawn_returns() {
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let parent = task::build("parent").spawn(|| {
            let child = task::build("child").fifo(1).spawn(|| LOG.mark('c'));
            LOG.mark('p');
            child.map(|child| child.join().is_some())
        })?;
        check_eq!(parent.join(), Some(Ok(true)), "the child");
        check_eq!(LOG.text(), "cp");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_new_task_of_an_equal_or_lower_priority_waits() {
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let parent = task::build("parent").fifo(MIDDLE).spawn(|| {
            let equal = task::build("equal").fifo(MIDDLE).spawn(|| LOG.mark('e'));
            let lower = task::build("lower").fifo(LOW).spawn(|| LOG.mark('l'));
            let higher = task::build("higher").fifo(HIGH).spawn(|| LOG.mark('h'));
            LOG.mark('p');
            [equal, lower, higher]
        })?;
        for child in parent.join().into_iter().flatten() {
            child?.join();
        }
        check_eq!(LOG.text(), "hpel");
    }
}

ktest! {
    /// It starts a turn in debt, behind the one that made it.
    fn a_new_fair_task_does_not_displace_its_fair_parent() {
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let parent = task::build("parent").spawn(|| {
            let child = task::build("child").spawn(|| LOG.mark('c'));
            LOG.mark('p');
            child
        })?;
        if let Some(child) = parent.join() {
            child?.join();
        }
        check_eq!(LOG.text(), "pc");
    }
}
