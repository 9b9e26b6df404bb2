//! `stint-tools`: the front door that the Makefile calls. `stint-tools help` lists the commands.
//!
//! Invariant: a mistake of the person at the keyboard ends in a message that says what would be right and in
//! exit status 2, never in a panic; every other status is that of the guest or of the tests.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use stint_tools::chainload::{self, ChainloadOptions};
use stint_tools::debug::DebugOptions;
use stint_tools::log_report::{self, ReportOptions};
use stint_tools::run::{MachineOptions, RunOptions};
use stint_tools::sdcard::{self, SdOptions};
use stint_tools::serial::{self, LineOptions};
use stint_tools::testrun::Chosen;
use stint_tools::trace::{self, TraceOptions};
use stint_tools::{
    bench, cargo, costs, debug, guarantee, image, latency, licences, run, scaling, sweep, testrun,
};

/// Host tools of the Stint kernel.
#[derive(Parser)]
#[command(name = "stint-tools", version, disable_help_subcommand = false)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make the flat image of a linked kernel, with its symbol table filled in
    Image {
        /// The linked kernel
        elf: PathBuf,
        /// The file to write
        out: PathBuf,
    },
    /// Build an image and print where it is
    Build {
        /// stint, ktest, bench, sweep, or the name of an example
        #[arg(default_value = "stint")]
        image: String,
    },
    /// Build an image and boot it in QEMU, with its console on this terminal
    Run(RunOptions),
    /// Run all tests, on the PC and in QEMU, and count them
    Test {
        /// Run only tests whose name contains this
        #[arg(default_value = "", env = "STINT_FILTER")]
        filter: String,
        /// Only the in-kernel tests, on machines with so many CPUs
        #[arg(long, env = "STINT_SMP")]
        smp: Option<String>,
        /// Only the in-kernel tests, on this board
        #[arg(long, env = "STINT_BOARD", value_parser = ["virt", "rpi4"])]
        board: Option<String>,
    },
    /// Measure the core primitives and show them beside other kernels
    Bench(MachineOptions),
    /// Measure what each feature of the kernel costs
    Costs(MachineOptions),
    /// Measure latency and throughput in every preemption model, as a page
    Latency(MachineOptions),
    /// Measure wake-ups with 1 to 64 CPUs and with 10 to 100,000 tasks
    Scaling(MachineOptions),
    /// Preempt kernel paths at every instruction
    Sweep(MachineOptions),
    /// Compute how long the CPU can be closed to the most important task
    Guarantee {
        /// Compute alone, boot nothing
        #[arg(long)]
        no_measuring: bool,
        /// Show the longest path of each figure
        #[arg(long)]
        paths: bool,
    },
    /// Make the image of an SD card for a Raspberry Pi 4
    Sdcard(SdOptions),
    /// A terminal for a board's serial line, which keeps everything that was said
    Serial(LineOptions),
    /// Send a kernel to the chainloader of a board, then be its terminal
    Chainload(ChainloadOptions),
    /// Show the figures of a saved serial log, as tables and as a page
    Report(ReportOptions),
    /// Trace a run, and write the trace for Perfetto, trace-cmd and KernelShark
    Trace(TraceOptions),
    /// Boot under gdb
    Debug(DebugOptions),
    /// Check that every dependency has a permissive licence
    Licences,
}

fn main() -> ExitCode {
    match perform(&Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("stint-tools: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn perform(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Image { elf, out } => {
            let report = image::convert(elf, out)?;
            println!("{}: {} bytes, {} symbols", out.display(), report.bytes, report.symbols.count);
            if let Some(note) = report.symbols.note() {
                eprintln!("note: {note}");
            }
        }
        Task::Build { image } => println!("{}", cargo::build(image)?.image.display()),
        Task::Run(options) => return Ok(ExitCode::from(run::run(options)?)),
        Task::Test { filter, smp, board } => {
            let chosen = Chosen { board: board.as_deref(), cpus: smp.as_deref() };
            let counts = testrun::test(filter, chosen)?;
            return Ok(if counts.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Task::Bench(options) => bench::bench(options)?,
        Task::Costs(options) => costs::costs(options)?,
        Task::Latency(options) => latency::latency(options)?,
        Task::Scaling(options) => scaling::scaling(options)?,
        Task::Sweep(options) => sweep::sweep(options)?,
        Task::Guarantee { no_measuring, paths } => guarantee::guarantee(!no_measuring, *paths)?,
        Task::Sdcard(options) => sdcard::sdcard(options)?,
        Task::Serial(options) => serial::serial(options)?,
        Task::Chainload(options) => chainload::chainload(options)?,
        Task::Report(options) => log_report::report(options)?,
        Task::Trace(options) => trace::trace(options)?,
        Task::Debug(options) => debug::debug(options)?,
        Task::Licences => licences::check()?,
    }
    Ok(ExitCode::SUCCESS)
}
