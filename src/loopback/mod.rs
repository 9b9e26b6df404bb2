//! `loopback`: an edge at an output pin, over a wire into an input pin, as an interrupt to a task, and back as an edge.
//!
//! The one measurement of latency that something outside of the CPU takes part in. A task drives the output high; the
//! wire brings the edge to the input, whose interrupt notes the time and wakes the task, which drives the output low. Each
//! part is counted in cycles of one CPU: the pin's interrupt is sent to the CPU of the task, and the CPU is kept out of
//! WFI, in which the counter would stand still.
//!
//! Before anything is measured the wire is looked for: the output is driven against a pull of the input in both
//! directions, and the input has to follow.
//!
//! | module | what |
//! |---|---|
//! | [`params`] | what is asked for |
//! | [`wire`] | whether there is a wire, and one round over it; for any pins, also those of a test |
//! | `run` | the measurement and the command |
//!
//! Context: threads.
#![forbid(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "an error is a message of fixed size for a person; nothing here is hot"
)]

pub mod params;
#[cfg(target_os = "none")]
mod run;
pub mod wire;

#[cfg(target_os = "none")]
pub(crate) use run::command;
