//! What other kernels need for the same steps, and what Stint aims at.
//!
//! All figures are instruction counts in QEMU 10.0.2 under `-icount shift=0,sleep=off,align=off` with
//! `cntfrq=1000000000`, one CPU, GICv3, gcc -O2: ThreadX 6.4.2 (fast: Thread-Metric's recommended defines, no
//! error checks; def.: none of them), Zephyr 3.4 (no assertions; smp: `SMP=y` on one CPU), FreeRTOS V11.1, and
//! NuttX of August 2026. Barriers, exclusives and cache misses cost more on silicon than one instruction. Stint has
//! a second target, for four CPUs online of which three idle; of the peers only `smp` can be compared with it.
//!
//! Invariant: one row per result name; a row's columns are in the order of [`PEERS`].
#![forbid(unsafe_code)]

/// The columns, from left to right.
pub const PEERS: [&str; 6] = ["TX fast", "TX def.", "Zephyr", "Z smp", "FreeRTOS", "NuttX"];

/// One benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Group and name, as in the result line.
    pub name: &'static str,
    /// What exactly is measured.
    pub what: &'static str,
    /// The peers' figures; `None` where a kernel has no such step.
    pub peers: [Option<f64>; 6],
    /// Stint's target on one CPU; `None` where it would say nothing about the kernel.
    pub target: Option<f64>,
    /// With four CPUs online, all but one idle; `None` where nobody has set one.
    pub target_smp: Option<f64>,
}

/// Shorthand for a row; a negative figure means none.
const fn row(name: &'static str, what: &'static str, figures: [f64; 6], target: f64, smp: f64) -> Row {
    let mut peers = [None; 6];
    let mut column = 0;
    while column < figures.len() {
        if figures[column] >= 0.0 {
            peers[column] = Some(figures[column]);
        }
        column += 1;
    }
    let target = if target >= 0.0 { Some(target) } else { None };
    let target_smp = if smp >= 0.0 { Some(smp) } else { None };
    Row { name, what, peers, target, target_smp }
}

/// No figure.
const NA: f64 = -1.0;

/// The benchmarks: core primitives (`bench`), then Thread-Metric per iteration (`thread_metric`).
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("bench.yield_none", "yield, nobody else ready", [25., 32., 46., 161., 109., 38.], 22., 40.),
    row("bench.yield_switch", "switch between two equal threads", [80., 87., 102., 266., 108., 267.], 75., 130.),
    row("bench.irq_to_isr", "SGI raised → handler", [42., 42., 52., 52., 29., 87.], 36., 36.),
    row("bench.isr_to_interrupted", "handler → interrupted thread", [48., 48., 76., 201., 43., 76.], 40., 60.),
    row("bench.irq_to_thread", "SGI raised → woken thread", [199., 227., 255., 585., 360., 321.], 170., 280.),
    row("bench.sem_give_wake", "give → waiting thread runs", [122., 150., 178., 503., 292., 278.], 115., 220.),
    row("bench.block_to_giver", "it blocks again → giver goes on", [141., 193., 137., 290., 638., 321.], 120., 180.),
    row("bench.sem_give", "uncontended", [18., 28., 35., 102., 98., 27.], 15., 30.),
    row("bench.sem_take", "uncontended", [13., 33., 13., 53., 68., 33.], 12., 28.),
    row("bench.mutex_lock", "uncontended, PI mutex", [40., 59., 23., 74., 79., 64.], 14., 18.),
    row("bench.mutex_unlock", "uncontended, PI mutex", [75., 110., 50., 123., 117., 42.], 16., 20.),
    row("bench.mutex_pi_handoff", "unlock → boosted-for waiter runs", [303., 397., 244., 595., 373., 542.], 220., 350.),
    row("bench.queue_put", "16-byte message, uncontended", [57., 69., 91., 156., 122., 247.], 50., 70.),
    row("bench.queue_get", "16-byte message, uncontended", [55., 64., 86., 152., 88., 199.], 48., 68.),
    row("bench.queue_put_wake", "put → waiting thread has it", [151., 182., 227., 545., 340., 537.], 145., 250.),
    row("bench.thread_create", "ready to start, caller's memory", [235., 3480., 55., 63., 573., 1577.], 55., 70.),
    row("bench.thread_start", "start → its first instruction", [123., 171., 157., 352., 188., NA], 110., 200.),
    row("bench.thread_exit", "exit → joiner goes on", [144., 177., 127., 304., 251., 1327.], 120., 200.),
    row("bench.thread_abort", "abort a ready thread", [117., 162., 62., 166., 356., NA], 60., 90.),
    row("bench.heap_alloc", "64 bytes", [83., 108., 226., 322., 131., 159.], 80., 110.),
    row("bench.heap_free", "64 bytes", [44., 55., 132., 166., 124., 146.], 44., 80.),
    row("bench.pool_alloc", "fixed blocks, 128 bytes", [21., 32., 25., 60., NA, NA], 18., 35.),
    row("bench.pool_free", "fixed blocks, 128 bytes", [23., 27., 26., 55., NA, NA], 18., 35.),
    row("bench.tick_irq", "whole tick interrupt, nothing due", [128., 127., 186., 389., 117., 301.], 110., 140.),
    row("bench.preempt_enable", "nothing pending", [NA, NA, NA, NA, NA, NA], 4., NA),
    row("bench.spin_lock", "one CPU", [NA, NA, NA, NA, NA, NA], 4., NA),
    row("bench.spin_unlock", "one CPU", [NA, NA, NA, NA, NA, NA], 4., NA),
    row("thread_metric.basic", "calibration: no kernel in it", [10245.8, 10246.8, 10245.3, NA, 10245.8, NA], NA, NA),
    row("thread_metric.cooperative", "five equals yield", [83.0, 90.0, 128.0, NA, 110.6, NA], 78., NA),
    row("thread_metric.preemptive", "five resume each other", [201.6, 276.8, 224.8, NA, 407.2, NA], 190., NA),
    row("thread_metric.interrupt", "SGI's handler gives, thread takes", [154.0, 175.0, 196.0, NA, 240.0, NA], 140., NA),
    row("thread_metric.interrupt_preemption", "SGI's handler resumes a higher thread", [342.0, 437.0, 395.0, NA, 594.0, NA], 310., NA),
    row("thread_metric.message", "16 bytes to itself", [145.3, 166.3, 196.8, NA, 241.6, NA], 135., NA),
    row("thread_metric.synchronization", "semaphore taken and given", [59.0, 80.0, 67.0, NA, 194.0, NA], 45., NA),
    row("thread_metric.memory", "block of 128 bytes taken and freed", [69.0, 84.0, 79.0, NA, 281.0, NA], 60., NA),
];

