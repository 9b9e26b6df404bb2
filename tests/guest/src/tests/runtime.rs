//! M6: every cycle belongs to a task: the accounts are exact to the cycle.

use crate::framework::clock::{TickOff, hog, is_exact, spin_ns};
use crate::framework::cpus;
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicBool, Ordering};
use stint::task;
use stint::time::Timer;

/// What two identical walks over the tasks may differ by.
const BLUR_CYCLES: u64 = 3_000;

/// What one look at a task costs: it measures how deep the stack was.
const INFO_CYCLES: u64 = 50_000;

/// The cycles of all tasks of this CPU together, and the counter, as of now. (A task of another CPU is charged at that
/// CPU's next switch.)
fn accounts() -> (u64, u64) {
    let flags = arch::irqflags::local_irq_save();
    let now = arch::pmu::cycles();
    let mut sum = 0u64;
    let here = cpus::here();
    task::for_each(|task| {
        if task.cpu() == here {
            sum = sum.wrapping_add(task.info().runtime_cycles);
        }
    });
    arch::irqflags::local_irq_restore(flags);
    (sum, now)
}

ktest! {
    fn the_runtimes_of_all_tasks_add_up_to_the_elapsed_cycles() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let mut tasks = alloc::vec::Vec::new();
        for n in 0..3 {
            tasks.push(task::build("hog").nice(n).spawn(|| hog(&STOP))?);
        }
        tasks.push(task::build("sleeper").fifo(20).spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                spin_ns(50_000);
                task::sleep_ns(300_000);
            }
        })?);
        let storm = Timer::new_hard(|| {});
        storm.start_periodic(77_777)?;
        task::sleep_ms(5);
        let before = accounts();
        task::sleep_ms(50);
        let after = accounts();
        STOP.store(true, Ordering::Relaxed);
        storm.cancel();
        for task in tasks {
            task.join();
        }
        let (charged, elapsed) = (after.0.wrapping_sub(before.0), after.1.wrapping_sub(before.1));
        check!(elapsed > 0 && charged > 0);
        if is_exact() {
            check!(charged.abs_diff(elapsed) <= BLUR_CYCLES, "{charged} cycles were charged to tasks while {elapsed} passed");
        }
    }
}

ktest! {
    fn a_task_is_charged_for_what_it_uses_and_for_nothing_else() {
        let _tick = TickOff::new();
        let worker = task::build("worker").fifo(20).spawn(|| {
            let me = task::current_ref();
            let before = me.info().runtime_cycles;
            let begun = arch::pmu::cycles();
            spin_ns(10_000_000);
            let used = arch::pmu::cycles().wrapping_sub(begun);
            let after_work = me.info().runtime_cycles;
            task::sleep_ms(5);
            let after_sleep = me.info().runtime_cycles;
            (after_work.wrapping_sub(before), used, after_sleep.wrapping_sub(after_work))
        })?;
        let Some((charged, used, asleep)) = worker.join() else { return Err(crate::framework::Failure::new(format_args!("no result"))) };
        if is_exact() {
            check!(charged >= used && charged - used <= INFO_CYCLES, "it used {used} cycles and was charged {charged}");
            check!(asleep <= 2 * INFO_CYCLES, "5 ms of sleep were charged with {asleep} cycles");
        }
        check!(charged > 0);
    }
}

ktest! {
    /// Each switch is charged to the task that was left: voluntary if it slept, involuntary otherwise.
    fn switches_are_counted_by_their_kind() {
        let _tick = TickOff::new();
        let sleeper = task::build("sleeper").fifo(20).spawn(|| {
            let me = task::current_ref();
            let before = me.info().switches;
            for _ in 0..7 {
                task::sleep_ns(20_000);
            }
            let after_sleeps = me.info().switches;
            // An equal, so that a yield has somebody to yield to.
            let equal = task::build("equal").fifo(20).spawn(|| (0..3).for_each(|_| task::yield_now()));
            for _ in 0..3 {
                task::yield_now();
            }
            let after_yields = me.info().switches;
            if let Ok(equal) = equal {
                equal.join();
            }
            (before, after_sleeps, after_yields)
        })?;
        let Some((before, sleeps, yields)) = sleeper.join() else { return Err(crate::framework::Failure::new(format_args!("no result"))) };
        check_eq!((sleeps.0 - before.0, sleeps.1 - before.1), (7, 0), "voluntary and involuntary switches of seven sleeps");
        check_eq!((yields.0 - sleeps.0, yields.1 - sleeps.1), (0, 3), "voluntary and involuntary switches of three yields");
    }
}

ktest! {
    /// Each switch of the CPU is charged to exactly one task, idle included.
    fn the_switches_of_all_tasks_add_up_to_those_of_the_cpu() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let counts = || {
            let flags = arch::irqflags::local_irq_save();
            let mut sum = 0;
            task::for_each(|task| {
                let (voluntary, involuntary) = task.info().switches;
                sum += voluntary + involuntary;
            });
            let cpu = stint::sched::core::nr_switches();
            arch::irqflags::local_irq_restore(flags);
            (sum, cpu)
        };
        let mut tasks = alloc::vec::Vec::new();
        for n in 0..3 {
            tasks.push(task::build("hog").nice(n).spawn(|| hog(&STOP))?);
        }
        tasks.push(task::build("sleeper").fifo(20).spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                task::yield_now();
                task::sleep_ns(100_000);
            }
        })?);
        let before = counts();
        task::sleep_ms(30);
        let after = counts();
        STOP.store(true, Ordering::Relaxed);
        for task in tasks {
            task.join();
        }
        check!(after.1 > before.1 + 100, "only {} switches", after.1 - before.1);
        check_eq!(after.0 - before.0, after.1 - before.1, "switches of all tasks, against those of the CPU");
    }
}
