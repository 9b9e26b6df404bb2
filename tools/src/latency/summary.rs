//! What was measured in several models, as tables for the terminal.

use std::collections::BTreeSet;

use crate::lines::Measured;
use crate::page::{DBENCH, HACKBENCH, MODELS};
use crate::serial_log::{Boot, Run, disturbed};
use crate::svg::{grouped, time};
use crate::table::{self, Cell, Tone};

/// The tables; of a single model nothing, for which others are made.
#[must_use]
pub fn tables(boots: &[Boot], colours: bool) -> String {
    let models: Vec<_> =
        MODELS.into_iter().filter(|model| boots.iter().any(|boot| has(boot, model))).collect();
    if models.len() < 2 {
        return String::new();
    }
    let tables = [
        worst(boots, &models, colours),
        throughput(boots, &models, colours),
        sections(boots, &models, colours),
    ];
    tables.into_iter().filter(|table| !table.is_empty()).map(|table| table + "\n").collect()
}

fn has(boot: &Boot, model: &str) -> bool {
    let of = |measured: &Measured| measured.field("preempt") == Some(model);
    boot.runs.iter().any(|run| of(&run.wakeup)) || boot.others.iter().any(of)
}

fn runs<'a>(boots: &'a [Boot], model: &'a str) -> impl Iterator<Item = &'a Run> {
    boots
        .iter()
        .flat_map(|boot| &boot.runs)
        .filter(move |run| !run.is_disturbed() && run.word("preempt") == model)
}

fn figures<'a>(boots: &'a [Boot], name: &'a str, model: &'a str) -> impl Iterator<Item = &'a Measured> {
    let of_model =
        move |measured: &&Measured| measured.field("preempt") == Some(model) && !disturbed(measured);
    boots.iter().flat_map(move |boot| boot.figures(name)).filter(of_model)
}

fn none() -> Cell {
    Cell::new("–", Tone::Faint)
}

fn worst(boots: &[Boot], models: &[&str], colours: bool) -> String {
    let mut loads: Vec<&str> = Vec::new();
    for load in models.iter().flat_map(|model| runs(boots, model)).map(|run| run.word("load")) {
        if !loads.contains(&load) {
            loads.push(load);
        }
    }
    if loads.is_empty() {
        return String::new();
    }
    let cell = |model: &str, load: &str| {
        let Some(run) = runs(boots, model).filter(|run| run.word("load") == load).last() else {
            return none();
        };
        let (max, missed) = (run.number("max"), run.number("missed"));
        let text = if missed > 0 { format!("{} ({} missed)", time(max), grouped(missed)) } else { time(max) };
        Cell::new(text, if missed > 0 { Tone::Bad } else { Tone::Plain })
    };
    let row = |load: &&str| -> Vec<Cell> {
        std::iter::once(Cell::from(*load)).chain(models.iter().map(|model| cell(model, load))).collect()
    };
    draw("worst wake-up, by load", models, &loads.iter().map(row).collect::<Vec<_>>(), colours)
}

fn number(measured: &Measured, key: &str) -> u64 {
    measured.field(key).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn throughput(boots: &[Boot], models: &[&str], colours: bool) -> String {
    let all = models.iter().flat_map(|model| figures(boots, DBENCH, model));
    let clients: BTreeSet<u64> = all.map(|measured| number(measured, "clients")).collect();
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for clients in clients {
        let cell = |model: &&str| {
            let found = figures(boots, DBENCH, model).filter(|m| number(m, "clients") == clients).last();
            found.map_or_else(none, |m| grouped(m.value as u64).into())
        };
        let name = format!("dbench, {clients} clients, operations/s");
        rows.push(std::iter::once(Cell::from(name)).chain(models.iter().map(cell)).collect());
    }
    if models.iter().any(|model| figures(boots, HACKBENCH, model).next().is_some()) {
        let cell = |model: &&str| {
            figures(boots, HACKBENCH, model).last().map_or_else(none, |m| time(m.value as u64).into())
        };
        rows.push(std::iter::once(Cell::from("hackbench, time")).chain(models.iter().map(cell)).collect());
    }
    if rows.is_empty() { String::new() } else { draw("throughput", models, &rows, colours) }
}

fn sections(boots: &[Boot], models: &[&str], colours: bool) -> String {
    let kinds = [
        ("preempt_stats.section", "either"),
        ("preempt_stats.irqsoff", "interrupts masked"),
        ("preempt_stats.preemptoff", "preemption off"),
    ];
    let row = |(name, what): (&str, &str)| -> Vec<Cell> {
        let cell = |model: &&str| {
            figures(boots, name, model).last().map_or_else(none, |m| grouped(m.value as u64).into())
        };
        std::iter::once(Cell::from(what)).chain(models.iter().map(cell)).collect()
    };
    if models.iter().all(|model| figures(boots, kinds[0].0, model).next().is_none()) {
        return String::new();
    }
    draw("longest section, in cycles", models, &kinds.map(row), colours)
}

fn draw(what: &str, models: &[&str], rows: &[Vec<Cell>], colours: bool) -> String {
    let head: Vec<&str> = std::iter::once(what).chain(models.iter().copied()).collect();
    table::draw(&head, 1, rows, colours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial_log;

    fn wakeup(max: u64, missed: u64, load: &str, model: &str, more: &str) -> String {
        format!(
            "result latency.wakeup {max} ns min=1 avg=2 p50=2 p99=3 p999=3 max={max} n=10 missed={missed} load={load} \
             period_ns=1000 burn=50 preempt={model}{more}\n"
        )
    }

    #[test]
    fn the_models_stand_side_by_side_and_what_had_hooks_in_it_does_not_count() {
        let text = [
            wakeup(900, 4, "all", "none", ""),
            wakeup(30, 0, "all", "full", ""),
            wakeup(7000, 0, "all", "full", " preempt_stats=on"),
            "result throughput.dbench 1000 ops/s clients=1 preempt=none\n".into(),
            "result throughput.dbench 900 ops/s clients=1 preempt=full\n".into(),
            "result preempt_stats.section 77 cycles n=5 preempt=full\n".into(),
        ]
        .concat();
        let log = serial_log::read(text.as_bytes());
        let text = tables(&log.boots, false);
        let cells = |start: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        assert_eq!(cells("all"), ["all", "900 ns (4 missed)", "30 ns"], "{text}");
        assert_eq!(cells("dbench"), ["dbench, 1 clients, operations/s", "1,000", "900"]);
        assert_eq!(cells("either"), ["either", "–", "77"]);
        assert_eq!(tables(&log.boots[..0], false), "");
    }
}
