//! The measurement: a pinned real-time task that reads the counter.
//!
//! Before, with interrupts masked, it finds out how far apart its own readings lie; what is a little more than the worst of
//! them is a gap. After each gap it looks at the CPU's counters, which takes a few hundred instructions; those are not
//! measured, and what comes in them is put down to the next gap.
//!
//! Context: threads; the measuring task is one of its own.

use super::gaps::{Counted, Gap, Gaps};
use super::params::Params;
use crate::error::Result;
use crate::irq::info::for_each_line;
use crate::irq::{count_on, softirq};
use crate::smp::CpuMask;
use crate::start::boot_info;
use crate::task::{self, JoinHandle};
use crate::time::{tick, ticks_to_ns};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::irqflags;
use arch::timer::counter;
use core::sync::atomic::{AtomicBool, Ordering};

/// How long the loop gets to know itself, interrupts masked, and how often.
const CALIBRATION_TICKS: u64 = 500;
const ROUNDS: u32 = 16;
/// Periods of the tick before the measurement.
const SETTLE_TICKS: u64 = 2;

/// What a measurement found.
#[derive(Debug)]
pub struct Report {
    /// What was asked for.
    pub params: Params,
    /// The least distance of two readings.
    pub own_min_ns: u64,
    /// The greatest one that is no gap.
    pub own_max_ns: u64,
    /// What is more is a gap.
    pub threshold_ns: u64,
    /// How long it was measured.
    pub measured_ns: u64,
    /// The gaps.
    pub gaps: Gaps,
}

/// A measurement that runs.
pub struct Running {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Box<Report>>,
}

/// Begins to measure. Thread context.
///
/// # Errors
/// No memory, or the CPU is not online any more.
pub fn start(params: Params) -> Result<Running> {
    let stop = Arc::new(AtomicBool::new(false));
    // Taken here: it allocates.
    let mut lines = Vec::new();
    for_each_line(|line| lines.push((line.irq, 0)));
    let mut report = Box::new(Report {
        params,
        own_min_ns: 0,
        own_max_ns: 0,
        threshold_ns: 0,
        measured_ns: 0,
        gaps: Gaps::new(),
    });
    let task = task::build("jitter")
        .fifo(params.prio)
        .affinity(CpuMask::of(params.cpu))
        .stack_bytes(32 * 1024)
        .spawn({
            let stop = stop.clone();
            move || {
                measure(
                    &mut report,
                    &mut Counters { cpu: params.cpu, lines, ticks: 0, softirqs: 0, switches: 0 },
                    &stop,
                );
                report
            }
        })?;
    Ok(Running { stop, task })
}

impl Running {
    /// Whether it is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.task.task().is_dead()
    }

    /// Ends it and waits for it.
    #[must_use]
    pub fn stop(self) -> Box<Report> {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Waits for it.
    #[must_use]
    pub fn join(self) -> Box<Report> {
        self.task.join().expect("the measuring task returns")
    }
}

/// What the CPU had counted at the last look.
struct Counters {
    cpu: usize,
    lines: Vec<(u32, u64)>,
    ticks: u64,
    softirqs: u64,
    switches: u64,
}

impl Counters {
    /// What has been counted since the last look.
    fn look(&mut self) -> Counted {
        let mut counted = Counted { timer_line: boot_info().timer_interrupt.intid, ..Counted::default() };
        for (irq, last) in &mut self.lines {
            let now = count_on(*irq, self.cpu);
            let more = now - core::mem::replace(last, now);
            if more != 0 {
                // What does not fit is left out.
                let _ = counted.lines.push((*irq, more as u32));
            }
        }
        let since = |last: &mut u64, now: u64| now.wrapping_sub(core::mem::replace(last, now)) as u32;
        counted.ticks = since(&mut self.ticks, tick::taken());
        counted.softirqs = since(&mut self.softirqs, softirq::runs_on(self.cpu).iter().sum());
        counted.switches = since(&mut self.switches, task::current().switches());
        counted
    }
}

/// The loop, and what its own readings were like. All in counter ticks.
struct Reader<'a> {
    stop: &'a AtomicBool,
    last: u64,
    least: u64,
    most: u64,
}

impl Reader<'_> {
    /// Reads the counter until `end`; returns before with a gap of more than `threshold`. Out of line, so that the loop
    /// that is calibrated is the one that measures.
    #[inline(never)]
    fn read(&mut self, end: u64, threshold: u64) -> Option<u64> {
        while self.last < end && !self.stop.load(Ordering::Relaxed) {
            let now = counter();
            let gap = now - self.last;
            if gap > threshold {
                return Some(gap);
            }
            self.least = self.least.min(gap);
            self.most = self.most.max(gap);
            self.last = now;
        }
        None
    }
}

fn measure(report: &mut Report, counters: &mut Counters, stop: &AtomicBool) {
    let (own_min, own_max) = calibrate();
    let to_ticks = |ns: u64| (u128::from(ns) * u128::from(arch::timer::freq_hz()) / 1_000_000_000) as u64;
    // Caches and the clock's own steps are allowed for.
    let threshold = report.params.threshold_ns.map_or(2 * own_max + 2, to_ticks);
    // Who made this task is done with it, and the tick has found out whether it is needed.
    let settled = counter() + to_ticks(SETTLE_TICKS * crate::time::NSEC_PER_SEC / u64::from(tick::hz()));
    while counter() < settled {}
    let _ = counters.look();
    let begin = counter();
    let end = begin + to_ticks(report.params.for_ns);
    let mut reader = Reader { stop, last: begin, least: own_min, most: own_max.min(threshold) };
    while let Some(gap) = reader.read(end, threshold) {
        let counted = counters.look();
        let at_ns = ticks_to_ns(reader.last - begin);
        report.gaps.record(Gap { at_ns, ns: ticks_to_ns(gap), counted });
        reader.last = counter();
    }
    report.measured_ns = ticks_to_ns(reader.last - begin);
    report.own_min_ns = ticks_to_ns(reader.least);
    report.own_max_ns = ticks_to_ns(reader.most);
    report.threshold_ns = ticks_to_ns(threshold);
}

/// The distances of readings where nothing can come in between: the least and the greatest. The best of a few rounds,
/// because an emulator may stand still in one.
fn calibrate() -> (u64, u64) {
    let go_on = AtomicBool::new(false);
    let round = |_| {
        let flags = irqflags::local_irq_save();
        let last = counter();
        let mut reader = Reader { stop: &go_on, last, least: u64::MAX, most: 0 };
        // Once round the loop fills the caches.
        let _ = reader.read(last + 1, u64::MAX);
        (reader.least, reader.most) = (u64::MAX, 0);
        let _ = reader.read(reader.last + CALIBRATION_TICKS, u64::MAX);
        irqflags::local_irq_restore(flags);
        (reader.most, reader.least)
    };
    let (most, least) = (0..ROUNDS).map(round).min().unwrap_or_default();
    (least, most)
}
