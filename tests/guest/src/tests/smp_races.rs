//! No wake-up is lost between CPUs: sleepers and wakers, time-outs, exits, aborts and changes of priority, on two or three
//! CPUs at once.
//!
//! Each test counts: what was given is what was taken, whoever was to come back has. A lost wake-up is a time-out, and one
//! too many is a sum that does not agree. Where the machine's clock is exact (`-icount`) one CPU runs at a time and the
//! rounds are few; elsewhere the CPUs are threads that really interleave.

use crate::framework::clock;
use crate::framework::cpus::on;
use crate::tests::{HIGH, LOW, MIDDLE};
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use stint::locking::{Completion, Condvar, Mutex, Semaphore};
use stint::sched::core::{schedule, wake_up_process, with_rq};
use stint::sched::prio::SchedAttr;
use stint::sched::wait::Timeout;
use stint::task::{self, JoinHandle, Name, TaskMem, state};
use stint::{Error, Result};

/// Long after everything is over, in any of the tests.
const PATIENCE: Timeout = Timeout::In(20_000_000_000);

/// So many rounds where CPUs interleave, fewer where they take turns.
fn rounds(parallel: u32) -> u32 {
    const TIMES: u32 = match option_env!("STINT_SMP_ROUNDS") {
        Some(_) => 1000,
        None => 1,
    };
    if clock::is_exact() { (parallel / 4).max(50) } else { parallel * TIMES }
}

/// A cheap sequence of numbers that are not alike.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) % below
    }
}

/// A task on `cpu` at `prio`.
fn there<T: Send + 'static>(
    cpu: usize,
    prio: i32,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    on(cpu, task::build("there")).fifo(prio).spawn(body)
}

ktest! {
    needs_cpus(2),
    fn two_cpus_give_each_other_a_semaphore_and_none_is_lost() {
        static PING: Semaphore = Semaphore::new(0);
        static PONG: Semaphore = Semaphore::new(0);
        let rounds = rounds(5000);
        let other = there(1, LOW, move || (0..rounds).take_while(|_| {
            PING.take_timeout(PATIENCE).is_ok() && PONG.give().is_ok()
        }).count())?;
        let mut came = 0;
        for _ in 0..rounds {
            check_eq!(PING.give(), Ok(()));
            if PONG.take_timeout(PATIENCE).is_err() {
                break;
            }
            came += 1;
        }
        check_eq!(came, rounds, "answers");
        check_eq!(other.join(), Some(rounds as usize), "questions");
    }
}

ktest! {
    needs_cpus(2),
    /// P2: the request is the flag of the task that runs there, and an interrupt that folds it.
    fn a_task_woken_on_another_cpu_preempts_what_runs_there() {
        static GATE: Semaphore = Semaphore::new(0);
        static SPINS: AtomicBool = AtomicBool::new(false);
        static CAME: AtomicBool = AtomicBool::new(false);
        for _ in 0..rounds(200) {
            SPINS.store(false, Ordering::Relaxed);
            CAME.store(false, Ordering::Relaxed);
            let high = there(1, HIGH, || {
                GATE.take();
                CAME.store(true, Ordering::Release);
            })?;
            let low = there(1, LOW, || {
                SPINS.store(true, Ordering::Release);
                while !CAME.load(Ordering::Acquire) {
                    arch::cpu::relax();
                    task_point();
                }
            })?;
            while !SPINS.load(Ordering::Acquire) {
                arch::cpu::relax();
            }
            check_eq!(GATE.give(), Ok(()));
            high.join();
            low.join();
        }
    }
}

/// The scheduling point of the models that have no others.
fn task_point() {
    stint::preempt::cond_resched();
}

