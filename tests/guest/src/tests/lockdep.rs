//! The validation of the lock order: what it finds in the kernel itself, through the locks themselves.
//!
//! That it finds nothing in the kernel is checked after every test (`surroundings`).

use crate::framework::Failure;
use crate::framework::interrupt::Interrupt;
use crate::{check, check_eq, ktest};
use alloc::string::ToString;
use arch::patch::{Key, is_enabled};
use stint::irq::softirq::{Vector, local_bh_disable, open_softirq, raise_softirq_irqoff};
use stint::lockdep::{self, Problem};
use stint::locking::{Lazy, Mutex, RawSpinLock, RwLock, SchedLock, Semaphore, SpinLock, spin_lock_bh};
use stint::sched::wait::Timeout;
use stint::task;

/// What was found, if it is one problem.
fn only(expectation: &lockdep::Expectation) -> Result<Problem, Failure> {
    let found = expectation.found();
    match &found[..] {
        [problem] => Ok(problem.clone()),
        _ => Err(Failure::new(format_args!("{} problems were found, expected 1: {found:?}", found.len()))),
    }
}

/// Takes the second inside the first, both at the line of the call, which it returns.
macro_rules! nest {
    ($outer:expr, $inner:expr) => {{
        let outer = $outer.lock();
        drop($inner.lock());
        drop(outer);
        line!()
    }};
}

ktest! {
    /// Nobody waits for anybody: the orders are never in each other's way.
    fn two_orders_of_two_locks_are_reported_with_all_four_places_before_they_meet() {
        static A: RawSpinLock<()> = RawSpinLock::new(());
        static B: RawSpinLock<()> = RawSpinLock::new(());
        let expectation = lockdep::expect();
        let first = nest!(A, B);
        check_eq!(expectation.found().len(), 0, "problems after the first order");
        let second = task::build("other").spawn(|| nest!(B, A))?.join();
        let problem = only(&expectation)?;
        let Problem::Order { now, known } = &problem else {
            return Err(Failure::new(format_args!("{problem}")));
        };
        check_eq!(known.steps.len(), 1, "steps of the known order");
        let places = [now.outer.at, now.inner.at, known.steps[0].outer.at, known.steps[0].inner.at];
        check!(places.iter().all(|at| at.file() == file!()), "places: {places:?}");
        let lines = (Some(places[0].line()), Some(places[1].line()), places[2].line(), places[3].line());
        check_eq!(lines, (second, second, first, first), "lines of the second order and of the first");
        let text = problem.to_string();
        check!(text.starts_with("lock order inversion"), "{text}");
        nest!(B, A);
        check_eq!(expectation.found().len(), 1, "problems after the second order came again");
    }
}

ktest! {
    fn a_cycle_of_three_locks_in_three_tasks_is_reported_step_by_step() {
        static LOCKS: [RawSpinLock<()>; 3] = [RawSpinLock::new(()), RawSpinLock::new(()), RawSpinLock::new(())];
        let expectation = lockdep::expect();
        for i in 0..3 {
            check_eq!(expectation.found().len(), 0, "problems before the cycle is closed");
            task::build("link").spawn(move || { nest!(LOCKS[i], LOCKS[(i + 1) % 3]); })?.join();
        }
        match only(&expectation)? {
            Problem::Order { known, .. } => check_eq!(known.steps.len(), 2, "steps of the known order"),
            other => return Err(Failure::new(format_args!("{other}"))),
        }
    }
}

ktest! {
    fn mutexes_have_an_order_too_and_one_that_is_only_tried_has_none() {
        static A: Mutex<()> = Mutex::new(());
        static B: Mutex<()> = Mutex::new(());
        let expectation = lockdep::expect();
        nest!(A, B);
        let b = B.lock();
        drop(A.try_lock());
        drop(A.lock_timeout(Timeout::Now)?);
        check_eq!(expectation.found().len(), 0, "problems while nobody waits in the other order");
        drop(A.lock_timeout(Timeout::In(1_000_000))?);
        drop(b);
        match only(&expectation)? {
            Problem::Order { .. } => {}
            other => return Err(Failure::new(format_args!("{other}"))),
        }
    }
}

