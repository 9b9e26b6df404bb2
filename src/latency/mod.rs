//! The latency demonstration: Senoner's `latencytest` (M1), in its first form.
//!
//! A task that must be on time wakes on a grid, as a program that plays sound in fragments does, while loads
//! run long kernel paths beside it. The distance from the programmed time to the task's first instruction
//! is the latency; a fragment that is not done when the next one is due is a drop-out. Where the kernel can
//! be preempted the loads make little difference; booted with `preempt=none` the same run shows what they
//! can do. How to read the figures: docs/latency.md.
//!
//! | module | what |
//! |---|---|
//! | [`params`] | what is asked for |
//! | [`load`] | what runs beside the measurement |
//! | [`run`] | the measurement |
//! | [`histogram`], [`draw`] | counting, and drawing what was counted; pure |
//! | `report` | tables and result lines |
//!
//! Context: threads. One run at a time; a second one waits.
#![forbid(unsafe_code)]

pub mod draw;
pub mod histogram;
pub mod load;
pub mod params;
mod report;
pub mod run;

use crate::locking::Mutex;
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::{ExactNs, Ns};
use alloc::boxed::Box;
use load::Load;
use params::{Loads, Params};
use run::Report;

/// Two measurements at once would measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Runs longer than this show how far they are.
const SHOW_PROGRESS_NS: u64 = 5_000_000_000;

/// The `latency` command: measures, draws, prints result lines.
///
/// # Errors
/// No memory, or Ctrl-C; what was measured until then is shown.
pub fn command(params: &Params, preempt: &str, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let _one = ONE_AT_A_TIME.lock();
    report::announce(terminal, params, preempt)?;
    let session = Session { preempt, terminal };
    if params.each { session.each(params) } else { session.once(params) }
}

/// What `make run` shows first: the machine at rest, and the machine under every load.
///
/// # Errors
/// As [`command`].
pub fn demonstrate(preempt: &str, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let _one = ONE_AT_A_TIME.lock();
    let params = Params::default();
    writeln!(terminal, "A task that must be on time, without and with load beside it. The command: latency")?;
    report::announce(terminal, &params, preempt)?;
    let mut session = Session { preempt, terminal };
    report::table_head(session.terminal)?;
    let idle = session.run(&Params { loads: Loads::NONE, ..params })?;
    report::table_row(session.terminal, &idle)?;
    let loaded = session.run(&params)?;
    report::table_row(session.terminal, &loaded)?;
    report::parts(session.terminal, &loaded)?;
    report::pictures(session.terminal, &loaded)?;
    session.compare()?;
    report::result_lines(session.terminal, &idle, preempt)?;
    report::result_lines(session.terminal, &loaded, preempt)?;
    Ok(())
}

/// Where the output goes.
struct Session<'a> {
    preempt: &'a str,
    terminal: &'a mut dyn Terminal,
}

impl Session<'_> {
    fn once(mut self, params: &Params) -> Result<(), Failure> {
        let report = self.run(params)?;
        report::table_head(self.terminal)?;
        report::table_row(self.terminal, &report)?;
        report::parts(self.terminal, &report)?;
        report::pictures(self.terminal, &report)?;
        self.compare()?;
        report::result_lines(self.terminal, &report, self.preempt)?;
        complete(&report)
    }

    /// One run without load, one with each, one with all.
    fn each(mut self, params: &Params) -> Result<(), Failure> {
        let singles = Load::ALL.into_iter().map(Loads::only);
        let all = [Loads::NONE].into_iter().chain(singles).chain([Loads::ALL]);
        let mut reports = alloc::vec::Vec::new();
        report::table_head(self.terminal)?;
        for loads in all {
            let report = self.run(&Params { loads, ..*params })?;
            report::table_row(self.terminal, &report)?;
            let whole = complete(&report);
            reports.push(report);
            whole?;
        }
        self.compare()?;
        for report in &reports {
            report::result_lines(self.terminal, report, self.preempt)?;
        }
        Ok(())
    }

    fn run(&mut self, params: &Params) -> Result<Box<Report>, Failure> {
        let long = params.fragments.saturating_mul(params.period_ns) > SHOW_PROGRESS_NS;
        let terminal = &mut *self.terminal;
        let report = run::run(*params, |fragment| {
            if long {
                // The terminal takes everything.
                let _ = write!(terminal, "\r  fragment {fragment} of {}\x1b[K", params.fragments);
            }
            !terminal.interrupted()
        })?;
        // What the console load or the progress left on the line.
        if long || params.loads.contains(Load::Console) {
            write!(self.terminal, "\r\x1b[K")?;
        }
        Ok(report)
    }

    fn compare(&mut self) -> Result<(), Failure> {
        let (other, says) = match self.preempt {
            "none" => ("preempt=full", "with kernel preemption"),
            _ => ("preempt=none", "without kernel preemption"),
        };
        writeln!(self.terminal, "the same {says}: make run BOOTARGS={other}")?;
        Ok(())
    }
}

/// Ctrl-C makes a run shorter, and that is a failure for whoever waits for its status.
fn complete(report: &Report) -> Result<(), Failure> {
    let (done, asked) = (report.wakeup_ns.n(), report.params.fragments);
    if done == asked {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "stopped after {done} of {asked} fragments of {}; worst so far {}",
        ExactNs(report.params.period_ns),
        Ns(report.wakeup_ns.max())
    )))
}
