//! Drivers, and the device tree they are found in.

pub mod bcm2711;
#[cfg(target_os = "none")]
pub mod console;
pub mod early;
pub mod fdt;
#[cfg(target_os = "none")]
pub mod irqchip;
pub mod machine;
pub mod mmio;
pub mod platform;
pub mod queue;
#[cfg(test)]
mod tree_builder;
pub mod wait;
