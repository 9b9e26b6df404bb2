//! The recorder: what the hooks call, and the statistics of this CPU.
//!
//! Invariants: `STATS` is touched with interrupts masked by means that are no hooks themselves, and by nothing that
//! could reach a hook; so the recorder never interrupts itself, and a reader sees whole values. The recorder takes no
//! lock, allocates nothing, prints nothing, and looks at the running task's number and name only.
//!
//! Every hook says what the state *will* be behind its instruction. Which sections begin and end follows from that and
//! from what was known before (`section.rs`). The idle task's count of 1 is its zero: it is never preempted and need not
//! be.
//!
//! Context: any that a hook may stand in: thread, hard interrupt, inside the scheduler with the run queue locked.
//! Locks: none.

use super::finder::{Finder, TRACE_MAX, Trace};
use super::ledger::{ABSURD_CYCLES, Ledger};
use super::section::{Kind, Place, Section, Tracker, Who};
use crate::per_cpu;
use crate::smp::AtomicCpuMask;
#[cfg(target_os = "none")]
use crate::trace::{sections, tracer};
use arch::irqflags;
use core::cell::{Cell, UnsafeCell};

/// All that is known of a CPU.
#[derive(Clone, Debug)]
pub struct CpuStats {
    /// While this is false hooks change nothing: the sites are being switched.
    active: bool,
    /// The cycle counter when counting began.
    pub since_cycles: u64,
    /// The cycle counter when it ended, or when this copy was made.
    pub until_cycles: u64,
    /// What is closed, as the last hook said.
    kind: Kind,
    both: Tracker,
    irqs: Tracker,
    preempt: Tracker,
    /// Sections in which interrupts were masked or preemption was off.
    pub ledger: Ledger,
    /// The longest time that interrupts were masked.
    pub worst_irqs: Section,
    /// The longest time that preemption was off, whatever the mask.
    pub worst_preempt: Section,
    /// Requests, and how long they waited.
    pub finder: Finder,
}

impl CpuStats {
    const fn new() -> Self {
        Self {
            active: false,
            since_cycles: 0,
            until_cycles: 0,
            kind: Kind::NONE,
            both: Tracker::new(),
            irqs: Tracker::new(),
            preempt: Tracker::new(),
            ledger: Ledger::new(),
            worst_irqs: Section::NONE,
            worst_preempt: Section::NONE,
            finder: Finder::new(),
        }
    }

    /// Forgets everything but the budget, and counts from `now_cycles`.
    pub(super) fn reset(&mut self, now_cycles: u64) {
        self.ledger.reset();
        self.kind = Kind::NONE;
        (self.both, self.irqs, self.preempt) = (Tracker::new(), Tracker::new(), Tracker::new());
        (self.worst_irqs, self.worst_preempt) = (Section::NONE, Section::NONE);
        self.finder = Finder::new();
        (self.since_cycles, self.until_cycles) = (now_cycles, now_cycles);
    }

    pub(super) fn start(&mut self, now_cycles: u64) {
        self.reset(now_cycles);
        self.active = true;
    }

    pub(super) fn stop(&mut self, now_cycles: u64) {
        if core::mem::replace(&mut self.active, false) {
            self.until_cycles = now_cycles;
        }
    }

    /// How long it has been recording.
    #[must_use]
    pub fn elapsed_cycles(&self) -> u64 {
        self.until_cycles.wrapping_sub(self.since_cycles)
    }

    /// Adds what another CPU has recorded in its time: from then on these are the figures of both.
    pub fn merge(&mut self, other: &Self) {
        self.until_cycles = self.until_cycles.wrapping_add(other.elapsed_cycles());
        self.ledger.merge(&other.ledger);
        worse_of(&mut self.worst_irqs, &other.worst_irqs);
        worse_of(&mut self.worst_preempt, &other.worst_preempt);
        self.finder.merge(&other.finder);
    }

    /// Whether sections are timed.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// From the instruction at `place` on, `kind` is closed. Returns whether there is something to report.
    #[inline(always)]
    fn step(&mut self, now: u64, place: impl FnOnce() -> Place, kind: Kind, who: impl Fn() -> Who) -> bool {
        if core::mem::replace(&mut self.kind, kind) == kind {
            return false;
        }
        let place = place();
        if let Some(cycles) = self.irqs.step(now, place, kind.only(Kind::IRQS), &who)
            && cycles > self.worst_irqs.cycles
        {
            worse(&mut self.worst_irqs, self.irqs.ended(cycles, place));
        }
        if let Some(cycles) = self.preempt.step(now, place, kind.only(Kind::PREEMPT), &who)
            && cycles > self.worst_preempt.cycles
        {
            worse(&mut self.worst_preempt, self.preempt.ended(cycles, place));
        }
        match self.both.step(now, place, kind, &who) {
            Some(cycles) => self.ledger.add(cycles, || self.both.ended(cycles, place)),
            None => false,
        }
    }
}

fn worse_of(worst: &mut Section, other: &Section) {
    if other.cycles > worst.cycles {
        *worst = *other;
    }
}

/// Takes the place of the worst so far, unless its length is that of a counter that was set.
#[cold]
#[inline(never)]
fn worse(worst: &mut Section, section: Section) {
    if section.cycles < ABSURD_CYCLES {
        *worst = section;
    }
}

struct Cpu {
    stats: UnsafeCell<CpuStats>,
    /// Cycles that the hooks have used; hooks.S adds to it behind the recorder's back.
    hook_cycles: Cell<u64>,
}

per_cpu! {
    static STATS: Cpu = Cpu { stats: UnsafeCell::new(CpuStats::new()), hook_cycles: Cell::new(0) };
}

