//! Snapshots of the lines, for the shell and for tests.
//!
//! Context: threads. Lock: LINES, for one line at a time.

use super::action::{IrqFlags, Line};
use super::affinity;
use super::line::{self, NR_IRQS};
use super::manage::LINES;
use crate::smp::CpuMask;
use crate::task::TaskRef;
use crate::time::ticks_to_ns;
use core::sync::atomic::Ordering;
use heapless::Vec;

/// The most actions of one line that a snapshot holds.
pub const ACTIONS_MAX: usize = 8;

/// A line that has fired or has a handler.
#[derive(Debug)]
pub struct LineInfo {
    /// Its number.
    pub irq: u32,
    /// Interrupts taken since boot, by all CPUs.
    pub count: u64,
    /// The direct handler's address; 0 if the line was requested by `request_irq`.
    pub direct: usize,
    /// The longest run of its handler while handlers were timed ([`super::time_handlers`]); else 0.
    pub longest_ns: u64,
    /// How it was requested.
    pub flags: IrqFlags,
    /// How often it is disabled.
    pub disabled: u32,
    /// Held back until its threads are done.
    pub masked: bool,
    /// Shut off, because nobody handled it.
    pub stuck: bool,
    /// Nobody has it: it fired and was disabled.
    pub unclaimed: bool,
    /// Interrupts that nobody handled, lately.
    pub unhandled: u32,
    /// The CPUs it may go to.
    pub affinity: CpuMask,
    /// The one it goes to; none if each CPU has its own.
    pub target: Option<usize>,
    /// The drivers on it.
    pub actions: Vec<ActionInfo, ACTIONS_MAX>,
}

/// A driver on a line.
#[derive(Debug)]
pub struct ActionInfo {
    /// Its name.
    pub name: &'static str,
    /// The longest run of its handler, in hard-interrupt context or forced into a thread.
    pub longest_ns: u64,
    /// Its thread.
    pub thread: Option<TaskRef>,
    /// The thread's longest time from wake-up to its first instruction in the driver.
    pub longest_wait_ns: u64,
}

/// The line `irq`, if there is anything to say about it.
#[must_use]
pub fn line_info(irq: u32) -> Option<LineInfo> {
    let desc = line::desc(irq).ok()?;
    let guard = LINES.lock();
    // SAFETY: alive while it is there and LINES is held.
    let line = unsafe { desc.line().as_ref() };
    let unclaimed = desc.is_free();
    // What the flow handler changes.
    let (disabled, masked, stuck, unhandled) = line.map_or((0, false, false, 0), |line| {
        line.locked(|line| (line.depth.get(), line.masked.get(), line.stuck.get(), line.spurious.unhandled()))
    });
    let info = (!unclaimed || line::count(irq) > 0).then(|| LineInfo {
        irq,
        count: line::count(irq),
        direct: if line.is_some() || unclaimed { 0 } else { desc.handler() as *const () as usize },
        longest_ns: line::longest_ns(irq),
        flags: line.map_or(IrqFlags::empty(), |line| line.flags),
        disabled,
        masked,
        stuck,
        unclaimed,
        unhandled,
        affinity: affinity::irq_affinity(irq).unwrap_or(CpuMask::ALL),
        target: affinity::irq_target(irq),
        actions: line.map_or(Vec::new(), actions),
    });
    guard.unlock_no_resched();
    info
}

/// LINES is held.
fn actions(line: &Line) -> Vec<ActionInfo, ACTIONS_MAX> {
    // SAFETY: LINES is held.
    let actions = unsafe { line.actions() };
    let info = actions.take(ACTIONS_MAX).map(|action| ActionInfo {
        name: action.name,
        longest_ns: ticks_to_ns(action.longest.load(Ordering::Relaxed)),
        thread: action.thread.clone(),
        longest_wait_ns: ticks_to_ns(action.longest_wait.load(Ordering::Relaxed)),
    });
    info.collect()
}

/// Interrupts of all lines that `cpu` has taken since boot.
#[must_use]
pub fn taken_on(cpu: usize) -> u64 {
    (0..NR_IRQS as u32).map(|irq| line::count_on(irq, cpu)).sum()
}

/// Calls `f` with every line that has fired or has a handler, lowest first.
pub fn for_each_line(mut f: impl FnMut(&LineInfo)) {
    (0..NR_IRQS as u32).filter_map(line_info).for_each(|line| f(&line));
}
