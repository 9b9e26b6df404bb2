//! Interrupts from one CPU to others: the software-generated ones of the interrupt controller.
//!
//! | | number | its handler |
//! |---|---|---|
//! | [`Ipi::Reschedule`] | 0 | makes a request that another CPU has left into one that this CPU's exits see |
//! | [`Ipi::CallFunction`] | 1 | runs what others have left for this CPU |
//! | [`Ipi::Stop`] | 2 | stops this CPU for good: another one panics |
//! | [`Ipi::Backtrace`] | 3 | says where this CPU is |
//!
//! Everything that was stored before a send is visible to the handler (`dsb ishst` in the controller's driver, and
//! the handler's reads come behind its acknowledgement). An interrupt that is sent twice before it is taken comes
//! once: what is asked for is in memory, not in the number of interrupts.
//!
//! Context: any. Locks: none.
#![forbid(unsafe_code)]

use super::CpuMask;

/// What one CPU can ask another for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Ipi {
    /// Look for a request to switch. (The number that Linux gives it; `preempt_style=event` uses it too.)
    Reschedule = 0,
    /// Run what was left for you.
    CallFunction = 1,
    /// Stop.
    Stop = 2,
    /// Say where you are.
    Backtrace = 3,
}

/// Interrupts every CPU of `cpus`, the calling one included if it is among them. All of them are online, or about to
/// be.
#[cfg(target_os = "none")]
pub fn send(cpus: CpuMask, ipi: Ipi) {
    if !cpus.is_empty() {
        crate::trace::ipi_raise(cpus.bits(), ipi);
        crate::drivers::irqchip::send_sgi_mask(cpus.bits(), ipi as u32);
    }
}

/// Has `cpu` look whether it is to switch: its current task has been told (`TIF_NEED_RESCHED`).
#[cfg(target_os = "none")]
#[inline]
pub fn send_reschedule(cpu: usize) {
    crate::trace::ipi_raise_reschedule(cpu);
    crate::drivers::irqchip::send_sgi(cpu, Ipi::Reschedule as u32);
}

/// Has `cpu`, which may be this one, run what was left for it: cross-CPU calls, wake-ups.
#[cfg(target_os = "none")]
#[inline]
pub(crate) fn send_call(cpu: usize) {
    crate::trace::ipi_raise_call(cpu);
    crate::drivers::irqchip::send_sgi(cpu, Ipi::CallFunction as u32);
}

/// There are no interrupts on a PC.
#[cfg(not(target_os = "none"))]
pub(crate) fn send_call(_: usize) {}

/// There are no interrupts on a PC.
#[cfg(not(target_os = "none"))]
pub fn send(_: CpuMask, _: Ipi) {}

/// There are no interrupts on a PC.
#[cfg(not(target_os = "none"))]
pub fn send_reschedule(_: usize) {}

#[cfg(target_os = "none")]
pub(crate) use on_target::init;

#[cfg(target_os = "none")]
mod on_target {
    use super::Ipi;
    use crate::irq::Handler;
    use crate::sched::core as sched;
    use arch::patch::{EVENT_STYLE, SMP_LOCKS, static_branch};

    /// Takes the interrupts into use, those that this boot needs. Once, on the boot CPU; a handler is everybody's.
    pub(crate) fn init() {
        let smp = static_branch::<SMP_LOCKS>();
        let request = |ipi: Ipi, handler: Handler| {
            if let Err(error) = crate::irq::request(ipi as u32, handler, 0) {
                panic!("the interrupt {} for {ipi:?}: {error}", ipi as u32);
            }
        };
        if smp {
            request(Ipi::Reschedule, |_| sched::scheduler_ipi());
            request(Ipi::CallFunction, call_function);
            request(Ipi::Stop, |_| crate::smp::stop::stop_this_cpu());
            request(Ipi::Backtrace, backtrace);
        } else if static_branch::<EVENT_STYLE>() {
            // Its return is the preemption point, and the request is folded already.
            request(Ipi::Reschedule, |_| {});
        }
    }

    /// Cross-CPU calls and the wake list.
    fn call_function(_: usize) {
        crate::smp::call::run_this_cpu();
        crate::sched::wake_list::run_pending();
        crate::sched::rebalance::run_pending();
    }

    /// Where this CPU is, for a watcher on another.
    fn backtrace(_: usize) {
        crate::watchdog::write_down();
    }
}
