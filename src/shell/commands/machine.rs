//! `uname`, `uptime`, `free`: the machine and the kernel on it.
#![forbid(unsafe_code)]

use crate::mm;
use crate::sched::core as sched;
use crate::shell::banner;
use crate::shell::command::{Failure, no_arguments};
use crate::shell::terminal::Terminal;
use crate::shell::units::{Bytes, Percent};
use crate::start::boot_info;
use crate::time::{self, idle, tick};

pub(super) fn uname(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    match args {
        [] => writeln!(terminal, "Stint")?,
        ["-a"] => banner::uname(terminal)?,
        [arg, ..] => return Err(Failure::new(format_args!("{arg}: -a or nothing was expected"))),
    }
    Ok(())
}

pub(super) fn uptime(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    let ns = time::now_ns() - time::ticks_to_ns(boot_info().boot_counter);
    writeln!(
        terminal,
        "up {}.{:06} s, {}% of it idle, {} tasks ready",
        ns / 1_000_000_000,
        ns / 1000 % 1_000_000,
        Percent(idle::time_ns(), ns),
        sched::with_rq(|rq| rq.nr_running())
    )?;
    let (passed, skipped) = (tick::jiffies(), tick::skipped());
    writeln!(
        terminal,
        "{passed} ticks of {} Hz: {} taken, {skipped} skipped; idle {} times",
        tick::hz(),
        passed - skipped,
        idle::waits()
    )?;
    Ok(())
}

pub(super) fn free(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    let stats = mm::stats();
    let bytes = |bytes: usize| Bytes(bytes as u64);
    writeln!(terminal, "{:<8}{:>10} {:>10} {:>10} {:>10}", "", "total", "used", "free", "peak")?;
    writeln!(
        terminal,
        "{:<8}{:>10} {:>10} {:>10}",
        "pages",
        bytes(stats.total_bytes),
        bytes(stats.total_bytes - stats.free_bytes),
        bytes(stats.free_bytes)
    )?;
    let heap = stats.heap;
    writeln!(
        terminal,
        "{:<8}{:>10} {:>10} {:>10} {:>10}",
        "heap",
        bytes(heap.pool_bytes),
        bytes(heap.used_bytes),
        bytes(heap.pool_bytes - heap.used_bytes),
        bytes(heap.peak_bytes)
    )?;
    writeln!(
        terminal,
        "The heap is part of the pages used, and may grow to {}; {} of stacks are kept for the next tasks.",
        bytes(heap.limit_bytes),
        bytes(stats.stack_cache_bytes)
    )?;
    Ok(())
}
