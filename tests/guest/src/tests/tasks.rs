//! Tasks: making, joining, ending, parking, aborting.

use crate::framework::events::Events;
use crate::tests::{HIGH, LOW, MIDDLE};
use crate::{check, check_eq, ktest};
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use stint::sched::prio::{Policy, SchedAttr};
use stint::smp::CpuMask;
use stint::task::{self, Name, TaskMem, state};
use stint::{Error, mm};

ktest! {
    fn join_brings_the_tasks_value() {
        let text = task::build("value").fifo(LOW).spawn(|| String::from("from the other task"))?;
        check_eq!(text.join().as_deref(), Some("from the other task"));
        // And waits for one that is not ready yet.
        let late = task::build("late").spawn(|| {
            task::sleep_ms(3);
            17
        })?;
        check_eq!(late.join(), Some(17));
    }
}

ktest! {
    fn a_task_that_ends_by_exit_brings_no_value() {
        let quitter = task::build("quitter").fifo(LOW).spawn(|| -> u32 { task::exit() })?;
        check_eq!(quitter.join(), None);
    }
}

ktest! {
    /// The closure has begun and its stack is lost by design; what the kernel allocated for the task is not (the runner
    /// checks the heap).
    fn values_that_nobody_takes_are_freed_with_their_task() {
        let unwanted = Arc::new(());
        for _ in 0..3 {
            let value = Arc::clone(&unwanted);
            drop(task::build("unwanted").spawn(move || value)?);
        }
        let unbegun = Arc::clone(&unwanted);
        let ready = task::build("unbegun").spawn(move || drop(unbegun))?;
        // SAFETY: it has not begun: this task is above it.
        unsafe { ready.task().abort() }?;
        check_eq!(ready.join(), None, "the value of a task that was aborted");
        task::sleep_ms(5);
        check_eq!(Arc::strong_count(&unwanted), 1, "references to what the tasks owned");
    }
}

ktest! {
    fn a_closure_brings_its_environment_and_drops_it() {
        let shared = Arc::new(AtomicU32::new(1));
        let inside = Arc::clone(&shared);
        let other = task::build("borrower").fifo(LOW).spawn(move || inside.fetch_add(41, Ordering::Relaxed))?;
        check_eq!(other.join(), Some(1));
        check_eq!((shared.load(Ordering::Relaxed), Arc::strong_count(&shared)), (42, 1), "the value, and who refers to it");
    }
}

ktest! {
    fn several_tasks_can_wait_for_the_same_end() {
        static LOG: Events = Events::new();
        let ends = task::build("ends").spawn(|| task::sleep_ms(2))?;
        let waiters = ['a', 'b'].map(|letter| {
            let task = ends.task().clone();
            task::build("waiter").fifo(LOW).spawn(move || {
                task.wait_exited();
                LOG.mark(letter);
            })
        });
        check!(!ends.task().is_dead());
        let watched = ends.task().clone();
        ends.join();
        for waiter in waiters {
            waiter?.join();
        }
        check!(watched.is_dead());
        watched.wait_exited();
        check_eq!(LOG.text(), "ab");
    }
}

