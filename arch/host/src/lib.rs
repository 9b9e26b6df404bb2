//! The arch API on a PC, for tests and simulation.
//!
//! The same names and signatures as `arch/aarch64`, stated in `arch/README.md`. Each test thread is a CPU of
//! its own: the preempt word, the interrupt mask and the counters are thread-local. What cannot exist on a
//! PC — a switch, an interrupt controller — says so if it is reached.

mod bounds;
pub mod call_if;
pub mod context;
pub mod cpu;
pub mod irq_stack;
pub mod irqflags;
pub mod patch;
pub mod percpu;
pub mod pmu;
mod sync;
pub mod thread_info;
pub mod ticket;
pub mod timer;

/// One level of hard interrupt in the count (bits 19:16).
pub const HARDIRQ_OFFSET: u32 = 1 << 16;
/// One softirq being served (bit 8 of the count).
pub const SOFTIRQ_OFFSET: u32 = 1 << 8;
