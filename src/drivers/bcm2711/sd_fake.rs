//! A host controller with a card in it, as registers: what the tests of `emmc` and `sd` talk to.
//!
//! The controller is the older one, which is the stricter: it loses a write that comes less than two cycles of the
//! card's clock after the one before. The card goes through its states as the specification has them, and answers
//! nothing where it would not. What the driver must never do panics here.

use core::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use super::emmc::BLOCK_BYTES;
use crate::drivers::mmio::Registers;
use crate::drivers::pace::Pace;
use crate::drivers::pace::fake::FakePace;

/// Clock that is divided for the card.
pub(crate) const BASE_HZ: u32 = 100_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Ready,
    Ident,
    Standby,
    Transfer,
    Sending,
    Receiving,
}

/// The card.
#[derive(Debug)]
pub(crate) struct FakeCard {
    pub(crate) data: Vec<u8>,
    pub(crate) high_capacity: bool,
    pub(crate) version_2: bool,
    pub(crate) has_four_lines: bool,
    pub(crate) write_protected: bool,
    /// ACMD41 is answered so often with "not yet".
    pub(crate) power_up_rounds: u32,
    /// CMD13 answers so often that it is programming, after a write.
    pub(crate) programming_rounds: u32,
    pub(crate) state: State,
    /// Whether it was told to use four lines.
    pub(crate) four_lines: bool,
    pub(crate) application: bool,
    pub(crate) programming: u32,
    pub(crate) address: usize,
}

impl FakeCard {
    /// A card with so many blocks, each full of its number.
    pub(crate) fn new(blocks: usize, high_capacity: bool) -> Self {
        let data = (0..blocks).flat_map(|block| [block as u8; BLOCK_BYTES]).collect();
        Self {
            data,
            high_capacity,
            version_2: true,
            has_four_lines: true,
            write_protected: false,
            power_up_rounds: 2,
            programming_rounds: 2,
            state: State::Idle,
            four_lines: false,
            application: false,
            programming: 0,
            address: 0,
        }
    }

    fn status(&self) -> u32 {
        let state = match self.state {
            _ if self.programming > 0 => 7,
            State::Idle => 0,
            State::Ready => 1,
            State::Ident => 2,
            State::Standby => 3,
            State::Transfer => 4,
            State::Sending => 5,
            State::Receiving => 6,
        };
        state << 9 | u32::from(self.programming == 0) << 8 | u32::from(self.application) << 5
    }

    /// CSD without its checksum: bits 127..8 in four words, as the controller has it.
    fn csd(&self) -> [u32; 4] {
        let blocks = self.data.len() / BLOCK_BYTES;
        let mut csd: u128 = u128::from(self.write_protected) << 12;
        if self.high_capacity {
            // Version 2: C_SIZE in bits 69..48, in units of 512 KiB.
            csd |= 1 << 126 | ((blocks / 1024 - 1) as u128) << 48;
        } else {
            // Version 1: READ_BL_LEN 9, C_SIZE_MULT 0 (times 4), C_SIZE in bits 73..62.
            csd |= 9 << 80 | ((blocks / 4 - 1) as u128) << 62;
        }
        core::array::from_fn(|word| (csd >> (8 + 32 * word)) as u32)
    }
}

/// What goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    /// So many data transfers come out garbled.
    pub(crate) garbled_transfers: Cell<u32>,
    /// No data moves any more.
    pub(crate) no_data: Cell<bool>,
    /// A reset never ends.
    pub(crate) reset_stuck: Cell<bool>,
    /// The internal clock never becomes stable.
    pub(crate) clock_unstable: Cell<bool>,
    /// The next command with this number gets this status as an answer.
    pub(crate) status_of: Cell<Option<(u8, u32)>>,
}

