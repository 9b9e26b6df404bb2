//! `watchdog`: what is watched, and what was found.
#![forbid(unsafe_code)]

use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::{ExactNs, parse_u64};
use crate::time::NSEC_PER_SEC;
use crate::watchdog;
use core::fmt;

/// The longest thresholds, those of the boot arguments.
const THRESH_MAX_S: u64 = 60;
const HUNG_MAX_S: u64 = 86_400;

pub(super) fn watchdog(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if args == ["off"] {
        watchdog::stop();
    } else if !args.is_empty() {
        let (mut thresh_ns, mut hung_ns) = watchdog::settings();
        for arg in args {
            match arg.split_once('=') {
                Some(("thresh", value)) => thresh_ns = seconds(arg, value, THRESH_MAX_S)?,
                Some(("hung", value)) => hung_ns = seconds(arg, value, HUNG_MAX_S)?,
                _ => return Err(Failure::new(format_args!("{arg}: thresh=…, hung=… or off was expected"))),
            }
        }
        watchdog::start(thresh_ns, hung_ns)?;
    }
    let (thresh_ns, hung_ns) = watchdog::settings();
    let told = watchdog::reports();
    writeln!(terminal, "a CPU that gets nowhere is reported after {}", Threshold(thresh_ns))?;
    writeln!(terminal, "a task that waits for a lock is reported after {}", Threshold(hung_ns))?;
    writeln!(
        terminal,
        "reported so far: {} CPUs, of which {} got on again; {} tasks",
        told.stuck, told.recovered, told.hung
    )?;
    Ok(())
}

/// A number of seconds, in nanoseconds.
fn seconds(arg: &str, value: &str, max: u64) -> Result<u64, Failure> {
    let number = parse_u64(value).filter(|seconds| (0..=max).contains(seconds));
    number.map(|seconds| seconds * NSEC_PER_SEC).ok_or_else(|| {
        Failure::new(format_args!("{arg}: a number of seconds from 1 to {max}, or 0 for never, was expected"))
    })
}

struct Threshold(u64);

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no time: nobody looks"),
            ns => ExactNs(ns).fmt(f),
        }
    }
}
