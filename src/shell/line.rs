//! The line editor: bytes from a terminal in, a line out.
//!
//! Knows what a hand expects at a prompt and no more: backspace, Ctrl-C (forget the line), Ctrl-U (empty
//! it), Ctrl-W (take a word off), arrow up and down (the last lines), Tab (complete a command's name),
//! Ctrl-L (clear the screen). The cursor is always at the end. Everything a terminal may send is survived.
//!
//! Invariant: what is on the terminal behind the prompt is `line`.
//!
//! Context: threads; writes to the terminal it is given and touches nothing else.
#![forbid(unsafe_code)]

use core::fmt::Write;
use heapless::{Deque, String};

/// The longest line.
pub const LINE_BYTES: usize = 256;
/// Lines that are remembered.
pub const HISTORY_LINES: usize = 16;

type Line = String<LINE_BYTES>;

/// What a byte has led to.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack of whoever reads lines")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The line is not finished.
    More,
    /// Enter: this is the line.
    Line(Line),
    /// Ctrl-C: the line is forgotten.
    Cancelled,
}

/// Where in an escape sequence the terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    /// After ESC.
    Begun,
    /// After `ESC [` or `ESC O`, until a letter or `~`.
    Inside,
}

/// See the module's text.
#[derive(Debug)]
pub struct Editor {
    prompt: &'static str,
    line: Line,
    history: Deque<Line, HISTORY_LINES>,
    /// How far back in the history the line is; 0: it is new.
    back: usize,
    escape: Escape,
    /// The last byte was CR: an LF that follows belongs to it.
    after_cr: bool,
}

/// Calls the closure with every name that a first word may be.
pub type Names<'a> = &'a dyn Fn(&mut dyn FnMut(&str));

impl Editor {
    /// An editor with an empty line and no history.
    #[must_use]
    pub const fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            line: Line::new(),
            history: Deque::new(),
            back: 0,
            escape: Escape::No,
            after_cr: false,
        }
    }

    /// Shows the prompt and begins a line.
    pub fn begin(&mut self, out: &mut dyn Write) {
        self.line.clear();
        self.back = 0;
        self.redraw(out);
    }

    /// Takes one byte from the terminal.
    pub fn feed(&mut self, byte: u8, names: Names<'_>, out: &mut dyn Write) -> Outcome {
        if self.escape(byte, out) {
            return Outcome::More;
        }
        let after_cr = core::mem::replace(&mut self.after_cr, byte == b'\r');
        match byte {
            b'\n' if after_cr => {}
            b'\r' | b'\n' => {
                write(out, "\n");
                return Outcome::Line(self.finish());
            }
            0x03 => {
                write(out, "^C\n");
                return Outcome::Cancelled;
            }
            0x08 | 0x7f => self.erase_letter(out),
            0x15 => self.replace("", out),
            0x17 => self.erase_word(out),
            0x0c => {
                write(out, "\x1b[H\x1b[2J");
                self.redraw(out);
            }
            0x10 => self.browse(self.back + 1, out),
            0x0e => self.browse(self.back.saturating_sub(1), out),
            b'\t' => self.complete(names, out),
            b' '..=b'~' => self.insert(byte as char, out),
            // What is not typed on purpose is passed over.
            _ => {}
        }
        Outcome::More
    }

    /// Follows an escape sequence; `true`: the byte was part of one.
    fn escape(&mut self, byte: u8, out: &mut dyn Write) -> bool {
        match (self.escape, byte) {
            (_, 0x1b) => self.escape = Escape::Begun,
            (Escape::No, _) => return false,
            (Escape::Begun, b'[' | b'O') => self.escape = Escape::Inside,
            (Escape::Begun, _) => self.escape = Escape::No,
            // Parameters.
            (Escape::Inside, b' '..=b'?') => {}
            (Escape::Inside, key) => {
                self.escape = Escape::No;
                match key {
                    b'A' => self.browse(self.back + 1, out),
                    b'B' => self.browse(self.back.saturating_sub(1), out),
                    _ => {}
                }
            }
        }
        true
    }

    fn insert(&mut self, c: char, out: &mut dyn Write) {
        if self.line.push(c).is_ok() {
            // Cannot fail: the terminal takes everything.
            let _ = out.write_char(c);
        } else {
            write(out, "\x07");
        }
    }

    fn finish(&mut self) -> Line {
        let line = core::mem::take(&mut self.line);
        let worth = !line.trim().is_empty() && self.history.front() != Some(&line);
        if worth {
            if self.history.is_full() {
                self.history.pop_back();
            }
            // There is room now.
            let _ = self.history.push_front(line.clone());
        }
        line
    }

    fn browse(&mut self, back: usize, out: &mut dyn Write) {
        if back > self.history.len() || back == self.back {
            return;
        }
        self.back = back;
        let line = if back == 0 {
            Line::new()
        } else {
            self.history.iter().nth(back - 1).cloned().unwrap_or_default()
        };
        self.replace(&line, out);
    }

    fn replace(&mut self, with: &str, out: &mut dyn Write) {
        self.line.clear();
        // It was a line before, so it fits.
        let _ = self.line.push_str(with);
        self.redraw(out);
    }

    fn erase_letter(&mut self, out: &mut dyn Write) {
        if self.line.pop().is_some() {
            write(out, "\x08 \x08");
        }
    }

    fn erase_word(&mut self, out: &mut dyn Write) {
        let kept = self.line.trim_end().rfind(' ').map_or(0, |at| at + 1);
        self.line.truncate(kept);
        self.redraw(out);
    }

    /// Completes the first word as far as all names that begin with it agree; shows them if that is no
    /// further than it is.
    fn complete(&mut self, names: Names<'_>, out: &mut dyn Write) {
        let word = self.line.clone();
        let start = word.rfind(';').map_or(0, |at| at + 1);
        let word = word[start..].trim_start();
        if word.contains(' ') {
            return;
        }
        let mut common = Line::new();
        let mut found = 0;
        names(&mut |name| {
            let Some(_) = name.strip_prefix(word) else { return };
            found += 1;
            if found == 1 {
                let _ = common.push_str(name);
            }
            let same = common.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
            common.truncate(same);
        });
        for c in common.chars().skip(word.len()) {
            self.insert(c, out);
        }
        if found == 1 {
            self.insert(' ', out);
        } else if found > 1 && common.len() == word.len() {
            write(out, "\n");
            names(&mut |name| {
                if name.starts_with(word) {
                    let _ = write!(out, "{name}  ");
                }
            });
            write(out, "\n");
            self.redraw(out);
        }
    }

    fn redraw(&self, out: &mut dyn Write) {
        let _ = write!(out, "\r{}{}\x1b[K", self.prompt, self.line);
    }
}

