//! What only others may give: the firmware of the Raspberry Pi 4, its licence, and a device tree.
//!
//! By default they come from two packages of Debian, through apt with a configuration of its own below the target
//! directory: no root, no foreign architecture added to the system. Or from a directory that the person names.
//!
//! Invariants: what is fetched is used only if it has the checksum written here, whatever the archive says; a
//! checked file is kept, so that the network is needed once; nothing of it is ever part of this repository. The
//! files are pinned, not the packages: the archive replaces a kernel package every few weeks, and the device
//! tree in it hardly ever changes.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::CardFile;
use crate::cargo;

const START: &str = "start4.elf";
const FIXUP: &str = "fixup4.dat";
const TREE: &str = "bcm2711-rpi-4-b.dtb";
const LICENCE: &str = "LICENCE.broadcom";
/// What a directory must have, in the order of the card.
pub const NAMES: [&str; 4] = [START, FIXUP, TREE, LICENCE];

/// The files that are known to be right: name, SHA-256, where they were seen.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        START,
        "36d12ae9eda1a508430e65d7877aada4d6c8dbe61a6dd3bbf20da1ed6ca58f70",
        "raspi-firmware 1.20220830+ds-1",
    ),
    (
        FIXUP,
        "55aeb4d842356c655f230fdd0c08dfad8a0412abdf97e421d420ccd09861a233",
        "raspi-firmware 1.20220830+ds-1",
    ),
    (
        LICENCE,
        "d8cde1746623f32752e8c1dcbbcf703cd4e4468699a5adf94486db3b1ea24a9d",
        "raspi-firmware 1.20220830+ds-1",
    ),
    (
        TREE,
        "b61443b9dcd7af9ebefa113114af77ec0cd3b477be22bd060f99b3bf376b2ae8",
        "linux 6.1.170, 6.1.176, 6.1.192",
    ),
];

/// The release whose packages are asked for.
const RELEASE: &str = "bookworm";
const FIRMWARE_PACKAGE: &str = "raspi-firmware";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR_VARIABLE: &str = "DEBIAN_MIRROR";

/// Files for the card, and where they are from.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// In the order of the card.
    pub files: Vec<CardFile>,
    /// For people.
    pub origin: String,
}

/// Takes the files of a directory as they are.
///
/// # Errors
/// With the names of all files that are missing, and of those that are not what their name says.
pub fn from_dir(dir: &Path) -> Result<Firmware> {
    ensure!(
        dir.is_dir(),
        "FW_DIR={} is not a directory; one with {} would be right",
        dir.display(),
        NAMES.join(", ")
    );
    let missing: Vec<_> = NAMES.into_iter().filter(|name| !dir.join(name).is_file()).collect();
    ensure!(
        missing.is_empty(),
        "FW_DIR={} lacks {}: take them from the boot/ directory of the firmware's own distribution",
        dir.display(),
        missing.join(", ")
    );
    let files = NAMES.map(|name| read(dir, name));
    let files = files.into_iter().collect::<Result<Vec<_>>>()?;
    for file in &files {
        if let Some(wrong) = wrong(file) {
            bail!("{} in FW_DIR={} is not what its name says: {wrong}", file.name, dir.display());
        }
    }
    Ok(Firmware { files, origin: format!("FW_DIR={}, not compared with anything", dir.display()) })
}

/// The pinned files, from the last time or from Debian's archive.
///
/// # Errors
/// When they cannot be had, or are others than those that are known; the message says what can be done.
pub fn from_debian() -> Result<Firmware> {
    let dir = cargo::target_dir()?.join("firmware");
    let lacks: Vec<_> = NAMES.into_iter().filter(|name| kept(&dir, name).is_none()).collect();
    if !lacks.is_empty() {
        fetch(&dir, lacks.contains(&TREE), lacks.iter().any(|name| *name != TREE))?;
    }
    kept_in(&dir).context("a firmware file that was just checked is gone")
}

/// The pinned files if all are there already.
#[must_use]
pub fn kept_in(dir: &Path) -> Option<Firmware> {
    let files = NAMES.into_iter().map(|name| kept(dir, name)).collect::<Option<Vec<_>>>()?;
    let mut origin: Vec<_> = files.iter().filter_map(|file| known(file)).collect();
    origin.sort_unstable();
    origin.dedup();
    Some(Firmware { files, origin: format!("Debian: {}", origin.join("; ")) })
}

fn kept(dir: &Path, name: &str) -> Option<CardFile> {
    read(dir, name).ok().filter(|file| known(file).is_some())
}

