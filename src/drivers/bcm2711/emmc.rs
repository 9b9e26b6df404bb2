//! The SD host controllers of the BCM2711: EMMC2, on which a Raspberry Pi 4 has its card, and the older EMMC, on which
//! QEMU's has it. Both follow the SD Host Controller Specification, version 3; this is the part of it that moves
//! blocks without DMA.
//!
//! Every register is accessed as a whole word: the older controller knows nothing else. Pairs of half words that the
//! specification has (block size and count, transfer mode and command) are therefore written at once, which is also
//! what starts a command. The older controller loses a write that comes less than two cycles of the card's clock after
//! another one; below 1 MHz every write is followed by a pause of four.
//!
//! Waiting: the interrupt status is looked at, first in a row, then with sleeps between ([`Pace`]); the interrupt
//! itself is not used. Data moves word by word with preemption on: nothing here is timed by the CPU, since the
//! controller stops the card's clock while its buffer is full or empty.
//!
//! Invariant: after an error both state machines of the controller are reset and no status is left over, so the next
//! command starts clean.
//!
//! Context: threads; may sleep. Locks: none; the owner has one around it.
#![forbid(unsafe_code)]

use super::sd_command::{Answer, Command, DATA_NS, EmmcError, Fault, MS, STOP};
use crate::drivers::mmio::Registers;
use crate::drivers::pace::Pace;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 512;
/// Blocks of one transfer: the count has 16 bits.
pub const BLOCKS_MAX: usize = 0xffff;

/// Clock while the card is identified.
pub const IDENTIFY_HZ: u32 = 400_000;
/// Clock of default speed, which every card can.
pub const DEFAULT_SPEED_HZ: u32 = 25_000_000;
/// Below this the older controller needs time between two writes.
const SLOW_HZ: u32 = 1_000_000;

/// A reset of the controller, or of one line.
const RESET_NS: u64 = 100 * MS;
/// The internal clock becomes stable.
const CLOCK_NS: u64 = 150 * MS;
/// An answer: 64 cycles at the slowest clock are 160 us.
const ANSWER_NS: u64 = 100 * MS;

const BLOCKS: usize = 0x04;
const ARGUMENT: usize = 0x08;
const COMMAND: usize = 0x0c;
const RESPONSE: usize = 0x10;
const DATA: usize = 0x20;
const PRESENT: usize = 0x24;
const CONTROL0: usize = 0x28;
const CONTROL1: usize = 0x2c;
const STATUS: usize = 0x30;
const STATUS_ENABLE: usize = 0x34;
const SIGNAL_ENABLE: usize = 0x38;
const CAPABILITIES: usize = 0x40;
const VERSION: usize = 0xfc;

/// PRESENT: a command, a transfer is going on.
const COMMAND_INHIBIT: u32 = 1 << 0;
const DATA_INHIBIT: u32 = 1 << 1;

/// CONTROL0: four data lines; bus power on at 3.3 V.
const FOUR_LINES: u32 = 1 << 1;
const POWER_3V3: u32 = 0b1111 << 8;

/// CONTROL1.
const INTERNAL_CLOCK: u32 = 1 << 0;
const CLOCK_STABLE: u32 = 1 << 1;
const CARD_CLOCK: u32 = 1 << 2;
/// The longest data timeout that the controller itself can have; ours is shorter.
const TIMEOUT_MOST: u32 = 0xe << 16;
const RESET_ALL: u32 = 1 << 24;
const RESET_COMMAND: u32 = 1 << 25;
const RESET_DATA: u32 = 1 << 26;

/// STATUS.
const COMMAND_DONE: u32 = 1 << 0;
const TRANSFER_DONE: u32 = 1 << 1;
const WRITE_READY: u32 = 1 << 4;
const READ_READY: u32 = 1 << 5;
const ERRORS: u32 = 0xffff_8000;
const COMMAND_TIMEOUT: u32 = 1 << 16;
const DATA_TIMEOUT: u32 = 1 << 20;
/// CRC, end bit, index of an answer; CRC and end bit of data.
const GARBLED: u32 = 0b110_1110 << 16;
/// What is shown in STATUS: all but card interrupts.
const SHOWN: u32 = 0xffff_00ff & !(0b11 << 6);