fn write(out: &mut dyn Write, text: &str) {
    // Cannot fail: the terminal takes everything.
    let _ = out.write_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String as Text;
    use std::vec::Vec;

    fn names(f: &mut dyn FnMut(&str)) {
        ["help", "latency", "poweroff", "ps"].into_iter().for_each(f);
    }

    /// Types and returns the lines that came out, and what was written.
    fn type_into(editor: &mut Editor, bytes: &[u8]) -> (Vec<Text>, Text) {
        let mut lines = Vec::new();
        let mut screen = Text::new();
        for &byte in bytes {
            match editor.feed(byte, &names, &mut screen) {
                Outcome::Line(line) => lines.push(line.as_str().into()),
                Outcome::Cancelled => lines.push("(cancelled)".into()),
                Outcome::More => {}
            }
        }
        (lines, screen)
    }

    fn lines(bytes: &[u8]) -> Vec<Text> {
        type_into(&mut Editor::new("> "), bytes).0
    }

    #[test]
    fn a_line_ends_with_cr_lf_or_both() {
        assert_eq!(lines(b"one\rtwo\nthree\r\nfour\n\n"), ["one", "two", "three", "four", ""]);
    }

    #[test]
    fn backspace_and_delete_take_the_last_letter() {
        assert_eq!(lines(b"px\x7fs\x08\x08\x08\x08uname\r"), ["uname"]);
    }

    #[test]
    fn ctrl_u_empties_and_ctrl_w_takes_a_word() {
        assert_eq!(lines(b"rubbish\x15ps\r"), ["ps"]);
        assert_eq!(lines(b"latency period=1ms  \x17load=all\r"), ["latency load=all"]);
    }

    #[test]
    fn ctrl_c_forgets_the_line() {
        let mut editor = Editor::new("> ");
        let (seen, _) = type_into(&mut editor, b"latency\x03");
        assert_eq!(seen, ["(cancelled)"]);
        editor.begin(&mut Text::new());
        assert_eq!(type_into(&mut editor, b"ps\r").0, ["ps"]);
    }

    #[test]
    fn the_arrows_walk_through_the_history() {
        let up = b"\x1b[A";
        let mut editor = Editor::new("> ");
        type_into(&mut editor, b"one\rtwo\rtwo\r");
        editor.begin(&mut Text::new());
        assert_eq!(type_into(&mut editor, &[up, up, &b"\r"[..]].concat()).0, ["one"]);
        editor.begin(&mut Text::new());
        assert_eq!(type_into(&mut editor, &[&up[..], b"\x1bOA\x1b[B\r"].concat()).0, ["one"]);
        editor.begin(&mut Text::new());
        assert_eq!(type_into(&mut editor, b"\x1b[A\x1b[Bnew\r").0, ["new"]);
    }

    #[test]
    fn tab_completes_what_is_certain_and_shows_what_is_not() {
        assert_eq!(lines(b"la\tload=all\r"), ["latency load=all"]);
        let (seen, screen) = type_into(&mut Editor::new("> "), b"p\ts\r");
        assert_eq!(seen, ["ps"]);
        assert!(screen.contains("poweroff  ps"), "{screen}");
        assert_eq!(lines(b"uname; he\t\r"), ["uname; help "]);
    }

    #[test]
    fn keys_that_mean_nothing_here_leave_the_line_alone() {
        assert_eq!(lines(b"p\x1b[3~\x1b[1;5C\x1b[Ds\xc3\xa9\x00\r"), ["ps"]);
    }

    #[test]
    fn a_line_that_is_too_long_rings_and_keeps_its_beginning() {
        let (_, screen) = type_into(&mut Editor::new("> "), &[b'a'; LINE_BYTES + 3]);
        assert_eq!(screen.matches('\x07').count(), 3);
    }

    proptest! {
        #[test]
        fn nothing_a_terminal_sends_breaks_the_editor(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut editor = Editor::new("> ");
            type_into(&mut editor, &bytes);
            type_into(&mut editor, b"\x1b\x1b[A\x03");
            editor.begin(&mut Text::new());
            prop_assert_eq!(type_into(&mut editor, b"ps\r").0, ["ps"]);
        }
    }
}