ktest! {
    /// Readers among themselves could go on; with a writer in between they could not.
    fn readers_and_writers_and_makers_of_values_have_an_order_too() {
        static SHARED: RwLock<u32> = RwLock::new(1);
        static OTHER: Mutex<()> = Mutex::new(());
        static MADE: Lazy<u32> = Lazy::new(|| *SHARED.read());
        let expectation = lockdep::expect();
        let read = SHARED.read();
        drop(OTHER.lock());
        drop(read);
        check_eq!(*MADE.force(), 1, "the value that was made with the lock held for reading");
        check_eq!(expectation.found().len(), 0, "problems in one order");
        let other = OTHER.lock();
        drop(SHARED.write());
        drop(other);
        check_eq!(expectation.found().len(), 1, "problems after the other order of reading and the mutex");
        let write = SHARED.write_timeout(Timeout::Now)?;
        check!(SHARED.read_timeout(Timeout::Now).is_err(), "read while it is written");
        // A lock that was not had is not held: the maker of the value may take what comes before it.
        drop(write);
        drop(OTHER.lock());
        let found = expectation.found();
        check!(found.iter().all(|problem| matches!(problem, Problem::Order { .. })), "{found:?}");
    }
}

ktest! {
    /// The mutex is free, so this time nobody sleeps.
    fn a_lock_that_may_sleep_inside_one_that_must_not_is_reported() {
        static OUTER: RawSpinLock<()> = RawSpinLock::new(());
        static INNER: Mutex<()> = Mutex::new(());
        let expectation = lockdep::expect();
        let outer = OUTER.lock();
        let taken = INNER.lock_timeout(Timeout::In(1_000_000)).map(drop);
        drop(outer);
        taken?;
        match only(&expectation)? {
            Problem::Nesting(_) => {}
            other => return Err(Failure::new(format_args!("{other}"))),
        }
    }
}

ktest! {
    /// It leaves no trace among the locks that the task holds: the next order is not its.
    fn a_mutex_that_was_not_had_in_time_is_not_held() {
        static BUSY: Mutex<()> = Mutex::new(());
        static A: Mutex<()> = Mutex::new(());
        let expectation = lockdep::expect();
        let guard = BUSY.lock();
        task::build("late").spawn(|| {
            let in_time = BUSY.lock_timeout(Timeout::In(1_000)).is_ok();
            drop(A.lock());
            in_time
        })?.join();
        drop(guard);
        nest!(A, BUSY);
        check_eq!(expectation.found().len(), 0, "problems");
    }
}

ktest! {
    fn two_locks_made_at_one_place_are_not_taken_in_each_other() {
        static LOCKS: [RawSpinLock<()>; 2] = [const { RawSpinLock::new(()) }; 2];
        let expectation = lockdep::expect();
        nest!(LOCKS[0], LOCKS[1]);
        match only(&expectation)? {
            Problem::Recursion(_) => {}
            other => return Err(Failure::new(format_args!("{other}"))),
        }
    }
}

ktest! {
    only_in(models::COUNT, "in the event-driven style the raw lock of the test masks interrupts, and there is nothing to report"),
    /// The interrupt comes while nobody holds the lock, and is reported all the same.
    fn a_lock_of_an_interrupt_that_is_taken_with_interrupts_open_is_reported() {
        static LOCK: RawSpinLock<()> = RawSpinLock::new(());
        let expectation = lockdep::expect();
        drop(LOCK.lock());
        let taker = Interrupt::request(8, || drop(LOCK.lock()))?;
        taker.raise();
        match only(&expectation)? {
            Problem::Interrupted { used, open, .. } => {
                check_eq!((used.at.file(), open.at.file()), (file!(), file!()));
                check_eq!(used.at.line(), open.at.line() + 1, "the lines");
            }
            other => return Err(Failure::new(format_args!("{other}"))),
        }
    }
}

