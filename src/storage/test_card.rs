//! Cards for tests: makes one with a FAT volume, looks into it, and judges it, all by another crate than the kernel's,
//! or by hand. The QEMU tests use this file too.

use std::collections::HashSet;
use std::format;
use std::io::{Cursor, Read, Write};
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

/// Where the partition begins.
pub const FIRST_BLOCK: usize = 2048;
const BLOCK: usize = 512;

/// A card of so many blocks: a partition table, and an empty FAT32 volume with clusters of one block, or FAT16.
pub fn formatted(blocks: usize, fat32: bool) -> Vec<u8> {
    let mut card = vec![0; blocks * BLOCK];
    let count = blocks - FIRST_BLOCK;
    card[446 + 4] = if fat32 { 0x0c } else { 0x0e };
    card[446 + 8..446 + 12].copy_from_slice(&(FIRST_BLOCK as u32).to_le_bytes());
    card[446 + 12..446 + 16].copy_from_slice(&(count as u32).to_le_bytes());
    card[510..512].copy_from_slice(&[0x55, 0xaa]);
    let options = FormatVolumeOptions::new().bytes_per_cluster(BLOCK as u32);
    let options = options.fat_type(if fat32 { FatType::Fat32 } else { FatType::Fat16 });
    let volume = volume_of(&mut card);
    fatfs::format_volume(Cursor::new(&mut *volume), options).expect("the card can be formatted");
    // Others leave the table's entries behind the last cluster at 0, which is the harder case.
    let half = |at: usize| usize::from(u16::from_le_bytes([volume[at], volume[at + 1]]));
    let table_blocks = if fat32 { half(36) } else { half(22) };
    let root_blocks = half(17) * 32 / BLOCK;
    let clusters = count - half(14) - 2 * table_blocks - root_blocks;
    let (reserved, entry_bytes) = (half(14), if fat32 { 4 } else { 2 });
    for number in 0..2 {
        let table = &mut volume[(reserved + number * table_blocks) * BLOCK..][..table_blocks * BLOCK];
        table[(clusters + 2) * entry_bytes..].fill(0);
    }
    card
}

fn volume_of(card: &mut [u8]) -> &mut [u8] {
    &mut card[FIRST_BLOCK * BLOCK..]
}

/// Puts a file on the card; as much of it as fits. Returns how much that was.
pub fn put(card: &mut [u8], name: &str, bytes: &[u8]) -> usize {
    let system =
        FileSystem::new(Cursor::new(volume_of(card)), FsOptions::new()).expect("the card has a volume");
    let (above, _) = name.rsplit_once('/').unwrap_or(("", name));
    if !above.is_empty() {
        system.root_dir().create_dir(above).expect("a directory can be made");
    }
    let mut file = system.root_dir().create_file(name).expect("a file can be made");
    let mut written = 0;
    while let Ok(count @ 1..) = file.write(&bytes[written..]) {
        written += count;
    }
    drop(file);
    system.unmount().expect("the volume can be closed");
    written
}

/// Takes a file from the card.
pub fn take(card: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut card = card.to_vec();
    let system = FileSystem::new(Cursor::new(volume_of(&mut card)), FsOptions::new()).ok()?;
    let mut bytes = Vec::new();
    system.root_dir().open_file(name).ok()?.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Checks that every chain is as long as its file, that nothing belongs to two or to nobody, that both tables are the
/// same, and that the hints are true. The error says what is wrong.
pub fn check(card: &[u8]) -> Result<(), String> {
    let volume = &card[FIRST_BLOCK * BLOCK..];
    let half = |at: usize| usize::from(u16::from_le_bytes([volume[at], volume[at + 1]]));
    let word = |at: usize| u32::from_le_bytes(volume[at..at + 4].try_into().unwrap()) as usize;
    let (per_cluster, reserved, tables, root_entries) =
        (usize::from(volume[13]), half(14), usize::from(volume[16]), half(17));
    let table_blocks = if half(22) != 0 { half(22) } else { word(36) };
    let blocks = if half(19) != 0 { half(19) } else { word(32) };
    let root_block = reserved + tables * table_blocks;
    let data_block = root_block + root_entries * 32 / BLOCK;
    let clusters = (blocks - data_block) / per_cluster;
    let fat32 = clusters >= 65525;
    let table = |number: usize| &volume[(reserved + number * table_blocks) * BLOCK..][..table_blocks * BLOCK];
    if (1..tables).any(|number| table(number) != table(0)) {
        return Err("the tables differ".into());
    }
    let entry = |cluster: usize| match fat32 {
        true => u32::from_le_bytes(table(0)[cluster * 4..][..4].try_into().unwrap()) as usize & 0x0fff_ffff,
        false => usize::from(u16::from_le_bytes(table(0)[cluster * 2..][..2].try_into().unwrap())),
    };
    let entries = table_blocks * BLOCK / if fat32 { 4 } else { 2 };
    if let Some(cluster) = (clusters + 2..entries).find(|&cluster| entry(cluster) != 0) {
        return Err(format!("cluster {cluster} is taken, and the last is {}", clusters + 1));
    }
    let mut owned = HashSet::new();
    let mut chain = |first: usize| -> Result<Vec<usize>, String> {
        let mut chain = Vec::new();
        let mut cluster = first;
        while cluster < if fat32 { 0x0fff_fff8 } else { 0xfff8 } {
            if !(2..clusters + 2).contains(&cluster) {
                return Err(format!("a chain leads to cluster {cluster}"));
            }
            if !owned.insert(cluster) {
                return Err(format!("cluster {cluster} belongs to two"));
            }
            chain.push(cluster);
            cluster = entry(cluster);
        }
        Ok(chain)
    };
    let content =
        |cluster: usize| &volume[(data_block + (cluster - 2) * per_cluster) * BLOCK..][..per_cluster * BLOCK];
    let mut directories = vec![match fat32 {
        true => chain(word(44))?.into_iter().flat_map(content).copied().collect::<Vec<u8>>(),
        false => volume[root_block * BLOCK..data_block * BLOCK].to_vec(),
    }];
    let mut names = HashSet::new();
    while let Some(directory) = directories.pop() {
        for row in directory.chunks_exact(32).take_while(|row| row[0] != 0) {
            let (name, attributes) = (&row[..11], row[11]);
            if row[0] == 0xe5 || attributes & 0x08 != 0 || row[0] == b'.' {
                continue;
            }
            let shown = String::from_utf8_lossy(name).to_string();
            let first = usize::from(u16::from_le_bytes([row[20], row[21]])) << 16
                | usize::from(u16::from_le_bytes([row[26], row[27]]));
            let bytes = u32::from_le_bytes(row[28..32].try_into().unwrap()) as usize;
            let chain = if first == 0 { Vec::new() } else { chain(first)? };
            if attributes & 0x10 != 0 {
                directories.push(chain.into_iter().flat_map(content).copied().collect());
            } else if chain.len() != bytes.div_ceil(per_cluster * BLOCK) {
                return Err(format!("{shown}: {bytes} bytes in {} clusters", chain.len()));
            }
            if !names.insert((directories.len(), shown.clone())) {
                return Err(format!("{shown} is there twice"));
            }
        }
    }
    if let Some(lost) = (2..clusters + 2).find(|&cluster| entry(cluster) != 0 && !owned.contains(&cluster)) {
        return Err(format!("cluster {lost} is taken and belongs to nobody"));
    }
    let free = clusters - owned.len();
    let said = word(half(48) * BLOCK + 488);
    if fat32 && said != free && said != 0xffff_ffff {
        return Err(format!("{free} clusters are free, and the hint says {said}"));
    }
    Ok(())
}