/// COMMAND: the transfer mode in the low half.
const COUNT_BLOCKS: u32 = 1 << 1;
const FROM_CARD: u32 = 1 << 4;
const MANY_BLOCKS: u32 = 1 << 5;
const ANSWER_LONG: u32 = 0b01 << 16;
const ANSWER_SHORT: u32 = 0b10 << 16;
const ANSWER_BUSY: u32 = 0b11 << 16;
const CHECK_CRC: u32 = 1 << 19;
const CHECK_INDEX: u32 = 1 << 20;
const WITH_DATA: u32 = 1 << 21;
const ABORT: u32 = 0b11 << 22;

/// A host controller.
#[derive(Debug)]
pub struct Emmc<R, P> {
    regs: R,
    pace: P,
    given_hz: Option<u32>,
    base_hz: u32,
    /// Clock of the card; 0 while it is off.
    card_hz: u32,
}

/// The divisor N of `base / (2 N)`, 0 for the base clock itself, so that the card's clock is at most `wanted_hz`. It has
/// ten bits; the clock of a base that is too fast for it is the slowest there is.
///
/// 100 MHz for 400 kHz: 100 / (2 x 125) MHz; for 25 MHz: 100 / (2 x 2) MHz; 250 MHz for 25 MHz: 250 / (2 x 5) MHz.
#[must_use]
pub fn divisor(base_hz: u32, wanted_hz: u32) -> u32 {
    if base_hz <= wanted_hz { 0 } else { base_hz.div_ceil(wanted_hz.saturating_mul(2).max(1)).min(0x3ff) }
}

/// The clock that [`divisor`] makes.
#[must_use]
pub fn divided_hz(base_hz: u32, divisor: u32) -> u32 {
    if divisor == 0 { base_hz } else { base_hz / (2 * divisor) }
}

impl<R: Registers, P: Pace> Emmc<R, P> {
    /// A controller that nothing is known of; it is not touched before [`Emmc::reset`]. `given_hz` is the clock that is
    /// divided for the card, where the machine says so.
    pub fn new(regs: R, pace: P, given_hz: Option<u32>) -> Self {
        Self { regs, pace, given_hz, base_hz: 0, card_hz: 0 }
    }

    /// The clock that is divided: what the machine says, or else the controller, or else 100 MHz, to which the firmware
    /// sets it.
    fn find_base_hz(&self) -> u32 {
        let capable = self.regs.read(CAPABILITIES) >> 8;
        // Eight bits since version 3 of the specification, six before.
        let mhz = if self.regs.read(VERSION) >> 16 & 0xff >= 2 { capable & 0xff } else { capable & 0x3f };
        self.given_hz.filter(|&hz| hz != 0).unwrap_or(match mhz {
            0 => 100_000_000,
            mhz => mhz * 1_000_000,
        })
    }

    /// Clock of the card in Hz; 0 while it is off.
    pub fn card_hz(&self) -> u32 {
        self.card_hz
    }

    /// What is waited with.
    pub fn pace(&self) -> &P {
        &self.pace
    }

    fn put(&self, offset: usize, value: u32) {
        self.regs.write(offset, value);
        if self.card_hz < SLOW_HZ {
            self.pace.pause(4 * 1_000_000_000 / u64::from(self.card_hz.max(IDENTIFY_HZ)));
        }
    }

    fn error(&self, fault: Fault, command: u8) -> EmmcError {
        let (status, present) = (self.regs.read(STATUS), self.regs.read(PRESENT));
        EmmcError { fault, command, status, present }
    }

    /// Starts from nothing: controller reset, power on, one data line, the card's clock at [`IDENTIFY_HZ`].
    ///
    /// # Errors
    /// [`Fault::Reset`], [`Fault::Clock`].
    pub fn reset(&mut self) -> Result<(), EmmcError> {
        self.card_hz = 0;
        self.reset_lines(RESET_ALL)?;
        self.put(SIGNAL_ENABLE, 0);
        self.put(STATUS_ENABLE, SHOWN);
        self.put(STATUS, !0);
        self.put(CONTROL0, POWER_3V3);
        self.base_hz = self.find_base_hz();
        self.set_clock(IDENTIFY_HZ)?;
        // A card wants 1 ms of power and 74 cycles before the first command.
        self.pace.pause(2 * MS);
        Ok(())
    }

