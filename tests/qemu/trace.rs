//! Traces, read by the program that they are written for.
//!
//! `trace-cmd report` must list every event of the text, in its order, with the same task, number, CPU, time, flags and
//! fields. Without trace-cmd these trials are left out, and say so.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Completion, Trial};
use stint_tools::bootargs::{self, Wishes};
use stint_tools::machine::Machine;
use stint_tools::qemu::{self, Payload};
use stint_tools::suite;
use stint_tools::trace::text::{Entry, Trace};
use stint_tools::trace::{self, Written, perfetto, summary, text};

use crate::boot::{LIMITS, STINT, built, keep, logs, message};

/// A console as the kernel prints it, with an event of each kind, some that have no binary form, and lines between.
const EXAMPLE: &[u8] = include_bytes!("../data/trace-example.txt");

/// All trials.
pub fn trials(followers: &mut Vec<Trial>) {
    let trial = |name: &str, body: fn() -> Result<()>| {
        Trial::ignorable_test(format!("trace::{name}"), move || match lacks() {
            None => body().map(|()| Completion::Completed).map_err(message),
            Some(lacks) => Ok(Completion::ignored_with(lacks)),
        })
    };
    followers.push(trial("trace_cmd_lists_every_kind_of_event_as_the_text_has_it", example));
    followers.push(trial("trace_cmd_reads_many_pages_of_many_cpus_in_order", many_pages));
    followers
        .push(trial("a_traced_run_on_two_cpus_comes_out_of_trace_cmd_as_the_kernel_printed_it", traced_run));
}

fn lacks() -> Option<String> {
    // Its exit status says nothing: it takes this for a mistake, and prints its version.
    let is_there = Command::new("trace-cmd").arg("--version").output().is_ok();
    (!is_there).then(|| "trace-cmd is missing; `tools/setup.sh trace-cmd?` installs it".to_owned())
}

fn example() -> Result<()> {
    let trace = text::read(EXAMPLE).context("the example is no trace")?;
    compare(&trace, &BTreeMap::new(), "trace-example").map(|_| ())
}

/// Every event that there is, on two CPUs, under loads that make all of them; boot, trace, convert, read.
fn traced_run() -> Result<()> {
    let extra = trace::with_tracing("trace=all loglevel=warn");
    let command = trace::commands("latency fragments=20 load=message,softirq,irqthread,pi,task");
    let bootargs = bootargs::compose(&Wishes { extra: &extra, command: Some(&command), interactive: false })?;
    let machine = Machine { cpus: 2, ..Machine::measuring() };
    let built = built(&STINT)?;
    let captured = qemu::capture(qemu::command(&machine, Payload::Image(&built.image), &bootargs), LIMITS)?;
    keep("trace", &captured.console)?;
    ensure!(captured.succeeded(), "{}\n{}", captured.end, suite::excerpt(&captured.console));
    let trace = text::read(captured.console.as_bytes()).context("the console has no trace")?;
    let read = (trace.damaged.as_slice(), trace.remarks());
    ensure!(read.0.is_empty() && read.1.is_empty(), "not every line was read: {read:?}");
    ensure!(trace.entries.len() > 4000 && trace.cpus == 2, "{} events", trace.entries.len());
    let written = compare(&trace, &trace::functions(&built.elf)?, "trace-run")?;
    ensure!(written.file.plain.is_empty(), "not every event has a binary form: {:?}", written.file.plain);
    ensure!(written.file.made_up == 0, "{} functions are not in the ELF", written.file.made_up);
    let text = trace::write_text(&trace);
    if let Some((count, first)) = perfetto::check_all(&text) {
        bail!("Perfetto would not read {count} lines: {first}");
    }
    // What the summary is for: each wake-up of the measuring task led to its running.
    let waits = summary::waits(&trace).iter().filter(|wait| wait.comm == "latency").count();
    ensure!(waits > 0, "the measuring task was never seen to wake and run");
    Ok(())
}

