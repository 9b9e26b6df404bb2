//! The SPI controller of the chip (SPI0), as the master of a bus.
//!
//! Bytes go out of a FIFO of 64 and come back into another one; the bus stands still while the first is empty or the second
//! is full. The controller asserts a chip's select line for as long as its transfer is active,
//! which is a transaction of [`Chip`]. The bus by itself ([`SpiBus`]) selects line 2, which is at no pin: its user has a
//! pin of its own for that.
//!
//! Waiting: the status is looked at, with sleeps between ([`Pace`]); neither interrupt nor DMA is used.
//!
//! Context: threads; sleeps. Locks: none; the owner has one around it. Facts: BCM2835 ARM peripherals, chapter 10, and its
//! errata: the divisor is even, not a power of two.
#![forbid(unsafe_code)]

use core::fmt;

use embedded_hal::spi::{ErrorKind, ErrorType, Mode, Operation, Phase, Polarity, SpiBus, SpiDevice};

use crate::drivers::mmio::Registers;
use crate::drivers::pace::Pace;

const CONTROL: usize = 0x00;
const FIFO: usize = 0x04;
const CLOCK: usize = 0x08;

/// CONTROL: it is status, too.
const SECOND_EDGE: u32 = 1 << 2;
const IDLE_HIGH: u32 = 1 << 3;
const CLEAR: u32 = 0b11 << 4;
const ACTIVE: u32 = 1 << 7;
const DONE: u32 = 1 << 16;
const CAN_READ: u32 = 1 << 17;
const CAN_WRITE: u32 = 1 << 18;

/// Bytes of each FIFO.
const FIFO_BYTES: usize = 64;
/// Select line without a pin.
const NO_CHIP: u32 = 2;
/// Chips that have a select line.
pub const CHIPS: u8 = 2;
/// Beside the time on the bus, for whatever keeps the task from looking.
const SLACK_NS: u64 = 100_000_000;

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpiError {
    /// The controller is not done in time; its status.
    TimedOut(u32),
}

impl fmt::Display for SpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::TimedOut(status) = self;
        write!(f, "the controller does not get done, status {status:#x}")
    }
}

impl core::error::Error for SpiError {}

impl embedded_hal::spi::Error for SpiError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The divisor for a clock of at most `hz`: even, from 2 to 0xfffe.
///
/// 500 MHz for 1 MHz: 500; for 20 MHz: 26, which gives 19.2 MHz; for 100 MHz: 6, 83.3 MHz.
#[must_use]
pub fn divisor(core_hz: u32, hz: u32) -> u32 {
    core_hz.div_ceil(hz.max(1)).next_multiple_of(2).clamp(2, 0xfffe)
}

/// How a chip wants to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Polarity and phase of the clock.
    pub mode: Mode,
    /// The clock: this, or the next below that can be divided.
    pub hz: u32,
}

/// The controller.
#[derive(Debug)]
pub struct Spi<R, P> {
    regs: R,
    pace: P,
    core_hz: u32,
    /// For [`SpiBus`].
    settings: Settings,
}

impl<R: Registers, P: Pace> Spi<R, P> {
    /// A controller with a clock of `core_hz`; as a bus by itself it has these settings. It is not touched before the
    /// first transfer.
    pub fn new(regs: R, pace: P, core_hz: u32, settings: Settings) -> Self {
        Self { regs, pace, core_hz, settings }
    }

    /// Changes the settings of the bus by itself.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The clock that `hz` becomes.
    pub fn real_hz(&self, hz: u32) -> u32 {
        self.core_hz / divisor(self.core_hz, hz)
    }

