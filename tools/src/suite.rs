//! Runs a whole in-kernel test image, whatever dies in it.
//!
//! One boot runs every test. If the guest dies in a test, that test has failed, with what the console said
//! since it began; the rest is run by another boot that skips everything up to and including it
//! (`test=all skip=K` counts in the order of `test=list`, must-panic tests included).
//!
//! Invariants: every listed test gets exactly one verdict; each boot makes progress, so there are at most as
//! many boots as tests; nothing that the guest prints can make the host panic.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use anyhow::{Result, ensure};

use crate::lines::{self, Line, Outcome};
use crate::qemu::{Captured, End};

/// A test that the image says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name, a sentence.
    pub name: String,
    /// It must panic with this text; such a test gets a boot of its own.
    pub panics: Option<String>,
    /// The boot arguments it needs, if it must panic; the others say themselves where they do not apply.
    pub boot: String,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Passed,
    /// The guest could not run it on this machine.
    Ignored(String),
    /// It failed, died or hung; the reason, with the console text where there is some.
    Failed(String),
}

/// The result of a whole image on one machine.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    verdicts: HashMap<String, Verdict>,
    /// What was wrong apart from single tests: each is a failure of the machine as a whole.
    pub complaints: Vec<String>,
    /// How often the machine was booted.
    pub boots: usize,
    /// Console text of all boots.
    pub console: String,
}

impl Suite {
    /// The verdict on one test.
    #[must_use]
    pub fn verdict(&self, name: &str) -> Verdict {
        self.verdicts.get(name).cloned().unwrap_or_else(|| {
            let why = self.complaints.first().map_or("its `run` line never came", String::as_str);
            Verdict::Failed(format!("it never ran: {why}"))
        })
    }

    /// How many tests have passed, failed and been ignored.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Verdict) -> bool| self.verdicts.values().filter(|v| wanted(v)).count();
        (
            count(|v| matches!(v, Verdict::Passed)),
            count(|v| matches!(v, Verdict::Failed(_))),
            count(|v| matches!(v, Verdict::Ignored(_))),
        )
    }
}

/// Reads the answer to `test=list`.
///
/// # Errors
/// When the machine did not end by itself, listed nothing, or listed a name twice.
pub fn list(captured: &Captured) -> Result<Vec<Listed>> {
    ensure!(
        captured.succeeded(),
        "listing the tests (test=list) did not end with status 0: {}\n{}",
        captured.end,
        excerpt(&captured.console)
    );
    let mut listed: Vec<Listed> = Vec::new();
    for line in captured.console.lines() {
        if let Some(Line::Listed { name, panics, boot }) = lines::parse(line) {
            ensure!(
                !listed.iter().any(|known| known.name == name),
                "two tests are called `{name}`: rename one, since the result could not be told apart"
            );
            listed.push(Listed { name, panics, boot });
        }
    }
    ensure!(
        !listed.is_empty(),
        "the image listed no test (no line `test-list <name>`):\n{}",
        excerpt(&captured.console)
    );
    Ok(listed)
}

/// Runs all tests that need not panic; `boot` starts the machine with the given `test=` arguments.
///
/// # Errors
/// When the machine cannot be started at all.
pub fn run(listed: &[Listed], mut boot: impl FnMut(&str) -> Result<Captured>) -> Result<Suite> {
    let mut suite = Suite::default();
    let mut skip = 0;
    while listed[skip..].iter().any(|test| test.panics.is_none()) {
        let arguments = if skip == 0 { "test=all".to_owned() } else { format!("test=all skip={skip}") };
        let captured = boot(&arguments)?;
        suite.boots += 1;
        suite.console +=
            &format!("=== boot {}: {arguments}\n{}\n=== {}\n", suite.boots, captured.console, captured.end);
        let read = read_boot(&captured, &mut suite);
        if read.closed {
            break;
        }
        // Go on behind the test it died in, or behind the last one that ended.
        let last = read.died_in.or(read.last_ended);
        match last.and_then(|name| listed.iter().position(|test| test.name == name)) {
            Some(index) if index >= skip => skip = index + 1,
            _ => break,
        }
    }
    for test in listed.iter().filter(|test| test.panics.is_none()) {
        if !suite.verdicts.contains_key(&test.name) && suite.complaints.is_empty() {
            suite
                .complaints
                .push(format!("`{}` is listed but was not run, and the guest did not say why", test.name));
        }
    }
    Ok(suite)
}

