//! `help`, `echo`, `sleep`, `dmesg`, `trace`: words, time and what was written down.
#![forbid(unsafe_code)]

use crate::shell::command::{COMMANDS, Command, Failure, find, no_arguments};
use crate::shell::terminal::Terminal;
use crate::shell::units::{Ns, parse_ns, parse_u64};
use crate::trace::{self, Event};
use crate::{klog, patching, preempt, task, time};
use alloc::vec::Vec;
use arch::patch::{self, Key};

/// The longest sleep: an hour.
const SLEEP_MAX_NS: u64 = 3_600_000_000_000;
/// The longest usage in the list of commands.
const USAGE_BYTES: usize = 20;
/// Events shown by default.
const EVENTS: usize = 32;

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

pub(super) fn trace_events(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let most = trace::RING_EVENTS;
    if let ["on" | "off"] = args {
        return match patching::set_key(Key::Trace, args == ["on"]) {
            Ok(_) => Ok(()),
            Err(failure) => Err(Failure::new(format_args!("{failure}"))),
        };
    }
    let count = match args {
        [] => EVENTS,
        [arg] => parse_u64(arg).filter(|&n| (1..=most as u64).contains(&n)).ok_or_else(|| {
            Failure::new(format_args!("{arg}: on, off or a number of events from 1 to {most} was expected"))
        })? as usize,
        _ => return Err(Failure::new(format_args!("one number of events was expected"))),
    };
    if !patch::is_enabled(Key::Trace) {
        return Err(Failure::new(format_args!(
            "the trace hooks are off; `trace on` switches them on, or make run BOOTARGS=trace=1 from the boot on"
        )));
    }
    // Copied out first: printing makes events of its own.
    let mut events = Vec::with_capacity(count);
    let guard = preempt::preempt_disable();
    trace::for_each_last(count, |cpu, entry| {
        if events.len() < count {
            events.push((cpu, *entry));
        }
    });
    drop(guard);
    let many = crate::smp::seen().count() > 1;
    let mut before_ns = None;
    for (cpu, entry) in events {
        let now_ns = time::ticks_to_ns(entry.ticks);
        let since = Ns(now_ns - before_ns.replace(now_ns).unwrap_or(now_ns));
        write!(terminal, "{:>6}.{:09} +{since:>9}  ", now_ns / 1_000_000_000, now_ns % 1_000_000_000)?;
        if many {
            write!(terminal, "CPU {cpu:<2} ")?;
        }
        match entry.event {
            Event::Switch { prev, next, preempt } => {
                let how = if preempt { "preempted" } else { "gave way" };
                writeln!(terminal, "switch   {} {how} -> {}", Name(prev), Name(next))?;
            }
            Event::Wakeup { task, prio } => writeln!(terminal, "wake-up  {} prio {prio}", Name(task))?,
            Event::Empty => writeln!(terminal, "-")?,
        }
    }
    Ok(())
}

/// A task's number, with its name while it has one.
struct Name(u32);

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut result = None;
        task::for_each(|task| {
            if task.id() == self.0 {
                result = Some(write!(f, "{}/{}", task.name(), self.0));
            }
        });
        result.unwrap_or_else(|| write!(f, "(gone)/{}", self.0))
    }
}
