//! Text that is patched while other CPUs execute it.

use crate::framework::{Failure, cpus};
use crate::{check_eq, ktest};
use alloc::vec::Vec;
use arch::irqflags::{local_irq_restore, local_irq_save};
use arch::patch::{Key, count_sites};
use core::sync::atomic::{AtomicBool, Ordering};
use stint::preempt::preempt_disable;
use stint::{patching, preempt_stats, task};

/// Executes sites of both kinds on every other CPU while `f` runs.
fn with_busy_cpus(f: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    static DONE: AtomicBool = AtomicBool::new(false);
    DONE.store(false, Ordering::Relaxed);
    let busy: Vec<_> = cpus::others()
        .map(|cpu| {
            cpus::on(cpu, task::build("busy")).spawn(|| {
                while !DONE.load(Ordering::Relaxed) {
                    let flags = local_irq_save();
                    local_irq_restore(flags);
                    drop(preempt_disable());
                    task::yield_now();
                }
            })
        })
        .collect::<Result<_, _>>()?;
    let result = f();
    DONE.store(true, Ordering::Relaxed);
    for task in busy {
        task.join();
    }
    result
}

ktest! {
    needs_cpus(2),
    fn sites_that_are_no_nops_are_changed_while_other_cpus_execute_them() {
        if preempt_stats::budget_us().is_some() {
            return Err(Failure::Ignored("the statistics watch the latency budget of the run"));
        }
        let (all, _) = count_sites(Key::PreemptStats);
        with_busy_cpus(|| {
            // Once: a standstill takes long where the machine has more CPUs than its host.
            preempt_stats::on().map_err(|failure| Failure::new(format_args!("{failure}")))?;
            let on = count_sites(Key::PreemptStats);
            preempt_stats::off().map_err(|failure| Failure::new(format_args!("{failure}")))?;
            check_eq!(on, (all, 0), "sites, and original instructions, while it is on");
            check_eq!(count_sites(Key::PreemptStats), (all, all), "and behind it");
            Ok(())
        })?;
        preempt_stats::reset();
    }
}

ktest! {
    needs_cpus(2),
    fn nop_sites_are_changed_while_other_cpus_execute_them() {
        let (all, before) = count_sites(Key::Trace);
        let was_on = before != all;
        with_busy_cpus(|| {
            for round in 0..6 {
                let on = (round % 2 == 0) != was_on;
                patching::set_key(Key::Trace, on).map_err(|failure| Failure::new(format_args!("{failure}")))?;
                check_eq!(count_sites(Key::Trace), (all, if on { 0 } else { all }), "sites, and original instructions");
            }
            Ok(())
        })?;
    }
}
