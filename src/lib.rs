//! Stint.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

// The kernel knows one crate named `arch`; which one is the target's business. (Cargo refuses one
// dependency name with two sources, so the choice is made here.)
#[cfg(target_os = "none")]
extern crate stint_arch_aarch64 as arch;
#[cfg(not(target_os = "none"))]
extern crate stint_arch_host as arch;

pub mod list;
pub mod plist;
pub mod sched;
