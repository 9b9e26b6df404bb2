//! Reads what a machine has said over its serial line: which boots, on what, and what they measured.
//!
//! Such a log is what a person has saved: with carriage returns, with progress that was written over itself, with
//! colours, with bytes that the line has spoilt, cut off anywhere, and with the firmware's own messages before each
//! boot. A boot begins at the kernel's banner; figures before the first banner belong to a boot that nothing is known of.
//!
//! Invariants: no input is an error here. A line that was meant for us and does not hold together is not used, and is
//! listed with its number and the reason; a figure that is shown was whole.
#![forbid(unsafe_code)]

use crate::lines::{self, Line, Measured, Picture, total};

/// What the banner's first line contains.
const BANNER: &str = ", a preemptible kernel for AArch64";
/// The banner has fewer lines than this.
const BANNER_LINES: usize = 14;
const WAKEUP: &str = "latency.wakeup";
/// Where the time of a late wake-up went: its fields [`PARTS`] add up to its value.
const BLAME: &str = "latency.blame";
/// The parts of a `latency.blame`, in the order in which the kernel writes them.
pub const PARTS: [&str; 16] = [
    "masked",
    "preempt_off",
    "entry",
    "handler",
    "ipi",
    "timer",
    "softirq",
    "wake",
    "behind",
    "other",
    "lock",
    "switch",
    "return",
    "own",
    "tracing",
    "unknown",
];
/// What a latency's result line has, in the order of size.
const ORDERED: [&str; 5] = ["min", "p50", "p99", "p999", "max"];
const ALSO: [&str; 7] = ["avg", "n", "missed", "load", "period_ns", "burn", "preempt"];

/// A whole log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Boots with figures, in their order.
    pub boots: Vec<Boot>,
    /// Banners seen, whether figures followed or not.
    pub banners: usize,
    /// Lines that were not used.
    pub damaged: Vec<Damaged>,
}

/// A line that was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// One boot of one machine.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The banner's lines: `board`, `cpu`, `clocks`, … and what they say.
    pub facts: Vec<(String, String)>,
    /// Runs of the latency test.
    pub runs: Vec<Run>,
    /// Every other figure.
    pub others: Vec<Measured>,
}

/// One run of the latency test.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Wake-up latency, with the conditions of the run.
    pub wakeup: Measured,
    /// Its parts: to the handler, to the task, computing.
    pub parts: Vec<Measured>,
    /// How the latencies are spread, if the log has it.
    pub histogram: Option<Picture<(u64, u64)>>,
    /// How they came.
    pub plot: Option<Picture<u64>>,
}

impl Boot {
    /// What the banner says of `key`.
    #[must_use]
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.facts.iter().find(|(name, _)| name == key).map(|(_, says)| says.as_str())
    }

    /// Board and clocks, which no figure may be without.
    #[must_use]
    pub fn conditions(&self) -> String {
        let fact = |key| self.fact(key).unwrap_or("not in the log");
        if self.facts.is_empty() {
            return "board and clock unknown: the log does not have the banner of this boot".into();
        }
        format!("{} · {} · {}", fact("board"), fact("cpu"), fact("clocks"))
    }

    /// What a nanosecond is worth here.
    #[must_use]
    pub fn time_note(&self) -> &'static str {
        let emulated = self.fact("board").is_some_and(|board| board.contains("dummy-virt"));
        match (emulated, self.fact("clocks").is_some_and(|clocks| clocks.starts_with("counter 1000 MHz"))) {
            (true, true) => {
                "QEMU with exact time: one instruction is one nanosecond, and every run is the same"
            }
            (true, false) => "QEMU on its host's clock: the host's own delays are in these figures",
            (false, _) => "",
        }
    }

    /// The other figures of this name.
    pub fn figures<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Measured> {
        self.others.iter().filter(move |measured| measured.name == name)
    }

    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.others.is_empty()
    }
}

impl Run {
    /// A number of the result line. It is there: [`read`] has looked.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self.wakeup.field(key).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// How late a fragment may be and still be done in time: what is not computed of it.
    #[must_use]
    pub fn slack_ns(&self) -> u64 {
        self.number("period_ns") / 100 * (100 - self.number("burn").min(100))
    }

    /// Whether hooks of `preempt-stats` were in it, so that it compares with none that has none.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        disturbed(&self.wakeup)
    }

    /// A word of the result line.
    #[must_use]
    pub fn word(&self, key: &str) -> &str {
        self.wakeup.field(key).unwrap_or("?")
    }
}

/// Whether the figure was measured while `preempt-stats` was on.
#[must_use]
pub fn disturbed(measured: &Measured) -> bool {
    measured.field("preempt_stats") == Some("on")
}

/// Reads a log.
#[must_use]
pub fn read(bytes: &[u8]) -> Log {
    let text = String::from_utf8_lossy(bytes);
    let mut log = Log::default();
    let mut boot = Boot::default();
    let mut banner_left = 0;
    for (index, raw) in text.split_inclusive('\n').enumerate() {
        let line = clean(raw);
        if line.starts_with("Stint ") && line.contains(BANNER) {
            log.banners += 1;
            log.keep(std::mem::take(&mut boot));
            banner_left = BANNER_LINES;
            continue;
        }
        if banner_left > 0 {
            banner_left -= 1;
            match fact(&line) {
                Some(fact) => boot.facts.push(fact),
                // The first line that is none ends the banner.
                None => banner_left = 0,
            }
            continue;
        }
        let line = lines::uncommented(&line);
        if !line.starts_with("result ") && !line.starts_with("hist ") && !line.starts_with("plot ") {
            continue;
        }
        let whole = raw.ends_with('\n');
        if let Err(reason) = boot.take(line, whole) {
            log.damaged.push(Damaged { line: index + 1, reason });
        }
    }
    log.keep(boot);
    log
}

