//! A tracer's snapshot in ftrace's words: who, how long, from where to where, and what happened meanwhile.
//!
//! ```text
//! # irqsoff latency trace v1.1.5 on stint-0.1.0
//! # --------------------------------------------------------------------
//! # latency: 259 us, #4/4, CPU#2 | (M:preempt VP:0, KP:0, SP:0 HP:0 #P:4)
//! #    -----------------
//! #    | task: alpha-9 (uid:0 nice:0 policy:1 rt_prio:50)
//! #    -----------------
//! #  => started at: stint::irq::line::…
//! #  => ended at:   el1_irq_eret
//! ```
//!
//! Behind it a line for each event, with microseconds since the beginning and a mark for the time until the next.
//!
//! Context: any; pure, but for what a [`Lookup`] is asked.
#![forbid(unsafe_code)]

use super::names::Comm;
use super::ring::Entry;
use super::snapshot::Taken;
use super::text::{Line, Lookup, Payload};
use super::tracer::Tracer;
use crate::bootargs::PreemptModel;
use crate::sched::prio::{MAX_RT_PRIO, prio_to_nice};
use core::fmt;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Linux's name of a preemption model, in the header.
#[must_use]
pub const fn model(preempt: PreemptModel) -> &'static str {
    match preempt {
        PreemptModel::None => "server",
        PreemptModel::Voluntary => "desktop",
        PreemptModel::Full => "preempt",
        PreemptModel::Rt => "preempt_rt",
    }
}

/// What stands before the events.
pub struct Header<'a, L: Lookup> {
    /// The snapshot.
    pub taken: &'a Taken,
    /// Its length.
    pub length_ns: u64,
    /// See [`model`].
    pub model: &'static str,
    /// See there.
    pub lookup: &'a L,
}

impl<L: Lookup> fmt::Display for Header<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const RULE: &str = "# --------------------------------------------------------------------";
        const BOX: &str = "#    -----------------";
        let Taken { found, cpu, is_cut, ref entries } = *self.taken;
        let (count, us) = (entries.len(), self.length_ns / 1000);
        writeln!(f, "# {} latency trace v1.1.5 on stint-{VERSION}", found.tracer.name())?;
        writeln!(f, "{RULE}")?;
        write!(
            f,
            "# latency: {us} us, #{count}/{count}, CPU#{cpu} | (M:{} VP:0, KP:0, SP:0 HP:0",
            self.model
        )?;
        writeln!(f, " #P:{})", self.lookup.cpus())?;
        writeln!(f, "{BOX}")?;
        let who = found.section.who;
        let rt_prio = if (0..MAX_RT_PRIO).contains(&found.prio) { MAX_RT_PRIO - 1 - found.prio } else { 0 };
        let nice = if found.prio >= MAX_RT_PRIO { prio_to_nice(found.prio) } else { 0 };
        write!(f, "#    | task: {}-{} (uid:0 nice:{nice} ", Comm(who.name.as_str()), who.id)?;
        writeln!(f, "policy:{} rt_prio:{rt_prio})", found.policy as u8)?;
        writeln!(f, "{BOX}")?;
        if found.tracer.times_sections() {
            for (what, place) in [("started at:", found.section.from), ("ended at:  ", found.section.to)] {
                write!(f, "#  => {what} ")?;
                self.lookup.symbol(place.site, f)?;
                if place.caller != 0 {
                    f.write_str(", called by ")?;
                    self.lookup.symbol(place.caller, f)?;
                }
                writeln!(f)?;
            }
        }
        writeln!(f, "#")?;
        let unit = if found.tracer == Tracer::WakeupRt { "counter ticks" } else { "cycles" };
        writeln!(
            f,
            "# exactly {} {unit} = {} ns, without what the tracing took",
            found.length, self.length_ns
        )?;
        if is_cut {
            writeln!(f, "# there were more events before these {count}")?;
        }
        writeln!(f, "#")?;
        write!(f, "#  TASK-PID     CPU FLAG   TIME    EVENT")
    }
}

/// An event of a snapshot.
pub struct Event<'a, L: Lookup> {
    /// Where.
    pub cpu: usize,
    /// What.
    pub entry: &'a Entry,
    /// When the window began.
    pub from_ticks: u64,
    /// When the next event was, if there is one.
    pub next_ticks: Option<u64>,
    /// See there.
    pub lookup: &'a L,
}

