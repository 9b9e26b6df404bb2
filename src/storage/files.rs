//! Files: listing a directory, reading one, saving a new one.
//!
//! Saving overwrites nothing: a name that is taken is refused, and the next of the row is one more than the highest
//! there is. It writes nothing unless everything fits ([`super::volume`]), and then in this order: the directory entry
//! with no length, the data, the entry with its length. So whenever the power goes, older files are whole. In the end
//! the file is read back from the card and compared.
//!
//! Context: threads; sleeps. The file system lives for one call.
#![forbid(unsafe_code)]

use core::cell::{Cell, RefCell};
use core::fmt::{self, Write};
use core::ops::{ControlFlow, Range};

use embedded_sdmmc::filesystem::{LfnBuffer, RawDirectory, RawFile};
use embedded_sdmmc::{
    Block, BlockCount, BlockDevice, BlockIdx, DirEntry, Error as FatError, Mode, TimeSource, Timestamp,
    VolumeIdx, VolumeManager,
};

use super::name::FileName;
use super::volume::{SPARE_CLUSTERS, Volume};
use super::{BLOCK_BYTES, Blocks, StorageError};
use crate::drivers::bcm2711::sd::SdError;
use crate::time;

/// Bytes of a long name.
const LONG_NAME_BYTES: usize = 128;
/// How deep a path may go.
const DEPTH_MAX: usize = 8;

/// An entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its name: the long one if it has one.
    pub name: &'a str,
    /// Whether it is a directory.
    pub directory: bool,
    /// Bytes.
    pub bytes: u32,
}

/// The disk as embedded-sdmmc wants it, and what keeps it from doing harm: nothing outside of the volume but the
/// partition table is read, and that is not written; after the first failure every write is refused, since the crate may
/// take a failed read for an answer.
struct Disk<'a> {
    blocks: RefCell<&'a mut dyn Blocks>,
    volume: Range<u32>,
    failed: Cell<Option<SdError>>,
}

impl BlockDevice for Disk<'_> {
    type Error = SdError;

    fn read(&self, blocks: &mut [Block], first: BlockIdx) -> Result<(), SdError> {
        for (block, at) in blocks.iter_mut().zip(first.0..) {
            if at != 0 {
                self.inside(at)?;
            }
            self.noted(self.blocks.borrow_mut().read(at, &mut block.contents))?;
        }
        Ok(())
    }

    fn write(&self, blocks: &[Block], first: BlockIdx) -> Result<(), SdError> {
        if let Some(error) = self.failed.get() {
            return Err(error);
        }
        for (block, at) in blocks.iter().zip(first.0..) {
            self.inside(at)?;
            self.noted(self.blocks.borrow_mut().write(at, &block.contents))?;
        }
        Ok(())
    }

    fn num_blocks(&self) -> Result<BlockCount, SdError> {
        Ok(BlockCount(self.blocks.borrow().count()))
    }
}

impl Disk<'_> {
    fn inside(&self, at: u32) -> Result<(), SdError> {
        if self.volume.contains(&at) {
            return Ok(());
        }
        self.noted(Err(SdError::OutOfRange { first: at, count: 1, blocks: self.volume.end }))
    }

    fn noted<T>(&self, result: Result<T, SdError>) -> Result<T, SdError> {
        result.inspect_err(|&error| self.failed.set(Some(self.failed.get().unwrap_or(error))))
    }
}

/// The board has no clock that knows the day: its time is since the boot, on the first day that FAT has.
struct SinceBoot;

impl TimeSource for SinceBoot {
    fn get_timestamp(&self) -> Timestamp {
        let seconds = time::now_ns() / time::NSEC_PER_SEC;
        Timestamp {
            year_since_1970: 10,
            zero_indexed_month: 0,
            zero_indexed_day: (seconds / 86_400).min(30) as u8,
            hours: (seconds / 3600 % 24) as u8,
            minutes: (seconds / 60 % 60) as u8,
            seconds: (seconds % 60) as u8,
        }
    }
}

/// One call's file system: a volume, and the directories that were opened on the way to a file.
struct Mounted<'a> {
    manager: VolumeManager<Disk<'a>, SinceBoot, DEPTH_MAX, 1, 1>,
    directory: RawDirectory,
}

impl<'a> Mounted<'a> {
    fn new(disk: &'a mut dyn Blocks, volume: &Volume) -> Result<Self, StorageError> {
        let disk = Disk { blocks: RefCell::new(disk), volume: volume.range.clone(), failed: Cell::new(None) };
        let manager = VolumeManager::new_with_limits(disk, SinceBoot, 1);
        let opened =
            manager.open_raw_volume(VolumeIdx(volume.partition)).and_then(|raw| manager.open_root_dir(raw));
        match opened {
            Ok(directory) => Ok(Self { manager, directory }),
            Err(error) => Err(said(error)),
        }
    }