impl Log {
    fn keep(&mut self, boot: Boot) {
        if !boot.is_empty() {
            self.boots.push(boot);
        }
    }
}

impl Boot {
    /// Takes a line that begins with one of our keywords.
    fn take(&mut self, line: &str, whole: bool) -> Result<(), String> {
        if line.contains(|c: char| c.is_control() || c == '\u{fffd}') {
            return Err("it has bytes that no such line has".into());
        }
        let Some(parsed) = lines::parse(line) else {
            // Sentences may begin with these words; ours have a name with a dot.
            let meant = line.split_whitespace().nth(1).is_some_and(|name| name.contains('.'));
            return if meant { Err("it is not complete".into()) } else { Ok(()) };
        };
        match parsed {
            Line::Result(measured) if measured.name == BLAME => {
                check_parts(&measured)?;
                self.others.push(measured);
            }
            Line::Result(measured) if measured.name.starts_with("latency.") => {
                check(&measured)?;
                if measured.name == WAKEUP {
                    self.runs.push(Run { wakeup: measured, parts: Vec::new(), histogram: None, plot: None });
                    return Ok(());
                }
                let run = self.run_of(&measured.name, measured.field("load"))?;
                run.parts.push(measured);
            }
            // Of the others nothing says how long they must be.
            Line::Result(_) if !whole => return Err("the log ends in the middle of it".into()),
            Line::Result(measured) => self.others.push(measured),
            Line::Histogram(picture) => {
                let run = self.run_of(&picture.name, picture.field("load"))?;
                let counted = total(picture.points.iter().map(|(_, count)| *count));
                let rising = picture.points.is_sorted_by(|a, b| a.0 < b.0);
                if counted != run.number("n") || !rising {
                    return Err(format!("its buckets hold {counted} values of {}", run.number("n")));
                }
                run.histogram = Some(picture);
            }
            Line::Plot(picture) => {
                let run = self.run_of(&picture.name, picture.field("load"))?;
                let (worst, max) = (picture.points.iter().max().copied().unwrap_or(0), run.number("max"));
                if worst != max {
                    return Err(format!("its worst value is {worst}, that of the run {max}"));
                }
                run.plot = Some(picture);
            }
            _ => {}
        }
        Ok(())
    }

    /// The run that a line belongs to: the last one, which must have the same load.
    fn run_of(&mut self, name: &str, load: Option<&str>) -> Result<&mut Run, String> {
        let run = self.runs.last_mut().filter(|run| run.wakeup.field("load") == load);
        run.ok_or_else(|| format!("{name} with load={} follows no run with that load", load.unwrap_or("?")))
    }
}

/// Whether a latency's line was whole: everything is there and fits together.
fn check(measured: &Measured) -> Result<(), String> {
    if let Some(key) = ALSO.iter().find(|key| measured.field(key).is_none()) {
        return Err(format!("it lacks {key}="));
    }
    let number = |key: &str| -> Result<u64, String> {
        let text = measured.field(key).ok_or_else(|| format!("it lacks {key}="))?;
        text.parse().map_err(|_| format!("{key}={text} is no number"))
    };
    let ordered = ORDERED.iter().map(|key| number(key)).collect::<Result<Vec<_>, _>>()?;
    for key in ["avg", "n", "missed", "period_ns"] {
        number(key)?;
    }
    let max = ordered[ORDERED.len() - 1];
    if !ordered.is_sorted() || number("avg")? > max || measured.value != max as f64 {
        return Err(format!("its figures contradict each other (value {}, max {max})", measured.value));
    }
    let model = measured.field("preempt").unwrap_or_default();
    if !["none", "voluntary", "full", "rt"].contains(&model) {
        return Err(format!("preempt={model} is cut off"));
    }
    Ok(())
}

/// Whether an explanation was whole: every part is there, and they add up.
fn check_parts(measured: &Measured) -> Result<(), String> {
    let mut parts = Vec::with_capacity(PARTS.len());
    for key in PARTS {
        let text = measured.field(key).ok_or_else(|| format!("it lacks {key}="))?;
        parts.push(text.parse().map_err(|_| format!("{key}={text} is no number"))?);
    }
    let sum = total(parts.into_iter());
    if sum as f64 != measured.value {
        return Err(format!("its parts add up to {sum}, and it is {}", measured.value));
    }
    Ok(())
}

/// The line as a terminal would show it at its end: what was written over is gone, and so are colours.
pub(crate) fn clean(raw: &str) -> String {
    let line = raw.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c != '\x1b' {
            text.push(c);
        } else if rest.as_str().starts_with('[') {
            // Up to the letter that ends it.
            rest.by_ref().skip(1).find(char::is_ascii_alphabetic);
        }
    }
    // Noise of a line that was plugged in while it spoke.
    text.trim_start_matches(['\0', '\u{fffd}']).to_owned()
}

/// `  board    linux,dummy-virt, entered at EL1`.
fn fact(line: &str) -> Option<(String, String)> {
    let (key, says) = line.strip_prefix("  ")?.split_once(' ')?;
    let says = says.trim();
    let word = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase());
    (word && !says.is_empty()).then(|| (key.to_owned(), says.to_owned()))
}

#[cfg(test)]
#[path = "serial_log_tests.rs"]
mod tests;
