//! `stint-tools test`: runs everything that can be tested and counts it.
//!
//! Invariants: the last line of standard output is `N passed, N failed`, with `, N skipped` if anything was,
//! and nothing else; the exit status is 0 exactly if nothing failed and something passed. A part that does
//! not even build counts as one failure, so a broken build can never look like a small success.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::run::MachineOptions;
use crate::{cargo, machine};

/// Passed, failed, skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, and parts that did not build.
    pub failed: u64,
    /// Tests that could not be run here.
    pub skipped: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// The closing line.
    #[must_use]
    pub fn line(self) -> String {
        let line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 { format!("{line}, {} skipped", self.skipped) } else { line }
    }

    /// Whether a run that ends so has succeeded.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

/// Which machines run the in-kernel tests; none named: all, and everything else is tested as well.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen<'a> {
    /// `virt` or `rpi4`.
    pub board: Option<&'a str>,
    /// A number of CPUs.
    pub cpus: Option<&'a str>,
}

impl Chosen<'_> {
    fn is_all(self) -> bool {
        self.board.is_none() && self.cpus.is_none()
    }
}

/// One call of `cargo test`.
struct Part {
    title: &'static str,
    arguments: &'static [&'static str],
}

/// What runs on the PC: the kernel's portable parts, the host's arch crate, these tools.
const HOST: Part = Part {
    title: "on the PC",
    arguments: &[
        "test",
        "--no-fail-fast",
        "-p",
        "stint",
        "-p",
        "stint-arch-host",
        "-p",
        "stint-tools",
        "-p",
        "stint-loom",
    ],
};

/// What runs in QEMU; see tests/qemu.rs.
const GUEST: Part = Part { title: "in QEMU", arguments: &["test", "-p", "stint", "--test", "qemu"] };

/// Runs all tests whose name contains `filter` (all of them if it is empty); with a board or a number of CPUs, only
/// the in-kernel tests on the machines that have these.
///
/// # Errors
/// When Cargo cannot be started, or there is no such machine.
pub fn test(filter: &str, chosen: Chosen<'_>) -> Result<Counts> {
    let mut total = Counts::default();
    if chosen.is_all() {
        total.add(part(&HOST, filter, chosen)?);
    } else {
        // Refused here; what is right reaches the tests by the environment.
        let board = chosen.board.unwrap_or("virt").to_owned();
        let smp = chosen.cpus.map(str::to_owned);
        drop(MachineOptions { board, cpu: "cortex-a72".into(), smp, ..Default::default() }.machine()?);
    }
    match machine::version() {
        Ok(version) => {
            println!("\n=== {version}");
            total.add(part(&GUEST, filter, chosen)?);
        }
        Err(error) => {
            println!("\n=== SKIPPED: everything in QEMU: {error:#}");
            total.skipped += 1;
        }
    }
    println!("\n{}", total.line());
    Ok(total)
}

fn part(part: &Part, filter: &str, chosen: Chosen<'_>) -> Result<Counts> {
    println!("\n=== tests {}", part.title);
    let start = Instant::now();
    let mut command = Command::new(cargo::program());
    command.args(part.arguments).current_dir(cargo::root()?).stdin(Stdio::null()).stdout(Stdio::piped());
    for (name, value) in [("STINT_SMP", chosen.cpus), ("STINT_BOARD", chosen.board)] {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    if !filter.is_empty() {
        command.args(["--", filter]);
    }
    let mut child = command.spawn().context("cannot start Cargo: run tools/setup.sh")?;
    let mut counts = Counts::default();
    let stdout = child.stdout.take().context("the tests have no standard output")?;
    let mut terminal = std::io::stdout();
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).context("cannot read the tests' output")? > 0 {
        // A terminal that went away is no reason to stop counting.
        let _ = terminal.write_all(&line).and_then(|()| terminal.flush());
        if let Some(more) = summary(&String::from_utf8_lossy(&line)) {
            counts.add(more);
        }
        line.clear();
    }
    let status = child.wait().context("cannot wait for Cargo")?;
    if !status.success() && counts.failed == 0 {
        println!(
            "=== a part of the tests {} did not build or was cut off ({status}): counted as one failure",
            part.title
        );
        counts.failed = 1;
    }
    println!("=== tests {}: {} in {} s", part.title, counts.line(), start.elapsed().as_secs());
    Ok(counts)
}

/// Reads the line with which a test binary ends: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
#[must_use]
pub fn summary(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split(';') {
        let Some((number, what)) = part.trim().split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        match what.trim() {
            "passed" => counts.passed = number,
            "failed" => counts.failed = number,
            "ignored" => counts.skipped = number,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_a_test_binary_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.1s\n";
        assert_eq!(summary(line), Some(Counts { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(summary("test a ... ok"), None);
        assert_eq!(summary("test result: "), None);
    }

    #[test]
    fn the_closing_line_names_skipped_tests_only_if_there_are_some() {
        assert_eq!(Counts { passed: 7, failed: 0, skipped: 0 }.line(), "7 passed, 0 failed");
        assert_eq!(Counts { passed: 7, failed: 1, skipped: 2 }.line(), "7 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn nothing_tested_is_no_success() {
        assert!(!Counts::default().is_success());
        assert!(!Counts { passed: 5, failed: 1, skipped: 0 }.is_success());
        assert!(Counts { passed: 5, failed: 0, skipped: 1 }.is_success());
    }
}