/// What one boot's console said about its course.
#[derive(Default)]
struct Boot {
    /// The closing line came.
    closed: bool,
    died_in: Option<String>,
    last_ended: Option<String>,
}

fn read_boot(captured: &Captured, suite: &mut Suite) -> Boot {
    let mut boot = Boot::default();
    let mut running: Option<(String, usize)> = None;
    let (mut passed, mut failed) = (0, 0);
    let mut at = 0;
    for line in captured.console.split_inclusive('\n') {
        let here = at;
        at += line.len();
        match lines::parse(line) {
            Some(Line::Run(name)) => running = Some((name, here)),
            Some(Line::Test(name, outcome)) => {
                let since = running.take().map_or(here, |(_, since)| since);
                let verdict = match outcome {
                    Outcome::Ok => Verdict::Passed,
                    Outcome::Ignored(reason) => Verdict::Ignored(reason),
                    Outcome::Failed(reason) => {
                        Verdict::Failed(format!("{reason}\n{}", excerpt(&captured.console[since..at])))
                    }
                };
                passed += usize::from(verdict == Verdict::Passed);
                failed += usize::from(matches!(verdict, Verdict::Failed(_)));
                suite.verdicts.insert(name.clone(), verdict);
                boot.last_ended = Some(name);
            }
            Some(Line::Done { passed: p, failed: f }) => {
                boot.closed = true;
                if (p, f) != (passed, failed) {
                    suite.complaints.push(format!(
                        "the guest counted {p} passed, {f} failed, but its lines say {passed} passed, {failed} failed"
                    ));
                }
            }
            _ => {}
        }
    }
    if let Some((name, since)) = running {
        let text = format!("{}\n{}", captured.end, excerpt(&captured.console[since..]));
        suite.verdicts.insert(name.clone(), Verdict::Failed(text));
        boot.died_in = Some(name);
    } else if !boot.closed {
        let place = boot
            .last_ended
            .as_deref()
            .map_or("before the first test".into(), |name| format!("after `{name}`"));
        suite.complaints.push(format!(
            "{place}, outside of any test: {}\n{}",
            captured.end,
            excerpt(&captured.console)
        ));
    }
    let expected = End::Exited(i32::from(failed > 0));
    if boot.closed && captured.end != expected {
        suite.complaints.push(format!("after its closing line: {} (expected: {expected})", captured.end));
    }
    boot
}

/// Judges the boot of a test that must panic with `text`.
#[must_use]
pub fn judge_panic(captured: &Captured, text: &str) -> Verdict {
    let problem = if captured.end != End::Exited(101) {
        format!("it must panic, which ends with exit status 101, but: {}", captured.end)
    } else if !captured.console.contains(text) {
        format!("it panicked, but not with the text {text:?}")
    } else {
        return Verdict::Passed;
    };
    Verdict::Failed(format!("{problem}\n{}", excerpt(&captured.console)))
}

/// The end of a console text, indented, with a word about what was left out.
#[must_use]
pub fn excerpt(console: &str) -> String {
    const MOST_LINES: usize = 120;
    let lines: Vec<&str> = console.lines().map(|line| line.trim_end_matches('\r')).collect();
    let from = lines.len().saturating_sub(MOST_LINES);
    let mut text = String::from("--- console ---\n");
    if from > 0 {
        text += &format!("… {from} earlier lines are in the log\n");
    }
    for line in &lines[from..] {
        text += line;
        text.push('\n');
    }
    text + "---------------"
}

#[cfg(test)]
#[path = "suite_tests.rs"]
mod tests;
