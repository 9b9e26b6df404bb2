//! Drivers, and the device tree they are found in.

pub mod bcm2711;
#[cfg(target_os = "none")]
pub mod console;
pub mod early;
pub mod fdt;
#[cfg(target_os = "none")]
pub mod irqchip;
pub mod machine;
pub mod mini_uart;
pub mod mmio;
pub mod output;
pub mod pace;
pub mod platform;
#[cfg(target_os = "none")]
pub mod port;
pub mod queue;
#[cfg(test)]
mod tree_builder;