/// The controller.
#[derive(Debug)]
pub(crate) struct FakeHost<'a> {
    pub(crate) card: RefCell<Option<FakeCard>>,
    pub(crate) troubles: Troubles,
    /// Commands so far, application commands as 100 more.
    pub(crate) commands: RefCell<Vec<u8>>,
    /// Resets of the command and data lines.
    pub(crate) line_resets: Cell<u32>,
    /// Writes that came too early and were lost.
    pub(crate) lost_writes: Cell<u32>,
    pace: &'a FakePace,
    written_ns: Cell<u64>,
    words: RefCell<[u32; 64]>,
    buffer: RefCell<VecDeque<u32>>,
    /// Blocks of the transfer that have not moved yet.
    blocks_left: Cell<u32>,
    writing: Cell<bool>,
}

const ERROR: u32 = 1 << 15;

impl<'a> FakeHost<'a> {
    pub(crate) fn new(pace: &'a FakePace, card: Option<FakeCard>) -> Self {
        // The machine has been up for a moment.
        pace.pause(1_000_000);
        let mut words = [0; 64];
        // Version 3, and what it says of its base clock.
        words[0xfc / 4] = 2 << 16;
        words[0x40 / 4] = (BASE_HZ / 1_000_000) << 8;
        Self {
            card: RefCell::new(card),
            troubles: Troubles::default(),
            commands: RefCell::default(),
            line_resets: Cell::new(0),
            lost_writes: Cell::new(0),
            pace,
            written_ns: Cell::new(0),
            words: RefCell::new(words),
            buffer: RefCell::default(),
            blocks_left: Cell::new(0),
            writing: Cell::new(false),
        }
    }

    fn word(&self, offset: usize) -> u32 {
        self.words.borrow()[offset / 4]
    }

    fn set(&self, offset: usize, value: u32) {
        self.words.borrow_mut()[offset / 4] = value;
    }

    /// Clock of the card, 0 if it is off.
    pub(crate) fn card_hz(&self) -> u32 {
        let control = self.word(0x2c);
        let divisor = control >> 8 & 0xff | (control >> 6 & 0b11) << 8;
        match control & 0b101 {
            0b101 if divisor == 0 => BASE_HZ,
            0b101 => BASE_HZ / (2 * divisor),
            _ => 0,
        }
    }

    /// Shows bits in the status, those that are enabled.
    fn show(&self, bits: u32) {
        let bits = bits & self.word(0x34);
        let error = if bits & 0xffff_0000 != 0 { ERROR } else { 0 };
        self.set(0x30, self.word(0x30) | bits | error);
    }

