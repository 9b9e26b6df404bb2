//! `stint-tools run`: boots an image with its console on this terminal.
//!
//! Invariants: at a terminal and without a command the console is interactive and Ctrl-A X leaves QEMU; in
//! every other case nothing is read from standard input, the machine powers off by itself, and it is killed
//! when it does not. The exit status is the guest's.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};

use crate::bootargs::{self, Wishes};
use crate::machine::{self, Board, Machine};
use crate::qemu::{self, Captured, End, Limits, Payload};
use crate::{cargo, raspi, table};

/// Exit status of a run that had to be killed, as `timeout` reports it.
const TIMED_OUT_STATUS: u8 = 124;

/// What the Makefile's variables choose; each is also an option.
#[derive(Args, Clone, Debug, Default)]
pub struct MachineOptions {
    /// Board: virt, or rpi4, of which nothing else can be chosen
    #[arg(long, env = "STINT_BOARD", default_value = "virt", value_parser = ["virt", "rpi4"])]
    pub board: String,
    /// Version of the interrupt controller; 3 on virt
    #[arg(long, env = "STINT_GIC", value_parser = ["2", "3"])]
    pub gic: Option<String>,
    /// Processor: cortex-a53, cortex-a72, max, …
    #[arg(long, env = "STINT_CPU", default_value = "cortex-a72")]
    pub cpu: String,
    /// How many CPUs: 1 to 64, with a GICv2 to 8; 1 on virt
    #[arg(long, env = "STINT_SMP")]
    pub smp: Option<String>,
    /// Deterministic time: one instruction is one nanosecond
    #[arg(long, env = "STINT_ICOUNT", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub icount: bool,
    /// Boot arguments for the kernel, for example "hz=1000 preempt=none"
    #[arg(long, env = "STINT_BOOTARGS", default_value = "", allow_hyphen_values = true)]
    pub bootargs: String,
    /// Further arguments for QEMU, for example "-d int"
    #[arg(long, env = "STINT_QEMU_ARGS", default_value = "", allow_hyphen_values = true)]
    pub qemu_args: String,
}

impl MachineOptions {
    /// The machine that was chosen.
    ///
    /// # Errors
    /// When `qemu_args` has an open quote, `gic` or `smp` is not a number, or there cannot be as many CPUs.
    pub fn machine(&self) -> Result<Machine> {
        let base = match self.board.as_str() {
            "rpi4" => {
                let tree = raspi::device_tree()?;
                if tree.is_own {
                    eprintln!("rpi4: {}", tree.origin());
                }
                Machine { icount: self.icount, ..Machine::raspberry_pi4(tree.path) }
            }
            _ if self.icount => Machine::measuring(),
            _ => Machine::default(),
        };
        let gic = self.gic.as_deref().map(str::parse).transpose();
        let gic = gic.with_context(|| {
            format!("GIC is `{}`; 2 or 3 would be right", self.gic.as_deref().unwrap_or_default())
        })?;
        let cpus = self.smp.as_deref().map(str::parse).transpose().with_context(|| {
            format!(
                "SMP is `{}`; a number of CPUs would be right, for example 4",
                self.smp.as_deref().unwrap_or_default()
            )
        })?;
        if let Board::RaspberryPi4 { .. } = base.board {
            ensure!(gic.is_none_or(|gic| gic == base.gic), "GIC is 3; a Raspberry Pi 4 has a GICv2");
            ensure!(self.cpu == base.cpu, "CPU is `{}`; a Raspberry Pi 4 has cortex-a72", self.cpu);
        }
        let machine = Machine {
            gic: gic.unwrap_or(base.gic),
            cpu: self.cpu.clone(),
            cpus: cpus.unwrap_or(base.cpus),
            extra: machine::split_words(&self.qemu_args).context("QEMU_ARGS cannot be understood")?,
            ..base
        };
        machine.check_cpus()?;
        Ok(machine)
    }
}

/// Options of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// What to boot: stint, ktest, bench, sweep, or the name of an example
    #[arg(default_value = "stint")]
    pub image: String,
    /// Shell commands separated by `;`; the machine powers off after them
    #[arg(long, env = "STINT_CMD", allow_hyphen_values = true)]
    pub cmd: Option<String>,
    /// Kill a run that nobody sits at after this many seconds
    #[arg(long, default_value = "600")]
    pub timeout: u64,
    /// The machine
    #[command(flatten)]
    pub machine: MachineOptions,
}

