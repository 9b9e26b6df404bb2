//! `stint-tools scaling`: what wake-ups and balancing cost with 1 to 64 CPUs, and wake-ups with 10 to 100,000 tasks that
//! are ready.
//!
//! Invariant: every cell is a boot of the measuring machine; one that prints no figure is shown as missing.
#![forbid(unsafe_code)]

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bench::LIMITS;
use crate::lines::{self, Measured, figure};
use crate::run::{MachineOptions, measure};
use crate::table::{self, Cell, Tone};
use crate::{report, suite};

/// The machines.
const CPUS: [u32; 6] = [1, 2, 4, 8, 16, 64];
/// Rows by CPUs: result name, and what it is.
const BY_CPUS: [(&str, &str); 11] = [
    ("bench.sem_give_wake", "real-time, on the same CPU"),
    ("bench.fair_give_wake", "fair, on the same CPU, the waker goes on"),
    ("bench.isr_give_wake", "from an interrupt, on the same CPU"),
    ("bench.cross_give", "real-time, to an idle CPU"),
    ("bench.cross_wake", "… from the interrupt sent"),
    ("bench.cross_give_fair", "fair, to an idle CPU"),
    ("bench.cross_wake_fair", "… from the interrupt sent"),
    ("bench.idle_round_wake", "fair: sleeps, the CPU looks for work and idles, timer, runs"),
    ("bench.cross_call", "a function called on an idle CPU"),
    ("bench.rt_push", "real-time: displaced, pushed, runs on an idle CPU"),
    ("bench.rt_pull", "real-time: the CPU is about to idle, pulls, runs it"),
];
/// Rows by CPUs that are looked at: prefix of the result name.
const BY_LOOKS: [(&str, &str); 5] = [
    ("balance.newly_idle_", "about to idle: the busiest of all"),
    ("balance.periodic_", "on the tick: the busiest, by load"),
    ("balance.nohz_kick_", "busy: one that idles, to look for all"),
    ("balance.rt_push_", "real-time: a place for one that waits"),
    ("balance.rt_pull_", "real-time: one that waits elsewhere"),
];
/// What one move costs.
const MOVES: [(&str, &str); 2] = [("balance.move_fair", "fair"), ("balance.move_rt", "real-time")];
/// Rows by tasks that are ready: prefix of the result name.
const BY_TASKS: [(&str, &str); 6] = [
    ("scale.rt_wake_", "real-time: queued, preemption decided"),
    ("scale.rt_pick_", "real-time: next task picked"),
    ("scale.rt_sleep_", "real-time: off the queue"),
    ("scale.fair_wake_", "fair: queued, preemption decided"),
    ("scale.fair_pick_", "fair: next task picked"),
    ("scale.fair_sleep_", "fair: off the queue"),
];
/// The numbers of ready tasks.
const TASKS: [u32; 3] = [10, 1_000, 100_000];

/// Boots every machine, prints both tables and writes `<target>/scaling.json`.
///
/// # Errors
/// When the image does not build or a run does not end well.
pub fn scaling(options: &MachineOptions) -> Result<()> {
    let mut runs = Vec::new();
    for cpus in CPUS {
        runs.push((cpus, results(options, cpus, "bench=wake")?));
    }
    let depth = results(options, 1, "bench=scale")?;
    print!("{}", by_cpus(&runs, table::colours()));
    print!("\n{}", by_looks(&depth, table::colours()));
    print!("\n{}", by_tasks(&depth, table::colours()));
    let machine = MachineOptions { icount: true, ..options.clone() }.machine()?;
    let columns: Vec<_> = runs
        .iter()
        .map(|(cpus, results)| {
            json!({"cpus": cpus, "results": results.iter().map(Measured::to_json).collect::<Vec<_>>()})
        })
        .collect();
    let path = report::write("scaling", &machine, "bench=scale", &depth, json!({"by_cpus": columns}))?;
    println!("\nall results: {}", path.display());
    Ok(())
}

