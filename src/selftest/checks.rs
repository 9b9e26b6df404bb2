//! The checks one by one, and the command that shows them.
//!
//! Context: threads.
#![forbid(unsafe_code)]
#![expect(
    clippy::result_large_err,
    reason = "a message takes no memory from the heap: it may be about having none"
)]

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::judge::{self, Found, Verdict};
use super::{caches, cpus};
use crate::drivers::bcm2711::firmware::{self, Clock};
use crate::drivers::bcm2711::system_timer::{self, AlarmError, Channel};
use crate::drivers::{machine, platform};
use crate::shell::command::{Failure, no_arguments};
use crate::shell::terminal::Terminal;
use crate::smp::hotplug;
use crate::start::boot_info;
use crate::task;
use crate::time;

/// The counters run side by side for so long.
const COMPARE_NS: u64 = 50_000_000;
/// Of the alarm of the system timer.
const ALARM_US: u32 = 1000;
/// An alarm that is later does not come by itself.
const ALARM_LATE_US: u64 = 2000;
const NO_MAILBOX: &str = "no mailbox (brcm,bcm2835-mbox) in the device tree";

/// `selftest`.
///
/// # Errors
/// A check failed, or the terminal.
pub(crate) fn command(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    let mut table = Table { counts: [0; 3], terminal };
    writeln!(table.terminal, "| {:<13} | {:<9} | values |", "check", "verdict")?;
    writeln!(table.terminal, "|{:-<15}|{:-<11}|--------|", "", "")?;
    table.row("board", board())?;
    table.row("counter", counter())?;
    let clocks = cpus::clocks();
    let cpu_hz = clocks.as_ref().ok().and_then(|clocks| clocks.first().copied()).unwrap_or(0);
    table.row("CPU clock", clocks.map_or_else(|found| found, |hz| judge::arm_clock(&hz, measured_hz())))?;
    table.row("WFI", cpus::sleep(cpu_hz))?;
    table.row("CPUs", started())?;
    table.row("GIC SGIs", cpus::sgis())?;
    table.row("GIC timer PPI", cpus::timer())?;
    table.row("GIC SPI", cpus::shared())?;
    table.row("system timer", alarm())?;
    table.row("caches", caches::check())?;
    table.row("memory split", memory())?;
    table.row("heat, supply", heat())?;
    let [ok, absent, failed] = table.counts;
    writeln!(terminal, "result selftest.failed {failed} checks ok={ok} absent={absent} failed={failed}")?;
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(format_args!("{failed} of {} checks failed", ok + absent + failed))),
    }
}

struct Table<'a> {
    /// By verdict.
    counts: [u32; 3],
    terminal: &'a mut dyn Terminal,
}

impl Table<'_> {
    /// Each row is written when it is known: a check that hangs is the one behind the last.
    fn row(&mut self, check: &str, found: Found) -> Result<(), Failure> {
        self.counts[found.verdict as usize] += 1;
        writeln!(self.terminal, "| {check:<13} | {:<9} | {} |", found.verdict.name(), found.values)?;
        Ok(())
    }
}

/// Which board and firmware it is; without a firmware that can be asked, what the tree says.
fn board() -> Found {
    let info = boot_info();
    let mut values = format!("{}; {}, {}", info.board, info.cpu_name, info.gic.version);
    match firmware::with(|mailbox| (mailbox.board_revision(), mailbox.firmware_revision())) {
        None => Found::new(Verdict::Ok, values),
        Some((Ok(board), Ok(revision))) => {
            values += &format!("; {board}; firmware built at {revision} s since 1970");
            Found::new(Verdict::Ok, values)
        }
        Some((Err(error), _) | (_, Err(error))) => Found::new(Verdict::Failed, format!("{values}; {error}")),
    }
}

/// The generic timer against the system timer.
fn counter() -> Found {
    let register_hz = boot_info().timer_hz;
    // Both at once: of a few readings the one that was interrupted the least.
    let both = || {
        let read = |_| {
            let before = arch::timer::counter();
            let us = system_timer::now_us()?;
            let after = arch::timer::counter();
            Some((after - before, before + (after - before) / 2, us))
        };
        (0..8).filter_map(read).min().map(|(_, ticks, us)| (ticks, us))
    };
    let begin = both();
    task::sleep_ns(COMPARE_NS);
    match (begin, both()) {
        (Some((ticks, us)), Some((end_ticks, end_us))) => {
            judge::counter(register_hz, end_ticks - ticks, end_us.saturating_sub(us))
        }
        _ => Found::new(Verdict::Absent, format!("CNTFRQ {register_hz} Hz; no system timer to compare with")),
    }
}

fn measured_hz() -> Result<u32, String> {
    let answer = firmware::with(|mailbox| mailbox.clock_measured_hz(Clock::Arm));
    answer.ok_or_else(|| NO_MAILBOX.to_string())?.map_err(|error| error.to_string())
}

/// Whether every CPU of the device tree runs.
fn started() -> Found {
    let (mut all, mut runs, mut values) = (0, 0, String::new());
    hotplug::for_each_cpu(|cpu| {
        all += 1;
        runs += u32::from(cpu.state == "online");
        values += &format!(", {} {} by {}", cpu.cpu, cpu.state, cpu.method);
    });
    if let Some(found) = crate::cpus::get() {
        for (affinity, reason) in &found.left_out {
            all += 1;
            values += &format!(", {affinity:#x} left out: {reason}");
        }
    }
    Found::new(Verdict::of(all == runs), format!("{runs} of {all} online{values}"))
}

/// A shared interrupt of a device: an alarm of the system timer.
fn alarm() -> Found {
    let begin_ns = time::now_ns();
    let slept = system_timer::sleep_us(Channel::One, ALARM_US);
    let us = (time::now_ns() - begin_ns) / 1000;
    match slept {
        Ok(late_us) if late_us <= ALARM_LATE_US => Found::new(
            Verdict::Ok,
            format!("channel 1 after {ALARM_US} us: {late_us} us late, {us} us in all"),
        ),
        Ok(late_us) => {
            Found::new(Verdict::Failed, format!("channel 1 was {late_us} us late; expected {ALARM_LATE_US}"))
        }
        Err(AlarmError::Absent) => Found::new(Verdict::Absent, AlarmError::Absent.to_string()),
        Err(error) => Found::new(Verdict::Failed, error.to_string()),
    }
}

fn memory() -> Found {
    let mut ram = Vec::new();
    if let Some(tree) = platform::tree() {
        // A tree without memory did not get here.
        let _ = machine::memory(tree, &mut |range| ram.push(range));
    }
    match firmware::with(|mailbox| (mailbox.arm_memory(), mailbox.vc_memory())) {
        None => Found::new(Verdict::Absent, NO_MAILBOX),
        Some((Ok(arm), Ok(vc))) => judge::memory(&ram, arm, vc),
        Some((Err(error), _) | (_, Err(error))) => Found::new(Verdict::Failed, error.to_string()),
    }
}

fn heat() -> Found {
    let ask = firmware::with(|mailbox| {
        Ok((mailbox.temperature_mc()?, mailbox.temperature_max_mc()?, mailbox.throttled()?))
    });
    match ask {
        None => Found::new(Verdict::Absent, NO_MAILBOX),
        Some(Ok((mc, limit_mc, throttled))) => judge::heat(mc, limit_mc, throttled),
        Some(Err(error)) => {
            let error: crate::drivers::bcm2711::mailbox::MailboxError = error;
            Found::new(Verdict::Failed, error.to_string())
        }
    }
}
