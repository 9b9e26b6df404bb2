//! `card`: what is in the card slot.
#![forbid(unsafe_code)]

use crate::drivers::bcm2711::slots::with_card;
use crate::shell::command::{Failure, no_arguments};
use crate::shell::terminal::Terminal;
use crate::shell::units::{Bytes, Hz};

pub(super) fn card(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    let (name, card) =
        with_card(|name, card, _| (name, card)).map_err(|error| Failure::new(format_args!("{error}")))?;
    writeln!(
        terminal,
        "{name}: {}, {} capacity, {} data line{}, {}{}",
        Bytes(u64::from(card.blocks) * 512),
        if card.high_capacity { "high" } else { "standard" },
        if card.four_lines { "4" } else { "1" },
        if card.four_lines { "s" } else { "" },
        Hz(u64::from(card.clock_hz)),
        if card.write_protected { ", write-protected" } else { "" },
    )?;
    Ok(())
}
