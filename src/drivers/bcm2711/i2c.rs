//! The I²C controllers of the chip (BSC, Broadcom Serial Controller), as the master of a bus.
//!
//! A transfer is a length, an address and a start bit; bytes go through a FIFO of sixteen, and the controller holds the
//! bus's clock while that is empty or full, so nothing here is in a hurry. The master stretches, the device may too: for
//! [`STRETCH_NS`], the limit of SMBus.
//!
//! What the controller cannot do: it has no way to go from a read to anything but a stop. So a transaction is any number
//! of writes, one after the other, and then any number of reads; another order is refused before the bus is touched.
//! Between write and read there is a repeated start: the read is set up while the last written byte is still in the FIFO,
//! with interrupts masked for these three register writes, since a stop is sent if the byte is gone before.
//! If something holds the CPU up there for more than the nine clocks that the byte takes (22 us at 400 kHz), the device
//! sees a stop and a start instead; no register tells.
//!
//! Waiting: the status is looked at, with sleeps between ([`Pace`]); the interrupt is not used.
//!
//! Context: threads; sleeps. Locks: none; the owner has one around it. Facts: BCM2835 ARM peripherals, chapter 3.
#![forbid(unsafe_code)]

use core::fmt;

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

use crate::drivers::mmio::Registers;
use crate::drivers::pace::Pace;

const CONTROL: usize = 0x00;
const STATUS: usize = 0x04;
const LENGTH: usize = 0x08;
const ADDRESS: usize = 0x0c;
const FIFO: usize = 0x10;
const DIVISOR: usize = 0x14;
const DELAY: usize = 0x18;
const STRETCH: usize = 0x1c;

/// CONTROL.
const ENABLE: u32 = 1 << 15;
const START: u32 = 1 << 7;
const CLEAR: u32 = 0b11 << 4;
const READ: u32 = 1 << 0;
/// The FIFO is cleared before the start. Never `ENABLE` without `START`, which QEMU takes for a start.
const FIRST_START: u32 = ENABLE | START | CLEAR;

/// STATUS. The first three are taken away by writing them.
const STRETCHED: u32 = 1 << 9;
const NOT_ACKNOWLEDGED: u32 = 1 << 8;
const DONE: u32 = 1 << 1;
const CAN_READ: u32 = 1 << 5;
const CAN_WRITE: u32 = 1 << 4;
const ENDED: u32 = STRETCHED | NOT_ACKNOWLEDGED | DONE;

/// A device may hold the clock for so long.
pub const STRETCH_NS: u64 = 35_000_000;
/// Beside the time on the bus, for whatever keeps the task from looking.
const SLACK_NS: u64 = 100_000_000;
/// Bytes of a transfer: the length has 16 bits.
pub const BYTES_MAX: usize = 0xffff;
/// Addresses have seven bits.
pub const ADDRESS_MAX: u8 = 0x7f;

/// Why a transaction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum I2cError {
    /// Nobody acknowledges at this address, or no more bytes. Which of them, the controller does not tell.
    NotAcknowledged(u8),
    /// The device holds the clock for longer than [`STRETCH_NS`].
    Stretched(u8),
    /// The controller is not done in time: the bus is held low, or has no pull-ups. Its status.
    TimedOut(u32),
    /// The transfer ended early; so many bytes are missing.
    Short(usize),
    /// Not an address of seven bits.
    Address(u8),
    /// More than [`BYTES_MAX`] bytes in a row.
    TooLong(usize),
    /// Something behind a read, which this controller cannot do.
    BehindRead,
}

impl fmt::Display for I2cError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotAcknowledged(address) => write!(f, "{address:#04x} does not acknowledge"),
            Self::Stretched(address) => {
                write!(f, "{address:#04x} holds the clock for more than {} ms", STRETCH_NS / 1_000_000)
            }
            Self::TimedOut(status) => write!(
                f,
                "the controller does not get done, status {status:#x}: is the bus held low, or without pull-ups?"
            ),
            Self::Short(missing) => write!(f, "the transfer ended {missing} bytes early"),
            Self::Address(address) => write!(f, "{address:#x} is no address; 0x00 to {ADDRESS_MAX:#x} are"),
            Self::TooLong(bytes) => write!(f, "{bytes} bytes in a row; {BYTES_MAX} are the most"),
            Self::BehindRead => {
                f.write_str("a write behind a read in one transaction, which this controller cannot do")
            }
        }
    }
}

impl core::error::Error for I2cError {}

impl embedded_hal::i2c::Error for I2cError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAcknowledged(_) => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown),
            Self::Stretched(_) | Self::TimedOut(_) | Self::Short(_) => ErrorKind::Bus,
            Self::Address(_) | Self::TooLong(_) | Self::BehindRead => ErrorKind::Other,
        }
    }
}

/// The divisor for a clock of at most `bus_hz`: even, from 2 to 0xfffe.
///
/// 500 MHz for 100 kHz: 5000; for 400 kHz: 1250. 350 MHz for 100 kHz: 3500.
#[must_use]
pub fn divisor(core_hz: u32, bus_hz: u32) -> u32 {
    core_hz.div_ceil(bus_hz.max(1)).next_multiple_of(2).clamp(2, 0xfffe)
}

/// A controller.
#[derive(Debug)]
pub struct Bsc<R, P> {
    regs: R,
    pace: P,
    divisor: u32,
    bus_hz: u32,
}

impl<R: Registers, P: Pace> Bsc<R, P> {
    /// A controller whose bus runs at `bus_hz`, or the next below that its clock of `core_hz` can be divided to. It is
    /// not touched before the first transaction.
    pub fn new(regs: R, pace: P, core_hz: u32, bus_hz: u32) -> Self {
        let divisor = divisor(core_hz, bus_hz);
        Self { regs, pace, divisor, bus_hz: (core_hz / divisor).max(1) }
    }

