//! `card`, `ls`, `cat`, `latency save`: what is in the card slot, and the files on it.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;

use crate::drivers::bcm2711::slots::with_card;
use crate::latency;
use crate::shell::banner;
use crate::shell::command::{Failure, no_arguments};
use crate::shell::terminal::Terminal;
use crate::shell::units::{Bytes, Hz};
use crate::storage::files::{self, Listed};
use crate::storage::name::FileName;
use crate::storage::{Blocks, Card, StorageError};

/// A failure that says this.
fn failure(why: impl fmt::Display) -> Failure {
    Failure::new(format_args!("{why}"))
}

/// Lets `use_it` have the card.
fn with_blocks<T>(use_it: impl FnOnce(&mut dyn Blocks) -> Result<T, StorageError>) -> Result<T, Failure> {
    let done = with_card(|_, card, slot| use_it(&mut Card { slot, blocks: card.blocks }));
    done.map_err(failure)?.map_err(failure)
}

pub(super) fn card(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    let (name, card) = with_card(|name, card, _| (name, card)).map_err(failure)?;
    writeln!(
        terminal,
        "{name}: {}, {} capacity, {}, {}{}",
        Bytes(u64::from(card.blocks) * 512),
        if card.high_capacity { "high" } else { "standard" },
        if card.four_lines { "4 data lines" } else { "1 data line" },
        Hz(u64::from(card.clock_hz)),
        if card.write_protected { ", write-protected" } else { "" },
    )?;
    Ok(())
}

pub(super) fn ls(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let path = match args {
        [] => "",
        [path] => path,
        [_, more, ..] => return Err(failure(format_args!("{more}: one directory was expected"))),
    };
    with_blocks(|disk| {
        files::list(disk, path, &mut |Listed { name, directory, bytes }| {
            // The console takes everything.
            let _ = if directory {
                writeln!(terminal, "{:>10}  {name}/", "")
            } else {
                writeln!(terminal, "{bytes:>10}  {name}")
            };
        })
    })
}

pub(super) fn cat(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let [path] = args else { return Err(failure("the name of one file was expected; ls lists them")) };
    let interrupted = Cell::new(false);
    let not_text = Cell::new(None);
    // What is left of a character that two pieces share, and where the piece is.
    let mut rest: heapless::Vec<u8, { crate::storage::BLOCK_BYTES + 3 }> = heapless::Vec::new();
    let mut at = 0;
    let done = with_blocks(|disk| {
        files::read(disk, path, &mut |piece| {
            interrupted.set(terminal.interrupted());
            // There is room: three bytes at most are left of the one before.
            let _ = rest.extend_from_slice(piece);
            let whole = match core::str::from_utf8(&rest) {
                Ok(_) => rest.len(),
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(error) => {
                    not_text.set(Some(at + error.valid_up_to()));
                    return Err(StorageError::Text);
                }
            };
            let text = core::str::from_utf8(&rest[..whole]).map_err(|_| StorageError::Text)?;
            if interrupted.get() || terminal.write_str(text).is_err() {
                return Err(StorageError::Text);
            }
            at += whole;
            rest.copy_within(whole.., 0);
            rest.truncate(rest.len() - whole);
            Ok(())
        })
    });
    match (interrupted.get(), not_text.get()) {
        (true, _) => Err(Failure::interrupted()),
        (_, Some(offset)) => {
            Err(failure(format_args!("{path} is not text: its byte {offset} cannot be shown")))
        }
        _ if !rest.is_empty() => Err(failure(format_args!("{path} ends within a character"))),
        _ => done,
    }
}

/// `latency save [name]`.
pub(super) fn save_latency(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let name = match args {
        [] => None,
        [text] => {
            let name = FileName::parse(text);
            Some(name.ok_or_else(|| failure(format_args!("{text}: {}", StorageError::Name)))?)
        }
        [_, more, ..] => return Err(failure(format_args!("{more}: one name was expected"))),
    };
    let saved = latency::with_last(|report| {
        with_blocks(|disk| {
            files::save(disk, name, &|out| {
                writeln!(out, "Stint {}, a latency report", banner::VERSION)?;
                banner::machine(out)?;
                writeln!(out)?;
                report(out)
            })
        })
    });
    let (name, bytes) = saved.ok_or_else(|| failure("nothing was measured yet; first: latency"))??;
    writeln!(terminal, "saved as {name}, {bytes} bytes, and read back")?;
    Ok(())
}
