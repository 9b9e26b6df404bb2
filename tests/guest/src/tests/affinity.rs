//! Which CPUs a task may run on.

use crate::framework::{Failure, Outcome, cpus};
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use stint::locking::Semaphore;
use stint::sched::migrate_disable;
use stint::sched::stop::stop_machine;
use stint::smp::CpuMask;
use stint::{task, time};

/// Leaves a test that needs more CPUs than there are.
macro_rules! need_cpus {
    ($count:expr) => {
        if cpus::online() < $count {
            return Err(Failure::Ignored("not enough CPUs"));
        }
    };
}

ktest! {
    fn a_task_may_run_where_its_maker_may() {
        let pinned = CpuMask::of(0).with(5);
        let cpus = task::build("maker").fifo(20).affinity(pinned).spawn(|| {
            let plain = task::build("plain").create(|_| {}, 0).map(|task| task.affinity());
            let other = task::build("other").affinity(CpuMask::first_n(3)).create(|_| {}, 0).map(|task| task.affinity());
            (plain, other)
        })?;
        check_eq!(cpus.join(), Some((Ok(pinned), Ok(CpuMask::first_n(3)))), "of a task that says nothing, and of one that does");
    }
}

/// The CPUs on which a task finds itself, one bit each, as often as it looks.
#[derive(Default)]
struct Seen(AtomicU64);

impl Seen {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn look(&self) {
        self.0.fetch_or(1 << cpus::here(), SeqCst);
    }

    fn take(&self) -> CpuMask {
        CpuMask::from_bits(self.0.swap(0, SeqCst))
    }
}

/// Waits, with the CPU given up, until `condition` holds; the limit is out of reach of a machine that works.
fn wait_for(what: &str, condition: impl Fn() -> bool) -> Outcome {
    let limit = time::now_ns() + 10_000_000_000;
    while !condition() {
        check!(time::now_ns() < limit, "did not happen in 10 s: {what}");
        task::sleep_ns(50_000);
    }
    Ok(())
}

ktest! {
    fn a_running_task_is_moved_when_its_set_changes() {
        static SEEN: Seen = Seen::new();
        static STOP: AtomicBool = AtomicBool::new(false);
        need_cpus!(3);
        STOP.store(false, SeqCst);
        let spinner = cpus::on(1, task::build("spinner").fifo(20)).spawn(|| {
            while !STOP.load(SeqCst) {
                SEEN.look();
                core::hint::spin_loop();
            }
        })?;
        wait_for("the task runs on CPU 1", || SEEN.take() == CpuMask::of(1))?;
        for cpu in [2, 1, 2] {
            spinner.task().set_affinity(CpuMask::of(cpu))?;
            SEEN.take();
            check_eq!(spinner.task().cpu(), cpu, "where the task is when set_affinity has returned");
            wait_for("the task goes on", || SEEN.take() == CpuMask::of(cpu))?;
        }
        STOP.store(true, SeqCst);
        spinner.join();
    }
}

ktest! {
    fn a_task_that_waits_for_the_cpu_is_moved_when_its_set_changes() {
        static SEEN: Seen = Seen::new();
        need_cpus!(2);
        SEEN.take();
        // Less than the test's own task, which does not give up CPU 0.
        let waiting = task::build("waiting").spawn(|| SEEN.look())?;
        check_eq!(waiting.task().cpu(), 0);
        waiting.task().set_affinity(CpuMask::of(1))?;
        let limit = time::now_ns() + 10_000_000_000;
        while !waiting.task().is_dead() {
            check!(time::now_ns() < limit, "the task does not run on CPU 1");
            core::hint::spin_loop();
        }
        check_eq!(SEEN.take(), CpuMask::of(1), "where it ran");
    }
}

