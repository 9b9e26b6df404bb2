//! `cyclictest`: wake-ups measured as Linux's tool of this name does, with its options and its output.
//!
//! Threads sleep until absolute times, each on a grid of its own; how late one wakes is its latency. A thread that is later
//! than a whole interval goes on with the next point in the future, where the `latency` command measures the points that
//! were missed too. Scripts that draw what Linux's tool prints draw this as well.
//!
//! | module | what |
//! |---|---|
//! | [`options`] | what is asked for; pure |
//! | [`thread`] | what one thread has found; pure |
//! | [`print`] | the output; pure |
//! | `run` | the threads |
//! | `session` | the command |
//!
//! Context: threads.
#![allow(
    clippy::result_large_err,
    reason = "an error is a message of fixed size for a person; nothing here is hot"
)]
#![forbid(unsafe_code)]

pub mod options;
pub mod print;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
mod session;
pub mod thread;

#[cfg(target_os = "none")]
pub use run::run;
#[cfg(target_os = "none")]
pub(crate) use session::command;