/// Where a file with this content was seen, if it is one of those that are known.
fn known(file: &CardFile) -> Option<&'static str> {
    let sum = sha256(&file.bytes);
    KNOWN.iter().find(|(name, known, _)| *name == file.name && *known == sum).map(|(_, _, seen)| *seen)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(dir: &Path, name: &str) -> Result<CardFile> {
    let path = dir.join(name);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(CardFile::new(name, bytes))
}

/// What is wrong with a file at first sight.
fn wrong(file: &CardFile) -> Option<String> {
    let begins = |magic: &[u8]| file.bytes.starts_with(magic);
    match file.name.as_str() {
        START if !begins(b"\x7fELF") => Some("it does not begin like an ELF file".into()),
        TREE if !begins(&[0xd0, 0x0d, 0xfe, 0xed]) => Some("it does not begin like a device tree".into()),
        _ if file.bytes.is_empty() => Some("it is empty".into()),
        _ => None,
    }
}

// --- Debian ------------------------------------------------------------------------------------------------

fn fetch(dir: &Path, tree: bool, firmware: bool) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
    eprintln!("sdcard: fetching the firmware of the Raspberry Pi 4 from Debian's archive, once.");
    eprintln!(
        "sdcard: start4.elf and fixup4.dat are Broadcom's: not free, for use with a Raspberry Pi only."
    );
    let apt = Apt::new(&dir.join("apt"))?;
    apt.get(&["update", "-q"])?;
    let mut files = Vec::new();
    if firmware {
        let package = apt.download(FIRMWARE_PACKAGE)?;
        files.push(CardFile::new(START, member(&package, "./usr/lib/raspi-firmware/start4.elf")?));
        files.push(CardFile::new(FIXUP, member(&package, "./usr/lib/raspi-firmware/fixup4.dat")?));
        let text = member(&package, "./usr/share/doc/raspi-firmware/copyright")?;
        files.push(CardFile::new(LICENCE, licence(&String::from_utf8_lossy(&text))?));
    }
    if tree {
        let name = apt.newest_kernel()?;
        eprintln!("sdcard: {name} is 60 MB, of which one file of 27 KB is needed.");
        let package = apt.download(&name)?;
        files.push(CardFile::new(
            TREE,
            member(&package, "./usr/lib/linux-image-*/broadcom/bcm2711-rpi-4-b.dtb")?,
        ));
    }
    let new: Vec<_> = files.iter().filter(|file| known(file).is_none()).collect();
    if !new.is_empty() {
        return Err(unverified(dir, &files, &new));
    }
    for file in &files {
        write(dir, file)?;
    }
    // Lists and packages have served.
    drop(apt);
    let _ = fs::remove_dir_all(dir.join("apt"));
    Ok(())
}

/// Keeps what is not known where a person can decide to use it, and says how.
fn unverified(dir: &Path, fetched: &[CardFile], new: &[&CardFile]) -> anyhow::Error {
    let aside = dir.join("unverified");
    let mut text = String::from("Debian's archive now has files that nobody has compared yet:\n");
    for file in new {
        text += &format!("  {}  sha256 {}\n", file.name, sha256(&file.bytes));
        for (_, sum, seen) in KNOWN.iter().filter(|(name, ..)| *name == file.name) {
            text += &format!("    known: {sum} of {seen}\n");
        }
    }
    let have = NAMES.into_iter().filter_map(|name| kept(dir, name)).chain(fetched.iter().cloned());
    match have.map(|file| write(&aside, &file)).collect::<Result<Vec<_>>>() {
        Ok(_) => {
            text += &format!(
                "to use them as they are: make sdcard FW_DIR={}\nto have them accepted: add the checksum to KNOWN in \
                 tools/src/sdcard/firmware.rs, once a board has booted with them",
                aside.display()
            );
        }
        Err(error) => text += &format!("and they cannot be kept: {error:#}"),
    }
    anyhow::Error::msg(text)
}

