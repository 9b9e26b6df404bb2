//! The SD card: the same bytes every time, and the kernel in it is the one that was built.
//!
//! The first card has a stand-in for the firmware, so that no network is needed; the second the real one, where
//! `make sdcard` has fetched it. Without mtools and dosfstools both are left out, and say so.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Completion, Trial};
use stint_tools::cargo;
use stint_tools::sdcard::{self, CardFile, firmware};

use crate::boot::{STINT, built, message};

/// FAT counts its times in steps of two seconds: that much later, a time taken from the clock shows.
const NEXT_TIME: Duration = Duration::from_millis(2100);

/// Two trials; neither boots anything.
pub fn trials(followers: &mut Vec<Trial>) {
    let trial = |name: &str, body: fn() -> Result<Completion>| {
        Trial::ignorable_test(format!("sdcard::{name}"), move || match sdcard::check_tools() {
            Ok(()) => body().map_err(message),
            Err(lacks) => Ok(Completion::ignored_with(lacks.to_string())),
        })
    };
    followers.push(trial("two_runs_make_the_same_card_and_the_kernel_comes_back_out_of_it", twice));
    followers.push(trial("a_card_with_debians_firmware_is_sound_and_complete", real));
}

fn twice() -> Result<Completion> {
    let dir = cargo::target_dir()?.join("qemu");
    let paths = [dir.join("sdcard-a.img"), dir.join("sdcard-b.img")];
    let kernel = fs::read(&built(&STINT)?.image).context("cannot read the kernel")?;
    let stand_in = firmware::NAMES.map(|name| CardFile::new(name, vec![name.len() as u8; 100_000]));
    let files = sdcard::files(kernel.clone(), "preempt=rt", &stand_in)?;
    sdcard::make(&paths[0], &files)?;
    std::thread::sleep(NEXT_TIME);
    sdcard::make(&paths[1], &files)?;
    let [first, second] = paths.each_ref().map(fs::read);
    ensure!(
        first? == second?,
        "two cards from the same files differ: cmp {} {}",
        paths[0].display(),
        paths[1].display()
    );
    ensure!(
        sdcard::kernel_of(&paths[0])? == kernel,
        "the kernel taken out of the card is not the one that was built"
    );
    for path in paths {
        fs::remove_file(path)?;
    }
    Ok(Completion::Completed)
}

fn real() -> Result<Completion> {
    let Some(firmware) = firmware::kept_in(&cargo::target_dir()?.join("firmware")) else {
        return Ok(Completion::ignored_with("the firmware was not fetched here; `make sdcard` does"));
    };
    let path = cargo::target_dir()?.join("qemu/sdcard-real.img");
    let kernel = fs::read(&built(&STINT)?.image).context("cannot read the kernel")?;
    let files = sdcard::files(kernel.clone(), "", &firmware.files)?;
    sdcard::make(&path, &files)?;
    let wanted: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
    ensure!(sdcard::names_on(&path)? == wanted, "the card has {:?}", sdcard::names_on(&path)?);
    ensure!(
        sdcard::kernel_of(&path)? == kernel,
        "the kernel taken out of the card is not the one that was built"
    );
    fs::remove_file(path)?;
    Ok(Completion::Completed)
}
