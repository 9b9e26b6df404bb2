//! Watches a run with the trace, and explains each new worst wake-up of it.
//!
//! All events are switched on for the run, and back to what was traced before behind it. At a new worst the measuring task looks through this CPU's last events, and those of the CPU whose timer
//! woke it if that is another one: at most `LOOK_BACK` of each. That takes time, in which fragments may become due; the
//! run leaves them out ([`super::run`]).
//!
//! What it costs to record an event, and to pass a hook that makes none, is measured before the run, by events of its own:
//! `tracing` is what the events and hooks of an interval cost by that, so the other parts are as long as they would be
//! without the trace, as far as one hook costs what another does.
//!
//! Context: threads. Locks: those of switching the trace.
#![forbid(unsafe_code)]

use super::blame::{self, Cost, Costs, Explanation, Interval, Seen};
use crate::irq::softirq::Vector;
use crate::percpu::raw_smp_processor_id;
use crate::time;
use crate::trace::control::{self, TraceError};
use crate::trace::event::{Event, KindSet};
use crate::trace::{self, for_each_last_of};
use alloc::collections::VecDeque;

/// Explanations that are kept: the last ones.
pub const KEPT: usize = 8;
/// The most events of a CPU that an explanation looks through; the rings have 4096 unless `trace_events=` says otherwise.
const LOOK_BACK: usize = 1 << 16;
/// The least of so many measurements: the others were interrupted.
const CALIBRATIONS: usize = 16;

/// All events are recorded for as long as it exists.
#[derive(Debug)]
pub struct Watching {
    before: KindSet,
}

impl Watching {
    /// Switches them on.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn start() -> Result<Self, TraceError> {
        let before = control::chosen();
        // All, and not those alone that an explanation looks at: a hook whose event is not wanted costs time as well, and of that
        // time nothing would be known.
        control::on(KindSet::ALL)?;
        Ok(Self { before })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Nothing too: then a tracer that works goes on.
        if let Err(error) = control::on(self.before) {
            log::error!(target: "latency", "the trace could not be switched back: {error}");
        }
    }
}

/// The explanations of a run.
#[derive(Debug)]
pub struct Witness {
    task: u32,
    costs: Costs,
    explanations: VecDeque<Explanation>,
}

impl Witness {
    /// Of the running task. The trace is on. All memory that it will need is allocated here.
    #[must_use]
    pub fn new() -> Self {
        let costs = calibrate();
        log::debug!(target: "latency", "what the trace costs: {costs:?}");
        Self { task: crate::task::current().id(), costs, explanations: VecDeque::with_capacity(KEPT) }
    }

    /// Explains the latency of a fragment whose timer was due at `due_ns`, whose handler ran on `timer_cpu`, and whose first
    /// instruction was at `seen_ns`, here.
    pub fn explain(&mut self, fragment: u64, due_ns: u64, seen_ns: u64, timer_cpu: usize) {
        let interval = Interval { task: self.task, due_ns, seen_ns };
        let parts = blame::explain(interval, (timer_cpu, raw_smp_processor_id()), self.costs, |cpu, see| {
            for_each_last_of(cpu, LOOK_BACK, |entry| {
                see(&Seen {
                    ns: time::ticks_to_ns(entry.ticks),
                    task: entry.stamp.task,
                    in_hardirq: entry.stamp.in_hardirq(),
                    silent_hooks: entry.stamp.silent_hooks,
                    event: entry.event,
                });
            });
        });
        if self.explanations.len() == KEPT {
            self.explanations.pop_front();
        }
        self.explanations.push_back(Explanation {
            fragment,
            whole_ns: seen_ns.saturating_sub(due_ns),
            parts,
        });
    }

    /// The last explanations, oldest first.
    #[must_use]
    pub fn explanations(&self) -> &VecDeque<Explanation> {
        &self.explanations
    }
}

impl Default for Witness {
    fn default() -> Self {
        Self::new()
    }
}

/// Measures what an event of either sort costs on this CPU.
fn calibrate() -> Costs {
    let lock = 0u32;
    let begins = |event: &Event| matches!(event, Event::ContentionBegin { .. });
    let plain = least(|| trace::contention_begin(&lock, 0), begins, begins);
    trace::contention_end(&lock);
    let masked = || {
        let flags = arch::irqflags::local_irq_save();
        arch::irqflags::local_irq_restore(flags);
    };
    let closes = |event: &Event| matches!(event, Event::IrqDisable(_));
    let opens = |event: &Event| matches!(event, Event::IrqEnable(_));
    // A vector that nobody raises.
    let spare = Vector::Spare as u32;
    let around = least(
        || trace::softirq(spare, || ()),
        |event| matches!(event, Event::SoftirqEntry { .. }),
        |event| matches!(event, Event::SoftirqExit { .. }),
    );
    let section = least(masked, closes, opens);
    // Masked already: two hooks without an event.
    let flags = arch::irqflags::local_irq_save();
    let pair_ns = shortest_ns(masked).saturating_sub(shortest_ns(|| ()));
    arch::irqflags::local_irq_restore(flags);
    Costs { plain, around, section, silent_ns: pair_ns / 2 }
}

/// The shortest time that `run` takes, with the reading of the clock.
fn shortest_ns(run: impl Fn()) -> u64 {
    let timed = |_| {
        let begin_ns = time::now_ns();
        run();
        time::now_ns() - begin_ns
    };
    (0..CALIBRATIONS).map(timed).min().unwrap_or(0)
}

/// The time before the stamp of the first event that `make` makes, and behind that of the last.
fn least(make: impl Fn(), is_first: impl Fn(&Event) -> bool, is_last: impl Fn(&Event) -> bool) -> Cost {
    let (mut before_ns, mut behind_ns) = (u64::MAX, u64::MAX);
    for _ in 0..CALIBRATIONS {
        let begin_ns = time::now_ns();
        make();
        let end_ns = time::now_ns();
        for_each_last_of(raw_smp_processor_id(), 2, |entry| {
            let stamp_ns = time::ticks_to_ns(entry.ticks);
            if is_first(&entry.event) && stamp_ns >= begin_ns {
                before_ns = before_ns.min(stamp_ns - begin_ns);
            }
            if is_last(&entry.event) && (begin_ns..=end_ns).contains(&stamp_ns) {
                behind_ns = behind_ns.min(end_ns - stamp_ns);
            }
        });
    }
    // Half of what lies between two readings is behind the first, half before the second.
    let clock_ns = shortest_ns(|| ()) / 2;
    // Without a single event there is nothing to take off.
    let known = |ns: u64| if ns == u64::MAX { 0 } else { ns.saturating_sub(clock_ns) };
    Cost { before_ns: known(before_ns), behind_ns: known(behind_ns) }
}
