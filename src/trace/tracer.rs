//! The tracers: the longest of its kind since a tracer was chosen, and what happened meanwhile.
//!
//! | tracer | from | to |
//! |---|---|---|
//! | `irqsoff` | interrupts masked | open again |
//! | `preemptoff` | the preempt count leaves its zero | is back at it |
//! | `preemptirqsoff` | the first of the two | both are over |
//! | `wakeup_rt` | the most important real-time or deadline task of a CPU is woken | it is switched to |
//!
//! The first three are timed at the sites of preempt-stats, in the CPU's own cycles: those of the hooks are taken off. (The same
//! readings that the statistics use, and not the same figures: each keeps its own, from its own beginning.) A wait for an
//! interrupt is none. The last one is timed by the counter, which is the same on all CPUs, from hook to hook.
//!
//! Each CPU keeps its own maximum, so no hook waits for another CPU; the largest of them is the tracer's. **A new maximum is
//! copied where it is found**, in the hook, after its end was read: the window's records go from the rings to the CPU's
//! snapshot ([`snapshot`]). Bound: that of a copy. Of a section the copy is a part of the hook, which is
//! taken off. For `wakeup_rt` no wake-up counts that began before the copy was done.
//!
//! Invariant: a CPU's state is written by that CPU with interrupts masked; but for who waits in its `Wakeup`, which belongs to
//! the lock of the CPU's run queue. A task that is aborted while it waits to run stays there until a more important one is
//! woken, or the tracer is chosen anew.
//!
//! Context: the hooks', IRQs masked. Locks: none.

use super::snapshot::{self, Found};
use crate::per_cpu;
use crate::percpu::{has_instances, raw_smp_processor_id};
use crate::preempt_stats::ledger::ABSURD_CYCLES;
use crate::preempt_stats::section::{Kind, Place, Section, Tracker, Who};
use crate::sched::prio::{MAX_RT_PRIO, Policy};
use crate::task::Task;
use arch::timer::counter;
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64};

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tracer {
    /// None.
    Nop = 0,
    /// From the wake-up of a real-time task to its switch.
    WakeupRt = 1,
    /// Interrupts masked.
    Irqsoff = 2,
    /// Preemption off.
    Preemptoff = 3,
    /// Either.
    Preemptirqsoff = 4,
}

const TRACERS: [Tracer; 5] =
    [Tracer::Nop, Tracer::WakeupRt, Tracer::Irqsoff, Tracer::Preemptoff, Tracer::Preemptirqsoff];

impl Tracer {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TRACERS.into_iter()
    }

    /// Linux's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nop => "nop",
            Self::WakeupRt => "wakeup_rt",
            Self::Irqsoff => "irqsoff",
            Self::Preemptoff => "preemptoff",
            Self::Preemptirqsoff => "preemptirqsoff",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|tracer| tracer.name() == name)
    }

    /// Whether it times sections.
    #[must_use]
    pub const fn times_sections(self) -> bool {
        matches!(self, Self::Irqsoff | Self::Preemptoff | Self::Preemptirqsoff)
    }

    /// What of a CPU's state it looks at.
    const fn mask(self) -> Kind {
        match self {
            Self::Irqsoff => Kind::IRQS,
            Self::Preemptoff => Kind::PREEMPT,
            Self::Preemptirqsoff => Kind::BOTH,
            Self::Nop | Self::WakeupRt => Kind::NONE,
        }
    }
}

/// The tracer whose hooks work now.
static CURRENT: AtomicU8 = AtomicU8::new(Tracer::Nop as u8);

/// The tracer that works now.
#[inline(always)]
pub(super) fn current() -> Tracer {
    *TRACERS.get(usize::from(CURRENT.load(Relaxed))).unwrap_or(&Tracer::Nop)
}

/// The tracer works from now on, on the CPUs that were [`reset`].
pub(super) fn set_current(tracer: Tracer) {
    CURRENT.store(tracer as u8, Relaxed);
}

