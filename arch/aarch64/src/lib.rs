//! The AArch64 CPU and nothing but the CPU.
#![no_std]

pub mod boot;
pub mod cpu;
pub mod mmu;
pub mod psci;
pub mod semihost;
pub mod timer;
