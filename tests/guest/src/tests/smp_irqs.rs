//! Interrupt lines, softirqs and tasklets of several CPUs.

use super::irq_lines::{HARD, SPI};
use crate::framework::clock::{self, spin_ns};
use crate::framework::cpus::{here, on, others};
use crate::framework::softirqs::SoftirqsFirst;
use crate::tests::LOW;
use crate::{check, check_eq, ktest};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use stint::Error;
use stint::drivers::irqchip;
use stint::irq::softirq::{Vector, local_bh_disable, open_softirq, raise_softirq, runs_on};
use stint::irq::tasklet::Tasklet;
use stint::irq::{self, IrqFlags, IrqReturn};
use stint::smp::hotplug::{cpu_down, cpu_up};
use stint::smp::{self, CpuMask};
use stint::task;
use stint::time::{Timer, now_ns};

/// So many rounds where CPUs interleave, fewer where they take turns.
fn rounds(parallel: u32) -> u32 {
    if clock::is_exact() { (parallel / 20).max(50) } else { parallel }
}

/// Waits, and lets tasks of this CPU run.
fn until(condition: impl Fn() -> bool) -> bool {
    let limit = now_ns() + 20_000_000_000;
    while !condition() {
        if now_ns() > limit {
            return false;
        }
        task::sleep_ns(20_000);
    }
    true
}

ktest! {
    needs_cpus(2),
    fn a_shared_interrupt_is_handled_on_the_cpu_that_it_is_sent_to_and_counted_there() {
        static CPU: AtomicUsize = AtomicUsize::new(usize::MAX);
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let id = irq::request_irq(SPI, HARD, "where", |_| {
            CPU.store(here(), Ordering::Relaxed);
            CALLS.fetch_add(1, Ordering::Release);
            IrqReturn::Handled
        })?;
        for cpu in others().chain([0]) {
            check_eq!(irq::irq_set_affinity(SPI, CpuMask::of(cpu)), Ok(()));
            check_eq!(irq::irq_target(SPI), Some(cpu));
            let (calls, counted) = (CALLS.load(Ordering::Acquire), irq::count_on(SPI, cpu));
            irqchip::set_pending(0, SPI);
            check!(until(|| CALLS.load(Ordering::Acquire) > calls), "CPU {cpu} does not take it");
            check_eq!(CPU.load(Ordering::Relaxed), cpu, "the CPU of the handler");
            check!(until(|| irq::count_on(SPI, cpu) == counted + 1), "{} are counted on CPU {cpu}, expected {}", irq::count_on(SPI, cpu), counted + 1);
        }
        // The lowest of several.
        check_eq!(irq::irq_set_affinity(SPI, smp::online().without(0)), Ok(()));
        check_eq!(irq::irq_target(SPI), smp::online().without(0).first());
        check_eq!(irq::irq_set_affinity(8, CpuMask::of(0)), Err(Error::BadIrq { irq: 8 }), "a CPU's own");
        irq::free_irq(id)?;
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::ALL), Ok(()));
    }
}

ktest! {
    needs_cpus(2),
    /// What lies on a CPU for later when it goes, and is due while it is away.
    fn timers_and_lines_of_a_cpu_that_goes_are_served_elsewhere_and_lines_come_back_with_it() {
        static LINE_CPU: AtomicUsize = AtomicUsize::new(usize::MAX);
        static EXPIRED: [AtomicUsize; 2] = [const { AtomicUsize::new(usize::MAX) }; 2];
        static SLEPT: AtomicBool = AtomicBool::new(false);
        // Longer than it takes to go.
        const LATER_NS: u64 = 200_000_000;
        let last = smp::online().count() - 1;
        LINE_CPU.store(usize::MAX, Ordering::Relaxed);
        EXPIRED.iter().for_each(|cpu| cpu.store(usize::MAX, Ordering::Relaxed));
        SLEPT.store(false, Ordering::Relaxed);
        let id = irq::request_irq(SPI, HARD, "goes", |_| {
            LINE_CPU.store(here(), Ordering::Release);
            IrqReturn::Handled
        })?;
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::of(last)), Ok(()));
        let timers = Arc::new([
            Timer::new_hard(|| EXPIRED[0].store(here(), Ordering::Release)),
            Timer::new(|| EXPIRED[1].store(here(), Ordering::Release)),
        ]);
        let theirs = Arc::clone(&timers);
        on(last, task::build("starts")).spawn(move || theirs.iter().for_each(|timer| timer.start_once(LATER_NS)))?.join();
        let sleeper = on(last, task::build("sleeps")).spawn(|| {
            task::sleep_ns(LATER_NS);
            SLEPT.store(true, Ordering::Release);
        })?;
        check!(until(|| !sleeper.task().info().queued), "the task does not sleep");
        check_eq!(cpu_down(last), Ok(()), "turning CPU {last} off");
        let target = irq::irq_target(SPI);
        irqchip::set_pending(0, SPI);
        let is_taken = until(|| LINE_CPU.load(Ordering::Acquire) != usize::MAX);
        let has_slept = until(|| SLEPT.load(Ordering::Acquire));
        let have_expired = until(|| EXPIRED.iter().all(|cpu| cpu.load(Ordering::Acquire) != usize::MAX));
        // First: no other test is to miss it.
        check_eq!(cpu_up(last), Ok(()), "turning CPU {last} on");
        check!(target.is_some_and(|cpu| cpu != last), "the line went to CPU {target:?} while CPU {last} was off");
        check!(is_taken && LINE_CPU.load(Ordering::Relaxed) != last, "the line's interrupt was lost");
        check!(has_slept, "a task that slept on CPU {last} does not wake");
        check!(have_expired, "timers that were started on CPU {last} do not go off");
        check_eq!(irq::irq_target(SPI), Some(last), "where the line goes when its CPU is back");
        sleeper.join();
        irq::free_irq(id)?;
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::ALL), Ok(()));
    }
}

