//! `watchdog`: what is watched, and what was found.
#![forbid(unsafe_code)]

use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::watchdog;
use core::fmt;

/// The longest thresholds, those of the boot arguments.
const THRESH_MAX_S: u32 = 60;
const HUNG_MAX_S: u32 = 86_400;

pub(super) fn watchdog(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if args == ["off"] {
        watchdog::stop();
    } else if !args.is_empty() {
        let (mut thresh_s, mut hung_s) = watchdog::settings();
        for arg in args {
            match arg.split_once('=') {
                Some(("thresh", value)) => thresh_s = seconds(arg, value, THRESH_MAX_S)?,
                Some(("hung", value)) => hung_s = seconds(arg, value, HUNG_MAX_S)?,
                _ => return Err(Failure::new(format_args!("{arg}: thresh=…, hung=… or off was expected"))),
            }
        }
        watchdog::start(thresh_s, hung_s)?;
    }
    let (thresh_s, hung_s) = watchdog::settings();
    let told = watchdog::reports();
    writeln!(terminal, "a CPU that gets nowhere is reported after {}", Threshold(thresh_s))?;
    writeln!(terminal, "a task that waits for a lock is reported after {}", Threshold(hung_s))?;
    writeln!(
        terminal,
        "reported so far: {} CPUs, of which {} got on again; {} tasks",
        told.stuck, told.recovered, told.hung
    )?;
    Ok(())
}

fn seconds(arg: &str, value: &str, max: u32) -> Result<u32, Failure> {
    let number = value.parse().ok().filter(|seconds| (0..=max).contains(seconds));
    number.ok_or_else(|| {
        Failure::new(format_args!("{arg}: a number of seconds from 1 to {max}, or 0 for never, was expected"))
    })
}

struct Threshold(u32);

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no time: nobody looks"),
            seconds => write!(f, "{seconds} s"),
        }
    }
}
