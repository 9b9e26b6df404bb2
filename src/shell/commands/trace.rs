//! `trace`: what the CPUs did last, for people, and as ftrace's text for viewers.
#![forbid(unsafe_code)]

use crate::shell::command::{Failure, no_arguments};
use crate::shell::terminal::Terminal;
use crate::shell::units::{Ns, parse_u64};
use crate::trace::event::{Event, Kind, KindSet, Left, SELECTORS};
use crate::trace::show::Kernel;
use crate::trace::text::{Line, Lookup, Payload};
use crate::trace::tracer::Tracer;
use crate::trace::{self, Entry, control, ring, show};

/// Events shown by default.
const EVENTS: usize = 32;

pub(super) fn trace(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    match args {
        [] => recent(EVENTS, terminal),
        ["on", words @ ..] => {
            let kinds = KindSet::of_words(words.iter().copied());
            let kinds =
                kinds.map_err(|word| Failure::new(format_args!("{word}: {SELECTORS} was expected")))?;
            control::on(kinds).map_err(|error| Failure::new(format_args!("{error}")))
        }
        ["off", rest @ ..] => {
            no_arguments(rest)?;
            control::off().map_err(|error| Failure::new(format_args!("{error}")))
        }
        ["clear", rest @ ..] => {
            no_arguments(rest)?;
            control::clear();
            Ok(())
        }
        ["events", rest @ ..] => {
            no_arguments(rest)?;
            events(terminal)
        }
        ["tracer"] => tracers(terminal),
        ["tracer", name, rest @ ..] => {
            no_arguments(rest)?;
            let tracer = Tracer::named(name).ok_or_else(|| {
                Failure::new(format_args!(
                    "{name}: nop, wakeup_rt, irqsoff, preemptoff or preemptirqsoff was expected"
                ))
            })?;
            control::set_tracer(tracer).map_err(|error| Failure::new(format_args!("{error}")))
        }
        ["snapshot", rest @ ..] => {
            no_arguments(rest)?;
            snapshot(terminal)
        }
        ["show"] => ftrace(usize::MAX, terminal),
        ["show", count] => ftrace(number(count)?, terminal),
        [count] => recent(number(count)?, terminal),
        [_, word, ..] => Err(Failure::new(format_args!("{word}: nothing more was expected"))),
    }
}

fn number(word: &str) -> Result<usize, Failure> {
    parse_u64(word).filter(|&count| count >= 1).map(|count| count as usize).ok_or_else(|| {
        Failure::new(format_args!(
            "{word}: on, off, clear, show, events, tracer, snapshot or a number of events from 1 was expected"
        ))
    })
}

/// The trace in ftrace's words.
fn ftrace(limit: usize, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    show::lines(limit, |line| {
        if terminal.interrupted() {
            return Err(Failure::interrupted());
        }
        Ok(writeln!(terminal, "{line}")?)
    })
}

/// The tracers, and the one that works.
fn tracers(terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let chosen = control::tracer();
    for tracer in Tracer::all() {
        let mark = if tracer == chosen { '*' } else { ' ' };
        writeln!(terminal, "{mark} {}", tracer.name())?;
    }
    Ok(())
}

/// The longest that the tracer has found, in ftrace's words.
fn snapshot(terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let found = show::snapshot_lines(|line| Ok::<(), Failure>(writeln!(terminal, "{line}")?))?;
    if found {
        return Ok(());
    }
    Err(match control::tracer() {
        Tracer::Nop => {
            Failure::new(format_args!("no tracer was chosen; `trace tracer irqsoff`, for example"))
        }
        tracer => Failure::new(format_args!("{}: there was nothing yet", tracer.name())),
    })
}

/// What can be recorded, by its groups, and what of it is.
fn events(terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let chosen = control::chosen();
    writeln!(terminal, "  GROUP       EVENT                 RECORDED")?;
    for kind in Kind::all() {
        let is_on = if chosen.meets(kind.set()) { "yes" } else { "-" };
        writeln!(terminal, "  {:<10}  {:<20}  {is_on}", kind.group(), kind.name())?;
    }
    let (kept, written) = ring::counts();
    writeln!(terminal, "{kept} of {written} events are kept; a ring holds {} of its CPU", ring::capacity())?;
    Ok(())
}

/// The last events, for people.
fn recent(count: usize, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if control::chosen().is_empty() && ring::counts().0 == 0 {
        return Err(Failure::new(format_args!(
            "nothing was recorded; `trace on` switches it on, or make run BOOTARGS=trace=1 from the boot on"
        )));
    }
    let _pause = control::pause();
    let kernel = Kernel::now();
    let mut result = Ok(());
    let mut before_ns = None;
    trace::for_each_last(count, |cpu, entry| {
        if result.is_ok() {
            let now_ns = kernel.ns(entry.ticks);
            let since = Ns(now_ns - before_ns.replace(now_ns).unwrap_or(now_ns));
            result = one(cpu, entry, since, &kernel, terminal);
        }
    });
    result
}

fn one(
    cpu: usize,
    entry: &Entry,
    since: Ns,
    kernel: &Kernel,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    if terminal.interrupted() {
        return Err(Failure::interrupted());
    }
    let now_ns = kernel.ns(entry.ticks);
    write!(terminal, "{:>6}.{:09} +{since:>9}  ", now_ns / 1_000_000_000, now_ns % 1_000_000_000)?;
    if kernel.cpus() > 1 {
        write!(terminal, "CPU {cpu:<2} ")?;
    }
    let name = |task| Name { task, cpu, kernel };
    match entry.event {
        Event::SchedSwitch { prev, left, next, .. } => {
            let how = match left {
                Left::Preempted => "preempted",
                Left::Dead => "ended",
                _ => "gave way",
            };
            writeln!(terminal, "switch   {} {how} -> {}", name(prev), name(next))?;
        }
        Event::SchedWakeup { task, prio, .. } => writeln!(terminal, "wake-up  {} prio {prio}", name(task))?,
        _ => writeln!(terminal, "{}", Payload(&Line { cpu, entry, lookup: kernel }))?,
    }
    Ok(())
}

/// A task's number, with its name while it is known.
struct Name<'a> {
    task: u32,
    cpu: usize,
    kernel: &'a Kernel,
}

impl core::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.kernel.task(self.task) {
            _ if self.task == 0 => write!(f, "idle/{}", self.cpu),
            Some(name) => write!(f, "{}/{}", name.as_str(), self.task),
            None => write!(f, "(gone)/{}", self.task),
        }
    }
}
