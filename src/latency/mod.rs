//! The latency demonstration: Senoner's `latencytest` (M1), in its first form.
//!
//! A task that must be on time wakes on a grid, as a program that plays sound in fragments does, while loads
//! run long kernel paths beside it. The distance from the programmed time to the task's first instruction
//! is the latency; a fragment that is not done when the next one is due is a drop-out. Where the kernel can
//! be preempted the loads make little difference; booted with `preempt=none` the same run shows what they
//! can do. How to read the figures: docs/latency.md.
//!
//! | module | what |
//! |---|---|
//! | [`params`] | what is asked for |
//! | [`load`], `storms` | what runs beside the measurement |
//! | [`run`] | the measurement |
//! | [`conditions`] | clock, temperature and throttling around it |
//! | [`histogram`], [`draw`] | counting, and drawing what was counted; pure |
//! | [`blame`], [`blame_text`] | why a wake-up was late, from the trace; pure |
//! | `witness` | watches a run, and keeps what is to be explained |
//! | `report`, `session` | tables and result lines; the order of a demonstration |
//!
//! Context: threads. One run at a time; a second one waits.
#![allow(
    clippy::result_large_err,
    reason = "an error is a message of fixed size for a person; nothing here is hot"
)]
#![forbid(unsafe_code)]

pub mod blame;
pub mod blame_text;
pub mod conditions;
pub mod draw;
pub mod histogram;
#[cfg(target_os = "none")]
pub mod load;
pub mod params;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
pub mod run;
#[cfg(target_os = "none")]
mod session;
#[cfg(target_os = "none")]
mod storms;
#[cfg(target_os = "none")]
pub mod witness;

#[cfg(target_os = "none")]
pub use session::{command, demonstrate, with_last};

/// Whoever measures holds it, whatever the command: two at once would measure each other.
#[cfg(target_os = "none")]
pub(crate) static ONE_AT_A_TIME: crate::locking::Mutex<()> = crate::locking::Mutex::new(());

/// The conditions before a measurement, where somebody knows them; see [`conditions`].
#[cfg(target_os = "none")]
pub(crate) fn conditions_before() -> Option<conditions::Conditions> {
    conditions::now(conditions::When::Before)
}

/// The conditions behind a measurement.
#[cfg(target_os = "none")]
pub(crate) fn conditions_behind() -> Option<conditions::Conditions> {
    conditions::now(conditions::When::Behind)
}
