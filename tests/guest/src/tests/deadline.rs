//! Deadline tasks (R5): what is admitted is kept, what is not is refused with the numbers, and nobody takes from
//! his neighbours.

use crate::framework::Failure;
use crate::framework::burn::burn_ns;
use crate::framework::clock::{is_exact, spin_ns};
use crate::framework::events::Events;
use crate::{check, check_eq, ktest};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use stint::Error;
use stint::task::{self, JoinHandle};
use stint::time::now_ns;

/// Microseconds and milliseconds in ns.
pub const US: u64 = 1000;
/// See [`US`].
pub const MS: u64 = 1_000_000;

/// Runtime, deadline, period in us.
type Times = (u64, u64, u64);

/// What a periodic task has seen.
#[derive(Default)]
struct Record {
    jobs: AtomicU64,
    missed: AtomicU64,
    /// The latest end of a job, after its beginning.
    worst_ns: AtomicU64,
    overruns: AtomicU64,
}

/// The work of a period: what is reserved, less what entering, leaving and interrupts take of it.
const fn work_ns(runtime_ns: u64) -> u64 {
    runtime_ns - runtime_ns / 50 - 20 * US
}

/// A task that works its runtime in every period until `until_ns`, and looks at every deadline by itself.
fn periodic(times: Times, record: &Arc<Record>, until_ns: u64) -> stint::Result<JoinHandle<()>> {
    let (runtime_ns, deadline_ns, period_ns) = (times.0 * US, times.1 * US, times.2 * US);
    let record = record.clone();
    task::build("periodic").deadline(runtime_ns, deadline_ns, period_ns).spawn(move || {
        let me = task::current_ref();
        let first_ns = me.deadline_info().expect("a deadline task").absolute_ns - deadline_ns;
        for job in 0.. {
            let begin_ns = first_ns + job * period_ns;
            if begin_ns >= until_ns {
                break;
            }
            burn_ns(work_ns(runtime_ns));
            let took_ns = now_ns() - begin_ns;
            record.jobs.fetch_add(1, Relaxed);
            record.missed.fetch_add(u64::from(took_ns > deadline_ns), Relaxed);
            record.worst_ns.fetch_max(took_ns, Relaxed);
            task::yield_now();
        }
        let info = me.deadline_info().expect("a deadline task");
        record.overruns.store(u64::from(info.overruns), Relaxed);
    })
}

/// Runs a task set for ten virtual seconds: nobody misses a deadline, and everybody had all its periods.
fn misses_nothing(set: &[Times]) -> crate::framework::Outcome {
    if !is_exact() {
        return Err(Failure::Ignored("it needs a machine with virtual time"));
    }
    const FOR_NS: u64 = 10_000 * MS;
    let until_ns = now_ns() + FOR_NS;
    let mut tasks = Vec::new();
    for &times in set {
        let record = Arc::new(Record::default());
        tasks.push((times, record.clone(), periodic(times, &record, until_ns)?));
    }
    for (times, record, handle) in tasks {
        handle.join();
        let jobs = record.jobs.load(Relaxed);
        check_eq!(
            record.missed.load(Relaxed),
            0,
            "deadlines missed by {times:?} of {set:?} in {jobs} periods"
        );
        check_eq!(record.overruns.load(Relaxed), 0, "overruns of {times:?} of {set:?}");
        check!(jobs >= FOR_NS / (times.2 * US) - 1, "{times:?} of {set:?} had {jobs} periods");
    }
    free_again()
}

