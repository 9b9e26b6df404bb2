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

/// Readings by which the loop gets to know itself.
const CALIBRATION: u32 = 2000;

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
    let task = task::build("jitter").fifo(params.prio).affinity(CpuMask::of(params.cpu)).stack_bytes(32 * 1024).spawn({
        let stop = stop.clone();
        move || {
            measure(&mut report, &mut Counters { cpu: params.cpu, lines, ticks: 0, softirqs: 0, switches: 0 }, &stop);
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
        counted.ticks = since(&mut self.ticks, tick::jiffies() - tick::skipped());
        counted.softirqs = since(&mut self.softirqs, softirq::runs_on(self.cpu).iter().sum());
        counted.switches = since(&mut self.switches, task::current().switches());
        counted
    }
}

fn measure(report: &mut Report, counters: &mut Counters, stop: &AtomicBool) {
    let (own_min, own_max) = calibrate();
    let threshold = match report.params.threshold_ns {
        Some(ns) => ns * arch::timer::freq_hz() / crate::time::NSEC_PER_SEC,
        // Caches and the clock's own steps are allowed for.
        None => 2 * own_max + 2,
    };
    let end_ticks = |ns: u64| (u128::from(ns) * u128::from(arch::timer::freq_hz()) / 1_000_000_000) as u64;
    let (mut least, mut most) = (own_min, own_max.min(threshold));
    let _ = counters.look();
    let begin = counter();
    let end = begin + end_ticks(report.params.for_ns);
    let mut last = begin;
    while last < end && !stop.load(Ordering::Relaxed) {
        let now = counter();
        let gap = now - last;
        if gap <= threshold {
            least = least.min(gap);
            most = most.max(gap);
            last = now;
            continue;
        }
        let counted = counters.look();
        let at_ns = ticks_to_ns(last - begin);
        report.gaps.record(Gap { at_ns, ns: ticks_to_ns(gap), counted });
        last = counter();
    }
    report.measured_ns = ticks_to_ns(counter() - begin);
    report.own_min_ns = ticks_to_ns(least);
    report.own_max_ns = ticks_to_ns(most);
    report.threshold_ns = ticks_to_ns(threshold);
}

/// The distance of two readings where nothing can come in between, in counter ticks: the least and the greatest.
fn calibrate() -> (u64, u64) {
    let (mut least, mut most) = (u64::MAX, 0);
    for round in 0..CALIBRATION {
        let flags = irqflags::local_irq_save();
        let first = counter();
        let second = counter();
        irqflags::local_irq_restore(flags);
        // The first ones fill the caches.
        if round >= CALIBRATION / 2 {
            least = least.min(second - first);
            most = most.max(second - first);
        }
    }
    // An emulator that stands still in the middle would make everything look fine.
    (least, most.min(least * 8 + 8))
}
