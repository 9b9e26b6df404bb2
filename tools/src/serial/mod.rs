//! `make serial DEV=…`: a terminal for a board's serial line, which keeps everything that was said.
//!
//! Two threads wait, one for the keys and one for the line, and hand what comes to one place that acts on it.
//!
//! Invariants: the terminal is given back as it was, however the session ends; what the board says reaches the log
//! byte by byte as it came, and before the terminal; Ctrl-A X always leaves.
#![forbid(unsafe_code)]

mod keys;
pub mod port;

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::termios::{self, OptionalActions, Termios};

use crate::{cargo, table};
use keys::{Keys, Typed};

/// Which line, and where its log goes.
#[derive(Args, Clone, Debug)]
pub struct LineOptions {
    /// The serial line, for example /dev/ttyUSB0
    #[arg(long, env = "STINT_DEV", default_value = "")]
    pub dev: String,
    /// The log; by default one of its own in the target directory's `serial`
    #[arg(long)]
    pub log: Option<PathBuf>,
}

/// A terminal for the line until somebody leaves.
///
/// # Errors
/// When the line cannot be used or goes away.
pub fn serial(options: &LineOptions) -> Result<()> {
    let line = port::open(&options.dev)?;
    attend(line, options)
}

/// The terminal of [`serial`], for a line that is open.
///
/// # Errors
/// When the log cannot be written or the line goes away.
pub fn attend(line: File, options: &LineOptions) -> Result<()> {
    let (path, log) = open_log(options.log.as_deref())?;
    let (bright, normal) = if table::colours() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    eprintln!(
        "{bright}{}, 115200 8N1; leave with Ctrl-A X{normal}; everything is kept in {}",
        options.dev,
        path.display()
    );
    let terminal = RawTerminal::take()?;
    let ended = converse(line, std::io::stdin(), std::io::stdout(), log);
    drop(terminal);
    eprintln!("\nlog: {0}\nfigures in it: make report LOG={0}", path.display());
    ended
}

/// What happens in a session.
enum Event {
    Keys(Vec<u8>),
    Heard(Vec<u8>),
    /// The line is gone, and why.
    Gone(String),
}

/// Passes keys to the line, and what the line says to `log` and `screen`, until Ctrl-A X.
///
/// # Errors
/// When the line goes away, or something cannot be written.
pub fn converse(
    line: File,
    mut keys: impl Read + Send + 'static,
    mut screen: impl Write,
    mut log: impl Write,
) -> Result<()> {
    let (sender, events) = mpsc::channel();
    let mut writer = line.try_clone().context("cannot use the serial line twice")?;
    // Both threads wait in a read and end with this process.
    let from_keys = sender.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = keys.read(&mut buffer) {
            if from_keys.send(Event::Keys(buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || listen(line, &sender));
    let mut typed = Keys::default();
    for event in events {
        match event {
            Event::Heard(bytes) => {
                log.write_all(&bytes).context("cannot write the log")?;
                screen
                    .write_all(&bytes)
                    .and_then(|()| screen.flush())
                    .context("cannot write to the terminal")?;
            }
            Event::Keys(keys) => {
                for key in keys {
                    match typed.press(key) {
                        Typed::Send(byte) => {
                            writer.write_all(&[byte]).context("the serial line takes nothing any more")?;
                        }
                        Typed::Nothing => {}
                        Typed::Help => {
                            screen
                                .write_all(keys::HELP.as_bytes())
                                .context("cannot write to the terminal")?;
                        }
                        Typed::Leave => return Ok(()),
                    }
                }
            }
            Event::Gone(why) => bail!("the serial line is gone: {why}; was it unplugged?"),
        }
    }
    Ok(())
}

fn listen(mut line: File, events: &mpsc::Sender<Event>) {
    let mut buffer = [0; 4096];
    let last = loop {
        let event = match line.read(&mut buffer) {
            Ok(0) => break Event::Gone("it has been closed".into()),
            Ok(count) => Event::Heard(buffer[..count].to_vec()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => break Event::Gone(error.to_string()),
        };
        if events.send(event).is_err() {
            return;
        }
    };
    // Nobody may be left to hear it.
    let _ = events.send(last);
}

fn open_log(wanted: Option<&Path>) -> Result<(PathBuf, File)> {
    let path = match wanted {
        Some(path) => path.to_owned(),
        None => {
            let dir = cargo::target_dir()?.join("serial");
            std::fs::create_dir_all(&dir)
                .with_context(|| format!("cannot make the directory {}", dir.display()))?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            dir.join(format!("{}.log", stamp(now)))
        }
    };
    // Two sessions within a second share a log rather than lose one.
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot write the log {}", path.display()))?;
    Ok((path, file))
}

/// `2026-11-30-232005`, in UTC, of seconds since 1970.
fn stamp(seconds: u64) -> String {
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end; 400 of them are 146,097 days.
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}-{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// The terminal of standard input, letting every key through; as it was when dropped.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn take() -> Result<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self(None));
        }
        let before = termios::tcgetattr(&stdin).context("cannot ask for the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).context("cannot set the terminal")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // There is nobody left to tell.
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
