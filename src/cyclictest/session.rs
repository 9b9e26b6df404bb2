//! The command: runs the threads, shows how they do, prints what they found.

use super::options::Options;
use super::print;
use super::run::{self, Seen};
use crate::latency::ONE_AT_A_TIME;
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::smp;
use crate::start::boot_info;
use core::fmt;

/// One in so many looks at the threads is shown: about one a second.
const SHOWN_LOOKS: u32 = 10;

pub(crate) fn command(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let options = Options::parse(args, smp::online())?;
    let _one = ONE_AT_A_TIME.lock();
    let mut live = Display { options: &options, looks: 0, shown: 0 };
    if !options.quiet && options.histogram.is_none() {
        writeln!(terminal, "policy: {}", if options.prio > 0 { "fifo" } else { "other" })?;
    }
    let mut interrupted = false;
    let reports = run::run(&options, |threads| {
        // A terminal takes everything.
        let _ = live.look(terminal, threads);
        interrupted |= terminal.interrupted();
        !interrupted
    })?;
    if options.histogram.is_some() {
        print::histogram(terminal, &options, &reports)?;
    } else {
        live.back(terminal)?;
        for (number, report) in reports.iter().enumerate() {
            print::status(terminal, &options, number, report.id, &report.figures)?;
        }
    }
    print::results(terminal, &options, &reports, boot_info().bootargs.preempt.name())?;
    // Without an end to it, Ctrl-C is the end.
    if interrupted && (options.loops.is_some() || options.duration_ns.is_some()) {
        return Err(Failure::interrupted());
    }
    Ok(())
}

/// The lines that are written over while the threads run.
struct Display<'a> {
    options: &'a Options,
    looks: u32,
    /// Lines on the terminal.
    shown: usize,
}

impl Display<'_> {
    fn look(&mut self, terminal: &mut dyn Terminal, threads: &[Seen]) -> fmt::Result {
        self.looks += 1;
        if self.options.quiet || self.options.histogram.is_some() || !self.looks.is_multiple_of(SHOWN_LOOKS) {
            return Ok(());
        }
        self.back(terminal)?;
        for (number, (id, live)) in threads.iter().enumerate() {
            print::status(terminal, self.options, number, *id, &live.figures())?;
        }
        self.shown = threads.len();
        Ok(())
    }

    /// To the first of the lines.
    fn back(&mut self, terminal: &mut dyn Terminal) -> fmt::Result {
        match core::mem::take(&mut self.shown) {
            0 => Ok(()),
            lines => write!(terminal, "\x1b[{lines}A"),
        }
    }
}
