use std::format;
use std::string::{String, ToString};
use std::sync::LazyLock;
use std::vec;
use std::vec::Vec;

use super::files::{list, read, save};
use super::name::FileName;
use super::ram_disk::{GONE, RamDisk};
use super::test_card::{FIRST_BLOCK, check, formatted, put, take};
use super::volume::{LayoutError, Volume};
use super::{Blocks, StorageError};
use crate::drivers::bcm2711::sd::SdError;
use core::fmt::{self, Write};

/// The smallest volume that is FAT32, and not a multiple of a block of the table.
const SMALL: usize = FIRST_BLOCK + 66_700;

fn empty() -> RamDisk {
    static CARD: LazyLock<Vec<u8>> = LazyLock::new(|| formatted(SMALL, true));
    RamDisk::new(CARD.clone())
}

/// A small card, which is FAT16: for what is done many times over.
fn small() -> RamDisk {
    static CARD: LazyLock<Vec<u8>> = LazyLock::new(|| formatted(FIRST_BLOCK + 4300, false));
    RamDisk::new(CARD.clone())
}

/// A text of so many lines.
fn text(lines: usize) -> impl Fn(&mut dyn Write) -> fmt::Result {
    move |out| (0..lines).try_for_each(|line| writeln!(out, "result line {line} of {lines}"))
}

fn as_bytes(text: impl Fn(&mut dyn Write) -> fmt::Result) -> Vec<u8> {
    let mut out = String::new();
    text(&mut out).unwrap();
    out.into_bytes()
}

fn names(disk: &mut RamDisk, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    list(disk, path, &mut |entry| names.push(format!("{} {}", entry.name, entry.bytes))).unwrap();
    names
}

/// Fills the card so that `left` clusters of one block are free.
fn fill(disk: &mut RamDisk, left: usize) {
    put(&mut disk.bytes, "old.txt", b"an old report");
    let volume = Volume::find(disk).unwrap();
    let free = volume.free(disk).unwrap().clusters as usize;
    put(&mut disk.bytes, "fill.bin", &vec![7; (free - left) * 512]);
    assert_eq!(volume.free(disk).unwrap().clusters as usize, left);
}

#[test]
fn a_saved_text_is_read_by_others_and_each_has_the_next_name() {
    let mut disk = empty();
    for (number, lines) in [(1, 0), (2, 1), (3, 200), (4, 16)] {
        let bytes = as_bytes(text(lines)).len() as u64;
        let saved = save(&mut disk, None, &text(lines));
        assert_eq!(saved, Ok((FileName::numbered(number).unwrap(), bytes)));
        check(&disk.bytes).unwrap();
    }
    for (number, lines) in [(1, 0), (2, 1), (3, 200), (4, 16)] {
        assert_eq!(take(&disk.bytes, &format!("LAT0000{number}.TXT")), Some(as_bytes(text(lines))));
    }
}

#[test]
fn the_next_name_is_behind_the_highest_and_gaps_stay() {
    let mut disk = empty();
    put(&mut disk.bytes, "LAT00041.TXT", b"kept");
    put(&mut disk.bytes, "LAT00003.TXT", b"kept too");
    assert_eq!(save(&mut disk, None, &text(1)).unwrap().0.as_str(), "LAT00042.TXT");
    put(&mut disk.bytes, "LAT99999.TXT", b"the last");
    assert_eq!(save(&mut disk, None, &text(1)), Err(StorageError::NoNameLeft));
    assert_eq!(take(&disk.bytes, "LAT00041.TXT").unwrap(), b"kept");
    check(&disk.bytes).unwrap();
}

#[test]
fn a_name_that_is_taken_is_refused_and_its_file_stays() {
    let mut disk = empty();
    let name = FileName::parse("mine").unwrap();
    assert_eq!(save(&mut disk, Some(name.clone()), &text(3)).unwrap().0, name);
    let written = disk.written;
    assert_eq!(save(&mut disk, Some(name.clone()), &text(9)), Err(StorageError::Exists(name)));
    assert_eq!((disk.written, take(&disk.bytes, "mine.txt").unwrap()), (written, as_bytes(text(3))));
}