ktest! {
    needs_cpus(2),
    fn the_thread_of_a_line_follows_it_to_another_cpu() {
        static CPU: AtomicUsize = AtomicUsize::new(usize::MAX);
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let flags = IrqFlags::EDGE | IrqFlags::ONESHOT;
        let id = irq::request_threaded_irq(SPI, None, |_| {
            CPU.store(here(), Ordering::Relaxed);
            CALLS.fetch_add(1, Ordering::Release);
            IrqReturn::Handled
        }, flags, "follows")?;
        for cpu in [0, 1, 0, 1] {
            check_eq!(irq::irq_set_affinity(SPI, CpuMask::of(cpu)), Ok(()));
            let calls = CALLS.load(Ordering::Acquire);
            irqchip::set_pending(0, SPI);
            check!(until(|| CALLS.load(Ordering::Acquire) > calls), "the thread does not come");
            check_eq!(CPU.load(Ordering::Relaxed), cpu, "the CPU of the thread");
        }
        irq::free_irq(id)?;
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::ALL), Ok(()));
    }
}

ktest! {
    needs_cpus(2),
    fn free_irq_waits_for_a_handler_on_another_cpu() {
        static INSIDE: AtomicBool = AtomicBool::new(false);
        static DONE: AtomicBool = AtomicBool::new(false);
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::of(1)), Ok(()));
        for _ in 0..20 {
            INSIDE.store(false, Ordering::Relaxed);
            DONE.store(false, Ordering::Relaxed);
            let id = irq::request_irq(SPI, HARD, "long", |_| {
                INSIDE.store(true, Ordering::Release);
                spin_ns(100_000);
                DONE.store(true, Ordering::Release);
                IrqReturn::Handled
            })?;
            irqchip::set_pending(0, SPI);
            while !INSIDE.load(Ordering::Acquire) {
                arch::cpu::relax();
            }
            irq::free_irq(id)?;
            check!(DONE.load(Ordering::Acquire), "free_irq returned while the handler was running");
        }
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::ALL), Ok(()));
    }
}

ktest! {
    needs_cpus(3),
    fn no_interrupt_is_lost_while_its_line_moves() {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        static STOP: AtomicBool = AtomicBool::new(false);
        let id = irq::request_irq(SPI, HARD, "moves", |_| {
            CALLS.fetch_add(1, Ordering::Release);
            IrqReturn::Handled
        })?;
        let mover = on(1, task::build("mover")).fifo(LOW).spawn(|| {
            let mut moves = 0u32;
            while !STOP.load(Ordering::Relaxed) {
                for cpu in smp::online().iter() {
                    moves += u32::from(irq::irq_set_affinity(SPI, CpuMask::of(cpu)).is_ok());
                }
                stint::preempt::cond_resched();
                arch::cpu::relax();
            }
            moves
        })?;
        let rounds = rounds(1000);
        let mut lost = 0;
        for round in 1..=rounds {
            irqchip::set_pending(0, SPI);
            let limit = now_ns() + 2_000_000_000;
            while CALLS.load(Ordering::Acquire) < round && now_ns() < limit {
                arch::cpu::relax();
            }
            lost += u32::from(CALLS.load(Ordering::Acquire) < round);
            if lost > 0 {
                break;
            }
        }
        STOP.store(true, Ordering::Relaxed);
        let moves = mover.join();
        check_eq!((CALLS.load(Ordering::Acquire), lost), (rounds, 0), "handled, and lost");
        check!(clock::is_exact() || moves.is_some_and(|moves| moves > 0), "the line never moved");
        irq::free_irq(id)?;
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::ALL), Ok(()));
    }
}