    fn command(&self, bits: u32) {
        let index = (bits >> 24) as u8;
        assert_eq!(self.word(0x28) & 0xf00, 0xf00, "CMD{index} without bus power");
        assert!((1..=25_000_000).contains(&self.card_hz()), "CMD{index} at {} Hz", self.card_hz());
        let mut slot = self.card.borrow_mut();
        let Some(card) = slot.as_mut() else {
            self.commands.borrow_mut().push(index);
            if bits >> 16 & 0b11 != 0 {
                self.show(1 << 16);
            } else {
                self.show(1);
            }
            return;
        };
        let application = core::mem::take(&mut card.application);
        self.commands.borrow_mut().push(if application { index + 100 } else { index });
        // Whether it is still the card from before may be asked at any clock.
        if index != 13 && matches!(card.state, State::Idle | State::Ready | State::Ident) {
            assert!(self.card_hz() <= 400_000, "CMD{index} while identifying at {} Hz", self.card_hz());
        }
        let four_lines = self.word(0x28) & 0b10 != 0;
        assert!(
            bits & 1 << 21 == 0 || four_lines == card.four_lines,
            "CMD{index}: host and card disagree on lines"
        );
        let Some((answer, data)) = answer(card, index, application, self.word(0x08)) else {
            self.show(1 << 16);
            return;
        };
        let answer = match self.troubles.status_of.get() {
            Some((of, status)) if of == index => {
                self.troubles.status_of.set(None);
                [status, 0, 0, 0]
            }
            _ => answer,
        };
        (0..4).for_each(|word| self.set(0x10 + 4 * word, answer[word]));
        self.show(1);
        match data {
            Data::None if bits >> 16 & 0b11 == 0b11 => self.show(0b10),
            Data::None => assert_eq!(bits & 1 << 21, 0, "CMD{index} moves no data"),
            Data::Out(bytes) => {
                self.begin(bits, false);
                self.buffer.borrow_mut().extend(bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes));
                self.next_block(card);
            }
            Data::In => {
                self.begin(bits, true);
                self.next_block(card);
            }
        }
    }

    fn begin(&self, bits: u32, writing: bool) {
        assert_ne!(bits & 1 << 21, 0, "the command says that it moves no data");
        assert_eq!(bits & 1 << 4 == 0, writing, "the direction is wrong");
        let many = bits & 1 << 5 != 0;
        self.blocks_left.set(if many { self.word(0x04) >> 16 } else { 1 });
        self.writing.set(writing);
        self.buffer.borrow_mut().clear();
    }

    /// Makes the next block of a transfer ready, or ends it.
    fn next_block(&self, card: &mut FakeCard) {
        if self.troubles.no_data.get() {
            return;
        }
        if self.blocks_left.get() == 0 {
            self.show(0b10);
            if !self.writing.get() && self.commands.borrow().last().is_some_and(|&last| last != 18) {
                card.state = State::Transfer;
            }
            if self.writing.get() && self.commands.borrow().last() == Some(&24) {
                card.state = State::Transfer;
                card.programming = card.programming_rounds;
            }
            return;
        }
        if self.troubles.garbled_transfers.get() > 0 {
            self.troubles.garbled_transfers.set(self.troubles.garbled_transfers.get() - 1);
            self.show(1 << 21);
            return;
        }
        self.show(if self.writing.get() { 1 << 4 } else { 1 << 5 });
    }

    fn read_data(&self) -> u32 {
        let block_words = (self.word(0x04) & 0xfff) as usize / 4;
        let mut buffer = self.buffer.borrow_mut();
        let word = buffer.pop_front().expect("data was read that is not there");
        if (buffer.len() + block_words).is_multiple_of(block_words) {
            drop(buffer);
            self.blocks_left.set(self.blocks_left.get() - 1);
            self.next_block(self.card.borrow_mut().as_mut().expect("a card sends"));
        }
        word
    }

    fn write_data(&self, value: u32) {
        let mut buffer = self.buffer.borrow_mut();
        assert!(self.writing.get() && self.blocks_left.get() > 0, "data was written that nobody wants");
        buffer.push_back(value);
        if buffer.len() * 4 == BLOCK_BYTES {
            let mut slot = self.card.borrow_mut();
            let card = slot.as_mut().expect("a card receives");
            let at = card.address;
            for (to, word) in
                card.data[at..at + BLOCK_BYTES].as_chunks_mut().0.iter_mut().zip(buffer.drain(..))
            {
                *to = word.to_le_bytes();
            }
            card.address += BLOCK_BYTES;
            drop(buffer);
            self.blocks_left.set(self.blocks_left.get() - 1);
            self.next_block(card);
        }
    }
}

enum Data {
    None,
    Out(Vec<u8>),
    In,
}

