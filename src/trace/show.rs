//! The trace as `trace show` prints it: what [`text`](super::text) asks of the kernel, and the frame around the lines.
//!
//! Context: threads. Locks: as looking up a task, an interrupt needs; recording pauses meanwhile.
#![forbid(unsafe_code)]

use super::names::Names;
use super::text::{Header, Line, Lookup};
use super::{control, ring};
use crate::ksyms;
use crate::task::Name;
use core::fmt;

/// The last line: whoever reads a log finds the end by it.
pub const END: &str = "# end of trace";

/// What the kernel knows.
#[derive(Debug)]
pub struct Kernel {
    names: Names,
}

impl Kernel {
    /// With the names of the tasks as of now. Threads.
    #[must_use]
    pub fn now() -> Self {
        Self { names: Names::now() }
    }
}

impl Lookup for Kernel {
    fn task(&self, id: u32) -> Option<Name> {
        self.names.get(id)
    }

    #[cfg(target_os = "none")]
    fn irq(&self, irq: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::names::Comm;

        if irq == crate::start::boot_info().timer_interrupt.intid {
            return f.write_str("arch_timer");
        }
        match crate::irq::info::line_info(irq) {
            Some(line) if line.direct != 0 => self.symbol(line.direct as u64, f),
            Some(line) => match line.actions.first() {
                Some(action) => write!(f, "{}", Comm(action.name)),
                None => f.write_str("nobody"),
            },
            None => f.write_str("nobody"),
        }
    }

    #[cfg(not(target_os = "none"))]
    fn irq(&self, irq: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{irq}")
    }

    fn symbol(&self, address: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", ksyms::Word(address))
    }

    fn ns(&self, ticks: u64) -> u64 {
        crate::time::ticks_to_ns(ticks)
    }

    fn cpus(&self) -> usize {
        crate::smp::seen().count()
    }
}

/// Calls `line` with each line of the tracer's snapshot, if there is one; answers whether there is. It ends with [`END`].
///
/// # Errors
/// Those of `line`.
#[cfg(target_os = "none")]
pub fn snapshot_lines<E>(mut line: impl FnMut(fmt::Arguments<'_>) -> Result<(), E>) -> Result<bool, E> {
    use super::latency_text::{Event, Header, model};

    let Some(taken) = control::snapshot() else { return Ok(false) };
    let lookup = &Kernel::now();
    let model = model(crate::start::boot_info().bootargs.preempt);
    let length_ns = taken.length_ns();
    line(format_args!("{}", Header { taken: &taken, length_ns, model, lookup }))?;
    for (at, &(cpu, ref entry)) in taken.entries.iter().enumerate() {
        let next_ticks = taken.entries.get(at + 1).map(|(_, next)| next.ticks);
        let from_ticks = taken.found.from_ticks;
        line(format_args!("{}", Event { cpu, entry, from_ticks, next_ticks, lookup }))?;
    }
    line(format_args!("{END}"))?;
    Ok(true)
}

/// Calls `line` with each line of the trace, the last `limit` events, from the header to [`END`]. Stops at its first error.
///
/// # Errors
/// Those of `line`.
pub fn lines<E>(limit: usize, mut line: impl FnMut(fmt::Arguments<'_>) -> Result<(), E>) -> Result<(), E> {
    let _pause = control::pause();
    let lookup = Kernel::now();
    let (kept, written) = ring::counts();
    line(format_args!("{}", Header { kept: kept.min(limit), written, cpus: lookup.cpus() }))?;
    let mut result = Ok(());
    ring::for_each_last(limit, |cpu, entry| {
        if result.is_ok() {
            result = line(format_args!("{}", Line { cpu, entry, lookup: &lookup }));
        }
    });
    result?;
    line(format_args!("{END}"))
}
