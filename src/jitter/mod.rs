//! `jitter`: what still disturbs a task that has a CPU for itself.
//!
//! A pinned real-time task does nothing but read the counter, over and over. Two readings lie a few instructions apart
//! unless something came in between; each such gap is recorded with what the CPU has counted meanwhile: interrupts by
//! line, ticks, softirqs, switches. What an isolated CPU promises (`isolcpus=`, `nohz_full=`) can be seen here.
//!
//! A gap in which the CPU has counted nothing was not made by this kernel: an emulator that stood still, a hypervisor, the
//! firmware, a memory bus. QEMU with `-icount` runs one CPU after the other, so while others work such gaps are its own.
//!
//! | module | what |
//! |---|---|
//! | [`params`] | what is asked for; pure |
//! | [`gaps`] | counting gaps by cause, and the worst of them; pure |
//! | `run` | the measurement |
//! | `report` | tables and result lines |
//!
//! Context: threads.
#![allow(
    clippy::result_large_err,
    reason = "an error is a message of fixed size for a person; nothing here is hot"
)]
#![forbid(unsafe_code)]

pub mod gaps;
pub mod params;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
pub mod run;

#[cfg(target_os = "none")]
pub use report::command;