/// What the card answers; nothing if it does not.
fn answer(card: &mut FakeCard, index: u8, application: bool, argument: u32) -> Option<([u32; 4], Data)> {
    const ADDRESS: u32 = 0x4567_0000;
    let short = |word| ([word, 0, 0, 0], Data::None);
    let status = card.status();
    let byte = if card.high_capacity { argument as usize * BLOCK_BYTES } else { argument as usize };
    Some(match (index, card.state) {
        (0, _) => {
            card.state = State::Idle;
            card.four_lines = false;
            short(0)
        }
        (8, State::Idle) if card.version_2 => short(argument & 0xfff),
        (55, State::Idle) if argument == 0 => {
            card.application = true;
            short(status | 1 << 5)
        }
        (55, State::Standby | State::Transfer) if argument == ADDRESS => {
            card.application = true;
            short(status | 1 << 5)
        }
        (41, State::Idle) if application => {
            assert_ne!(argument & 0x00ff_8000, 0, "no voltage was offered");
            if card.power_up_rounds > 0 {
                card.power_up_rounds -= 1;
                short(0x00ff_8000)
            } else {
                let high = card.high_capacity && argument & 1 << 30 != 0;
                assert_eq!(high, card.high_capacity, "the host hides that it knows high capacity");
                card.state = State::Ready;
                short(1 << 31 | u32::from(high) << 30 | 0x00ff_8000)
            }
        }
        (2, State::Ready) => {
            card.state = State::Ident;
            ([1, 2, 3, 4], Data::None)
        }
        (3, State::Ident) => {
            card.state = State::Standby;
            short(ADDRESS | 0x520)
        }
        (9, State::Standby) if argument == ADDRESS => (card.csd(), Data::None),
        (7, State::Standby) if argument == ADDRESS => {
            card.state = State::Transfer;
            short(status)
        }
        (16, State::Transfer) => short(status),
        (51, State::Transfer) if application => {
            card.state = State::Sending;
            let widths = if card.has_four_lines { 0b101 } else { 1 };
            let mut bytes = vec![0; 8];
            bytes[..2].copy_from_slice(&[0x02, 0x30 | widths]);
            ([status, 0, 0, 0], Data::Out(bytes))
        }
        (6, State::Transfer) if application => {
            assert_eq!(argument, 0b10);
            // From the next command on, as the host does.
            card.four_lines = true;
            short(status)
        }
        (13, State::Standby | State::Transfer | State::Sending | State::Receiving) if argument == ADDRESS => {
            card.programming = card.programming.saturating_sub(1);
            short(status)
        }
        (12, State::Sending | State::Receiving) => {
            if card.state == State::Receiving {
                card.programming = card.programming_rounds;
            }
            card.state = State::Transfer;
            short(status)
        }
        (17 | 18, State::Transfer) => {
            card.state = State::Sending;
            let end = if index == 17 { byte + BLOCK_BYTES } else { card.data.len() };
            ([status, 0, 0, 0], Data::Out(card.data[byte..end].to_vec()))
        }
        (24 | 25, State::Transfer) => {
            assert_eq!(card.programming, 0, "a write while the card programs");
            card.state = State::Receiving;
            card.address = byte;
            ([status, 0, 0, 0], Data::In)
        }
        _ => return None,
    })
}

impl Registers for &FakeHost<'_> {
    fn read(&self, offset: usize) -> u32 {
        match offset {
            0x20 => self.read_data(),
            _ => self.word(offset),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        let card_hz = self.card_hz().max(400_000);
        let now_ns = self.pace.peek_ns();
        let gap_ns = now_ns - self.written_ns.replace(now_ns);
        if offset != 0x20 && card_hz < 1_000_000 && gap_ns < 2_000_000_000 / u64::from(card_hz) {
            self.lost_writes.set(self.lost_writes.get() + 1);
            return;
        }
        match offset {
            0x20 => self.write_data(value),
            0x0c => self.command(value),
            0x2c => {
                if value & 1 << 24 != 0 && !self.troubles.reset_stuck.get() {
                    (0x28..0x3c).step_by(4).for_each(|register| self.set(register, 0));
                    return;
                }
                if value & (1 << 25 | 1 << 26) != 0 {
                    self.line_resets.set(self.line_resets.get() + 1);
                    self.blocks_left.set(0);
                }
                let resets = if self.troubles.reset_stuck.get() { 0 } else { 0b111 << 24 };
                let stable = if self.troubles.clock_unstable.get() { 0 } else { (value & 1) << 1 };
                let old = self.word(0x2c);
                if old & 0b100 != 0 {
                    assert_eq!(old & 0xffc0, value & 0xffc0, "the divisor changes under a running clock");
                }
                self.set(0x2c, value & !resets & !0b10 | stable);
            }
            0x30 => self.set(0x30, if value == !0 { 0 } else { self.word(0x30) & !value }),
            0x24 | 0x10..=0x1c | 0x40.. => panic!("{offset:#x} is only to be read"),
            _ => self.set(offset, value),
        }
    }
}
