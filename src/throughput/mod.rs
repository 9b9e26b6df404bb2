//! Throughput: how much gets done, where the latency demonstration asks how late it comes.
//!
//! Two jobs whose work is fixed beforehand, so that the time they take can be compared between preemption models, as
//! Love's first table does. `dbench`: many clients do small operations on a table they share, as those of a file server
//! do. `hackbench`: groups in which every sender writes to every receiver.
//!
//! | module | what |
//! |---|---|
//! | [`params`] | what is asked for; pure |
//! | [`table`] | what the clients of `dbench` share, and their operations |
//! | [`dbench`], [`hackbench`] | the jobs |
//! | `crew` | tasks that begin together, and are timed until the last of them ends |
//! | `session` | the commands, and what they print |
//!
//! Context: threads; all tasks are fair, nice 0.
#![allow(
    clippy::result_large_err,
    reason = "an error is a message of fixed size for a person; nothing here is hot"
)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
mod crew;
#[cfg(target_os = "none")]
pub mod dbench;
#[cfg(target_os = "none")]
pub mod hackbench;
pub mod params;
#[cfg(target_os = "none")]
mod session;
pub mod table;

#[cfg(target_os = "none")]
pub use crew::Outcome;
#[cfg(target_os = "none")]
pub(crate) use session::{dbench_command, hackbench_command};
