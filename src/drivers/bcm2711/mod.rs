//! Devices of the BCM2711, the SoC of the Raspberry Pi 4.
//!
//! | module | what |
//! |---|---|
//! | [`gpio`], [`gpio_pins`] | pins: the block, and pins that are somebody's |
//! | [`mailbox`], [`firmware`] | asking the firmware: clocks, temperature, throttling, memory, which board it is |
//! | [`system_timer`] | a counter of microseconds, and alarms on it |
//! | [`watchdog`] | resets the board unless it is kicked; rebooting and halting |
//! | [`emmc`], [`sd`], [`sd_command`], `slots` | the SD host controllers, the card behind one, and which of them has it |
//! | [`i2c`], `i2c_buses` | I²C: a controller, and the machine's buses |
//! | [`spi`], `spi_bus` | SPI: the controller, and the machine's bus |
//! | [`pwm`], `pwm_outputs` | PWM: the block and its clock, and the pins it comes out at |

pub mod emmc;
pub mod firmware;
pub mod gpio;
#[cfg(test)]
pub(crate) mod gpio_fake;
pub mod gpio_pins;
pub mod i2c;
#[cfg(target_os = "none")]
pub mod i2c_buses;
pub mod mailbox;
pub mod pwm;
#[cfg(target_os = "none")]
pub mod pwm_outputs;
pub mod sd;
pub mod sd_command;
#[cfg(test)]
mod sd_fake;
#[cfg(target_os = "none")]
pub mod slots;
pub mod spi;
#[cfg(target_os = "none")]
pub mod spi_bus;
pub mod system_timer;
pub mod watchdog;