ktest! {
    needs_cpus(2),
    fn a_oneshot_line_of_another_cpu_serves_each_interrupt_once() {
        static SERVED: AtomicU32 = AtomicU32::new(0);
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::of(1)), Ok(()));
        let flags = IrqFlags::EDGE | IrqFlags::ONESHOT;
        let id = irq::request_threaded_irq(SPI, None, |_| {
            SERVED.fetch_add(1, Ordering::Release);
            IrqReturn::Handled
        }, flags, "oneshot")?;
        let rounds = rounds(500);
        for round in 1..=rounds {
            irqchip::set_pending(0, SPI);
            // Disabled and enabled from here in the middle of it.
            irq::disable_irq_nosync(SPI)?;
            irq::enable_irq(SPI)?;
            let limit = now_ns() + 2_000_000_000;
            while SERVED.load(Ordering::Acquire) < round && now_ns() < limit {
                arch::cpu::relax();
                stint::preempt::cond_resched();
            }
            check!(SERVED.load(Ordering::Acquire) >= round, "the {round}th is not served");
        }
        irq::synchronize_irq(SPI)?;
        irq::free_irq(id)?;
        check_eq!(irq::irq_set_affinity(SPI, CpuMask::ALL), Ok(()));
    }
}

ktest! {
    needs_cpus(2),
    fn a_softirq_runs_on_the_cpu_that_raised_it() {
        static CPU: AtomicUsize = AtomicUsize::new(usize::MAX);
        open_softirq(Vector::Timer, || CPU.store(here(), Ordering::Release));
        for cpu in others() {
            CPU.store(usize::MAX, Ordering::Relaxed);
            let runs = [cpu, 0].map(|cpu| runs_on(cpu)[Vector::Timer as usize]);
            on(cpu, task::build("raiser")).fifo(LOW).spawn(|| raise_softirq(Vector::Timer))?.join();
            check!(until(|| CPU.load(Ordering::Acquire) != usize::MAX), "it does not run");
            check_eq!(CPU.load(Ordering::Acquire), cpu);
            check_eq!([cpu, 0].map(|cpu| runs_on(cpu)[Vector::Timer as usize]), [runs[0] + 1, runs[1]], "runs there and here");
        }
    }
}

ktest! {
    needs_cpus(3),
    fn a_tasklet_scheduled_on_two_cpus_never_runs_in_two_places_nor_while_disabled() {
        // In `rt` those who schedule it would be above the softirqs' thread.
        let _first = SoftirqsFirst::new();
        static INSIDE: AtomicBool = AtomicBool::new(false);
        static OVERLAPS: AtomicU32 = AtomicU32::new(0);
        static RUNS: AtomicU32 = AtomicU32::new(0);
        static WHERE: AtomicU32 = AtomicU32::new(0);
        static STOP: AtomicBool = AtomicBool::new(false);
        static TASKLET: Tasklet = Tasklet::new(|_| {
            if INSIDE.swap(true, Ordering::SeqCst) {
                OVERLAPS.fetch_add(1, Ordering::Relaxed);
            }
            let limit = now_ns() + 3_000;
            while now_ns() < limit {
                arch::cpu::relax();
            }
            WHERE.fetch_or(1 << here(), Ordering::Relaxed);
            RUNS.fetch_add(1, Ordering::SeqCst);
            INSIDE.store(false, Ordering::SeqCst);
        }, 0);
        let scheduler = |cpu| on(cpu, task::build("scheduler")).fifo(LOW).spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                // It runs when the section ends, or in `rt` while this task sleeps.
                let bh = local_bh_disable();
                TASKLET.schedule();
                drop(bh);
                task::sleep_ns(2_000);
            }
        });
        let schedulers = [scheduler(1)?, scheduler(2)?];
        for _ in 0..rounds(200) {
            let runs = RUNS.load(Ordering::SeqCst);
            check!(until(|| RUNS.load(Ordering::SeqCst) > runs), "it does not run");
            TASKLET.disable();
            let disabled = RUNS.load(Ordering::SeqCst);
            check!(!INSIDE.load(Ordering::SeqCst), "disable returned while it was running");
            spin_ns(6_000);
            check_eq!(RUNS.load(Ordering::SeqCst), disabled, "runs while disabled");
            TASKLET.enable();
        }
        STOP.store(true, Ordering::Relaxed);
        for scheduler in schedulers {
            scheduler.join();
        }
        TASKLET.kill();
        let runs = RUNS.load(Ordering::SeqCst);
        spin_ns(10_000);
        check_eq!((RUNS.load(Ordering::SeqCst), OVERLAPS.load(Ordering::Relaxed)), (runs, 0), "runs after kill, and at the same time");
        if !clock::is_exact() {
            check_eq!(WHERE.load(Ordering::Relaxed) & 0b110, 0b110, "the CPUs that it ran on");
        }
    }
}
