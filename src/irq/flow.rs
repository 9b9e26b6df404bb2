//! The flow of one interrupt of a requested line: hold it back if it is one-shot, ask every driver on it, wake
//! the threads, let it through again.
//!
//! Invariants: a one-shot line is not let through before every thread that it woke is done; a thread is woken
//! once until it has begun. **Bound:** one interrupt calls each handler of the line once.
//!
//! With more than one CPU the controller sees to it that an interrupt is handled by one at a time: what it has given to
//! a CPU it gives to nobody else before that CPU has ended it. The line's lock keeps the handler apart from the threads
//! and from those who disable, move and free the line. It is not held while drivers are called.
//!
//! Context: [`handle_line`] and [`handle_line_smp`] in hard interrupts, as the line's direct handler; [`finish_oneshot`]
//! in the threads. Lock: the line's; the interrupt controller is told inside.

use super::IrqReturn;
use super::action::{Action, IrqFlags, Line, raise_to};
use crate::drivers::irqchip;
use crate::percpu::raw_smp_processor_id;
use crate::sched::core as sched;
use crate::time;
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use arch::timer::counter;
use core::sync::atomic::Ordering;

/// The direct handler of a requested line on this machine; `manage` enters it with the address of its [`Line`].
pub(super) fn handler() -> super::Handler {
    if static_branch::<SMP_LOCKS>() { handle_line_smp } else { handle_line }
}

fn handle_line(line: usize) {
    handle::<false>(line);
}

fn handle_line_smp(line: usize) {
    handle::<true>(line);
}

#[inline(always)]
fn handle<const SMP: bool>(line: usize) {
    // SAFETY: `manage` put the address there. It frees the line when the controller gives it to nobody any more, and
    // nobody has it: so not before this has returned.
    let line = unsafe { &*core::ptr::with_exposed_provenance::<Line>(line) };
    line.lock::<SMP>();
    if line.depth.get() > 0 {
        taken_while_disabled(line);
        // SAFETY: taken above.
        return unsafe { line.unlock::<SMP>() };
    }
    let oneshot = line.flags.contains(IrqFlags::ONESHOT);
    if oneshot {
        irqchip::mask(raw_smp_processor_id(), line.irq);
        line.masked.set(true);
    }
    line.in_progress.store(true, Ordering::Relaxed);
    // SAFETY: taken above.
    unsafe { line.unlock::<SMP>() };
    let answer = ask_all::<SMP>(line);
    line.lock::<SMP>();
    line.in_progress.store(false, Ordering::Relaxed);
    if line.spurious.note(answer, time::now_ns) {
        shut_off(line);
    } else if oneshot && line.threads_oneshot.get() == 0 {
        let_through(line);
    }
    // SAFETY: taken above.
    unsafe { line.unlock::<SMP>() };
}

/// Calls the handlers of all actions. What they say together: a handler that handled outweighs one that woke.
#[inline(always)]
fn ask_all<const SMP: bool>(line: &Line) -> IrqReturn {
    let mut answer = IrqReturn::None;
    // SAFETY: the line is in progress; a handler that opens IRQs is found below.
    for action in unsafe { line.actions() } {
        let start = counter();
        let said = action.primary.as_ref().map_or(IrqReturn::WakeThread, |primary| primary(line.irq));
        if !irqflags::irqs_disabled() {
            left_open(action);
        }
        raise_to(&action.longest, counter().wrapping_sub(start));
        match said {
            IrqReturn::None => {}
            IrqReturn::Handled => answer = IrqReturn::Handled,
            IrqReturn::WakeThread => {
                wake_thread::<SMP>(line, action);
                if answer == IrqReturn::None {
                    answer = IrqReturn::WakeThread;
                }
            }
        }
    }
    answer
}

#[inline(always)]
fn wake_thread<const SMP: bool>(line: &Line, action: &Action) {
    let Some(thread) = &action.thread else { return no_thread(action) };
    line.lock::<SMP>();
    let woken = if SMP {
        // A thread that takes this note sees what the handler did before.
        action.run.swap(true, Ordering::AcqRel)
    } else {
        let woken = action.run.load(Ordering::Relaxed);
        action.run.store(true, Ordering::Relaxed);
        woken
    };
    if !woken {
        action.woken_at.store(counter(), Ordering::Relaxed);
        line.threads_oneshot.set(line.threads_oneshot.get() | action.thread_mask.get());
        line.threads_active.set(line.threads_active.get() + 1);
    }
    // SAFETY: taken above.
    unsafe { line.unlock::<SMP>() };
    if !woken {
        sched::wake_up_process(thread);
    }
}

/// The thread of `action` is done with what it was woken for; the last one lets the line through. Thread context.
pub(super) fn finish_oneshot(line: &Line, action: &Action) {
    let flags = irqflags::local_irq_save();
    line.locked(|line| {
        // Woken again meanwhile, by another action's interrupt: then it stays held back until that is done.
        if !action.run.load(Ordering::Relaxed) {
            line.threads_oneshot.set(line.threads_oneshot.get() & !action.thread_mask.get());
            if line.threads_oneshot.get() == 0 && line.masked.get() {
                let_through(line);
            }
        }
        line.threads_active.set(line.threads_active.get() - 1);
    });
    irqflags::local_irq_restore(flags);
}

/// The line is locked.
fn let_through(line: &Line) {
    line.masked.set(false);
    if line.depth.get() == 0 {
        irqchip::unmask(raw_smp_processor_id(), line.irq);
    }
}

#[cold]
fn taken_while_disabled(line: &Line) {
    irqchip::mask(raw_smp_processor_id(), line.irq);
    line.pending.set(true);
}

#[cold]
fn shut_off(line: &Line) {
    line.depth.set(line.depth.get() + 1);
    line.stuck.set(true);
    irqchip::mask(raw_smp_processor_id(), line.irq);
    log::error!("irq {}: nobody handles it; the line is disabled. Its handlers:", line.irq);
    // SAFETY: the line is locked.
    for action in unsafe { line.actions() } {
        log::error!("irq {}:   {}", line.irq, action.name);
    }
}

#[cold]
fn left_open(action: &Action) {
    irqflags::local_irq_disable();
    if cfg!(debug_assertions) {
        panic!(
            "irq {}: the handler of {} returned with IRQs open; it must not open them",
            action.irq, action.name
        );
    }
    log::error!(
        "irq {}: the handler of {} returned with IRQs open; they are masked again",
        action.irq,
        action.name
    );
}

#[cold]
fn no_thread(action: &Action) {
    log::error!("irq {}: the handler of {} wants a thread woken, and has none", action.irq, action.name);
}
