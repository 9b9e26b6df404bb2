//! Reads the lines by which a guest talks to the host.
//!
//! ```text
//! result <group>.<name> <value> <unit> [key=value …]     a measurement
//! hist <group>.<name> <unit> key=value … <low>:<count> … how its values are spread (src/latency/report.rs)
//! plot <group>.<name> <unit> key=value … <worst> …       the same in the order in which they came
//! run <name>                                             a test (or a path of the sweep) begins
//! test <name> ... ok | FAILED: <reason> | ignored: <reason>
//! test-list <name> [[boot=<arguments>] panics=<text>]    answer to test=list
//! ktest: <N> passed, <N> failed                          a test image is through
//! sweep: <N> paths, <N> points, <N> failures             the sweep is through
//! ```
//!
//! Invariant: anything else is console text and is left alone; no line, however broken, is an error, since
//! the guest may die in the middle of one. A line counts only if it *begins* with its keyword; a result may be a comment
//! (`# result …`), where what is around it is a table for others to read.
#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

/// A measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Group and name, for example `bench.yield_none`.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// What the figure counts, for example `insn`.
    pub unit: String,
    /// `key=value` pairs behind it, in their order.
    pub fields: Vec<(String, String)>,
}

impl Measured {
    /// A field's value, if it is there.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The result for programs: numbers where they are numbers.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("name".into(), json!(self.name));
        object.insert("value".into(), number_or_text(&figure(self.value)));
        object.insert("unit".into(), json!(self.unit));
        for (key, value) in &self.fields {
            object.insert(key.clone(), number_or_text(value));
        }
        Value::Object(object)
    }
}

/// How the values of a measurement are spread, or how they came: what its pictures are drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture<T> {
    /// Group and name of the measurement.
    pub name: String,
    /// What the values count.
    pub unit: String,
    /// `key=value` pairs, in their order.
    pub fields: Vec<(String, String)>,
    /// What is drawn, in its order.
    pub points: Vec<T>,
}

impl<T> Picture<T> {
    /// A field's value, if it is there.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// How one test ended, in the guest's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Ok,
    /// It failed; the reason.
    Failed(String),
    /// It could not be run here; the reason.
    Ignored(String),
}

/// One line of the console, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A measurement.
    Result(Measured),
    /// A histogram: the smallest value of each bucket, and how many values it has.
    Histogram(Picture<(u64, u64)>),
    /// The values in their order.
    Plot(Picture<u64>),
    /// A test begins.
    Run(String),
    /// A test ended.
    Test(String, Outcome),
    /// A test exists.
    Listed {
        /// Its name.
        name: String,
        /// The text its panic must contain, if it must panic.
        panics: Option<String>,
        /// The boot arguments such a test needs.
        boot: String,
    },
    /// A test image is through.
    Done {
        /// Tests that passed.
        passed: usize,
        /// Tests that failed.
        failed: usize,
    },
    /// The sweep is through.
    SweepDone {
        /// Kernel paths covered.
        paths: usize,
        /// Instructions at which a path was interrupted.
        points: usize,
        /// Points at which an invariant did not hold.
        failures: usize,
    },
}

/// Understands one line, or returns `None` for console text.
#[must_use]
pub fn parse(line: &str) -> Option<Line> {
    let line = uncommented(line.trim_end_matches(['\r', '\n']));
    let (keyword, rest) = line.split_once(' ')?;
    match keyword {
        "result" => parse_result(rest).map(Line::Result),
        "hist" => parse_picture(rest, bucket).map(Line::Histogram),
        "plot" => parse_picture(rest, |word| word.parse().ok()).map(Line::Plot),
        "run" => one_word(rest).map(|name| Line::Run(name.to_owned())),
        "test" => parse_test(rest),
        "test-list" => parse_listed(rest),
        "ktest:" => {
            let numbers = counts(rest, ["passed", "failed"])?;
            Some(Line::Done { passed: numbers[0], failed: numbers[1] })
        }
        "sweep:" => {
            let numbers = counts(rest, ["paths", "points", "failures"])?;
            Some(Line::SweepDone { paths: numbers[0], points: numbers[1], failures: numbers[2] })
        }
        _ => None,
    }
}

