//! The changes of the interrupt mask and of the preempt count, as events.
//!
//! The hooks are the sites of preempt-stats (arch `hooks.rs`): instructions that are needed anyway, so they cost nothing
//! while nobody looks. Each says what the state *will* be; an event is made of the outermost changes, of open to closed
//! and back. The idle task's count of 1 is its zero. A wait for an interrupt changes nothing here.
//!
//! A CPU whose state is not known, because nobody has looked since another choice of events, begins with what its next hook
//! says, and makes no event of that.
//!
//! Context: the recorder of preempt-stats, IRQs masked. Locks: none.

use super::event::{Event, KindSet, Section};
use super::ring;
use super::stamp::Stamp;
use crate::per_cpu;
use arch::irqflags::{Flags, PSR_I_BIT};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};

/// What a CPU has closed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Closed {
    irqs: bool,
    preempt: bool,
    /// The [`EPOCH`] of which this is.
    epoch: u32,
}

per_cpu! {
    static CLOSED: Cell<Closed> = Cell::new(Closed { irqs: false, preempt: false, epoch: 0 });
}

/// Changes when what was known of the CPUs is void.
static EPOCH: AtomicU32 = AtomicU32::new(1);

/// What is known of the CPUs is void: the sites were not there, or nobody looked.
pub(super) fn begin() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

/// A change: what a hook tells.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    /// The instruction.
    pub(crate) site: u64,
    /// The return address of its function; 0 where there is none.
    pub(crate) caller: u64,
    /// The mask that will be.
    pub(crate) daif: Flags,
    /// The preempt count that will be.
    pub(crate) count: u32,
    /// The count of a task that may be preempted: 1 of an idle task.
    pub(crate) open_count: u32,
}

/// Whether somebody looks.
#[inline(always)]
pub(crate) fn are_wanted() -> bool {
    super::wants(KindSet::SECTIONS)
}

/// A hook that tells no change. IRQs masked.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "there are no hooks on a PC"))]
pub(crate) fn unchanged() {
    ring::silent_hook();
}

/// Records what a change closes or opens. IRQs masked.
pub(crate) fn changed(change: &Change) {
    let epoch = EPOCH.load(Ordering::Relaxed);
    let now = Closed {
        irqs: arch::irqflags::irqs_disabled_flags(change.daif),
        preempt: change.count > change.open_count,
        epoch,
    };
    // SAFETY: IRQs masked, and this CPU's.
    let before = unsafe { CLOSED.this_cpu() }.replace(now);
    if before.epoch != epoch || before == now {
        return ring::silent_hook();
    }
    let at = Section { caller: change.site, parent: change.caller };
    // As it is while the section lasts: behind its first instruction, before its last.
    let stamp = |closes: bool, masked: bool| {
        let count = if closes { change.count } else { arch::thread_info::preempt_count() };
        Stamp::with_count(if masked { change.daif | PSR_I_BIT } else { change.daif }, count)
    };
    if before.preempt != now.preempt {
        let event = if now.preempt { Event::PreemptDisable(at) } else { Event::PreemptEnable(at) };
        ring::record_in_site(stamp(now.preempt, now.irqs || before.irqs), event);
    }
    if before.irqs != now.irqs {
        let event = if now.irqs { Event::IrqDisable(at) } else { Event::IrqEnable(at) };
        ring::record_in_site(stamp(now.irqs, true), event);
    }
}