#[test]
fn files_and_directories_are_listed_and_read_by_long_and_short_names() {
    let mut disk = empty();
    put(&mut disk.bytes, "a long name.text", b"long");
    put(&mut disk.bytes, "dir/inside.txt", b"deep");
    assert_eq!(names(&mut disk, ""), ["a long name.text 4", "dir 0"]);
    assert!(names(&mut disk, "/DIR/").contains(&"inside.txt 4".to_string()));
    for (path, content) in
        [("A LONG NAME.TEXT", "long"), ("alongn~1.tex", "long"), ("/dir/inside.txt", "deep")]
    {
        let mut bytes = Vec::new();
        let got = read(&mut disk, path, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        assert_eq!((got, bytes), (Ok(()), content.as_bytes().to_vec()), "{path}");
    }
    let none = |disk: &mut RamDisk, path| read(disk, path, &mut |_| Ok(())).unwrap_err();
    assert_eq!(none(&mut disk, "nothing.txt"), StorageError::NotFound);
    assert_eq!(none(&mut disk, "dir"), StorageError::Fat("that is a directory"));
    assert_eq!(none(&mut disk, "no/such"), StorageError::NotFound);
}

#[test]
fn a_full_card_is_said_to_be_full_and_is_not_written() {
    let bytes = as_bytes(text(100)).len();
    let needed = bytes.div_ceil(512) + 2;
    for left in [0, 1, needed - 1] {
        let mut disk = empty();
        fill(&mut disk, left);
        let error = save(&mut disk, None, &text(100)).unwrap_err();
        let expected = StorageError::Full { free: left as u64 * 512, needed: needed as u64 * 512 };
        assert_eq!((error, disk.written), (expected, 0));
        check(&disk.bytes).unwrap();
    }
}

#[test]
fn the_last_room_is_used_wherever_the_hint_points() {
    let needed = as_bytes(text(100)).len().div_ceil(512) + 2;
    for hint in [None, Some(2u32), Some(66_000), Some(u32::MAX)] {
        let mut disk = empty();
        fill(&mut disk, needed);
        if let Some(hint) = hint {
            // FSInfo is block 1 of the volume.
            let at = (FIRST_BLOCK + 1) * 512 + 488;
            disk.bytes[at..at + 4].copy_from_slice(&5u32.to_le_bytes());
            disk.bytes[at + 4..at + 8].copy_from_slice(&hint.to_le_bytes());
        }
        let (name, _) = save(&mut disk, None, &text(100)).unwrap();
        assert_eq!(take(&disk.bytes, name.as_str()), Some(as_bytes(text(100))));
        assert_eq!(take(&disk.bytes, "old.txt").unwrap(), b"an old report");
        check(&disk.bytes).unwrap();
    }
}

#[test]
fn fat16_is_used_too() {
    let mut disk = RamDisk::new(formatted(FIRST_BLOCK + 20_000, false));
    for number in 1..40 {
        assert_eq!(
            save(&mut disk, None, &text(number)).unwrap().0,
            FileName::numbered(number as u32).unwrap()
        );
    }
    check(&disk.bytes).unwrap();
    assert_eq!(take(&disk.bytes, "LAT00039.TXT"), Some(as_bytes(text(39))));
}

#[test]
fn a_directory_that_is_full_grows() {
    let mut disk = empty();
    // 16 entries are a cluster.
    for _ in 0..20 {
        save(&mut disk, None, &text(1)).unwrap();
    }
    check(&disk.bytes).unwrap();
    assert_eq!(names(&mut disk, "").len(), 20);
}

#[test]
fn wherever_the_power_goes_older_files_stay_whole() {
    power_goes(small(), 1);
    // The same with hints, at every third write.
    power_goes(empty(), 3);
}

fn power_goes(mut disk: RamDisk, step: usize) {
    save(&mut disk, None, &text(50)).unwrap();
    let before = disk.written;
    let kept = disk.bytes.clone();
    save(&mut disk, None, &text(60)).unwrap();
    let writes = disk.written - before;
    assert!(writes > 10, "{writes}");
    for cut in (0..writes).step_by(step) {
        let mut disk = RamDisk::new(kept.clone());
        disk.writes_left = Some(cut);
        assert_eq!(save(&mut disk, None, &text(60)), Err(StorageError::Card(GONE)), "cut at {cut}");
        assert_eq!(take(&disk.bytes, "LAT00001.TXT"), Some(as_bytes(text(50))), "cut at {cut}");
        // The next one finds its way.
        disk.writes_left = None;
        let (name, _) = save(&mut disk, None, &text(70)).unwrap();
        assert_eq!(take(&disk.bytes, name.as_str()), Some(as_bytes(text(70))), "cut at {cut}");
        assert_eq!(take(&disk.bytes, "LAT00001.TXT"), Some(as_bytes(text(50))), "cut at {cut}");
    }
}

#[test]
fn a_read_that_fails_once_is_no_answer() {
    let mut disk = small();
    save(&mut disk, None, &text(50)).unwrap();
    let kept = disk.bytes;
    for read in 0.. {
        let mut disk = RamDisk::new(kept.clone());
        disk.reads_left = Some(read);
        let saved = save(&mut disk, None, &text(60));
        assert_eq!(take(&disk.bytes, "LAT00001.TXT"), Some(as_bytes(text(50))), "read {read}");
        if disk.reads_left.is_some() {
            // So many are not made.
            assert!(saved.is_ok() && read > 10, "read {read}: {saved:?}");
            return;
        }
        assert_eq!(saved, Err(StorageError::Card(GONE)), "read {read}");
    }
}

#[test]
fn a_card_that_forgets_is_found_out() {
    let mut disk = empty();
    disk.forgets = true;
    assert!(save(&mut disk, None, &text(5)).is_err());
}

#[test]
fn a_card_that_keeps_something_else_is_found_out() {
    let mut disk = empty();
    // The text's first block.
    disk.spoils = Some(b'r');
    let name = FileName::numbered(1).unwrap();
    assert_eq!(save(&mut disk, None, &text(50)), Err(StorageError::ReadBack(name)));
}

#[test]
fn a_chain_that_leads_out_of_the_volume_is_not_followed() {
    let mut disk = empty();
    // Room behind the partition, and a root directory that is full: 16 entries.
    disk.bytes.resize(disk.bytes.len() + (1 << 20), 0);
    for _ in 0..16 {
        save(&mut disk, None, &text(1)).unwrap();
    }
    let volume = Volume::find(&mut disk).unwrap();
    // Entry 2 of both tables: the directory goes on in a cluster that is not there.
    let block = &disk.bytes[FIRST_BLOCK * 512..];
    let reserved = usize::from(block[14]);
    let table_blocks = usize::from(u16::from_le_bytes([block[36], block[37]]));
    for table in 0..2 {
        let at = (FIRST_BLOCK + reserved + table * table_blocks) * 512 + 8;
        disk.bytes[at..at + 4].copy_from_slice(&(volume.clusters + 9).to_le_bytes());
    }
    let before = disk.bytes.clone();
    let error = save(&mut disk, None, &text(1)).unwrap_err();
    assert!(matches!(error, StorageError::Card(SdError::OutOfRange { .. })), "{error}");
    let end = volume.range.end as usize * 512;
    assert_eq!(disk.bytes[end..], before[end..]);
}

#[test]
fn what_is_no_card_for_us_is_told_apart() {
    let of = |bytes: Vec<u8>| list(&mut RamDisk::new(bytes), "", &mut |_| {}).unwrap_err();
    assert_eq!(of(vec![0; 4096]), StorageError::Layout(LayoutError::NoTable));
    let mut card = empty().bytes;
    card[446 + 4] = 0x83;
    let error = of(card.clone());
    assert_eq!(
        error.to_string(),
        "no FAT partition on the card: the types are 83 00 00 00; expected 0c, FAT32"
    );
    card[446 + 4] = 0x07;
    assert!(of(card.clone()).to_string().ends_with("(07 is exFAT or NTFS)"));
    card[446 + 4] = 0x0c;
    let cut = card[..card.len() - 512].to_vec();
    let text = "the partition ends at block 68748, and the card has 68747: it was not copied as a whole";
    assert_eq!(of(cut).to_string(), text);
    let volume = FIRST_BLOCK * 512;
    // The size of the volume, one more than its partition has; a cluster of three blocks; a table that is too short.
    for (at, value, says) in [
        (32, 66_701u32.to_le_bytes(), "larger than its partition"),
        (13, [3, card[volume + 14], card[volume + 15], 2], "make no sense"),
        (36, 4u32.to_le_bytes(), "table is too short"),
    ] {
        let mut card = card.clone();
        card[volume + at..][..4].copy_from_slice(&value);
        let error = of(card).to_string();
        assert!(error.contains(says), "{error}");
    }
    card[FIRST_BLOCK * 512..][..512].fill(0);
    assert!(of(card).to_string().contains("does not end in 55 aa"));
}

#[test]
fn parameters_that_make_no_sense_are_refused_and_never_believed() {
    // Every byte of the parameters, set to what it never is.
    spoil(&small().bytes, &[0, 1, 0x7f, 0xff]);
    spoil(&empty().bytes, &[0, 0xff]);
}

fn spoil(good: &[u8], values: &[u8]) {
    for at in 11..52 {
        for &value in values {
            let mut disk = RamDisk::new(good.to_vec());
            disk.bytes[FIRST_BLOCK * 512 + at] = value;
            let same = disk.bytes == good;
            let saved = save(&mut disk, None, &text(10));
            assert!(saved.is_ok() || !same, "{at}: {saved:?}");
            // Whatever was believed: outside of the partition nothing was written.
            assert_eq!(disk.bytes[..FIRST_BLOCK * 512], good[..FIRST_BLOCK * 512], "{at}");
        }
    }
}

#[test]
fn the_count_of_free_clusters_is_exact() {
    let mut disk = empty();
    let volume = Volume::find(&mut disk).unwrap();
    let before = volume.free(&mut disk).unwrap();
    put(&mut disk.bytes, "five.bin", &[1; 5 * 512]);
    let after = volume.free(&mut disk).unwrap();
    assert_eq!((before.clusters - after.clusters, after.first), (5, before.first + 5));
    assert_eq!(volume.clusters - before.clusters, 1, "the root directory");
    assert!(disk.count() > volume.clusters);
    // Entries 0 and 1 are nobody's, whatever is in them.
    let reserved = usize::from(u16::from_le_bytes([
        disk.bytes[FIRST_BLOCK * 512 + 14],
        disk.bytes[FIRST_BLOCK * 512 + 15],
    ]));
    disk.bytes[(FIRST_BLOCK + reserved) * 512..][..8].fill(0);
    assert_eq!(volume.free(&mut disk), Ok(after));
}

#[test]
fn a_text_that_grows_while_it_is_saved_does_not_take_room_that_is_not_there() {
    let mut disk = empty();
    let asked = core::cell::Cell::new(0);
    let grows = |out: &mut dyn Write| {
        asked.set(asked.get() + 1);
        text(100 * asked.get())(out)
    };
    assert_eq!(save(&mut disk, None, &grows), Err(StorageError::Text));
    check(&disk.bytes).unwrap();
    let shrinks = |out: &mut dyn Write| {
        asked.set(asked.get() - 1);
        text(100 * asked.get())(out)
    };
    let (name, _) = save(&mut disk, None, &shrinks).unwrap();
    assert_eq!(take(&disk.bytes, name.as_str()), Some(Vec::new()));
    check(&disk.bytes).unwrap();
}
