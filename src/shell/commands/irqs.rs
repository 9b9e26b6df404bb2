//! `irqs`: the interrupt lines, what is on them, and what it costs. `irqs on` times the direct handlers too; `irqs cpus`
//! shows which CPU a line goes to, and how many each has taken.
#![forbid(unsafe_code)]

use crate::irq::info::{ActionInfo, LineInfo, for_each_line};
use crate::irq::{IrqFlags, count_on, softirq, spurious_interrupts, time_handlers};
use crate::ksyms::Symbol;
use crate::shell::command::{Failure, no_arguments};
use crate::shell::terminal::Terminal;
use crate::smp;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use heapless::String;

pub(super) fn irqs(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if let ["on" | "off"] = args {
        return time_handlers(args == ["on"]).map_err(|failure| Failure::new(format_args!("{failure}")));
    }
    if let ["cpus"] = args {
        return cpus(terminal);
    }
    no_arguments(args)?;
    let mut lines = Vec::new();
    for_each_line(|line| lines.push(row(line)));
    writeln!(
        terminal,
        "{:>4} {:>10} {:<5} {:<10} {:>10}  {:<15} {:>4} {:>10}  HANDLER",
        "IRQ", "COUNT", "TYPE", "STATE", "LONGEST", "THREAD", "FIFO", "WAIT"
    )?;
    for line in lines.iter().flatten() {
        writeln!(terminal, "{line}")?;
    }
    write!(terminal, "softirqs:")?;
    for (name, runs) in NAMES.iter().zip(softirq::runs()) {
        if !name.is_empty() {
            write!(terminal, " {name} {runs}")?;
        }
    }
    writeln!(terminal)?;
    match spurious_interrupts() {
        0 => Ok(()),
        count => Ok(writeln!(terminal, "spurious: {count} (gone when the CPU asked for their number)")?),
    }
}

/// A row for each line: where it goes, where it may go, and the counts that are not 0.
fn cpus(terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for_each_line(|line| lines.push((line.irq, line.target, line.affinity)));
    let seen = smp::seen();
    writeln!(terminal, "{:>4} {:>3} {:<10} COUNTS", "IRQ", "TO", "MAY GO TO")?;
    for (irq, target, affinity) in lines {
        match target {
            Some(cpu) => {
                let mut may = String::<32>::new();
                // A list that is too long is cut.
                let _ = write!(may, "{}", affinity & seen);
                write!(terminal, "{irq:>4} {cpu:>3} {may:<10}")?;
            }
            None => write!(terminal, "{irq:>4} {:>3} {:<10}", "", "its own")?,
        }
        for cpu in seen.iter() {
            let count = count_on(irq, cpu);
            if count != 0 {
                write!(terminal, " cpu{cpu} {count}")?;
            }
        }
        writeln!(terminal)?;
    }
    for cpu in seen.iter() {
        write!(terminal, "softirqs of cpu{cpu}:")?;
        for (name, runs) in NAMES.iter().zip(softirq::runs_on(cpu)) {
            if !name.is_empty() {
                write!(terminal, " {name} {runs}")?;
            }
        }
        writeln!(terminal)?;
    }
    Ok(())
}

/// The softirqs in use, by number.
const NAMES: [&str; softirq::NR_SOFTIRQS] =
    ["hi", "timer", "", "", "", "", "tasklet", "sched", "hrtimer", ""];

/// The rows of one line: one per action, the line's own figures on the first.
fn row(line: &LineInfo) -> Vec<String<160>> {
    if line.actions.is_empty() {
        return Vec::from([print(line, None, true)]);
    }
    line.actions.iter().enumerate().map(|(n, action)| print(line, Some(action), n == 0)).collect()
}

fn print(line: &LineInfo, action: Option<&ActionInfo>, first: bool) -> String<160> {
    let mut text = String::new();
    // What does not fit is cut: a symbol is the last on its line.
    let _ = if first {
        write!(text, "{:>4} {:>10} {:<5} {:<10}", line.irq, line.count, kind(line), state(line))
    } else {
        write!(text, "{:>4} {:>10} {:<5} {:<10}", "", "", "", "")
    };
    let _ = match action {
        Some(action) => write_action(&mut text, action),
        None if line.unclaimed => write!(text, " {:>10}  {:<15} {:>4} {:>10}  nobody", "-", "-", "-", "-"),
        None => {
            // It is timed on demand.
            let longest = if line.longest_ns == 0 { "-" } else { &*Ns(line.longest_ns).text() };
            write!(text, " {longest:>10}  {:<15} {:>4} {:>10}  {}", "-", "-", "-", Symbol(line.direct as u64))
        }
    };
    text
}

fn write_action(text: &mut String<160>, action: &ActionInfo) -> fmt::Result {
    let longest = Ns(action.longest_ns).text();
    match &action.thread {
        Some(thread) => {
            let prio = thread.info().prio;
            let wait = Ns(action.longest_wait_ns).text();
            write!(text, " {longest:>10}  {:<15} ", thread.name())?;
            // A thread that was made a fair one has no real-time priority.
            if prio < 100 {
                write!(text, "{:>4}", 99 - prio)?
            } else {
                write!(text, "{:>4}", "fair")?
            }
            write!(text, " {wait:>10}  {}", action.name)
        }
        None => write!(text, " {longest:>10}  {:<15} {:>4} {:>10}  {}", "-", "-", "-", action.name),
    }
}

/// How the line is used, or else how the device signals.
fn kind(line: &LineInfo) -> &'static str {
    match line.irq {
        0..16 => "sgi",
        _ if line.flags.contains(IrqFlags::EDGE) => "edge",
        _ if line.flags.contains(IrqFlags::LEVEL) => "level",
        16..32 => "ppi",
        _ => "spi",
    }
}

fn state(line: &LineInfo) -> String<10> {
    let mut text = String::new();
    let _ = match line {
        _ if line.unclaimed => write!(text, "off"),
        _ if line.stuck => write!(text, "stuck"),
        _ if line.disabled > 0 => write!(text, "disabled {}", line.disabled),
        _ if line.masked => write!(text, "in thread"),
        _ => write!(text, "on"),
    };
    text
}

/// Nanoseconds as a person reads them.
struct Ns(u64);

impl Ns {
    fn text(&self) -> String<16> {
        let mut text = String::new();
        let _ = match self.0 {
            ns @ 0..10_000 => write!(text, "{ns} ns"),
            ns @ 10_000..10_000_000 => write!(text, "{} us", ns / 1000),
            ns => write!(text, "{} ms", ns / 1_000_000),
        };
        text
    }
}