/// A result that is a comment, without what makes it one; any other line as it is.
#[must_use]
pub fn uncommented(line: &str) -> &str {
    line.strip_prefix("# ").filter(|rest| rest.starts_with("result ")).unwrap_or(line)
}

/// All results of a console text, in their order.
#[must_use]
pub fn results(console: &str) -> Vec<Measured> {
    console
        .lines()
        .filter_map(|line| match parse(line) {
            Some(Line::Result(measured)) => Some(measured),
            _ => None,
        })
        .collect()
}

fn one_word(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && !text.contains(char::is_whitespace)).then_some(text)
}

fn parse_result(rest: &str) -> Option<Measured> {
    let mut words = rest.split_whitespace();
    let name = words.next()?;
    // Without a group it is a sentence that happens to begin with "result".
    let (group, metric) = name.split_once('.')?;
    if group.is_empty() || metric.is_empty() {
        return None;
    }
    let value: f64 = words.next()?.parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    let unit = words.next()?;
    let fields =
        words.filter_map(|word| word.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    Some(Measured { name: name.to_owned(), value, unit: unit.to_owned(), fields })
}

/// A word that is neither a field nor a point makes the whole line worthless: something was lost.
fn parse_picture<T>(rest: &str, point: impl Fn(&str) -> Option<T>) -> Option<Picture<T>> {
    let mut words = rest.split_whitespace();
    let name = words.next().filter(|name| name.contains('.'))?.to_owned();
    let unit = words.next()?.to_owned();
    let (mut fields, mut points) = (Vec::new(), Vec::new());
    for word in words {
        match word.split_once('=') {
            Some((key, value)) => fields.push((key.to_owned(), value.to_owned())),
            None => points.push(point(word)?),
        }
    }
    (!points.is_empty()).then_some(Picture { name, unit, fields, points })
}

fn bucket(word: &str) -> Option<(u64, u64)> {
    let (low, count) = word.split_once(':')?;
    Some((low.parse().ok()?, count.parse().ok()?))
}

fn parse_test(rest: &str) -> Option<Line> {
    let (name, outcome) = rest.split_once(" ... ")?;
    let name = one_word(name)?.to_owned();
    let outcome = outcome.trim();
    let reason = |text: &str| text.trim_start_matches(':').trim().to_owned();
    let outcome = if outcome == "ok" {
        Outcome::Ok
    } else if let Some(text) = outcome.strip_prefix("FAILED") {
        Outcome::Failed(reason(text))
    } else if let Some(text) = outcome.strip_prefix("ignored") {
        Outcome::Ignored(reason(text))
    } else {
        return None;
    };
    Some(Line::Test(name, outcome))
}

fn parse_listed(rest: &str) -> Option<Line> {
    let rest = rest.trim();
    let (head, panics) = match rest.split_once(" panics=") {
        // The text may contain blanks and may be quoted; the quotes are not part of it.
        Some((head, text)) => (head, Some(text.trim().trim_matches('"').to_owned())),
        None => (rest, None),
    };
    let (name, boot) = head.split_once(" boot=").unwrap_or((head, ""));
    Some(Line::Listed { name: one_word(name)?.to_owned(), panics, boot: boot.trim().to_owned() })
}

/// Reads `<N> word, <N> word, …` with exactly these words.
fn counts<const N: usize>(text: &str, words: [&str; N]) -> Option<[usize; N]> {
    let mut parts = text.split(',');
    let mut numbers = [0; N];
    for (number, word) in numbers.iter_mut().zip(words) {
        let (digits, unit) = parts.next()?.trim().split_once(' ')?;
        if unit.trim() != word {
            return None;
        }
        *number = digits.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// A figure without a needless fraction.
#[must_use]
pub fn figure(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn number_or_text(text: &str) -> Value {
    text.parse::<i64>()
        .map(|n| json!(n))
        .ok()
        .or_else(|| text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| json!(n)))
        .unwrap_or_else(|| json!(text))
}

/// The sum of numbers of a log, which may be any.
pub fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_result_line_gives_name_value_unit_and_fields() {
        let text = "result bench.sem_give_wake 141 insn min=141 max=141 n=1000\r\n";
        let Some(Line::Result(got)) = parse(text) else { panic!("not a result") };
        assert_eq!((got.name.as_str(), got.value, got.unit.as_str()), ("bench.sem_give_wake", 141.0, "insn"));
        assert_eq!(got.field("n"), Some("1000"));
        assert_eq!(got.field("avg"), None);
        let json = got.to_json();
        assert_eq!((json["value"].as_i64(), json["max"].as_i64()), (Some(141), Some(141)));
    }

    #[test]
    fn a_result_among_comments_counts_and_other_comments_do_not() {
        let Some(Line::Result(got)) = parse("# result cyclictest.wakeup 1490 ns n=1000\r\n") else {
            panic!("not a result")
        };
        assert_eq!((got.name.as_str(), got.value), ("cyclictest.wakeup", 1490.0));
        for text in ["# Total: 000002000", "# run a", "## result a.b 1 ns", "#result a.b 1 ns"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn pictures_give_their_points_and_a_broken_one_gives_nothing() {
        let Some(Line::Histogram(got)) = parse("hist latency.wakeup ns n=3 load=all 352:2 1792:1\r\n") else {
            panic!("not a histogram")
        };
        assert_eq!((got.points.as_slice(), got.field("n")), (&[(352, 2), (1792, 1)][..], Some("3")));
        let Some(Line::Plot(got)) = parse("plot latency.wakeup ns load=all 5 0 7") else {
            panic!("not a plot")
        };
        assert_eq!((got.points.as_slice(), got.unit.as_str()), (&[5, 0, 7][..], "ns"));
        for text in [
            "hist a.b ns n=1",
            "hist a.b ns 3:x",
            "hist a.b ns 3",
            "plot a.b ns 3 \u{fffd}",
            "plot of the day",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_fraction_stays_a_fraction() {
        let Some(Line::Result(got)) = parse("result tm.interrupt 154.5 insn") else { panic!("not a result") };
        assert_eq!(got.to_json()["value"].as_f64(), Some(154.5));
        assert_eq!(figure(got.value), "154.5");
    }

    #[test]
    fn test_lines_give_the_outcome_and_its_reason() {
        assert_eq!(parse("test a_b ... ok"), Some(Line::Test("a_b".into(), Outcome::Ok)));
        assert_eq!(
            parse("test a ... FAILED: left 1, right 2"),
            Some(Line::Test("a".into(), Outcome::Failed("left 1, right 2".into())))
        );
        assert_eq!(
            parse("test a ... ignored: no FEAT_PAN"),
            Some(Line::Test("a".into(), Outcome::Ignored("no FEAT_PAN".into())))
        );
    }

    #[test]
    fn a_listed_test_may_have_to_panic() {
        let listed = |panics: Option<&str>, boot: &str| {
            Some(Line::Listed { name: "a::b".into(), panics: panics.map(Into::into), boot: boot.into() })
        };
        assert_eq!(parse("test-list a::b"), listed(None, ""));
        assert_eq!(parse("test-list a::b panics=guard page of"), listed(Some("guard page of"), ""));
        assert_eq!(
            parse("test-list a::b boot=preempt=rt x=1 panics=guard page of"),
            listed(Some("guard page of"), "preempt=rt x=1")
        );
    }

    #[test]
    fn closing_lines_give_their_counts() {
        assert_eq!(parse("ktest: 12 passed, 1 failed"), Some(Line::Done { passed: 12, failed: 1 }));
        assert_eq!(
            parse("sweep: 8 paths, 912 points, 0 failures"),
            Some(Line::SweepDone { paths: 8, points: 912, failures: 0 })
        );
        assert_eq!(parse("ktest: many passed, 1 failed"), None);
    }

    #[test]
    fn console_text_is_left_alone() {
        for text in [
            "",
            "result",
            "result of the day",
            "result a.b",
            "result a.b x y",
            "run",
            "run two words",
            "test the waters ... maybe",
            "a result b.c 1 insn",
            "result .x 1 insn",
            "result a.b inf insn",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(text in "(result|hist|plot|run|test|test-list|ktest:|sweep:) \\PC{0,60}") {
            let _ = parse(&text);
        }
    }
}
