//! Builds the bare-metal packages, and knows where everything lies.
//!
//! Invariant: a nested build sees the flags of `.cargo/config.toml` and nothing of the environment it was
//! started from. A `RUSTFLAGS` variable *replaces* the configured flags, the linker script among them, so it
//! is taken away. Images are built in a directory of their own (`target/guest`): a `cargo test` that holds
//! the lock of the usual directory can then start a build without waiting for itself.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

use crate::image;

/// The one target every image is built for.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

/// Variables that would change what a nested build produces, or where it puts it.
const FOREIGN: &[&str] = &[
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
];

/// The loader of kernels over a serial line: an image, and not a kernel.
pub const CHAINLOADER: &str = "chainloader";
/// It has a linker script of its own, so it needs flags other than those of `.cargo/config.toml`.
const CHAINLOADER_FLAGS: &str = "-Ctarget-cpu=cortex-a72 -Ctarget-feature=-neon -Crelocation-model=static \
    -Copt-level=s -Clink-arg=-Tboard/rpi4/chainloader/chainloader.ld -Clink-arg=--no-dynamic-linker";

/// The bench without cycle accounting, and the bench with every debug check of the kernel: what `costs` compares.
pub const UNACCOUNTED: &str = "bench-unaccounted";
/// See [`UNACCOUNTED`].
pub const CHECKED: &str = "bench-checked";

/// An image that can be built: a package, one of its binaries, and the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Cargo package.
    pub package: &'static str,
    /// Binary of that package.
    pub binary: String,
    /// Cargo profile; also the directory that Cargo puts the result in.
    pub profile: &'static str,
    /// Cargo features.
    pub features: &'static str,
}

/// What a build left behind.
#[derive(Clone, Debug)]
pub struct Built {
    /// The linked file, with symbols and debug information.
    pub elf: PathBuf,
    /// The flat file that a boot loader starts.
    pub image: PathBuf,
}

/// Finds the recipe for a name: `stint`, one of the guest images, or otherwise an example.
#[must_use]
pub fn recipe(name: &str) -> Recipe {
    let (package, profile) = match name {
        "stint" => ("stint-board", "release"),
        CHAINLOADER => ("stint-chainloader", "release"),
        "bench" | UNACCOUNTED => ("stint-guest", "release"),
        // These run with every debug check of the kernel on.
        "ktest" | "sweep" | CHECKED => ("stint-guest", "ktest"),
        _ => ("stint-examples", "release"),
    };
    let binary = if matches!(name, UNACCOUNTED | CHECKED) { "bench" } else { name };
    let features = if name == UNACCOUNTED { "stint/no-cycle-accounting" } else { "" };
    Recipe { package, binary: binary.to_owned(), profile, features }
}

/// The repository's root directory.
///
/// # Errors
/// When the directory these tools were built from is gone and the current one is not inside a checkout.
pub fn root() -> Result<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built_from = home.parent().unwrap_or(home);
    if built_from.join("Cargo.toml").is_file() {
        return Ok(built_from.to_owned());
    }
    let here = std::env::current_dir().context("cannot tell the current directory")?;
    here.ancestors()
        .find(|dir| dir.join("tools/Cargo.toml").is_file() && dir.join("Cargo.toml").is_file())
        .map(Path::to_owned)
        .with_context(|| format!("{} is not inside a checkout of Stint: run this from one", here.display()))
}

/// Where build results go; Cargo decides (`CARGO_TARGET_DIR`, configuration, or `target`).
///
/// # Errors
/// When Cargo cannot be asked.
pub fn target_dir() -> Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(known) = FOUND.get() {
        return Ok(known.clone());
    }
    let metadata = metadata(&["--no-deps"])?;
    let dir = metadata["target_directory"].as_str().context("`cargo metadata` names no target directory")?;
    Ok(FOUND.get_or_init(|| dir.into()).clone())
}

/// `cargo metadata` as a value.
///
/// # Errors
/// When Cargo fails; its own message is passed on.
pub fn metadata(arguments: &[&str]) -> Result<serde_json::Value> {
    let output = Command::new(program())
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .current_dir(root()?)
        .output()
        .with_context(|| format!("cannot start `{}`: run tools/setup.sh", program()))?;
    ensure!(
        output.status.success(),
        "`cargo metadata {}` failed:\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("`cargo metadata` printed something that is not JSON")
}

/// The Cargo to call: the one that called us, so that both are of one toolchain.
#[must_use]
pub fn program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Builds an image by name and writes its flat file to `<target>/images/`.
///
/// # Errors
/// When the build fails, or the linked file is not a kernel image.
pub fn build(name: &str) -> Result<Built> {
    let recipe = recipe(name);
    let loader = name == CHAINLOADER;
    // Other flags in the same directory would have everything built again and again.
    let guest_dir = target_dir()?.join(if loader { CHAINLOADER } else { "guest" });
    let mut command = Command::new(program());
    command
        .args(["build", "--target", TARGET, "--profile", recipe.profile])
        .args(["-p", recipe.package, "--bin", &recipe.binary, "--features", recipe.features])
        .arg("--target-dir")
        .arg(&guest_dir)
        .current_dir(root()?)
        .stdin(Stdio::null());
    for variable in FOREIGN {
        command.env_remove(variable);
    }
    if loader {
        command.env("RUSTFLAGS", CHAINLOADER_FLAGS);
    }
    let status =
        command.status().with_context(|| format!("cannot start `{}`: run tools/setup.sh", program()))?;
    if !status.success() {
        bail!(
            "the image `{name}` did not build (package {}, profile {}); the compiler's messages are above",
            recipe.package,
            recipe.profile
        );
    }
    let elf = guest_dir.join(TARGET).join(recipe.profile).join(&recipe.binary);
    let flat = target_dir()?.join("images").join(flat_name(name));
    if loader {
        image::convert_without_symbols(&elf, &flat)?;
        return Ok(Built { elf, image: flat });
    }
    let report = image::convert(&elf, &flat)?;
    if let Some(note) = report.symbols.note() {
        eprintln!("note: {}: {note}", flat.display());
    }
    Ok(Built { elf, image: flat })
}

/// The default image is called what a Raspberry Pi's firmware looks for.
fn flat_name(name: &str) -> String {
    match name {
        "stint" => "kernel8.img".to_owned(),
        other => format!("{other}.img"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_images_are_built_with_the_kernels_debug_checks() {
        assert_eq!(recipe("ktest").profile, "ktest");
        assert_eq!(recipe("sweep").profile, "ktest");
        assert_eq!(recipe("bench").profile, "release");
        assert_eq!((recipe(CHECKED).profile, recipe(CHECKED).binary.as_str()), ("ktest", "bench"));
    }

    #[test]
    fn features_are_left_out_of_an_image_of_its_own() {
        assert_eq!(recipe("bench").features, "");
        let without = recipe(UNACCOUNTED);
        assert_eq!((without.binary.as_str(), without.features), ("bench", "stint/no-cycle-accounting"));
        assert_eq!(flat_name(UNACCOUNTED), "bench-unaccounted.img");
    }

    #[test]
    fn an_unknown_name_is_an_example() {
        assert_eq!(recipe("blinky").package, "stint-examples");
        assert_eq!(flat_name("blinky"), "blinky.img");
        assert_eq!(flat_name("stint"), "kernel8.img");
    }
}