/// Rows of our own, parts of others or without a peer, that have no target; and what each measures.
#[rustfmt::skip]
pub const OURS: &[(&str, &str)] = &[
    ("bench.isr_give_wake", "the handler's give in irq_to_thread"),
    ("bench.pi_chain_8", "a lock boosts eight holders → the first goes on"),
    ("bench.softirq_raise_to_run", "raised in a handler → its function"),
    ("bench.fair_give_wake", "give to a waiting fair thread, the giver goes on"),
    ("bench.heap_alloc_split", "64 bytes, none kept: a block is split"),
    ("bench.heap_free_merge", "64 bytes, enough kept: it is merged"),
    ("bench.irq_thread_wake", "one-shot line pending → its thread's function"),
    ("bench.bh_enable_idle", "local_bh_enable, nothing raised"),
    ("bench.dl_replenish", "period begins → throttled deadline thread"),
    ("bench.preempt_enable_resched", "switch pending → the thread switched to"),
    ("bench.raw_spin_lock", "one CPU"),
    ("bench.raw_spin_unlock", "one CPU"),
    ("bench.raw_irqsave_lock", "one CPU"),
    ("bench.raw_irqsave_unlock", "one CPU"),
    ("bench.raw_section_wake", "give in a raw section → woken thread"),
    ("bench.timer_start", "soft timer, sets the hardware"),
    ("bench.timer_cancel", "soft timer, the first of two"),
    ("bench.timer_to_thread", "programmed expiry → thread that slept"),
    ("bench.queue_ping_pong", "16-byte message to a higher thread, and its answer"),
    ("bench.sleep_over_busy", "sleep of 1 ms while a fair thread computes: late by"),
    ("bench.thread_create_join", "made by the kernel's memory, runs, waited for"),
    // On several CPUs alone.
    ("bench.cross_wake", "IPI sent → woken thread on an idle CPU"),
    ("bench.cross_wake_fair", "the same, a fair thread"),
    ("bench.cross_give", "give → woken thread on an idle CPU"),
    ("bench.cross_give_fair", "the same, a fair thread"),
    ("bench.cross_call", "call → function on an idle CPU"),
    ("bench.cross_call_round", "call → the caller goes on"),
    ("bench.idle_round_wake", "sleep → idle → timer → goes on, idling not counted"),
    ("bench.rt_push", "wake → the thread it displaces goes on, on an idle CPU"),
    ("bench.rt_pull", "sleep → a thread that waited elsewhere runs here"),
    ("bench.migrate", "set_affinity of oneself → goes on, on an idle CPU"),
];

/// What a row measures, whether the peers have it or not.
#[must_use]
pub fn meaning(name: &str) -> Option<&'static str> {
    let ours = || OURS.iter().find(|(ours, _)| *ours == name).map(|(_, what)| *what);
    find(name).map(|row| row.what).or_else(ours)
}

/// Finds a benchmark by its result name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

impl Row {
    /// The target on a machine with so many CPUs.
    #[must_use]
    pub fn target_on(&self, cpus: u32) -> Option<f64> {
        if cpus == 1 { self.target } else { self.target_smp }
    }

    /// The best peer's column, if any peer has a figure.
    #[must_use]
    pub fn best(&self) -> Option<usize> {
        let figure = |column: &usize| self.peers[*column].unwrap_or(f64::INFINITY);
        (0..self.peers.len())
            .filter(|column| self.peers[*column].is_some())
            .min_by(|a, b| figure(a).total_cmp(&figure(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_occurs_once() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..index].iter().all(|other| other.name != row.name), "{} twice", row.name);
        }
        for (index, (name, _)) in OURS.iter().enumerate() {
            assert!(find(name).is_none(), "{name} is in both tables");
            assert!(OURS[..index].iter().all(|(other, _)| other != name), "{name} twice");
        }
    }

    #[test]
    fn every_row_says_what_it_measures() {
        assert_eq!(meaning("bench.sem_give"), Some("uncontended"));
        assert_eq!(meaning("bench.dl_replenish"), Some("period begins → throttled deadline thread"));
        assert_eq!(meaning("bench.nothing"), None);
        assert!(OURS.iter().all(|(name, what)| name.starts_with("bench.") && !what.is_empty()));
    }

    #[test]
    fn the_best_peer_is_the_one_with_the_fewest_instructions() {
        assert_eq!(find("bench.irq_to_isr").and_then(Row::best), Some(4));
        assert_eq!(find("bench.mutex_lock").and_then(Row::best), Some(2));
        assert_eq!(find("bench.thread_start").and_then(Row::best), Some(0));
    }
}
