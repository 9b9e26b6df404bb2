//! R1: priority inheritance. Whose priority a task runs with, and for how long.

use crate::framework::clock::{TickOff, work};
use crate::framework::events::Events;
use crate::framework::{Failure, Outcome, lock_problems};
use crate::tests::{HIGH, LOW, MIDDLE};
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use stint::ipc::MsgQueue;
use stint::locking::{Mutex, MutexGuard, Semaphore};
use stint::sched::prio::{Policy, SchedAttr};
use stint::sched::wait::Timeout;
use stint::task::{self, JoinHandle, TaskRef};
use stint::{Error, time};

/// The kernel priority of a user's.
const fn kernel_prio(priority: i32) -> i32 {
    99 - priority
}

/// The user's priority that `task` runs with.
fn priority(task: &TaskRef) -> i32 {
    kernel_prio(task.info().prio)
}

fn fifo(priority: i32) -> SchedAttr {
    SchedAttr::fifo(priority as u32).expect("a priority")
}

/// A task that takes `mutex` and ends.
fn waiter(
    name: &str,
    priority: i32,
    mutex: &'static Mutex<()>,
    log: &'static Events,
    letter: char,
) -> stint::Result<JoinHandle<()>> {
    task::build(name).fifo(priority).spawn(move || {
        let _guard = mutex.lock();
        log.mark(letter);
    })
}

fn join_all(tasks: impl IntoIterator<Item = JoinHandle<()>>) {
    for task in tasks {
        task.join();
    }
}

ktest! {
    fn a_holder_runs_with_the_priority_of_its_most_important_waiter() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        let me = task::current_ref();
        let guard = MUTEX.lock();
        let mut tasks = Vec::new();
        for (priority_of_waiter, then) in [(LOW, LOW), (HIGH, HIGH), (MIDDLE, HIGH)] {
            tasks.push(waiter("waiter", priority_of_waiter, &MUTEX, &LOG, 'w')?);
            task::sleep_ns(10_000);
            check_eq!(priority(&me), then, "with a waiter of {priority_of_waiter}");
        }
        check_eq!(me.info().policy, Policy::Fifo);
        drop(guard);
        check_eq!(priority(&me), 1, "after the release");
        join_all(tasks);
        check_eq!(LOG.text(), "www");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_holder_of_several_mutexes_has_the_best_of_all_waiters_and_releases_them_in_any_order() {
        static MUTEXES: [Mutex<()>; 3] = [const { Mutex::new(()) }; 3];
        static LOG: Events = Events::new();
        // They are of one class, and their order is nobody else's business.
        let _expected = lock_problems::expected();
        let me = task::current_ref();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut guards: [Option<MutexGuard<'_, ()>>; 3] = [const { None }; 3];
            let mut tasks = Vec::new();
            let priorities = [MIDDLE, HIGH, LOW];
            for (mutex, guard) in MUTEXES.iter().zip(&mut guards) {
                *guard = Some(mutex.lock());
            }
            for (mutex, priority) in MUTEXES.iter().zip(priorities) {
                tasks.push(waiter("waiter", priority, mutex, &LOG, 'w')?);
                task::sleep_ns(10_000);
            }
            check_eq!(priority(&me), HIGH, "with all three");
            let mut held = [true; 3];
            for index in order {
                held[index] = false;
                guards[index] = None;
                let best = (0..3).filter(|&i| held[i]).map(|i| priorities[i]).max().unwrap_or(1);
                check_eq!(priority(&me), best, "order {order:?}, after the release of {index}");
            }
            join_all(tasks);
        }
    }
}