/// Waits until the reservations of tasks that are gone are free, and checks that they are.
fn free_again() -> crate::framework::Outcome {
    task::sleep_ms(200);
    let in_use = stint::sched::core::with_rq(|rq| rq.dl_bandwidth().in_use(now_ns()));
    check_eq!(in_use, 0, "what is still reserved");
    Ok(())
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn three_tasks_at_95_percent_miss_no_deadline_in_ten_seconds() {
        misses_nothing(&[(2_000, 10_000, 10_000), (6_000, 20_000, 20_000), (22_500, 50_000, 50_000)])?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn periods_without_a_common_factor_at_95_percent_miss_no_deadline_in_ten_seconds() {
        misses_nothing(&[(1_000, 3_000, 3_000), (2_000, 7_000, 7_000), (3_640, 11_000, 11_000)])?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn nineteen_equal_tasks_at_95_percent_miss_no_deadline_in_ten_seconds() {
        misses_nothing(&[(1_000, 20_000, 20_000); 19])?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn deadlines_shorter_than_periods_at_95_percent_are_not_missed_in_ten_seconds() {
        misses_nothing(&[(5_000, 10_000, 10_000), (9_000, 19_000, 20_000)])?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn deadlines_of_half_the_period_are_not_missed_in_ten_seconds() {
        misses_nothing(&[(2_000, 5_000, 10_000), (3_000, 10_000, 10_000), (5_000, 45_000, 50_000)])?;
    }
}

ktest! {
    fn a_reservation_of_96_percent_is_refused_with_the_numbers() {
        let refused = task::build("greedy").deadline(9_600 * US, 10 * MS, 0).spawn(|| ());
        check_eq!(refused.err(), Some(Error::NoBandwidth { asked: 9600, in_use: 0, limit: 9500 }));
        let gate: Arc<stint::locking::Semaphore> = Arc::new(stint::locking::Semaphore::new(0));
        let wait = gate.clone();
        let first = task::build("first").deadline(9 * MS, 10 * MS, 0).spawn(move || wait.take())?;
        let error = task::build("second").deadline(600 * US, 10 * MS, 0).spawn(|| ()).err();
        check_eq!(error, Some(Error::NoBandwidth { asked: 600, in_use: 9000, limit: 9500 }));
        let text = format!("{}", error.expect("an error"));
        check!(text.contains("6.00 %") && text.contains("90.00 %") && text.contains("95.00 %"), "it says: {text}");
        // What is left is given.
        task::build("third").deadline(500 * US, 10 * MS, 0).spawn(|| ())?.join();
        gate.give()?;
        first.join();
        free_again()?;
    }
}

ktest! {
    fn a_reservation_is_kept_until_it_would_have_been_used_up() {
        if !is_exact() {
            return Err(Failure::Ignored("it needs a machine with virtual time"));
        }
        let early = || task::build("early").deadline(90 * MS, 100 * MS, 0).spawn(|| burn_ns(80 * MS));
        early()?.join();
        // It has used 80 ms and is gone: at its rate that takes 89 ms.
        let again = task::build("again").deadline(90 * MS, 100 * MS, 0).spawn(|| ());
        check_eq!(again.err(), Some(Error::NoBandwidth { asked: 9000, in_use: 9000, limit: 9500 }));
        task::sleep_ms(10);
        early()?.join();
        free_again()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_task_that_takes_more_than_it_reserved_does_not_hurt_its_neighbours() {
        if !is_exact() {
            return Err(Failure::Ignored("it needs a machine with virtual time"));
        }
        static FAIR_NS: AtomicU64 = AtomicU64::new(0);
        let until_ns = now_ns() + 1_000 * MS;
        let record = Arc::new(Record::default());
        let victim = periodic((2_000, 10_000, 10_000), &record, until_ns)?;
        let greedy = task::build("greedy").deadline(3 * MS, 10 * MS, 0).spawn(move || {
            while now_ns() < until_ns {
                burn_ns(100 * US);
            }
            let overruns = task::current_ref().deadline_info().map_or(0, |info| info.overruns);
            (task::cpu_cycles(), overruns)
        })?;
        let fair = task::build("fair").spawn(move || {
            while now_ns() < until_ns {
                burn_ns(100 * US);
            }
            FAIR_NS.store(task::cpu_cycles(), Relaxed);
        })?;
        let (used_ns, overruns) = greedy.join().expect("it returns");
        victim.join();
        fair.join();
        check_eq!(record.missed.load(Relaxed), 0, "deadlines missed by the neighbour");
        check!(overruns >= 95, "{overruns} overruns in a hundred periods");
        check!((295 * MS..=303 * MS).contains(&used_ns), "it used {used_ns} ns of 300 ms");
        let fair_ns = FAIR_NS.load(Relaxed);
        check!(fair_ns > 480 * MS, "the fair task had {fair_ns} ns of a second of which half was reserved");
        free_again()?;
    }
}

/// Lines of the log, what waits for its thread included, that contain both texts.
fn logged(text: &str, other: &str) -> usize {
    stint::sched::notice::tell();
    stint::klog::drain();
    let mut lines = 0;
    stint::klog::for_each_kept(|line| lines += usize::from(line.contains(text) && line.contains(other)));
    lines
}

ktest! {
    fn the_first_overrun_of_a_task_is_told_by_a_thread_and_no_other_is() {
        let before = logged("deadline task spender/", "has used up its runtime of 1000 us before its period of 5000 us");
        let spender = task::build("spender").deadline(MS, 5 * MS, 0).spawn(|| burn_ns(4 * MS))?;
        spender.join();
        let after = logged("deadline task spender/", "has used up its runtime of 1000 us before its period of 5000 us");
        check_eq!(after - before, 1, "lines about the three overruns of a task");
        free_again()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_budget_ends_to_the_microsecond_and_not_at_a_tick() {
        if !is_exact() {
            return Err(Failure::Ignored("it needs a machine with virtual time"));
        }
        let _tick_off = crate::framework::clock::TickOff::new();
        let task = task::build("greedy").deadline(1500 * US, 10 * MS, 0).spawn(|| {
            // The period is what counts: when did the CPU go to somebody else, and when did it come back?
            let begin_ns = now_ns();
            let mut last_ns = begin_ns;
            loop {
                let now = now_ns();
                if now - last_ns > MS {
                    return (last_ns - begin_ns, now - begin_ns);
                }
                last_ns = now;
                crate::framework::clock::work(20);
            }
        })?;
        let (ended_ns, back_ns) = task.join().expect("it returns");
        check!((1490 * US..=1510 * US).contains(&ended_ns), "a budget of 1500 us ended after {ended_ns} ns");
        check!((9_990 * US..=10_020 * US).contains(&back_ns), "a period of 10 ms lasted {back_ns} ns");
        free_again()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_deadline_task_goes_before_every_fifo_task() {
        static LOG: Events = Events::new();
        let hog = task::build("hog").fifo(99).spawn(|| {
            LOG.mark('f');
            // Above it, and so at once.
            let dl = task::build("dl").deadline(MS, 10 * MS, 0).spawn(|| LOG.mark('d'));
            LOG.mark('g');
            dl.map(JoinHandle::join)
        })?;
        hog.join().expect("it returns")?;
        check_eq!(LOG.text(), "fdg");
        // A FIFO task that never sleeps costs a deadline task nothing.
        if is_exact() {
            let until_ns = now_ns() + 300 * MS;
            let record = Arc::new(Record::default());
            let dl = periodic((2_000, 10_000, 10_000), &record, until_ns)?;
            let hog = task::build("hog").fifo(99).spawn(move || {
                while now_ns() < until_ns {
                    burn_ns(50 * US);
                }
            })?;
            hog.join();
            dl.join();
            check!(record.jobs.load(Relaxed) >= 29, "periods had");
            check_eq!(record.missed.load(Relaxed), 0, "deadlines missed beside a FIFO task");
        }
        free_again()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn the_earliest_deadline_runs_first_and_preempts() {
        static LOG: Events = Events::new();
        let late = task::build("late").deadline(5 * MS, 50 * MS, 0).spawn(|| {
            LOG.mark('l');
            // Its deadline is earlier: it preempts its creator.
            let early = task::build("early").deadline(MS, 10 * MS, 0).spawn(|| LOG.mark('e'));
            LOG.mark('m');
            // And a later one does not.
            let later = task::build("later").deadline(5 * MS, 80 * MS, 0).spawn(|| LOG.mark('z'));
            LOG.mark('n');
            (early.map(JoinHandle::join), later)
        })?;
        let (early, later) = late.join().expect("it returns");
        early?;
        later?.join();
        check_eq!(LOG.text(), "lemnz");
        free_again()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_yield_gives_the_rest_of_the_budget_back_until_the_next_period() {
        let task = task::build("yields").deadline(5 * MS, 20 * MS, 0).spawn(|| {
            let begin_ns = now_ns();
            task::yield_now();
            let second_ns = now_ns();
            let left_ns = task::current_ref().deadline_info().map_or(0, |info| info.left_ns);
            task::yield_now();
            (second_ns - begin_ns, now_ns() - second_ns, left_ns)
        })?;
        let (first, second, left_ns) = task.join().expect("it returns");
        check!(first >= 19 * MS && second >= 19 * MS, "two periods of 20 ms took {first} and {second} ns");
        check!(left_ns > 4 * MS as i64 && left_ns <= 5 * MS as i64, "{left_ns} ns left at the beginning of a period");
        free_again()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::HELD_TO_A_BUDGET),
    fn a_deadline_task_that_sleeps_wakes_with_a_deadline_of_its_own() {
        let task = task::build("sleeps").deadline(5 * MS, 20 * MS, 0).spawn(|| {
            let me = task::current_ref();
            spin_ns(MS);
            task::sleep_ms(100);
            let woken_ns = now_ns();
            let info = me.deadline_info().expect("a deadline task");
            (info.absolute_ns as i64 - woken_ns as i64, info.left_ns)
        })?;
        let (ahead_ns, left_ns) = task.join().expect("it returns");
        check!(ahead_ns > 15 * MS as i64 && ahead_ns <= 20 * MS as i64, "the deadline is {ahead_ns} ns ahead");
        check!(left_ns > 4 * MS as i64, "{left_ns} ns left of a new budget");
        free_again()?;
    }
}
