//! Devices of the BCM2711, the SoC of the Raspberry Pi 4.
//!
//! | module | what |
//! |---|---|
//! | [`mailbox`], [`firmware`] | asking the firmware: clocks, temperature, throttling, memory, which board it is |
//! | [`system_timer`] | a counter of microseconds, and alarms on it |
//! | [`watchdog`] | resets the board unless it is kicked; rebooting and halting |

pub mod firmware;
pub mod mailbox;
pub mod system_timer;
pub mod watchdog;
