//! Makes the image of the card, and reads it back.
//!
//! 64 MiB: a power of two, which QEMU wants of a card. A partition table with one entry is written here; the
//! file system comes from mtools, which need no root.
//!
//! Invariant: every byte is decided here. Serial numbers are constants, each file carries one fixed time (or that of
//! `SOURCE_DATE_EPOCH`), the time zone is UTC, and files are copied one by one in the given order.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use super::{CardFile, KERNEL};

/// Size of the image.
pub const CARD_BYTES: u64 = 64 << 20;
const SECTOR_BYTES: u64 = 512;
/// The partition begins at 1 MiB, as card makers' own do.
const FIRST_SECTOR: u32 = 2048;
const SECTORS: u32 = (CARD_BYTES / SECTOR_BYTES) as u32 - FIRST_SECTOR;
const FAT32_LBA: u8 = 0x0c;
/// Of the disk and of the file system: `RPT4` in ASCII.
const SERIAL: u32 = 0x5250_5434;
/// What files are dated unless `SOURCE_DATE_EPOCH` says otherwise: a day in November 2023.
const EPOCH_S: u64 = 1_700_000_000;
const EPOCH_VARIABLE: &str = "SOURCE_DATE_EPOCH";
/// 1980 and 2107 bound what FAT can date.
const EPOCHS_S: std::ops::Range<u64> = 315_619_200..4_354_819_200;

const TABLE_AT: usize = 446;

/// Whether everything that makes and checks a card is there.
///
/// # Errors
/// With the names of what is missing.
pub fn check_tools() -> Result<()> {
    let lacks: Vec<_> =
        ["mformat", "mcopy", "mdir", "fsck.vfat"].into_iter().filter(|name| tool(name).is_none()).collect();
    ensure!(
        lacks.is_empty(),
        "{} cannot be found: run `tools/setup.sh sdcard`, or install mtools and dosfstools by hand",
        lacks.join(", ")
    );
    Ok(())
}

/// Makes the image at `out`, reads everything back, and only then lets it have its name.
///
/// # Errors
/// When the files do not fit, a tool is missing or fails, or what is read back differs.
pub fn make(out: &Path, files: &[CardFile]) -> Result<()> {
    check_tools()?;
    let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
    // FAT and directories take less than this.
    let room = u64::from(SECTORS) * SECTOR_BYTES - (2 << 20);
    ensure!(
        bytes as u64 <= room,
        "the files of the card are {bytes} bytes, there is room for {room}: leave out what FW_DIR need not have"
    );
    let dir = out.parent().context("the card has no directory to be in")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
    let work = Work::new(out)?;
    let part = work.0.join("card.img");
    blank(&part)?;
    format(&part)?;
    let time = epoch()?;
    for file in files {
        let staged = work.0.join(&file.name);
        fs::write(&staged, &file.bytes).with_context(|| format!("cannot write {}", staged.display()))?;
        File::options()
            .write(true)
            .open(&staged)
            .and_then(|staged| staged.set_modified(time))
            .with_context(|| format!("cannot date {}", staged.display()))?;
        run(mtool("mcopy")
            .args(["-m", "-i"])
            .arg(place(&part))
            .arg(&staged)
            .arg(format!("::{}", file.name)))?;
    }
    verify(&part, &work.0, files)?;
    fs::rename(&part, out).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(())
}

/// Takes the kernel back out of a card's image.
///
/// # Errors
/// When it is no image of ours, or there is no kernel in it.
pub fn kernel_of(image: &Path) -> Result<Vec<u8>> {
    read_back(image, KERNEL)
}

/// The names of the files on a card's image, in their order.
///
/// # Errors
/// When it is no image of ours.
pub fn names_on(image: &Path) -> Result<Vec<String>> {
    check_table(image)?;
    let listing = run(mtool("mdir").args(["-b", "-i"]).arg(place(image)).arg("::"))?;
    let text = String::from_utf8(listing).context("a file on the card has a name that is not UTF-8")?;
    Ok(text.lines().map(|line| line.trim().trim_start_matches("::/").to_owned()).collect())
}

fn read_back(image: &Path, name: &str) -> Result<Vec<u8>> {
    check_table(image)?;
    // `-` would let mcopy write to its standard output; it may translate nothing then.
    run(mtool("mcopy").arg("-i").arg(place(image)).arg(format!("::{name}")).arg("-"))
        .with_context(|| format!("{name} cannot be read from {}", image.display()))
}

/// Checks the file system and compares every file with what should be in it.
fn verify(image: &Path, work: &Path, files: &[CardFile]) -> Result<()> {
    let partition = work.join("partition.img");
    let mut from = File::open(image).context("cannot open the new card")?;
    from.seek(SeekFrom::Start(u64::from(FIRST_SECTOR) * SECTOR_BYTES))
        .context("the new card is too short")?;
    let mut to = File::create(&partition).context("cannot copy the partition")?;
    std::io::copy(&mut from, &mut to).context("cannot copy the partition")?;
    run(Command::new(tool("fsck.vfat").context("fsck.vfat is gone")?).arg("-n").arg(&partition))
        .context("the file system that was just made is not sound")?;
    let (names, wanted) = (names_on(image)?, files.iter().map(|file| file.name.as_str()));
    ensure!(
        names.iter().map(String::as_str).eq(wanted),
        "the new card lists {names:?}, which is not what was copied"
    );
    for file in files {
        ensure!(
            read_back(image, &file.name)? == file.bytes,
            "{} reads back from the new card with other bytes than were written",
            file.name
        );
    }
    Ok(())
}

