//! What Linux needs for the same things, beside what Stint needs.
//!
//! Linux 6.1.192 of Debian 12 in the same emulator with the same settings, one CPU: as it is delivered (voluntary), *lean* (mitigations,
//! audit and security modules off), one PREEMPT_DYNAMIC build of the same source in `full`, and PREEMPT_RT of the same.
//! Its threads are a user's, so each figure holds an entry to the kernel and an exit from it for every system call: 409 instructions
//! in the first column, 325 in the second. Stint has no user space, and its figures hold no such thing.
//!
//! Invariant: one row per figure; a row names the result line that it is read from.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use crate::lines::{Measured, figure};
use crate::table::{self, Cell, Tone};

/// The columns, from left to right.
pub const COLUMNS: [&str; 4] = ["voluntary", "lean", "full", "PREEMPT_RT"];

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The result line with Stint's figure, if it has such a step.
    pub result: Option<&'static str>,
    /// Of its figures, the least: what is measured has a spread.
    pub is_minimum: bool,
    /// What is measured.
    pub what: &'static str,
    /// Linux's figures.
    pub linux: [u32; 4],
}

/// A row whose figure is the result's own.
const fn row(result: &'static str, what: &'static str, linux: [u32; 4]) -> Row {
    Row { result: Some(result), is_minimum: false, what, linux }
}

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        result: None,
        is_minimum: false,
        what: "null system call, part of all rows of Linux",
        linux: [409, 325, 457, 688],
    },
    row("bench.yield_switch", "yield, switch to the other of two threads", [2375, 2211, 2477, 2740]),
    row("bench.sem_give_wake", "semaphore given → higher thread runs", [4009, 3839, 3964, 4345]),
    row("bench.mutex_pi_handoff", "PI mutex handed to who boosted for it", [6055, 5883, 6157, 6749]),
    row("bench.queue_ping_pong", "message and answer, by queues", [12726, 12198, 13024, 15648]),
    Row {
        is_minimum: true,
        ..row("bench.sleep_over_busy", "1 ms sleep over a busy CPU: late by, least", [4326, 4228, 4516, 4912])
    },
    row("bench.thread_create_join", "thread made, run, waited for", [33897, 30892, 34625, 44533]),
];

impl Row {
    /// Stint's figure, if it was measured.
    #[must_use]
    pub fn ours(&self, results: &[Measured]) -> Option<f64> {
        let result = results.iter().find(|m| Some(m.name.as_str()) == self.result)?;
        if self.is_minimum { result.field("min")?.parse().ok() } else { Some(result.value) }
    }
}

/// Draws the table; empty if none of its figures was measured.
#[must_use]
pub fn render(results: &[Measured], colours: bool) -> String {
    if ROWS.iter().all(|row| row.ours(results).is_none()) {
        return String::new();
    }
    let mut head = vec!["beside Linux", "Stint"];
    head.extend(COLUMNS);
    head.push("times");
    let rows: Vec<Vec<Cell>> = ROWS
        .iter()
        .map(|row| {
            let ours = row.ours(results);
            let missing = if row.result.is_some() { "missing" } else { "–" };
            let mut cells = vec![
                Cell::from(row.what),
                ours.map_or(Cell::new(missing, Tone::Faint), |value| Cell::new(figure(value), Tone::Good)),
            ];
            cells.extend(row.linux.iter().map(|value| Cell::from(value.to_string())));
            let least = row.linux.into_iter().min().map(f64::from);
            let times = least.zip(ours).map(|(linux, ours)| format!("{:.0}", linux / ours));
            cells.push(times.unwrap_or_else(|| "–".to_owned()).into());
            cells
        })
        .collect();
    table::draw(&head, 1, &rows, colours)
        + "\nLinux 6.1.192 (Debian 12), QEMU 10.0.2, same settings, one CPU; times: the least of its figures by ours. Its threads \
           are a\nuser's: every system call holds an entry and an exit (409; lean 325). Stint has no user space yet: its threads \
           are the kernel's.\n"
}

/// The table for programs.
#[must_use]
pub fn to_json(results: &[Measured]) -> Value {
    let row = |row: &Row| {
        let linux: serde_json::Map<_, _> = COLUMNS
            .iter()
            .zip(row.linux)
            .map(|(column, value)| ((*column).to_owned(), json!(value)))
            .collect();
        json!({"what": row.what, "result": row.result, "stint": row.ours(results), "linux": linux})
    };
    ROWS.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lines, peers};

    #[test]
    fn the_table_shows_ours_beside_linux_and_what_is_missing() {
        let results = lines::results(
            "result bench.yield_switch 89 insn\nresult bench.sleep_over_busy 500 insn min=400 max=900 n=200\n",
        );
        let text = render(&results, false);
        let cells = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
            let mut cells: Vec<&str> = line.split_whitespace().rev().take(6).collect();
            cells.reverse();
            cells.join(" ")
        };
        assert_eq!(cells("yield"), "89 2375 2211 2477 2740 25", "{text}");
        assert_eq!(cells("1 ms sleep"), "400 4326 4228 4516 4912 11", "{text}");
        assert_eq!(cells("thread made"), "missing 33897 30892 34625 44533 –", "{text}");
        assert_eq!(cells("null"), "– 409 325 457 688 –", "{text}");
    }

    #[test]
    fn without_a_figure_of_ours_there_is_no_table() {
        assert_eq!(render(&lines::results("result bench.spin_lock 5 insn\n"), false), "");
    }

    #[test]
    fn programs_find_the_rows_by_their_results() {
        let rows = to_json(&lines::results("result bench.yield_switch 89 insn\n"));
        assert_eq!((&rows[1]["result"], &rows[1]["stint"]), (&json!("bench.yield_switch"), &json!(89.0)));
        assert_eq!(rows[1]["linux"]["lean"], json!(2211));
        assert_eq!(rows[2]["stint"], Value::Null);
    }

    #[test]
    fn every_row_is_read_from_a_result_that_the_bench_has() {
        for result in ROWS.iter().filter_map(|row| row.result) {
            assert!(peers::meaning(result).is_some(), "`{result}` has no row in peers.rs");
        }
    }
}
