//! The FAT volume on a card: where it is, whether its numbers make sense, and how much of it is free.
//!
//! The crate that knows FAT takes a volume's numbers as they come: ones that make no sense would end in a wrong block
//! or an overflow. It also looks for free clusters beyond the last one, does not get along without a free one behind
//! the one that it takes, and leaves a half-made chain behind when there is none. So the volume is looked at here
//! first, and nothing is written unless there is room for all of it and for those habits ([`SPARE_CLUSTERS`]); the hint
//! where to look for free clusters is set to where they are ([`Volume::set_hint`]).
//!
//! Context: threads; sleeps while the card is read. Bound: the size of the allocation table, 4 MiB for a card of
//! 32 GB, read in runs of 32 KiB.
#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::{BLOCK_BYTES, Blocks, StorageError};

/// Blocks of the allocation table that are read at once: 32 KiB.
const RUN_BLOCKS: usize = 64;
/// Free clusters beside those of the file: one for a directory that has to grow, one that must be behind the last.
pub const SPARE_CLUSTERS: u32 = 2;

/// Partition types that are FAT16 or FAT32.
const FAT_TYPES: [u8; 5] = [0x04, 0x06, 0x0b, 0x0c, 0x0e];
/// Below this many clusters a volume is FAT12, and from the second on it is FAT32.
const FAT16_FROM: u32 = 4085;
const FAT32_FROM: u32 = 65525;
/// Clusters are numbered from here on.
const FIRST_CLUSTER: u32 = 2;

/// Why there is no volume to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// Block 0 is not a partition table.
    NoTable,
    /// No partition is FAT; the types of the four.
    NoFat([u8; 4]),
    /// A partition that reaches behind the end of the card.
    Truncated {
        /// Where it ends.
        end: u64,
        /// Blocks of the card.
        blocks: u32,
    },
    /// The partition does not begin with the parameters of a FAT volume; what is wrong.
    NoVolume(&'static str),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable => {
                f.write_str("no partition table on the card (block 0 does not end in 55 aa); expected an MBR")
            }
            Self::NoFat([a, b, c, d]) => write!(
                f,
                "no FAT partition on the card: the types are {a:02x} {b:02x} {c:02x} {d:02x}; expected 0c, FAT32{}",
                if [a, b, c, d].contains(&&0x07) { " (07 is exFAT or NTFS)" } else { "" }
            ),
            Self::Truncated { end, blocks } => write!(
                f,
                "the partition ends at block {end}, and the card has {blocks}: it was not copied as a whole"
            ),
            Self::NoVolume(what) => write!(f, "no FAT volume in the partition: {what}"),
        }
    }
}

/// What a volume is made of. Blocks are numbered from the start of the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Number of its partition, from 0.
    pub partition: usize,
    /// Its blocks.
    pub range: Range<u32>,
    /// Blocks of a cluster.
    pub cluster_blocks: u32,
    /// How many clusters it has.
    pub clusters: u32,
    /// First block of the allocation table.
    table: u32,
    /// Bytes of an entry: 2 or 4.
    entry_bytes: usize,
    /// Block of the hints; FAT32 only.
    hints: Option<u32>,
}

/// What is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// So many clusters.
    pub clusters: u32,
    /// The first of them; if there is none, the first of all.
    pub first: u32,
}

impl Volume {
    /// Finds the first FAT volume.
    ///
    /// # Errors
    /// There is none, or it makes no sense; or the card fails.
    pub fn find(disk: &mut dyn Blocks) -> Result<Self, StorageError> {
        let mut block = [0; BLOCK_BYTES];
        disk.read(0, &mut block)?;
        if block[510..] != [0x55, 0xaa] {
            return Err(LayoutError::NoTable.into());
        }
        let rows: [&[u8]; 4] = core::array::from_fn(|row| &block[446 + 16 * row..][..16]);
        let types = rows.map(|row| row[4]);
        let found = rows.iter().position(|row| FAT_TYPES.contains(&row[4]) && word(row, 12) != 0);
        let partition = found.ok_or(LayoutError::NoFat(types))?;
        let (first, count) = (word(rows[partition], 8), word(rows[partition], 12));
        let end = u64::from(first) + u64::from(count);
        let range = match u32::try_from(end) {
            Ok(end) if end <= disk.count() => first..end,
            _ => return Err(LayoutError::Truncated { end, blocks: disk.count() }.into()),
        };
        disk.read(first, &mut block)?;
        Ok(Self::parse(partition, range, &block)?)
    }