ktest! {
    only_in(models::COUNT, "in the event-driven style the raw lock of the test masks interrupts, and there is nothing to report"),
    fn a_lock_of_a_softirq_is_taken_with_bottom_halves_disabled() {
        static LOCK: RawSpinLock<()> = RawSpinLock::new(());
        if is_enabled(Key::Rt) {
            return Err(Failure::Ignored("in rt softirqs are a thread's, which can wait for a lock"));
        }
        let expectation = lockdep::expect();
        open_softirq(Vector::Timer, || drop(LOCK.lock()));
        let raiser = Interrupt::request(8, || raise_softirq_irqoff(Vector::Timer))?;
        raiser.raise();
        let bh = local_bh_disable();
        drop(LOCK.lock());
        drop(bh);
        check_eq!(expectation.found().len(), 0, "problems with bottom halves disabled");
        drop(LOCK.lock());
        match only(&expectation)? {
            Problem::Interrupted { interrupt, .. } => check_eq!(interrupt, lockdep::Interrupt::Soft),
            other => return Err(Failure::new(format_args!("{other}"))),
        }
    }
}

ktest! {
    only_in(models::RT, "in the other models local_bh_disable is no lock"),
    fn in_rt_bottom_halves_and_a_spin_lock_have_one_order() {
        static LOCK: SpinLock<()> = SpinLock::new(());
        let expectation = lockdep::expect();
        drop(spin_lock_bh(&LOCK));
        check_eq!(expectation.found().len(), 0, "problems in one order");
        let guard = LOCK.lock();
        drop(local_bh_disable());
        drop(guard);
        match only(&expectation)? {
            Problem::Order { .. } => {}
            other => return Err(Failure::new(format_args!("{other}"))),
        }
    }
}

ktest! {
    only_in(models::COUNT, "in the event-driven style the raw lock of the test masks interrupts, and there is nothing to report"),
    /// A queue's lock inside a lock that an interrupt takes: the queue's would have to be masked everywhere.
    fn an_interrupts_lock_that_leads_to_one_taken_with_interrupts_open_is_reported() {
        static OF_INTERRUPT: SchedLock<()> = SchedLock::new(());
        static OPEN: RawSpinLock<()> = RawSpinLock::new(());
        let expectation = lockdep::expect();
        let taker = Interrupt::request(8, || drop(OF_INTERRUPT.lock()))?;
        taker.raise();
        drop(OPEN.lock());
        check_eq!(expectation.found().len(), 0, "problems before one leads to the other");
        let guard = OF_INTERRUPT.lock();
        drop(OPEN.lock());
        drop(guard);
        match only(&expectation)? {
            Problem::Interrupted { way, .. } => check_eq!(way.steps.len(), 1, "steps"),
            other => return Err(Failure::new(format_args!("{other}"))),
        }
    }
}

ktest! {
    fn a_masking_lock_may_be_shared_with_an_interrupt_and_what_it_wakes() {
        static GATE: Semaphore = Semaphore::new(0);
        static LOCK: SchedLock<()> = SchedLock::new(());
        let expectation = lockdep::expect();
        let giver = Interrupt::request(8, || {
            drop(LOCK.lock());
            let _ = GATE.give();
        })?;
        let waiter = task::build("waiter").spawn(|| GATE.take())?;
        drop(LOCK.lock());
        giver.raise();
        waiter.join();
        check_eq!(expectation.found().len(), 0, "problems");
    }
}

ktest! {
    /// The documented order (docs/locking.md), as far as it was learnt until now: what is inside the run queue is the
    /// timer base or the sum of the deadline tasks, and inside those is nothing.
    fn the_run_queue_and_the_timer_base_are_the_innermost_locks() {
        const RUN_QUEUE: &str = "src/sched/runqueue.rs";
        const TIMER_BASE: &str = "src/time/hrtimer.rs";
        const DEADLINE_SUM: &str = "src/sched/dl_root.rs";
        let edges = core::iter::successors(lockdep::edge_from(0), |&(next, _)| lockdep::edge_from(next));
        let made_in = |class: lockdep::ClassId| {
            lockdep::class(class.index()).map_or("", |info| info.class.made_at.file())
        };
        let mut seen = 0;
        for (outer, inner) in edges.map(|(_, edge)| (made_in(edge.from), made_in(edge.to))) {
            seen += usize::from(inner == RUN_QUEUE);
            let is_leaf = |place| place == TIMER_BASE || place == DEADLINE_SUM;
            check!(!is_leaf(outer), "{inner} is taken inside {outer}");
            check!(outer != RUN_QUEUE || is_leaf(inner), "{inner} is taken inside the run queue");
        }
        check!(seen > 0, "no lock was held while the run queue was taken: is it hooked?");
    }
}