/// Runs a chain of `LOCKS` locks: a task of low priority has the first, each of the others has one and waits for the one
/// before, and a task of high priority comes for the last, while one of middle priority would keep the CPU for ever.
/// Answers the instructions that the high one waits, and those of all critical sections together.
fn inversion<const LOCKS: usize>() -> stint::Result<(u64, u64)> {
    const TURNS: u32 = 5_000;
    static MUTEXES: [Mutex<()>; 8] = [const { Mutex::new(()) }; 8];
    static START: Semaphore = Semaphore::new(0);
    static HOG: Semaphore = Semaphore::new(0);
    let _tick = TickOff::new();
    let _paused = lock_problems::paused();
    let section = || {
        let before = arch::pmu::cycles();
        work(TURNS);
        arch::pmu::cycles().wrapping_sub(before)
    };
    let mut tasks = Vec::new();
    for index in 0..LOCKS {
        tasks.push(task::build("link").fifo(LOW).spawn(move || {
            let own = MUTEXES[index].lock();
            if index == 0 {
                START.take();
                work(TURNS);
                drop(own);
            } else {
                let before = MUTEXES[index - 1].lock();
                work(TURNS);
                drop(before);
                drop(own);
            }
        })?);
    }
    tasks.push(task::build("hog").fifo(MIDDLE).spawn(|| {
        HOG.take();
        // Long enough to be seen in any wait that it has a part in.
        work(100 * TURNS);
    })?);
    let high = task::build("high").fifo(HIGH).spawn(|| {
        let _ = HOG.give();
        let _ = START.give();
        let before = arch::pmu::cycles();
        let guard = MUTEXES[LOCKS - 1].lock();
        let waited = arch::pmu::cycles().wrapping_sub(before);
        drop(guard);
        waited
    })?;
    let waited = high.join().unwrap_or(u64::MAX);
    join_all(tasks);
    Ok((waited, section() * LOCKS as u64))
}

/// What a task costs that is woken, runs, and sleeps again: two switches with everything around them, in this image and
/// with the checks that it has on. A hand-over is a lock that blocks (with the boost of every link), a release with a
/// waiter, and two switches: it may cost three of these. A hog in between would cost hundreds.
fn two_switches() -> stint::Result<u64> {
    static SEMAPHORE: Semaphore = Semaphore::new(0);
    let _tick = TickOff::new();
    let _paused = lock_problems::paused();
    let sleeper = task::build("sleeper").fifo(HIGH).spawn(|| {
        SEMAPHORE.take();
        SEMAPHORE.take();
    })?;
    let before = arch::pmu::cycles();
    SEMAPHORE.give()?;
    let both = arch::pmu::cycles().wrapping_sub(before);
    SEMAPHORE.give()?;
    sleeper.join();
    Ok(both)
}

