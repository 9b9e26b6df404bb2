//! `make trace`: boots with tracing on, runs a command, and keeps what the kernel recorded in forms that viewers read.
//!
//! | file | format | viewers |
//! |---|---|---|
//! | `trace.txt` | ftrace text | Perfetto, and people |
//! | `trace.dat` | trace-cmd's, version 6 | `trace-cmd report`, KernelShark |
//!
//! | module | what |
//! |---|---|
//! | [`text`] | a console's text, read |
//! | [`events`], [`record`], [`symbols`] | an event as text, and as bytes |
//! | [`ring`], [`dat`] | the binary file |
//! | [`perfetto`] | what its importer asks of a text |
//! | [`summary`] | tables for a terminal |
#![forbid(unsafe_code)]

pub mod dat;
pub mod events;
pub mod perfetto;
pub mod record;
pub mod ring;
pub mod summary;
pub mod symbols;
pub mod text;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::bootargs::{self, Wishes};
use crate::machine::Board;
use crate::qemu::{self, Captured, End, Limits, Payload};
use crate::run::MachineOptions;
use crate::{cargo, image, raspi, suite, table};
use text::{Entry, Trace};

/// What is traced if nobody says what: the task that must be on time, under every load.
pub const DEFAULT_COMMAND: &str = "latency fragments=100 load=all";
/// A log of days at 115200 baud is smaller.
const LARGEST_LOG_BYTES: u64 = 1 << 30;
/// So many damaged lines are named.
const DAMAGED_SHOWN: usize = 5;

/// Options of `trace`.
#[derive(Args, Clone, Debug)]
pub struct TraceOptions {
    /// A saved console that has a trace; without one a machine is booted
    #[arg(long, env = "STINT_LOG", default_value = "")]
    pub log: String,
    /// Shell commands to trace, separated by `;`
    #[arg(long, env = "STINT_CMD", default_value = DEFAULT_COMMAND, allow_hyphen_values = true)]
    pub cmd: String,
    /// Where the files go; by default the target directory's `trace`
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Kill the run after this many seconds
    #[arg(long, default_value = "600")]
    pub timeout: u64,
    /// The machine
    #[command(flatten)]
    pub machine: MachineOptions,
}

/// Files that were written, and what they hold.
#[derive(Clone, Debug)]
pub struct Written {
    /// ftrace text.
    pub text: PathBuf,
    /// trace-cmd's file.
    pub dat: PathBuf,
    /// What could not be kept as it was.
    pub file: dat::File,
}

/// Boots and traces, or reads a log; writes both files and prints the summary.
///
/// # Errors
/// When there is no trace, or a file cannot be written; the message says what would be right.
pub fn trace(options: &TraceOptions) -> Result<()> {
    let out = match &options.out {
        Some(out) => out.clone(),
        None => cargo::target_dir()?.join("trace"),
    };
    let (console, linked) = if options.log.is_empty() {
        let (captured, elf) = boot(options)?;
        let advice = match captured.end {
            End::Flood => "; with a smaller BOOTARGS=trace_events= it is shorter",
            _ => "",
        };
        ensure!(
            captured.succeeded(),
            "{}, and so there is no trace{advice}\n{}",
            captured.end,
            suite::excerpt(&captured.console)
        );
        (captured.console.into_bytes(), functions(&elf)?)
    } else {
        (saved(&options.log)?, BTreeMap::new())
    };
    let Some(trace) = text::read(&console) else {
        bail!(
            "there is no trace in {}: a line `# tracer: …`, as the shell's `trace show` prints it, would begin one\n{}",
            if options.log.is_empty() { "the console" } else { &options.log },
            suite::excerpt(&String::from_utf8_lossy(&console))
        );
    };
    let written = write(&trace, &linked, &out)?;
    print!("{}", summary::render(&trace, table::colours()));
    print!("{}", remarks(&trace, &written));
    ensure!(
        !trace.entries.is_empty(),
        "the trace is empty: are events switched on? `help trace` in the shell"
    );
    println!(
        "\n{}   load it at ui.perfetto.dev, which keeps it in the browser\n{}   trace-cmd report -t {}, or kernelshark {}",
        written.text.display(),
        written.dat.display(),
        written.dat.display(),
        written.dat.display()
    );
    Ok(())
}

/// The shell's commands for a run that is traced: tracing goes off before the trace is printed, or printing would be all
/// that is in it.
#[must_use]
pub fn commands(traced: &str) -> String {
    format!("{}; trace off; trace show", traced.trim_end_matches([' ', ';']).trim_start())
}

/// The functions of a kernel by their addresses, each called what its trace calls it: one word without `=`.
///
/// # Errors
/// When the file is not a kernel's ELF.
pub fn functions(elf: &Path) -> Result<BTreeMap<u64, String>> {
    let taken = |c: char| c.is_whitespace() || c == '=';
    let functions = image::functions_of(elf)?;
    Ok(functions.into_iter().map(|(address, name)| (address, name.replace(taken, ""))).collect())
}

/// Boots a machine, with tracing on from the start, and returns what it said, and the kernel's ELF.
fn boot(options: &TraceOptions) -> Result<(Captured, PathBuf)> {
    let extra = with_tracing(&options.machine.bootargs);
    let command = commands(&options.cmd);
    let bootargs = bootargs::compose(&Wishes { extra: &extra, command: Some(&command), interactive: false })?;
    let machine = options.machine.machine()?;
    let built = cargo::build("stint")?;
    let image = match machine.board {
        Board::RaspberryPi4 { .. } => raspi::through_card(&built.image)?,
        Board::Virt => built.image,
    };
    let total = Duration::from_secs(options.timeout);
    let limits = Limits { total, silence: total };
    Ok((qemu::capture(qemu::command(&machine, Payload::Image(&image), &bootargs), limits)?, built.elf))
}

