//! `stint-tools latency`: every preemption model under every load, on one page.
//!
//! Two boots for each model, on the measuring machine: one for the latency test under each load, the jobs of throughput
//! and `cyclictest`; one for the sections that `preempt-stats` finds, since its hooks would be in the other figures. Their
//! consoles together are a serial log like that of a board, which is kept; page and tables are made of it as
//! `make report` makes them.
//!
//! Invariant: the exit status says whether every boot ran to its end, and the page shows what came all the same.
#![forbid(unsafe_code)]

mod plan;
pub mod summary;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::json;

pub use plan::{Boot, Setting, boots};

use crate::bootargs::{self, Wishes};
use crate::lines::{self, Measured};
use crate::machine::Machine;
use crate::progress::Progress;
use crate::qemu::{self, Captured, Limits, Payload};
use crate::run::MachineOptions;
use crate::serial_log::{self, Log};
use crate::{cargo, page, report, suite, table};

/// Time for one boot: it takes a minute, and says something at least every few seconds.
const LIMITS: Limits = Limits { total: Duration::from_secs(900), silence: Duration::from_secs(240) };
/// More emulators than this do not make it faster: there are eight boots.
const AT_ONCE_MAX: usize = 4;

/// A boot that is over.
#[derive(Clone, Debug)]
pub struct Done {
    /// What it was to do.
    pub boot: Boot,
    /// What it said, and how it ended.
    pub captured: Captured,
}

/// Measures, writes `<target>/latency/index.html` and `<target>/latency.json`, prints the tables.
///
/// # Errors
/// When the image does not build, a boot does not end well, or a file cannot be written.
pub fn latency(options: &MachineOptions) -> Result<()> {
    ensure!(
        options.board == "virt",
        "BOARD is {}; `make latency` runs on virt, and a board's log makes the same page: make report LOG=<file>",
        options.board
    );
    ensure!(
        !options.bootargs.contains("preempt="),
        "BOOTARGS is `{}`; preempt= is chosen here, since every model is measured",
        options.bootargs
    );
    let machine = MachineOptions { icount: true, ..options.clone() }.machine()?;
    let built = cargo::build("stint")?;
    let boots = boots(&Setting::default());
    let done = measure(&built.image, &machine, &options.bootargs, boots)?;
    let log = together(&done);
    let read = serial_log::read(log.as_bytes());

    let dir = cargo::target_dir()?.join("latency");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
    let saved = write(&dir.join("serial.log"), &log)?;
    let (page, remark) = html(&read, &cargo::root()?);
    let page = write(&dir.join("index.html"), &page)?;
    let results: Vec<Measured> = lines::results(&log);
    let extra = json!({ "boots": done.iter().map(in_json).collect::<Vec<_>>() });
    let json = report::write("latency", &machine, &options.bootargs, &results, extra)?;

    print!("{}", summary::tables(&read.boots, table::colours()));
    if let Some(remark) = remark {
        println!("{remark}");
    }
    println!("page: {}\nlog: {}\nall results: {}", page.display(), saved.display(), json.display());
    complain(&done, &read)
}

/// Boots everything, several at once.
///
/// # Errors
/// When QEMU cannot be started, or a command line is refused.
pub fn measure(image: &Path, machine: &Machine, bootargs: &str, boots: Vec<Boot>) -> Result<Vec<Done>> {
    let progress = Progress::new(boots.iter().map(|boot| (boot.name(), boot.steps)));
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<Captured>>>> = Mutex::new(boots.iter().map(|_| None).collect());
    let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(AT_ONCE_MAX);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(boot) = boots.get(index) else { break };
                    progress.step(index, 0);
                    let captured = run(image, machine, bootargs, boot, |steps| progress.step(index, steps));
                    progress.end(index);
                    if let Ok(mut done) = done.lock() {
                        done[index] = Some(captured);
                    }
                }
            });
        }
    });
    progress.clear();
    let done = done.into_inner().map_err(|_| anyhow!("a boot could not be watched to its end"))?;
    boots
        .into_iter()
        .zip(done)
        .map(|(boot, captured)| {
            let captured = captured
                .context("a boot was not made")?
                .with_context(|| format!("boot `{}`", boot.name()))?;
            Ok(Done { boot, captured })
        })
        .collect()
}

