//! Which CPU a shared interrupt goes to.
//!
//! A line has a set of CPUs that it may go to, its own or the default one (`irqaffinity=`), and one of them, the lowest
//! that is online, is its target: a controller that offers an interrupt to several CPUs interrupts all of them, for
//! one to find it. If none of the set is online, the line goes to the lowest CPU that is, until one of the set comes
//! back: an interrupt that nobody takes would be worse than one on the wrong CPU. The threads of a line follow it.
//!
//! Private interrupts (below 32) belong to their CPUs; those that every CPU has are enabled as it starts.
//!
//! Context: [`irq_set_affinity`] from any; of what CPUs call that come and go, each says. Locks: LINES, the line's, and
//! the controller's.

use super::action::Line;
use super::line::{self, NR_IRQS};
use super::manage::LINES;
use crate::drivers::irqchip;
use crate::error::{Error, Result};
use crate::percpu::raw_smp_processor_id;
use crate::smp::{self, AtomicCpuMask, CpuMask};
use core::sync::atomic::{AtomicU8, Ordering};

/// What [`irq_set_affinity`] said about each line; the empty set: nothing.
static ASKED: [AtomicCpuMask; NR_IRQS] = [const { AtomicCpuMask::new() }; NR_IRQS];
/// Where each line goes.
static TARGET: [AtomicU8; NR_IRQS] = [const { AtomicU8::new(0) }; NR_IRQS];
/// For lines of which nobody has said anything; the empty set: every CPU.
static DEFAULT: AtomicCpuMask = AtomicCpuMask::new();

/// The CPUs that lines may go to of which nobody says otherwise, from their next request on. Any context.
///
/// # Errors
/// [`Error::BadAffinity`] for the empty set.
pub fn set_default_affinity(cpus: CpuMask) -> Result<()> {
    if cpus.is_empty() {
        return Err(Error::BadAffinity);
    }
    DEFAULT.store(cpus);
    Ok(())
}

/// The CPUs that the line may go to. Any context.
///
/// # Errors
/// [`Error::BadIrq`] for a number there is not.
pub fn irq_affinity(irq: u32) -> Result<CpuMask> {
    let asked = ASKED.get(irq as usize).ok_or(Error::BadIrq { irq })?.load();
    let default = DEFAULT.load();
    Ok(match (asked.is_empty(), default.is_empty()) {
        (false, _) => asked,
        (true, false) => default,
        (true, true) => CpuMask::ALL,
    })
}

/// The CPU that a shared interrupt goes to; none for a private one. Any context.
#[must_use]
pub fn irq_target(irq: u32) -> Option<usize> {
    (irq >= 32).then(|| usize::from(TARGET.get(irq as usize).map_or(0, |cpu| cpu.load(Ordering::Relaxed))))
}

/// Says which CPUs the line may go to; from now on it goes to the lowest of them that is online. A handler that is
/// running is not moved. Any context.
///
/// # Errors
/// [`Error::BadIrq`] for a number there is not and for a private interrupt, [`Error::BadAffinity`] for a set without a
/// CPU that is online.
pub fn irq_set_affinity(irq: u32, cpus: CpuMask) -> Result<()> {
    line::desc(irq)?;
    if irq < 32 {
        return Err(Error::BadIrq { irq });
    }
    let guard = LINES.lock();
    let possible = !(cpus & smp::online()).is_empty();
    if possible {
        ASKED[irq as usize].store(cpus);
        route(irq, choose(cpus, smp::online()));
    }
    guard.unlock_no_resched();
    if possible { Ok(()) } else { Err(Error::BadAffinity) }
}

/// Of the CPUs that are there, the lowest of `cpus`, or if need be of all.
fn choose(cpus: CpuMask, online: CpuMask) -> usize {
    (cpus & online).first().or(online.first()).unwrap_or(0)
}

/// Where an interrupt is to go that is about to be enabled: remembered as its target. LINES is held.
pub(super) fn choose_target(irq: u32) -> usize {
    if irq < 32 {
        return raw_smp_processor_id();
    }
    let cpu = choose(irq_affinity(irq).unwrap_or(CpuMask::ALL), smp::online());
    TARGET[irq as usize].store(cpu as u8, Ordering::Relaxed);
    cpu
}

/// Where the threads of the line run: with its handler.
pub(super) fn thread_cpus(irq: u32) -> CpuMask {
    let asked = irq_affinity(irq).unwrap_or(CpuMask::ALL);
    CpuMask::of(if irq < 32 { raw_smp_processor_id() } else { choose(asked, smp::online()) })
}

/// Sends the line to `cpu`. LINES is held.
fn route(irq: u32, cpu: usize) {
    TARGET[irq as usize].store(cpu as u8, Ordering::Relaxed);
    let Ok(desc) = line::desc(irq) else { return };
    if desc.is_free() {
        // It will be told when it is enabled.
        return;
    }
    // SAFETY: LINES is held: alive while it is there.
    match unsafe { desc.line().as_ref() } {
        Some(line) => line.locked(|line| {
            irqchip::set_target(cpu, irq);
            move_threads(line);
        }),
        None => irqchip::set_target(cpu, irq),
    }
}

/// The threads of `line` see at their next turn that they are to go elsewhere. The line is locked.
fn move_threads(line: &Line) {
    // SAFETY: locked by the caller.
    for action in unsafe { line.actions() } {
        action.moved.store(true, Ordering::Release);
    }
}

/// A CPU starts: enables its private interrupts that every CPU has. On that CPU, IRQs masked.
pub(crate) fn starting() {
    line::enable_every_cpus();
}

/// A CPU ends: the reverse. On that CPU, IRQs masked.
pub(crate) fn dying() {
    line::disable_every_cpus();
}

/// Sends elsewhere what goes to `cpu`, which is not [`smp::online`] any more. What is pending goes along. Any context.
pub(crate) fn migrate_irqs_away(cpu: usize) {
    for_each_shared(|irq, asked| {
        if irq_target(irq) == Some(cpu) {
            let online = smp::online().without(cpu);
            if (asked & online).is_empty() {
                log::warn!("irq {irq}: none of the CPUs {asked} is online; it goes to another one");
            }
            route(irq, choose(asked, online));
        }
    });
}

/// `cpu` is online again: takes what goes elsewhere because none of its CPUs was. Any context.
pub(crate) fn back_online(cpu: usize) {
    for_each_shared(|irq, asked| {
        if asked.contains(cpu) && irq_target(irq).is_some_and(|target| !asked.contains(target)) {
            route(irq, cpu);
        }
    });
}

/// Calls `f` with each shared line that somebody has, and its set, one at a time under LINES.
fn for_each_shared(mut f: impl FnMut(u32, CpuMask)) {
    for irq in 32..NR_IRQS as u32 {
        let guard = LINES.lock();
        if let (Ok(desc), Ok(asked)) = (line::desc(irq), irq_affinity(irq))
            && !desc.is_free()
        {
            f(irq, asked);
        }
        guard.unlock_no_resched();
    }
}
