//! What the clients of `dbench` share: a table of files in memory, as a file server has it.
//!
//! The table is a reader-writer lock around its places; a file is a mutex around its blocks. To make or remove a file is
//! to write the table, everything else reads it. A block comes from the heap, is filled and checked byte for byte, and
//! goes back when its file is removed or full: the path of an operation has the locks, the allocation and the copy that
//! a system call on a file has.
//!
//! Invariants: counts in the table agree with what the operations report; a block holds what was written.
//!
//! Context: threads. Locks: the table, then one file's. Bound: an operation fills or reads one block and frees at most
//! [`BLOCKS`]; the walks over all places are those of [`Table::census`].
#![forbid(unsafe_code)]

use crate::locking::{Mutex, RwLock};
use alloc::vec::Vec;

/// Files there can be.
pub const PLACES: usize = 64;
/// Blocks of a file; with the next one it begins anew.
pub const BLOCKS: usize = 8;
/// Sizes of a block, in bytes.
pub const BLOCK_BYTES: core::ops::RangeInclusive<usize> = 64..=2048;

/// A file.
#[derive(Debug, Default)]
struct File {
    blocks: Vec<Vec<u8>>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Table {
    places: RwLock<Places>,
}

/// At most [`PLACES`]; a file keeps its name and changes its place.
#[derive(Debug)]
struct Places {
    next_name: u32,
    files: Vec<(u32, Mutex<File>)>,
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Files.
    pub files: u64,
    /// Blocks of all of them.
    pub blocks: u64,
}

/// What was done to the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files made.
    pub made: u64,
    /// Files removed.
    pub removed: u64,
    /// Blocks written.
    pub written: u64,
    /// Blocks that went: with their file, or because it began anew.
    pub freed: u64,
    /// Blocks read.
    pub read: u64,
    /// Operations that found nothing to do: no file, none written yet, no room, no memory.
    pub idle: u64,
}

impl Tally {
    /// Operations, each of which counts once.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.made + self.removed + self.written + self.read + self.idle
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            made: self.made + other.made,
            removed: self.removed + other.removed,
            written: self.written + other.written,
            freed: self.freed + other.freed,
            read: self.read + other.read,
            idle: self.idle + other.idle,
        }
    }

    /// What must be in a table that was empty.
    #[must_use]
    pub fn leaves(&self) -> Census {
        Census { files: self.made - self.removed, blocks: self.written - self.freed }
    }
}

/// A number of Marsaglia's xorshift; `state` is not 0.
pub fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The byte a block is filled with.
fn pattern(name: u32, number: usize) -> u8 {
    (name as usize * 31 + number * 7 + 1) as u8
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// Without a file.
    #[must_use]
    pub fn new() -> Self {
        let mut files = Vec::new();
        files.reserve_exact(PLACES);
        Self { places: RwLock::new(Places { next_name: 0, files }) }
    }

    /// One operation of a client, chosen by its random numbers: of 16, two make a file, one removes one, five write a
    /// block, eight read one.
    pub fn operate(&self, state: &mut u64, tally: &mut Tally) {
        let dice = random(state);
        let which = (dice >> 32) as usize;
        match dice % 16 {
            0 | 1 => self.make(tally),
            2 => self.remove(which, tally),
            3..=7 => {
                let span = BLOCK_BYTES.end() - BLOCK_BYTES.start() + 1;
                self.write(which, BLOCK_BYTES.start() + (dice >> 8) as usize % span, tally);
            }
            _ => self.read(which, (dice >> 8) as usize, tally),
        }
    }

    fn make(&self, tally: &mut Tally) {
        let mut places = self.places.write();
        if places.files.len() == PLACES {
            tally.idle += 1;
            return;
        }
        let name = places.next_name;
        places.next_name = name.wrapping_add(1);
        places.files.push((name, Mutex::new(File::default())));
        tally.made += 1;
    }

    fn remove(&self, which: usize, tally: &mut Tally) {
        let mut places = self.places.write();
        let Some(at) = which.checked_rem(places.files.len()) else {
            tally.idle += 1;
            return;
        };
        let (_, file) = places.files.swap_remove(at);
        drop(places);
        // Nobody else has it any more: its blocks are freed outside of the lock.
        tally.freed += file.lock().blocks.len() as u64;
        tally.removed += 1;
    }

    fn write(&self, which: usize, bytes: usize, tally: &mut Tally) {
        let places = self.places.read();
        let Some((name, file)) = places.pick(which) else {
            tally.idle += 1;
            return;
        };
        let mut file = file.lock();
        if file.blocks.len() == BLOCKS {
            tally.freed += BLOCKS as u64;
            file.blocks.clear();
        }
        let mut block = Vec::new();
        if file.blocks.try_reserve_exact(BLOCKS).is_err() || block.try_reserve_exact(bytes).is_err() {
            tally.idle += 1;
            return;
        }
        block.resize(bytes, pattern(*name, file.blocks.len()));
        file.blocks.push(block);
        tally.written += 1;
    }

    fn read(&self, which: usize, block: usize, tally: &mut Tally) {
        let places = self.places.read();
        let found = places.pick(which).map(|(name, file)| (name, file.lock()));
        let Some((name, file)) = found.filter(|(_, file)| !file.blocks.is_empty()) else {
            tally.idle += 1;
            return;
        };
        let number = block % file.blocks.len();
        let wanted = pattern(*name, number);
        assert!(
            file.blocks[number].iter().all(|&byte| byte == wanted),
            "block {number} of file {name} was damaged: expected {wanted:#x} everywhere"
        );
        tally.read += 1;
    }

    /// Counts what is there.
    #[must_use]
    pub fn census(&self) -> Census {
        let places = self.places.read();
        let blocks = places.files.iter().map(|(_, file)| file.lock().blocks.len() as u64).sum();
        Census { files: places.files.len() as u64, blocks }
    }
}

impl Places {
    /// One of the files, if there is any.
    fn pick(&self, which: usize) -> Option<&(u32, Mutex<File>)> {
        self.files.get(which.checked_rem(self.files.len())?)
    }
}
