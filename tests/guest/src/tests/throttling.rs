//! Real-time throttling: a share of the CPU that real-time tasks cannot take.

use crate::framework::Failure;
use crate::framework::burn::burn_ns;
use crate::framework::clock::is_exact;
use crate::tests::deadline::MS;
use crate::tests::{HIGH, LOW};
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use stint::sched::core::{set_rt_bandwidth, with_rq};
use stint::task;
use stint::time::now_ns;

/// Until when, and what each had.
struct Race {
    rt_ns: u64,
    fair_ns: u64,
    /// The longest time for which the real-time task did not run.
    gap_ns: u64,
}

/// A real-time task that never sleeps beside a fair one, for `ms`.
fn race(ms: u64) -> Result<Race, Failure> {
    if !is_exact() {
        return Err(Failure::Ignored("it needs a machine with virtual time"));
    }
    static FAIR_NS: AtomicU64 = AtomicU64::new(0);
    let until_ns = now_ns() + ms * MS;
    let fair = task::build("fair").spawn(move || {
        while now_ns() < until_ns {
            burn_ns(MS / 10);
        }
        FAIR_NS.store(task::cpu_cycles(), Relaxed);
    })?;
    let hog = task::build("hog").fifo(LOW).spawn(move || {
        let (mut last_ns, mut gap_ns) = (now_ns(), 0);
        while last_ns < until_ns {
            burn_ns(MS / 10);
            gap_ns = gap_ns.max(now_ns() - last_ns);
            last_ns = now_ns();
        }
        (task::cpu_cycles(), gap_ns)
    })?;
    let (rt_ns, gap_ns) = hog.join().expect("it returns");
    fair.join();
    Ok(Race { rt_ns, fair_ns: FAIR_NS.load(Relaxed), gap_ns })
}

/// Sets the limits, and the default again when it is dropped.
pub struct Limits;

impl Limits {
    /// None, for a test that has the CPU for long and wants no interrupt about it.
    pub fn none() -> stint::Result<Self> {
        Self::set(None, 1_000_000)
    }

    fn set(runtime_us: Option<u32>, period_us: u32) -> stint::Result<Self> {
        set_rt_bandwidth(runtime_us, period_us).map(|()| Self)
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        set_rt_bandwidth(Some(950_000), 1_000_000).expect("the default");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_real_time_hog_leaves_five_percent_to_fair_tasks() {
        // The period begins now.
        let _limits = Limits::set(Some(950_000), 1_000_000)?;
        let race = race(3000)?;
        check!(race.fair_ns >= 149 * MS, "the fair task had {} ns of 150 ms in three seconds", race.fair_ns);
        check!(race.rt_ns >= 2840 * MS, "the real-time task had {} ns of 2850 ms", race.rt_ns);
        check!((49 * MS..=51 * MS).contains(&race.gap_ns), "it was held back for {} ns at a time", race.gap_ns);
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn the_share_and_the_period_can_be_set_at_run_time() {
        let _limits = Limits::set(Some(5_000), 10_000)?;
        let race = race(500)?;
        check!((245 * MS..=255 * MS).contains(&race.rt_ns), "half of 500 ms was {} ns", race.rt_ns);
        check!(race.gap_ns <= 52 * MS / 10, "it was held back for {} ns at a time", race.gap_ns);
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn without_a_limit_a_real_time_hog_leaves_nothing() {
        let _limits = Limits::set(None, 1_000_000)?;
        let race = race(1500)?;
        check!(race.fair_ns < MS, "the fair task had {} ns", race.fair_ns);
        check!(race.gap_ns < MS, "the real-time task did not run for {} ns", race.gap_ns);
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_real_time_task_with_less_than_its_share_is_never_held_back() {
        if !is_exact() {
            return Err(Failure::Ignored("it needs a machine with virtual time"));
        }
        let _limits = Limits::set(Some(9_000), 10_000)?;
        let busy = task::build("busy").fifo(HIGH).spawn(|| {
            let mut worst_ns = 0;
            let mut next_ns = now_ns();
            for _ in 0..100 {
                next_ns += 2 * MS;
                burn_ns(MS * 8 / 5);
                task::sleep_until(next_ns);
                worst_ns = worst_ns.max(now_ns() - next_ns);
            }
            worst_ns
        })?;
        let worst_ns = busy.join().expect("it returns");
        check!(worst_ns < MS / 20, "a task of 80 % was up to {worst_ns} ns late at a limit of 90 %");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_real_time_task_that_wakes_while_they_are_held_back_does_not_run() {
        if !is_exact() {
            return Err(Failure::Ignored("it needs a machine with virtual time"));
        }
        static GATE: stint::locking::Semaphore = stint::locking::Semaphore::new(0);
        static WOKEN_NS: AtomicU64 = AtomicU64::new(0);
        let _limits = Limits::set(Some(5_000), 100_000)?;
        let high = task::build("high").fifo(HIGH).spawn(|| {
            GATE.take();
            WOKEN_NS.store(now_ns(), Relaxed);
        })?;
        let fair = task::build("fair").spawn(|| {
            // The direct switch of a wake-up is what is shown: it must not be made now.
            let throttled = with_rq(|rq| rq.rt_bandwidth().is_throttled());
            let given_ns = now_ns();
            let _ = GATE.give();
            let on_ns = now_ns();
            (throttled, given_ns, on_ns)
        })?;
        burn_ns(6 * MS);
        let (throttled, given_ns, on_ns) = fair.join().expect("it returns");
        high.join();
        check!(throttled, "the fair task ran, and real-time tasks are not held back");
        check!(on_ns < WOKEN_NS.load(Relaxed), "the real-time task ran while they were held back");
        let waited_ns = WOKEN_NS.load(Relaxed) - given_ns;
        check!((80 * MS..=100 * MS).contains(&waited_ns), "it waited {waited_ns} ns for the next period");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn with_nobody_else_the_cpu_idles_while_real_time_tasks_are_held_back() {
        if !is_exact() {
            return Err(Failure::Ignored("it needs a machine with virtual time"));
        }
        let _limits = Limits::set(Some(5_000), 10_000)?;
        let begin_ns = now_ns();
        burn_ns(50 * MS);
        let took_ns = now_ns() - begin_ns;
        check!(took_ns >= 90 * MS, "50 ms at half the CPU took {took_ns} ns");
    }
}

ktest! {
    fn limits_that_make_no_sense_are_refused() {
        check_eq!(set_rt_bandwidth(Some(20_000), 10_000), Err(stint::Error::BadRuntime { ns: 20_000_000 }));
        check_eq!(set_rt_bandwidth(Some(1), 999), Err(stint::Error::BadPeriod { ns: 999_000 }));
        // What is reserved must still fit.
        let me = task::current_ref();
        me.set_scheduler(stint::sched::SchedAttr::deadline(8 * MS, 10 * MS, 0).expect("times"))?;
        let refused = set_rt_bandwidth(Some(500_000), 1_000_000);
        me.set_scheduler(stint::sched::SchedAttr::fifo(1).expect("a priority"))?;
        check_eq!(refused, Err(stint::Error::NoBandwidth { asked: 0, in_use: 8000, limit: 5000 }));
        check_eq!(with_rq(|rq| rq.rt_bandwidth().limits()), (950_000_000, 1_000_000_000));
        task::sleep_ms(20);
    }
}
