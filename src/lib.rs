//! Stint.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

// The kernel knows one crate named `arch`; which one is the target's business. (Cargo refuses one
// dependency name with two sources, so the choice is made here.)
#[cfg(not(target_os = "none"))]
extern crate stint_arch_host as arch;
#[cfg(target_os = "none")]
extern crate stint_arch_aarch64 as arch;

pub mod boot_info;
pub mod bootargs;
pub mod cpus;
pub mod drivers;
#[cfg(target_os = "none")]
pub mod init;
pub mod klog;
pub mod locking;
pub mod mm;
pub mod percpu;
#[cfg(target_os = "none")]
pub mod power;
pub mod preempt;
#[cfg(target_os = "none")]
mod stub;
#[cfg(target_os = "none")]
pub use stub::start_kernel;

/// Most CPUs the kernel can run on.
pub const MAX_CPUS: usize = 8;
