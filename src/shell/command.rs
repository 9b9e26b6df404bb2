//! Commands: what one is, where they are found, how one fails.
//!
//! Every command is an entry in [`COMMANDS`], a slice that the linker puts together; an image of one's own
//! adds to it with [`shell_command!`](crate::shell_command).
//!
//! Context: threads.
#![expect(
    clippy::result_large_err,
    reason = "a message takes no memory from the heap: it may be about having none"
)]

use super::terminal::Terminal;
use super::words;
use crate::Error;
use core::fmt::{self, Write};
use heapless::String;

/// A command of the shell.
#[derive(Debug)]
pub struct Command {
    /// What is typed.
    pub name: &'static str,
    /// Its arguments, as `help` shows them.
    pub usage: &'static str,
    /// One line on what it does.
    pub about: &'static str,
    /// Does it, with the words behind the name.
    pub run: fn(&[&str], &mut dyn Terminal) -> Result<(), Failure>,
}

/// All commands of this image, in no order.
#[linkme::distributed_slice]
pub static COMMANDS: [Command];

/// Adds a command to the shell: `shell_command!("blink", "[times]", "blink the LED", run);` with
/// `fn run(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure>`.
#[macro_export]
macro_rules! shell_command {
    ($name:literal, $usage:literal, $about:literal, $run:path) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::shell::command::COMMANDS)]
            #[linkme(crate = $crate::linkme)]
            static COMMAND: $crate::shell::command::Command =
                $crate::shell::command::Command { name: $name, usage: $usage, about: $about, run: $run };
        };
    };
}

/// Why a command failed, in words. Printed behind the command's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String<200>);

impl Failure {
    /// A failure that says this.
    #[must_use]
    pub fn new(what: fmt::Arguments<'_>) -> Self {
        let mut failure = Self(String::new());
        // Never fails: it clips.
        let _ = failure.write_fmt(what);
        failure
    }

    /// Ctrl-C.
    #[must_use]
    pub fn interrupted() -> Self {
        Self::new(format_args!("interrupted"))
    }
}

/// Keeps what fits: a message may quote a word of any length.
impl Write for Failure {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.0.push(c).is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(format_args!("{error}"))
    }
}

/// A terminal that cannot be written to any more.
impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Self::new(format_args!("the terminal takes no more text"))
    }
}

/// The command of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// Runs one command, and says on the terminal why it failed, if it does. Returns whether it succeeded.
pub fn run(command: &str, terminal: &mut dyn Terminal) -> bool {
    let words = match words::split(command) {
        Ok(words) => words,
        Err(count) => {
            let _ =
                writeln!(terminal, "{count} words are too many: a command has at most {}", words::WORDS_MAX);
            return false;
        }
    };
    let Some((&name, args)) = words.split_first() else { return true };
    let Some(command) = find(name) else {
        let _ = match words::closest(name, COMMANDS.iter().map(|command| command.name)) {
            Some(meant) => writeln!(terminal, "{name}: there is no such command; did you mean {meant}?"),
            None => writeln!(terminal, "{name}: there is no such command; help lists them"),
        };
        return false;
    };
    match (command.run)(args, terminal) {
        Ok(()) => true,
        Err(failure) => {
            let _ = writeln!(terminal, "{name}: {failure}");
            false
        }
    }
}

/// For commands without arguments: a failure if there are any.
///
/// # Errors
/// Names the first one.
pub fn no_arguments(args: &[&str]) -> Result<(), Failure> {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(Failure::new(format_args!("{arg}: no argument was expected"))),
    }
}
