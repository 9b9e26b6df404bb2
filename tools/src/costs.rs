//! `stint-tools costs`: what each feature of the kernel costs in the core primitives.
//!
//! The bench is booted once with everything as it is released, and once more per feature; a cell is the difference between
//! the two. What can be switched is switched by a boot argument, in the same image. Two cannot be: cycle accounting, which
//! is always there, is left out by a build of its own (the kernel's feature `no-cycle-accounting`, made for this
//! alone), so its cell is what the released figure holds of it; and debug checks are the test image's build.
//!
//! Invariant: every cell is measured; one that is not is shown as missing.
#![forbid(unsafe_code)]

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::bench::LIMITS;
use crate::lines::{self, Measured, figure};
use crate::run::{MachineOptions, measure};
use crate::table::{self, Cell, Tone};
use crate::{cargo, report, suite};

/// The rows: names in the group `bench`.
const ROWS: [&str; 8] = [
    "yield_switch",
    "irq_to_thread",
    "sem_give_wake",
    "mutex_pi_handoff",
    "tick_irq",
    "spin_lock",
    "spin_unlock",
    "preempt_enable",
];

/// A feature, and how the bench is run to see what it costs.
struct Feature {
    /// Head of its column.
    name: &'static str,
    /// The image.
    image: &'static str,
    /// What the kernel is told.
    told: &'static str,
    /// The run is the one without it.
    is_left_out: bool,
    /// A line about it.
    what: &'static str,
}

/// The columns. A budget of a second, which nothing reaches, is what switches preempt-stats on at boot.
const FEATURES: [Feature; 6] = [
    Feature {
        name: "accounting",
        image: cargo::UNACCOUNTED,
        told: "",
        is_left_out: true,
        what: "cycles per task at each switch; always there, so the cell is its part of the released figure",
    },
    Feature {
        name: "tracing",
        image: "bench",
        told: "trace=1",
        is_left_out: false,
        what: "on: events go to the ring of the CPU (trace=1)",
    },
    Feature {
        name: "preempt-stats",
        image: "bench",
        told: "latency_budget_us=1000000",
        is_left_out: false,
        what: "on: every section with preemption or interrupts off is timed",
    },
    Feature {
        name: "SMP locks",
        image: "bench",
        told: "smp_locks=1",
        is_left_out: false,
        what: "live, and every path for several CPUs, on one CPU (smp_locks=1)",
    },
    Feature {
        name: "model rt",
        image: "bench",
        told: "preempt=rt",
        is_left_out: false,
        what: "instead of full: spin locks sleep and inherit priority (preempt=rt)",
    },
    Feature {
        name: "debug",
        image: cargo::CHECKED,
        told: "",
        is_left_out: false,
        what: "the test image's build: lockdep, all assertions, overflow checks",
    },
];

/// A boot's figures.
type Run = Vec<Measured>;

/// Measures all features, prints the table and writes `<target>/costs.json`.
///
/// # Errors
/// When an image does not build or does not run to its end.
pub fn costs(options: &MachineOptions) -> Result<()> {
    let released = run(options, "released", "bench", "")?;
    let mut runs = Vec::new();
    for feature in &FEATURES {
        runs.push(run(options, feature.name, feature.image, feature.told)?);
    }
    print!("{}", render(&released, &runs, table::colours()));
    let machine = MachineOptions { icount: true, ..options.clone() }.machine()?;
    let path = report::write(
        "costs",
        &machine,
        &told(options, ""),
        &released,
        json!({"features": to_json(&released, &runs)}),
    )?;
    println!("\nall results: {}", path.display());
    Ok(())
}

/// The boot arguments of a run.
fn told(options: &MachineOptions, feature: &str) -> String {
    format!("bench={} {feature} {}", ROWS.join(","), options.bootargs).trim_end().to_owned()
}

fn run(options: &MachineOptions, name: &str, image: &str, feature: &str) -> Result<Run> {
    eprintln!("{}", format!("{name}: the image {image} {feature}").trim_end());
    let options = MachineOptions { bootargs: told(options, feature), ..options.clone() };
    let run = measure(image, &options, LIMITS)?;
    ensure!(
        run.captured.succeeded(),
        "the image `{image}` did not end well with `{}`: {}\n{}",
        options.bootargs,
        run.captured.end,
        suite::excerpt(&run.captured.console)
    );
    Ok(lines::results(&run.captured.console))
}

