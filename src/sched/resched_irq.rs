//! The interrupt of the event-driven style: a request to switch, made while interrupts are masked, that nobody
//! will look for (docs/adr/0006).
//!
//! Its handler does nothing; the return from it is the preemption point. It may find that the request has been
//! served meanwhile, by a task that went to sleep: then it was an interrupt for nothing.
//!
//! Context: [`interrupt_this_cpu`]: any. Locks: none.
#![forbid(unsafe_code)]

/// The software-generated interrupt: the number that Linux gives to rescheduling.
#[cfg(target_os = "none")]
const SGI_RESCHEDULE: u32 = 0;

/// Interrupts this CPU as soon as it lets interrupts in.
#[cfg(target_os = "none")]
pub(super) fn interrupt_this_cpu() {
    crate::drivers::irqchip::send_sgi_self(SGI_RESCHEDULE);
}

/// There are no interrupts on a PC.
#[cfg(not(target_os = "none"))]
pub(super) fn interrupt_this_cpu() {}

/// Takes the interrupt into use, if this boot has the style. Once, at boot.
#[cfg(target_os = "none")]
pub(crate) fn init() {
    use arch::patch::{Key, is_enabled};
    if is_enabled(Key::EventStyle)
        && let Err(error) = crate::irq::request(SGI_RESCHEDULE, |_| {}, 0)
    {
        panic!("preempt_style=event needs the interrupt {SGI_RESCHEDULE}: {error}");
    }
}
