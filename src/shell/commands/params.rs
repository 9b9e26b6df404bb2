//! `chrt`, `nice`, `sched`: who gets the CPU, and how much of it.
#![forbid(unsafe_code)]
#![expect(
    clippy::result_large_err,
    reason = "a message takes no memory from the heap: it may be about having none"
)]

use crate::sched::Interval;
use crate::sched::core as sched;
use crate::sched::deadline::BW_UNIT;
use crate::sched::prio::{Policy, SchedAttr};
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::{ExactNs, Ns, Percent, parse_ns, parse_u64};
use crate::smp::{self, CpuMask};
use crate::task::{self, TaskRef};

/// A task by its number or its name; the first of that name.
fn find(word: &str) -> Result<TaskRef, Failure> {
    let id = parse_u64(word);
    let mut found = None;
    task::for_each(|task| {
        let named = match id {
            Some(id) => u64::from(task.id()) == id,
            None => task.name() == word,
        };
        if named && found.is_none() {
            found = Some(TaskRef::clone_from_task(task));
        }
    });
    found.ok_or_else(|| Failure::new(format_args!("{word}: there is no such task; ps lists them")))
}

/// `chrt -p task`, or `chrt task policy…`.
pub(super) fn chrt(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    match args {
        ["-p", name] => show(&find(name)?, terminal),
        [name, policy @ ..] if !policy.is_empty() => {
            let task = find(name)?;
            task.set_scheduler(attr(&task, policy)?)?;
            show(&task, terminal)
        }
        _ => Err(Failure::new(format_args!(
            "expected -p and a task, or a task and fifo 1..99 | rr 1..99 | other | batch | idle | deadline \
             runtime deadline period"
        ))),
    }
}

fn attr(task: &TaskRef, words: &[&str]) -> Result<SchedAttr, Failure> {
    let nice = task.scheduler().nice();
    let fair = |policy| SchedAttr::new(policy, 0, nice);
    let real_time = |policy, word: &str| {
        let priority = parse_u64(word).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        SchedAttr::new(policy, priority, nice)
    };
    let time = |word: &str| {
        parse_ns(word)
            .ok_or_else(|| Failure::new(format_args!("{word}: a time was expected, for example 5ms")))
    };
    let checked = match *words {
        ["fifo", priority] => real_time(Policy::Fifo, priority),
        ["rr", priority] => real_time(Policy::Rr, priority),
        ["other"] => fair(Policy::Normal),
        ["batch"] => fair(Policy::Batch),
        ["idle"] => fair(Policy::Idle),
        ["deadline", runtime, deadline] => SchedAttr::deadline(time(runtime)?, time(deadline)?, 0),
        ["deadline", runtime, deadline, period] => {
            SchedAttr::deadline(time(runtime)?, time(deadline)?, time(period)?)
        }
        [word, ..] => {
            return Err(Failure::new(format_args!(
                "{word}: fifo 1..99, rr 1..99, other, batch, idle or deadline runtime deadline period was expected"
            )));
        }
        [] => return Err(Failure::new(format_args!("a policy was expected"))),
    };
    checked.map_err(|error| Failure::new(format_args!("{error}")))
}

fn show(task: &TaskRef, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let attr = task.scheduler();
    write!(terminal, "{}/{}: ", task.name(), task.id())?;
    match (attr.policy(), task.deadline_info()) {
        (Policy::Deadline, Some(dl)) => write!(
            terminal,
            "deadline, {} of every {} within {}; {} left, {} overruns{}",
            ExactNs(dl.runtime_ns),
            ExactNs(dl.period_ns),
            ExactNs(dl.deadline_ns),
            Ns(dl.left_ns.max(0) as u64),
            dl.overruns,
            if dl.throttled { ", waits for its next period" } else { "" }
        )?,
        (Policy::Fifo, _) => write!(terminal, "fifo {}", attr.rt_priority())?,
        (Policy::Rr, _) => write!(terminal, "rr {}", attr.rt_priority())?,
        (policy, _) => write!(terminal, "{policy:?}, nice {}", attr.nice())?,
    }
    match task.rr_interval() {
        Interval::Unlimited => {}
        Interval::Ticks(ticks) => write!(
            terminal,
            "; a turn is {}",
            Ns(u64::from(ticks) * crate::time::NSEC_PER_SEC / u64::from(crate::time::tick::hz()))
        )?,
        Interval::Ns(ns) => write!(terminal, "; a turn is {}", Ns(ns))?,
    }
    let own = attr.normal_prio();
    let prio = task.info().prio;
    if prio < own {
        write!(terminal, "; runs at {prio}, which it has inherited")?;
    }
    writeln!(terminal)?;
    Ok(())
}

