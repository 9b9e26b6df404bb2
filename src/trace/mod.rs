//! Tracing: what each CPU did last, as events with Linux's names and fields.
//!
//! | file | what |
//! |---|---|
//! | [`kind`], [`event`], [`stamp`] | which events there are; one of them; the task and the context around it |
//! | [`ring`] | where they are stored, and how they are read |
//! | [`control`] | switching on and off, choosing events |
//! | [`names`] | what tasks are called, also those that have ended |
//! | [`text`], [`latency_text`], [`show`] | ftrace's text |
//! | [`tracer`], [`snapshot`] | the longest of a kind, and what happened meanwhile |
//! | `hooks` | what the kernel calls |
//! | [`sections`] | the changes of the mask and of the preempt count |
//!
//! Off, a hook is one `nop` (`arch::call_if`), and where not even that is to be paid it stands where there is a site already:
//! the entry of an interrupt (`irq::line`), the sites of preempt-stats ([`sections`]), the switch. On, a hook stores a record
//! into this CPU's ring and does nothing else: no lock, no allocation, no timer, no wake-up, nothing that could schedule. The
//! rings, the panic message and the watchdog's read them (docs/tracing.md).
//!
//! Context: hooks: any. Locks: none in the hooks.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "what a tracer has found is read where nobody writes it")]
pub mod control;
pub mod event;
mod hooks;
pub mod kind;
pub mod latency_text;
pub mod names;
#[expect(unsafe_code, reason = "the rings' memory, and per-CPU data in a section of its own")]
pub mod ring;
#[expect(unsafe_code, reason = "per-CPU data in a section of its own, with interrupts masked")]
pub mod sections;
pub mod show;
#[expect(unsafe_code, reason = "per-CPU data in a section of its own, with interrupts masked")]
pub mod snapshot;
pub mod stamp;
pub mod text;
#[expect(unsafe_code, reason = "per-CPU data in a section of its own, with interrupts masked")]
pub mod tracer;

use core::sync::atomic::{AtomicU32, Ordering};
use event::KindSet;
pub(crate) use hooks::*;
pub use ring::{Entry, for_each_last, for_each_last_of};

/// The events that are recorded now: [`KindSet::bits`]. `control` writes it.
static WANTED: AtomicU32 = AtomicU32::new(0);

/// Whether one of these is recorded now.
#[inline(always)]
fn wants(kinds: KindSet) -> bool {
    KindSet::from_bits(WANTED.load(Ordering::Relaxed)).meets(kinds)
}
