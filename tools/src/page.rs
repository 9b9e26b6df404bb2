//! The page on which measurements are read: stands alone, needs no network, can be printed.
//!
//! Made from boots as [`crate::serial_log`] reads them, wherever these come from: a board's saved log, or consoles that
//! were captured in QEMU.
//!
//! Invariant: every figure carries board, clock, load and samples. Text from outside is escaped where it enters.
#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::lines::{Measured, figure, total};
use crate::serial_log::{Boot, Damaged, Log, Run};
use crate::svg::{self, Spread, escape, grouped, time};

mod bounds;
mod compare;
mod jobs;

pub use bounds::bounds;
pub use compare::MODELS;
pub use jobs::{DBENCH, HACKBENCH, WORST};

const STYLE: &str = include_str!("page.css");
/// So many damaged lines are named; the rest is counted.
const DAMAGED_SHOWN: usize = 12;

/// A whole page out of its sections.
#[must_use]
pub fn render(title: &str, lead: &str, sections: &[String]) -> String {
    let (title, lead) = (escape(title), escape(lead));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p class=\"lead\">{lead}</p>\n{}\
         <footer>Latency: from the moment a timer was due to the first instruction of the task that waited for it. \
         Quantiles are rounded up by at most a sixteenth; minimum, average and worst are exact. \
         A fragment is missed when it was not done before the next one was due.</footer>\n</body>\n</html>\n",
        sections.concat()
    )
}

/// `1 run`, `2 runs`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    format!("{} {what}{}", grouped(number as u64), if number == 1 { "" } else { "s" })
}

/// Everything of a log: what it shows of all boots together, then each of them.
#[must_use]
pub fn log(log: &Log) -> Vec<String> {
    let together = compare::compare(&log.boots);
    // What is compared needs not be shown twice: it is there for who wants to see it.
    let each = if together.is_empty() { Each::Shown } else { Each::Folded };
    let mut sections = vec![together, jobs::jobs(&log.boots)];
    sections.extend(log.boots.iter().enumerate().map(|(index, boot)| one_boot(boot, index + 1, each)));
    sections.push(damaged(&log.damaged));
    sections
}

/// How the pictures of each load are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Each {
    Shown,
    Folded,
}

/// Everything about one boot.
fn one_boot(boot: &Boot, number: usize, each: Each) -> String {
    let name = boot.fact("uname").or(boot.fact("board")).unwrap_or("a board that the log does not name");
    let mut html = format!(
        "<h2>Boot {number}: {}</h2>\n<p class=\"facts\">{}",
        escape(name),
        escape(&boot.conditions())
    );
    for (key, says) in
        boot.facts.iter().filter(|(key, _)| ["bootargs", "irq", "memory"].contains(&key.as_str()))
    {
        let _ = write!(html, " · {key} {}", escape(says));
    }
    html += "</p>\n";
    if !boot.time_note().is_empty() {
        let _ = writeln!(html, "<p class=\"note\">{}.</p>", escape(boot.time_note()));
    }
    if !boot.runs.is_empty() {
        html += "<h3>Wake-up latency</h3>\n";
        html += &run_table(&boot.runs);
        html += &together(boot);
        let pairs: String = boot.runs.iter().map(|run| pair(boot, run)).collect();
        html += &match each {
            Each::Folded if !pairs.is_empty() => {
                format!("<details><summary>Each load by itself</summary>\n{pairs}</details>\n")
            }
            _ => pairs,
        };
    }
    let others: Vec<_> = boot.others.iter().filter(|measured| !jobs::is_shown(measured)).collect();
    if !others.is_empty() {
        html += "<h3>Other figures</h3>\n";
        html += &other_table(&others);
    }
    html
}

/// What the log had that was not used.
#[must_use]
pub fn damaged(lines: &[Damaged]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut html = format!(
        "<h2>Not used</h2>\n<p>{} of the log's lines did not hold together:</p>\n<ul>\n",
        lines.len()
    );
    for damaged in lines.iter().take(DAMAGED_SHOWN) {
        let _ = writeln!(html, "<li>line {}: {}</li>", damaged.line, escape(&damaged.reason));
    }
    if let Some(more @ 1..) = lines.len().checked_sub(DAMAGED_SHOWN) {
        let _ = writeln!(html, "<li>and {more} more</li>");
    }
    html + "</ul>\n"
}

