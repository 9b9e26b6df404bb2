//! Commands to an SD card, what it answers, and what can go wrong between the two.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

use core::fmt;

pub(super) const MS: u64 = 1_000_000;
/// A block of data is there, or was taken, or the card is no longer busy: the specification gives a card 250 ms to
/// write, and 500 ms if it is a large one.
pub(super) const DATA_NS: u64 = 1000 * MS;

/// What a card answers a command with, as the SD specification numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    None,
    /// 32 bits of card status; also R6 and R7, which are framed alike.
    R1,
    /// The same, and then the card is busy on data line 0.
    R1Busy,
    /// 120 bits.
    R2,
    /// 32 bits without a checksum.
    R3,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its number.
    pub index: u8,
    /// Its argument.
    pub argument: u32,
    /// What the card answers.
    pub answer: Answer,
}

impl Command {
    /// A command.
    #[must_use]
    pub const fn new(index: u8, argument: u32, answer: Answer) -> Self {
        Self { index, argument, answer }
    }
}

/// CMD12, which ends a transfer.
pub const STOP: u8 = 12;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The controller does not come out of a reset.
    Reset,
    /// The controller's clock does not become stable.
    Clock,
    /// The controller is still busy with the command before.
    Busy,
    /// No answer: there is no card, or it does not know the command.
    NoAnswer,
    /// An answer or a block came with a wrong checksum.
    Garbled,
    /// Data did not move, or the card stayed busy, for too long.
    Timeout,
    /// The controller reports something else.
    Controller,
    /// The card refuses; its status.
    Refused(u32),
}

/// An error of the controller or the card: what, at which command, and what the registers said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmmcError {
    /// What went wrong.
    pub fault: Fault,
    /// The command that it was at.
    pub command: u8,
    /// Interrupt status.
    pub status: u32,
    /// Present state.
    pub present: u32,
}

impl fmt::Display for EmmcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Reset => return write!(f, "the controller does not come out of its reset"),
            Fault::Clock => return write!(f, "the controller's clock does not become stable"),
            Fault::Refused(status) => {
                write!(f, "CMD{}: the card refuses, card status {status:#010x}", self.command)?;
                return refusals(status).try_for_each(|text| write!(f, ", {text}"));
            }
            Fault::Busy => write!(f, "CMD{}: the controller is still busy", self.command)?,
            Fault::NoAnswer => write!(f, "CMD{}: no answer", self.command)?,
            Fault::Garbled => write!(f, "CMD{}: wrong checksum", self.command)?,
            Fault::Timeout => write!(f, "CMD{}: not done in {} ms", self.command, DATA_NS / MS)?,
            Fault::Controller => write!(f, "CMD{}: failed", self.command)?,
        }
        write!(f, "; status {:#010x}, state {:#010x}", self.status, self.present)
    }
}

impl core::error::Error for EmmcError {}

/// The error bits of a card status in words.
fn refusals(status: u32) -> impl Iterator<Item = &'static str> {
    const NAMES: [(u32, &str); 9] = [
        (31, "address out of range"),
        (30, "misaligned address"),
        (29, "wrong block length"),
        (26, "write-protected"),
        (25, "locked"),
        (22, "illegal command"),
        (21, "its error correction failed"),
        (20, "its controller failed"),
        (19, "error"),
    ];
    NAMES.iter().filter(move |&&(bit, _)| status & 1 << bit != 0).map(|&(_, text)| text)
}
