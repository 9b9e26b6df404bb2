//! The AArch64 CPU and nothing but the CPU.
//!
//! The kernel knows this crate as `arch`; `arch/README.md` states the API function by function, and
//! `arch/host` has the same one on a PC. Everything privileged is here: registers, frames, the vectors,
//! the switch, masking, page tables, the interrupt controllers. Policy is not.
#![no_std]
#![cfg(target_os = "none")]

#[macro_use]
pub mod hooks;

pub mod backtrace;
pub mod boot;
pub mod bounds;
pub mod cache;
pub mod call_if;
pub mod context;
pub mod cpu;
pub mod exception;
pub mod frame;
pub mod gic;
pub mod irq_stack;
pub mod irqflags;
pub mod mmu;
mod offsets;
pub mod patch;
pub mod percpu;
pub mod pmu;
pub mod psci;
pub mod secondary;
pub mod semihost;
mod space;
pub mod spin_table;
pub mod thread_info;
pub mod ticket;
pub mod timer;
pub mod upcall;

pub use offsets::{HARDIRQ_OFFSET, SOFTIRQ_OFFSET};
