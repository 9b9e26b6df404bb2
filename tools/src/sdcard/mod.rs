//! `make sdcard`: a file that is written to an SD card and boots a Raspberry Pi 4, made without root.
//!
//! The card has one FAT32 partition with the kernel, its command line, config.txt of board/rpi4/, and what only
//! others may give: the firmware of the board and a device tree (see [`firmware`]).
//!
//! Invariants: the same inputs give the same bytes, on any day and any machine; nothing is called done that was
//! not read back from the finished image and compared; a card that failed a check is not left where a good one
//! is looked for.
#![forbid(unsafe_code)]

mod card;
pub mod firmware;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};

pub use card::{check_tools, kernel_of, make, names_on};

use crate::{bootargs, cargo, table};

/// The kernel's name on the card.
pub const KERNEL: &str = "kernel8.img";

/// Options of `sdcard`.
#[derive(Args, Clone, Debug)]
pub struct SdOptions {
    /// What to boot: stint, ktest, or the name of an example
    #[arg(default_value = "stint")]
    pub image: String,
    /// Put the chainloader onto the card, which takes kernels over the serial line
    #[arg(long, env = "STINT_CHAINLOADER", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub chainloader: bool,
    /// The kernel's command line, for example "preempt=rt"
    #[arg(long, env = "STINT_BOOTARGS", default_value = "", allow_hyphen_values = true)]
    pub bootargs: String,
    /// A directory with firmware and device tree, instead of Debian's
    #[arg(long, env = "STINT_FW_DIR")]
    pub fw_dir: Option<PathBuf>,
    /// The file to write; by default sdcard.img in the target directory
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// A file on the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl CardFile {
    /// A file from its parts.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

/// Builds the kernel, gets the firmware, makes the card, and says how to write it.
///
/// # Errors
/// When one of these fails; the message says what would be right.
pub fn sdcard(options: &SdOptions) -> Result<()> {
    // What can be wrong at once is found before minutes are spent.
    let line = bootargs::board(&options.bootargs)?;
    card::check_tools()?;
    let firmware = match &options.fw_dir {
        Some(dir) if !dir.as_os_str().is_empty() => firmware::from_dir(dir)?,
        _ => firmware::from_debian()?,
    };
    let built = cargo::build(if options.chainloader { cargo::CHAINLOADER } else { &options.image })?;
    let kernel = std::fs::read(&built.image)
        .with_context(|| format!("cannot read the kernel {}", built.image.display()))?;
    let out = match &options.out {
        Some(out) => out.clone(),
        None => cargo::target_dir()?.join("sdcard.img"),
    };
    let files = files(kernel, &line, &firmware.files)?;
    card::make(&out, &files)?;
    print!("{}", summary(&out, &files, &line, &firmware.origin));
    Ok(())
}

/// Everything that goes onto the card.
///
/// # Errors
/// When config.txt is not in this checkout.
pub fn files(kernel: Vec<u8>, bootargs: &str, firmware: &[CardFile]) -> Result<Vec<CardFile>> {
    let config = cargo::root()?.join("board/rpi4/config.txt");
    let config = std::fs::read(&config).with_context(|| format!("cannot read {}", config.display()))?;
    let mut files = vec![
        CardFile::new(KERNEL, kernel),
        CardFile::new("config.txt", config),
        // Always there: without it the firmware makes up a line of its own.
        CardFile::new("cmdline.txt", format!("{bootargs}\n")),
    ];
    files.extend(firmware.iter().cloned());
    Ok(files)
}

/// The path as whoever reads it would write it.
fn short(path: &Path) -> &Path {
    std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path)
}

fn summary(out: &Path, files: &[CardFile], bootargs: &str, origin: &str) -> String {
    let mut text = format!("{}: {} MiB, checked\n", short(out).display(), card::CARD_BYTES >> 20);
    let rows: Vec<_> = files
        .iter()
        .map(|file| vec![file.name.clone().into(), file.bytes.len().to_string().into()])
        .collect();
    text += &table::draw(&["file", "bytes"], 1, &rows, table::colours());
    let line = if bootargs.is_empty() { "(empty)" } else { bootargs };
    let (shown, name) =
        (short(out).display(), out.file_name().unwrap_or_default().to_string_lossy().into_owned());
    text += &format!(
        "
command line   {line}
firmware       {origin}
               start4.elf, fixup4.dat: Broadcom's licence: unmodified, for Raspberry Pi only (LICENCE.broadcom
               on the card); bcm2711-rpi-4-b.dtb: GPL-2.0

Writing it erases the card. Look twice at the device's name.
  Linux     lsblk -d -o NAME,SIZE,MODEL,TRAN          then, for a card that is /dev/sdX:
            sudo dd if={shown} of=/dev/sdX bs=4M conv=fsync status=progress
  macOS     diskutil list external                    then, for a card that is /dev/diskN:
            diskutil unmountDisk /dev/diskN && sudo dd if={shown} of=/dev/rdiskN bs=4m
  Windows   Raspberry Pi Imager, \"Use custom\", {name}; no customisation when it asks
Then: make serial DEV=/dev/ttyUSB0; board/rpi4/README.md shows the wiring.
"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_the_licence_and_every_system() {
        let files = [CardFile::new("kernel8.img", vec![0; 5])];
        let text = summary(Path::new("target/sdcard.img"), &files, "", "somewhere");
        for word in [
            "Broadcom's licence",
            "GPL-2.0",
            "Linux",
            "macOS",
            "Windows",
            "(empty)",
            "dd if=target/sdcard.img",
        ] {
            assert!(text.contains(word), "{word} is missing in:\n{text}");
        }
    }

    #[test]
    fn the_card_has_a_command_line_even_if_it_is_empty() {
        let files = files(vec![1], "", &[CardFile::new("start4.elf", vec![2])]).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["kernel8.img", "config.txt", "cmdline.txt", "start4.elf"]);
        assert_eq!(files[2].bytes, b"\n");
    }

    #[test]
    fn the_configuration_names_the_kernel_that_is_on_the_card() {
        let files = files(vec![1], "", &[]).unwrap();
        let text = String::from_utf8(files[1].bytes.clone()).unwrap();
        assert!(text.lines().any(|line| line == format!("kernel={KERNEL}")), "{text}");
        // The firmware reads no more of a line.
        assert!(text.lines().all(|line| line.len() <= 98));
        let settings = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert!(settings.clone().count() > 5 && settings.clone().all(|line| line.contains('=')));
    }
}
