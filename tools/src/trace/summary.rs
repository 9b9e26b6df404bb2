//! What is in a trace, in a few tables.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use super::events;
use super::record::{self, Value};
use super::text::{Entry, Trace};
use crate::svg::{grouped, time};
use crate::table::{self, Cell};

/// More CPUs than this have no columns of their own.
const MOST_COLUMNS: u32 = 8;
/// So many of the longest waits are shown.
const LONGEST: usize = 8;

/// From a task's wake-up to its running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Who.
    pub comm: String,
    /// Its number.
    pub pid: i32,
    /// Its kernel priority when it was woken.
    pub prio: i32,
    /// When it was woken.
    pub woken_ns: u64,
    /// How long it took.
    pub ns: u64,
    /// The CPU that it ran on.
    pub cpu: u32,
    /// Who ran there before it.
    pub behind: String,
}

/// The waits in a trace, the longest first. A task that is woken again while it waits has waited since the first time.
#[must_use]
pub fn waits(trace: &Trace) -> Vec<Wait> {
    let mut woken: HashMap<i32, (u64, i32)> = HashMap::new();
    let mut waits = Vec::new();
    for entry in &trace.entries {
        match entry.event.as_str() {
            "sched_waking" | "sched_wakeup_new" => {
                if let Some([_, Value::Number(pid), Value::Number(prio), ..]) = fields(entry).as_deref() {
                    woken.entry(*pid as i32).or_insert((entry.ns, *prio as i32));
                }
            }
            "sched_switch" => {
                let fields = fields(entry);
                let Some(
                    [
                        Value::Text(prev),
                        Value::Number(prev_pid),
                        _,
                        _,
                        Value::Text(comm),
                        Value::Number(pid),
                        ..,
                    ],
                ) = fields.as_deref()
                else {
                    continue;
                };
                // Woken while it ran: that was no wait.
                woken.remove(&(*prev_pid as i32));
                let pid = *pid as i32;
                if let Some((woken_ns, prio)) = woken.remove(&pid) {
                    waits.push(Wait {
                        comm: (*comm).to_owned(),
                        pid,
                        prio,
                        woken_ns,
                        ns: entry.ns - woken_ns,
                        cpu: entry.cpu,
                        behind: (*prev).to_owned(),
                    });
                }
            }
            _ => {}
        }
    }
    waits.sort_by(|a, b| b.ns.cmp(&a.ns).then(a.woken_ns.cmp(&b.woken_ns)));
    waits
}

fn fields(entry: &Entry) -> Option<Vec<Value<'_>>> {
    record::take_apart(&events::pieces(events::find(&entry.event)?.pattern), &entry.payload)
}

/// The tables.
#[must_use]
pub fn render(trace: &Trace, colours: bool) -> String {
    let mut text = headline(trace);
    if trace.entries.is_empty() {
        return text;
    }
    text += &format!("\n{}", by_name(trace, colours));
    let waits = waits(trace);
    if !waits.is_empty() {
        text += &format!("\nthe longest of {} from wake-up to running\n", grouped(waits.len() as u64));
        text += &longest(&waits, colours);
    }
    text
}

fn headline(trace: &Trace) -> String {
    let span = match (trace.entries.first(), trace.entries.last()) {
        (Some(first), Some(last)) => time(last.ns - first.ns),
        _ => time(0),
    };
    let lost = match trace.lost() {
        0 => "none lost".to_owned(),
        lost => format!("{} before them overwritten or lost", grouped(lost)),
    };
    let tracer = if trace.tracer.is_empty() { "no tracer" } else { &trace.tracer };
    let cpus = if trace.cpus == 1 { "1 CPU".to_owned() } else { format!("{} CPUs", trace.cpus) };
    let entries = grouped(trace.entries.len() as u64);
    format!("{entries} events in {span} on {cpus}, {lost}; tracer {tracer}\n")
}