/// `taskset [cpus] task`.
pub(super) fn taskset(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let task = match *args {
        [name] => find(name)?,
        [cpus, name] => {
            let cpus = CpuMask::parse_list(cpus)
                .map_err(|expected| Failure::new(format_args!("{cpus}: expected {expected}")))?;
            let task = find(name)?;
            task.set_affinity(cpus).map_err(|error| Failure::new(format_args!("{cpus}: {error}")))?;
            task
        }
        _ => return Err(Failure::new(format_args!("expected a list of CPUs, such as 0-2,5, and a task"))),
    };
    let online = smp::online();
    writeln!(
        terminal,
        "{}/{}: on CPU {}; may run on {} of {online}",
        task.name(),
        task.id(),
        task.cpu(),
        task.affinity() & smp::present()
    )?;
    Ok(())
}

/// `nice level task`.
pub(super) fn nice(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let [level, name] = args else {
        return Err(Failure::new(format_args!("expected a nice level from -20 to 19 and a task")));
    };
    let level = level
        .parse::<i32>()
        .map_err(|_| Failure::new(format_args!("{level}: a nice level from -20 to 19 was expected")))?;
    let task = find(name)?;
    task.set_nice(level)?;
    show(&task, terminal)
}

/// `sched`: the shares; `sched rt_runtime_us=… [rt_period_us=…]`: other ones.
pub(super) fn sched_command(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if !args.is_empty() {
        set(args)?;
    }
    let now = crate::time::now_ns();
    let (limits, throttled, in_use, limit) = sched::with_rq(|rq| {
        let rt = rq.rt_bandwidth();
        (rt.limits(), rt.is_throttled(), rq.dl_bandwidth().in_use(now), rq.dl_bandwidth().limit())
    });
    match limits {
        (0, _) => writeln!(terminal, "real-time tasks may use the whole CPU")?,
        (runtime, period) => writeln!(
            terminal,
            "real-time tasks may use {} of every {}{}",
            ExactNs(runtime),
            ExactNs(period),
            if throttled { "; they have, and wait" } else { "" }
        )?,
    }
    writeln!(
        terminal,
        "deadline tasks have reserved {} % of the CPU, of {} %",
        Percent(in_use, BW_UNIT),
        Percent(limit, BW_UNIT)
    )?;
    Ok(())
}

fn set(args: &[&str]) -> Result<(), Failure> {
    let (runtime, period) = sched::with_rq(|rq| rq.rt_bandwidth().limits());
    let (mut runtime_us, mut period_us) = ((runtime / 1000) as u32, (period / 1000) as u32);
    for arg in args {
        let (name, value) = arg.split_once('=').unwrap_or((arg, ""));
        let number = parse_u64(value).and_then(|n| u32::try_from(n).ok());
        match (name, number) {
            ("rt_runtime_us", Some(us)) => runtime_us = us,
            ("rt_period_us", Some(us)) => period_us = us,
            _ => {
                return Err(Failure::new(format_args!(
                    "{arg}: rt_runtime_us=0..1000000 (0: no limit) or rt_period_us=1000..1000000 was expected"
                )));
            }
        }
    }
    let runtime_us = (runtime_us != 0).then_some(runtime_us);
    Ok(sched::set_rt_bandwidth(runtime_us, period_us)?)
}