fn write(dir: &Path, file: &CardFile) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
    let path = dir.join(&file.name);
    fs::write(&path, &file.bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Broadcom's terms: the paragraph of the package's copyright file that is about `boot/*`.
fn licence(copyright: &str) -> Result<String> {
    let paragraph = copyright.split("\n\n").find(|text| text.trim_start().starts_with("Files: boot/*"));
    let text = paragraph.context("the firmware's package no longer says which terms its files come under")?;
    Ok(format!("{}\n", text.trim()))
}

/// One file out of a package; the name may be a pattern.
fn member(package: &Path, pattern: &str) -> Result<Vec<u8>> {
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb, which comes with apt")?;
    let tar = archive.stdout.take().context("dpkg-deb has no standard output")?;
    let output = Command::new("tar")
        .args(["--wildcards", "-xO", "-f", "-", pattern])
        .stdin(tar)
        .output()
        .context("cannot start tar")?;
    let status = archive.wait().context("cannot wait for dpkg-deb")?;
    ensure!(
        status.success() && output.status.success() && !output.stdout.is_empty(),
        "{} has no {pattern}: {}",
        package.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

/// apt with lists, packages and architecture of its own.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new(dir: &Path) -> Result<Self> {
        let by_hand = format!("put {} into a directory and name it: make sdcard FW_DIR=…", NAMES.join(", "));
        ensure!(
            Command::new("apt-get")
                .arg("--version")
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
            "there is no apt-get here, by which Debian's packages could be had: {by_hand}"
        );
        let mirror = mirror().with_context(|| {
            format!(
                "no Debian mirror is configured on this machine: name one, {MIRROR_VARIABLE}=http://…/debian make \
                 sdcard, or {by_hand}"
            )
        })?;
        // Without Debian's keys (another system) the checksums alone decide, which is enough.
        let trust = match Path::new(KEYRING).is_file() {
            true => format!("signed-by={KEYRING}"),
            false => "trusted=yes".into(),
        };
        for sub in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("cannot make {}/{sub}", dir.display()))?;
        }
        let sources = format!("deb [arch=arm64 {trust}] {mirror} {RELEASE} main non-free-firmware\n");
        fs::write(dir.join("sources.list"), sources).context("cannot write apt's sources")?;
        let config = format!(
            "Dir::State \"{0}\";\nDir::State::status \"/dev/null\";\nDir::Cache \"{0}/cache\";\n\
             Dir::Etc::sourcelist \"{0}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"arm64\";\nAPT::Architectures {{ \"arm64\"; }};\nAPT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::Retries \"2\";\n",
            dir.display()
        );
        fs::write(dir.join("apt.conf"), config).context("cannot write apt's configuration")?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.dir.join("apt.conf")).env("LC_ALL", "C").current_dir(&self.dir);
        command.stdin(Stdio::null());
        command
    }

    fn get(&self, arguments: &[&str]) -> Result<()> {
        let output = self.command("apt-get").args(arguments).output().context("cannot start apt-get")?;
        let said = String::from_utf8_lossy(&output.stderr);
        // An update that reached nobody still succeeds, with warnings.
        ensure!(
            output.status.success() && !said.contains("Failed to fetch"),
            "`apt-get {}` failed; is there a network? Without one: make sdcard FW_DIR=… with {}\n{}",
            arguments.join(" "),
            NAMES.join(", "),
            said.trim()
        );
        Ok(())
    }

    /// Downloads a package and returns where it is.
    fn download(&self, package: &str) -> Result<PathBuf> {
        eprintln!("sdcard: downloading {package}");
        let _ = std::io::stderr().flush();
        self.get(&["download", "-q", package])?;
        let start = format!("{package}_");
        let mut found = fs::read_dir(&self.dir).context("cannot list the packages")?.flatten();
        found
            .find(|entry| entry.file_name().to_string_lossy().starts_with(&start))
            .map(|entry| entry.path())
            .with_context(|| {
                format!("apt-get has downloaded {package}, but it is not in {}", self.dir.display())
            })
    }

    /// The newest kernel package of the release.
    fn newest_kernel(&self) -> Result<String> {
        let output = self
            .command("apt-cache")
            .args(["pkgnames", "linux-image-"])
            .output()
            .context("cannot start apt-cache")?;
        newest(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("{RELEASE} has no package linux-image-<version>-arm64-unsigned"))
    }
}

/// Of the names `linux-image-6.1.0-50-arm64-unsigned`, the one with the highest version.
fn newest(names: &str) -> Option<String> {
    let version = |name: &str| -> Option<Vec<u32>> {
        let version = name.strip_prefix("linux-image-")?.strip_suffix("-arm64-unsigned")?;
        version.split(['.', '-']).map(|number| number.parse().ok()).collect()
    };
    names.lines().filter_map(|name| Some((version(name)?, name))).max().map(|(_, name)| name.to_owned())
}

/// The mirror that this machine uses for Debian already, or the one that was named.
fn mirror() -> Option<String> {
    if let Ok(named) = std::env::var(MIRROR_VARIABLE)
        && !named.is_empty()
    {
        return Some(named);
    }
    let parts =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = parts.collect();
    files.sort();
    files.insert(0, "/etc/apt/sources.list".into());
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).find_map(|text| mirror_in(&text))
}

fn mirror_in(sources: &str) -> Option<String> {
    let words =
        sources.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
    words
        .map(|word| word.trim_end_matches('/'))
        .find(|word| word.starts_with("http") && word.ends_with("/debian"))
        .map(str::to_owned)
}

#[cfg(test)]
#[path = "firmware_tests.rs"]
mod tests;
