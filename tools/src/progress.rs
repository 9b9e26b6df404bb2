//! How far a long command is: one line at a terminal, which is written over, and nothing anywhere else.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Columns of the bar.
const BAR: usize = 32;
/// The longest list of what is going on.
const NAMES: usize = 40;

/// Progress of parts that go on at the same time.
#[derive(Debug)]
pub struct Progress {
    parts: Mutex<Vec<Part>>,
    begun: Instant,
    shown: bool,
}

#[derive(Clone, Debug)]
struct Part {
    name: String,
    steps: usize,
    done: usize,
    goes_on: bool,
}

impl Progress {
    /// Of parts with so many steps each.
    #[must_use]
    pub fn new(parts: impl Iterator<Item = (String, usize)>) -> Self {
        let part = |(name, steps)| Part { name, steps, done: 0, goes_on: false };
        Self {
            parts: Mutex::new(parts.map(part).collect()),
            begun: Instant::now(),
            shown: std::io::stdout().is_terminal(),
        }
    }

    /// A part goes on, and has done so many steps.
    pub fn step(&self, part: usize, done: usize) {
        self.change(part, |part| (part.done, part.goes_on) = (done.min(part.steps), true));
    }

    /// A part is through.
    pub fn end(&self, part: usize) {
        self.change(part, |part| (part.done, part.goes_on) = (part.steps, false));
    }

    fn change(&self, part: usize, change: impl FnOnce(&mut Part)) {
        // Whoever panicked while it held this has left whole parts.
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.get_mut(part) {
            change(part);
        }
        if self.shown {
            // A terminal that takes nothing is no reason to stop.
            let _ = write!(std::io::stdout(), "\r{}\x1b[K", line(&parts, self.begun.elapsed()));
            let _ = std::io::stdout().flush();
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stdout(), "\r\x1b[K");
            let _ = std::io::stdout().flush();
        }
    }
}

fn line(parts: &[Part], passed: Duration) -> String {
    let steps: usize = parts.iter().map(|part| part.steps).sum();
    let done: usize = parts.iter().map(|part| part.done).sum();
    let columns = done * BAR / steps.max(1);
    let mut text = format!(
        "[{}{}] {:>3} %  {} s",
        "#".repeat(columns),
        ".".repeat(BAR - columns),
        done * 100 / steps.max(1),
        passed.as_secs()
    );
    let names: Vec<_> = parts.iter().filter(|part| part.goes_on).map(|part| part.name.as_str()).collect();
    let names: String = names.join(", ").chars().take(NAMES).collect();
    let _ = write!(text, "  {names}");
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_with_the_steps_of_all_parts_and_names_what_goes_on() {
        let progress = Progress::new([("none".to_owned(), 3), ("full".to_owned(), 1)].into_iter());
        let seen = || line(&progress.parts.lock().unwrap(), Duration::from_secs(7));
        assert_eq!(seen(), format!("[{}]   0 %  7 s", ".".repeat(32)));
        progress.step(0, 2);
        assert_eq!(seen(), format!("[{}{}]  50 %  7 s  none", "#".repeat(16), ".".repeat(16)));
        progress.step(0, 99);
        progress.end(0);
        progress.step(1, 0);
        assert_eq!(seen(), format!("[{}{}]  75 %  7 s  full", "#".repeat(24), ".".repeat(8)));
        progress.end(1);
        assert_eq!(seen(), format!("[{}] 100 %  7 s", "#".repeat(32)));
        progress.end(2);
    }
}