impl<L: Lookup> fmt::Display for Event<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { ticks, stamp, .. } = *self.entry;
        let since_ns = |from: u64, to: u64| self.lookup.ns(to).saturating_sub(self.lookup.ns(from));
        let us = since_ns(self.from_ticks, ticks) / 1000;
        let gap_ns = self.next_ticks.map_or(0, |next| since_ns(ticks, next));
        match (stamp.task, self.lookup.task(stamp.task)) {
            (0, _) => f.write_str("  <idle>")?,
            (_, Some(name)) => write!(f, "{:>8.8}", Comm(name.as_str()))?,
            (_, None) => f.write_str("   <...>")?,
        }
        write!(f, "-{:<7} {:>3}{stamp} {us:>4}us{}: ", stamp.task, self.cpu, mark(gap_ns))?;
        write!(f, "{}", Payload(&Line { cpu: self.cpu, entry: self.entry, lookup: self.lookup }))
    }
}

/// How long it is until the next event.
const fn mark(gap_ns: u64) -> char {
    match gap_ns {
        1_000_000_001.. => '$',
        100_000_001.. => '@',
        10_000_001.. => '*',
        1_000_001.. => '#',
        100_001.. => '!',
        10_001.. => '+',
        _ => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::Found;
    use super::super::stamp::Stamp;
    use super::super::text::tests::Fake;
    use super::*;
    use crate::preempt_stats::section::{Kind, Place, Section, Who};
    use crate::sched::prio::Policy;
    use crate::task::Name;
    use alloc::format;
    use alloc::vec::Vec;

    fn taken(tracer: Tracer) -> Taken {
        let section = Section {
            cycles: 259_999,
            from: Place { site: 0x10, caller: 0x20 },
            to: Place { site: 0x30, caller: 0 },
            kind: Kind::IRQS,
            who: Who { id: 9, name: Name::new("al pha") },
        };
        let found = Found {
            tracer,
            length: 259_999,
            section,
            prio: 49,
            policy: Policy::Fifo,
            from_ticks: 1000,
            to_ticks: 27_000,
            waker: 2,
        };
        Taken { found, cpu: 2, is_cut: false, entries: Vec::new() }
    }

    #[test]
    fn the_header_is_ftraces() {
        let taken = taken(Tracer::Irqsoff);
        let header =
            Header { taken: &taken, length_ns: 259_999, model: model(PreemptModel::Full), lookup: &Fake };
        let text = format!("{header}");
        let lines: Vec<&str> = text.lines().collect();
        let expected = [
            &format!("# irqsoff latency trace v1.1.5 on stint-{VERSION}"),
            "# --------------------------------------------------------------------",
            "# latency: 259 us, #0/0, CPU#2 | (M:preempt VP:0, KP:0, SP:0 HP:0 #P:4)",
            "#    -----------------",
            "#    | task: al_pha-9 (uid:0 nice:0 policy:1 rt_prio:50)",
            "#    -----------------",
            "#  => started at: f+0x10, called by f+0x20",
            "#  => ended at:   f+0x30",
        ];
        assert_eq!(lines[..8], expected);
        assert!(lines.iter().all(|line| line.starts_with('#')));
    }

    #[test]
    fn a_wake_up_has_no_places() {
        let taken = taken(Tracer::WakeupRt);
        let header = Header { taken: &taken, length_ns: 1, model: model(PreemptModel::Rt), lookup: &Fake };
        let text = format!("{header}");
        assert!(text.starts_with("# wakeup_rt latency trace") && !text.contains("=>"), "{text}");
        assert!(text.contains("M:preempt_rt") && text.contains("259999 counter ticks = 1 ns"), "{text}");
    }

    #[test]
    fn an_event_has_its_time_in_the_window_and_a_mark_for_what_follows() {
        let entry = Entry {
            ticks: 2500,
            stamp: Stamp::unpack(9 | 1 << 32 | 2 << 40),
            event: super::super::event::Event::SoftirqRaise { vector: 8 },
        };
        let line = |next_ticks| {
            format!("{}", Event { cpu: 2, entry: &entry, from_ticks: 1000, next_ticks, lookup: &Fake })
        };
        assert_eq!(line(None), "   alpha-9         2d..2   15us : softirq_raise: vec=8 [action=HRTIMER]");
        assert_eq!(
            line(Some(3501)),
            "   alpha-9         2d..2   15us+: softirq_raise: vec=8 [action=HRTIMER]"
        );
        assert_eq!(line(Some(3500)), line(None), "ten microseconds are not more than ten");
    }
}
