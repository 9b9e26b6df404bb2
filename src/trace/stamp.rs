//! What surrounds an event: the task that ran, and ftrace's four characters.
//!
//! Context: [`Stamp::now`] any; the rest pure.

use crate::preempt::{HARDIRQ_MASK, NMI_MASK, PREEMPT_MASK, SOFTIRQ_OFFSET};
use crate::sched::Class;
use crate::task::Task;
use arch::irqflags;
use core::fmt;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The task's number; 0 for an idle task.
    pub task: u32,
    flags: u8,
    /// Sections with preemption off around it.
    pub depth: u8,
    /// Hooks of the mask and the count that this CPU has passed since the event before, and that made no event: what they
    /// cost is in the time between. 255: so many, or more.
    pub silent_hooks: u8,
}

const IRQS_OFF: u8 = 1;
const TIF_RESCHED: u8 = 2;
const FOLDED_RESCHED: u8 = 4;
const HARDIRQ: u8 = 8;
const SOFTIRQ: u8 = 16;

/// A task's number in the trace.
#[inline(always)]
pub(super) fn number(task: &Task) -> u32 {
    if task.sched.class() == Class::Idle { 0 } else { task.id() }
}

impl Stamp {
    /// Of the running code, whose DAIF is `daif`.
    #[inline(always)]
    pub(super) fn now(daif: irqflags::Flags) -> Self {
        Self::with_count(daif, arch::thread_info::preempt_word() as u32)
    }

    /// Of the running code, with another count.
    pub(super) fn with_count(daif: irqflags::Flags, count: u32) -> Self {
        let task = crate::task::current();
        let word = arch::thread_info::preempt_word();
        let mut flags = 0;
        if irqflags::irqs_disabled_flags(daif) {
            flags |= IRQS_OFF;
        }
        if task.arch.thread_info.tif_need_resched() {
            flags |= TIF_RESCHED;
        }
        if word >> 32 == 0 {
            flags |= FOLDED_RESCHED;
        }
        if count & (HARDIRQ_MASK | NMI_MASK) != 0 {
            flags |= HARDIRQ;
        }
        if count & SOFTIRQ_OFFSET != 0 {
            flags |= SOFTIRQ;
        }
        Self { task: number(task), flags, depth: (count & PREEMPT_MASK) as u8, silent_hooks: 0 }
    }

    /// The same, behind so many hooks that made no event.
    pub(super) const fn with_silent_hooks(self, silent_hooks: u8) -> Self {
        Self { silent_hooks, ..self }
    }

    /// In 56 bits.
    pub(super) const fn pack(self) -> u64 {
        self.task as u64
            | (self.flags as u64) << 32
            | (self.depth as u64) << 40
            | (self.silent_hooks as u64) << 48
    }

    pub(super) const fn unpack(word: u64) -> Self {
        Self {
            task: word as u32,
            flags: (word >> 32) as u8,
            depth: (word >> 40) as u8,
            silent_hooks: (word >> 48) as u8,
        }
    }

    /// Whether interrupts were masked.
    #[must_use]
    pub const fn irqs_off(self) -> bool {
        self.flags & IRQS_OFF != 0
    }

    /// Whether it was in a hard interrupt.
    #[must_use]
    pub const fn in_hardirq(self) -> bool {
        self.flags & HARDIRQ != 0
    }

    /// Whether it was in a softirq.
    #[must_use]
    pub const fn in_softirq(self) -> bool {
        self.flags & SOFTIRQ != 0
    }
}

/// ftrace's four characters: masked, request, context, depth.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = match (self.flags & TIF_RESCHED != 0, self.flags & FOLDED_RESCHED != 0) {
            (true, true) => 'N',
            (true, false) => 'n',
            (false, true) => 'p',
            (false, false) => '.',
        };
        let context = match (self.in_hardirq(), self.in_softirq()) {
            (true, true) => 'H',
            (true, false) => 'h',
            (false, true) => 's',
            (false, false) => '.',
        };
        write!(f, "{}{request}{context}", if self.irqs_off() { 'd' } else { '.' })?;
        match self.depth {
            0 => f.write_str("."),
            // One character: viewers take no more.
            depth => write!(f, "{:x}", depth.min(15)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_stamp_comes_out_of_its_word_as_it_went_in() {
        let stamp = Stamp { task: u32::MAX, flags: 31, depth: 255, silent_hooks: 254 };
        assert_eq!(Stamp::unpack(stamp.pack()), stamp);
        assert!(stamp.pack() >> 56 == 0, "the kind has the upper byte");
    }

    #[test]
    fn the_flags_are_always_four_characters() {
        let text = |flags, depth| format!("{}", Stamp { task: 1, flags, depth, silent_hooks: 9 });
        assert_eq!(text(0, 0), "....");
        assert_eq!(text(IRQS_OFF | TIF_RESCHED | FOLDED_RESCHED | HARDIRQ, 4), "dNh4");
        assert_eq!(text(TIF_RESCHED | SOFTIRQ, 15), ".nsf");
        assert_eq!(text(FOLDED_RESCHED | SOFTIRQ | HARDIRQ, 200), ".pHf");
    }
}
