//! `firmware`: what the firmware of a Raspberry Pi says about the board.
#![forbid(unsafe_code)]

use core::fmt::Display;

use crate::drivers::bcm2711::firmware::{self, Clock, MemoryPart};
use crate::drivers::bcm2711::mailbox::MailboxError;
use crate::shell::command::{Failure, no_arguments};
use crate::shell::terminal::Terminal;
use crate::shell::units::{Bytes, Hz};

/// Degrees with a tenth, from thousandths.
pub(super) struct Celsius(pub u32);

impl Display for Celsius {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{} C", self.0 / 1000, self.0 % 1000 / 100)
    }
}

impl Display for MemoryPart {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} from {:#x}", Bytes(u64::from(self.bytes)), self.start)
    }
}

pub(super) fn firmware(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    let absent =
        || Failure::new(format_args!("this machine has no mailbox (no brcm,bcm2835-mbox in its tree)"));
    // Each question is asked by itself: one that fails does not hide the others.
    let mut answered = 0;
    let mut failed = None;
    let mut line = |name: &str, answer: Result<&dyn Display, MailboxError>| match answer {
        Ok(value) => {
            answered += 1;
            writeln!(terminal, "{name:<12}{value}")
        }
        Err(error) => {
            failed = Some(error);
            writeln!(terminal, "{name:<12}{error}")
        }
    };
    macro_rules! ask {
        ($name:literal, $question:ident, $show:expr) => {{
            let answer = firmware::with(|mailbox| mailbox.$question()).ok_or_else(absent)?;
            let shown = answer.map($show);
            line($name, shown.as_ref().map(|value| value as &dyn Display).map_err(|&error| error))?;
        }};
    }
    ask!("board", board_revision, |board| board);
    ask!("firmware", firmware_revision, |built_s| alloc::format!("built at {built_s} s since 1970"));
    ask!("mac", mac_address, |mac| mac);
    ask!("arm memory", arm_memory, |part| part);
    ask!("vc memory", vc_memory, |part| part);
    ask!("temperature", temperature_mc, Celsius);
    ask!("limit", temperature_max_mc, Celsius);
    ask!("throttled", throttled, |throttled| throttled);
    let hz = |answer: Result<u32, MailboxError>| match answer {
        Ok(hz) => alloc::format!("{}", Hz(u64::from(hz))),
        Err(error) => alloc::format!("({error})"),
    };
    writeln!(terminal, "{:<12}{:>12} {:>12}  measured", "clock", "set", "most")?;
    for clock in Clock::ALL {
        let [set, most, measured] = firmware::with(|mailbox| {
            [mailbox.clock_hz(clock), mailbox.clock_max_hz(clock), mailbox.clock_measured_hz(clock)]
        })
        .ok_or_else(absent)?
        .map(hz);
        writeln!(terminal, "{:<12}{set:>12} {most:>12}  {measured}", clock.name())?;
    }
    match (answered, failed) {
        (0, Some(error)) => Err(Failure::new(format_args!("nothing was answered: {error}"))),
        _ => Ok(()),
    }
}
