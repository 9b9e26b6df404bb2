//! Lines of commands, with commands of the tests' own.

use super::command::{Failure, no_arguments};
use super::run_line;
use super::terminal::Terminal;
use crate::shell_command;
use core::fmt::{self, Write};
use std::string::String;

shell_command!("succeed", "", "succeeds, and says so", succeed);
shell_command!("stumble", "[why]", "fails, and says why", stumble);

fn succeed(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    writeln!(terminal, "succeeded")?;
    Ok(())
}

fn stumble(args: &[&str], _: &mut dyn Terminal) -> Result<(), Failure> {
    Err(Failure::new(format_args!("{}", args.first().unwrap_or(&"no reason"))))
}

/// A terminal at which nobody types.
#[derive(Default)]
struct Screen(String);

impl Write for Screen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        Ok(())
    }
}

impl Terminal for Screen {
    fn try_read(&mut self) -> Option<u8> {
        None
    }
}

/// The exit status of a line, and what it wrote.
fn run(line: &str) -> (u32, String) {
    let mut screen = Screen::default();
    let status = run_line(line, &mut screen);
    (status, screen.0)
}

#[test]
fn a_line_without_commands_succeeds() {
    assert_eq!(run(" ; # nothing"), (0, String::new()));
}

#[test]
fn a_failed_command_fails_the_line_and_the_next_one_runs_all_the_same() {
    assert_eq!(run("stumble slippery; succeed"), (1, "stumble: slippery\nsucceeded\n".into()));
    assert_eq!(run("succeed; succeed"), (0, "succeeded\nsucceeded\n".into()));
}

#[test]
fn a_wrong_argument_is_named() {
    assert_eq!(run("succeed now"), (1, "succeed: now: no argument was expected\n".into()));
}

#[test]
fn an_unknown_command_is_named_with_the_one_that_was_meant() {
    assert_eq!(run("succede"), (1, "succede: there is no such command; did you mean succeed?\n".into()));
    assert_eq!(run("banana 3"), (1, "banana: there is no such command; help lists them\n".into()));
}

#[test]
fn too_many_words_are_counted() {
    let line = "succeed ".repeat(20);
    assert_eq!(run(&line), (1, "20 words are too many: a command has at most 16\n".into()));
}

#[test]
fn a_long_message_is_cut_and_not_lost() {
    let (status, text) = run(&std::format!("stumble {}", "x".repeat(500)));
    assert_eq!(status, 1);
    assert!(text.starts_with("stumble: xxx") && text.len() < 250, "{text}");
}
