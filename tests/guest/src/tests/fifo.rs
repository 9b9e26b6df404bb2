//! SCHED_FIFO: the head and tail rules of a priority's list.

use crate::framework::Failure;
use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::tests::{HIGH, LOW, MIDDLE};
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use stint::locking::Semaphore;
use stint::sched::prio::{Policy, SchedAttr};
use stint::task::{self, TaskRef};

fn fifo(priority: i32) -> SchedAttr {
    SchedAttr::fifo(priority as u32).expect("a priority")
}

fn rr(priority: i32) -> SchedAttr {
    SchedAttr::rr(priority as u32).expect("a priority")
}

/// Tasks that are ready to run, in this order, each of which marks its letter and ends. The test's own task is above
/// them until [`Ready::run`].
struct Ready {
    tasks: Vec<(char, TaskRef)>,
    log: &'static Events,
}

impl Ready {
    fn new(log: &'static Events, letters: &[(char, SchedAttr)]) -> Result<Self, Failure> {
        task::current_ref().set_scheduler(fifo(HIGH))?;
        let mut tasks = Vec::new();
        for &(letter, attr) in letters {
            let handle = task::build("ready").attr(attr).spawn(move || log.mark(letter))?;
            tasks.push((letter, handle.task().clone()));
        }
        Ok(Self { tasks, log })
    }

    fn set(&self, letter: char, attr: SchedAttr) -> Result<(), Failure> {
        let (_, task) = self.tasks.iter().find(|(name, _)| *name == letter).expect("one of the tasks");
        Ok(task.set_scheduler(attr)?)
    }

    /// Lets them run and returns the order in which they did.
    fn run(self) -> alloc::string::String {
        for (_, task) in &self.tasks {
            task.wait_exited();
        }
        self.log.text()
    }
}

ktest! {
    fn equals_run_in_the_order_in_which_they_became_ready() {
        static LOG: Events = Events::new();
        let ready = Ready::new(&LOG, &[('a', fifo(LOW)), ('b', fifo(LOW)), ('c', fifo(LOW))])?;
        check_eq!(ready.run(), "abc");
    }
}

ktest! {
    only_in(models::PREEMPTED_SPINNING, models::AT_ONCE_AND_MAKES_TASKS_IN_ATOMIC),
    fn a_preempted_task_stays_at_the_head() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = task::build("high").fifo(HIGH).spawn(|| {
            GATE.take();
            LOG.mark('H');
        })?;
        let guard = stint::preempt::preempt_disable();
        let first = task::build("first").fifo(LOW).spawn(|| {
            LOG.mark('a');
            let _ = GATE.give();
            LOG.mark('A');
        });
        let second = task::build("second").fifo(LOW).spawn(|| LOG.mark('b'));
        drop(guard);
        first?.join();
        second?.join();
        high.join();
        check_eq!(LOG.text(), "aHAb");
    }
}

ktest! {
    only_in(models::SPINNING, models::MAKES_TASKS_IN_ATOMIC),
    fn a_yielding_task_goes_to_the_tail() {
        static LOG: Events = Events::new();
        let guard = stint::preempt::preempt_disable();
        let tasks = ['a', 'b', 'c'].map(|letter| {
            task::build("equal").fifo(LOW).spawn(move || {
                LOG.mark(letter);
                task::yield_now();
                LOG.mark(letter.to_ascii_uppercase());
            })
        });
        drop(guard);
        for task in tasks {
            task?.join();
        }
        check_eq!(LOG.text(), "abcABC");
    }
}

ktest! {
    only_in(models::SPINNING, models::MAKES_TASKS_IN_ATOMIC),
    fn a_yield_alone_on_its_level_returns_at_once() {
        static LOG: Events = Events::new();
        let guard = stint::preempt::preempt_disable();
        let lower = task::build("lower").fifo(LOW).spawn(|| LOG.mark('l'));
        let alone = task::build("alone").fifo(MIDDLE).spawn(|| {
            let before = task::current_ref().info().switches;
            (0..10).for_each(|_| task::yield_now());
            let after = task::current_ref().info().switches;
            LOG.mark('a');
            (before, after)
        });
        drop(guard);
        let switches = alone?.join();
        lower?.join();
        check_eq!(LOG.text(), "al");
        check!(switches.is_some_and(|(before, after)| before == after), "a yield with nobody to yield to switched: {switches:?}");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_woken_task_goes_to_the_tail() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let waiter = task::build("waiter").fifo(LOW).spawn(|| {
            GATE.take();
            LOG.mark('w');
        })?;
        let ready = Ready::new(&LOG, &[('a', fifo(LOW)), ('b', fifo(LOW))])?;
        GATE.give()?;
        waiter.join();
        check_eq!(ready.run(), "abw");
    }
}

ktest! {
    fn a_raised_task_goes_to_the_tail_of_its_new_level() {
        static LOG: Events = Events::new();
        let ready = Ready::new(&LOG, &[('a', fifo(LOW)), ('b', fifo(LOW)), ('x', fifo(LOW + 1)), ('y', fifo(LOW + 1))])?;
        ready.set('b', fifo(LOW + 1))?;
        check_eq!(ready.run(), "xyba");
    }
}