ktest! {
    /// Nobody holds a reference when it ends: the reaper frees it (the runner checks that it is gone).
    fn a_task_that_nobody_joins_is_reaped() {
        static ENDED: AtomicU32 = AtomicU32::new(0);
        for _ in 0..10 {
            drop(task::build("detached").spawn(|| {
                task::sleep_ms(1);
                ENDED.fetch_add(1, Ordering::Relaxed);
            })?);
        }
        task::sleep_ms(20);
        check_eq!(ENDED.load(Ordering::Relaxed), 10, "detached tasks that ran to their end");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_task_whose_handle_goes_after_its_end_is_freed_with_it() {
        let used = || mm::stats().heap.used_bytes;
        let before = used();
        let handle = task::build("brief").fifo(LOW).spawn(|| ())?;
        let dead = handle.task().is_dead();
        check!(dead, "it runs at once and ends");
        check!(used() > before, "its memory is gone while the handle is there");
        drop(handle);
        check_eq!(used(), before, "bytes of heap in use when the handle is gone");
    }
}

ktest! {
    /// Its memory and its closure with what that owns.
    fn a_task_that_is_never_started_is_freed_with_its_last_reference() {
        let used = || mm::stats().heap.used_bytes;
        let before = used();
        let task = task::build("unstarted").create(|_| {}, 0)?;
        check_eq!((task.state(), task.info().queued), (state::NEW, false), "state and queue of a task before its start");
        let second = task.clone();
        drop(task);
        check!(used() > before, "it is gone while there is a reference");
        drop(second);
        check_eq!(used(), before, "bytes of heap in use when the last reference is gone");
    }
}

ktest! {
    fn a_created_task_begins_when_it_is_started_with_its_argument() {
        static SEEN: AtomicUsize = AtomicUsize::new(0);
        let task = task::build("argument").fifo(LOW).create(|argument| SEEN.store(argument, Ordering::Relaxed), 4711)?;
        task::sleep_ms(1);
        check_eq!(SEEN.load(Ordering::Relaxed), 0, "it ran before it was started");
        task.start();
        task.wait_exited();
        check_eq!(SEEN.load(Ordering::Relaxed), 4711);
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_task_can_live_in_static_memory_and_the_memory_be_used_again() {
        static MEMORY: TaskMem<8192> = TaskMem::new();
        static SUM: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn add(argument: usize) -> ! {
            SUM.fetch_add(argument, Ordering::Relaxed);
            task::exit()
        }
        let used = mm::stats().heap.used_bytes;
        for round in 1..=3 {
            let attr = SchedAttr::fifo(LOW as u32).expect("a priority");
            // SAFETY: the task of the round before is dead, and its reference dropped.
            let task = unsafe { MEMORY.create(Name::new("static"), attr, add, round) };
            check_eq!((task.name(), task.info().stack_bytes), ("static", 8192), "name and stack");
            task.start();
            check!(task.is_dead());
        }
        check_eq!(SUM.load(Ordering::Relaxed), 6, "the arguments of three tasks");
        check_eq!(mm::stats().heap.used_bytes, used, "bytes of heap in use after three tasks without an allocation");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn park_waits_for_unpark_and_a_token_waits_for_park() {
        static LOG: Events = Events::new();
        let parker = task::build("parker").fifo(LOW).spawn(|| {
            LOG.mark('p');
            task::park();
            LOG.mark('1');
            task::sleep_ms(1);
            // Unparked twice meanwhile: one token.
            task::park();
            LOG.mark('2');
            task::park();
            LOG.mark('3');
        })?;
        LOG.mark('m');
        parker.task().unpark();
        LOG.mark('n');
        parker.task().unpark();
        parker.task().unpark();
        task::sleep_ms(3);
        LOG.mark('o');
        parker.task().unpark();
        parker.join();
        check_eq!(LOG.text(), "pm1n2o3");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn abort_ends_a_task_that_is_ready_or_sleeps_and_refuses_any_other() {
        static LOG: Events = Events::new();
        let sleeper = task::build("sleeper").fifo(HIGH).spawn(|| {
            task::sleep_ms(2);
            LOG.mark('s');
        })?;
        // SAFETY: it holds nothing.
        check_eq!(unsafe { sleeper.task().abort() }, Ok(()), "abort of a sleeping task");
        check_eq!(sleeper.join(), None, "the value of a sleeper that was aborted");
        task::sleep_ms(3);
        // SAFETY: it is refused.
        check_eq!(unsafe { task::current_ref().abort() }, Err(Error::Busy), "abort of the running task");
        let ready = task::build("ready").create(|_| LOG.mark('r'), 0)?;
        ready.start();
        // SAFETY: it has not begun, so it holds nothing.
        check_eq!(unsafe { ready.abort() }, Ok(()), "abort of a ready task");
        check!(ready.is_dead());
        ready.wait_exited();
        // SAFETY: it is refused.
        check_eq!(unsafe { ready.abort() }, Err(Error::Busy), "abort of a dead task");
        check_eq!(LOG.text(), "");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn abort_lets_those_who_wait_for_the_end_go_on() {
        static LOG: Events = Events::new();
        let victim = task::build("victim").create(|_| LOG.mark('v'), 0)?;
        let watched = victim.clone();
        let waiter = task::build("waiter").fifo(HIGH).spawn(move || {
            watched.wait_exited();
            LOG.mark('w');
        })?;
        victim.start();
        // SAFETY: it has not begun, so it holds nothing.
        unsafe { victim.abort() }?;
        LOG.mark('m');
        waiter.join();
        check_eq!(LOG.text(), "wm");
    }
}

ktest! {
    fn names_are_kept_up_to_fifteen_bytes_and_never_cut_inside_a_character() {
        for (given, kept) in [
            ("short", "short"),
            ("exactly-fifteen", "exactly-fifteen"),
            ("one-more-than-15", "one-more-than-1"),
            ("fourteen-bytesüx", "fourteen-bytes"),
            ("", ""),
        ] {
            let task = task::build(given).create(|_| {}, 0)?;
            check_eq!(task.name(), kept, "the name of a task called {given:?}");
            check_eq!(task.info().name.as_str(), kept);
            task.start();
            task.wait_exited();
        }
    }
}

ktest! {
    fn a_task_is_what_its_builder_says() {
        let numbers = |builder: task::Builder| -> stint::Result<(Policy, i32, usize, CpuMask)> {
            let task = builder.create(|_| {}, 0)?;
            let info = task.info();
            let affinity = task.affinity();
            task.start();
            task.wait_exited();
            Ok((info.policy, info.prio, info.stack_bytes, affinity))
        };
        check_eq!(numbers(task::build("t"))?, (Policy::Normal, 120, 16384, task::current_ref().affinity()), "policy, priority, stack, CPUs by default");
        check_eq!(numbers(task::build("t").fifo(1).stack_bytes(4096).affinity(CpuMask::of(0)))?, (Policy::Fifo, 98, 4096, CpuMask::of(0)), "FIFO 1, 4 KiB, CPU 0");
        check_eq!(numbers(task::build("t").rr(99).stack_bytes(32 * 1024).affinity(CpuMask::first_n(2)))?, (Policy::Rr, 0, 32768, CpuMask::first_n(2)), "RR 99, 32 KiB, CPUs 0 and 1");
        check_eq!(numbers(task::build("t").nice(-20))?.1, 100, "the priority of nice -20");
        check_eq!(numbers(task::build("t").nice(19))?.1, 139, "the priority of nice 19");
    }
}

ktest! {
    fn tasks_have_numbers_of_their_own_and_are_listed() {
        let tasks = [1, 2, 3].map(|_| task::build("listed").fifo(MIDDLE).spawn(|| task::sleep_ms(1)));
        let mut ids = alloc::vec::Vec::new();
        task::for_each(|task| ids.push(task.id()));
        for task in tasks {
            let task = task?;
            check_eq!(ids.iter().filter(|&&id| id == task.task().id()).count(), 1, "times that {:?} is on the list", task.task());
            task.join();
        }
        check!(ids.contains(&0), "the idle task is not on the list");
        check!(ids.contains(&task::current_ref().id()), "the running task is not on the list");
    }
}

ktest! {
    fn the_depth_of_a_stack_is_seen() {
        #[inline(never)]
        fn deep() -> u8 {
            core::hint::black_box(&mut [1; 6000])[17]
        }
        let depth = |use_more: bool| {
            task::build("depth").fifo(LOW).spawn(move || {
                if use_more {
                    deep();
                }
                task::current_ref().info().stack_used_bytes
            })
        };
        let (shallow, deep) = (depth(false)?.join().unwrap_or(0), depth(true)?.join().unwrap_or(0));
        check!(shallow > 0 && deep >= 6000 && deep >= shallow + 1000 && deep < 16384, "{shallow} bytes used, and {deep} with 6000 at once");
    }
}