fn by_name(trace: &Trace, colours: bool) -> String {
    let columns = if (2..=MOST_COLUMNS).contains(&trace.cpus) { trace.cpus as usize } else { 0 };
    let mut counts: BTreeMap<&str, (u64, Vec<u64>)> = BTreeMap::new();
    for entry in &trace.entries {
        let (all, each) = counts.entry(&entry.event).or_insert_with(|| (0, vec![0; columns]));
        *all += 1;
        if let Some(count) = each.get_mut(entry.cpu as usize) {
            *count += 1;
        }
    }
    let cpus: Vec<String> = (0..columns).map(|cpu| format!("CPU {cpu}")).collect();
    let head: Vec<&str> = ["event", "events"].into_iter().chain(cpus.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<Cell>> = counts
        .into_iter()
        .map(|(name, (all, each))| {
            let figures = std::iter::once(all).chain(each).map(|count| Cell::from(grouped(count)));
            std::iter::once(name.into()).chain(figures).collect()
        })
        .collect();
    table::draw(&head, 1, &rows, colours)
}

fn longest(waits: &[Wait], colours: bool) -> String {
    let rows: Vec<Vec<Cell>> = waits
        .iter()
        .take(LONGEST)
        .map(|wait| {
            vec![
                format!("{}-{}", wait.comm, wait.pid).into(),
                wait.behind.clone().into(),
                time(wait.ns).into(),
                wait.prio.to_string().into(),
                wait.cpu.to_string().into(),
                format!("{}.{:09}", wait.woken_ns / 1_000_000_000, wait.woken_ns % 1_000_000_000).into(),
            ]
        })
        .collect();
    table::draw(&["task", "behind", "waited", "prio", "CPU", "woken at"], 2, &rows, colours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::text;

    #[test]
    fn a_task_that_is_woken_while_it_runs_does_not_wait_for_that() {
        let console = b"# tracer: nop
# entries-in-buffer/entries-written: 4/4   #P:2
 a-3 [000] d..1 1.000000000: sched_waking: comm=b pid=5 prio=9 target_cpu=001
 b-5 [001] d..2 2.000000000: sched_switch: prev_comm=b prev_pid=5 prev_prio=9 prev_state=S ==> next_comm=swapper/1 next_pid=0 next_prio=120
 a-3 [000] d..1 5.000000000: sched_waking: comm=b pid=5 prio=9 target_cpu=001
 <idle>-0 [001] d..2 5.000000700: sched_switch: prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=b next_pid=5 next_prio=9
# end of trace
";
        let waits = waits(&text::read(console).unwrap());
        assert_eq!(waits.iter().map(|wait| wait.ns).collect::<Vec<_>>(), [700]);
    }

    #[test]
    fn a_wait_lasts_from_the_first_wake_up_to_the_switch() {
        let console = b"# tracer: nop
# entries-in-buffer/entries-written: 4/9   #P:2
 a-3 [000] d..1 1.000000000: sched_waking: comm=b pid=5 prio=9 target_cpu=001
 a-3 [000] d..1 1.000000100: sched_waking: comm=b pid=5 prio=9 target_cpu=001
 <idle>-0 [001] d..2 1.000000700: sched_switch: prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=b next_pid=5 next_prio=9
 b-5 [001] d..2 1.000000900: sched_switch: prev_comm=b prev_pid=5 prev_prio=9 prev_state=S ==> next_comm=b next_pid=5 next_prio=9
# end of trace
";
        let trace = text::read(console).unwrap();
        let waits = waits(&trace);
        assert_eq!(waits.len(), 1);
        assert_eq!(
            (waits[0].ns, waits[0].prio, waits[0].cpu, waits[0].behind.as_str()),
            (700, 9, 1, "swapper/1")
        );
        let text = render(&trace, false);
        for wanted in [
            "4 events in 900 ns on 2 CPUs, 5 before them",
            "sched_waking       2      2      0",
            "b-5   swapper/1  700 ns",
        ] {
            assert!(text.contains(wanted), "{text}");
        }
    }

    #[test]
    fn a_trace_without_events_has_no_tables() {
        let trace = text::read(b"# tracer: nop\n# end of trace\n").unwrap();
        assert_eq!(render(&trace, false), "0 events in 0 ns on 0 CPUs, none lost; tracer nop\n");
    }
}
