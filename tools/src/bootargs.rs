//! Composes the kernel's command line (`bootargs`).
//!
//! Invariant: what leaves here can be read back by the kernel: at most [`LIMIT_BYTES`] bytes, `cmd="…"` quoted
//! once with no quote inside, printable ASCII only, and no key given twice by us. Anything else is refused
//! with a message that says what would be right; values of known keys are the kernel's to judge, so that the
//! same message appears on every board.
#![forbid(unsafe_code)]

use anyhow::{Result, bail, ensure};

/// The kernel reads this much of its command line.
pub const LIMIT_BYTES: usize = 2048;

/// The firmware of a board puts words of its own in front of ours; this much is left to it.
const FIRMWARE_BYTES: usize = 512;

/// What a person asked for.
#[derive(Clone, Debug, Default)]
pub struct Wishes<'a> {
    /// `BOOTARGS=`: passed on as it is.
    pub extra: &'a str,
    /// `CMD=`: shell commands separated by `;`.
    pub command: Option<&'a str>,
    /// A person can type: give them the shell.
    pub interactive: bool,
}

/// Composes the command line for a run.
///
/// # Errors
/// When the command or the result cannot be passed on.
pub fn compose(wishes: &Wishes<'_>) -> Result<String> {
    let extra = wishes.extra.trim();
    check_characters("BOOTARGS", extra)?;
    let mut words: Vec<String> = Vec::new();
    // The exit status of a run is the guest's, which only semihosting can carry.
    if !has_key(extra, "exit") {
        words.push("exit=semihosting".into());
    }
    if !extra.is_empty() {
        words.push(extra.to_owned());
    }
    let command = wishes.command.map(str::trim).filter(|command| !command.is_empty());
    if (command.is_some() || !wishes.interactive) && !has_key(extra, "noshell") {
        words.push("noshell".into());
    }
    if let Some(command) = command {
        check_command(command)?;
        ensure!(
            !has_key(extra, "cmd"),
            "commands are given twice: by CMD and by cmd= in BOOTARGS; use CMD alone"
        );
        words.push(format!("cmd=\"{command}\""));
    }
    let line = words.join(" ");
    ensure!(
        line.len() <= LIMIT_BYTES,
        "the kernel's command line would be {} bytes long, the limit is {LIMIT_BYTES}: shorten {}",
        line.len(),
        if command.is_some() { "CMD" } else { "BOOTARGS" }
    );
    Ok(line)
}

/// The command line of a real board, where there is no semihosting and somebody sits at the serial line.
///
/// # Errors
/// When the line cannot be passed on.
pub fn board(extra: &str) -> Result<String> {
    let extra = extra.trim();
    check_characters("BOOTARGS", extra)?;
    let limit = LIMIT_BYTES - FIRMWARE_BYTES;
    ensure!(
        extra.len() <= limit,
        "BOOTARGS is {} bytes long; on a board, whose firmware adds words of its own, the limit is {limit}",
        extra.len()
    );
    ensure!(
        !extra.split_whitespace().any(|word| word == "exit=semihosting"),
        "exit=semihosting needs an emulator or a debugger, and stops a board without one: leave it out"
    );
    Ok(extra.to_owned())
}

fn check_command(command: &str) -> Result<()> {
    if command.contains('"') {
        bail!(
            "CMD contains a double quote, which the kernel's command line cannot carry: {command}\n\
             write the command without quotes, for example CMD='uname -a; ps'"
        );
    }
    check_characters("CMD", command)
}

fn check_characters(what: &str, text: &str) -> Result<()> {
    if let Some(odd) = text.chars().find(|c| !c.is_ascii() || c.is_ascii_control()) {
        bail!(
            "{what} contains {odd:?}: only printable ASCII characters reach the kernel; separate commands by `;`"
        );
    }
    Ok(())
}

/// Whether `key` or `key=…` stands in the line outside of quotes.
fn has_key(line: &str, key: &str) -> bool {
    line.split('"').step_by(2).flat_map(str::split_whitespace).any(|word| word.split('=').next() == Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes<'a>(extra: &'a str, command: Option<&'a str>, interactive: bool) -> Wishes<'a> {
        Wishes { extra, command, interactive }
    }

    #[test]
    fn a_person_at_a_terminal_gets_the_shell() {
        assert_eq!(compose(&wishes("hz=1000", None, true)).unwrap(), "exit=semihosting hz=1000");
    }

    #[test]
    fn without_a_terminal_the_machine_powers_off_by_itself() {
        assert_eq!(compose(&wishes("", None, false)).unwrap(), "exit=semihosting noshell");
        assert_eq!(compose(&wishes("noshell", None, false)).unwrap(), "exit=semihosting noshell");
    }

    #[test]
    fn a_command_is_quoted_and_needs_no_shell() {
        let line = compose(&wishes("", Some("uname -a; ps"), true)).unwrap();
        assert_eq!(line, "exit=semihosting noshell cmd=\"uname -a; ps\"");
    }

    #[test]
    fn a_chosen_way_to_exit_is_kept() {
        assert_eq!(compose(&wishes("exit=psci", None, true)).unwrap(), "exit=psci");
        assert!(compose(&wishes("test=\"exit=psci\"", None, true)).unwrap().starts_with("exit=semihosting"));
    }

    #[test]
    fn a_board_is_told_what_was_asked_for_and_nothing_else() {
        assert_eq!(board(" preempt=rt cmd=\"a; b\" ").unwrap(), "preempt=rt cmd=\"a; b\"");
        assert_eq!(board("").unwrap(), "");
        let refused = |line: &str| board(line).unwrap_err().to_string();
        assert!(refused("a\nb").contains("printable ASCII"));
        assert!(refused(&"x".repeat(1600)).contains("the limit is 1536"));
        assert!(refused("hz=100 exit=semihosting").contains("stops a board"));
    }

    #[test]
    fn what_the_kernel_could_not_read_is_refused_with_the_reason() {
        let refused = |extra, command| compose(&wishes(extra, command, true)).unwrap_err().to_string();
        assert!(refused("", Some("echo \"hi\"")).contains("double quote"));
        assert!(refused("", Some("ps\nuname")).contains("separate commands by `;`"));
        assert!(refused("", Some("echo grün")).contains("printable ASCII"));
        assert!(refused("cmd=\"a\"", Some("b")).contains("given twice"));
        let long = "x".repeat(3000);
        let message = refused("", Some(&long));
        assert!(message.contains("2048") && message.contains("shorten CMD"), "{message}");
    }
}
