//! Drivers, and the device tree they are found in.

pub mod early;
pub mod fdt;
pub mod machine;