    /// Goes down to the directory of a path and returns what is behind the last slash.
    fn descend<'p>(&mut self, path: &'p str) -> Result<&'p str, StorageError> {
        let mut rest = path.trim_start_matches('/');
        while let Some((name, below)) = rest.split_once('/') {
            self.enter(name)?;
            rest = below.trim_start_matches('/');
        }
        Ok(rest)
    }

    fn enter(&mut self, name: &str) -> Result<(), StorageError> {
        let short = self.short_name(name)?;
        self.directory =
            self.manager.open_dir(self.directory, short.name).map_err(|error| self.why(error))?;
        Ok(())
    }

    /// The entry of this name, long or short, in capitals or not.
    fn short_name(&self, name: &str) -> Result<DirEntry, StorageError> {
        let mut found = None;
        self.each(&mut |entry, long| {
            if long.eq_ignore_ascii_case(name) || same(entry, name) {
                found = Some(entry.clone());
            }
        })?;
        found.ok_or(StorageError::NotFound)
    }

    /// Every entry with its name, the long one if it has one.
    fn each(&self, see: &mut dyn FnMut(&DirEntry, &str)) -> Result<(), StorageError> {
        let mut storage = [0; LONG_NAME_BYTES];
        let mut buffer = LfnBuffer::new(&mut storage);
        let walked = self.manager.iterate_dir_lfn(self.directory, &mut buffer, |entry, long| {
            if !entry.attributes.is_volume() {
                match long {
                    Some(long) => see(entry, long),
                    None => see(entry, &short(entry)),
                }
            }
            ControlFlow::Continue(())
        });
        walked.map_err(|error| self.why(error))
    }

    fn open(&self, name: &str) -> Result<RawFile, StorageError> {
        let entry = self.short_name(name)?;
        let file = self.manager.open_file_in_dir(self.directory, entry.name, Mode::ReadOnly);
        file.map_err(|error| self.why(error))
    }

    /// Hands the file to `take`, piece by piece.
    fn read(
        &self,
        file: RawFile,
        take: &mut dyn FnMut(&[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut piece = [0; BLOCK_BYTES];
        loop {
            match self.manager.read(file, &mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => take(&piece[..count])?,
                Err(error) => return Err(self.why(error)),
            }
        }
    }

    /// What the card said first, if it said anything, or else what the crate says.
    fn why(&self, error: FatError<SdError>) -> StorageError {
        self.manager.device(|disk| disk.failed.get()).map_or_else(|| said(error), StorageError::Card)
    }
}

/// Calls `see` with every entry of a directory; the root if `path` is empty.
///
/// # Errors
/// There is no such directory, or the card or its file system fails.
pub fn list(disk: &mut dyn Blocks, path: &str, see: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
    let volume = Volume::find(disk)?;
    let mut mounted = Mounted::new(disk, &volume)?;
    let last = mounted.descend(path)?;
    if !last.is_empty() {
        mounted.enter(last)?;
    }
    mounted.each(&mut |entry, name| {
        see(Listed { name, directory: entry.attributes.is_directory(), bytes: entry.size });
    })
}

/// Hands a file's bytes to `take`, piece by piece.
///
/// # Errors
/// There is no such file, or the card or its file system fails; or an error of `take`.
pub fn read(
    disk: &mut dyn Blocks,
    path: &str,
    take: &mut dyn FnMut(&[u8]) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let volume = Volume::find(disk)?;
    let mut mounted = Mounted::new(disk, &volume)?;
    let name = mounted.descend(path)?;
    let file = mounted.open(name)?;
    mounted.read(file, take)
}

/// Writes a text into a new file of the root directory: `name`, or the next of the row. `text` is asked for the text
/// twice, for its length and for itself; the second time it says no more than the first. Returns the name and the
/// length.
///
/// # Errors
/// No room, a name that is taken, or a failure of the card; older files are not touched whatever happens.
pub fn save(
    disk: &mut dyn Blocks,
    name: Option<FileName>,
    text: &dyn Fn(&mut dyn Write) -> fmt::Result,
) -> Result<(FileName, u64), StorageError> {
    let mut expected = Sum::default();
    text(&mut expected).map_err(|_| StorageError::Text)?;
    let volume = Volume::find(disk)?;
    let name = free_name(&Mounted::new(disk, &volume)?, name)?;
    make_room(disk, &volume, expected.bytes)?;
    let written = write(&Mounted::new(disk, &volume)?, &name, text, expected.bytes)?;
    // A new file system knows nothing of what was written: this comes from the card.
    let mounted = Mounted::new(disk, &volume)?;
    let mut back = Sum::default();
    mounted.read(mounted.open(name.as_str())?, &mut |piece| {
        back.add(piece);
        Ok(())
    })?;
    if back == written { Ok((name, written.bytes)) } else { Err(StorageError::ReadBack(name)) }
}

/// The name that was asked for if nobody has it, or the next of the row.
fn free_name(mounted: &Mounted, wanted: Option<FileName>) -> Result<FileName, StorageError> {
    let (mut highest, mut taken) = (0, false);
    mounted.each(&mut |entry, _| {
        let name = short(entry);
        highest = highest.max(FileName::number(&name).unwrap_or(0));
        taken |= wanted.as_ref().is_some_and(|wanted| wanted.as_str() == name.as_str());
    })?;
    match wanted {
        Some(name) if taken => Err(StorageError::Exists(name)),
        Some(name) => Ok(name),
        None => FileName::numbered(highest + 1).ok_or(StorageError::NoNameLeft),
    }
}

/// Makes sure that a file of so many bytes fits, and that the crate finds where.
fn make_room(disk: &mut dyn Blocks, volume: &Volume, bytes: u64) -> Result<(), StorageError> {
    let free = volume.free(disk)?;
    let needed = bytes.div_ceil(volume.cluster_bytes()) + u64::from(SPARE_CLUSTERS);
    if u64::from(free.clusters) < needed {
        let bytes = |clusters: u64| clusters * volume.cluster_bytes();
        return Err(StorageError::Full { free: bytes(free.clusters.into()), needed: bytes(needed) });
    }
    volume.set_hint(disk, free)
}

fn write(
    mounted: &Mounted,
    name: &FileName,
    text: &dyn Fn(&mut dyn Write) -> fmt::Result,
    bytes_most: u64,
) -> Result<Sum, StorageError> {
    let Mounted { manager, directory } = mounted;
    let file = manager.open_file_in_dir(*directory, name.as_str(), Mode::ReadWriteCreate);
    let file = file.map_err(|error| mounted.why(error))?;
    let mut writer =
        Writer { mounted, file, block: heapless::Vec::new(), sum: Sum::default(), bytes_most, error: None };
    let told = text(&mut writer).map_err(|_| StorageError::Text);
    let told = writer.flush().and(writer.error.take().map_or(told, Err));
    // Also behind a failure: what was written until then has its length.
    let closed = manager.close_file(file).map_err(|error| mounted.why(error));
    told.and(closed).map(|()| writer.sum)
}

/// Collects a text into whole blocks.
struct Writer<'m, 'a> {
    mounted: &'m Mounted<'a>,
    file: RawFile,
    block: heapless::Vec<u8, BLOCK_BYTES>,
    sum: Sum,
    /// There is room for so much.
    bytes_most: u64,
    error: Option<StorageError>,
}

impl Writer<'_, '_> {
    fn flush(&mut self) -> Result<(), StorageError> {
        // Writing nothing would give an empty file a cluster, which it must not have.
        if self.block.is_empty() {
            return Ok(());
        }
        let written =
            self.mounted.manager.write(self.file, &self.block).map_err(|error| self.mounted.why(error));
        self.block.clear();
        written
    }
}

impl Write for Writer<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.sum.add(text.as_bytes());
        if self.sum.bytes > self.bytes_most {
            return Err(fmt::Error);
        }
        for &byte in text.as_bytes() {
            // There is room: a full block is written at once.
            let _ = self.block.push(byte);
            if self.block.is_full() {
                let written = self.flush();
                self.error = written.err();
                if self.error.is_some() {
                    return Err(fmt::Error);
                }
            }
        }
        Ok(())
    }
}

