//! The flow of one interrupt of a requested line: hold it back if it is one-shot, ask every driver on it, wake
//! the threads, let it through again.
//!
//! Invariants: a one-shot line is not let through before every thread that it woke is done; a thread is woken
//! once until it has begun. **Bound:** one interrupt calls each handler of the line once.
//!
//! Context: [`handle_line`] in hard interrupts, as the line's direct handler; [`finish_oneshot`] in the threads.
//! Locks: none; IRQs are masked.

use super::IrqReturn;
use super::action::{Action, IrqFlags, Line, raise_to};
use crate::drivers::irqchip;
use crate::percpu::raw_smp_processor_id;
use crate::sched::core as sched;
use crate::time;
use arch::irqflags;
use arch::timer::counter;

/// The direct handler of a requested line; `line` is the address of its [`Line`].
pub(super) fn handle_line(line: usize) {
    // SAFETY: `manage` put the address there, and takes it away, with IRQs masked, before the line goes.
    let line = unsafe { &*core::ptr::with_exposed_provenance::<Line>(line) };
    if line.depth.get() > 0 {
        return taken_while_disabled(line);
    }
    let oneshot = line.flags.contains(IrqFlags::ONESHOT);
    if oneshot {
        irqchip::mask(raw_smp_processor_id(), line.irq);
        line.masked.set(true);
    }
    line.in_progress.set(true);
    let answer = ask_all(line);
    line.in_progress.set(false);
    if line.spurious.note(answer, time::now_ns) {
        shut_off(line);
    } else if oneshot && line.threads_oneshot.get() == 0 {
        let_through(line);
    }
}

/// Calls the handlers of all actions. What they say together: a handler that handled outweighs one that woke.
fn ask_all(line: &Line) -> IrqReturn {
    let mut answer = IrqReturn::None;
    // SAFETY: hard interrupt, IRQs masked; a handler that opens them is found below.
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
                wake_thread(line, action);
                if answer == IrqReturn::None {
                    answer = IrqReturn::WakeThread;
                }
            }
        }
    }
    answer
}

fn wake_thread(line: &Line, action: &Action) {
    let Some(thread) = &action.thread else { return no_thread(action) };
    if action.run.replace(true) {
        return;
    }
    action.woken_at.set(counter());
    line.threads_oneshot.set(line.threads_oneshot.get() | action.thread_mask.get());
    line.threads_active.set(line.threads_active.get() + 1);
    sched::wake_up_process(thread);
}

/// The thread of `action` is done with what it was woken for; the last one lets the line through. Thread context.
pub(super) fn finish_oneshot(line: &Line, action: &Action) {
    let flags = irqflags::local_irq_save();
    // Woken again meanwhile, by another action's interrupt: then it stays held back until that is done.
    if !action.run.get() {
        line.threads_oneshot.set(line.threads_oneshot.get() & !action.thread_mask.get());
        if line.threads_oneshot.get() == 0 && line.masked.get() {
            let_through(line);
        }
    }
    line.threads_active.set(line.threads_active.get() - 1);
    irqflags::local_irq_restore(flags);
}

/// IRQs masked.
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
    // SAFETY: hard interrupt, IRQs masked.
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
