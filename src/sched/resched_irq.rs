//! The interrupt of the event-driven style: a request to switch, made while interrupts are masked, that nobody
//! will look for (docs/adr/0006).
//!
//! It is the interrupt by which CPUs ask each other ([`crate::smp::ipi`]). Its handler does nothing here; the return from it is the preemption point. It may find that the request has been
//! served meanwhile, by a task that went to sleep: then it was an interrupt for nothing.
//!
//! Context: [`interrupt_this_cpu`]: any. Locks: none.
#![forbid(unsafe_code)]

/// Interrupts this CPU as soon as it lets interrupts in.
#[cfg(target_os = "none")]
pub(super) fn interrupt_this_cpu() {
    crate::drivers::irqchip::send_sgi_self(crate::smp::ipi::Ipi::Reschedule as u32);
}

/// There are no interrupts on a PC.
#[cfg(not(target_os = "none"))]
pub(super) fn interrupt_this_cpu() {}
