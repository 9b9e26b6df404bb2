//! The AArch64 CPU and nothing but the CPU.
#![no_std]

pub mod boot;
pub mod cache;
pub mod cpu;
pub mod gic;
pub mod mmu;
pub mod psci;
pub mod semihost;
mod space;
pub mod timer;
