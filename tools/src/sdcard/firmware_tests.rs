//! Tests of the firmware's choice. None needs the network.

use super::*;

/// A directory of a test's own, gone with it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("stint-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fill(dir: &Path) {
    for (name, bytes) in
        [(START, &b"\x7fELF"[..]), (FIXUP, b"x"), (TREE, &[0xd0, 0x0d, 0xfe, 0xed]), (LICENCE, b"terms")]
    {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn a_directory_gives_the_four_files_in_the_order_of_the_card() {
    let dir = Dir::new("fw-good");
    fill(&dir.0);
    let firmware = from_dir(&dir.0).unwrap();
    assert_eq!(firmware.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), NAMES);
    assert!(firmware.origin.contains("not compared"), "{}", firmware.origin);
}

#[test]
fn a_directory_that_lacks_files_is_refused_with_all_their_names() {
    let dir = Dir::new("fw-lacks");
    fill(&dir.0);
    fs::remove_file(dir.0.join(FIXUP)).unwrap();
    fs::remove_file(dir.0.join(LICENCE)).unwrap();
    let message = from_dir(&dir.0).unwrap_err().to_string();
    assert!(message.contains("lacks fixup4.dat, LICENCE.broadcom:"), "{message}");
    let message = from_dir(&dir.0.join("none")).unwrap_err().to_string();
    assert!(message.contains("is not a directory; one with start4.elf, fixup4.dat"), "{message}");
}

#[test]
fn a_file_that_is_something_else_is_refused() {
    let dir = Dir::new("fw-wrong");
    fill(&dir.0);
    fs::write(dir.0.join(TREE), "<html>404</html>").unwrap();
    let message = from_dir(&dir.0).unwrap_err().to_string();
    assert!(message.contains("bcm2711-rpi-4-b.dtb") && message.contains("like a device tree"), "{message}");
}

#[test]
fn only_files_with_a_known_checksum_are_kept() {
    let dir = Dir::new("fw-kept");
    fill(&dir.0);
    assert!(kept_in(&dir.0).is_none(), "made-up files pass for Debian's");
    assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn what_nobody_has_compared_is_kept_aside_and_the_way_to_use_it_is_named() {
    let dir = Dir::new("fw-new");
    let file = CardFile::new(TREE, b"newer".to_vec());
    let message = unverified(&dir.0, std::slice::from_ref(&file), &[&file]).to_string();
    let aside = dir.0.join("unverified");
    assert!(message.contains(&format!("make sdcard FW_DIR={}", aside.display())), "{message}");
    assert!(message.contains(&sha256(b"newer")) && message.contains("known: b61443b9"), "{message}");
    assert_eq!(read(&aside, TREE).unwrap(), file);
}

#[test]
fn the_newest_kernel_is_found_by_number_and_not_by_spelling() {
    let names = "linux-image-6.1.0-9-arm64-unsigned\nlinux-image-6.1.0-50-arm64-unsigned\n\
                 linux-image-6.1.0-51-rt-arm64-unsigned\nlinux-image-6.1.0-47-arm64-unsigned\nlinux-image-arm64\n";
    assert_eq!(newest(names).as_deref(), Some("linux-image-6.1.0-50-arm64-unsigned"));
    assert_eq!(newest("linux-image-arm64\n"), None);
}

#[test]
fn the_mirror_is_the_machines_own_in_both_notations() {
    let deb822 = "Types: deb\n# http://old.example/debian\nURIs: http://mirror.example/debian/\nSuites: x\n";
    assert_eq!(mirror_in(deb822).as_deref(), Some("http://mirror.example/debian"));
    let line = "deb [arch=amd64] https://a.example/debian bookworm main\n";
    assert_eq!(mirror_in(line).as_deref(), Some("https://a.example/debian"));
    assert_eq!(mirror_in("deb http://archive.example/ubuntu noble main\n"), None);
}

#[test]
fn the_terms_are_the_paragraph_about_the_boot_files() {
    let copyright =
        "Format: x\n\nFiles: boot/*\nLicense: P\n All rights.\n .\n More.\n\nFiles: brcm/*\nLicense: Q\n";
    assert_eq!(licence(copyright).unwrap(), "Files: boot/*\nLicense: P\n All rights.\n .\n More.\n");
    assert!(licence("Files: *\n").unwrap_err().to_string().contains("no longer says"));
}