ktest! {
    fn a_lowered_task_goes_to_the_head_of_its_new_level() {
        static LOG: Events = Events::new();
        let ready = Ready::new(&LOG, &[('a', fifo(LOW)), ('b', fifo(LOW)), ('x', fifo(LOW + 1)), ('y', fifo(LOW + 1))])?;
        ready.set('y', fifo(LOW))?;
        check_eq!(ready.run(), "xyab");
    }
}

ktest! {
    fn setting_the_same_priority_again_moves_nothing() {
        static LOG: Events = Events::new();
        let ready = Ready::new(&LOG, &[('a', fifo(LOW)), ('b', fifo(LOW)), ('c', fifo(LOW))])?;
        ready.set('a', fifo(LOW))?;
        ready.set('b', fifo(LOW))?;
        check_eq!(ready.run(), "abc");
    }
}

ktest! {
    fn changing_between_fifo_and_round_robin_keeps_the_place() {
        static LOG: Events = Events::new();
        let ready = Ready::new(&LOG, &[('a', fifo(LOW)), ('b', rr(LOW)), ('c', fifo(LOW))])?;
        ready.set('a', rr(LOW))?;
        ready.set('b', fifo(LOW))?;
        check_eq!(ready.run(), "abc");
    }
}

ktest! {
    fn a_task_made_fair_runs_behind_all_real_time_ones_and_comes_back_at_the_tail() {
        static LOG: Events = Events::new();
        let ready = Ready::new(&LOG, &[('a', fifo(LOW)), ('b', fifo(LOW)), ('c', fifo(LOW)), ('d', fifo(1))])?;
        ready.set('a', SchedAttr::NORMAL)?;
        ready.set('b', SchedAttr::new(Policy::Batch, 0, 5).expect("a policy"))?;
        ready.set('b', fifo(LOW))?;
        check_eq!(ready.run(), "cbda");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_running_task_that_lowers_itself_below_another_is_preempted_at_once() {
        static LOG: Events = Events::new();
        let ready = Ready::new(&LOG, &[('a', fifo(LOW)), ('b', fifo(MIDDLE))])?;
        task::current_ref().set_scheduler(fifo(LOW + 1))?;
        LOG.mark('m');
        check_eq!(ready.run(), "bma");
    }
}

ktest! {
    fn a_running_task_that_lowers_itself_to_the_level_of_another_goes_on() {
        static LOG: Events = Events::new();
        let ready = Ready::new(&LOG, &[('a', fifo(LOW)), ('b', fifo(LOW))])?;
        task::current_ref().set_scheduler(fifo(LOW))?;
        LOG.mark('m');
        check_eq!(ready.run(), "mab");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_ready_task_raised_above_the_running_one_preempts_at_once() {
        static LOG: Events = Events::new();
        let ready = Ready::new(&LOG, &[('a', fifo(LOW)), ('b', fifo(LOW))])?;
        ready.set('b', fifo(HIGH))?;
        LOG.mark('e');
        ready.set('b', fifo(HIGH + 1))?;
        LOG.mark('m');
        check_eq!(ready.run(), "ebma");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_sleeping_task_wakes_with_the_priority_it_was_given_meanwhile() {
        static LOG: Events = Events::new();
        static GATES: [Semaphore; 2] = [const { Semaphore::new(0) }; 2];
        let first = task::build("first").fifo(LOW).spawn(|| {
            GATES[0].take();
            LOG.mark('1');
        })?;
        let second = task::build("second").spawn(|| {
            GATES[1].take();
            LOG.mark('2');
        })?;
        task::sleep_ms(20);
        // One falls into the fair class in its sleep, the other rises out of it.
        first.task().set_scheduler(SchedAttr::normal(5).expect("a nice level"))?;
        second.task().set_scheduler(fifo(LOW))?;
        GATES[0].give()?;
        LOG.mark('m');
        GATES[1].give()?;
        LOG.mark('n');
        first.join();
        second.join();
        check_eq!(LOG.text(), "m2n1");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_task_not_yet_started_can_be_given_another_class() {
        static LOG: Events = Events::new();
        fn mark_fair(_: usize) {
            LOG.mark('a');
        }
        fn mark_rt(_: usize) {
            LOG.mark('b');
        }
        // One falls into the fair class before it has ever run, the other rises out of it.
        let sinks = task::build("sinks").fifo(LOW).create(mark_fair, 0)?;
        let rises = task::build("rises").create(mark_rt, 0)?;
        sinks.set_scheduler(SchedAttr::normal(3).expect("a nice level"))?;
        rises.set_scheduler(rr(LOW))?;
        sinks.start();
        LOG.mark('m');
        rises.start();
        LOG.mark('n');
        check_eq!((sinks.info().prio, sinks.scheduler().policy()), (123, Policy::Normal));
        // A full slice, not what a fair task has.
        check_eq!(rises.rr_interval(), stint::sched::Interval::Ticks(stint::time::tick::hz() / 10));
        sinks.wait_exited();
        rises.wait_exited();
        check_eq!(LOG.text(), "mbna");
    }
}
