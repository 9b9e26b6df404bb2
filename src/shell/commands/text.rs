//! `help`, `echo`, `sleep`, `dmesg`: words, time and what was written down.
#![forbid(unsafe_code)]

use crate::klog;
use crate::shell::command::{COMMANDS, Command, Failure, find, no_arguments};
use crate::shell::terminal::Terminal;
use crate::shell::units::{parse_ns, parse_u64};
use alloc::vec::Vec;

/// The longest sleep: an hour.
const SLEEP_MAX_NS: u64 = 3_600_000_000_000;
/// The longest usage in the list of commands.
const USAGE_BYTES: usize = 20;

pub(super) fn help(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if let Some(name) = args.first() {
        let command =
            find(name).ok_or_else(|| Failure::new(format_args!("{name}: there is no such command")))?;
        writeln!(terminal, "{} {}", command.name, command.usage)?;
        writeln!(terminal, "  {}", command.about)?;
        return Ok(());
    }
    let mut commands: Vec<&Command> = COMMANDS.iter().collect();
    commands.sort_unstable_by_key(|command| command.name);
    for command in commands {
        // A long usage would push the table off the screen; `help command` shows it whole.
        let usage = if command.usage.len() <= USAGE_BYTES { command.usage } else { "[…]" };
        writeln!(terminal, "  {:<10}{usage:<20}  {}", command.name, command.about)?;
    }
    writeln!(terminal, "Several commands in a line are separated by `;`. Ctrl-C stops one.")?;
    Ok(())
}

pub(super) fn echo(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    for (at, word) in args.iter().enumerate() {
        let blank = if at == 0 { "" } else { " " };
        write!(terminal, "{blank}{word}")?;
    }
    writeln!(terminal)?;
    Ok(())
}

pub(super) fn sleep(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let [arg] = args else {
        return Err(Failure::new(format_args!("one time was expected, for example 500ms or 2s")));
    };
    // A bare number is seconds, as in every other shell.
    let ns = parse_ns(arg).or_else(|| parse_u64(arg)?.checked_mul(1_000_000_000));
    let ns = ns.filter(|&ns| ns <= SLEEP_MAX_NS).ok_or_else(|| {
        Failure::new(format_args!("{arg}: a time such as 500ms or 2s was expected, at most 3600s"))
    })?;
    if terminal.sleep_interruptibly(ns) { Err(Failure::interrupted()) } else { Ok(()) }
}

pub(super) fn dmesg(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    klog::drain();
    let mut lines = 0;
    let mut result = Ok(());
    klog::for_each_kept(|line| {
        lines += 1;
        if result.is_ok() {
            result = writeln!(terminal, "{line}");
        }
    });
    if lines == 0 {
        writeln!(terminal, "nothing was logged; BOOTARGS=loglevel=debug logs more")?;
    }
    Ok(result?)
}
