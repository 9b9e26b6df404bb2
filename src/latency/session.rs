//! What the `latency` command and the demonstration do, step by step.
//!
//! Context: threads. One run at a time; a second one waits.
#![forbid(unsafe_code)]

use super::ONE_AT_A_TIME;
use super::conditions::{self, When};
use super::params::{Load, Loads, Params};
use super::report;
use super::run::{self, Report};
use super::witness::Watching;
use crate::boot_info::BoardKind;
use crate::locking::Mutex;
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::{ExactNs, Ns};
use crate::start::boot_info;
use crate::time::NSEC_PER_SEC;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// What the last session found, for [`with_last`]. Taken inside of ONE_AT_A_TIME, or alone.
static LAST: Mutex<Last> = Mutex::new(Last { reports: Vec::new(), preempt: "" });
/// Runs longer than this show how far they are.
const SHOW_PROGRESS_NS: u64 = 5_000_000_000;

/// One in so many of the looks at the run is shown: about one a second.
const PROGRESS_POLLS: u32 = 10;
/// The longest line that is written over: the console load's, or the progress.
const LEFT_COLUMNS: usize = 50;

/// The `latency` command: measures, draws, prints result lines.
///
/// # Errors
/// No memory, or Ctrl-C; what was measured until then is shown.
pub fn command(params: &Params, preempt: &'static str, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let _one = ONE_AT_A_TIME.lock();
    report::announce(terminal, params, preempt)?;
    let session = Session { preempt, terminal };
    if params.each { session.each(params) } else { session.once(params) }
}

/// What `make run` shows first: the machine at rest, and the machine under every load.
///
/// # Errors
/// As [`command`].
pub fn demonstrate(preempt: &'static str, terminal: &mut dyn Terminal) -> Result<(), Failure> {
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
    let runs = [idle, loaded];
    runs.iter().try_for_each(|report| report::conditions(session.terminal, report))?;
    runs.iter().try_for_each(|report| report::result_lines(session.terminal, report, preempt))?;
    let whole = runs.iter().try_for_each(|report| complete(report));
    keep(Vec::from(runs), preempt);
    whole
}

/// The runs of a session, and the model they were made in.
struct Last {
    reports: Vec<Box<Report>>,
    preempt: &'static str,
}

fn keep(reports: Vec<Box<Report>>, preempt: &'static str) {
    *LAST.lock() = Last { reports, preempt };
}

/// Gives `use_it` what writes the report of the last session: table, pictures, result lines. It writes the same as
/// often as it is asked. Nothing if there was no session.
pub fn with_last<T>(use_it: impl FnOnce(&dyn Fn(&mut dyn Write) -> fmt::Result) -> T) -> Option<T> {
    let last = LAST.lock();
    (!last.reports.is_empty()).then(|| use_it(&|out| report::whole(out, &last.reports, last.preempt)))
}

/// Where the output goes.
struct Session<'a> {
    preempt: &'static str,
    terminal: &'a mut dyn Terminal,
}

impl Session<'_> {
    fn once(mut self, params: &Params) -> Result<(), Failure> {
        let report = self.run(params)?;
        report::table_head(self.terminal)?;
        report::table_row(self.terminal, &report)?;
        report::parts(self.terminal, &report)?;
        report::pictures(self.terminal, &report)?;
        report::explanations(self.terminal, &report)?;
        self.compare()?;
        report::conditions(self.terminal, &report)?;
        report::result_lines(self.terminal, &report, self.preempt)?;
        let whole = complete(&report);
        keep(Vec::from([report]), self.preempt);
        whole
    }

    /// One run without load, one with each, one with all.
    fn each(mut self, params: &Params) -> Result<(), Failure> {
        let singles = Load::ALL.into_iter().map(Loads::only);
        let all = [Loads::NONE].into_iter().chain(singles).chain([Loads::ALL]);
        let mut reports = Vec::new();
        report::table_head(self.terminal)?;
        let mut whole = Ok(());
        for loads in all {
            let report = self.run(&Params { loads, ..*params })?;
            report::table_row(self.terminal, &report)?;
            whole = complete(&report);
            reports.push(report);
            if whole.is_err() {
                break;
            }
        }
        reports.iter().try_for_each(|report| report::explanations(self.terminal, report))?;
        reports.iter().try_for_each(|report| report::conditions(self.terminal, report))?;
        if whole.is_ok() {
            self.compare()?;
            for report in &reports {
                report::result_lines(self.terminal, report, self.preempt)?;
            }
        }
        keep(reports, self.preempt);
        whole
    }

    fn run(&mut self, params: &Params) -> Result<Box<Report>, Failure> {
        let long = params.fragments.saturating_mul(params.period_ns) > SHOW_PROGRESS_NS;
        let terminal = &mut *self.terminal;
        let mut polls = 0u32;
        let before = conditions::now(When::Before);
        let watching = params.blame.then(Watching::start).transpose();
        let watching = watching.map_err(|error| Failure::new(format_args!("blame: {error}")))?;
        let mut report = run::run(*params, |fragment| {
            polls += 1;
            if long && polls.is_multiple_of(PROGRESS_POLLS) {
                // The terminal takes everything.
                let _ = write!(terminal, "\r  fragment {fragment} of {}", params.fragments);
            }
            !terminal.interrupted()
        })?;
        drop(watching);
        report.conditions = before.zip(conditions::now(When::Behind));
        // What the console load or the progress left on the line.
        if long || params.loads.contains(Load::Console) {
            write!(self.terminal, "\r{:LEFT_COLUMNS$}\r", "")?;
        }
        Ok(report)
    }

    /// How to see more: the other model, and a clock that is the guest's own.
    fn compare(&mut self) -> Result<(), Failure> {
        if host_time() {
            writeln!(
                self.terminal,
                "QEMU lends its host's clock here, so the host's delays are in these figures; \
                 with ICOUNT=1\none instruction is one nanosecond, and every run is the same"
            )?;
        }
        let (other, says) = match self.preempt {
            "none" => ("preempt=full", "with kernel preemption"),
            _ => ("preempt=none", "without kernel preemption"),
        };
        let clock = if host_time() { "" } else { "ICOUNT=1 " };
        writeln!(self.terminal, "the same {says}: make run {clock}BOOTARGS={other}")?;
        Ok(())
    }
}

/// Ctrl-C makes a run shorter, and that is a failure for whoever waits for its status; so is a run without a result.
fn complete(report: &Report) -> Result<(), Failure> {
    let (done, asked) = (report.wakeup_ns.n(), report.params.fragments);
    if done == asked {
        return match report::refused(report) {
            None => Ok(()),
            Some(refusal) => Err(Failure::new(format_args!("{refusal}"))),
        };
    }
    Err(Failure::new(format_args!(
        "stopped after {done} of {asked} fragments of {}; worst so far {}",
        ExactNs(report.params.period_ns),
        Ns(report.wakeup_ns.max())
    )))
}

/// Whether this is an emulator that runs on its host's time. Under `-icount` the host tool sets the counter
/// to one tick per nanosecond, which no machine has by itself.
fn host_time() -> bool {
    let info = boot_info();
    info.compatible == BoardKind::QemuVirt && info.timer_hz != NSEC_PER_SEC
}
