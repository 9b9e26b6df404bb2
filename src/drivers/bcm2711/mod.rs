//! Devices of the BCM2711, the SoC of the Raspberry Pi 4.
//!
//! | module | what |
//! |---|---|
//! | [`mailbox`], [`firmware`] | asking the firmware: clocks, temperature, throttling, memory, which board it is |

pub mod firmware;
pub mod mailbox;
