//! From a line to commands, from a wrong word to the one that was meant, and from a name to one word.
//!
//! A line is commands separated by `;`; a command is words separated by blanks; a word that begins with `#`
//! begins a comment. There are no quotes and no variables.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

use core::fmt::{self, Write};
use heapless::Vec;

/// The most words of one command.
pub const WORDS_MAX: usize = 16;
/// Longer words are not compared: no command has such a name.
const COMPARED_BYTES: usize = 24;

/// The commands of a line, each trimmed; empty ones are left out.
pub fn commands(line: &str) -> impl Iterator<Item = &str> {
    let line = line.find('#').map_or(line, |at| comment_free(line, at));
    line.split(';').map(str::trim).filter(|command| !command.is_empty())
}

/// The line without its comment: a `#` inside a word begins none.
fn comment_free(line: &str, first: usize) -> &str {
    let begins = |at: usize| at == 0 || line[..at].ends_with([' ', '\t', ';']);
    let at = line[first..].match_indices('#').map(|(at, _)| first + at).find(|&at| begins(at));
    at.map_or(line, |at| &line[..at])
}

/// The words of a command.
///
/// # Errors
/// How many there are, if that is more than [`WORDS_MAX`].
pub fn split(command: &str) -> Result<Vec<&str, WORDS_MAX>, usize> {
    let mut words = Vec::new();
    for word in command.split_ascii_whitespace() {
        if words.push(word).is_err() {
            return Err(command.split_ascii_whitespace().count());
        }
    }
    Ok(words)
}

/// How many letters must be put in, taken out, replaced or swapped with their neighbour to make `b` out of
/// `a`. Nothing for words that are too long to be compared.
#[must_use]
pub fn distance(a: &str, b: &str) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() > COMPARED_BYTES || b.len() > COMPARED_BYTES {
        return None;
    }
    // Three rows of the usual table: the one before last is for swaps.
    let mut before = [0; COMPARED_BYTES + 1];
    let mut last = [0; COMPARED_BYTES + 1];
    let mut row = [0; COMPARED_BYTES + 1];
    for (at, cell) in last.iter_mut().enumerate() {
        *cell = at;
    }
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let other = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + other);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row[j] = best;
        }
        before = last;
        last = row;
    }
    Some(last[b.len()])
}

/// The name nearest to `word`, if one is near enough to have been meant: at most a third of the letters, or
/// one, are different, or `word` is its beginning.
pub fn closest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &str| {
        if word.len() >= 2 && name.starts_with(word) {
            return Some(0);
        }
        distance(word, name).filter(|&letters| letters <= (word.len() / 3).max(1) && letters < name.len())
    };
    names
        .filter_map(|name| Some((near(name)?, name)))
        .min_by_key(|&(letters, _)| letters)
        .map(|(_, name)| name)
}

/// What prints as one word of a result line, whatever it is: with `_` for blanks and `=`. It is printed in its short form
/// (`{:#}`).
#[derive(Clone, Copy, Debug)]
pub struct OneWord<T>(pub T);

impl<T: fmt::Display> fmt::Display for OneWord<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Joined(f), "{:#}", self.0)
    }
}

struct Joined<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Joined<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.0.write_char(if matches!(c, ' ' | '=') { '_' } else { c }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_are_separated_by_semicolons_and_empty_ones_left_out() {
        let found: std::vec::Vec<_> = commands(" uname -a;; ps ;latency period=1ms;").collect();
        assert_eq!(found, ["uname -a", "ps", "latency period=1ms"]);
        assert_eq!(commands("  ; ;").count(), 0);
    }

    #[test]
    fn a_comment_begins_where_a_word_could() {
        assert_eq!(commands("ps # what runs; help").collect::<std::vec::Vec<_>>(), ["ps"]);
        assert_eq!(commands("echo a#b #c").collect::<std::vec::Vec<_>>(), ["echo a#b"]);
        assert_eq!(commands("# nothing").count(), 0);
    }

    #[test]
    fn words_are_separated_by_any_number_of_blanks() {
        assert_eq!(split("latency  period=1ms\tload=all").unwrap(), ["latency", "period=1ms", "load=all"]);
        assert_eq!(split("a b c d e f g h i j k l m n o p q"), Err(17));
    }

    #[test]
    fn a_name_with_blanks_prints_as_one_word() {
        let name = "<&Heap as GlobalAlloc<N = 1>>::dealloc";
        assert_eq!(std::format!("{}", OneWord(name)), "<&Heap_as_GlobalAlloc<N___1>>::dealloc");
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_command() {
        let names = ["help", "ps", "free", "uptime", "dmesg", "latency", "poweroff"];
        for (word, meant) in [
            ("latncy", "latency"),
            ("ltaency", "latency"),
            ("hepl", "help"),
            ("po", "poweroff"),
            ("sp", "ps"),
        ] {
            assert_eq!(closest(word, names.into_iter()), Some(meant), "{word}");
        }
        for word in ["banana", "x", "", "no_such_command"] {
            assert_eq!(closest(word, names.into_iter()), None, "{word}");
        }
    }

    proptest! {
        #[test]
        fn distance_is_a_distance(a in "[a-d]{0,8}", b in "[a-d]{0,8}") {
            let there = distance(&a, &b).unwrap();
            prop_assert_eq!(Some(there), distance(&b, &a));
            prop_assert_eq!(there == 0, a == b);
            prop_assert!(there <= a.len().max(b.len()) && there >= a.len().abs_diff(b.len()));
        }

        #[test]
        fn no_line_panics(line in "\\PC{0,60}") {
            for command in commands(&line) {
                let _ = split(command);
                let _ = closest(command, ["help", "ps"].into_iter());
            }
        }
    }
}
