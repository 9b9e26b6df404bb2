//! What every CPU writes for itself and one reads for all: the log, the statistics.

use crate::framework::Failure;
use crate::framework::clock::tick_ns;
use crate::framework::cpus::on;
use crate::tests::LOW;
use crate::{check, check_eq, ktest};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use stint::{klog, preempt, preempt_stats, smp, task};

ktest! {
    needs_cpus(2),
    fn messages_of_all_cpus_arrive_and_those_of_each_in_its_order() {
        static READY: AtomicU32 = AtomicU32::new(0);
        // What is kept of the log is 128 lines.
        let cpus: Vec<usize> = smp::online().iter().take(8).collect();
        let each = 100 / cpus.len();
        // CPU 0 last: its writer keeps this task from making the others.
        let writers: Vec<_> = cpus.iter().rev().map(|&cpu| on(cpu, task::build("writer")).fifo(LOW).spawn({
            let count = cpus.len() as u32;
            move || {
                READY.fetch_add(1, Ordering::AcqRel);
                while READY.load(Ordering::Acquire) < count {
                    arch::cpu::relax();
                    preempt::cond_resched();
                }
                (0..each).for_each(|n| log::info!(target: "writers", "<{cpu}> message {n}"));
            }
        })).collect();
        for writer in writers {
            writer?.join();
        }
        for _ in 0..1000 {
            if !klog::pending() {
                break;
            }
            task::sleep_ns(tick_ns());
        }
        check!(!klog::pending(), "the log is not drained");
        // The line that was taken out last is being printed.
        task::sleep_ns(4 * tick_ns());
        let mut lines: Vec<String> = Vec::new();
        klog::for_each_kept(|line| if line.contains("writers: <") { lines.push(line.into()) });
        for &cpu in &cpus {
            let mine = lines.iter().filter_map(|line| line.split_once(&alloc::format!("<{cpu}> message ")));
            let numbers: Vec<usize> = mine.filter_map(|(_, n)| n.parse().ok()).collect();
            check_eq!(numbers, (0..each).collect::<Vec<_>>(), "what CPU {cpu} has logged");
        }
    }
}

ktest! {
    needs_cpus(2),
    fn sections_of_every_cpu_are_timed_there() {
        let failure = |failure| Failure::new(format_args!("{failure}"));
        if preempt_stats::budget_us().is_some() {
            return Err(Failure::Ignored("latency_budget_us= has them on already"));
        }
        preempt_stats::on().map_err(failure)?;
        let before = preempt_stats::snapshot_of(1).map_or(0, |stats| stats.ledger.count);
        on(1, task::build("sections")).fifo(LOW).spawn(|| {
            for _ in 0..10 {
                drop(preempt::preempt_disable());
            }
        })?.join();
        let stats = preempt_stats::snapshot_of(1);
        preempt_stats::off().map_err(failure)?;
        let after = stats.map_or(0, |stats| stats.ledger.count);
        check!(after >= before + 10, "{before} sections of CPU 1, and after ten more {after}");
        check!(preempt_stats::snapshot_of(63).is_none(), "figures of a CPU that is not online");
    }
}
