//! `stint-tools bench`: boots the bench image and sets our figures beside other kernels'.
//!
//! Invariant: the table has a row for every benchmark that is defined and for every figure that came; one
//! that is missing is shown as missing, never left out. The exit status says whether the image ran to its
//! end, not whether the targets are met: budgets are the business of `make test`. A machine with several CPUs
//! has targets of its own.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::json;

use crate::lines::{self, Measured, figure};
use crate::machine::{Board, Machine};
use crate::peers::{self, PEERS, ROWS};
use crate::qemu::Limits;
use crate::run::{MachineOptions, measure};
use crate::table::{self, Cell, Tone};
use crate::{linux, report, suite};

/// Time for the whole image; it takes seconds.
pub const LIMITS: Limits = Limits { total: Duration::from_secs(300), silence: Duration::from_secs(120) };

/// What the report of a machine is called.
fn report_name(machine: &Machine) -> String {
    match (&machine.board, machine.cpus) {
        (Board::RaspberryPi4 { .. }, _) => "bench-rpi4".into(),
        (Board::Virt, 1) => "bench".into(),
        (Board::Virt, cpus) => format!("bench-smp{cpus}"),
    }
}

/// Runs the bench, prints the table and writes `<target>/bench.json`; with N CPUs, `bench-smpN.json`, and for the
/// Raspberry Pi `bench-rpi4.json`.
///
/// # Errors
/// When the image does not build, does not end well, or printed no result.
pub fn bench(options: &MachineOptions) -> Result<()> {
    let run = measure("bench", options, LIMITS)?;
    let results = lines::results(&run.captured.console);
    let console = suite::excerpt(&run.captured.console);
    if results.is_empty() {
        bail!("the bench image printed no result line ({}):\n{console}", run.captured.end);
    }
    let cpus = run.machine.cpus;
    print!("{}", render(&results, cpus, table::colours()));
    let beside_linux = linux::render(&results, table::colours());
    if !beside_linux.is_empty() {
        print!("\n{beside_linux}");
    }
    let rows: Vec<_> = results
        .iter()
        .filter_map(|m| peers::find(&m.name).map(|row| (m, row)))
        .filter_map(|(m, row)| row.target_on(cpus).map(|target| (m, target)))
        .map(|(m, target)| json!({"name": m.name, "target": target, "met": m.value <= target}))
        .collect();
    let path = report::write(
        &report_name(&run.machine),
        &run.machine,
        &run.bootargs,
        &results,
        json!({"targets": rows, "beside_linux": linux::to_json(&results)}),
    )?;
    println!("\nall results: {}", path.display());
    ensure!(run.captured.succeeded(), "the bench image did not end well: {}\n{console}", run.captured.end);
    Ok(())
}

/// Draws the table, with a line that sums it up.
#[must_use]
pub fn render(results: &[Measured], cpus: u32, colours: bool) -> String {
    let mut head = vec!["instructions", "what", "Stint", "target", "met?"];
    head.extend(PEERS);
    let measured = |name: &str| results.iter().find(|m| m.name == name);
    // A group that the image does not measure at all is not worth a column of dashes.
    let has_group = |name: &str| {
        let group = name.split('.').next();
        results.iter().any(|m| m.name.split('.').next() == group)
    };
    let mut rows = Vec::new();
    let (mut met, mut known) = (0, 0);
    for row in ROWS.iter().filter(|row| has_group(row.name)) {
        let result = measured(row.name);
        let target = row.target_on(cpus);
        let (verdict, tone) = match (result, target) {
            (Some(m), Some(target)) => {
                known += 1;
                met += usize::from(m.value <= target);
                if m.value <= target {
                    ("yes".to_owned(), Tone::Good)
                } else {
                    (format!("+{}", figure(m.value - target)), Tone::Bad)
                }
            }
            (Some(_), None) => ("–".to_owned(), Tone::Plain),
            (None, _) => ("–".to_owned(), Tone::Faint),
        };
        let ours = result.map_or(Cell::new("missing", Tone::Faint), |m| Cell::new(figure(m.value), tone));
        let mut cells = vec![
            Cell::from(row.name),
            Cell::new(row.what, Tone::Faint),
            ours,
            target.map_or_else(|| "–".to_owned(), figure).into(),
            Cell::new(verdict, tone),
        ];
        let best = row.best();
        cells.extend(row.peers.iter().enumerate().map(|(column, peer)| match peer {
            Some(value) if best == Some(column) => Cell::new(format!("*{}", figure(*value)), Tone::Good),
            Some(value) => figure(*value).into(),
            None => Cell::new("–", Tone::Faint),
        }));
        rows.push(cells);
    }
    // Figures without peers: what they mean, or, if nobody has said so, their own spread.
    for m in results.iter().filter(|m| peers::find(&m.name).is_none()) {
        let fields: Vec<String> = m.fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let what =
            if m.unit == "insn" { fields.join(" ") } else { format!("[{}] {}", m.unit, fields.join(" ")) };
        let what = peers::meaning(&m.name).map_or(what, str::to_owned);
        rows.push(vec![m.name.as_str().into(), Cell::new(what, Tone::Faint), figure(m.value).into()]);
    }
    let mut text = table::draw(&head, 2, &rows, colours);
    text += &format!(
        "\n{met} of {known} targets met with {cpus} CPU{} online; * = best of the other kernels (QEMU 10.0.2, same \
         settings, one CPU)\n",
        if cpus == 1 { "" } else { "s" }
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_met_missed_missing_and_unknown_figures() {
        let results = lines::results(
            "result bench.yield_none 20 insn\nresult bench.yield_switch 80 insn\nresult bench.extra 7 insn max=9\n",
        );
        let text = render(&results, 1, false);
        let line =
            |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        assert!(line("bench.yield_none").contains("  20      22   yes"), "{text}");
        assert!(line("bench.yield_none").contains("*25"), "{text}");
        assert!(line("bench.yield_switch").contains("+5"), "{text}");
        assert!(line("bench.tick_irq").contains("missing"), "{text}");
        assert!(line("bench.extra").contains("max=9"), "{text}");
        assert!(text.contains("1 of 2 targets met"), "{text}");
        assert!(!text.contains("thread_metric."), "{text}");
    }

    #[test]
    fn four_cpus_have_targets_of_their_own() {
        let results = lines::results("result bench.yield_none 30 insn\nresult bench.spin_lock 9 insn\n");
        let one = render(&results, 1, false);
        assert!(one.contains("0 of 2 targets met with 1 CPU online"), "{one}");
        let four = render(&results, 4, false);
        assert!(four.contains("1 of 1 targets met with 4 CPUs online"), "{four}");
        assert!(
            four.lines().any(|l| l.starts_with("bench.yield_none") && l.contains("  30      40   yes")),
            "{four}"
        );
    }
}