    /// The chip at select line `number`, for as long as nobody else needs the bus. Nothing if there is no such line.
    pub fn chip(&mut self, number: u8, settings: Settings) -> Option<Chip<'_, R, P>> {
        (number < CHIPS).then_some(Chip { bus: self, number, settings })
    }

    /// Asserts a select line. The clock takes its idle level before, while no line is asserted.
    fn begin(&self, line: u32, settings: Settings) {
        let phase = if settings.mode.phase == Phase::CaptureOnSecondTransition { SECOND_EDGE } else { 0 };
        let polarity = if settings.mode.polarity == Polarity::IdleHigh { IDLE_HIGH } else { 0 };
        let control = line | phase | polarity;
        self.regs.write(CLOCK, divisor(self.core_hz, settings.hz));
        self.regs.write(CONTROL, control | CLEAR);
        self.regs.write(CONTROL, control | ACTIVE);
    }

    /// Lets go of the select line; the clock stays at its idle level.
    fn end(&self) {
        let levels = self.regs.read(CONTROL) & (SECOND_EDGE | IDLE_HIGH);
        self.regs.write(CONTROL, levels | NO_CHIP | CLEAR);
    }

    /// Sends `count` bytes and receives as many.
    fn exchange(
        &self,
        count: usize,
        hz: u32,
        mut send: impl FnMut(usize) -> u8,
        mut receive: impl FnMut(usize, u8),
    ) -> Result<(), SpiError> {
        let bus_hz = u64::from(self.real_hz(hz).max(1));
        let (mut sent, mut received) = (0, 0);
        // Twice the time of a full FIFO: bytes have a ninth clock between them.
        let limit_ns = 2 * 9 * FIFO_BYTES as u64 * 1_000_000_000 / bus_hz + SLACK_NS;
        while received < count {
            while sent < count && self.regs.read(CONTROL) & CAN_WRITE != 0 {
                self.regs.write(FIFO, send(sent).into());
                sent += 1;
            }
            self.wait_for(CAN_READ, limit_ns)?;
            receive(received, self.regs.read(FIFO) as u8);
            received += 1;
        }
        self.wait_for(DONE, limit_ns)
    }

    fn wait_for(&self, bit: u32, limit_ns: u64) -> Result<(), SpiError> {
        let seen = self.pace.wait(limit_ns, || (self.regs.read(CONTROL) & bit != 0).then_some(()));
        seen.ok_or_else(|| SpiError::TimedOut(self.regs.read(CONTROL)))
    }

    fn operate(&self, operation: &mut Operation<'_, u8>, hz: u32) -> Result<(), SpiError> {
        match operation {
            Operation::Read(bytes) => self.exchange(bytes.len(), hz, |_| 0, |at, byte| bytes[at] = byte),
            Operation::Write(bytes) => self.exchange(bytes.len(), hz, |at| bytes[at], |_, _| {}),
            Operation::Transfer(read, write) => {
                // The longer one decides: zeroes are sent behind the end of the shorter, or bytes are dropped.
                let count = read.len().max(write.len());
                let send = |at| write.get(at).copied().unwrap_or(0);
                self.exchange(count, hz, send, |at, byte| {
                    if let Some(place) = read.get_mut(at) {
                        *place = byte;
                    }
                })
            }
            Operation::TransferInPlace(bytes) => {
                let cells = core::cell::Cell::from_mut(&mut **bytes).as_slice_of_cells();
                self.exchange(cells.len(), hz, |at| cells[at].get(), |at, byte| cells[at].set(byte))
            }
            Operation::DelayNs(ns) => {
                self.pace.pause(u64::from(*ns));
                Ok(())
            }
        }
    }

    fn transaction(
        &self,
        line: u32,
        settings: Settings,
        operations: &mut [Operation<'_, u8>],
    ) -> Result<(), SpiError> {
        self.begin(line, settings);
        let done = operations.iter_mut().try_for_each(|operation| self.operate(operation, settings.hz));
        // Behind an error too: the chip is let go, and the FIFOs are emptied.
        self.end();
        done
    }
}

impl<R, P> ErrorType for Spi<R, P> {
    type Error = SpiError;
}

impl<R: Registers, P: Pace> SpiBus for Spi<R, P> {
    fn read(&mut self, words: &mut [u8]) -> Result<(), SpiError> {
        self.transaction(NO_CHIP, self.settings, &mut [Operation::Read(words)])
    }

    fn write(&mut self, words: &[u8]) -> Result<(), SpiError> {
        self.transaction(NO_CHIP, self.settings, &mut [Operation::Write(words)])
    }

    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), SpiError> {
        self.transaction(NO_CHIP, self.settings, &mut [Operation::Transfer(read, write)])
    }

    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), SpiError> {
        self.transaction(NO_CHIP, self.settings, &mut [Operation::TransferInPlace(words)])
    }

    /// Every transfer is done when it returns.
    fn flush(&mut self) -> Result<(), SpiError> {
        Ok(())
    }
}

/// A chip at one of the controller's select lines. Made by [`Spi::chip`].
#[derive(Debug)]
pub struct Chip<'a, R, P> {
    bus: &'a mut Spi<R, P>,
    number: u8,
    settings: Settings,
}

impl<R, P> ErrorType for Chip<'_, R, P> {
    type Error = SpiError;
}

impl<R: Registers, P: Pace> SpiDevice for Chip<'_, R, P> {
    /// The chip is selected from the first operation to the last.
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), SpiError> {
        self.bus.transaction(self.number.into(), self.settings, operations)
    }
}

#[cfg(test)]
#[path = "spi_tests.rs"]
mod tests;
