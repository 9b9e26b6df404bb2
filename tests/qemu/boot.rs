//! What all parts of the harness share: the images, a boot, a result that many trials wait for.
//!
//! Invariants: an image is built at most once, and when the first boot needs it; a shared result is made at
//! most once, whichever of its trials comes first; a failure to make it is every such trial's failure.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use libtest_mimic::{Failed, Trial};
use stint_tools::bootargs::{self, Wishes};
use stint_tools::cargo::{self, Built};
use stint_tools::machine::{Board, Machine};
use stint_tools::qemu::{self, Captured, Limits, Payload};
use stint_tools::raspi;
use stint_tools::suite::{self, Listed};

/// A test image: minutes at most; a single test is silent for seconds.
pub const LIMITS: Limits = Limits { total: Duration::from_secs(900), silence: Duration::from_secs(120) };
/// A boot that is over, or fails, within a second.
pub const SHORT: Limits = Limits { total: Duration::from_secs(60), silence: Duration::from_secs(30) };

/// An image, built once, or the reason why it could not be.
type Image = LazyLock<Result<Built, String>>;
pub static KTEST: Image = LazyLock::new(|| cargo::build("ktest").map_err(|error| format!("{error:#}")));
pub static STINT: Image = LazyLock::new(|| cargo::build("stint").map_err(|error| format!("{error:#}")));
pub static SWEEP: Image = LazyLock::new(|| cargo::build("sweep").map_err(|error| format!("{error:#}")));
pub static BENCH: Image = LazyLock::new(|| cargo::build("bench").map_err(|error| format!("{error:#}")));
pub static CHAINLOADER: Image =
    LazyLock::new(|| cargo::build(cargo::CHAINLOADER).map_err(|error| format!("{error:#}")));

/// A result that many trials share: the first that needs it makes it.
pub type Shared<T> = Arc<OnceLock<Result<T, String>>>;

/// The shared result, made now if nobody has made it.
pub fn shared<T: Clone>(cell: &Shared<T>, make: impl FnOnce() -> Result<T>) -> Result<T, Failed> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}"))).clone().map_err(Failed::from)
}

/// The image, or why there is none.
pub fn built(image: &'static Image) -> Result<&'static Built> {
    image.as_ref().map_err(|message| anyhow::anyhow!("{message}"))
}

/// Boots an image with the boot arguments `told`.
pub fn boot(
    image: &'static Image,
    name: &str,
    machine: &Machine,
    told: &str,
    limits: Limits,
) -> Result<Captured> {
    let built = image.as_ref().map_err(|message| anyhow::anyhow!("{message}"))?;
    let bootargs = bootargs::compose(&Wishes { extra: told, command: None, interactive: false })?;
    let image = match machine.board {
        Board::RaspberryPi4 { .. } => from_card(&built.image)?,
        Board::Virt => built.image.clone(),
    };
    let command = qemu::command(machine, Payload::Image(&image), &bootargs);
    qemu::capture(command, limits).with_context(|| format!("the machine `{name}` could not be run"))
}

/// The image that comes out of a card which this one was put on, made once.
pub fn from_card(image: &Path) -> Result<PathBuf> {
    static CARDS: Mutex<Vec<(PathBuf, PathBuf)>> = Mutex::new(Vec::new());
    let mut cards = CARDS.lock().map_err(|_| anyhow::anyhow!("a card could not be made before"))?;
    if let Some((_, path)) = cards.iter().find(|(from, _)| from == image) {
        return Ok(path.clone());
    }
    let path = raspi::through_card(image)?;
    cards.push((image.to_owned(), path.clone()));
    Ok(path)
}

/// Keeps a console for whoever wants to read more than a failure message holds.
pub fn keep(name: &str, console: &str) -> Result<()> {
    let path = logs()?.join(format!("{name}.log"));
    std::fs::write(&path, console).with_context(|| format!("cannot write {}", path.display()))
}

/// Where the consoles are kept.
pub fn logs() -> Result<PathBuf> {
    let dir = cargo::target_dir()?.join("qemu");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
    Ok(dir)
}

/// Boots an image that lists what it has, and reads the list.
pub fn list_tests(image: &'static Image, name: &str) -> Result<Vec<Listed>> {
    let captured = boot(image, name, &Machine::measuring(), "test=list", SHORT)?;
    suite::list(&captured)
}

/// An error as a trial's failure, with all its causes.
pub fn message(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}

/// A trial that stands for everything that could not even be listed.
pub fn broken(name: &str, error: anyhow::Error) -> Trial {
    let message = format!("{error:#}");
    Trial::test(name, move || Err(message.into()))
}

/// A device tree of ours for QEMU's Raspberry Pi 4 that has the board's devices, and one for its spin table.
pub const DEVICES_TREE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rpi4-devices.dtb");
/// See [`DEVICES_TREE`].
pub const SPIN_TABLE_TREE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rpi4-spin-table.dtb");

/// Boots the default image on QEMU's Raspberry Pi 4 with this tree and these arguments for the emulator; it runs `cmd`.
pub fn boot_rpi4(name: &str, tree: &str, cmd: &str, extra: &str, arguments: &[String]) -> Result<Captured> {
    let bootargs = bootargs::compose(&Wishes { command: Some(cmd), extra, interactive: false })?;
    let machine = Machine { icount: true, extra: arguments.to_vec(), ..Machine::raspberry_pi4(tree.into()) };
    let image = &built(&STINT)?.image;
    let captured = qemu::capture(qemu::command(&machine, Payload::Image(image), &bootargs), SHORT)?;
    keep(name, &captured.console)?;
    Ok(captured)
}
