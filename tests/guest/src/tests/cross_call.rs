//! Calls to other CPUs: where they run, when they are over, and that nobody waits for ever.

use crate::framework::cpus;
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use arch::irqflags::irqs_disabled;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use stint::Error;
use stint::preempt::{in_hardirq, preempt_disable};
use stint::smp::call::{CallData, call_function_many, call_function_single, post};
use stint::smp::{self, CpuMask};
use stint::task;

ktest! {
    needs_cpus(2),
    fn a_called_function_runs_in_an_interrupt_of_the_other_cpu_and_is_over_when_the_call_returns() {
        for cpu in cpus::others() {
            let found = AtomicU64::new(u64::MAX);
            call_function_single(cpu, &|| {
                let context = u64::from(in_hardirq()) << 8 | u64::from(irqs_disabled()) << 9;
                found.store(cpus::here() as u64 | context, Ordering::Relaxed);
            })?;
            check_eq!(found.into_inner(), cpu as u64 | 3 << 8, "CPU, hard interrupt and mask");
        }
    }
}

ktest! {
    fn a_call_to_the_own_cpu_runs_at_once_with_interrupts_masked() {
        let found = AtomicBool::new(false);
        call_function_single(cpus::here(), &|| found.store(irqs_disabled() && !in_hardirq(), Ordering::Relaxed))?;
        check!(found.into_inner(), "it did not run, or not masked, or in an interrupt");
        check!(!irqs_disabled());
    }
}

ktest! {
    needs_cpus(2),
    fn a_call_to_all_cpus_runs_once_on_each() {
        let (seen, runs) = (AtomicU64::new(0), AtomicU32::new(0));
        for round in 1..=20 {
            let refused = call_function_many(smp::online(), &|| {
                seen.fetch_or(1 << cpus::here(), Ordering::Relaxed);
                runs.fetch_add(1, Ordering::Relaxed);
            });
            check_eq!(refused, CpuMask::NONE, "CPUs that are offline");
            check_eq!(CpuMask::from_bits(seen.swap(0, Ordering::Relaxed)), smp::online(), "CPUs that were called");
            check_eq!(runs.load(Ordering::Relaxed), round * cpus::online() as u32, "runs");
        }
    }
}

ktest! {
    needs_cpus(2),
    /// Each waits for the others, and is called by them meanwhile.
    fn cpus_that_call_each_other_all_return() {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        const CALLS: u32 = 200;
        RUNS.store(0, Ordering::Relaxed);
        let callers: Vec<_> = smp::online()
            .iter()
            .map(|cpu| {
                cpus::on(cpu, task::build("caller")).fifo(20).spawn(move || {
                    let next = smp::online().next_from(cpu + 1).unwrap_or(0);
                    for _ in 0..CALLS {
                        let count = &|| {
                            RUNS.fetch_add(1, Ordering::Relaxed);
                        };
                        // With preemption off too: the waiter still takes interrupts.
                        let guard = preempt_disable();
                        call_function_single(next, count)?;
                        drop(guard);
                        let _ = call_function_many(smp::online(), count);
                    }
                    Ok::<_, Error>(())
                })
            })
            .collect::<Result<_, _>>()?;
        for caller in callers {
            check_eq!(caller.join(), Some(Ok(())));
        }
        let cpus = cpus::online() as u32;
        check_eq!(RUNS.load(Ordering::Relaxed), cpus * CALLS * (1 + cpus), "runs of what was called");
    }
}

ktest! {
    needs_cpus(2),
    fn a_posted_function_runs_and_can_be_posted_again_by_itself() {
        static POSTED: CallData = CallData::new(|| {
            // The third run is the last.
            if RUNS.fetch_add(1, Ordering::Relaxed) < 2 {
                let next = smp::online().next_from(cpus::here() + 1).unwrap_or(0);
                assert_eq!(post(next, &POSTED), Ok(true), "posted by itself");
            }
        });
        static RUNS: AtomicU32 = AtomicU32::new(0);
        RUNS.store(0, Ordering::Relaxed);
        for cpu in smp::online().iter() {
            RUNS.store(0, Ordering::Relaxed);
            check_eq!(post(cpu, &POSTED), Ok(true));
            while RUNS.load(Ordering::Relaxed) < 3 {
                arch::cpu::relax();
            }
        }
        check!(!POSTED.is_posted());
    }
}

ktest! {
    fn a_cpu_that_is_not_online_is_refused_by_its_number() {
        static POSTED: CallData = CallData::new(|| ());
        let cpu = stint::MAX_CPUS - 1;
        check_eq!(call_function_single(cpu, &|| ()), Err(Error::CpuOffline { cpu: cpu as u32 }));
        check_eq!(post(cpu, &POSTED), Err(Error::CpuOffline { cpu: cpu as u32 }));
        check!(!POSTED.is_posted(), "refused, and still posted");
        let refused = call_function_many(CpuMask::of(cpu).with(0), &|| ());
        check_eq!(refused, CpuMask::of(cpu), "CPUs that are offline");
    }
}

#[cfg(debug_assertions)]
ktest! {
    panics = "a cross-CPU call that waits, with preempt count",
    fn a_call_that_waits_with_interrupts_masked_is_refused() {
        let _flags = arch::irqflags::local_irq_save();
        let _ = call_function_many(smp::online(), &|| ());
        Err(crate::framework::Failure::new(format_args!("nothing happened")))
    }
}
