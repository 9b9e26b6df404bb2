//! A trace in ftrace's words (reference: Linux 5.11), one line for each event:
//!
//! ```text
//!           <idle>-0       [003] dNh4   136.676906123: sched_wakeup: comm=alpha pid=9 prio=120 target_cpu=003
//! ```
//!
//! Viewers split a line at blanks and then at `=`, and want exactly four flag characters: so names and symbols have no
//! blank in them. The fraction of a second has nine digits, where ftrace has six.
//!
//! Context: any; pure. What a line needs from the kernel it asks of a [`Lookup`].
#![forbid(unsafe_code)]

use super::event::{Event, LCB_F_MUTEX, LCB_F_RT, LCB_F_SPIN, Section};
use super::names::Comm;
use super::ring::Entry;
use crate::task::Name;
use core::fmt;

/// What a line needs besides its record.
pub trait Lookup {
    /// A task's name.
    fn task(&self, id: u32) -> Option<Name>;
    /// Writes what an interrupt is called: one word.
    ///
    /// # Errors
    /// The formatter's.
    fn irq(&self, irq: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Writes what is at an address: one word.
    ///
    /// # Errors
    /// The formatter's.
    fn symbol(&self, address: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Nanoseconds of so many counter ticks.
    fn ns(&self, ticks: u64) -> u64;
    /// How many CPUs have a bit in a mask that is printed.
    fn cpus(&self) -> usize;
}

/// The lines before the events: what is there, and what the columns are.
pub struct Header {
    /// Events that follow.
    pub kept: usize,
    /// Events that were written.
    pub written: usize,
    /// CPUs.
    pub cpus: usize,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# tracer: nop")?;
        writeln!(f, "#")?;
        writeln!(
            f,
            "# entries-in-buffer/entries-written: {}/{}   #P:{}",
            self.kept, self.written, self.cpus
        )?;
        writeln!(f, "#")?;
        writeln!(
            f,
            "# flags: d interrupts masked; N reschedule wanted; h interrupt, s softirq, H both; preempt depth"
        )?;
        writeln!(f, "#")?;
        write!(f, "#           TASK-PID     CPU#  FLAG     TIMESTAMP  EVENT")
    }
}

/// One line, without its end.
pub struct Line<'a, L: Lookup> {
    /// Where it happened.
    pub cpu: usize,
    /// What happened.
    pub entry: &'a Entry,
    /// See there.
    pub lookup: &'a L,
}

impl<L: Lookup> fmt::Display for Line<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { ticks, stamp, .. } = *self.entry;
        let (cpu, ns) = (self.cpu, self.lookup.ns(ticks));
        match (stamp.task, self.lookup.task(stamp.task)) {
            (0, _) => write!(f, "{:>16}", "<idle>")?,
            (_, Some(name)) => write!(f, "{:>16}", Comm(name.as_str()))?,
            (_, None) => write!(f, "{:>16}", "<...>")?,
        }
        let (seconds, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
        write!(f, "-{:<7} [{cpu:03}] {stamp} {seconds:>5}.{rest:09}: ", stamp.task)?;
        self.write_event(f)
    }
}

/// A line's event with its fields.
pub struct Payload<'a, L: Lookup>(pub &'a Line<'a, L>);

impl<L: Lookup> fmt::Display for Payload<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_event(f)
    }
}

/// What the softirqs are called, by their numbers.
pub(crate) const SOFTIRQS: [&str; 10] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "SPARE"];
const IPIS: [&str; 4] = [
    "Rescheduling interrupts",
    "Function call interrupts",
    "CPU stop interrupts",
    "CPU backtrace interrupts",
];

