//! What preempt-stats found, for people and for programs.
//!
//! A table of the worst pairs of places, a histogram, the longest wait of a request with its back-trace, and result lines as
//! all measurements of the kernel have them. Places print as function and offset.
//!
//! Context: threads. Locks: none.
#![forbid(unsafe_code)]

use super::recorder::{CpuStats, REPORTS, with_stats};
use super::section::{Kind, Place, Section};
use super::{budget_us, snapshot_of};
use crate::ksyms::{ReturnAddress, Symbol};
use crate::locking::RawSpinLockIrqSave;
use crate::shell::cpu_clock::cycles_to_ns;
use crate::shell::units::{Ns, Percent};
use crate::smp::call;
use crate::start::boot_info;
use core::fmt::{self, Write};

/// Width of the histogram's longest bar.
const BAR_CHARS: u64 = 40;

/// Everything.
///
/// # Errors
/// Those of `out`.
pub fn top(out: &mut dyn Write) -> fmt::Result {
    // Of all CPUs; one of them is on the stack at a time.
    let mut stats: Option<CpuStats> = None;
    for cpu in crate::smp::online().iter() {
        let Some(one) = snapshot_of(cpu) else { continue };
        let state = if one.is_active() { "on" } else { "off" };
        let elapsed = one.elapsed_cycles();
        writeln!(
            out,
            "preempt-stats: {state}; cpu {cpu}: {} sections in {}, {} % of the time",
            one.ledger.count,
            Ns(cycles_to_ns(elapsed)),
            Percent(one.ledger.sum_cycles, elapsed)
        )?;
        match &mut stats {
            Some(all) => all.merge(&one),
            none => *none = Some(one),
        }
    }
    let Some(stats) = stats else { return Ok(()) };
    let (ledger, elapsed) = (&stats.ledger, stats.elapsed_cycles());
    match budget_us() {
        Some(us) => writeln!(out, "budget {us} us: {} sections were longer", ledger.violations)?,
        None => writeln!(out, "no budget; `preempt-stats budget <us>` sets one")?,
    }
    if ledger.count > 0 {
        table(out, &stats)?;
        histogram(out, &stats)?;
    }
    waits(out, &stats)?;
    results(out, &stats, elapsed)
}

fn table(out: &mut dyn Write, stats: &CpuStats) -> fmt::Result {
    writeln!(out, "{:>10} {:>10}  {:<8}{:<18}CLOSED AT, OPENED AT", "CYCLES", "TIME", "KIND", "TASK")?;
    for section in stats.ledger.worst() {
        row(out, &section)?;
    }
    writeln!(out, "longest with interrupts masked:")?;
    row(out, &stats.worst_irqs)?;
    writeln!(out, "longest with preemption off:")?;
    row(out, &stats.worst_preempt)
}

fn row(out: &mut dyn Write, section: &Section) -> fmt::Result {
    if section.cycles == 0 {
        return writeln!(out, "{:>10}", "none");
    }
    let mut task: heapless::String<28> = heapless::String::new();
    // A name of 15 bytes, a slash and ten digits fit.
    let _ = write!(task, "{}", section.who);
    writeln!(
        out,
        "{:>10} {:>10}  {:<8}{task:<18}{}",
        section.cycles,
        Ns(cycles_to_ns(section.cycles)),
        section.kind,
        Shown(section.from)
    )?;
    writeln!(out, "{:>49}{}", "", Shown(section.to))
}

/// A place as `function+0x12 (0xffff…) < caller+0x34 (0xffff…)`.
struct Shown(Place);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Symbol(self.0.site))?;
        if self.0.caller == 0 { Ok(()) } else { write!(f, " < {}", ReturnAddress(self.0.caller)) }
    }
}