fn bounded<const LOCKS: usize>() -> Outcome {
    if !crate::framework::clock::is_exact() {
        return Err(Failure::Ignored("instructions are counted under -icount only"));
    }
    let (waited, sections) = inversion::<LOCKS>()?;
    let bound = sections + 3 * two_switches()? * LOCKS as u64;
    stint::kprintln!("pi: {LOCKS} lock(s): waited {waited}, sections {sections}, bound {bound}");
    check!(
        waited >= sections,
        "{waited} instructions, less than the sections' {sections}: nobody was waited for"
    );
    check!(waited <= bound, "the high task waited {waited} instructions, expected at most {bound}");
    let (again, _) = inversion::<LOCKS>()?;
    check_eq!(again, waited, "the same wait again");
    Ok(())
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn an_inversion_lasts_as_long_as_the_critical_section_and_the_switches() {
        bounded::<1>()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn an_inversion_through_two_locks_lasts_as_long_as_their_sections() {
        bounded::<2>()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn an_inversion_through_eight_locks_lasts_as_long_as_their_sections() {
        bounded::<8>()?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_fair_holder_is_real_time_for_a_real_time_waiter_and_fair_afterwards() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        static GO: Semaphore = Semaphore::new(0);
        let holder = task::build("holder").nice(5).spawn(|| {
            let guard = MUTEX.lock();
            GO.take();
            LOG.mark('h');
            drop(guard);
            LOG.mark('f');
        })?;
        let info = || holder.task().info();
        task::sleep_ms(1);
        check_eq!(info().prio, 125, "fair, nice 5");
        let waiter = waiter("waiter", HIGH, &MUTEX, &LOG, 'w')?;
        check_eq!(info().prio, kernel_prio(HIGH), "asleep, and boosted");
        check_eq!(info().policy, Policy::Normal, "the policy is its own");
        // It runs at once, before this task, which is real-time too.
        GO.give()?;
        check_eq!(LOG.text(), "hw", "it ran as its waiter would have");
        check_eq!(info().prio, 125, "fair again");
        holder.join();
        waiter.join();
        check_eq!(LOG.text(), "hwf");
    }
}

ktest! {
    /// Virtual time means nothing while a task is boosted. Carried over as it is, it would starve the task afterwards or
    /// give it the CPU for a long time.
    fn a_fair_task_shares_the_cpu_evenly_after_it_has_been_boosted() {
        use crate::framework::runs::Runs;
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        static GO: Semaphore = Semaphore::new(0);
        static RUNS: Runs = Runs::new();
        let boosted = task::build("boosted").spawn(|| {
            let guard = MUTEX.lock();
            GO.take();
            work(200_000);
            drop(guard);
            RUNS.hog(1);
        })?;
        let other = task::build("other").spawn(|| RUNS.hog(2))?;
        // The other one runs alone for a while: a virtual time of its own.
        task::sleep_ms(50);
        let waiter = waiter("waiter", HIGH, &MUTEX, &LOG, 'w')?;
        GO.give()?;
        waiter.join();
        task::sleep_ms(400);
        RUNS.stop();
        boosted.join();
        other.join();
        let sum = |who| RUNS.completed().iter().filter(|run| run.who == who).map(|run| run.ns).sum::<u64>();
        let (boosted_ns, other_ns) = (sum(1), sum(2));
        // 50 ms alone for the other, then halves of 400 ms.
        check!(
            boosted_ns > 150_000_000 && other_ns > 150_000_000,
            "of 400 ms together the boosted task had {boosted_ns} ns, the other {other_ns} ns"
        );
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_deadline_waiter_lends_its_class_to_a_fair_holder() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        static GO: Semaphore = Semaphore::new(0);
        let holder = task::build("holder").spawn(|| {
            let guard = MUTEX.lock();
            GO.take();
            LOG.mark('h');
            drop(guard);
        })?;
        task::sleep_ms(1);
        let waiter = task::build("waiter").deadline(1_000_000, 10_000_000, 10_000_000).spawn(|| {
            let _guard = MUTEX.lock();
            LOG.mark('d');
        })?;
        check_eq!(holder.task().info().prio, -1, "the holder's priority, of deadline tasks");
        let above = task::build("above").fifo(HIGH).spawn(|| {
            let _ = GO.give();
            LOG.mark('r');
        })?;
        join_all([above, waiter]);
        check_eq!(LOG.text(), "hdr");
        check_eq!(holder.task().info().prio, 120, "fair again");
        holder.join();
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_waiter_that_gives_up_takes_its_priority_back_through_the_whole_chain() {
        static FIRST: Mutex<()> = Mutex::new(());
        static SECOND: Mutex<()> = Mutex::new(());
        let me = task::current_ref();
        let guard = FIRST.lock();
        let link = task::build("link").fifo(LOW).spawn(|| {
            let _second = SECOND.lock();
            let _first = FIRST.lock();
        })?;
        let high = task::build("high").fifo(HIGH).spawn(|| SECOND.lock_timeout(Timeout::In(100_000)).map(drop))?;
        check_eq!((priority(link.task()), priority(&me)), (HIGH, HIGH), "while it waits");
        check_eq!(high.join(), Some(Err(Error::TimedOut)));
        check_eq!((priority(link.task()), priority(&me)), (LOW, LOW), "after it has given up");
        drop(guard);
        check_eq!(priority(&me), 1);
        link.join();
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_waiter_that_is_raised_overtakes_and_boosts_the_holder() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        let me = task::current_ref();
        let guard = MUTEX.lock();
        let a = waiter("a", LOW, &MUTEX, &LOG, 'a')?;
        task::sleep_ns(10_000);
        let b = waiter("b", MIDDLE, &MUTEX, &LOG, 'b')?;
        task::sleep_ns(10_000);
        a.task().set_scheduler(fifo(HIGH))?;
        check_eq!(priority(&me), HIGH, "the raised waiter's priority");
        a.task().set_scheduler(fifo(LOW))?;
        check_eq!(priority(&me), MIDDLE, "the other waiter's priority");
        a.task().set_scheduler(fifo(HIGH))?;
        drop(guard);
        join_all([a, b]);
        check_eq!(LOG.text(), "ab");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_boosted_task_that_is_lowered_falls_when_the_waiter_is_served() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        let me = task::current_ref();
        let guard = MUTEX.lock();
        let waiter = waiter("waiter", MIDDLE, &MUTEX, &LOG, 'w')?;
        me.set_scheduler(fifo(HIGH))?;
        check_eq!(priority(&me), HIGH, "its own priority is the better one");
        me.set_scheduler(fifo(LOW))?;
        check_eq!(priority(&me), MIDDLE, "the waiter's is");
        drop(guard);
        check_eq!(priority(&me), LOW, "its own is left");
        waiter.join();
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_task_whose_priority_changes_is_filed_anew_in_the_queue_it_waits_in() {
        static LOG: Events = Events::new();
        static SEMAPHORE: Semaphore = Semaphore::new(0);
        static QUEUE: MsgQueue<char, 1> = MsgQueue::new();
        let take = |name, priority, letter| {
            task::build(name).fifo(priority).spawn(move || {
                SEMAPHORE.take();
                LOG.mark(letter);
            })
        };
        let (a, b) = (take("a", LOW, 'a')?, take("b", MIDDLE, 'b')?);
        a.task().set_scheduler(fifo(HIGH))?;
        SEMAPHORE.give()?;
        SEMAPHORE.give()?;
        join_all([a, b]);
        check_eq!(LOG.text(), "ab", "a semaphore");
        let get = |name, priority, letter| {
            task::build(name).fifo(priority).spawn(move || {
                LOG.mark(letter);
                LOG.mark(QUEUE.get());
            })
        };
        let (c, d) = (get("c", MIDDLE, 'c')?, get("d", LOW, 'd')?);
        c.task().set_scheduler(SchedAttr::NORMAL)?;
        QUEUE.put('1');
        QUEUE.put('2');
        join_all([c, d]);
        check_eq!(LOG.text(), "abcd12", "a message queue");
        check!(QUEUE.is_empty());
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// The chain goes on behind a wait of another kind: a holder that waits for a semaphore comes first there.
    fn a_holder_that_waits_in_another_queue_is_filed_anew_there_when_it_is_boosted() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static SEMAPHORE: Semaphore = Semaphore::new(0);
        static LOG: Events = Events::new();
        let holder = task::build("holder").fifo(LOW).spawn(|| {
            let _guard = MUTEX.lock();
            SEMAPHORE.take();
            LOG.mark('h');
        })?;
        let other = task::build("other").fifo(MIDDLE).spawn(|| {
            SEMAPHORE.take();
            LOG.mark('o');
        })?;
        let high = waiter("high", HIGH, &MUTEX, &LOG, 'w')?;
        SEMAPHORE.give()?;
        SEMAPHORE.give()?;
        join_all([holder, other, high]);
        check_eq!(LOG.text(), "hwo");
    }
}

ktest! {
    fn equal_waiters_get_the_mutex_in_the_order_in_which_they_came() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        let guard = MUTEX.lock();
        let mut tasks = Vec::new();
        for letter in ['a', 'b', 'c', 'd'] {
            tasks.push(waiter("waiter", MIDDLE, &MUTEX, &LOG, letter)?);
            task::sleep_ns(10_000);
        }
        drop(guard);
        join_all(tasks);
        check_eq!(LOG.text(), "abcd");
    }
}

/// Tasks in a ring, each with a mutex, each wanting the next one's. Answers what they were told, in the order in which
/// they asked.
fn ring(mutexes: &'static [Mutex<()>]) -> stint::Result<Vec<stint::Result<()>>> {
    static GO: Semaphore = Semaphore::new(0);
    let mut tasks = Vec::new();
    for index in 0..mutexes.len() {
        // Falling priorities: the semaphore lets them go in the order in which they were made.
        let builder = task::build("ring").fifo(HIGH - index as i32);
        tasks.push(builder.spawn(move || {
            let _own = mutexes[index].lock();
            GO.take();
            mutexes[(index + 1) % mutexes.len()].lock_timeout(Timeout::Never).map(drop)
        })?);
    }
    for _ in 0..mutexes.len() {
        GO.give()?;
    }
    Ok(tasks.into_iter().map(|task| task.join().unwrap_or(Err(Error::Busy))).collect())
}

fn check_ring(told: &[stint::Result<()>]) -> Outcome {
    let (last, others) = told.split_last().expect("a ring");
    check_eq!(*last, Err(Error::Deadlock), "the one that closes the ring");
    check!(others.iter().all(Result::is_ok), "the others: {others:?}, expected all Ok");
    Ok(())
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_deadlock_of_two_tasks_is_refused_to_the_one_that_closes_the_ring() {
        static MUTEXES: [Mutex<()>; 2] = [const { Mutex::new(()) }; 2];
        let _expected = lock_problems::expected();
        check_ring(&ring(&MUTEXES)?)?;
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_deadlock_of_five_tasks_is_refused_to_the_one_that_closes_the_ring() {
        static MUTEXES: [Mutex<()>; 5] = [const { Mutex::new(()) }; 5];
        let _expected = lock_problems::expected();
        check_ring(&ring(&MUTEXES)?)?;
        check!(MUTEXES.iter().all(|mutex| !mutex.is_locked()));
    }
}

ktest! {
    panics = "deadlock: task init waits for mutex 0x",
    fn a_deadlock_of_two_tasks_panics_where_no_answer_is_wanted() {
        static MUTEXES: [Mutex<()>; 2] = [const { Mutex::new(()) }; 2];
        let _own = MUTEXES[0].lock();
        let _other = task::build("other").fifo(HIGH).spawn(|| {
            let _own = MUTEXES[1].lock();
            let _never = MUTEXES[0].lock();
        })?;
        let _never = MUTEXES[1].lock();
        Ok(())
    }
}

ktest! {
    panics = "ends while it holds 1 sleeping lock(s)",
    fn a_task_that_ends_with_a_mutex_panics_and_says_what_to_do() {
        static MUTEX: Mutex<()> = Mutex::new(());
        task::build("holder").fifo(HIGH).spawn(|| {
            let _guard = MUTEX.lock();
            task::exit()
        })?.join();
        Ok(())
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_task_that_is_aborted_while_it_waits_leaves_its_queue_and_takes_its_priority_back() {
        static FIRST: Mutex<()> = Mutex::new(());
        static SECOND: Mutex<()> = Mutex::new(());
        static SEMAPHORE: Semaphore = Semaphore::new(0);
        static LOG: Events = Events::new();
        let me = task::current_ref();
        let guard = FIRST.lock();
        let link = task::build("link").fifo(LOW).spawn(|| {
            let _second = SECOND.lock();
            let _first = FIRST.lock();
        })?;
        let high = waiter("high", HIGH, &SECOND, &LOG, 'h')?;
        let timed = task::build("timed").fifo(MIDDLE).spawn(|| drop(SECOND.lock_timeout(Timeout::In(1_000_000))))?;
        let taker = task::build("taker").fifo(HIGH).spawn(|| SEMAPHORE.take())?;
        task::sleep_ns(10_000);
        check_eq!((priority(link.task()), priority(&me)), (HIGH, HIGH), "before");
        // SAFETY: they wait, and own nothing.
        unsafe { high.task().abort()? };
        check_eq!((priority(link.task()), priority(&me)), (MIDDLE, MIDDLE), "without the first waiter");
        // SAFETY: as above.
        unsafe { timed.task().abort()? };
        check_eq!((priority(link.task()), priority(&me)), (LOW, LOW), "without any");
        // SAFETY: as above.
        unsafe { taker.task().abort()? };
        // SAFETY: refused: it holds the second one.
        check_eq!(unsafe { link.task().abort() }, Err(Error::Busy), "a holder that waits");
        check_eq!((high.join(), timed.join(), taker.join()), (None, None, None));
        SEMAPHORE.give()?;
        check_eq!(SEMAPHORE.count(), 1, "units: the waiter is gone");
        task::sleep_ms(2);
        drop(guard);
        link.join();
        check!(!FIRST.is_locked() && !SECOND.is_locked());
        SEMAPHORE.take();
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_ready_task_that_holds_a_mutex_is_not_aborted() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static LOG: Events = Events::new();
        let holder = task::build("holder").spawn(|| {
            let _guard = MUTEX.lock();
            LOG.mark('l');
            // Longer than the sleep below.
            let until = time::now_ns() + 3_000_000;
            while time::now_ns() < until {
                work(50);
            }
            LOG.mark('u');
        })?;
        task::sleep_ms(1);
        check_eq!(LOG.text(), "l");
        // SAFETY: refused, which is what this shows.
        check_eq!(unsafe { holder.task().abort() }, Err(Error::Busy), "it owns a mutex");
        holder.join();
        check_eq!(LOG.text(), "lu");
        check!(!MUTEX.is_locked());
    }
}
