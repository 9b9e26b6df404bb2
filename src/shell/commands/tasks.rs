//! `ps`, `runq`: the tasks, and those of them that want the CPU.
#![forbid(unsafe_code)]

use crate::sched::Class;
use crate::sched::core as sched;
use crate::sched::prio::{MAX_PRIO, Policy};
use crate::shell::banner::cpu_time;
use crate::shell::command::{Failure, no_arguments};
use crate::shell::terminal::Terminal;
use crate::shell::units::{ExactNs, Ns, Percent};
use crate::smp::{self, CpuMask};
use crate::start::boot_info;
use crate::task::{self, TaskInfo, state};
use crate::time::{self, idle};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use heapless::String;

fn snapshot() -> Vec<TaskInfo> {
    let mut tasks = Vec::new();
    task::for_each(|task| tasks.push(task.info()));
    tasks.sort_unstable_by_key(|task| task.id);
    tasks
}

pub(super) fn ps(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    let tasks = snapshot();
    // What the tasks there are do not add up to was used by tasks that are gone. The share is of time that passed and not
    // of cycles that were counted: a cycle counter of silicon stands still in WFI.
    let up_ns = time::now_ns() - time::ticks_to_ns(boot_info().boot_counter);
    let me = task::current_ref().id();
    writeln!(
        terminal,
        "{:>4} {:<11} {:<9}{:>4} {:<7}{:>3} {:<4}{:>10} {:>5} {:>7} {:>6}  STACK",
        "ID", "NAME", "POLICY", "PRIO", "STATE", "CPU", "OF", "CPU TIME", "%CPU", "SLEPT", "PREEMP"
    )?;
    for task in &tasks {
        let cpu_time = time_of(task);
        writeln!(
            terminal,
            "{:>4} {:<11.11} {:<9}{:>4} {:<7}{:>3} {:<4}{:>10} {:>5} {:>7} {:>6}  {}",
            task.id,
            task.name,
            policy(task),
            task.prio,
            state_of(task, me),
            task.cpu,
            allowed(task.cpus_allowed),
            cpu_time,
            Percent(cpu_time.0, up_ns),
            task.switches.0,
            task.switches.1,
            stack(task)
        )?;
    }
    for task in &tasks {
        let Some(dl) = task.deadline else { continue };
        writeln!(
            terminal,
            "{:>4} {:<11.11} {} of every {} within {}, {} overruns{}",
            task.id,
            task.name,
            ExactNs(dl.runtime_ns),
            ExactNs(dl.period_ns),
            ExactNs(dl.deadline_ns),
            dl.overruns,
            if dl.throttled { ", waits for its next period" } else { "" }
        )?;
    }
    Ok(())
}

/// The CPU time of a task. Of an idle task the time in WFI is known by the system's counter, whether its cycles were
/// counted there (in an emulator) or not.
fn time_of(task: &TaskInfo) -> Ns {
    let counted = cpu_time(task.runtime_cycles);
    if task.prio == MAX_PRIO { Ns(counted.0.max(idle::time_ns_of(task.cpu))) } else { counted }
}

/// The policy with what it is parametrised by: a real-time priority, a nice level or a share. What is inherited for
/// the moment shows in the priority.
pub(super) fn policy(task: &TaskInfo) -> String<12> {
    let mut text = String::new();
    // The longest is `batch -20`.
    let _ = match task.attr.policy() {
        _ if task.id == 0 => write!(text, "idle task"),
        Policy::Fifo => write!(text, "fifo {}", task.attr.rt_priority()),
        Policy::Rr => write!(text, "rr {}", task.attr.rt_priority()),
        Policy::Normal => write!(text, "fair {}", task.attr.nice()),
        Policy::Batch => write!(text, "batch {}", task.attr.nice()),
        Policy::Idle => write!(text, "idle"),
        Policy::Deadline => match task.deadline {
            Some(dl) => write!(text, "dl {}", Percent(dl.runtime_ns, dl.period_ns)),
            None => write!(text, "dl"),
        },
    };
    text
}

/// A set of CPUs; `all` for one that leaves none out.
pub(super) fn allowed(cpus: CpuMask) -> String<64> {
    let mut text = String::new();
    let there = smp::present();
    // A list that is longer than the line allows is cut.
    let _ = match cpus & there == there {
        true => write!(text, "all"),
        false => write!(text, "{}", cpus & there),
    };
    text
}

fn state_of(task: &TaskInfo, me: u32) -> &'static str {
    match task.state {
        _ if task.id == me => "runs",
        state::RUNNING => "ready",
        state::NEW => "new",
        state::DEAD => "dead",
        // Set to sleep, but preempted before it got there: it runs on.
        _ if task.queued => "ready",
        _ => "sleeps",
    }
}

/// Bytes used of the bytes there are; a caller's stack is not painted, so what was used is not known.
fn stack(task: &TaskInfo) -> String<16> {
    let mut text = String::new();
    // Two numbers of at most seven digits.
    let _ = match (task.stack_bytes, task.stack_used_bytes) {
        (0, _) => write!(text, "boot"),
        (bytes, 0) => write!(text, "?/{bytes}"),
        (bytes, used) => write!(text, "{used}/{bytes}"),
    };
    text
}

pub(super) fn runq(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    no_arguments(args)?;
    for cpu in smp::online().iter() {
        runq_of(cpu, terminal)?;
    }
    Ok(())
}

fn runq_of(cpu: usize, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let (ready, curr_prio, clock_ns, fair_ready, min_vruntime) = sched::with_rq_of(cpu, |rq| {
        let cfs = rq.cfs();
        (rq.nr_running(), rq.curr().prio(), rq.clock_ns(), cfs.nr_running(), cfs.min_vruntime())
    });
    writeln!(terminal, "cpu {cpu}: {ready} ready, {fair_ready} of them fair; running prio {curr_prio}")?;
    writeln!(terminal, "  clock {clock_ns} ns, min_vruntime {min_vruntime}")?;
    let mut lines = Vec::new();
    task::for_each(|task| {
        // The idle tasks are always there, behind all classes.
        if task.cpu() == cpu && task.sched.is_queued() && task.sched.class() != Class::Idle {
            let vruntime = task.sched.is_fair().then(|| task.sched.se().vruntime());
            lines.push((task.info(), vruntime));
        }
    });
    // The order in which they would run, but for what happens meanwhile.
    lines.sort_unstable_by_key(|(task, vruntime)| (task.prio.min(100), vruntime.unwrap_or(0)));
    for (task, vruntime) in &lines {
        write!(terminal, "  {:>4} {:<15} {:<9} prio {:>3}", task.id, task.name, policy(task), task.prio)?;
        match vruntime {
            Some(vruntime) => {
                writeln!(terminal, "  vruntime {} ({})", vruntime, Lead(*vruntime, min_vruntime))?
            }
            None => writeln!(terminal)?,
        }
    }
    Ok(())
}

/// How far a vruntime is from the queue's minimum: behind means that it is owed time.
struct Lead(u64, u64);

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+} us", (self.0.wrapping_sub(self.1) as i64) / 1000)
    }
}