fn histogram(out: &mut dyn Write, stats: &CpuStats) -> fmt::Result {
    let counts = &stats.ledger.histogram;
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    writeln!(out, "{:>23}  {:>9}", "CYCLES", "SECTIONS")?;
    let used = |&i: &usize| counts[i] > 0;
    let first = (0..counts.len()).find(used).unwrap_or(0);
    let last = (0..counts.len()).rfind(used).unwrap_or(0);
    for (i, &count) in counts.iter().enumerate().take(last + 1).skip(first) {
        let low = if i == 0 { 0 } else { 1u64 << i };
        write!(out, "{low:>11} {:>11}  {count:>9}  ", (2u64 << i) - 1)?;
        for _ in 0..(count * BAR_CHARS).div_ceil(most) {
            out.write_str("#")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn waits(out: &mut dyn Write, stats: &CpuStats) -> fmt::Result {
    let worst = &stats.finder.worst;
    if stats.finder.count == 0 {
        return writeln!(out, "no request to switch had to wait for a scheduling point");
    }
    writeln!(
        out,
        "{} requests to switch; the longest waited {} ({} cycles) for a scheduling point, while task {} ran",
        stats.finder.count,
        Ns(cycles_to_ns(worst.cycles)),
        worst.cycles,
        worst.who
    )?;
    if worst.trace[0] == 0 {
        return writeln!(out, "  no interrupt came meanwhile, so nobody saw where");
    }
    writeln!(out, "  {} after the request the code was at", Ns(cycles_to_ns(worst.trace_cycles)))?;
    writeln!(out, "    {}", Symbol(worst.trace[0]))?;
    for address in worst.trace[1..].iter().take_while(|&&address| address != 0) {
        writeln!(out, "    {}", ReturnAddress(*address))?;
    }
    Ok(())
}

fn results(out: &mut dyn Write, stats: &CpuStats, elapsed: u64) -> fmt::Result {
    let ledger = &stats.ledger;
    let preempt = boot_info().bootargs.preempt.name();
    let share_ppm = (u128::from(ledger.sum_cycles) * 1_000_000 / u128::from(elapsed.max(1))) as u64;
    writeln!(
        out,
        "result preempt_stats.section {} cycles n={} sum={} share_ppm={share_ppm} violations={} preempt={preempt}",
        ledger.max.cycles, ledger.count, ledger.sum_cycles, ledger.violations
    )?;
    writeln!(out, "result preempt_stats.irqsoff {} cycles preempt={preempt}", stats.worst_irqs.cycles)?;
    writeln!(out, "result preempt_stats.preemptoff {} cycles preempt={preempt}", stats.worst_preempt.cycles)?;
    writeln!(
        out,
        "result preempt_stats.request {} cycles n={} preempt={preempt}",
        stats.finder.worst.cycles, stats.finder.count
    )?;
    // The table once more, for whoever reads a log of it: closed and opened at, each with its caller.
    for (rank, section) in (1..).zip(ledger.worst()) {
        let Section { from, to, .. } = section;
        writeln!(
            out,
            "result preempt_stats.worst {} cycles rank={rank} kind={} task={} from={} from_by={} to={} to_by={} \
             preempt={preempt}",
            section.cycles,
            section.kind,
            Word(section.who),
            Word(Symbol(from.site)),
            Word(ReturnAddress(from.caller)),
            Word(Symbol(to.site)),
            Word(ReturnAddress(to.caller)),
        )?;
    }
    Ok(())
}

/// One word, whatever it is: a name of a function may have blanks.
struct Word<T>(T);

impl<T: fmt::Display> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Joined<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Joined<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|c| self.0.write_char(if matches!(c, ' ' | '=') { '_' } else { c }))
            }
        }
        write!(Joined(f), "{:#}", self.0)
    }
}

/// Writes to the log what is over the budget and has not been told yet. Called by whoever drains the log.
pub fn tell_violations() {
    for cpu in REPORTS.load().iter() {
        REPORTS.clear(cpu);
        while let Some(section) = take_report(cpu) {
            tell(&section);
        }
    }
}

/// Of a CPU that has gone offline meanwhile, none.
fn take_report(cpu: usize) -> Option<Section> {
    let place = RawSpinLockIrqSave::new(None);
    let take = || *place.lock() = with_stats(|stats| stats.ledger.take_report());
    call::call_function_single(cpu, &take).ok()?;
    place.lock().take()
}

fn tell(section: &Section) {
    // The budget without its lock: this may be the thread that everything waits for.
    log::warn!(
        "{} ({} cycles) with {} closed in task {}: over the latency budget",
        Ns(cycles_to_ns(section.cycles)),
        section.cycles,
        match section.kind {
            Kind::IRQS => "interrupts",
            Kind::PREEMPT => "preemption",
            _ => "interrupts and preemption",
        },
        section.who
    );
    for (what, place) in [("closed", section.from), ("opened", section.to)] {
        log::warn!("  {what} at {}", Symbol(place.site));
        if place.caller != 0 {
            log::warn!("    called from {}", ReturnAddress(place.caller));
        }
    }
}