ktest! {
    needs_cpus(3),
    fn a_time_out_on_one_cpu_and_a_grant_on_another_are_one_or_the_other() {
        static UNITS: Semaphore = Semaphore::new(0);
        static DONE: AtomicBool = AtomicBool::new(false);
        DONE.store(false, Ordering::Relaxed);
        let rounds = rounds(2000);
        let taker = there(1, LOW, move || {
            let mut dice = Dice(1);
            let mut taken = 0;
            for _ in 0..rounds {
                let ns = u64::from(dice.roll(30_000));
                taken += u32::from(UNITS.take_timeout(Timeout::In(ns)).is_ok());
            }
            DONE.store(true, Ordering::Release);
            taken
        })?;
        let giver = there(2, LOW, || {
            let mut dice = Dice(2);
            let mut given = 0;
            while !DONE.load(Ordering::Acquire) {
                clock::work(dice.roll(3000));
                if UNITS.count() < 2 {
                    given += u32::from(UNITS.give().is_ok());
                }
                task_point();
            }
            given
        })?;
        let (taken, given) = (taker.join(), giver.join());
        let mut left = 0;
        while UNITS.try_take().is_ok() {
            left += 1;
        }
        check_eq!(taken.map(|taken| taken + left), given, "units taken and left, and units given");
    }
}

