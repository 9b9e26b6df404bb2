//! Opens a serial line as the board has it: 115200 baud, 8 bits, no parity, one stop bit, nothing interpreted.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{self, ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex};

const BAUD: u32 = 115_200;
/// What serial adapters are called, on Linux and on macOS.
const NAMES: [&str; 4] = ["ttyUSB", "ttyACM", "cu.usbserial", "cu.usbmodem"];

/// Opens the line and sets it. Reads wait for at least one byte.
///
/// # Errors
/// When there is no such line, or it may not or cannot be used; the message says what would be right.
pub fn open(dev: &str) -> Result<File> {
    ensure!(!dev.is_empty(), "no serial line was named: {}", choice());
    // Without waiting for a carrier, which a board does not send.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let line = match rustix::fs::open(dev, flags, Mode::empty()) {
        Ok(line) => line,
        Err(Errno::NOENT) => bail!("DEV={dev} is not there: {}", choice()),
        Err(Errno::ACCESS) => bail!(
            "DEV={dev} may not be used by you: become a member of its group (Debian: sudo usermod -aG dialout $USER, then \
             log in again)"
        ),
        Err(Errno::BUSY) => bail!("DEV={dev} is in use: leave the other terminal program first"),
        Err(error) => bail!("DEV={dev} cannot be opened: {error}"),
    };
    ensure!(termios::isatty(&line), "DEV={dev} is not a serial line: {}", choice());
    set(&line).with_context(|| format!("DEV={dev} cannot be set to {BAUD} baud"))?;
    Ok(File::from(line))
}

fn set(line: &OwnedFd) -> Result<()> {
    let mut settings = termios::tcgetattr(line)?;
    settings.make_raw();
    settings.set_speed(BAUD)?;
    settings.control_modes.remove(ControlModes::CSTOPB | ControlModes::PARENB | ControlModes::CRTSCTS);
    settings.control_modes.insert(ControlModes::CLOCAL | ControlModes::CREAD);
    settings.special_codes[SpecialCodeIndex::VMIN] = 1;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
    termios::tcsetattr(line, OptionalActions::Now, &settings)?;
    // What came before was heard at another rate.
    termios::tcflush(line, QueueSelector::IFlush)?;
    // From now on reads wait.
    let flags = rustix::fs::fcntl_getfl(line)?;
    rustix::fs::fcntl_setfl(line, flags - OFlags::NONBLOCK)?;
    Ok(())
}

/// How long a read waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until there is something.
    ForEver,
    /// 0.2 seconds; then it returns nothing.
    TwoTenths,
}

/// Sets how long reads of a line wait.
///
/// # Errors
/// When the line is gone.
pub fn be_patient(line: &File, patience: Patience) -> Result<()> {
    let (least, tenths) = if patience == Patience::ForEver { (1, 0) } else { (0, 2) };
    let mut settings = termios::tcgetattr(line).context("the serial line is gone")?;
    settings.special_codes[SpecialCodeIndex::VMIN] = least;
    settings.special_codes[SpecialCodeIndex::VTIME] = tenths;
    termios::tcsetattr(line, OptionalActions::Now, &settings).context("the serial line is gone")
}

/// What could be named.
fn choice() -> String {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<_> = names.filter(|name| NAMES.iter().any(|start| name.starts_with(start))).collect();
    found.sort();
    match found.as_slice() {
        [] => "no serial adapter is plugged in here; one would be DEV=/dev/ttyUSB0, on macOS DEV=/dev/cu.usbserial-…".into(),
        found => format!("here are {}", found.iter().map(|name| format!("DEV=/dev/{name}")).collect::<Vec<_>>().join(", ")),
    }
}