fn run(
    image: &Path,
    machine: &Machine,
    extra: &str,
    boot: &Boot,
    mut step: impl FnMut(usize),
) -> Result<Captured> {
    let extra = format!("preempt={} {extra}", boot.model);
    let bootargs =
        bootargs::compose(&Wishes { extra: &extra, command: Some(&boot.command), interactive: false })?;
    let command = qemu::command(machine, Payload::Image(image), &bootargs);
    qemu::capture_and_look(command, LIMITS, |console| step(plan::steps(&String::from_utf8_lossy(console))))
}

/// The consoles as one serial log.
#[must_use]
pub fn together(done: &[Done]) -> String {
    done.iter().map(|done| format!("{}\n", done.captured.console.trim_end())).collect()
}

/// The page, and what is to be said about it on the terminal.
#[must_use]
pub fn html(log: &Log, root: &Path) -> (String, Option<String>) {
    let mut sections = page::log(log);
    // Behind what is compared and the jobs, before the single boots.
    let remark = match page::bounds(root) {
        Ok(bounds) => {
            sections.insert(2.min(sections.len()), bounds);
            None
        }
        Err(remark) => Some(remark),
    };
    let lead = "The kernel in its four preemption models, under every load it has, in an emulator where one instruction \
                takes one nanosecond. Every figure is an instruction count and the same in every run.";
    (page::render("Stint: latency and throughput", lead, &sections), remark)
}

fn write(path: &Path, text: &str) -> Result<PathBuf> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}

fn in_json(done: &Done) -> serde_json::Value {
    let results = lines::results(&done.captured.console);
    json!({
        "name": done.boot.name(),
        "preempt": done.boot.model,
        "command": done.boot.command,
        "end": done.captured.end.to_string(),
        "results": results.iter().map(Measured::to_json).collect::<Vec<_>>(),
    })
}

/// What did not go as it should.
///
/// # Errors
/// When a boot did not end well, or the log has lines that do not hold together.
pub fn complain(done: &[Done], log: &Log) -> Result<()> {
    for done in done {
        if !done.captured.succeeded() {
            let console = suite::excerpt(&done.captured.console);
            bail!("boot `{}` did not end well: {}\n{console}", done.boot.name(), done.captured.end);
        }
    }
    ensure!(log.damaged.is_empty(), "lines of the log do not hold together: {:?}", log.damaged);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::End;

    fn done(end: End) -> Done {
        let boot = boots(&Setting::default()).swap_remove(0);
        Done { boot, captured: Captured { console: "Stint 0.1.0\nlast words\n".into(), end } }
    }

    #[test]
    fn a_boot_that_did_not_end_well_is_named_with_its_last_words() {
        let log = Log::default();
        assert!(complain(&[done(End::Exited(0))], &log).is_ok());
        let error = complain(&[done(End::Exited(0)), done(End::Exited(101))], &log).unwrap_err().to_string();
        assert!(
            error.contains("`none`") && error.contains("panicked") && error.contains("last words"),
            "{error}"
        );
    }

    #[test]
    fn what_is_chosen_here_cannot_be_chosen_there() {
        let with = |bootargs: &str, board: &str| {
            let options = MachineOptions {
                bootargs: bootargs.into(),
                board: board.into(),
                ..MachineOptions::default()
            };
            latency(&options).unwrap_err().to_string()
        };
        assert!(with("hz=1000 preempt=rt", "virt").contains("every model is measured"));
        assert!(with("", "rpi4").contains("make report LOG="));
    }
}
