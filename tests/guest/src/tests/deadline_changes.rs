//! Becoming a deadline task and ceasing to be one, in every state; and inheriting from one.

use crate::framework::Failure;
use crate::framework::burn::burn_ns;
use crate::framework::clock::{is_exact, spin_ns};
use crate::framework::events::Events;
use crate::tests::deadline::MS;
use crate::tests::{HIGH, LOW};
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use stint::locking::{Mutex, Semaphore};
use stint::sched::prio::{Policy, SchedAttr};
use stint::task;
use stint::{Error, sched};

fn dl(runtime_ns: u64, period_ns: u64) -> SchedAttr {
    SchedAttr::deadline(runtime_ns, period_ns, period_ns).expect("times that go together")
}

fn fifo(priority: i32) -> SchedAttr {
    SchedAttr::fifo(priority as u32).expect("a priority")
}

fn nothing_is_reserved() -> crate::framework::Outcome {
    task::sleep_ms(200);
    let in_use = sched::core::with_rq(|rq| rq.dl_bandwidth().in_use(stint::time::now_ns()));
    check_eq!(in_use, 0, "what is still reserved");
    Ok(())
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_running_task_can_become_a_deadline_task_and_go_back() {
        static LOG: Events = Events::new();
        let me = task::current_ref();
        me.set_scheduler(dl(10 * MS, 50 * MS))?;
        check_eq!(me.scheduler(), dl(10 * MS, 50 * MS));
        // Nobody of the real-time class gets in between.
        let high = task::build("high").fifo(99).spawn(|| LOG.mark('h'))?;
        LOG.mark('d');
        me.set_scheduler(fifo(LOW))?;
        LOG.mark('f');
        high.join();
        check_eq!(LOG.text(), "dhf");
        check_eq!(me.info().prio, 99 - LOW, "the priority afterwards");
        nothing_is_reserved()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_ready_task_that_becomes_a_deadline_task_preempts_at_once() {
        static LOG: Events = Events::new();
        task::current_ref().set_scheduler(fifo(HIGH))?;
        let ready = task::build("ready").fifo(LOW).spawn(|| LOG.mark('r'))?;
        LOG.mark('m');
        ready.task().set_scheduler(dl(MS, 10 * MS))?;
        LOG.mark('n');
        ready.join();
        check_eq!(LOG.text(), "mrn");
        nothing_is_reserved()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_sleeping_task_wakes_under_the_class_it_was_given_meanwhile() {
        static LOG: Events = Events::new();
        static GATES: [Semaphore; 2] = [const { Semaphore::new(0) }; 2];
        let into = task::build("into").spawn(|| {
            GATES[0].take();
            LOG.mark('i');
        })?;
        let out = task::build("out").deadline(MS, 10 * MS, 0).spawn(|| {
            GATES[1].take();
            LOG.mark('o');
        })?;
        task::sleep_ms(5);
        into.task().set_scheduler(dl(2 * MS, 10 * MS))?;
        out.task().set_scheduler(SchedAttr::NORMAL)?;
        GATES[0].give()?;
        LOG.mark('m');
        GATES[1].give()?;
        LOG.mark('n');
        into.join();
        out.join();
        check_eq!(LOG.text(), "imno");
        nothing_is_reserved()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_throttled_task_that_leaves_the_class_runs_on() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let greedy = task::build("greedy").deadline(MS, 500 * MS, 0).spawn(|| while !STOP.load(Relaxed) {
            spin_ns(10_000);
        })?;
        let info = greedy.task().deadline_info().expect("a deadline task");
        check!(info.throttled, "it has had {info:?}, and this task runs");
        STOP.store(true, Relaxed);
        let begin_ns = stint::time::now_ns();
        greedy.task().set_scheduler(SchedAttr::NORMAL)?;
        greedy.join();
        let took_ns = stint::time::now_ns() - begin_ns;
        check!(took_ns < 400 * MS, "it ran on after {took_ns} ns, which is when its next period begins");
        task::sleep_ms(500);
        nothing_is_reserved()?;
    }
}

ktest! {
    fn other_parameters_are_admitted_in_the_place_of_the_old_ones() {
        let me = task::current_ref();
        me.set_scheduler(dl(9 * MS, 10 * MS))?;
        check_eq!(me.set_scheduler(dl(96 * MS, 100 * MS)), Err(Error::NoBandwidth { asked: 9600, in_use: 0, limit: 9500 }));
        check_eq!(me.scheduler(), dl(9 * MS, 10 * MS), "after a refusal");
        me.set_scheduler(dl(95 * MS, 100 * MS))?;
        me.set_scheduler(fifo(1))?;
        nothing_is_reserved()?;
    }
}

ktest! {
    fn a_deadline_task_that_is_never_started_reserves_nothing_any_more() {
        fn never(_: usize) {}
        let task = task::build("never").deadline(9 * MS, 10 * MS, 0).create(never, 0)?;
        check_eq!(task.scheduler(), dl(9 * MS, 10 * MS));
        drop(task);
        let second = task::build("second").deadline(9 * MS, 10 * MS, 0).create(never, 0)?;
        second.start();
        second.wait_exited();
        drop(second);
        nothing_is_reserved()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_fair_task_that_holds_a_mutex_runs_with_the_deadline_of_who_waits_for_it() {
        static LOCK: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        static HELD: Semaphore = Semaphore::new(0);
        static GO: Semaphore = Semaphore::new(0);
        let owner = task::build("owner").spawn(|| {
            let guard = LOCK.lock();
            let _ = HELD.give();
            GO.take();
            LOG.mark('o');
            let prio = task::current_ref().info().prio;
            drop(guard);
            (prio, task::current_ref().info().prio)
        })?;
        HELD.take();
        task::current_ref().set_scheduler(fifo(HIGH))?;
        // It waits: from now on the owner has its deadline.
        let waiter = task::build("waiter").deadline(MS, 10 * MS, 0).spawn(|| {
            let _guard = LOCK.lock();
            LOG.mark('w');
        })?;
        check_eq!(owner.task().info().prio, -1, "the owner's priority while a deadline task waits");
        LOG.mark('m');
        // Above this task, which is real-time.
        GO.give()?;
        LOG.mark('n');
        check_eq!(owner.join(), Some((-1, 120)), "the owner's priorities before and after its release");
        waiter.join();
        check_eq!(LOG.text(), "mown");
        nothing_is_reserved()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn an_owner_is_not_held_to_a_budget_while_a_deadline_task_waits() {
        if !is_exact() {
            return Err(Failure::Ignored("it needs a machine with virtual time"));
        }
        static LOCK: Mutex<()> = Mutex::new(());
        static HELD: Semaphore = Semaphore::new(0);
        let owner = task::build("owner").spawn(|| {
            let guard = LOCK.lock();
            let _ = HELD.give();
            // Far more than its waiter's runtime, and no real-time task gets in between.
            burn_ns(20 * MS);
            drop(guard);
        })?;
        HELD.take();
        let begin_ns = stint::time::now_ns();
        let waiter = task::build("waiter").deadline(MS, 10 * MS, 0).spawn(move || {
            drop(LOCK.lock());
            stint::time::now_ns() - begin_ns
        })?;
        let hog = task::build("hog").fifo(HIGH).spawn(|| burn_ns(50 * MS))?;
        let waited_ns = waiter.join().expect("it returns");
        check!(waited_ns < 22 * MS, "the deadline task waited {waited_ns} ns for a section of 20 ms");
        hog.join();
        owner.join();
        nothing_is_reserved()?;
    }
}

ktest! {
    fn the_scheduler_calls_tell_and_check_what_was_set() {
        let me = task::current_ref();
        me.set_scheduler(SchedAttr::rr(7).expect("a priority"))?;
        check_eq!(me.scheduler().policy(), Policy::Rr);
        me.set_param(9)?;
        check_eq!(me.scheduler(), SchedAttr::rr(9).expect("a priority"));
        check_eq!(me.set_param(0), Err(Error::BadPriority { priority: 0 }));
        check_eq!(me.set_param(-3), Err(Error::BadPriority { priority: -3 }));
        check_eq!(me.rr_interval(), sched::Interval::Ticks(stint::time::tick::hz() / 10));
        me.set_nice(5)?;
        check_eq!(me.info().prio, 90, "a nice value does not count under a real-time policy");
        check_eq!(me.set_nice(20), Err(Error::BadNice { nice: 20 }));
        me.set_scheduler(fifo(1))?;
        check_eq!(me.rr_interval(), sched::Interval::Unlimited);
        let fair = task::build("fair").spawn(|| {
            let me = task::current_ref();
            let _ = me.set_nice(5);
            (me.info().prio, me.set_param(3))
        })?;
        check_eq!(fair.join(), Some((125, Err(Error::BadPriority { priority: 3 }))));
        me.set_nice(0)?;
    }
}
