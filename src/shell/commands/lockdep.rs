//! `lockdep`: what the validation of the lock order has learnt. Debug builds only.
#![forbid(unsafe_code)]

use crate::lockdep::{self, CLASSES_MAX, Class, EDGES_MAX};
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;

pub(super) fn lockdep(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    match args {
        [] => summary(terminal),
        ["classes"] => classes(terminal),
        ["order"] => order(terminal),
        [arg, ..] => Err(Failure::new(format_args!("{arg}: classes, order or nothing was expected"))),
    }
}

fn summary(terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let stats = lockdep::stats();
    writeln!(
        terminal,
        "{} lock classes of {CLASSES_MAX}, {} pairs in order of {EDGES_MAX}, {} problems found{}",
        stats.classes,
        stats.edges,
        stats.reports,
        if stats.is_off { "; off, because a table was full" } else { "" }
    )?;
    let mut at = 0;
    while let Some(problem) = lockdep::problem(at) {
        writeln!(terminal, "{problem}")?;
        at += 1;
    }
    if stats.reports > at {
        writeln!(terminal, "and {} more, which are in the log", stats.reports - at)?;
    }
    Ok(())
}

fn classes(terminal: &mut dyn Terminal) -> Result<(), Failure> {
    writeln!(terminal, "{:>3} {:<13} {:<14} {:<14} made at", "", "kind", "hard interrupt", "softirq")?;
    let mut at = 0;
    while let Some(info) = lockdep::class(at) {
        let Class { made_at, kind, .. } = info.class;
        writeln!(terminal, "{at:>3} {kind:<13} {:<14} {:<14} {made_at}", uses(info.hard), uses(info.soft))?;
        at += 1;
    }
    Ok(())
}

fn uses(uses: (bool, bool)) -> &'static str {
    match uses {
        (true, true) => "taken in, open",
        (true, false) => "taken in",
        (false, true) => "open",
        (false, false) => "masked",
    }
}

fn order(terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let mut at = 0;
    while let Some((next, edge)) = lockdep::edge_from(at) {
        let made_at = |class: lockdep::ClassId| lockdep::class(class.index()).map(|info| info.class.made_at);
        if let (Some(from), Some(to)) = (made_at(edge.from), made_at(edge.to)) {
            writeln!(
                terminal,
                "{from} (taken at {})\n  then {to} (taken at {})",
                edge.held_at, edge.taken_at
            )?;
        }
        at = next;
    }
    Ok(())
}
