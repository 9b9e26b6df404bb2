//! Interrupts: hard ones, from the controller's number to the handler, and the soft ones that follow them.
//!
//! | file | what |
//! |---|---|
//! | `line` | the table of lines, and where vectors.S arrives |
//! | [`softirq`] | what runs behind the handlers with interrupts open; `local_bh_disable` |

#[cfg(target_os = "none")]
mod line;
pub mod softirq;

#[cfg(target_os = "none")]
pub use line::*;
