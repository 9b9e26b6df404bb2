//! The devices of the BCM2711, the chip of the Raspberry Pi 4.
//!
//! | module | what |
//! |---|---|
//! | [`emmc`], [`sd`], `slots` | the SD host controllers, the card behind one, and which of them has it |
//! | [`pace`] | how all of them wait |

pub mod emmc;
pub mod pace;
pub mod sd;
#[cfg(test)]
mod sd_fake;
#[cfg(target_os = "none")]
pub mod slots;
