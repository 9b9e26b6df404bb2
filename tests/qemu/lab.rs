//! `make latency` in small: two boots give the same figures, and everything that is measured comes onto the page.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use stint_tools::bootargs::{self, Wishes};
use stint_tools::latency::{self, Setting};
use stint_tools::machine::Machine;
use stint_tools::qemu::{self, Payload};
use stint_tools::{cargo, page, serial_log, suite};

use crate::boot::{LIMITS, STINT, built, keep, message};

/// A little of everything that is measured, in microseconds and in nanoseconds, as lines and as a histogram.
const EVERYTHING: &str = "latency period=313us fragments=60 burn=20% load=each; dbench clients=1,5 ops=500; dbench clients=2 for=5ms; \
    hackbench loops=2; cyclictest -t2 -p99 -i500 -l50 -N -q load=all; cyclictest -S -p90 -l50 -h20 -q";
/// Loads of the latency test, with none and with all of them.
const RUNS: usize = 11;

/// The trials.
pub fn trials(followers: &mut Vec<Trial>) {
    for (name, cpus, model) in [
        ("latency::two_boots_give_the_same_figures", 1, "full"),
        ("latency::two_boots_without_preemption_give_the_same_figures", 1, "none"),
        ("latency::two_boots_on_four_cpus_give_the_same_figures", 4, "rt"),
    ] {
        followers.push(Trial::test(name, move || twice(cpus, model).map_err(message)));
    }
    followers.push(Trial::test("latency::every_model_comes_onto_one_page", || page().map_err(message)));
    followers.push(Trial::test("latency::what_draws_cyclictest_can_draw_ours", || drawn().map_err(message)));
}

fn boot(name: &str, machine: &Machine, model: &str, command: &str) -> Result<String> {
    let extra = format!("preempt={model}");
    let bootargs = bootargs::compose(&Wishes { command: Some(command), extra: &extra, interactive: false })?;
    let image = &built(&STINT)?.image;
    let captured = qemu::capture(qemu::command(machine, Payload::Image(image), &bootargs), LIMITS)?;
    keep(name, &captured.console)?;
    ensure!(captured.succeeded(), "{}\n{}", captured.end, suite::excerpt(&captured.console));
    Ok(captured.console)
}

/// Nothing of the host gets in, so the two consoles are the same byte for byte.
fn twice(cpus: u32, model: &str) -> Result<()> {
    let machine = Machine { cpus, ..Machine::measuring() };
    let once = boot(&format!("latency-once-{cpus}-{model}"), &machine, model, EVERYTHING)?;
    let again = boot(&format!("latency-again-{cpus}-{model}"), &machine, model, EVERYTHING)?;
    let figures = serial_log::read(once.as_bytes())
        .boots
        .iter()
        .map(|boot| boot.runs.len() + boot.others.len())
        .sum::<usize>();
    // Eleven runs; three of dbench, one of hackbench, two and one or more threads of cyclictest.
    ensure!(figures >= RUNS + 7, "only {figures} figures came\n{}", suite::excerpt(&once));
    if once == again {
        return Ok(());
    }
    let differs = once.lines().zip(again.lines()).find(|(one, other)| one != other);
    let (one, other) = differs.context("one of the consoles goes on behind the other")?;
    anyhow::bail!("the second boot says something else:\n  {one}\n  {other}")
}

/// All boots of the command, with little work each.
fn page() -> Result<()> {
    let image = &built(&STINT)?.image;
    let boots = latency::boots(&Setting::small());
    let done = latency::measure(image, &Machine::measuring(), "", boots)?;
    let log = latency::together(&done);
    keep("latency-page", &log)?;
    let read = serial_log::read(log.as_bytes());
    latency::complain(&done, &read)?;
    let (html, _) = latency::html(&read, &cargo::root()?);
    keep("latency-page.html", &html)?;
    let missing =
        |parts: &[&str]| parts.iter().find(|part| !html.contains(**part)).map(|part| (*part).to_owned());
    let parts = [
        "<h2>The models side by side</h2>",
        "<th>none</th><th>missed</th><th>voluntary</th><th>missed</th><th>full</th><th>missed</th><th>rt</th>",
        "<p class=\"side\">preempt=none</p>",
        "<p class=\"side\">preempt=full</p>",
        "<h2>Throughput</h2>",
        "<td>dbench, 1 client, operations/s</td>",
        "<td>dbench, 3 clients, operations/s</td>",
        "<td>hackbench, 1 group, 800 messages, messages/s</td>",
        "<h2>cyclictest</h2>",
        "<h2>Where nobody else can run: preempt-stats</h2>",
        "<h3>preempt=rt</h3>",
        "load all",
        "<h2>Boot 8:",
    ];
    if let Some(part) = missing(&parts) {
        anyhow::bail!("the page lacks `{part}`");
    }
    let sides = html.matches("<p class=\"side\">").count();
    ensure!(sides == 2 * RUNS, "{sides} plots stand side by side; expected two for each of {RUNS} loads");
    // Of the bounds not every model has every one.
    let bounds = page::bounds(&cargo::root()?).map_err(|reason| anyhow::anyhow!(reason))?;
    ensure!(html.contains(&bounds), "the page lacks the bounds");
    ensure!(!html.replace(&bounds, "").contains("<td>–</td>"), "a table of the page has a hole");
    ensure!(html.matches("<svg").count() == html.matches("</svg>").count(), "a picture has no end");
    let tables = latency::summary::tables(&read.boots, false);
    ensure!(
        tables.contains("worst wake-up") && !tables.contains('–'),
        "a table for the terminal has a hole:\n{tables}"
    );
    Ok(())
}

/// The usual script drops what begins with `#` and empty lines, and takes every other line for a row of numbers.
fn drawn() -> Result<()> {
    let machine = Machine { cpus: 2, ..Machine::measuring() };
    let console = boot("cyclictest-histogram", &machine, "full", "cyclictest -l100 -m -Sp90 -i200 -h400 -q")?;
    let begin = console.find("# Histogram").context("no histogram")?;
    let table: Vec<&str> =
        console[begin..].lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let numbers = |line: &&str| line.split([' ', '\t']).map(str::parse::<u64>).collect::<Result<Vec<_>, _>>();
    let rows =
        table.iter().map(numbers).collect::<Result<Vec<_>, _>>().with_context(|| format!("{table:?}"))?;
    ensure!(
        rows.len() == 400 && rows.iter().all(|row| row.len() == 3),
        "{} rows; expected 400 of three",
        rows.len()
    );
    ensure!(rows.iter().enumerate().all(|(at, row)| row[0] == at as u64), "the rows are not numbered from 0");
    for thread in [1, 2] {
        let total: u64 = rows.iter().map(|row| row[thread]).sum();
        ensure!(total == 100, "thread {} has {total} wake-ups; expected 100", thread - 1);
    }
    let max = console.lines().find_map(|line| line.strip_prefix("# Max Latencies: ")).context("no maxima")?;
    ensure!(max.split(' ').count() == 2, "maxima `{max}`; expected those of two threads");
    Ok(())
}