/// Whether sections are timed.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "there are no sites on a PC"))]
#[inline(always)]
pub(crate) fn times_sections() -> bool {
    current().times_sections()
}

/// What a CPU has closed, and the longest.
struct Sections {
    tracker: Tracker,
    /// When it was closed, by the counter, and the priority and the policy of the task that did it.
    opened: Option<(u64, i32, Policy)>,
}

struct Cpu {
    sections: UnsafeCell<Sections>,
    /// The longest so far: cycles of sections, ticks of wake-ups.
    max: Cell<u64>,
}

// SAFETY: the cells are their CPU's own, with IRQs masked, or looked at when no hook works any more (`max_of`).
unsafe impl Send for Cpu {}

/// A CPU's wake-up: of the most important task that waits to run there.
struct Wakeup {
    /// 0: none.
    task: AtomicU32,
    prio: AtomicI32,
    /// Before the records of the wake-up; and behind them, where the latency begins.
    from_ticks: AtomicU64,
    since_ticks: AtomicU64,
    /// The CPU that woke it.
    waker: AtomicU32,
    /// Wake-ups before this do not count: a copy was made. Its own CPU's to write.
    not_before_ticks: AtomicU64,
}

per_cpu! {
    static CPU: Cpu = Cpu {
        sections: UnsafeCell::new(Sections { tracker: Tracker::new(), opened: None }),
        max: Cell::new(0),
    };
    static WAKEUP: Wakeup = Wakeup {
        task: AtomicU32::new(0),
        prio: AtomicI32::new(0),
        from_ticks: AtomicU64::new(0),
        since_ticks: AtomicU64::new(0),
        waker: AtomicU32::new(0),
        not_before_ticks: AtomicU64::new(0),
    };
}

/// Forgets what has begun on this CPU, and, if `all`, the longest too. IRQs masked.
pub(super) fn reset(all: bool) {
    // SAFETY: IRQs masked, this CPU's.
    let cpu = unsafe { CPU.this_cpu() };
    // SAFETY: as above: the hook does not run meanwhile.
    let sections = unsafe { &mut *cpu.sections.get() };
    (sections.tracker, sections.opened) = (Tracker::new(), None);
    let wakeup = WAKEUP.shared(raw_smp_processor_id());
    wakeup.task.store(0, Relaxed);
    wakeup.not_before_ticks.store(counter(), Relaxed);
    if all {
        cpu.max.set(0);
        snapshot::forget();
    }
}

/// The longest on `cpu`, in the unit of the tracer; 0 if there was none.
///
/// # Safety
/// No hook of a tracer works, and every CPU has been seen outside of one since.
pub(super) unsafe fn max_of(cpu: usize) -> u64 {
    if !has_instances(cpu) {
        return 0;
    }
    // SAFETY: there is an instance; nobody writes, by contract.
    unsafe { CPU.of(cpu) }.max.get()
}

/// From the instruction at `place` on, `kind` is closed; it is executed at `now` in the CPU's own cycles, and the hook was
/// entered at `at_ticks`. IRQs masked.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "there are no sites on a PC"))]
pub(crate) fn section((now, at_ticks): (u64, u64), place: Place, kind: Kind, who: impl FnOnce() -> Who) {
    let tracer = current();
    // SAFETY: IRQs masked by contract.
    let cpu = unsafe { CPU.this_cpu() };
    // SAFETY: nothing below reaches a hook.
    let sections = unsafe { &mut *cpu.sections.get() };
    let kind = kind.only(tracer.mask());
    if kind != Kind::NONE && sections.opened.is_none() {
        let sched = &crate::task::current().sched;
        sections.opened = Some((at_ticks, sched.prio(), sched.policy()));
    }
    let Some(cycles) = sections.tracker.step(now, place, kind, who) else { return };
    let Some((from_ticks, prio, policy)) = sections.opened.take() else { return };
    if cycles > cpu.max.get() && cycles < ABSURD_CYCLES {
        cpu.max.set(cycles);
        snapshot::take(&Found {
            tracer,
            length: cycles,
            section: sections.tracker.ended(cycles, place),
            prio,
            policy,
            from_ticks,
            to_ticks: counter(),
            waker: raw_smp_processor_id(),
        });
    }
}

