//! `top`: what the CPUs and the tasks did in a stretch of time.
//!
//! Two snapshots and their difference: nothing is counted for it that is not counted anyhow. A task's switches go to the
//! CPU that it is on at the end, so they are off by what moved meanwhile.
#![forbid(unsafe_code)]

use super::tasks::policy;
use crate::irq::info::taken_on;
use crate::sched::Class;
use crate::sched::core::task_cpu;
use crate::sched::watch;
use crate::shell::command::Failure;
use crate::shell::cpu_clock::cycles_to_ns;
use crate::shell::terminal::Terminal;
use crate::shell::units::{ExactNs, Percent, parse_ns, parse_u64};
use crate::smp;
use crate::task::{self, TaskInfo};
use crate::time::{NSEC_PER_SEC, idle, now_ns};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// The stretch of time, unless it is said.
const DEFAULT_NS: u64 = 2 * NSEC_PER_SEC;
/// The shortest and the longest.
const RANGE_NS: RangeInclusive<u64> = 1_000_000..=3600 * NSEC_PER_SEC;
/// Tasks that are shown.
const TASKS_SHOWN: usize = 20;

struct CpuFigures {
    cpu: usize,
    idle_ns: u64,
    irqs: u64,
}

struct TaskFigures {
    info: TaskInfo,
    cpu: usize,
    is_idle: bool,
}

struct Snapshot {
    at_ns: u64,
    cpus: Vec<CpuFigures>,
    tasks: Vec<TaskFigures>,
}

impl Snapshot {
    fn take() -> Self {
        let mut tasks = Vec::new();
        task::for_each(|task| {
            let is_idle = task.sched.class() == Class::Idle;
            tasks.push(TaskFigures { info: task.info(), cpu: task_cpu(task), is_idle });
        });
        let at_ns = now_ns();
        let figures = |cpu| CpuFigures { cpu, idle_ns: idle::time_ns_of(cpu), irqs: taken_on(cpu) };
        Self { at_ns, cpus: smp::online().iter().map(figures).collect(), tasks }
    }
}

pub(super) fn top(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let (mut for_ns, mut times) = (DEFAULT_NS, 1);
    for arg in args {
        match arg.split_once('=') {
            Some(("for", value)) => {
                for_ns = parse_ns(value).filter(|ns| RANGE_NS.contains(ns)).ok_or_else(|| {
                    Failure::new(format_args!("{arg}: a time from 1ms to 3600s was expected, such as for=2s"))
                })?;
            }
            Some(("times", value)) => {
                times = parse_u64(value).filter(|&times| times > 0).ok_or_else(|| {
                    Failure::new(format_args!("{arg}: a number from 1 on was expected, such as times=5"))
                })?;
            }
            _ => return Err(Failure::new(format_args!("{arg}: for=… or times=… was expected"))),
        }
    }
    for _ in 0..times {
        let before = Snapshot::take();
        if terminal.sleep_interruptibly(for_ns) {
            return Err(Failure::interrupted());
        }
        show(&before, &Snapshot::take(), terminal)?;
    }
    Ok(())
}

fn show(before: &Snapshot, after: &Snapshot, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let passed_ns = after.at_ns - before.at_ns;
    let per_second =
        |count: u64| (u128::from(count) * u128::from(NSEC_PER_SEC) / u128::from(passed_ns.max(1))) as u64;
    // What each task did in nanoseconds and switches; one that is new did all it has done. What an idle task does, the
    // first table says.
    let mut tasks: Vec<(u64, u64, &TaskFigures)> = Vec::new();
    for task in after.tasks.iter().filter(|task| !task.is_idle) {
        let old = before.tasks.iter().find(|old| old.info.id == task.info.id).map(|old| &old.info);
        let cycles =
            task.info.runtime_cycles - old.map_or(0, |old| old.runtime_cycles.min(task.info.runtime_cycles));
        let switches = switches(&task.info) - old.map_or(0, switches);
        tasks.push((cycles_to_ns(cycles), switches, task));
    }
    for new in &after.cpus {
        credit_the_running(&mut tasks, new, passed_ns - idle_ns(before, new, passed_ns));
    }
    // The busiest first.
    tasks.sort_unstable_by_key(|&(ns, _, task)| (core::cmp::Reverse(ns), task.info.id));

    writeln!(terminal, "in {}:", ExactNs(passed_ns / 1_000_000 * 1_000_000))?;
    writeln!(
        terminal,
        "{:>4} {:>6} {:>11} {:>9} {:>6}  RUNNING",
        "CPU", "%IDLE", "SWITCHES/S", "IRQS/S", "READY"
    )?;
    for new in &after.cpus {
        let Some(old) = before.cpus.iter().find(|old| old.cpu == new.cpu) else { continue };
        let idle_ns = idle_ns(before, new, passed_ns);
        let switched = tasks.iter().filter(|(_, _, task)| task.cpu == new.cpu).map(|&(_, n, _)| n).sum();
        let (switches, irqs) = (per_second(switched), per_second(new.irqs - old.irqs));
        let (peek, ready) = (watch::peek(new.cpu), watch::nr_running(new.cpu).unwrap_or_default());
        writeln!(
            terminal,
            "{:>4} {:>6} {switches:>11} {irqs:>9} {ready:>6}  {}/{}",
            new.cpu,
            Percent(idle_ns, passed_ns),
            peek.name.as_str(),
            peek.id,
        )?;
        writeln!(
            terminal,
            "result top.cpu{} {} permille_idle switches_per_s={switches} irqs_per_s={irqs} ready={ready}",
            new.cpu,
            permille(idle_ns, passed_ns)
        )?;
    }
    writeln!(
        terminal,
        "{:>4} {:<15} {:<9} {:>3} {:>6} {:>11}",
        "ID", "NAME", "POLICY", "CPU", "%CPU", "SWITCHES/S"
    )?;
    for &(ns, switches, task) in tasks.iter().filter(|&&(ns, ..)| ns != 0).take(TASKS_SHOWN) {
        writeln!(
            terminal,
            "{:>4} {:<15} {:<9} {:>3} {:>6} {:>11}",
            task.info.id,
            task.info.name,
            policy(&task.info),
            task.cpu,
            Percent(ns, passed_ns),
            per_second(switches)
        )?;
    }
    Ok(())
}

/// How long a CPU idled. One that was not online before has idled all of it.
fn idle_ns(before: &Snapshot, new: &CpuFigures, passed_ns: u64) -> u64 {
    let old = before.cpus.iter().find(|old| old.cpu == new.cpu);
    old.map_or(passed_ns, |old| (new.idle_ns - old.idle_ns.min(new.idle_ns)).min(passed_ns))
}

/// A task is charged when it is switched away from, so one that runs elsewhere has not been for its last stretch: it gets
/// what its CPU was busy with and nobody was charged for.
fn credit_the_running(tasks: &mut [(u64, u64, &TaskFigures)], cpu: &CpuFigures, busy_ns: u64) {
    let charged_ns: u64 = tasks.iter().filter(|(.., task)| task.cpu == cpu.cpu).map(|&(ns, ..)| ns).sum();
    let running = watch::peek(cpu.cpu);
    if let Some((ns, ..)) = tasks.iter_mut().find(|(.., task)| !running.is_idle && task.info.id == running.id)
    {
        *ns += busy_ns.saturating_sub(charged_ns);
    }
}

fn switches(task: &TaskInfo) -> u64 {
    task.switches.0 + task.switches.1
}

fn permille(part: u64, whole: u64) -> u64 {
    (u128::from(part) * 1000 / u128::from(whole.max(1))) as u64
}
