//! What is not the latency test: throughput by model and clients, as in Love's first table, `cyclictest`, and the worst
//! sections that `preempt-stats` has found.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::compare::MODELS;
use crate::lines::Measured;
use crate::serial_log::{Boot, disturbed};
use crate::svg::{self, Curve, escape, grouped, time};

/// Result name of a run of dbench.
pub const DBENCH: &str = "throughput.dbench";
/// Result name of a run of hackbench.
pub const HACKBENCH: &str = "throughput.hackbench";
/// Result name of a thread of cyclictest.
pub const CYCLICTEST: &str = "cyclictest.wakeup";
/// Result name of a section in which nobody else could run.
pub const WORST: &str = "preempt_stats.worst";
/// Sections of each model.
const SECTIONS_SHOWN: usize = 8;

/// Whether a figure has a section of its own.
pub fn is_shown(measured: &Measured) -> bool {
    let has = [DBENCH, HACKBENCH, CYCLICTEST, WORST].contains(&measured.name.as_str());
    has && measured.field("preempt").is_some() && !(measured.name != WORST && disturbed(measured))
}

/// The sections of which the boots have figures.
pub fn jobs(boots: &[Boot]) -> String {
    throughput(boots) + &cyclictest(boots) + &sections(boots)
}

/// Figures of a name with the boots they are of, those with hooks in them left out.
fn all<'a>(boots: &'a [Boot], name: &'a str) -> Vec<(&'a Boot, &'a Measured)> {
    let of_boot = |boot: &'a Boot| boot.figures(name).map(move |measured| (boot, measured));
    boots.iter().flat_map(of_boot).filter(|(_, measured)| is_shown(measured)).collect()
}

fn number(measured: &Measured, key: &str) -> u64 {
    measured.field(key).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn models_of(figures: &[(&Boot, &Measured)]) -> Vec<&'static str> {
    let has = |model: &&str| figures.iter().any(|(_, measured)| measured.field("preempt") == Some(*model));
    MODELS.into_iter().filter(has).collect()
}

/// Of several figures of a model the last one.
fn last<'a>(
    figures: &[(&Boot, &'a Measured)],
    model: &str,
    fits: impl Fn(&Measured) -> bool,
) -> Option<&'a Measured> {
    let same =
        |(_, measured): &&(&Boot, &'a Measured)| measured.field("preempt") == Some(model) && fits(measured);
    figures.iter().rev().find(same).map(|(_, measured)| *measured)
}

/// Each board once.
fn conditions(figures: &[(&Boot, &Measured)]) -> String {
    let all: BTreeSet<_> = figures.iter().map(|(boot, _)| boot.conditions()).collect();
    escape(&all.into_iter().collect::<Vec<_>>().join("; "))
}

/// The difference to the first model, such as `−5.1 %`.
fn against(value: f64, first: f64) -> String {
    let percent = (value / first.max(f64::MIN_POSITIVE) - 1.0) * 100.0;
    let sign = if percent < 0.0 { '−' } else { '+' };
    format!("{sign}{:.1} %", percent.abs())
}

fn throughput(boots: &[Boot]) -> String {
    let dbench = all(boots, DBENCH);
    let hackbench = all(boots, HACKBENCH);
    let both: Vec<_> = dbench.iter().chain(&hackbench).copied().collect();
    if both.is_empty() {
        return String::new();
    }
    let models = models_of(&both);
    let mut html =
        String::from("<h2>Throughput</h2>\n<figure>\n<div class=\"scroll\"><table>\n<tr><th>job</th>");
    for model in &models {
        let _ = write!(html, "<th>{model}</th>");
    }
    html += "</tr>\n";
    let clients: BTreeSet<u64> = dbench.iter().map(|(_, measured)| number(measured, "clients")).collect();
    for &clients in &clients {
        let value = |model: &str| last(&dbench, model, |m| number(m, "clients") == clients).map(|m| m.value);
        let name = format!("dbench, {}, operations/s", super::count(clients as usize, "client"));
        html += &row(&name, &models, value);
    }
    let jobs: BTreeSet<_> =
        hackbench.iter().map(|(_, m)| (number(m, "groups"), number(m, "messages"))).collect();
    for (groups, messages) in jobs {
        let same = |m: &Measured| number(m, "groups") == groups && number(m, "messages") == messages;
        let rate = |m: &Measured| messages as f64 * 1e9 / m.value.max(1.0);
        let count = super::count(groups as usize, "group");
        let name = format!("hackbench, {count}, {} messages, messages/s", grouped(messages));
        html += &row(&name, &models, |model| last(&hackbench, model, same).map(rate));
    }
    html += "</table></div>\n";
    html += &curves(&dbench, &models);
    let work: BTreeSet<u64> = dbench.iter().map(|(_, m)| number(m, "ops")).collect();
    let work: Vec<_> = work.into_iter().map(grouped).collect();
    let _ = writeln!(
        html,
        "<figcaption><b>How much gets done.</b> More is better; small: compared with {}. dbench: clients with small operations on a table in memory \
         under shared locks, {} operations in a run; hackbench: every sender to every receiver of its group; no other \
         load · {}</figcaption>\n</figure>",
        models.first().unwrap_or(&"the first"),
        if work.is_empty() { "no".into() } else { work.join(" or ") },
        conditions(&both)
    );
    html
}

/// A row of the table: every model's value, and how it compares to the first one's.
fn row(name: &str, models: &[&str], value: impl Fn(&str) -> Option<f64>) -> String {
    let values: Vec<_> = models.iter().map(|model| value(model)).collect();
    let mut html = format!("<tr><td>{}</td>", escape(name));
    for (index, value) in values.iter().enumerate() {
        let text = value.map_or_else(|| "–".into(), |value| grouped(value as u64));
        let compared = value.zip(values[0]).filter(|_| index > 0).map(|(value, first)| against(value, first));
        let compared = compared.map_or_else(String::new, |text| format!(" <small>{text}</small>"));
        let _ = write!(html, "<td>{text}{compared}</td>");
    }
    html + "</tr>\n"
}

fn curves(dbench: &[(&Boot, &Measured)], models: &[&'static str]) -> String {
    let curve = |model: &&'static str| {
        let mut points: Vec<(u64, f64)> = Vec::new();
        for (_, measured) in dbench.iter().filter(|(_, m)| m.field("preempt") == Some(*model)) {
            let clients = number(measured, "clients");
            points.retain(|(before, _)| *before != clients);
            points.push((clients, measured.value));
        }
        points.sort_by_key(|(clients, _)| *clients);
        Curve { label: (*model).to_owned(), points }
    };
    let curves: Vec<_> = models.iter().map(curve).filter(|curve| curve.points.len() > 1).collect();
    if curves.is_empty() {
        String::new()
    } else {
        svg::by_number(&curves, "operations in a second", "clients")
    }
}

fn cyclictest(boots: &[Boot]) -> String {
    let figures = all(boots, CYCLICTEST);
    if figures.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<h2>cyclictest</h2>\n<figure>\n<div class=\"scroll\"><table>\n<tr><th>load</th><th>model</th><th>thread</th>\
         <th>priority</th><th>interval</th><th>min</th><th>avg</th><th>worst</th><th>skipped</th><th>samples</th></tr>\n",
    );
    for (_, measured) in &figures {
        let word = |key| escape(measured.field(key).unwrap_or("?"));
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{} µs</td><td>{}</td><td>{}</td>\
             <td class=\"worst\">{}</td><td>{}</td><td>{}</td></tr>",
            word("load"),
            word("preempt"),
            word("thread"),
            word("prio"),
            word("interval_us"),
            time(number(measured, "min")),
            time(number(measured, "avg")),
            time(measured.value as u64),
            grouped(number(measured, "overruns")),
            grouped(number(measured, "n"))
        );
    }
    let _ = writeln!(
        html,
        "</table></div>\n<figcaption><b>Wake-ups by cyclictest's rules:</b> absolute times, and points that are past are \
         skipped · {}</figcaption>\n</figure>",
        conditions(&figures)
    );
    html
}

