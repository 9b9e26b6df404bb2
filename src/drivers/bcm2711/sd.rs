//! An SD card behind a host controller: finding out what it is, reading and writing its blocks.
//!
//! Cards of all sizes: standard capacity (addressed by bytes, up to 2 GB) and high and extended capacity (by blocks),
//! at default speed, 25 MHz, on four data lines if the card has them. MMC and SDIO are not for this driver, and look
//! like no card. (Physical Layer Simplified Specification; the numbers are those of its chapter 4.)
//!
//! A transfer that comes out garbled or does not end is stopped and tried again, three times in all; blocks are
//! written as a whole, so writing them again does no harm. After an error that stays, the card is identified anew
//! before it is used again: it may be another one.
//!
//! Invariant: a write returns when the card has left its programming state without an error: the data is on the card.
//!
//! Context: threads; sleeps. Locks: none; the owner has one around it.
#![forbid(unsafe_code)]

use core::fmt;

use embedded_sdmmc::embedded_sdmmc_types::sdcard::csd::Csd;

use super::emmc::{BLOCK_BYTES, BLOCKS_MAX, DEFAULT_SPEED_HZ, Emmc};
use super::sd_command::{Answer, Command, EmmcError, Fault, STOP};
use crate::drivers::mmio::Registers;
use crate::drivers::pace::Pace;

/// How often a transfer is tried.
const ATTEMPTS: usize = 3;
/// A card may take a second to power up; this one is asked for twice as long.
const POWER_UP_NS: u64 = 2_000_000_000;
/// A card programs a block for at most 500 ms.
const PROGRAM_NS: u64 = 1_000_000_000;

/// CMD8: 2.7 to 3.6 V, and a pattern that comes back.
const CHECK: u32 = 0x1aa;
/// ACMD41: 2.7 to 3.6 V.
const VOLTAGES: u32 = 0x00ff_8000;
/// ACMD41: the host knows high capacity; in the answer: the card has it.
const HIGH_CAPACITY: u32 = 1 << 30;
/// Answer of ACMD41: powered up.
const POWERED_UP: u32 = 1 << 31;

/// The errors in a card status.
const REFUSED: u32 = 0xfdf9_0000;
/// Card status: out of programming, in the transfer state and ready for data.
const TRANSFER_STATE: u32 = 4 << 9 | 1 << 8;
const STATE: u32 = 0xf << 9 | 1 << 8;

/// What is known of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardInfo {
    /// Its size in blocks of 512 bytes.
    pub blocks: u32,
    /// Whether it is addressed by blocks: more than 2 GB.
    pub high_capacity: bool,
    /// Whether it is used with four data lines.
    pub four_lines: bool,
    /// Whether it says of itself that it cannot be written.
    pub write_protected: bool,
    /// Clock in Hz.
    pub clock_hz: u32,
    address: u32,
}

/// Why a card cannot be used, or a block not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdError {
    /// Nobody answers.
    NoCard(EmmcError),
    /// The card answers the test of its voltage with something else.
    Voltage(u32),
    /// The card does not power up; its last operation conditions.
    PowerUp(u32),
    /// What the card says of its size makes no sense.
    Size,
    /// The card was written-protected by its maker or owner.
    WriteProtected,
    /// Blocks that the card does not have.
    OutOfRange {
        /// The first block.
        first: u32,
        /// How many.
        count: usize,
        /// How many the card has.
        blocks: u32,
    },
    /// The card stays busy; its status.
    Programming(u32),
    /// The controller or the card reports an error.
    Host(EmmcError),
}

