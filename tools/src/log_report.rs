//! `make report LOG=file`: the figures of a serial log as tables on the terminal and as a page.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::latency::summary;
use crate::lines::figure;
use crate::serial_log::{self, Boot, Damaged, Log};
use crate::svg::{grouped, time};
use crate::table::{self, Cell, Tone};
use crate::{cargo, page};

/// A log of days at 115200 baud is smaller.
const LARGEST_BYTES: u64 = 1 << 30;
/// So many damaged lines are named on the terminal.
const DAMAGED_SHOWN: usize = 5;

/// Options of `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportOptions {
    /// The saved log of a serial line
    #[arg(env = "STINT_LOG", default_value = "")]
    pub log: String,
    /// The page to write; by default a page named for the log, in the target directory's `report`
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Reads the log, prints the tables, writes the page.
///
/// # Errors
/// When the log cannot be read, or has nothing to report; the message says what would be right.
pub fn report(options: &ReportOptions) -> Result<()> {
    let path = chosen(&options.log)?;
    let size = std::fs::metadata(&path).with_context(|| format!("cannot read LOG={}", path.display()))?.len();
    ensure!(size <= LARGEST_BYTES, "LOG={} is {size} bytes long; a serial log is shorter", path.display());
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read LOG={}", path.display()))?;
    let log = serial_log::read(&bytes);
    print!("{}", tables(&log, table::colours()));
    if log.boots.is_empty() {
        bail!("{}", nothing(&path, &log));
    }
    let out = match &options.out {
        Some(out) => out.clone(),
        None => {
            let stem = path.file_stem().unwrap_or_default();
            cargo::target_dir()?.join("report").join(stem).with_extension("html")
        }
    };
    if let Some(dir) = out.parent() {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the directory {}", dir.display()))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    std::fs::write(&out, html(&log, &name)).with_context(|| format!("cannot write {}", out.display()))?;
    println!("page: {}", out.display());
    Ok(())
}

fn chosen(log: &str) -> Result<PathBuf> {
    if !log.is_empty() {
        return Ok(log.into());
    }
    let saved = cargo::target_dir()?.join("serial");
    let logs = std::fs::read_dir(&saved).into_iter().flatten().flatten();
    let newest = logs.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).max();
    match newest {
        Some((_, path)) => bail!("no log was named; the newest here: make report LOG={}", path.display()),
        None => bail!(
            "no log was named: make report LOG=<file>; `make serial` saves one, and so does any terminal program"
        ),
    }
}

/// Why there is nothing to show, and what would be right.
fn nothing(path: &Path, log: &Log) -> String {
    let boots = match log.banners {
        0 => "not even a boot of Stint".to_owned(),
        banners => format!("{} of Stint and no figures", page::count(banners, "boot")),
    };
    let damaged = match log.damaged.len() {
        0 => String::new(),
        damaged => format!(", and {} that was meant to be one", page::count(damaged, "damaged line")),
    };
    format!(
        "{} has {boots}{damaged}. Figures are lines that begin with `result`, as the command `latency` prints them at its \
         end; save everything until the next prompt",
        path.display()
    )
}

/// The page of a log.
#[must_use]
pub fn html(log: &Log, name: &str) -> String {
    let runs: usize = log.boots.iter().map(|boot| boot.runs.len()).sum();
    let others: usize = log.boots.iter().map(|boot| boot.others.len()).sum();
    let lead = format!(
        "From {name}: {}, {} of the latency test, {}.",
        page::count(log.boots.len(), "boot"),
        page::count(runs, "run"),
        page::count(others, "other figure")
    );
    page::render("What Stint measured", &lead, &page::log(log))
}

/// The tables of a log.
#[must_use]
pub fn tables(log: &Log, colours: bool) -> String {
    let mut text = String::new();
    for (index, boot) in log.boots.iter().enumerate() {
        text += &format!("boot {}: {}\n", index + 1, boot.conditions());
        if !boot.time_note().is_empty() {
            text += &format!("{}\n", boot.time_note());
        }
        if !boot.runs.is_empty() {
            text += &format!("\n{}", runs(boot, colours));
        }
        if !boot.others.is_empty() {
            text += &format!("\n{}", others(boot, colours));
        }
        text.push('\n');
    }
    text + &summary::tables(&log.boots, colours) + &damaged(&log.damaged)
}

fn runs(boot: &Boot, colours: bool) -> String {
    let head = ["load", "model", "min", "avg", "p50", "p99", "p99.9", "worst", "missed", "samples", "period"];
    let row = |run: &serial_log::Run| -> Vec<Cell> {
        let mut row: Vec<Cell> = vec![run.word("load").into(), run.word("preempt").into()];
        row.extend(["min", "avg", "p50", "p99", "p999", "max"].map(|key| Cell::from(time(run.number(key)))));
        let missed = run.number("missed");
        row.push(Cell::new(grouped(missed), if missed > 0 { Tone::Bad } else { Tone::Good }));
        row.push(grouped(run.number("n")).into());
        row.push(time(run.number("period_ns")).into());
        row
    };
    table::draw(&head, 2, &boot.runs.iter().map(row).collect::<Vec<_>>(), colours)
}

fn others(boot: &Boot, colours: bool) -> String {
    // The places of sections are longer than a terminal is wide; they are on the page.
    let narrow = boot.others.iter().filter(|measured| measured.name != page::WORST);
    let rows = narrow.map(|measured| {
        let fields: Vec<_> = measured.fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let words = fields.join(" ");
        vec![
            measured.name.clone().into(),
            figure(measured.value).into(),
            measured.unit.clone().into(),
            Cell::new(words, Tone::Faint),
        ]
    });
    table::draw(&["figure", "value", "unit", "with"], 1, &rows.collect::<Vec<_>>(), colours)
}

fn damaged(lines: &[Damaged]) -> String {
    let mut text = String::new();
    for damaged in lines.iter().take(DAMAGED_SHOWN) {
        text += &format!("line {} was not used: {}\n", damaged.line, damaged.reason);
    }
    if let Some(more @ 1..) = lines.len().checked_sub(DAMAGED_SHOWN) {
        text += &format!("and {more} more lines were not used\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "result latency.wakeup 1795 ns min=383 avg=657 p50=607 p99=1535 p999=1727 max=1795 n=1000 missed=2 \
        load=all period_ns=1000000 burn=0 preempt=full\n";

    #[test]
    fn the_table_has_the_worst_and_what_was_missed() {
        let text = tables(&serial_log::read(RUN.as_bytes()), false);
        let row = text.lines().find(|line| line.starts_with("all")).unwrap();
        let cells: Vec<_> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(
            cells,
            [
                "all", "full", "383 ns", "657 ns", "607 ns", "1,535 ns", "1,727 ns", "1,795 ns", "2",
                "1,000", "1 ms"
            ]
        );
    }

    #[test]
    fn a_log_without_figures_is_told_what_would_be_right() {
        let says = |text: &str| nothing(Path::new("a.log"), &serial_log::read(text.as_bytes()));
        assert!(
            says("hello\n").contains("not even a boot of Stint. Figures are lines that begin with `result`")
        );
        let banner = "Stint 0.1.0, a preemptible kernel for AArch64\n";
        assert!(says(banner).contains("1 boot of Stint and no figures."));
        assert!(says(&RUN[..60]).contains("1 damaged line that"));
    }
}