ktest! {
    needs_cpus(3),
    /// The waiter also waits on queues, from which nobody but a grant may wake it.
    fn two_cpus_that_wake_one_task_by_hand_wake_it_and_nothing_else() {
        static EVENTS: AtomicU32 = AtomicU32::new(0);
        static STOP: AtomicBool = AtomicBool::new(false);
        static UNITS: Semaphore = Semaphore::new(0);
        static WANTED: AtomicU32 = AtomicU32::new(0);
        let rounds = rounds(2000);
        STOP.store(false, Ordering::Relaxed);
        let waiter = there(1, MIDDLE, move || {
            let mut seen = 0;
            let mut units = 0;
            while seen < rounds {
                task::set_current_state(state::INTERRUPTIBLE);
                if EVENTS.load(Ordering::Acquire) == seen {
                    schedule();
                } else {
                    task::set_current_state(state::RUNNING);
                }
                let now = EVENTS.load(Ordering::Acquire);
                if now != seen {
                    seen += 1;
                    // One unit for each: it comes from the other wakers, while wake-ups by hand keep coming.
                    WANTED.fetch_add(1, Ordering::Release);
                    if UNITS.take_timeout(PATIENCE).is_ok() {
                        units += 1;
                    }
                }
            }
            STOP.store(true, Ordering::Release);
            units
        })?;
        let waker = |cpu: usize, id: usize| {
            let waiter = waiter.task().clone();
            there(cpu, LOW, move || {
                let mut dice = Dice(id as u32);
                while !STOP.load(Ordering::Acquire) {
                    if EVENTS.load(Ordering::Relaxed) < rounds && WANTED.load(Ordering::Acquire) == EVENTS.load(Ordering::Relaxed) {
                        // Both may come here: the sum is bounded by the number of rounds all the same.
                        let events = WANTED.load(Ordering::Acquire);
                        let _ = EVENTS.compare_exchange(events, events + 1, Ordering::AcqRel, Ordering::Relaxed);
                    }
                    wake_up_process(&waiter);
                    let wanted = WANTED.load(Ordering::Acquire);
                    if id == 0 && GIVEN.load(Ordering::Relaxed) < wanted {
                        GIVEN.fetch_add(1, Ordering::Relaxed);
                        let _ = UNITS.give();
                    }
                    clock::work(dice.roll(100));
                    task_point();
                }
            })
        };
        static GIVEN: AtomicU32 = AtomicU32::new(0);
        let wakers = [waker(0, 0)?, waker(2, 1)?];
        check_eq!(waiter.join(), Some(rounds), "units that were given and not a time-out or a false wake-up");
        for waker in wakers {
            waker.join();
        }
        for counter in [&EVENTS, &WANTED, &GIVEN] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

ktest! {
    needs_cpus(2),
    /// The joiner takes stack and task back at once, while the other CPU may still be on its way out of them.
    fn tasks_that_end_on_one_cpu_and_are_joined_on_another_leave_their_memory_whole() {
        for round in 0..rounds(400) {
            let ended = on(1, task::build("ends")).fifo(LOW).spawn(move || round)?;
            check_eq!(ended.join(), Some(round), "what it left");
        }
        // With nobody to join them the reaper does it, on whatever CPU.
        for _ in 0..rounds(100) {
            drop(on(1, task::build("ends")).fifo(LOW).spawn(|| ())?);
        }
    }
}

ktest! {
    needs_cpus(2),
    fn memory_of_the_caller_is_his_again_when_a_task_of_another_cpu_has_ended() {
        static MEMORY: TaskMem<4096> = TaskMem::new();
        static RUNS: AtomicU32 = AtomicU32::new(0);
        extern "C" fn body(_: usize) -> ! {
            RUNS.fetch_add(1, Ordering::Relaxed);
            task::exit()
        }
        RUNS.store(0, Ordering::Relaxed);
        let rounds = rounds(500);
        let attr = SchedAttr::fifo(LOW as u32).map_err(Error::from)?;
        for _ in 0..rounds {
            // SAFETY: the task before is dead and dropped.
            let task = unsafe { MEMORY.create(Name::new("callers"), attr, body, 0) };
            task.set_affinity(stint::smp::CpuMask::of(1))?;
            task.start();
            task.wait_exited();
        }
        check_eq!(RUNS.load(Ordering::Relaxed), rounds, "tasks that ran");
    }
}

ktest! {
    needs_cpus(3),
    fn a_mutex_with_inheritance_goes_from_cpu_to_cpu() {
        static INNER: Mutex<u64> = Mutex::new(0);
        static OUTER: Mutex<u64> = Mutex::new(0);
        *OUTER.lock() = 0;
        *INNER.lock() = 0;
        let rounds = rounds(1000);
        let worker = |cpu: usize, prio: i32| {
            there(cpu, prio, move || {
                let mut dice = Dice(cpu as u32);
                let mut done = 0;
                for _ in 0..rounds {
                    let mut outer = OUTER.lock();
                    // A time-out in the middle of a chain takes its priority back.
                    if dice.roll(4) == 0 {
                        if let Ok(mut inner) = INNER.lock_timeout(Timeout::In(u64::from(dice.roll(2000)))) {
                            *inner += 1;
                        }
                    } else {
                        *INNER.lock() += 1;
                    }
                    *outer += 1;
                    done += 1;
                    drop(outer);
                    if dice.roll(8) == 0 {
                        task::sleep_ns(1000);
                    }
                }
                done
            })
        };
        // And one that holds the inner one alone, the lowest: all boost it.
        let low = there(0, LOW, move || {
            let mut dice = Dice(77);
            for _ in 0..rounds {
                let inner = INNER.lock();
                clock::work(dice.roll(200));
                drop(inner);
                clock::work(dice.roll(200));
            }
        })?;
        let workers = [worker(1, MIDDLE)?, worker(2, HIGH)?, worker(1, HIGH)?, worker(2, LOW)?];
        let mut done = 0;
        for worker in workers {
            done += worker.join().unwrap_or(0);
        }
        low.join();
        check_eq!(done, rounds * 4, "sections");
        check_eq!(*OUTER.lock(), u64::from(done), "sections, as the mutex counted them");
        let prio = task::current_ref().info().prio;
        check_eq!(prio, task::current_ref().info().attr.normal_prio(), "the priority of who waited for none");
    }
}

ktest! {
    needs_cpus(2),
    fn a_notification_from_another_cpu_between_release_and_sleep_is_not_lost() {
        static COUNT: Mutex<u32> = Mutex::new(0);
        static CHANGED: Condvar = Condvar::new();
        *COUNT.lock() = 0;
        let rounds = rounds(2000);
        let step = move |mine: u32| {
            let mut late = 0;
            let mut count = COUNT.lock();
            while *count < rounds {
                while *count < rounds && *count % 2 != mine {
                    let (back, result) = CHANGED.wait_timeout(count, PATIENCE);
                    late += u32::from(result.is_err());
                    count = back;
                }
                if *count < rounds {
                    *count += 1;
                }
                CHANGED.notify_one();
            }
            late
        };
        let other = there(1, LOW, move || step(1))?;
        check_eq!(step(0), 0, "time-outs here");
        check_eq!(other.join(), Some(0), "time-outs there");
        check_eq!(*COUNT.lock(), rounds);
    }
}

ktest! {
    needs_cpus(2),
    /// The waiter overwrites the completion as soon as it has returned: who completed it must have let go of it.
    fn a_completion_may_go_as_soon_as_its_waiter_has_returned() {
        struct Place(UnsafeCell<MaybeUninit<Completion>>);
        // SAFETY: the waiter alone writes it, before it publishes it and after it was told that all is done.
        unsafe impl Sync for Place {}
        static PLACE: Place = Place(UnsafeCell::new(MaybeUninit::uninit()));
        static HERE: AtomicPtr<Completion> = AtomicPtr::new(ptr::null_mut());
        let rounds = rounds(2000);
        let completer = there(1, LOW, move || {
            for round in 0..rounds {
                let done = loop {
                    let found = HERE.swap(ptr::null_mut(), Ordering::Acquire);
                    // SAFETY: the waiter keeps it until it is complete.
                    match unsafe { found.as_ref() } {
                        Some(done) => break done,
                        None => { arch::cpu::relax(); task_point(); }
                    }
                };
                if round % 2 == 0 { done.complete() } else { done.complete_all() }
            }
        })?;
        for round in 0..rounds {
            // SAFETY: nobody uses the one before: its waiter, this task, has returned.
            let done = unsafe { (*PLACE.0.get()).write(Completion::new()) };
            HERE.store(ptr::from_mut(done), Ordering::Release);
            let done = &*done;
            if done.wait_timeout(PATIENCE).is_err() {
                check!(false, "round {round}: the completion was not seen, or its lock was left taken");
            }
        }
        completer.join();
    }
}

ktest! {
    needs_cpus(3),
    fn an_abort_that_races_a_grant_ends_the_task_or_leaves_it_whole() {
        static UNITS: Semaphore = Semaphore::new(0);
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        let mut aborted = 0;
        let mut dice = Dice(3);
        for _ in 0..rounds(200) {
            TAKEN.store(0, Ordering::Relaxed);
            let victim = there(1, LOW, || {
                let timeout = Timeout::In(50_000);
                if UNITS.take_timeout(timeout).is_ok() {
                    TAKEN.store(1, Ordering::Release);
                }
                task::sleep_ns(20_000);
            })?;
            let giver = there(2, LOW, || UNITS.give())?;
            clock::work(dice.roll(2000));
            // SAFETY: it owns nothing but its stack.
            match unsafe { victim.task().abort() } {
                Ok(()) => {
                    aborted += 1;
                    check!(victim.task().is_dead(), "aborted, and its state is {:#x}", victim.task().state());
                }
                Err(error) => check_eq!(error, Error::Busy),
            }
            check_eq!(giver.join(), Some(Ok(())));
            check_eq!(victim.task().clone().state() == state::DEAD || victim.join().is_some(), true);
            while UNITS.try_take().is_ok() {}
        }
        check!(aborted > 0, "no abort met a task that did not run");
    }
}

ktest! {
    needs_cpus(3),
    fn a_priority_changed_from_another_cpu_finds_the_task_on_its_queue_or_is_found_there() {
        static UNITS: Semaphore = Semaphore::new(0);
        static DONE: AtomicBool = AtomicBool::new(false);
        static TAKEN: AtomicU64 = AtomicU64::new(0);
        DONE.store(false, Ordering::Relaxed);
        TAKEN.store(0, Ordering::Relaxed);
        let rounds = rounds(2000);
        let taker = there(1, LOW, move || {
            for _ in 0..rounds {
                if UNITS.take_timeout(PATIENCE).is_err() {
                    break;
                }
                TAKEN.fetch_add(1, Ordering::Release);
            }
            DONE.store(true, Ordering::Release);
        })?;
        let changed = taker.task().clone();
        let changer = there(2, LOW, move || {
            let mut dice = Dice(9);
            while !DONE.load(Ordering::Acquire) {
                let _ = changed.set_param([LOW, MIDDLE, HIGH][dice.roll(3) as usize]);
                if dice.roll(16) == 0 {
                    let _ = changed.set_scheduler(SchedAttr::NORMAL);
                    let _ = SchedAttr::fifo(LOW as u32).map(|attr| changed.set_scheduler(attr));
                }
                task_point();
            }
        })?;
        let giver = there(0, LOW, move || {
            for given in 0..u64::from(rounds) {
                let _ = UNITS.give();
                while TAKEN.load(Ordering::Acquire) + 2 < given && !DONE.load(Ordering::Acquire) {
                    arch::cpu::relax();
                    task_point();
                }
            }
        })?;
        taker.join();
        changer.join();
        giver.join();
        check_eq!(TAKEN.load(Ordering::Relaxed), u64::from(rounds), "units taken");
    }
}

ktest! {
    needs_cpus(2),
    /// Were it to wait, it would wait for what comes behind it.
    fn a_waker_does_not_wait_for_a_run_queue_that_is_locked() {
        static GATES: [Semaphore; 20] = [const { Semaphore::new(0) }; 20];
        static LOCKED: AtomicBool = AtomicBool::new(false);
        static GIVEN: AtomicBool = AtomicBool::new(false);
        LOCKED.store(false, Ordering::Relaxed);
        GIVEN.store(false, Ordering::Relaxed);
        // More than one interrupt wakes.
        let mut waiters = Vec::new();
        for gate in &GATES {
            waiters.push(there(1, HIGH, || gate.take_timeout(PATIENCE))?);
        }
        for waiter in &waiters {
            while waiter.task().info().queued {
                arch::cpu::relax();
            }
        }
        let holder = there(1, LOW, || {
            with_rq(|_| {
                LOCKED.store(true, Ordering::Release);
                while !GIVEN.load(Ordering::Acquire) {
                    arch::cpu::relax();
                }
            });
        })?;
        while !LOCKED.load(Ordering::Acquire) {
            arch::cpu::relax();
        }
        for gate in &GATES {
            check_eq!(gate.give(), Ok(()));
        }
        GIVEN.store(true, Ordering::Release);
        for waiter in waiters {
            check_eq!(waiter.join(), Some(Ok(())), "a task that was handed over to its CPU");
        }
        holder.join();
    }
}

ktest! {
    needs_cpus(2),
    /// The waker has seen that the task waits, and waits for its run queue, while the task finds its condition and goes on.
    fn a_wake_up_by_hand_that_comes_too_late_wakes_nobody() {
        static COMES: AtomicBool = AtomicBool::new(false);
        static READY: AtomicBool = AtomicBool::new(false);
        for _ in 0..rounds(200) {
            COMES.store(false, Ordering::Relaxed);
            READY.store(false, Ordering::Relaxed);
            let waiter = there(1, LOW, || {
                task::set_current_state(state::INTERRUPTIBLE);
                with_rq(|_| {
                    READY.store(true, Ordering::Release);
                    while !COMES.load(Ordering::Acquire) {
                        arch::cpu::relax();
                    }
                    // Long enough for the waker to be at the lock, as a rule; if it is not, it finds the same.
                    clock::work(2000);
                    task::set_current_state(state::RUNNING);
                });
            })?;
            while !READY.load(Ordering::Acquire) {
                arch::cpu::relax();
            }
            let flags = arch::irqflags::local_irq_save();
            COMES.store(true, Ordering::Release);
            let woken = wake_up_process(waiter.task());
            arch::irqflags::local_irq_restore(flags);
            waiter.join();
            check!(!woken, "a task that had gone on by itself was woken");
        }
    }
}
