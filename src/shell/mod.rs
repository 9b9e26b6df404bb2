//! The shell on the console: commands for people, and for `cmd=` in the boot arguments.
//!
//! | module | what |
//! |---|---|
//! | [`banner`] | what is said first |
//! | [`command`] | the list of commands, and running one |
//! | `commands` | the commands themselves |
//! | [`mod@line`], [`words`], [`units`] | the line editor, splitting, quantities; pure |
//! | [`terminal`] | what a command talks to |
//!
//! Context: threads. The shell is a fair task like any other: it can be preempted anywhere.
#![allow(
    clippy::result_large_err,
    reason = "an error is a message of fixed size for a person; nothing here is hot"
)]

#[cfg(target_os = "none")]
pub mod banner;
pub mod command;
#[cfg(target_os = "none")]
pub(crate) mod commands;
#[cfg(target_os = "none")]
pub(crate) mod cpu_clock;
pub mod line;
pub mod terminal;
#[cfg(test)]
mod tests;
pub mod units;
pub mod words;

use command::{COMMANDS, Failure};
use line::{Editor, Outcome};
#[cfg(target_os = "none")]
use terminal::Console;
use terminal::Terminal;

/// Runs the commands of a line one after the other, also behind one that failed. Returns the exit status:
/// 0, or 1 if any of them failed.
pub fn run_line(line: &str, terminal: &mut dyn Terminal) -> u32 {
    let mut status = 0;
    for command in words::commands(line) {
        if !command::run(command, terminal) {
            status = 1;
        }
    }
    status
}

/// Says on the terminal why something failed, if it did. Returns the exit status, as [`run_line`] does.
pub fn status(result: Result<(), Failure>, terminal: &mut dyn Terminal) -> u32 {
    match result {
        Ok(()) => 0,
        Err(failure) => {
            // A terminal that takes no text cannot be told so.
            let _ = writeln!(terminal, "{failure}");
            1
        }
    }
}

/// Reads lines from the console and runs them, for ever.
#[cfg(target_os = "none")]
pub fn interactive() -> ! {
    let mut console = Console;
    let mut editor = Editor::new("stint> ");
    loop {
        editor.begin(&mut console);
        let line = loop {
            match editor.feed(console.read(), &names, &mut console) {
                Outcome::More => {}
                Outcome::Line(line) => break line,
                Outcome::Cancelled => editor.begin(&mut console),
            }
        };
        run_line(&line, &mut console);
    }
}

/// Every command's name, for completion.
fn names(each: &mut dyn FnMut(&str)) {
    COMMANDS.iter().for_each(|command| each(command.name));
}