    /// Sets the card's clock: `wanted_hz` or the next below that can be divided.
    ///
    /// # Errors
    /// [`Fault::Clock`].
    pub fn set_clock(&mut self, wanted_hz: u32) -> Result<(), EmmcError> {
        let divisor = divisor(self.base_hz, wanted_hz);
        let control = TIMEOUT_MOST | (divisor & 0xff) << 8 | (divisor >> 8) << 6 | INTERNAL_CLOCK;
        // The divisor may only change while the card's clock is off.
        self.put(CONTROL1, self.regs.read(CONTROL1) & !CARD_CLOCK);
        self.put(CONTROL1, control);
        let stable =
            self.pace.wait(CLOCK_NS, || (self.regs.read(CONTROL1) & CLOCK_STABLE != 0).then_some(()));
        stable.ok_or_else(|| self.error(Fault::Clock, 0))?;
        self.put(CONTROL1, control | CARD_CLOCK);
        self.card_hz = divided_hz(self.base_hz, divisor);
        Ok(())
    }

    /// Uses four data lines from now on; the card was told so.
    pub fn use_four_lines(&mut self) {
        self.put(CONTROL0, self.regs.read(CONTROL0) | FOUR_LINES);
    }

    /// Sends a command without data, and returns the answer: in `[0]` if it is short, bits 127..8 of the card's register
    /// as `[0]` = 39..8 up to `[3]` = 127..104 if it is long.
    ///
    /// # Errors
    /// No answer, a garbled one, or a card that stays busy. The card's own errors are for the caller to read.
    pub fn command(&mut self, command: Command) -> Result<[u32; 4], EmmcError> {
        self.start(command, 0)?;
        let answer = self.finish_command(command)?;
        if command.answer == Answer::R1Busy {
            self.wait_for(TRANSFER_DONE, DATA_NS, command.index)?;
        }
        Ok(answer)
    }

    /// Sends a command that reads `data`, in blocks of `block_bytes` (a multiple of 4; so is `data`).
    ///
    /// # Errors
    /// As [`Emmc::command`], and those of data.
    pub fn read(&mut self, command: Command, block_bytes: usize, data: &mut [u8]) -> Result<u32, EmmcError> {
        self.set_blocks(block_bytes, data.len() / block_bytes);
        self.start(command, WITH_DATA | FROM_CARD | transfer_mode(data.len() / block_bytes))?;
        let answer = self.finish_command(command)?;
        for block in data.chunks_exact_mut(block_bytes) {
            self.wait_for(READ_READY, DATA_NS, command.index)?;
            for word in block.chunks_exact_mut(4) {
                word.copy_from_slice(&self.regs.read(DATA).to_le_bytes());
            }
        }
        self.wait_for(TRANSFER_DONE, DATA_NS, command.index)?;
        Ok(answer[0])
    }

    /// Sends a command that writes `data`, in blocks of [`BLOCK_BYTES`].
    ///
    /// # Errors
    /// As [`Emmc::read`].
    pub fn write(&mut self, command: Command, data: &[u8]) -> Result<u32, EmmcError> {
        self.set_blocks(BLOCK_BYTES, data.len() / BLOCK_BYTES);
        self.start(command, WITH_DATA | transfer_mode(data.len() / BLOCK_BYTES))?;
        let answer = self.finish_command(command)?;
        for block in data.chunks_exact(BLOCK_BYTES) {
            self.wait_for(WRITE_READY, DATA_NS, command.index)?;
            for word in block.chunks_exact(4) {
                // Never fails: pieces of four.
                self.regs.write(DATA, u32::from_le_bytes(word.try_into().unwrap_or_default()));
            }
        }
        self.wait_for(TRANSFER_DONE, DATA_NS, command.index)?;
        Ok(answer[0])
    }

    fn set_blocks(&self, block_bytes: usize, count: usize) {
        debug_assert!(count <= BLOCKS_MAX && block_bytes <= BLOCK_BYTES && block_bytes.is_multiple_of(4));
        self.put(BLOCKS, (count as u32) << 16 | block_bytes as u32);
    }