/// Length and checksum (FNV-1a) of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum {
    bytes: u64,
    hash: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Self { bytes: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Sum {
    fn add(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        for &byte in piece {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Write for Sum {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

/// The short name of an entry as text.
fn short(entry: &DirEntry) -> heapless::String<12> {
    let mut name = heapless::String::new();
    // Eight, a dot and three.
    let _ = write!(name, "{}", entry.name);
    name
}

fn same(entry: &DirEntry, name: &str) -> bool {
    short(entry).eq_ignore_ascii_case(name)
}

/// An error of the crate, in our words.
fn said(error: FatError<SdError>) -> StorageError {
    match error {
        FatError::DeviceError(error) => StorageError::Card(error),
        FatError::NotFound => StorageError::NotFound,
        FatError::FilenameError(_) => StorageError::Name,
        FatError::FormatError(text) => StorageError::Fat(text),
        FatError::OpenedDirAsFile => StorageError::Fat("that is a directory"),
        FatError::OpenedFileAsDir => StorageError::Fat("that is a file, not a directory"),
        FatError::TooManyOpenDirs => StorageError::Fat("the path goes too deep"),
        FatError::DiskFull | FatError::NotEnoughSpace => StorageError::Fat("no room is left"),
        FatError::ReadOnly => StorageError::Fat("the file is marked as not to be written"),
        FatError::UnterminatedFatChain | FatError::BadCluster => {
            StorageError::Fat("a file's chain of clusters is broken; have the card checked (fsck)")
        }
        _ => StorageError::Fat("it cannot do that"),
    }
}