fn results(options: &MachineOptions, cpus: u32, told: &str) -> Result<Vec<Measured>> {
    eprintln!("{cpus} CPUs, {told}");
    let options = MachineOptions {
        smp: Some(cpus.to_string()),
        bootargs: format!("{told} {}", options.bootargs),
        ..options.clone()
    };
    let run = measure("bench", &options, LIMITS)?;
    ensure!(
        run.captured.succeeded(),
        "the bench image did not end well on {cpus} CPUs: {}\n{}",
        run.captured.end,
        suite::excerpt(&run.captured.console)
    );
    Ok(lines::results(&run.captured.console))
}

fn cell(results: &[Measured], name: &str) -> Cell {
    let found = results.iter().find(|m| m.name == name);
    found.map_or(Cell::new("–", Tone::Faint), |m| figure(m.value).into())
}

fn by_cpus(runs: &[(u32, Vec<Measured>)], colours: bool) -> String {
    let heads: Vec<String> = runs.iter().map(|(cpus, _)| cpus.to_string()).collect();
    let mut head = vec!["wake-ups and moves, in instructions, by CPUs online"];
    head.extend(heads.iter().map(String::as_str));
    let rows: Vec<Vec<Cell>> = BY_CPUS
        .iter()
        .map(|(name, what)| {
            let mut row = vec![Cell::from(*what)];
            row.extend(runs.iter().map(|(_, results)| cell(results, name)));
            row
        })
        .collect();
    table::draw(&head, 1, &rows, colours)
}

fn by_looks(results: &[Measured], colours: bool) -> String {
    let heads: Vec<String> = CPUS.iter().map(u32::to_string).collect();
    let mut head = vec!["looking around, in instructions, by CPUs"];
    head.extend(heads.iter().map(String::as_str));
    let rows: Vec<Vec<Cell>> = BY_LOOKS
        .iter()
        .map(|(prefix, what)| {
            let mut row = vec![Cell::from(*what)];
            row.extend(CPUS.iter().map(|cpus| cell(results, &format!("{prefix}{cpus}"))));
            row
        })
        .collect();
    let moves: Vec<Vec<Cell>> =
        MOVES.iter().map(|(name, what)| vec![Cell::from(*what), cell(results, name)]).collect();
    table::draw(&head, 1, &rows, colours)
        + "\n"
        + &table::draw(&["one task moved, run queues and tables", "insn"], 1, &moves, colours)
}

fn by_tasks(results: &[Measured], colours: bool) -> String {
    let heads: Vec<String> = TASKS.iter().map(u32::to_string).collect();
    let mut head = vec!["the run queue, in instructions, by tasks ready"];
    head.extend(heads.iter().map(String::as_str));
    let rows: Vec<Vec<Cell>> = BY_TASKS
        .iter()
        .map(|(prefix, what)| {
            let mut row = vec![Cell::from(*what)];
            row.extend(TASKS.iter().map(|tasks| cell(results, &format!("{prefix}{tasks}"))));
            row
        })
        .collect();
    table::draw(&head, 1, &rows, colours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_a_column_for_each_machine_and_show_what_is_missing() {
        let one = lines::results("result bench.sem_give_wake 110 insn\n");
        let four = lines::results("result bench.sem_give_wake 210 insn\nresult bench.cross_give 900 insn\n");
        let text = by_cpus(&[(1, one), (4, four)], false);
        let row = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        assert!(row("real-time, on").ends_with("110  210"), "{text}");
        assert!(row("real-time, to").ends_with("–  900"), "{text}");
    }

    #[test]
    fn looks_are_shown_by_cpus_and_moves_below() {
        let results = lines::results(
            "result balance.rt_pull_4 77 insn\nresult balance.rt_pull_64 78 insn\nresult balance.move_rt 424 insn\n",
        );
        let text = by_looks(&results, false);
        let row = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        let pull: Vec<&str> = row("real-time: one that").split_whitespace().rev().take(6).collect();
        assert_eq!(pull, ["78", "–", "–", "77", "–", "–"], "{text}");
        assert!(text.lines().any(|line| line.starts_with("real-time") && line.ends_with("424")), "{text}");
    }

    #[test]
    fn the_run_queue_is_shown_by_tasks() {
        let results =
            lines::results("result scale.fair_wake_10 100 insn\nresult scale.fair_wake_100000 300 insn\n");
        let text = by_tasks(&results, false);
        assert!(
            text.lines().any(|line| line.starts_with("fair: queued") && line.ends_with("–     300")),
            "{text}"
        );
    }
}