fn value(run: &Run, row: &str) -> Option<f64> {
    run.iter().find(|m| m.name.strip_prefix("bench.") == Some(row)).map(|m| m.value)
}

/// What a feature costs in a row, if both were measured.
fn cost(feature: &Feature, released: &Run, run: &Run, row: &str) -> Option<f64> {
    let more = value(run, row)? - value(released, row)?;
    Some(if feature.is_left_out { -more } else { more })
}

fn signed(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        less if less < 0.0 => format!("−{}", figure(-less)),
        more => format!("+{}", figure(more)),
    }
}

/// Draws the table.
fn render(released: &Run, runs: &[Run], colours: bool) -> String {
    let mut head = vec!["instructions", "released"];
    head.extend(FEATURES.iter().map(|feature| feature.name));
    let missing = || Cell::new("missing", Tone::Faint);
    let rows: Vec<Vec<Cell>> = ROWS
        .iter()
        .map(|row| {
            let mut cells =
                vec![Cell::from(*row), value(released, row).map_or_else(missing, |v| figure(v).into())];
            cells.extend(FEATURES.iter().zip(runs).map(|(feature, run)| {
                cost(feature, released, run, row).map_or_else(missing, |more| {
                    Cell::new(signed(more), if more == 0.0 { Tone::Faint } else { Tone::Plain })
                })
            }));
            cells
        })
        .collect();
    let mut text = table::draw(&head, 1, &rows, colours) + "\n";
    for feature in &FEATURES {
        text += &format!("{:13}  {}\n", feature.name, feature.what);
    }
    text
}

/// The figures for programs: of each feature, of each row, the figure and the difference.
fn to_json(released: &Run, runs: &[Run]) -> Value {
    let feature = |(feature, run): (&Feature, &Run)| {
        let rows: serde_json::Map<_, _> = ROWS
            .iter()
            .map(|row| {
                let cells = json!({"value": value(run, row), "cost": cost(feature, released, run, row)});
                ((*row).to_owned(), cells)
            })
            .collect();
        json!({"name": feature.name, "image": feature.image, "bootargs": feature.told, "what": feature.what, "rows": rows})
    };
    FEATURES.iter().zip(runs).map(feature).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs() -> (Run, Vec<Run>) {
        let figures = |text: &str| lines::results(text);
        let released = figures("result bench.yield_switch 90 insn\nresult bench.spin_lock 5 insn\n");
        let mut runs = vec![released.clone(); FEATURES.len()];
        runs[0] = figures("result bench.yield_switch 83 insn\nresult bench.spin_lock 5 insn\n");
        runs[3] = figures("result bench.yield_switch 120 insn\n");
        runs[4] = figures("result bench.yield_switch 88 insn\nresult bench.raw_spin_lock 7 insn\n");
        (released, runs)
    }

    #[test]
    fn a_cell_is_the_difference_and_what_is_left_out_counts_the_other_way() {
        let (released, runs) = runs();
        let text = render(&released, &runs, false);
        let line =
            |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        let cells = |start: &str| line(start).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells("yield_switch"), ["yield_switch", "90", "+7", "0", "0", "+30", "−2", "0"], "{text}");
        assert_eq!(
            cells("spin_lock"),
            ["spin_lock", "5", "0", "0", "0", "missing", "missing", "0"],
            "{text}"
        );
        assert_eq!(cells("tick_irq")[1], "missing", "{text}");
    }

    #[test]
    fn programs_find_figures_and_differences() {
        let (released, runs) = runs();
        let all = to_json(&released, &runs);
        assert_eq!(all[0]["rows"]["yield_switch"], json!({"value": 83.0, "cost": 7.0}));
        assert_eq!(all[3]["rows"]["spin_lock"], json!({"value": null, "cost": null}));
    }

    #[test]
    fn every_row_is_one_of_the_bench() {
        for row in ROWS {
            assert!(crate::peers::meaning(&format!("bench.{row}")).is_some(), "{row}");
        }
    }
}