/// Builds, boots, waits; returns the exit status for our caller.
///
/// # Errors
/// When the image does not build, the command line cannot be passed on, or QEMU cannot be started.
pub fn run(options: &RunOptions) -> Result<u8> {
    let command = options.cmd.as_deref().filter(|command| !command.trim().is_empty());
    let interactive = std::io::stdin().is_terminal() && command.is_none();
    // Refuse a bad command line before spending a minute on the build.
    let bootargs = bootargs::compose(&Wishes { extra: &options.machine.bootargs, command, interactive })?;
    let machine = options.machine.machine()?;
    let built = cargo::build(&options.image)?;

    let image = match machine.board {
        Board::RaspberryPi4 { .. } => raspi::through_card(&built.image)?,
        Board::Virt => built.image,
    };
    let mut qemu = qemu::command(&machine, Payload::Image(&image), &bootargs);
    if interactive {
        // The monitor shares the terminal, which is what makes Ctrl-A X and Ctrl-A C work.
        qemu.args(["-serial", "mon:stdio"]);
        let (bright, normal) = if table::colours() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        eprintln!("{bright}QEMU: leave with Ctrl-A X{normal}");
    } else {
        qemu.args(["-monitor", "none", "-serial", "stdio"]).stdin(Stdio::null());
    }
    let mut child = qemu::spawn_with_remarks(qemu)?;
    let limit = (!interactive).then(|| Duration::from_secs(options.timeout));
    match qemu::wait(&mut child, limit)? {
        End::Exited(status) => Ok(u8::try_from(status).unwrap_or(1)),
        end @ End::TooLong(_) => {
            eprintln!("stint-tools: {end}; a longer limit: stint-tools run --timeout <seconds>");
            Ok(TIMED_OUT_STATUS)
        }
        end => {
            eprintln!("stint-tools: {end}");
            Ok(1)
        }
    }
}

/// A run on the measuring machine.
#[derive(Debug)]
pub struct MeasuredRun {
    /// What it ran on.
    pub machine: Machine,
    /// What the kernel was told.
    pub bootargs: String,
    /// What it said, and how it ended.
    pub captured: Captured,
}

/// Boots an image on the measuring machine, whatever `ICOUNT` says, and keeps its console.
///
/// # Errors
/// When it does not build or cannot be started.
pub fn measure(image: &str, options: &MachineOptions, limits: Limits) -> Result<MeasuredRun> {
    let machine = MachineOptions { icount: true, ..options.clone() }.machine()?;
    let bootargs =
        bootargs::compose(&Wishes { extra: &options.bootargs, command: None, interactive: false })?;
    let built = cargo::build(image)?;
    let captured = qemu::capture(qemu::command(&machine, Payload::Image(&built.image), &bootargs), limits)?;
    Ok(MeasuredRun { machine, bootargs, captured })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: MachineOptions,
    }

    fn chosen(arguments: &[&str]) -> Result<Machine> {
        Line::try_parse_from([&["tool"], arguments].concat())?.options.machine()
    }

    #[test]
    fn the_options_choose_the_machine() {
        let machine =
            chosen(&["--gic", "2", "--cpu", "max", "--icount", "--qemu-args", "-M virtualization=on"])
                .unwrap();
        assert_eq!((machine.gic, machine.cpu.as_str(), machine.icount), (2, "max", true));
        assert_eq!(machine.extra, ["-M", "virtualization=on"]);
        assert_eq!(chosen(&["--smp", "4"]).unwrap().cpus, 4);
        let pi = chosen(&["--board", "rpi4", "--icount"]).unwrap();
        assert_eq!((pi.machine_option().as_str(), pi.cpus, pi.icount), ("raspi4b", 4, true));
        assert_eq!(chosen(&[]).unwrap(), Machine::default());
    }

    #[test]
    fn a_wrong_choice_is_refused_with_what_would_be_right() {
        let message = chosen(&["--gic", "4"]).unwrap_err().to_string();
        assert!(message.contains("possible values: 2, 3"), "{message}");
        let message = format!("{:#}", chosen(&["--qemu-args", "'x"]).unwrap_err());
        assert!(message.contains("QEMU_ARGS cannot be understood"), "{message}");
        let message = format!("{:#}", chosen(&["--smp", "many"]).unwrap_err());
        assert!(message.contains("SMP is `many`; a number of CPUs"), "{message}");
        let message = format!("{:#}", chosen(&["--smp", "9", "--gic", "2"]).unwrap_err());
        assert!(message.contains("SMP is 9; 1 to 8"), "{message}");
        let message = format!("{:#}", chosen(&["--board", "rpi4", "--smp", "2"]).unwrap_err());
        assert!(message.contains("SMP is 2; a Raspberry Pi 4 has 4"), "{message}");
        let message = format!("{:#}", chosen(&["--board", "rpi4", "--gic", "3"]).unwrap_err());
        assert!(message.contains("a Raspberry Pi 4 has a GICv2"), "{message}");
    }
}