/// The boot arguments, with tracing on if they do not say otherwise.
#[must_use]
pub fn with_tracing(bootargs: &str) -> String {
    let says = bootargs.split_whitespace().any(|word| word == "trace" || word.starts_with("trace="));
    if says { bootargs.to_owned() } else { format!("{bootargs} trace=1").trim_start().to_owned() }
}

fn saved(log: &str) -> Result<Vec<u8>> {
    let size = std::fs::metadata(log).with_context(|| format!("cannot read LOG={log}"))?.len();
    ensure!(size <= LARGEST_LOG_BYTES, "LOG={log} is {size} bytes long; a serial log is shorter");
    std::fs::read(log).with_context(|| format!("cannot read LOG={log}"))
}

/// Writes both files into `dir`.
///
/// # Errors
/// When one cannot be written.
pub fn write(trace: &Trace, linked: &BTreeMap<u64, String>, dir: &Path) -> Result<Written> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
    let written =
        Written { text: dir.join("trace.txt"), dat: dir.join("trace.dat"), file: dat::write(trace, linked) };
    let keep = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    keep(&written.text, write_text(trace).as_bytes())?;
    keep(&written.dat, &written.file.bytes)?;
    Ok(written)
}

/// The trace as ftrace text, without what else the console had.
#[must_use]
pub fn write_text(trace: &Trace) -> String {
    let count = trace.entries.len() as u64;
    let written = trace.written.unwrap_or(count).max(count);
    let mut text = format!(
        "# tracer: {}\n#\n# entries-in-buffer/entries-written: {count}/{written}   #P:{}\n#\n\
         #           TASK-PID     CPU#  irqs-off, need-resched, context, depth   TIME: EVENT: FIELDS\n",
        if trace.tracer.is_empty() { "nop" } else { &trace.tracer },
        trace.cpus
    );
    for entry in &trace.entries {
        let _ = writeln!(text, "{}", line(entry));
    }
    text + text::END + "\n"
}

/// An entry as its line.
#[must_use]
pub fn line(entry: &Entry) -> String {
    let Entry { comm, pid, cpu, flags, ns, event, payload, .. } = entry;
    let (seconds, ns) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let text =
        format!("{comm:>16}-{pid:<7} [{cpu:03}] {} {seconds:>5}.{ns:09}: {event}: {payload}", flags.text());
    text.trim_end().to_owned()
}

/// What a reader of the files must know.
#[must_use]
pub fn remarks(trace: &Trace, written: &Written) -> String {
    let mut remarks = trace.remarks();
    let named = trace.damaged.iter().take(DAMAGED_SHOWN);
    remarks.extend(named.map(|damaged| format!("line {} is damaged: {}", damaged.line, damaged.reason)));
    if trace.damaged.len() > DAMAGED_SHOWN {
        remarks.push(format!("and {} damaged lines more", trace.damaged.len() - DAMAGED_SHOWN));
    }
    for (name, count) in &written.file.plain {
        remarks.push(format!(
            "{count} of {name} are in trace.dat as text, of the system `{}`",
            events::OTHER_SYSTEM
        ));
    }
    if written.file.renamed > 0 {
        remarks.push(format!(
            "{} tasks changed their names; trace.dat has the last of each",
            written.file.renamed
        ));
    }
    if let Some((count, first)) = perfetto::check_all(&write_text(trace)) {
        remarks.push(format!("Perfetto will not read {count} lines; {first}"));
    }
    remarks.iter().fold(String::new(), |mut text, remark| {
        let _ = writeln!(text, "note: {remark}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &[u8] = include_bytes!("../../../tests/data/trace-example.txt");

    #[test]
    fn the_text_that_is_written_reads_back() {
        let trace = text::read(EXAMPLE).unwrap();
        let again = text::read(write_text(&trace).as_bytes()).unwrap();
        let without_lines = |trace: &Trace| -> Vec<_> {
            trace.entries.iter().map(|entry| Entry { line: 0, lost: 0, ..entry.clone() }).collect()
        };
        assert_eq!(without_lines(&again), without_lines(&trace));
        assert_eq!((again.cpus, again.lost(), again.damaged.len()), (trace.cpus, trace.lost(), 0));
    }

    #[test]
    fn tracing_is_on_unless_the_arguments_say_otherwise() {
        assert_eq!(with_tracing(""), "trace=1");
        assert_eq!(with_tracing("hz=1000"), "hz=1000 trace=1");
        assert_eq!(with_tracing("trace=0 hz=1000"), "trace=0 hz=1000");
        assert_eq!(with_tracing("trace_events=9"), "trace_events=9 trace=1");
    }

    #[test]
    fn the_trace_is_printed_when_nothing_is_traced_any_more() {
        assert_eq!(commands(" ps; latency ; "), "ps; latency; trace off; trace show");
    }

    #[test]
    fn a_log_that_cannot_be_read_is_named() {
        let message = format!("{:#}", saved("/no/such/file").unwrap_err());
        assert!(message.starts_with("cannot read LOG=/no/such/file"), "{message}");
    }
}
