//! The preemption models side by side, from boots of one board.
//!
//! As in Love's first two figures, the kernel that is not preemptible stands to the left of the one that is, on one scale,
//! with the line where a fragment is lost.

use std::fmt::Write;

use super::{count, legend};
use crate::lines::total;
use crate::serial_log::{Boot, Run};
use crate::svg::{self, Spread, escape, grouped, time};

/// The models, from the one that is preempted least.
pub const MODELS: [&str; 4] = ["none", "voluntary", "full", "rt"];

/// Runs of one board, by load and model: of several the last.
struct Models<'a> {
    conditions: String,
    note: &'static str,
    /// Models of which there is a run, in the order of [`MODELS`].
    models: Vec<&'static str>,
    loads: Vec<&'a str>,
    runs: Vec<&'a Run>,
}

impl<'a> Models<'a> {
    fn of(boots: &'a [Boot]) -> Option<Self> {
        let useful = |boot: &&Boot| boot.runs.iter().any(|run| !run.is_disturbed());
        let first = boots.iter().find(useful)?;
        let conditions = first.conditions();
        let same = boots.iter().filter(|boot| boot.conditions() == conditions);
        let runs: Vec<_> = same.flat_map(|boot| &boot.runs).filter(|run| !run.is_disturbed()).collect();
        let mut loads: Vec<&str> = Vec::new();
        for run in &runs {
            if !loads.contains(&run.word("load")) {
                loads.push(run.word("load"));
            }
        }
        let models =
            MODELS.into_iter().filter(|model| runs.iter().any(|run| run.word("preempt") == *model)).collect();
        Some(Self { conditions, note: first.time_note(), models, loads, runs })
    }

    fn run(&self, load: &str, model: &str) -> Option<&'a Run> {
        let same = |run: &&&Run| run.word("load") == load && run.word("preempt") == model;
        self.runs.iter().rev().find(same).copied()
    }

    /// The least and the greatest latency of all that is shown.
    fn range(&self) -> (u64, u64) {
        let of = |key| self.runs.iter().map(move |run| run.number(key));
        (of("min").min().unwrap_or(1), of("max").max().unwrap_or(1))
    }
}

/// The sections; nothing where there are not two models to be compared.
pub fn compare(boots: &[Boot]) -> String {
    let Some(models) = Models::of(boots).filter(|models| models.models.len() > 1) else {
        return String::new();
    };
    let note = if models.note.is_empty() {
        String::new()
    } else {
        format!("<p class=\"note\">{}.</p>\n", models.note)
    };
    let mut html = format!(
        "<h2>The models side by side</h2>\n<p class=\"facts\">{}</p>\n{note}",
        escape(&models.conditions)
    );
    html += "<h3>Worst wake-up latency</h3>\n";
    html += &worst(&models);
    html += "<h3>Latency over time, and how many were later</h3>\n";
    for load in &models.loads {
        html += &figure(&models, load);
    }
    html
}

fn worst(models: &Models<'_>) -> String {
    let mut html = String::from("<figure>\n<div class=\"scroll\"><table>\n<tr><th>load</th>");
    for model in &models.models {
        let _ = write!(html, "<th>{model}</th><th>missed</th>");
    }
    html += "</tr>\n";
    for load in &models.loads {
        let _ = write!(html, "<tr><td>{}</td>", escape(load));
        for model in &models.models {
            let Some(run) = models.run(load, model) else {
                html += "<td>–</td><td>–</td>";
                continue;
            };
            let (max, missed) = (run.number("max"), run.number("missed"));
            let late = if max >= run.slack_ns() { " bad" } else { "" };
            let _ = write!(html, "<td class=\"worst{late}\">{}</td><td>{}</td>", time(max), grouped(missed));
        }
        html += "</tr>\n";
    }
    let fewest = models.runs.iter().map(|run| run.number("n")).min().unwrap_or(0);
    let _ = writeln!(
        html,
        "</table></div>\n<figcaption>The worst of each run and the fragments it missed; {} in {}, {} or more in each · {}\
         </figcaption>\n</figure>",
        count(total(models.runs.iter().map(|run| run.number("n"))) as usize, "sample"),
        count(models.runs.len(), "run"),
        grouped(fewest),
        escape(&models.conditions)
    );
    html
}

/// The two models of a figure: the one that is preempted least, and `full` or what comes nearest.
fn sides<'a>(models: &Models<'a>, load: &str) -> Option<(&'a Run, &'a Run)> {
    let left = models.models.iter().find_map(|model| models.run(load, model))?;
    let right = ["full", "rt", "voluntary"].into_iter().find_map(|model| models.run(load, model))?;
    (left.word("preempt") != right.word("preempt")).then_some((left, right))
}

