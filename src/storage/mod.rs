//! Files on a memory card.
//!
//! | module | what |
//! |---|---|
//! | [`volume`] | finds the FAT volume and counts what is free, before anything is written |
//! | [`files`] | listing, reading, and saving without ever overwriting |
//! | [`name`] | the names of saved files |
//!
//! The file system itself is the crate embedded-sdmmc. It is made anew for every command and forgotten afterwards, so a
//! card may be changed between two commands, and nothing is held back from it.
//!
//! Context: threads; sleeps. Locks: none here; whoever has the card has its slot's lock.

pub mod files;
pub mod name;
pub mod volume;

#[cfg(test)]
mod files_tests;
#[cfg(test)]
mod ram_disk;
#[cfg(test)]
mod test_card;

use core::fmt;

use crate::drivers::bcm2711::sd::SdError;
use crate::drivers::mmio::Registers;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 512;

/// Something that has blocks.
pub trait Blocks {
    /// Reads blocks from `first` on; `data` is a multiple of [`BLOCK_BYTES`].
    ///
    /// # Errors
    /// Those of the device.
    fn read(&mut self, first: u32, data: &mut [u8]) -> Result<(), SdError>;
    /// Writes blocks from `first` on; they are kept when this returns.
    ///
    /// # Errors
    /// Those of the device.
    fn write(&mut self, first: u32, data: &[u8]) -> Result<(), SdError>;
    /// How many there are.
    fn count(&self) -> u32;
}

/// A card: its slot, and how many blocks it has.
#[derive(Debug)]
pub struct Card<'a, R, P> {
    /// Where it is.
    pub slot: &'a mut crate::drivers::bcm2711::sd::Slot<R, P>,
    /// Its size.
    pub blocks: u32,
}

impl<R: Registers, P: crate::drivers::pace::Pace> Blocks for Card<'_, R, P> {
    fn read(&mut self, first: u32, data: &mut [u8]) -> Result<(), SdError> {
        self.slot.read(first, data)
    }

    fn write(&mut self, first: u32, data: &[u8]) -> Result<(), SdError> {
        self.slot.write(first, data)
    }

    fn count(&self) -> u32 {
        self.blocks
    }
}

/// Why a file cannot be listed, read or saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// The card fails.
    Card(SdError),
    /// The card is not what this can use.
    Layout(volume::LayoutError),
    /// The card is too full. Nothing was written.
    Full {
        /// Bytes that are free.
        free: u64,
        /// Bytes that would have to be.
        needed: u64,
    },
    /// A file of this name is there, and stays.
    Exists(name::FileName),
    /// There is none of this name.
    NotFound,
    /// Not a name that a file can have here.
    Name,
    /// All names of the row are taken.
    NoNameLeft,
    /// What was written does not read back as it was.
    ReadBack(name::FileName),
    /// The file system says what is wrong with it.
    Fat(&'static str),
    /// No memory for a buffer of so many bytes.
    NoMemory(usize),
    /// Whoever makes the text, or takes it, fails.
    Text,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Card(error) => error.fmt(f),
            Self::Layout(error) => error.fmt(f),
            Self::Full { free, needed } => write!(
                f,
                "the card is full: {free} bytes are free and {needed} are needed; nothing was written"
            ),
            Self::Exists(name) => write!(f, "{name} is on the card already and is not overwritten"),
            Self::NotFound => f.write_str("there is no such file on the card"),
            Self::Name => {
                f.write_str("not a file name; expected up to 8 letters or digits, and .TXT or another 3")
            }
            Self::NoNameLeft => f.write_str("LAT99999.TXT is taken, so there is no next name; give one"),
            Self::ReadBack(name) => {
                write!(f, "{name} does not read back as it was written: do not trust this card")
            }
            Self::Fat(text) => write!(f, "the card's file system: {text}"),
            Self::NoMemory(bytes) => write!(f, "no memory for {bytes} bytes"),
            Self::Text => f.write_str("the text ended early"),
        }
    }
}

impl core::error::Error for StorageError {}

impl From<SdError> for StorageError {
    fn from(error: SdError) -> Self {
        Self::Card(error)
    }
}

impl From<volume::LayoutError> for StorageError {
    fn from(error: volume::LayoutError) -> Self {
        Self::Layout(error)
    }
}