/// Ten thousand events on 16 CPUs with distances from none to years, some of them behind lost ones.
fn many_pages() -> Result<()> {
    let mut console = "# tracer: nop\n".to_owned();
    let mut ns = 1_000_000_007u64;
    // A generator of numbers that are all over the place and the same every time.
    let mut random = 88_172_645_463_325_252u64;
    for index in 0..10_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        ns += match random % 100 {
            0..40 => random % 3,
            40..95 => random % 5_000,
            95..99 => (1 << 27) - 2 + random % 4,
            _ => random % (1 << 40),
        };
        let (cpu, task) = (random >> 20 & 15, random >> 30 & 63);
        let lost = random >> 40 & 255;
        if lost == 7 {
            console += &format!("CPU:{cpu} [LOST {index} EVENTS]\n");
        }
        console += &format!(
            "task{task}-{} [{cpu:03}] d..2 {}.{:09}: sched_waking: comm=waker pid={index} prio={} target_cpu=001\n",
            task + 100,
            ns / 1_000_000_000,
            ns % 1_000_000_000,
            random >> 50 & 127
        );
    }
    let trace = text::read(console.as_bytes()).context("the text is no trace")?;
    ensure!(trace.entries.len() == 10_000 && trace.lost() > 0, "the text was not read whole");
    compare(&trace, &BTreeMap::new(), "trace-many").map(|_| ())
}

/// Writes the trace, has trace-cmd list it, and compares line by line.
fn compare(trace: &Trace, linked: &BTreeMap<u64, String>, name: &str) -> Result<Written> {
    let dir = logs()?.join(name);
    let written = trace::write(trace, linked, &dir)?;
    ensure!(written.file.renamed == 0, "{} tasks had two names", written.file.renamed);
    let lists = [report(&written.dat, &[])?, report(&written.dat, &["-l"])?];
    for (list, wanted) in lists.iter().zip([plain as fn(&Entry) -> String, with_flags]) {
        for (at, (found, entry)) in list.iter().zip(&trace.entries).enumerate() {
            let wanted = wanted(entry);
            ensure!(*found == wanted, "event {at}, line {}:\n{found}\nis not\n{wanted}", entry.line);
        }
        ensure!(
            list.len() == trace.entries.len(),
            "trace-cmd lists {} of {}",
            list.len(),
            trace.entries.len()
        );
    }
    Ok(written)
}

/// What trace-cmd says of a file, a line for each event, with blanks drawn together, and without the offset 0 that it writes
/// behind a function. Without its plug-ins, which print some
/// events in a way of their own.
fn report(dat: &Path, options: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("trace-cmd")
        .args(["report", "-N", "-t"])
        .args(options)
        .arg(dat)
        .output()
        .context("trace-cmd cannot be started")?;
    let (said, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && complaints.is_empty(), "trace-cmd: {complaints}");
    let is_event = |line: &&str| !line.starts_with("cpus=") && !line.starts_with("CPU:") && !line.is_empty();
    Ok(said.lines().filter(is_event).map(drawn_together).collect())
}

fn drawn_together(line: &str) -> String {
    let words = line.split_whitespace().map(|word| word.strip_suffix("+0x0").unwrap_or(word));
    words.collect::<Vec<_>>().join(" ")
}

fn plain(entry: &Entry) -> String {
    let flags = format!(" {} ", entry.flags.text());
    drawn_together(&trace::line(entry).replacen(&flags, " ", 1))
}

/// Its list with flags has the CPU before them, without leading zeros.
fn with_flags(entry: &Entry) -> String {
    let place = format!("[{:03}] {} ", entry.cpu, entry.flags.text());
    // It shows one kind of request, and has a column that our flags do not have.
    let flags = entry.flags.text().replace('n', "N");
    drawn_together(&trace::line(entry).replacen(&place, &format!("{}{flags}. ", entry.cpu), 1))
}