fn figure(models: &Models<'_>, load: &str) -> String {
    let Some((left, right)) = sides(models, load) else { return String::new() };
    let mut html = String::from("<figure>\n");
    if left.plot.is_some() && right.plot.is_some() {
        html += "<div class=\"pair\">\n";
        for run in [left, right] {
            html += &over_time(run, load, models.range());
        }
        html += "</div>\n";
    }
    let spreads: Vec<_> = models.models.iter().filter_map(|model| spread(models.run(load, model)?)).collect();
    if spreads.len() > 1 {
        html += &svg::later_than(&spreads, left.slack_ns());
        html += &legend(&spreads);
    }
    let burn = match left.number("burn") {
        0 => String::new(),
        percent => format!(", of which the task computes {percent} %"),
    };
    let _ = writeln!(
        html,
        "<figcaption><b>Load {}.</b> Above: the worst of each 64th of the run, left preempt={}, right preempt={}; \
         below: the share of wake-ups that came later than a latency, for each model. Fragments of {}{burn}; {} samples \
         each, missed: {} · {}</figcaption>\n</figure>",
        escape(load),
        escape(left.word("preempt")),
        escape(right.word("preempt")),
        time(left.number("period_ns")),
        grouped(left.number("n")),
        missed(models, load),
        escape(&models.conditions)
    );
    html
}

fn over_time(run: &Run, load: &str, range: (u64, u64)) -> String {
    let Some(plot) = &run.plot else { return String::new() };
    let fragments = plot.field("fragments").and_then(|text| text.parse().ok()).unwrap_or(run.number("n"));
    let label = format!("load {load}, preempt={}", run.word("preempt"));
    format!(
        "<div><p class=\"side\">preempt={}</p>\n{}</div>\n",
        escape(run.word("preempt")),
        svg::over_time(&label, &plot.points, fragments, range, run.slack_ns())
    )
}

fn spread(run: &Run) -> Option<Spread> {
    let points = &run.histogram.as_ref()?.points;
    Some(Spread::of_points(run.word("preempt"), points, run.number("max")))
}

/// `58 (none), 0 (full)`.
fn missed(models: &Models<'_>, load: &str) -> String {
    let each = models.models.iter().filter_map(|model| {
        Some(format!("{} ({model})", grouped(models.run(load, model)?.number("missed"))))
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial_log;

    /// A boot of a model on a board: one run with a load, and its pictures.
    fn boot(board: &str, model: &str, max: u64, missed: u64, more: &str) -> String {
        format!(
            "Stint 0.1.0, a preemptible kernel for AArch64\n  board    {board}\n  cpu      A72\n  clocks   counter 54 MHz\n\n\
             result latency.wakeup {max} ns min=1 avg=2 p50=2 p99=3 p999=3 max={max} n=10 missed={missed} load=all \
             period_ns=1000 burn=50 preempt={model}{more}\nhist latency.wakeup ns n=10 load=all 1:9 {max}:1\n\
             plot latency.wakeup ns fragments=10 load=all 1 {max}\n"
        )
    }

    fn compared(boots: &[String]) -> String {
        let log = serial_log::read(boots.concat().as_bytes());
        assert!(log.damaged.is_empty(), "{:?}", log.damaged);
        compare(&log.boots)
    }

    #[test]
    fn the_kernel_that_is_not_preemptible_stands_to_the_left_whatever_came_first() {
        let html = compared(&[boot("b", "full", 30, 0, ""), boot("b", "none", 900, 4, "")]);
        let none = html.find("<p class=\"side\">preempt=none</p>").unwrap();
        assert!(none < html.find("<p class=\"side\">preempt=full</p>").unwrap());
        // Half of a fragment is computed: what is later than 500 ns is lost.
        assert!(html.contains(
            "<td class=\"worst bad\">900 ns</td><td>4</td><td class=\"worst\">30 ns</td><td>0</td>"
        ));
        assert!(
            html.contains("missed: 4 (none), 0 (full)") && html.contains("of which the task computes 50 %")
        );
        assert_eq!(html.matches("class=\"bar late\"").count(), 1, "{html}");
        assert!(html.contains("20 samples in 2 runs, 10 or more in each · b · A72 · counter 54 MHz"));
    }

    #[test]
    fn one_model_another_board_and_runs_with_hooks_are_not_compared() {
        let full = boot("b", "full", 30, 0, "");
        assert_eq!(compared(std::slice::from_ref(&full)), "");
        assert_eq!(compared(&[full.clone(), boot("another", "none", 900, 4, "")]), "");
        assert_eq!(compared(&[full.clone(), boot("b", "none", 900, 4, " preempt_stats=on")]), "");
        // The last of several runs counts.
        let html = compared(&[full, boot("b", "none", 900, 4, ""), boot("b", "none", 800, 3, "")]);
        assert!(html.contains("800 ns</td><td>3</td>") && !html.contains("900 ns</td>"), "{html}");
    }
}
