//! `stint-tools sweep`: preempts kernel paths at every single instruction, and says how many.
//!
//! The image prints for each path, after a line `run <path>`:
//!
//! ```text
//! sweep-fail <path> n=<N>: <reason>                                    for each point that failed
//! result sweep.<path> <points> points length=<insn> failures=<count>
//! ```
//!
//! Invariant: a path without a result, without a point, or with a failure fails the sweep.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::json;

use crate::lines::{self, Line, Measured, figure};
use crate::qemu::{Captured, End, Limits};
use crate::run::{MachineOptions, measure};
use crate::table::{self, Cell, Tone};
use crate::{report, suite};

/// Time for the whole image.
pub const LIMITS: Limits = Limits { total: Duration::from_secs(1800), silence: Duration::from_secs(180) };

/// Prefix of a path's result line.
pub const GROUP: &str = "sweep.";

/// Runs the sweep, prints the table and writes `<target>/sweep.json`.
///
/// # Errors
/// When the image does not build or does not end by itself, or an invariant failed at a point.
pub fn sweep(options: &MachineOptions) -> Result<()> {
    let run = measure("sweep", options, LIMITS)?;
    let captured = &run.captured;
    let results = paths(&captured.console);
    if results.is_empty() {
        let console = suite::excerpt(&captured.console);
        bail!("the sweep image printed no result line ({}):\n{console}", captured.end);
    }
    print!("{}", render(&results, table::colours()));
    for line in captured.console.lines().filter(|line| line.starts_with("sweep-fail ")) {
        println!("{line}");
    }
    let path = report::write("sweep", &run.machine, &run.bootargs, &results, json!({}))?;
    println!("\nall results: {}", path.display());
    if let Err(complaint) = closing(captured, &results) {
        bail!("{complaint}\n{}", suite::excerpt(&captured.console));
    }
    let failures: f64 = results.iter().map(failures).sum();
    ensure!(failures == 0.0, "the sweep found {} failures", figure(failures));
    Ok(())
}

/// The results of all paths.
#[must_use]
pub fn paths(console: &str) -> Vec<Measured> {
    lines::results(console).into_iter().filter(|m| m.name.starts_with(GROUP)).collect()
}

fn failures(m: &Measured) -> f64 {
    m.field("failures").and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

/// Judges one path of a run.
///
/// # Errors
/// With a message when it failed, covered nothing, or never came to its result.
pub fn judge(captured: &Captured, path: &str) -> Result<(), String> {
    let console = section(&captured.console, path);
    let excerpt = suite::excerpt(console);
    let name = format!("{GROUP}{path}");
    let Some(result) = paths(&captured.console).into_iter().find(|m| m.name == name) else {
        return Err(format!("no line `result {name} …` came; {}\n{excerpt}", captured.end));
    };
    if result.value < 1.0 {
        return Err(format!("not a single instruction of the path was covered\n{excerpt}"));
    }
    let count = failures(&result);
    if count > 0.0 {
        return Err(format!("{} of {} points failed\n{excerpt}", figure(count), figure(result.value)));
    }
    Ok(())
}

/// Judges the end of the run: the closing line, its sums, and the exit status.
///
/// # Errors
/// With a message naming what does not fit.
pub fn closing(captured: &Captured, results: &[Measured]) -> Result<(), String> {
    let closing = captured.console.lines().rev().find_map(|line| match lines::parse(line) {
        Some(Line::SweepDone { paths, points, failures }) => Some((paths, points, failures)),
        _ => None,
    });
    let Some((paths, points, failures)) = closing else {
        return Err(format!("the closing line `sweep: N paths, …` never came: {}", captured.end));
    };
    let sum: f64 = results.iter().map(|m| m.value).sum();
    if paths != results.len() || points as f64 != sum {
        return Err(format!(
            "the guest counted {paths} paths and {points} points, its result lines give {} and {}",
            results.len(),
            figure(sum)
        ));
    }
    let expected = End::Exited(i32::from(failures > 0));
    if captured.end != expected {
        return Err(format!("after its closing line: {} (expected: {expected})", captured.end));
    }
    Ok(())
}

/// The console text of one path: from its `run` line to the next one.
fn section<'a>(console: &'a str, path: &str) -> &'a str {
    let mut from = None;
    let mut at = 0;
    for line in console.split_inclusive('\n') {
        if let Some(Line::Run(name)) = lines::parse(line) {
            match from {
                None if name == path => from = Some(at),
                Some(from) => return &console[from..at],
                None => {}
            }
        }
        at += line.len();
    }
    from.map_or(console, |from| &console[from..])
}

/// Draws the table.
#[must_use]
pub fn render(results: &[Measured], colours: bool) -> String {
    let rows: Vec<Vec<Cell>> = results
        .iter()
        .map(|m| {
            let count = failures(m);
            let tone = if count > 0.0 { Tone::Bad } else { Tone::Good };
            vec![
                m.name.trim_start_matches(GROUP).into(),
                figure(m.value).into(),
                m.field("length").unwrap_or("–").into(),
                Cell::new(figure(count), tone),
            ]
        })
        .collect();
    let points: f64 = results.iter().map(|m| m.value).sum();
    let failed: f64 = results.iter().map(failures).sum();
    let text = table::draw(&["path", "points", "length", "failures"], 1, &rows, colours);
    format!(
        "{text}\npreempted at {} instructions of {} paths, {} failures\n",
        figure(points),
        results.len(),
        figure(failed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "run sem_give\nresult sweep.sem_give 90 points length=40 failures=0\n\
        run mutex\nsweep-fail mutex n=7: woken late\nresult sweep.mutex 60 points length=10 failures=1\n\
        sweep: 2 paths, 150 points, 1 failures\n";

    fn captured(console: &str, status: i32) -> Captured {
        Captured { console: console.into(), end: End::Exited(status) }
    }

    #[test]
    fn each_path_is_judged_by_its_own_line() {
        let run = captured(CONSOLE, 1);
        assert_eq!(judge(&run, "sem_give"), Ok(()));
        let message = judge(&run, "mutex").unwrap_err();
        assert!(message.contains("1 of 60 points failed") && message.contains("woken late"), "{message}");
        assert!(!message.contains("sem_give"), "{message}");
        assert!(judge(&run, "timer").unwrap_err().contains("no line `result sweep.timer"));
        assert!(judge(&captured("result sweep.a 0 points\n", 0), "a").unwrap_err().contains("not a single"));
    }

    #[test]
    fn the_closing_line_must_fit_the_results_and_the_status() {
        let results = paths(CONSOLE);
        assert_eq!(closing(&captured(CONSOLE, 1), &results), Ok(()));
        assert!(closing(&captured(CONSOLE, 0), &results).unwrap_err().contains("expected"));
        assert!(closing(&captured(CONSOLE, 1), &results[..1]).unwrap_err().contains("2 paths"));
        assert!(closing(&captured("run a\n", 101), &[]).unwrap_err().contains("panicked"));
    }

    #[test]
    fn the_table_sums_up() {
        let text = render(&paths(CONSOLE), false);
        assert!(text.contains("preempted at 150 instructions of 2 paths, 1 failures"), "{text}");
    }
}