    /// Reads the parameters in the volume's first block.
    fn parse(partition: usize, range: Range<u32>, block: &[u8; BLOCK_BYTES]) -> Result<Self, LayoutError> {
        let bad = |what| Err(LayoutError::NoVolume(what));
        let half = |at: usize| u32::from(u16::from_le_bytes([block[at], block[at + 1]]));
        if block[510..] != [0x55, 0xaa] {
            return bad("its first block does not end in 55 aa");
        }
        if &block[3..8] == b"EXFAT" {
            return bad("it is exFAT; expected FAT32");
        }
        let cluster_blocks = u32::from(block[13]);
        let (reserved, tables, root_entries) = (half(14), u32::from(block[16]), half(17));
        let blocks = if half(19) != 0 { half(19) } else { word(block, 32) };
        let table_blocks = if half(22) != 0 { half(22) } else { word(block, 36) };
        if half(11) != BLOCK_BYTES as u32 {
            return bad("its blocks do not have 512 bytes");
        }
        if !cluster_blocks.is_power_of_two()
            || reserved == 0
            || !(1..=2).contains(&tables)
            || table_blocks == 0
        {
            return bad("its parameters make no sense");
        }
        if u64::from(blocks) > u64::from(range.end - range.start) {
            return bad("it is larger than its partition");
        }
        let before = u64::from(reserved)
            + u64::from(tables) * u64::from(table_blocks)
            + u64::from(root_entries * 32).div_ceil(BLOCK_BYTES as u64);
        // Less than `blocks`, which has 32 bits.
        let data =
            u64::from(blocks).checked_sub(before).ok_or(LayoutError::NoVolume("it has no room for data"))?;
        let clusters = data as u32 / cluster_blocks;
        let entry_bytes = match clusters {
            0..FAT16_FROM => return bad("it is FAT12; expected FAT32"),
            FAT16_FROM..FAT32_FROM => 2,
            _ => 4,
        };
        let entries = u64::from(table_blocks) * (BLOCK_BYTES / entry_bytes) as u64;
        if entries < u64::from(clusters) + u64::from(FIRST_CLUSTER) {
            return bad("its allocation table is too short");
        }
        let hints = (entry_bytes == 4).then(|| range.start + half(48));
        if entry_bytes == 4 {
            let root = word(block, 44);
            if !(1..reserved).contains(&half(48)) || root < FIRST_CLUSTER || root - FIRST_CLUSTER >= clusters
            {
                return bad("its parameters make no sense");
            }
        }
        let table = range.start + reserved;
        Ok(Self { partition, range, cluster_blocks, clusters, table, entry_bytes, hints })
    }

    /// Bytes of a cluster.
    #[must_use]
    pub fn cluster_bytes(&self) -> u64 {
        u64::from(self.cluster_blocks) * BLOCK_BYTES as u64
    }

    /// Counts the free clusters.
    ///
    /// # Errors
    /// The card fails, or there is no memory for a buffer.
    pub fn free(&self, disk: &mut dyn Blocks) -> Result<Free, StorageError> {
        let mut run = Vec::new();
        let bytes = RUN_BLOCKS * BLOCK_BYTES;
        run.try_reserve_exact(bytes).map_err(|_| StorageError::NoMemory(bytes))?;
        run.resize(bytes, 0);
        let last = self.clusters + FIRST_CLUSTER;
        let entries_of_run = (bytes / self.entry_bytes) as u32;
        let (mut free, mut first) = (0, None);
        for start in (0..last).step_by(entries_of_run as usize) {
            let entries = entries_of_run.min(last - start) as usize;
            let blocks = (entries * self.entry_bytes).div_ceil(BLOCK_BYTES);
            let run = &mut run[..blocks * BLOCK_BYTES];
            disk.read(self.table + start / (BLOCK_BYTES / self.entry_bytes) as u32, run)?;
            for (entry, cluster) in run.chunks_exact(self.entry_bytes).take(entries).zip(start..) {
                let taken = match entry {
                    [a, b] => (a | b) != 0,
                    // The highest four bits of a long entry are not its.
                    [a, b, c, d] => (a | b | c | d & 0xf) != 0,
                    _ => true,
                };
                if cluster >= FIRST_CLUSTER && !taken {
                    free += 1;
                    first.get_or_insert(cluster);
                }
            }
        }
        Ok(Free { clusters: free, first: first.unwrap_or(FIRST_CLUSTER) })
    }

    /// Writes into a FAT32 volume how much is free, and from where on: what its hints should say, and may not.
    ///
    /// # Errors
    /// The card fails; or the block of the hints is none.
    pub fn set_hint(&self, disk: &mut dyn Blocks, free: Free) -> Result<(), StorageError> {
        let Some(at) = self.hints else { return Ok(()) };
        let mut block = [0; BLOCK_BYTES];
        disk.read(at, &mut block)?;
        if &block[..4] != b"RRaA" || &block[484..488] != b"rrAa" || block[508..] != [0, 0, 0x55, 0xaa] {
            return Err(LayoutError::NoVolume("its block of hints (FSInfo) makes no sense").into());
        }
        let wanted = (u64::from(free.first) << 32 | u64::from(free.clusters)).to_le_bytes();
        if block[488..496] != wanted {
            block[488..496].copy_from_slice(&wanted);
            disk.write(at, &block)?;
        }
        Ok(())
    }
}

/// The little-endian word at `at`.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