ktest! {
    fn a_sleeping_task_wakes_where_its_set_says() {
        static GATE: Semaphore = Semaphore::new(0);
        static SEEN: Seen = Seen::new();
        need_cpus!(3);
        for policy in [task::build("fifo").fifo(20), task::build("fair")] {
            SEEN.take();
            let sleeper = cpus::on(1, policy).spawn(|| {
                for _ in 0..3 {
                    GATE.take();
                    SEEN.look();
                }
            })?;
            for (cpus, expected) in [(CpuMask::of(2), CpuMask::of(2)), (CpuMask::of(1), CpuMask::of(1)), (CpuMask::of(0), CpuMask::of(0))] {
                wait_for("the task waits", || sleeper.task().state() & task::state::UNINTERRUPTIBLE != 0)?;
                sleeper.task().set_affinity(cpus)?;
                GATE.give()?;
                wait_for("the task looks", || SEEN.0.load(SeqCst) != 0)?;
                check_eq!(SEEN.take(), expected, "where it woke");
            }
            sleeper.join();
        }
    }
}

ktest! {
    fn a_task_moves_itself() {
        need_cpus!(4);
        let seen = cpus::on(1, task::build("mover").fifo(20)).spawn(|| {
            [2, 3, 1, 0, 3].map(|cpu| (task::current_ref().set_affinity(CpuMask::of(cpu)).map(|()| cpus::here()), cpu))
        })?;
        for (found, cpu) in seen.join().into_iter().flatten() {
            check_eq!(found, Ok(cpu));
        }
    }
}

ktest! {
    fn a_section_without_migration_holds_the_task_where_it_is() {
        static GATE: Semaphore = Semaphore::new(0);
        static SEEN: Seen = Seen::new();
        static INSIDE: AtomicBool = AtomicBool::new(false);
        static MOVED: AtomicBool = AtomicBool::new(false);
        need_cpus!(3);
        for flag in [&INSIDE, &MOVED] {
            flag.store(false, SeqCst);
        }
        SEEN.take();
        let bound = cpus::on(1, task::build("bound").fifo(20)).spawn(|| {
            let outer = migrate_disable();
            let inner = migrate_disable();
            INSIDE.store(true, SeqCst);
            // It may sleep in there.
            GATE.take();
            SEEN.look();
            drop(inner);
            GATE.take();
            SEEN.look();
            drop(outer);
            cpus::here()
        })?;
        wait_for("the section begins", || INSIDE.load(SeqCst))?;
        let task = bound.task().clone();
        let mover = task::build("mover").fifo(20).spawn(move || {
            let result = task.set_affinity(CpuMask::of(2));
            MOVED.store(true, SeqCst);
            result
        })?;
        for _ in 0..2 {
            wait_for("the bound task waits", || bound.task().state() & task::state::UNINTERRUPTIBLE != 0)?;
            check!(!MOVED.load(SeqCst), "set_affinity returned while the task was bound");
            GATE.give()?;
            wait_for("the bound task goes on", || SEEN.0.load(SeqCst) != 0)?;
            check_eq!(SEEN.take(), CpuMask::of(1), "where it woke inside the section");
        }
        check_eq!(bound.join(), Some(2), "where it is behind the section");
        check_eq!(mover.join(), Some(Ok(())));
    }
}

ktest! {
    fn stop_machine_holds_all_cpus() {
        static COUNTS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
        static STOP: AtomicBool = AtomicBool::new(false);
        need_cpus!(2);
        STOP.store(false, SeqCst);
        let count = cpus::online().min(4);
        let spinners: alloc::vec::Vec<_> = (1..count).map(|cpu| {
            cpus::on(cpu, task::build("counter").fifo(50)).spawn(move || {
                while !STOP.load(SeqCst) {
                    COUNTS[cpu].fetch_add(1, SeqCst);
                }
            })
        }).collect::<Result<_, _>>()?;
        for round in 0..20 {
            let before: [u64; 4] = core::array::from_fn(|cpu| COUNTS[cpu].load(SeqCst));
            wait_for("all count", || (1..count).all(|cpu| COUNTS[cpu].load(SeqCst) > before[cpu]))?;
            let (first, second) = stop_machine(|| {
                let look = || core::array::from_fn::<u64, 4, _>(|cpu| COUNTS[cpu].load(SeqCst));
                let first = look();
                for _ in 0..1000 {
                    core::hint::spin_loop();
                }
                (first, look())
            });
            check_eq!(first, second, "counters in round {round}");
        }
        STOP.store(true, SeqCst);
        for spinner in spinners {
            spinner.join();
        }
    }
}
