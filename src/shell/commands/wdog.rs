//! `wdog`: the board's watchdog.
#![forbid(unsafe_code)]

use crate::drivers::bcm2711::watchdog::{self, TIMEOUT_MAX_MS};
use crate::locking::Mutex;
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::parse_ns;

/// The time it was started with, in milliseconds. The lock keeps two commands from changing the registers at once.
static STARTED_MS: Mutex<Option<u32>> = Mutex::new(None);

pub(super) fn wdog(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let watchdog = watchdog::get().ok_or_else(|| {
        Failure::new(format_args!(
            "this machine has no watchdog that is known (no brcm,bcm2835-pm in its tree)"
        ))
    })?;
    let mut started = STARTED_MS.lock();
    match args {
        [] => match watchdog.left_ms() {
            Some(ms) => writeln!(terminal, "the board is reset in {ms} ms unless the watchdog is kicked")?,
            None => writeln!(terminal, "stopped")?,
        },
        ["start"] => start(watchdog, &mut started, TIMEOUT_MAX_MS),
        ["start", time] => start(watchdog, &mut started, parse(time)?),
        ["kick"] => {
            let ms = started.ok_or_else(|| Failure::new(format_args!("kick: it was not started")))?;
            watchdog.start(ms);
        }
        ["stop"] => {
            watchdog.stop();
            *started = None;
        }
        [word, ..] => {
            return Err(Failure::new(format_args!(
                "{word}: nothing, start and a time, kick or stop was expected"
            )));
        }
    }
    Ok(())
}

fn start(watchdog: &watchdog::Watchdog<crate::drivers::mmio::Mmio>, started: &mut Option<u32>, ms: u32) {
    *started = Some(ms);
    watchdog.start(ms);
}

fn parse(time: &str) -> Result<u32, Failure> {
    let ms = parse_ns(time).map(|ns| ns / 1_000_000).and_then(|ms| u32::try_from(ms).ok());
    ms.filter(|ms| (1..=TIMEOUT_MAX_MS).contains(ms)).ok_or_else(|| {
        Failure::new(format_args!("{time}: a time from 1ms to {}s was expected", TIMEOUT_MAX_MS / 1000))
    })
}
