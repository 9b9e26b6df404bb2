//! A disk in memory that can fail, for tests.

use std::vec::Vec;

use super::{BLOCK_BYTES, Blocks};
use crate::drivers::bcm2711::sd::SdError;
use crate::drivers::bcm2711::sd_command::{EmmcError, Fault};

/// See the module.
pub(super) struct RamDisk {
    pub(super) bytes: Vec<u8>,
    /// After so many writes every access fails: the power is gone, or the card is.
    pub(super) writes_left: Option<usize>,
    /// After so many reads one fails, and the next ones do not.
    pub(super) reads_left: Option<usize>,
    /// Blocks written so far.
    pub(super) written: usize,
    /// Writes are reported as done, and are not.
    pub(super) forgets: bool,
    /// Blocks that begin with this byte are not kept as they were written.
    pub(super) spoils: Option<u8>,
}

/// What a disk that fails says.
pub(super) const GONE: SdError =
    SdError::NoCard(EmmcError { fault: Fault::NoAnswer, command: 13, status: 0, present: 0 });

impl RamDisk {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, writes_left: None, reads_left: None, written: 0, forgets: false, spoils: None }
    }

    fn range(&self, first: u32, bytes: usize) -> core::ops::Range<usize> {
        let start = first as usize * BLOCK_BYTES;
        start..start + bytes
    }
}

impl Blocks for RamDisk {
    fn read(&mut self, first: u32, data: &mut [u8]) -> Result<(), SdError> {
        if self.writes_left == Some(0) {
            return Err(GONE);
        }
        match self.reads_left.take() {
            Some(0) => return Err(GONE),
            left => self.reads_left = left.map(|left| left - 1),
        }
        data.copy_from_slice(&self.bytes[self.range(first, data.len())]);
        Ok(())
    }

    fn write(&mut self, first: u32, data: &[u8]) -> Result<(), SdError> {
        match &mut self.writes_left {
            Some(0) => return Err(GONE),
            Some(left) => *left -= 1,
            None => {}
        }
        self.written += 1;
        if !self.forgets {
            let range = self.range(first, data.len());
            let last = range.end - 1;
            self.bytes[range].copy_from_slice(data);
            if self.spoils == data.first().copied() {
                self.bytes[last] ^= 1;
            }
        }
        Ok(())
    }

    fn count(&self) -> u32 {
        (self.bytes.len() / BLOCK_BYTES) as u32
    }
}