/// An empty card with its partition table.
fn blank(image: &Path) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(image)?;
        file.set_len(CARD_BYTES)?;
        file.write_all(&partition_table())
    };
    write().with_context(|| format!("cannot write {}", image.display()))
}

/// The first sector: no code, one bootable FAT32 partition. Cylinders and heads are what everybody writes when
/// sectors are counted instead.
fn partition_table() -> [u8; 512] {
    let mut sector = [0; 512];
    sector[440..444].copy_from_slice(&SERIAL.to_le_bytes());
    let entry = &mut sector[TABLE_AT..TABLE_AT + 16];
    entry[0] = 0x80;
    entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[4] = FAT32_LBA;
    entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&FIRST_SECTOR.to_le_bytes());
    entry[12..16].copy_from_slice(&SECTORS.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// Whether an image begins with [`partition_table`].
fn check_table(image: &Path) -> Result<()> {
    let mut sector = [0; 512];
    File::open(image)
        .and_then(|mut file| file.read_exact(&mut sector))
        .with_context(|| format!("cannot read the first sector of {}", image.display()))?;
    ensure!(
        sector == partition_table(),
        "{} is not a card made by `make sdcard`: its partition table is another one",
        image.display()
    );
    Ok(())
}

fn format(image: &Path) -> Result<()> {
    let (sectors, first, serial) = (SECTORS.to_string(), FIRST_SECTOR.to_string(), format!("{SERIAL:08x}"));
    // One sector per cluster: FAT32 needs more clusters than larger ones would leave.
    let geometry = ["-F", "-T", &sectors, "-h", "255", "-s", "63", "-H", &first, "-c", "1", "-N", &serial];
    run(mtool("mformat").arg("-i").arg(place(image)).args(geometry).args(["-v", "STINT", "::"])).map(drop)
}

fn epoch() -> Result<SystemTime> {
    let seconds = match std::env::var(EPOCH_VARIABLE) {
        Err(_) => EPOCH_S,
        Ok(text) => text.trim().parse().ok().filter(|seconds| EPOCHS_S.contains(seconds)).with_context(|| {
            format!("{EPOCH_VARIABLE} is `{text}`; seconds since 1970 in the years 1980 to 2107 would be right")
        })?,
    };
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Where the file system is, in the words of mtools.
fn place(image: &Path) -> String {
    format!("{}@@{}", image.display(), u64::from(FIRST_SECTOR) * SECTOR_BYTES)
}

/// A tool of mtools, deaf to the settings of whoever calls.
fn mtool(name: &str) -> Command {
    let mut command = Command::new(tool(name).unwrap_or_else(|| name.into()));
    command.env("MTOOLSRC", "/dev/null").env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    if std::env::var_os(EPOCH_VARIABLE).is_none() {
        command.env(EPOCH_VARIABLE, EPOCH_S.to_string());
    }
    command
}

/// Finds a program; those for file systems are often not in a user's path.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Runs a tool and returns what it printed.
fn run(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().with_context(|| format!("cannot start {name}: run `tools/setup.sh sdcard`"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(output.stdout)
}

/// A directory for what is in between, gone when it is dropped.
struct Work(PathBuf);

impl Work {
    /// Beside the result, so that the last step is a rename; named for it, so that two cards can be made at once.
    fn new(out: &Path) -> Result<Self> {
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let dir = out.with_file_name(format!(".{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Nobody waits for it; it lies below the target directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_fills_the_card_and_is_fat32() {
        let sector = partition_table();
        let word = |at: usize| u32::from_le_bytes(sector[at..at + 4].try_into().unwrap());
        assert_eq!((word(TABLE_AT + 8), word(TABLE_AT + 12)), (2048, 129_024));
        assert_eq!(u64::from(word(TABLE_AT + 8) + word(TABLE_AT + 12)) * SECTOR_BYTES, CARD_BYTES);
        assert_eq!((sector[TABLE_AT], sector[TABLE_AT + 4]), (0x80, 0x0c));
        assert_eq!(sector[510..], [0x55, 0xaa]);
        assert!(CARD_BYTES.is_power_of_two());
    }

    #[test]
    fn a_file_that_is_no_card_is_refused_by_name() {
        let path = std::env::temp_dir().join(format!("stint-no-card-{}", std::process::id()));
        fs::write(&path, [7; 1024]).unwrap();
        let message = format!("{:#}", kernel_of(&path).unwrap_err());
        fs::remove_file(&path).unwrap();
        assert!(message.contains("is not a card made by `make sdcard`"), "{message}");
    }
}
