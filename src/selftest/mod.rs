//! `selftest`: is this machine what the kernel takes it for? A table that can be pasted into an issue.
//!
//! What QEMU shows is not what a board does: clocks that are not what their registers say, interrupts that go to nobody,
//! caches that nobody cleans, a firmware that lowers the clock. Each check measures one such thing and says `ok`,
//! `not there` (this machine has no such device) or `FAILED`, with the values that it judged by.
//!
//! | module | what |
//! |---|---|
//! | [`judge`] | what values are good; pure |
//! | `checks` | the checks, and the command |
//! | `cpus` | what each CPU finds out about itself |
//! | `caches` | whether cache maintenance reaches memory |
//!
//! Context: threads. The CPUs are kept busy for some milliseconds each, one after the other.

#[cfg(target_os = "none")]
mod caches;
#[cfg(target_os = "none")]
mod checks;
#[cfg(target_os = "none")]
mod cpus;
pub mod judge;

#[cfg(target_os = "none")]
pub(crate) use checks::command;
#[cfg(target_os = "none")]
pub(crate) use cpus::clocks;