impl fmt::Display for SdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoCard(error) => write!(f, "no SD card ({error})"),
            Self::Voltage(answer) => {
                write!(
                    f,
                    "the card answers CMD8 with {answer:#x}; {CHECK:#x} was expected: 3.3 V is not for it"
                )
            }
            Self::PowerUp(conditions) => write!(
                f,
                "the card has not powered up in {} ms; its operation conditions are {conditions:#010x}",
                POWER_UP_NS / 1_000_000
            ),
            Self::Size => write!(f, "the card says nothing sensible about its size (CSD)"),
            Self::WriteProtected => write!(f, "the card is write-protected (CSD)"),
            Self::OutOfRange { first, count, blocks } => {
                write!(
                    f,
                    "{count} blocks from {first} on: the card has blocks 0 to {}",
                    blocks.saturating_sub(1)
                )
            }
            Self::Programming(status) => write!(
                f,
                "the card is still busy {} ms after a write; card status {status:#010x}",
                PROGRAM_NS / 1_000_000
            ),
            Self::Host(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SdError {}

impl From<EmmcError> for SdError {
    fn from(error: EmmcError) -> Self {
        Self::Host(error)
    }
}

/// A slot: a controller, and the card in it if there is one.
#[derive(Debug)]
pub struct Slot<R, P> {
    host: Emmc<R, P>,
    card: Option<CardInfo>,
}

impl<R: Registers, P: Pace> Slot<R, P> {
    /// The slot of a controller. Nothing is done yet.
    pub fn new(host: Emmc<R, P>) -> Self {
        Self { host, card: None }
    }

    /// The card that is in the slot now: the one that was there before if it still answers, or a new one.
    ///
    /// # Errors
    /// [`SdError::NoCard`], or what is wrong with the card.
    pub fn card(&mut self) -> Result<CardInfo, SdError> {
        if let Some(card) = self.card {
            let same = self.host.command(Command::new(13, card.address, Answer::R1));
            if same.is_ok_and(|answer| answer[0] & STATE == TRANSFER_STATE) {
                return Ok(card);
            }
        }
        self.card = None;
        let card = self.identify()?;
        self.card = Some(card);
        Ok(card)
    }

    /// Reads blocks from `first` on into `data`, a multiple of 512 bytes.
    ///
    /// # Errors
    /// No card, no such block, or what the controller reports at the last attempt.
    pub fn read(&mut self, first: u32, data: &mut [u8]) -> Result<(), SdError> {
        let card = self.checked(first, data.len() / BLOCK_BYTES)?;
        let mut at = first;
        for part in data.chunks_mut(BLOCKS_MAX * BLOCK_BYTES) {
            let many = part.len() > BLOCK_BYTES;
            let command = Command::new(if many { 18 } else { 17 }, card.address_of(at), Answer::R1);
            self.attempts(|slot| {
                let status = slot.host.read(command, BLOCK_BYTES, part)?;
                if many {
                    slot.host.command(Command::new(STOP, 0, Answer::R1Busy))?;
                }
                accepted(command.index, status)
            })?;
            at += (part.len() / BLOCK_BYTES) as u32;
        }
        Ok(())
    }

    /// Writes blocks from `first` on, a multiple of 512 bytes. They are on the card when this returns.
    ///
    /// # Errors
    /// As [`Slot::read`], and a card that is write-protected.
    pub fn write(&mut self, first: u32, data: &[u8]) -> Result<(), SdError> {
        let card = self.checked(first, data.len() / BLOCK_BYTES)?;
        if card.write_protected {
            return Err(SdError::WriteProtected);
        }
        let mut at = first;
        for part in data.chunks(BLOCKS_MAX * BLOCK_BYTES) {
            let many = part.len() > BLOCK_BYTES;
            let command = Command::new(if many { 25 } else { 24 }, card.address_of(at), Answer::R1);
            self.attempts(|slot| {
                let status = slot.host.write(command, part)?;
                accepted(command.index, status)?;
                if many {
                    slot.host.command(Command::new(STOP, 0, Answer::R1Busy))?;
                }
                slot.programmed(card.address)
            })?;
            at += (part.len() / BLOCK_BYTES) as u32;
        }
        Ok(())
    }

    /// The card, if it has these blocks.
    fn checked(&mut self, first: u32, count: usize) -> Result<CardInfo, SdError> {
        let card = match self.card {
            Some(card) => card,
            None => self.card()?,
        };
        let end = u64::from(first) + count as u64;
        if end > u64::from(card.blocks) {
            return Err(SdError::OutOfRange { first, count, blocks: card.blocks });
        }
        Ok(card)
    }

    /// Tries a transfer; one that may come out better the next time is tried again.
    fn attempts(
        &mut self,
        mut transfer: impl FnMut(&mut Self) -> Result<(), SdError>,
    ) -> Result<(), SdError> {
        let mut tried = 1;
        loop {
            let Err(error) = transfer(self) else { return Ok(()) };
            let passing = matches!(
                error,
                SdError::Host(EmmcError { fault: Fault::Garbled | Fault::Timeout | Fault::Controller, .. })
            );
            // The card may still be sending or receiving; if it is not, it refuses, which is as good.
            let _ = self.host.command(Command::new(STOP, 0, Answer::R1Busy));
            let usable = self.card.is_some_and(|card| self.programmed(card.address).is_ok());
            if !passing || !usable || tried == ATTEMPTS {
                self.card = None;
                return Err(error);
            }
            tried += 1;
        }
    }

    /// Waits until the card has programmed what it was sent.
    fn programmed(&mut self, address: u32) -> Result<(), SdError> {
        let start_ns = self.host.pace().now_ns();
        loop {
            let status = self.host.command(Command::new(13, address, Answer::R1))?[0];
            accepted(13, status)?;
            if status & STATE == TRANSFER_STATE {
                return Ok(());
            }
            if self.host.pace().now_ns() - start_ns > PROGRAM_NS {
                return Err(SdError::Programming(status));
            }
            self.host.pace().pause(200_000);
        }
    }

    /// From power-up to the transfer state.
    fn identify(&mut self) -> Result<CardInfo, SdError> {
        let host = &mut self.host;
        host.reset()?;
        host.command(Command::new(0, 0, Answer::None))?;
        // A card of version 1 does not know CMD8, and no card does not answer either.
        let version_2 = match host.command(Command::new(8, CHECK, Answer::R1)) {
            Ok([answer, ..]) if answer & 0xfff == CHECK => true,
            Ok([answer, ..]) => return Err(SdError::Voltage(answer)),
            Err(EmmcError { fault: Fault::NoAnswer, .. }) => false,
            Err(error) => return Err(error.into()),
        };
        let conditions = self.power_up(version_2)?;
        let high_capacity = conditions & HIGH_CAPACITY != 0;

        let host = &mut self.host;
        host.command(Command::new(2, 0, Answer::R2))?;
        let address = host.command(Command::new(3, 0, Answer::R1))?[0] & 0xffff_0000;
        let csd = host.command(Command::new(9, address, Answer::R2))?;
        let (blocks, write_protected) = size(csd).ok_or(SdError::Size)?;
        host.command(Command::new(7, address, Answer::R1Busy))?;
        host.set_clock(DEFAULT_SPEED_HZ)?;
        let status = host.command(Command::new(16, BLOCK_BYTES as u32, Answer::R1))?;
        accepted(16, status[0])?;
        let four_lines = self.use_four_lines(address)?;
        let clock_hz = self.host.card_hz();
        Ok(CardInfo { blocks, high_capacity, four_lines, write_protected, clock_hz, address })
    }

    /// Asks the card for its operation conditions until it has powered up.
    fn power_up(&mut self, version_2: bool) -> Result<u32, SdError> {
        let wanted = VOLTAGES | if version_2 { HIGH_CAPACITY } else { 0 };
        let start_ns = self.host.pace().now_ns();
        loop {
            let answer = self.host.command(Command::new(55, 0, Answer::R1)).and_then(|_| {
                // ACMD41.
                self.host.command(Command::new(41, wanted, Answer::R3))
            });
            let conditions = match answer {
                Ok(answer) => answer[0],
                Err(error @ EmmcError { fault: Fault::NoAnswer, .. }) => return Err(SdError::NoCard(error)),
                Err(error) => return Err(error.into()),
            };
            if conditions & POWERED_UP != 0 {
                return Ok(conditions);
            }
            if self.host.pace().now_ns() - start_ns > POWER_UP_NS {
                return Err(SdError::PowerUp(conditions));
            }
            self.host.pace().pause(10_000_000);
        }
    }

    /// Goes over to four data lines if the card's configuration says that it has them.
    fn use_four_lines(&mut self, address: u32) -> Result<bool, SdError> {
        let host = &mut self.host;
        let mut configuration = [0; 8];
        host.command(Command::new(55, address, Answer::R1))?;
        // ACMD51; bits 51..48 are the widths of the bus, of which the third is four lines.
        let status = host.read(Command::new(51, 0, Answer::R1), 8, &mut configuration)?;
        accepted(51, status)?;
        if configuration[1] & 0b100 == 0 {
            return Ok(false);
        }
        host.command(Command::new(55, address, Answer::R1))?;
        // ACMD6.
        let status = host.command(Command::new(6, 0b10, Answer::R1))?;
        accepted(6, status[0])?;
        host.use_four_lines();
        Ok(true)
    }
}

impl CardInfo {
    fn address_of(&self, block: u32) -> u32 {
        // A card that is addressed by bytes has at most 2 GB: no address is too large.
        if self.high_capacity { block } else { block.wrapping_mul(BLOCK_BYTES as u32) }
    }
}

/// A failure if the card's status has errors.
fn accepted(command: u8, status: u32) -> Result<(), SdError> {
    if status & REFUSED == 0 {
        return Ok(());
    }
    Err(SdError::Host(EmmcError { fault: Fault::Refused(status), command, status: 0, present: 0 }))
}

/// Size in blocks, and whether the card is write-protected, from the answer to CMD9.
fn size(csd: [u32; 4]) -> Option<(u32, bool)> {
    let mut value = csd.iter().rev().fold(0u128, |value, &word| value << 32 | u128::from(word));
    // The controller keeps the checksum to itself.
    value <<= 8;
    let csd = Csd::new_unchecked(&value.to_be_bytes()).ok()?;
    let bytes = csd.card_capacity_bytes();
    let blocks = u32::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
    let write_protected = value & 0b11 << 12 != 0;
    (blocks != 0).then_some((blocks, write_protected))
}

#[cfg(test)]
#[path = "sd_tests.rs"]
mod tests;