    fn start(&mut self, command: Command, mode: u32) -> Result<(), EmmcError> {
        let busy = match command.answer {
            _ if command.index == STOP => COMMAND_INHIBIT,
            Answer::R1Busy => COMMAND_INHIBIT | DATA_INHIBIT,
            _ if mode != 0 => COMMAND_INHIBIT | DATA_INHIBIT,
            _ => COMMAND_INHIBIT,
        };
        let free = self.pace.wait(ANSWER_NS, || (self.regs.read(PRESENT) & busy == 0).then_some(()));
        if free.is_none() {
            return Err(self.failed(Fault::Busy, command.index));
        }
        self.put(STATUS, !0);
        self.put(ARGUMENT, command.argument);
        self.put(COMMAND, command_bits(command) | mode);
        Ok(())
    }

    fn finish_command(&mut self, command: Command) -> Result<[u32; 4], EmmcError> {
        self.wait_for(COMMAND_DONE, ANSWER_NS, command.index)?;
        Ok(core::array::from_fn(|word| match command.answer {
            Answer::None => 0,
            Answer::R2 => self.regs.read(RESPONSE + 4 * word),
            _ if word == 0 => self.regs.read(RESPONSE),
            _ => 0,
        }))
    }

    /// Waits for one bit of the status and takes it away, or for an error.
    fn wait_for(&mut self, bit: u32, limit_ns: u64, command: u8) -> Result<(), EmmcError> {
        let seen = self.pace.wait(limit_ns, || {
            let status = self.regs.read(STATUS);
            (status & (bit | ERRORS) != 0).then_some(status)
        });
        let fault = match seen {
            // Where both are shown, the transfer was done before the timeout.
            Some(status) if status & bit != 0 && status & ERRORS & !late(bit) == 0 => {
                self.put(STATUS, bit | status & late(bit));
                return Ok(());
            }
            Some(status) if status & COMMAND_TIMEOUT != 0 => Fault::NoAnswer,
            Some(status) if status & GARBLED != 0 => Fault::Garbled,
            Some(status) if status & DATA_TIMEOUT != 0 => Fault::Timeout,
            Some(_) => Fault::Controller,
            None if bit == COMMAND_DONE => Fault::NoAnswer,
            None => Fault::Timeout,
        };
        Err(self.failed(fault, command))
    }

    /// Notes the state, and cleans up behind the error.
    fn failed(&mut self, fault: Fault, command: u8) -> EmmcError {
        let error = self.error(fault, command);
        // If the reset fails too, the next command says that the controller is busy.
        let _ = self.reset_lines(RESET_COMMAND | RESET_DATA);
        self.put(STATUS, !0);
        error
    }

    fn reset_lines(&self, lines: u32) -> Result<(), EmmcError> {
        self.put(CONTROL1, self.regs.read(CONTROL1) | lines);
        let done = self.pace.wait(RESET_NS, || (self.regs.read(CONTROL1) & lines == 0).then_some(()));
        done.ok_or_else(|| self.error(Fault::Reset, 0))
    }
}

/// The error that does not count beside `bit`.
fn late(bit: u32) -> u32 {
    if bit == TRANSFER_DONE { DATA_TIMEOUT } else { 0 }
}

/// A command as the controller wants it.
fn command_bits(command: Command) -> u32 {
    let answer = match command.answer {
        Answer::None => 0,
        Answer::R1 => ANSWER_SHORT | CHECK_CRC | CHECK_INDEX,
        Answer::R1Busy => ANSWER_BUSY | CHECK_CRC | CHECK_INDEX,
        Answer::R2 => ANSWER_LONG | CHECK_CRC,
        Answer::R3 => ANSWER_SHORT,
    };
    let abort = if command.index == STOP { ABORT } else { 0 };
    u32::from(command.index) << 24 | answer | abort
}

/// Transfer mode for so many blocks.
fn transfer_mode(count: usize) -> u32 {
    if count > 1 { MANY_BLOCKS | COUNT_BLOCKS } else { 0 }
}