    /// Clock of the bus in Hz.
    pub fn bus_hz(&self) -> u32 {
        self.bus_hz
    }

    /// Time for so many bytes and the address on the bus, twice over, a stretch, and some for us.
    fn limit_ns(&self, bytes: usize) -> u64 {
        let clocks = 2 * 9 * (bytes as u64 + 2);
        clocks * 1_000_000_000 / u64::from(self.bus_hz) + STRETCH_NS + SLACK_NS
    }

    fn set_up(&self, address: u8) {
        self.regs.write(STATUS, ENDED);
        self.regs.write(DIVISOR, self.divisor);
        // Data is sampled a quarter of a clock behind the rising edge, and changed a sixteenth behind the falling one.
        self.regs.write(DELAY, (self.divisor / 16).max(1) << 16 | (self.divisor / 4).max(1));
        let clocks = STRETCH_NS * u64::from(self.bus_hz) / 1_000_000_000;
        self.regs.write(STRETCH, clocks.clamp(1, 0xffff) as u32);
        self.regs.write(ADDRESS, address.into());
    }

    /// Waits until the status shows `bit`, or the end. Returns the status; fails at an error and at an end without `bit`.
    fn wait_for(&self, bit: u32, address: u8, missing: usize) -> Result<(), I2cError> {
        let seen = self.pace.wait(self.limit_ns(missing), || {
            let status = self.regs.read(STATUS);
            (status & (bit | ENDED) != 0).then_some(status)
        });
        let status = seen.ok_or_else(|| I2cError::TimedOut(self.regs.read(STATUS)))?;
        match status {
            _ if status & NOT_ACKNOWLEDGED != 0 => Err(I2cError::NotAcknowledged(address)),
            _ if status & STRETCHED != 0 => Err(I2cError::Stretched(address)),
            _ if status & bit != 0 => Ok(()),
            _ => Err(I2cError::Short(missing)),
        }
    }

    /// Starts the writing part and puts its bytes into the FIFO; with the last one sets up the reading part, if there is
    /// one of `then_read` bytes.
    fn send(
        &self,
        address: u8,
        writes: &[Operation<'_>],
        bytes: usize,
        then_read: usize,
    ) -> Result<(), I2cError> {
        self.regs.write(LENGTH, bytes as u32);
        self.regs.write(CONTROL, FIRST_START);
        let mut left = bytes;
        let parts = writes.iter().filter_map(|part| match part {
            Operation::Write(bytes) => Some(*bytes),
            Operation::Read(_) => None,
        });
        for &byte in parts.flatten() {
            self.wait_for(CAN_WRITE, address, left)?;
            left -= 1;
            if left > 0 || then_read == 0 {
                self.regs.write(FIFO, byte.into());
                continue;
            }
            // Three writes, and no more, with interrupts masked: the read has to be there before the byte has gone.
            let flags = arch::irqflags::local_irq_save();
            self.regs.write(FIFO, byte.into());
            self.regs.write(LENGTH, then_read as u32);
            self.regs.write(CONTROL, ENABLE | START | READ);
            arch::irqflags::local_irq_restore(flags);
        }
        Ok(())
    }

    fn receive(&self, address: u8, reads: &mut [Operation<'_>], bytes: usize) -> Result<(), I2cError> {
        let mut left = bytes;
        for part in reads {
            let Operation::Read(buffer) = part else { continue };
            for byte in buffer.iter_mut() {
                self.wait_for(CAN_READ, address, left)?;
                *byte = self.regs.read(FIFO) as u8;
                left -= 1;
            }
        }
        Ok(())
    }

    fn transfer(&self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), I2cError> {
        let first_read = operations.iter().position(|part| matches!(part, Operation::Read(_)));
        let (writes, reads) = operations.split_at_mut(first_read.unwrap_or(operations.len()));
        if reads.iter().any(|part| matches!(part, Operation::Write(_))) {
            return Err(I2cError::BehindRead);
        }
        let (to_write, to_read) = (length(writes)?, length(reads)?);
        self.set_up(address);
        // An address alone, to see who is there, is a write of nothing.
        if to_write > 0 || to_read == 0 {
            self.send(address, writes, to_write, to_read)?;
        } else {
            self.regs.write(LENGTH, to_read as u32);
            self.regs.write(CONTROL, FIRST_START | READ);
        }
        self.receive(address, reads, to_read)?;
        self.wait_for(DONE, address, 0)
    }
}

/// Bytes of some operations together.
fn length(operations: &[Operation<'_>]) -> Result<usize, I2cError> {
    let bytes = operations.iter().map(|part| match part {
        Operation::Read(bytes) => bytes.len(),
        Operation::Write(bytes) => bytes.len(),
    });
    let bytes = bytes.sum();
    if bytes > BYTES_MAX { Err(I2cError::TooLong(bytes)) } else { Ok(bytes) }
}

impl<R, P> ErrorType for Bsc<R, P> {
    type Error = I2cError;
}

impl<R: Registers, P: Pace> I2c for Bsc<R, P> {
    /// Writes, then reads; see the module for what this controller cannot do.
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), I2cError> {
        if address > ADDRESS_MAX {
            return Err(I2cError::Address(address));
        }
        if operations.is_empty() {
            return Ok(());
        }
        let done = self.transfer(address, operations);
        // Behind an error too: the next one starts with empty FIFOs and no status.
        self.regs.write(CONTROL, CLEAR);
        self.regs.write(STATUS, ENDED);
        done
    }
}

#[cfg(test)]
#[path = "i2c_tests.rs"]
mod tests;