fn sections(boots: &[Boot]) -> String {
    let figures = all(boots, WORST);
    if figures.is_empty() {
        return String::new();
    }
    let mut html = String::from("<h2>Where nobody else can run: preempt-stats</h2>\n");
    for boot in boots {
        let mut worst: Vec<_> = boot.figures(WORST).filter(|measured| is_shown(measured)).collect();
        worst.sort_by(|a, b| b.value.total_cmp(&a.value));
        if worst.is_empty() {
            continue;
        }
        let model = escape(worst[0].field("preempt").unwrap_or("?"));
        let _ = write!(
            html,
            "<figure>\n<h3>preempt={model}</h3>\n<div class=\"scroll\"><table>\n<tr><th>cycles</th><th>closed</th>\
             <th class=\"left\">in task</th><th class=\"left\">from</th><th class=\"left\">to</th></tr>\n"
        );
        for measured in worst.iter().take(SECTIONS_SHOWN) {
            let word = |key| escape(measured.field(key).unwrap_or("?"));
            let _ = writeln!(
                html,
                "<tr><td class=\"worst\">{}</td><td>{}</td><td class=\"site\">{}</td><td class=\"site\">{}</td>\
                 <td class=\"site\">{}</td></tr>",
                grouped(measured.value as u64),
                word("kind"),
                word("task"),
                place(measured, "from"),
                place(measured, "to")
            );
        }
        let _ = writeln!(
            html,
            "</table></div>\n<figcaption>The longest sections with interrupts masked (irqs), preemption off (preempt) or \
             both, each pair of places once{}; cycles without those of the hooks, with those of interrupts and softirqs \
             in between · {}</figcaption>\n</figure>",
            beside(boot),
            escape(&boot.conditions())
        );
    }
    html
}

/// Under which loads, if the boot tells: the runs that were made with the hooks in.
fn beside(boot: &Boot) -> String {
    let counted = boot.figures("preempt_stats.section").last().map(|m| {
        format!(
            ", of {} sections",
            m.field("n").and_then(|n| n.parse().ok()).map_or_else(|| "?".into(), grouped)
        )
    });
    let loads: BTreeSet<_> =
        boot.runs.iter().filter(|run| run.is_disturbed()).map(|run| run.word("load")).collect();
    let loads = loads.into_iter().collect::<Vec<_>>().join(" and ");
    let loads =
        if loads.is_empty() { "load not in the log".to_owned() } else { format!("load {}", escape(&loads)) };
    format!("{}; {loads}", counted.unwrap_or_default())
}

/// A place, and where its function was called from.
fn place(measured: &Measured, key: &str) -> String {
    let at = escape(measured.field(key).unwrap_or("?"));
    match measured.field(&format!("{key}_by")) {
        Some(caller) if !caller.starts_with("0x") => format!("{at}<br>← {}", escape(caller)),
        _ => at,
    }
}