fn run_table(runs: &[Run]) -> String {
    let mut html = String::from(
        "<div class=\"scroll\"><table>\n<tr><th>load</th><th>model</th><th>min</th><th>avg</th><th>p50</th><th>p99</th>\
         <th>p99.9</th><th>worst</th><th>missed</th><th>samples</th><th>period</th></tr>\n",
    );
    for run in runs {
        let hooks = if run.is_disturbed() { ", preempt-stats on" } else { "" };
        let (load, model) = (escape(run.word("load")), escape(run.word("preempt")));
        let _ = write!(html, "<tr><td>{load}</td><td>{model}{hooks}</td>");
        for key in ["min", "avg", "p50", "p99", "p999"] {
            let _ = write!(html, "<td>{}</td>", time(run.number(key)));
        }
        let missed = run.number("missed");
        let _ = writeln!(
            html,
            "<td class=\"worst\">{}</td><td{}>{}</td><td>{}</td><td>{}</td></tr>",
            time(run.number("max")),
            if missed > 0 { " class=\"bad\"" } else { "" },
            grouped(missed),
            grouped(run.number("n")),
            time(run.number("period_ns"))
        );
    }
    html + "</table></div>\n"
}

fn spread(run: &Run) -> Option<Spread> {
    let points = &run.histogram.as_ref()?.points;
    Some(Spread::of_points(run.word("load"), points, run.number("max")))
}

/// All loads of a boot in one picture.
fn together(boot: &Boot) -> String {
    let runs: Vec<_> = boot.runs.iter().filter(|run| run.histogram.is_some()).collect();
    let spreads: Vec<_> = runs.iter().filter_map(|run| spread(run)).collect();
    if spreads.is_empty() {
        return "<p class=\"note\">The log has no histograms (lines that begin with <code>hist</code>), so there are no \
                pictures.</p>\n"
            .into();
    }
    let slack = runs.iter().map(|run| run.slack_ns()).min().unwrap_or(0);
    let mut html = format!("<figure>\n{}{}", svg::later_than(&spreads, slack), legend(&spreads));
    let samples = total(runs.iter().map(|run| run.number("n")));
    let _ = writeln!(
        html,
        "<figcaption><b>How many were later.</b> For each load, the share of wake-ups that came later than a \
         latency; a line ends at its worst. {} samples in {} · {}</figcaption>\n</figure>",
        grouped(samples),
        count(runs.len(), "run"),
        escape(&boot.conditions())
    );
    html
}

/// What the lines of a picture are, each with its worst.
fn legend(spreads: &[Spread]) -> String {
    let mut html = String::from("<ul class=\"legend\">\n");
    for (index, spread) in spreads.iter().enumerate() {
        let _ = writeln!(
            html,
            "<li><svg viewBox=\"0 0 18 8\"><path class=\"curve c{} turn{}\" d=\"M0,4H18\"/></svg>{} <span>{}</span></li>",
            index % svg::COLOURS,
            index / svg::COLOURS,
            escape(&spread.label),
            time(spread.max)
        );
    }
    html + "</ul>\n"
}

/// One run: how its latencies are spread, and how they came.
fn pair(boot: &Boot, run: &Run) -> String {
    let Some(spread) = spread(run) else { return String::new() };
    // One scale for all runs of a boot, so that pictures can be compared.
    let of = |key| boot.runs.iter().map(move |run| run.number(key));
    let range = (of("min").min().unwrap_or(1), of("max").max().unwrap_or(1));
    let slack = run.slack_ns();
    let mut html = format!("<figure>\n<div class=\"pair\">\n{}", svg::histogram(&spread, range, slack));
    if let Some(plot) = &run.plot {
        let fragments = plot.field("fragments").and_then(|text| text.parse().ok()).unwrap_or(run.number("n"));
        html += &svg::over_time(run.word("load"), &plot.points, fragments, range, slack);
    }
    let burn = match run.word("burn") {
        "0" => String::new(),
        percent => format!(", {percent} % of each computed"),
    };
    let _ = writeln!(
        html,
        "</div>\n<figcaption><b>Load {}</b>, preempt={}: {} samples, one each {}{}, {} missed; left: how many took how \
         long; right: the worst of each {}, in their order · {}</figcaption>\n</figure>",
        escape(run.word("load")),
        escape(run.word("preempt")),
        grouped(run.number("n")),
        time(run.number("period_ns")),
        escape(&burn),
        grouped(run.number("missed")),
        share(run),
        escape(&boot.conditions())
    );
    html
}