impl<L: Lookup> Line<'_, L> {
    fn write_event(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.entry.event;
        write!(f, "{}: ", event.kind().name())?;
        match event {
            Event::SchedSwitch { prev, prev_prio, left, next, next_prio } => {
                f.write_str("prev_comm=")?;
                self.comm(f, prev)?;
                write!(
                    f,
                    " prev_pid={prev} prev_prio={prev_prio} prev_state={} ==> next_comm=",
                    left.letters()
                )?;
                self.comm(f, next)?;
                write!(f, " next_pid={next} next_prio={next_prio}")
            }
            Event::SchedWaking { task, prio, cpu }
            | Event::SchedWakeup { task, prio, cpu }
            | Event::SchedWakeupNew { task, prio, cpu } => {
                self.named(f, task)?;
                write!(f, " prio={prio} target_cpu={cpu:03}")
            }
            Event::SchedMigrateTask { task, prio, from, to } => {
                self.named(f, task)?;
                write!(f, " prio={prio} orig_cpu={from} dest_cpu={to}")
            }
            Event::SchedPiSetprio { task, old_prio, new_prio } => {
                self.named(f, task)?;
                write!(f, " oldprio={old_prio} newprio={new_prio}")
            }
            Event::SchedProcessFork { child } => {
                self.named(f, self.entry.stamp.task)?;
                f.write_str(" child_comm=")?;
                self.comm(f, child)?;
                write!(f, " child_pid={child}")
            }
            Event::SchedProcessExit { prio } => {
                self.named(f, self.entry.stamp.task)?;
                write!(f, " prio={prio}")
            }
            Event::IrqHandlerEntry { irq } => {
                write!(f, "irq={irq} name=")?;
                self.lookup.irq(irq, f)
            }
            Event::IrqHandlerExit { irq, handled } => {
                write!(f, "irq={irq} ret={}", if handled { "handled" } else { "unhandled" })
            }
            Event::SoftirqRaise { vector }
            | Event::SoftirqEntry { vector }
            | Event::SoftirqExit { vector } => {
                let action = SOFTIRQS.get(vector as usize).unwrap_or(&"?");
                write!(f, "vec={vector} [action={action}]")
            }
            Event::IpiRaise { cpus, ipi } => {
                f.write_str("target_mask=")?;
                if self.lookup.cpus() > 32 {
                    write!(f, "{:08x},", cpus >> 32)?;
                }
                write!(f, "{:08x} ({})", cpus as u32, reason(ipi))
            }
            Event::IpiEntry { ipi } | Event::IpiExit { ipi } => write!(f, "({})", reason(ipi)),
            Event::HrtimerStart { timer, function, expires_ns, soft } => {
                write!(f, "hrtimer={timer:016x} function=")?;
                self.lookup.symbol(function, f)?;
                let mode = if soft { "ABS|SOFT" } else { "ABS|HARD" };
                write!(f, " expires={expires_ns} softexpires={expires_ns} mode={mode}")
            }
            Event::HrtimerCancel { timer } | Event::HrtimerExpireExit { timer } => {
                write!(f, "hrtimer={timer:016x}")
            }
            Event::HrtimerExpireEntry { timer, function, now_ns } => {
                write!(f, "hrtimer={timer:016x} function=")?;
                self.lookup.symbol(function, f)?;
                write!(f, " now={now_ns}")
            }
            Event::IrqDisable(at)
            | Event::IrqEnable(at)
            | Event::PreemptDisable(at)
            | Event::PreemptEnable(at) => {
                let Section { caller, parent } = at;
                f.write_str("caller=")?;
                self.lookup.symbol(caller, f)?;
                f.write_str(" parent=")?;
                self.lookup.symbol(parent, f)
            }
            Event::ContentionBegin { lock, flags } => {
                write!(f, "{lock:016x} (flags=")?;
                let names = [(LCB_F_SPIN, "SPIN"), (LCB_F_RT, "RT"), (LCB_F_MUTEX, "MUTEX")];
                let mut between = "";
                for (_, name) in names.into_iter().filter(|(bit, _)| flags & bit != 0) {
                    write!(f, "{between}{name}")?;
                    between = "|";
                }
                f.write_str(")")
            }
            Event::ContentionEnd { lock, ret } => write!(f, "{lock:016x} (ret={ret})"),
            Event::CpuIdle { state } => write!(f, "state={state} cpu_id={}", self.cpu),
        }
    }

    /// `comm=… pid=…`.
    fn named(&self, f: &mut fmt::Formatter<'_>, task: u32) -> fmt::Result {
        f.write_str("comm=")?;
        self.comm(f, task)?;
        write!(f, " pid={task}")
    }

    fn comm(&self, f: &mut fmt::Formatter<'_>, task: u32) -> fmt::Result {
        match self.lookup.task(task) {
            _ if task == 0 => write!(f, "swapper/{}", self.cpu),
            Some(name) => write!(f, "{}", Comm(name.as_str())),
            None => f.write_str("<...>"),
        }
    }
}

/// What another CPU interrupts this one for.
pub(crate) fn reason(ipi: u32) -> &'static str {
    IPIS.get(ipi as usize).unwrap_or(&"?")
}

#[cfg(test)]
#[path = "text_tests.rs"]
pub(super) mod tests;
