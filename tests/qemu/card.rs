//! A memory card: reports that the kernel saves in QEMU's Raspberry Pi 4, taken out of the card's image afterwards.
//!
//! The cards are made and judged by other code than the kernel's (src/storage/test_card.rs).
//!
//! Invariants: what is on the card is what the console showed; the volume is consistent afterwards; a card that cannot be
//! used is left as it was, and named.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use stint_tools::qemu::End;
use stint_tools::suite::excerpt;

use crate::boot::{DEVICES_TREE, boot_rpi4, logs, message};

#[path = "../../src/storage/test_card.rs"]
mod test_card;

/// The smallest volume that is FAT32, in blocks.
const BLOCKS: usize = test_card::FIRST_BLOCK + 66_700;
/// A card of standard capacity, and one of high capacity; the emulator wants powers of two.
const SMALL_BYTES: u64 = 64 << 20;
const LARGE_BYTES: u64 = 4 << 30;

/// A file with this content, and zeroes behind it up to `bytes`.
fn image(name: &str, content: &[u8], bytes: u64) -> Result<PathBuf> {
    let path = logs()?.join(format!("{name}.img"));
    std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::OpenOptions::new().write(true).open(&path)?.set_len(bytes)?;
    Ok(path)
}

fn drive(image: &Path) -> Vec<String> {
    vec!["-drive".into(), format!("if=sd,format=raw,file={}", image.display())]
}

/// All trials about cards.
pub fn trials(followers: &mut Vec<Trial>) {
    followers.push(Trial::test("card::a_report_is_saved_on_a_small_card", || saved("small", SMALL_BYTES)));
    followers.push(Trial::test("card::a_report_is_saved_on_a_large_card", || saved("large", LARGE_BYTES)));
    followers.push(Trial::test("card::a_full_card_is_left_as_it_was", || {
        let mut card = test_card::formatted(BLOCKS, true);
        let room = card.len();
        test_card::put(&mut card, "fill.bin", &vec![1; room]);
        refused("full", Some(&card), "the card is full: 0 bytes are free and ")
    }));
    followers.push(Trial::test("card::no_card_is_said_to_be_none", || {
        refused("none", None, "mmc@7e340000: no SD card (CMD55: no answer;")
    }));
    followers.push(Trial::test("card::a_card_without_a_volume_is_left_as_it_was", || {
        refused("blank", Some(&[0; 512]), "no partition table on the card")?;
        let mut other = test_card::formatted(BLOCKS, true);
        other[446 + 4] = 0x83;
        refused("other", Some(&other), "no FAT partition on the card: the types are 83 00 00 00")?;
        let mut cut = test_card::formatted(BLOCKS, true);
        cut[446 + 12..446 + 16].copy_from_slice(&200_000u32.to_le_bytes());
        refused("cut", Some(&cut), "the partition ends at block 202048, and the card has 131072")
    }));
}

/// Two reports, one run: the files are the same, and what the console showed.
fn saved(name: &str, bytes: u64) -> Result<(), libtest_mimic::Failed> {
    let check = || -> Result<()> {
        let mut card = test_card::formatted(BLOCKS, true);
        test_card::put(&mut card, "config.txt", b"kept as it is");
        let path = image(&format!("card-{name}"), &card, bytes)?;
        let cmd = "latency fragments=20; latency save; latency save second; cat lat00001.txt; ls";
        let captured = boot_rpi4(&format!("card-{name}"), DEVICES_TREE, cmd, "", &drive(&path))?;
        let console = captured.console.replace('\r', "");
        ensure!(captured.end == End::Exited(0), "{}\n{}", captured.end, excerpt(&captured.console));
        let mut after = vec![0; BLOCKS * 512];
        std::fs::File::open(&path)?.read_exact(&mut after)?;
        std::fs::remove_file(&path)?;
        test_card::check(&after).map_err(anyhow::Error::msg)?;
        let take =
            |name: &str| test_card::take(&after, name).with_context(|| format!("{name} is not on the card"));
        let report = String::from_utf8(take("LAT00001.TXT")?)?;
        ensure!(take("SECOND.TXT")? == report.as_bytes(), "the two files of one run differ");
        ensure!(take("config.txt")? == b"kept as it is", "an older file has changed");
        ensure!(console.contains(&report), "cat shows something else than what is on the card:\n{report}");
        let results: Vec<&str> = report.lines().filter(|line| line.starts_with("result ")).collect();
        ensure!(results.len() == 3, "the report has {} result lines:\n{report}", results.len());
        for phrase in
            results.into_iter().chain(["n=20", "wake-up latency, load all", "preempt=full", "Cortex-A72"])
        {
            ensure!(console.matches(phrase).count() >= 2, "`{phrase}` is not in both\n{console}");
        }
        for line in ["    13  config.txt", "  LAT00001.TXT", "  SECOND.TXT"] {
            ensure!(console.contains(line), "ls does not show `{line}`\n{}", excerpt(&console));
        }
        Ok(())
    };
    check().map_err(message)
}

/// A card that cannot be used: the message, and no change.
fn refused(name: &str, card: Option<&[u8]>, says: &str) -> Result<(), libtest_mimic::Failed> {
    let check = || -> Result<()> {
        let path = card.map(|card| image(&format!("card-{name}"), card, SMALL_BYTES)).transpose()?;
        let before = path.as_ref().map(std::fs::read).transpose()?;
        let arguments = path.as_deref().map(drive).unwrap_or_default();
        let captured = boot_rpi4(
            &format!("card-{name}"),
            DEVICES_TREE,
            "latency fragments=20; latency save",
            "",
            &arguments,
        )?;
        let says = format!("latency: {says}");
        ensure!(captured.console.contains(&says), "expected `{says}`\n{}", excerpt(&captured.console));
        ensure!(captured.end == End::Exited(1), "{}; expected status 1", captured.end);
        if let Some(path) = path {
            ensure!(Some(std::fs::read(&path)?) == before, "the card was written to");
            std::fs::remove_file(&path)?;
        }
        Ok(())
    };
    check().map_err(message)
}