/// The CPUs that have sections over the budget which nobody has been told of.
pub(super) static REPORTS: AtomicCpuMask = AtomicCpuMask::new();

/// Runs `f` on this CPU's statistics. `f` computes and nothing else: no lock, no log, no allocation.
pub(super) fn with_stats<R>(f: impl FnOnce(&mut CpuStats) -> R) -> R {
    let flags = irqflags::raw_local_irq_save();
    // SAFETY: IRQs masked, so this CPU's, and nobody else's: the recorder does not run meanwhile, because `f` reaches no
    // hook, and the masking itself is none.
    let result = f(unsafe { &mut *STATS.this_cpu().stats.get() });
    irqflags::raw_local_irq_restore(flags);
    result
}

/// Takes cycles off the sections of this CPU: those of a trace hook that is none of ours. IRQs masked.
pub(crate) fn add_hook_cycles(cycles: u64) {
    // SAFETY: IRQs masked by the caller.
    let hook_cycles = &unsafe { STATS.this_cpu() }.hook_cycles;
    hook_cycles.set(hook_cycles.get().wrapping_add(cycles));
}

/// What the hooks call (arch `hooks.rs`, `upcall.rs`). Returns where hooks.S adds the cycles of the detour.
///
/// # Safety
/// Called by hooks.S, IRQs masked, in a context that has a running task.
#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
unsafe extern "C" fn preempt_stats_hook(
    site: u64,
    daif: u64,
    count: u32,
    now: u64,
    fp: u64,
    event: u32,
    pc: u64,
) -> *const Cell<u64> {
    use arch::hooks::HookEvent;

    // SAFETY: IRQs masked by contract.
    let cpu = unsafe { STATS.this_cpu() };
    // SAFETY: as in `with_stats`: nothing below reaches a hook.
    let stats = unsafe { &mut *cpu.stats.get() };
    if sections::are_wanted() || tracer::times_sections() {
        let now = now.wrapping_sub(cpu.hook_cycles.get());
        traced(HookEvent::from_number(event), site, daif, count, now, fp);
    }
    if stats.active {
        // The CPU's own cycles: what the instruction would see if there were no hooks.
        let now = now.wrapping_sub(cpu.hook_cycles.get());
        let task = crate::task::current();
        let who = || Who { id: task.id(), name: task.name_copy() };
        let idle_count = u32::from(task.sched.class() == crate::sched::Class::Idle);
        let event = HookEvent::from_number(event);
        let kind = match event {
            HookEvent::IdleEnter => Kind::NONE,
            _ => Kind::of(irqflags::irqs_disabled_flags(daif), count > idle_count),
        };
        match event {
            HookEvent::Request => stats.finder.request(now),
            HookEvent::Served => stats.finder.served(now, who),
            _ => {
                if stats.step(now, || Place { site, caller: caller(event, fp) }, kind, who) {
                    REPORTS.set(crate::percpu::raw_smp_processor_id());
                    crate::klog::ask_for_drain();
                }
                if event == HookEvent::IrqExit && stats.finder.wants_trace(now) {
                    stats.finder.set_trace(now, trace(pc, fp));
                }
            }
        }
    }
    &raw const cpu.hook_cycles
}

/// What the trace makes of a hook.
#[cfg(target_os = "none")]
fn traced(event: arch::hooks::HookEvent, site: u64, daif: u64, count: u32, now: u64, fp: u64) {
    use arch::hooks::HookEvent;

    if matches!(event, HookEvent::Request | HookEvent::Served) {
        return;
    }
    let at_ticks = arch::timer::counter();
    let task = crate::task::current();
    let open_count = u32::from(task.sched.class() == crate::sched::Class::Idle);
    let caller = caller(event, fp);
    if !matches!(event, HookEvent::IdleEnter | HookEvent::IdleLeave) {
        sections::changed(&sections::Change { site, caller, daif, count, open_count });
    } else {
        sections::unchanged();
    }
    // Behind the record of its end, which is in the window.
    if tracer::times_sections() {
        let kind = match event {
            HookEvent::IdleEnter => Kind::NONE,
            _ => Kind::of(irqflags::irqs_disabled_flags(daif), count > open_count),
        };
        let who = || Who { id: task.id(), name: task.name_copy() };
        tracer::section((now, at_ticks), Place { site, caller }, kind, who);
    }
}

/// The return address of the function that the hook is in.
#[cfg(target_os = "none")]
#[inline(always)]
fn caller(event: arch::hooks::HookEvent, fp: u64) -> u64 {
    use arch::hooks::HookEvent;

    // A task's first function has no caller. At the two ends of an interrupt x29 is the interrupted code's.
    if fp == 0 || !matches!(event, HookEvent::State | HookEvent::IdleEnter | HookEvent::IdleLeave) {
        return 0;
    }
    // SAFETY: the kernel is built with frame pointers, so in Rust code x29 points at a live frame record: the function's
    // own, or before its prologue the caller's, {previous x29, return address}.
    unsafe { core::ptr::with_exposed_provenance::<u64>(fp as usize).add(1).read_volatile() }
}

/// Where the interrupted code was.
#[cfg(target_os = "none")]
#[cold]
#[inline(never)]
fn trace(pc: u64, fp: u64) -> Trace {
    let mut trace = [0; TRACE_MAX];
    trace[0] = pc;
    let mut at = 1;
    arch::backtrace::walk_interrupted(fp, TRACE_MAX - 1, |address| {
        if let Some(place) = trace.get_mut(at) {
            *place = address;
        }
        at += 1;
    });
    trace
}