/// How many fragments a column of the plot stands for.
fn share(run: &Run) -> String {
    let columns = run.plot.as_ref().map_or(1, |plot| plot.points.len().max(1)) as u64;
    match run.number("n").div_ceil(columns) {
        0 | 1 => "fragment".into(),
        many => format!("{} fragments", grouped(many)),
    }
}

fn other_table(others: &[&Measured]) -> String {
    let mut html = String::from(
        "<div class=\"scroll\"><table>\n<tr><th>figure</th><th>value</th><th>unit</th><th>with</th></tr>\n",
    );
    for measured in others {
        let fields: Vec<_> = measured.fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td class=\"worst\">{}</td><td>{}</td><td class=\"rest\">{}</td></tr>",
            escape(&measured.name),
            figure(measured.value),
            escape(&measured.unit),
            escape(&fields.join(" "))
        );
    }
    html + "</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial_log;

    const LOG: &str = "\nStint 0.1.0, a preemptible kernel for AArch64 that measures\n  board    <b>, entered at EL2\n\
        \x20 cpu      Cortex-A72, number 0 of 4, 1500 MHz\n  clocks   counter 54 MHz, tick 250 Hz\n\n\
        result latency.wakeup 2000000 ns min=400 avg=500 p50=450 p99=1000 p999=2000000 max=2000000 n=1000 missed=1 \
        load=memcpy period_ns=1000000 burn=20 preempt=rt\n\
        hist latency.wakeup ns n=1000 load=memcpy 400:999 1966080:1\n\
        plot latency.wakeup ns fragments=1000 load=memcpy 450 2000000\n\
        result rpi4.gpio_loop 12 cycles n=5\n";

    fn page() -> String {
        let log = serial_log::read(LOG.as_bytes());
        assert!(log.damaged.is_empty(), "{:?}", log.damaged);
        render("a <log>", "lead", &super::log(&log))
    }

    #[test]
    fn every_figure_carries_board_clock_load_and_samples() {
        let html = page();
        let captions: Vec<_> = html
            .split("<figcaption>")
            .skip(1)
            .filter_map(|part| part.split("</figcaption>").next())
            .collect();
        assert_eq!(captions.len(), 2);
        for caption in captions {
            for word in ["&lt;b&gt;, entered at EL2", "Cortex-A72", "1500 MHz", "54 MHz", "1,000 samples"] {
                assert!(caption.contains(word), "{word} is missing in {caption}");
            }
        }
        assert!(html.contains("<b>Load memcpy</b>, preempt=rt") && html.contains("20 % of each computed"));
        assert!(html.contains("rpi4.gpio_loop"));
    }

    #[test]
    fn the_page_stands_alone_and_nothing_of_the_log_becomes_markup() {
        let html = page();
        assert!(!html.contains("a <log>") && !html.contains("<b>, entered"));
        for needs in ["<script", "<link", "src=", "url(", "@import"] {
            assert!(!html.contains(needs), "{needs} would need more than the page");
        }
        // The only address is the name of the SVG language.
        assert_eq!(
            html.matches("http").count(),
            html.matches("xmlns=\"http://www.w3.org/2000/svg\"").count()
        );
    }

    #[test]
    fn a_missed_fragment_is_seen() {
        let html = page();
        assert!(html.contains("<td class=\"bad\">1</td>"));
        assert!(html.contains("class=\"bar late\""));
    }

    #[test]
    fn damaged_lines_are_named_and_many_are_counted() {
        let lines: Vec<_> = (1..=20).map(|line| Damaged { line, reason: "x".into() }).collect();
        let html = damaged(&lines);
        assert!(html.contains("line 12: x") && !html.contains("line 13:") && html.contains("and 8 more"));
        assert_eq!(damaged(&[]), "");
    }
}
