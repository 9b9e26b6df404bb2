//! Interrupts: hard ones, from the controller's number to the handler, and what follows them.
//!
//! | file | what |
//! |---|---|
//! | `line` | the table of lines, where vectors.S arrives; direct handlers |
//! | `action`, `manage` | what drivers register; requesting, sharing, disabling, freeing |
//! | `affinity` | which CPU a line goes to; what happens when a CPU comes and goes |
//! | `flow`, `thread` | the course of one interrupt; the threads that it wakes |
//! | `spurious` | lines that fire and nobody wants |
//! | [`info`] | what the shell shows |
//! | [`softirq`], [`tasklet`] | what runs behind the handlers with interrupts open |

use alloc::boxed::Box;

#[cfg(target_os = "none")]
mod action;
#[cfg(target_os = "none")]
mod affinity;
#[cfg(target_os = "none")]
mod flow;
#[cfg(target_os = "none")]
pub mod info;
#[cfg(target_os = "none")]
mod line;
#[cfg(target_os = "none")]
mod manage;
pub mod softirq;
mod spurious;
pub mod tasklet;
#[cfg(target_os = "none")]
mod thread;

#[cfg(target_os = "none")]
pub use action::IrqFlags;
#[cfg(target_os = "none")]
pub(crate) use affinity::{back_online, dying, migrate_irqs_away, starting};
#[cfg(target_os = "none")]
pub use affinity::{irq_affinity, irq_set_affinity, irq_target, set_default_affinity};
#[cfg(target_os = "none")]
pub use line::{
    Handler, NR_IRQS, count_on, free, request, request_percpu, spurious_interrupts, time_handlers,
};
#[cfg(target_os = "none")]
pub use manage::force_threads;
#[cfg(target_os = "none")]
pub use manage::{
    ActionId, disable_irq, disable_irq_nosync, enable_irq, free_irq, request_irq, request_threaded_irq,
    synchronize_irq,
};
pub use spurious::{UNHANDLED_MAX, WINDOW};
#[cfg(target_os = "none")]
pub use thread::PRIORITY as THREAD_PRIORITY;

/// What a handler found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqReturn {
    /// It was not this device.
    None,
    /// It was, and it is done.
    Handled,
    /// It was; the action's thread does the rest.
    WakeThread,
}

/// A driver's function, called with the interrupt's number. In hard-interrupt context it acknowledges, takes a
/// time, wakes, returns, with IRQs masked; in a thread it may sleep.
pub type IrqHandler = Box<dyn Fn(u32) -> IrqReturn + Send + Sync>;