/// `task` has been made ready on its run queue, which is locked; the records of that were begun at `from_ticks`. IRQs
/// masked.
pub(super) fn woken(task: &Task, from_ticks: u64) {
    let prio = task.sched.prio();
    if current() != Tracer::WakeupRt || prio >= MAX_RT_PRIO {
        return;
    }
    // SAFETY: locked by contract.
    let runs = unsafe { crate::sched::core::curr_of_rq_of(task) };
    // One that is woken before it has gone to sleep runs on.
    if core::ptr::eq(runs, task) || prio >= runs.sched.prio() {
        return;
    }
    let wakeup = WAKEUP.shared(task.cpu());
    let waits = wakeup.task.load(Relaxed) != 0;
    if waits && prio >= wakeup.prio.load(Relaxed) {
        return;
    }
    wakeup.task.store(task.id(), Relaxed);
    wakeup.prio.store(prio, Relaxed);
    wakeup.waker.store(raw_smp_processor_id() as u32, Relaxed);
    wakeup.from_ticks.store(from_ticks, Relaxed);
    wakeup.since_ticks.store(counter(), Relaxed);
}

/// `task` goes from one run queue to another. It is on neither, and nobody's to wake, or both are locked. IRQs masked.
pub(super) fn migrated(task: &Task, from: usize, to: usize) {
    if current() != Tracer::WakeupRt {
        return;
    }
    let (from, to) = (WAKEUP.shared(from), WAKEUP.shared(to));
    if from.task.load(Relaxed) != task.id() {
        return;
    }
    from.task.store(0, Relaxed);
    let prio = from.prio.load(Relaxed);
    if to.task.load(Relaxed) == 0 || prio < to.prio.load(Relaxed) {
        to.task.store(task.id(), Relaxed);
        to.prio.store(prio, Relaxed);
        to.waker.store(from.waker.load(Relaxed), Relaxed);
        to.from_ticks.store(from.from_ticks.load(Relaxed), Relaxed);
        to.since_ticks.store(from.since_ticks.load(Relaxed), Relaxed);
    }
}

/// This CPU, whose run queue is locked, switches to `next`: the hook was entered at `now_ticks`. IRQs masked.
pub(super) fn switched(next: &Task, now_ticks: u64) {
    if current() != Tracer::WakeupRt {
        return;
    }
    let wakeup = WAKEUP.shared(raw_smp_processor_id());
    if next.id() == 0 || wakeup.task.load(Relaxed) != next.id() {
        return;
    }
    wakeup.task.store(0, Relaxed);
    // SAFETY: IRQs masked by contract.
    let max = &unsafe { CPU.this_cpu() }.max;
    let since_ticks = wakeup.since_ticks.load(Relaxed);
    let ticks = now_ticks.saturating_sub(since_ticks);
    if since_ticks < wakeup.not_before_ticks.load(Relaxed) || ticks <= max.get() {
        return;
    }
    max.set(ticks);
    snapshot::take(&Found {
        tracer: Tracer::WakeupRt,
        length: ticks,
        section: Section { who: Who { id: next.id(), name: next.name_copy() }, ..Section::NONE },
        prio: next.sched.prio(),
        policy: next.sched.policy(),
        from_ticks: wakeup.from_ticks.load(Relaxed),
        to_ticks: counter(),
        waker: wakeup.waker.load(Relaxed) as usize,
    });
    wakeup.not_before_ticks.store(counter(), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tracer_is_found_by_its_name() {
        for tracer in Tracer::all() {
            assert_eq!(Tracer::named(tracer.name()), Some(tracer));
            assert_eq!(TRACERS[tracer as usize], tracer, "the table is in the order of their numbers");
        }
        assert_eq!(Tracer::named("irqoff"), None);
    }
}
