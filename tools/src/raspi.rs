//! What the emulated Raspberry Pi 4 is given: the kernel from a card, and a device tree.
//!
//! QEMU has no firmware that would boot from a card, so the kernel is taken out of it here: what runs has been on one.
//!
//! A board gets its tree from its firmware, QEMU's from us. The one that a board has is part of Linux, and so not of this
//! repository; where it was fetched (`make sdcard` keeps it) it is used. Otherwise there is a tree of our own,
//! tests/data/rpi4.dts, which says no more than what the kernel asks for; whoever uses that says so.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::sdcard::{self, firmware};
use crate::{cargo, dtb};

/// Names a tree to use instead.
const VARIABLE: &str = "RPI4_DTB";
/// Where the fetched one is kept, below the target directory.
const FETCHED: &str = "firmware/bcm2711-rpi-4-b.dtb";
/// Our own, in the repository.
const OWN: &str = "tests/data/rpi4.dtb";

/// A device tree, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceTree {
    /// The file.
    pub path: PathBuf,
    /// Whether it is our own, for want of the board's.
    pub is_own: bool,
}

impl DeviceTree {
    /// What people are told.
    #[must_use]
    pub fn origin(&self) -> String {
        if self.is_own {
            format!(
                "our own device tree, {OWN}; the board's: make sdcard fetches it, or name it by {VARIABLE}="
            )
        } else {
            format!("the board's device tree, {}", self.path.display())
        }
    }
}

/// The tree to boot with.
///
/// # Errors
/// When the one that was named is none.
pub fn device_tree() -> Result<DeviceTree> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) {
        let path = PathBuf::from(named);
        ensure!(is_tree(&path), "{VARIABLE}={}: not a device tree blob", path.display());
        return Ok(DeviceTree { path, is_own: false });
    }
    let fetched = cargo::target_dir()?.join(FETCHED);
    if is_tree(&fetched) {
        return Ok(DeviceTree { path: fetched, is_own: false });
    }
    own()
}

/// Puts a kernel onto a card and takes it out again; returns the file to start. Without the tools for cards it is the
/// kernel itself, which is said.
///
/// # Errors
/// When the card cannot be made or read.
pub fn through_card(image: &Path) -> Result<PathBuf> {
    if let Err(lacks) = sdcard::check_tools() {
        eprintln!("rpi4: the kernel has not been on a card: {lacks:#}");
        return Ok(image.to_owned());
    }
    let kernel = std::fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let firmware = firmware::kept_in(&cargo::target_dir()?.join("firmware"));
    let files = sdcard::files(kernel, "", firmware.as_ref().map_or(&[], |kept| &kept.files))?;
    let card = image.with_extension("card");
    sdcard::make(&card, &files)?;
    let from_card = image.with_extension("from-card.img");
    std::fs::write(&from_card, sdcard::kernel_of(&card)?)
        .with_context(|| format!("cannot write {}", from_card.display()))?;
    let _ = std::fs::remove_file(&card);
    Ok(from_card)
}

/// Our own tree.
///
/// # Errors
/// When it is not in this checkout.
pub fn own() -> Result<DeviceTree> {
    let path = cargo::root()?.join(OWN);
    ensure!(is_tree(&path), "{} is not a device tree: it is part of the repository", path.display());
    Ok(DeviceTree { path, is_own: true })
}

fn is_tree(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|blob| blob.starts_with(&dtb::MAGIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_tree_and_our_own_says_what_it_is() {
        assert!(device_tree().is_ok());
        let own = own().unwrap();
        assert!(own.is_own && own.origin().contains("our own") && own.origin().contains("make sdcard"));
    }

    #[test]
    fn what_is_no_tree_is_not_taken_for_one() {
        assert!(!is_tree(Path::new("/nonexistent")));
        assert!(!is_tree(&cargo::root().unwrap().join("Cargo.toml")));
    }
}
