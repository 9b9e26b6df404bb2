//! The commands `dbench` and `hackbench`, and what they print.
//!
//! ```text
//! result throughput.dbench 41234 ops/s clients=8 ops=20000 ns=… made=… removed=… written=… read=… preempt=full cpus=1
//! result throughput.hackbench 15000000 ns messages=20000 groups=1 pairs=20 loops=50 preempt=full cpus=1
//! ```

use super::params::{Amount, Dbench, Hackbench};
use super::{dbench, hackbench};
use crate::latency::ONE_AT_A_TIME;
use crate::preempt_stats;
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::{ExactNs, Ns};
use crate::smp;
use crate::start::boot_info;

fn conditions() -> (&'static str, usize) {
    (boot_info().bootargs.preempt.name(), smp::online().iter().count())
}

pub(crate) fn dbench_command(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let params = Dbench::parse(args)?;
    let _one = ONE_AT_A_TIME.lock();
    let (preempt, cpus) = conditions();
    let mark = preempt_stats::mark();
    match params.amount {
        Amount::Ops(ops) => {
            writeln!(terminal, "dbench: {ops} operations on a shared table, preempt={preempt}")?
        }
        Amount::For(ns) => {
            writeln!(terminal, "dbench: {} of operations on a shared table, preempt={preempt}", ExactNs(ns))?;
        }
    }
    writeln!(terminal, "{:>8} {:>10} {:>10} {:>10}", "clients", "ops", "time", "ops/s")?;
    let mut reports = heapless::Vec::<_, { super::params::RUNS_MAX }>::new();
    for &clients in &params.clients {
        let report = dbench::run(clients, params.amount, || !terminal.interrupted())?;
        let (ops, ns) = (report.outcome.done, report.outcome.ns);
        writeln!(terminal, "{clients:>8} {ops:>10} {:>10} {:>10}", Ns(ns), report.ops_per_s())?;
        if report.outcome.stopped {
            return Err(Failure::new(format_args!("stopped after {ops} operations of {clients} clients")));
        }
        // One for each number of clients, for which there is the same room.
        let _ = reports.push((clients, report));
    }
    for (clients, report) in &reports {
        let tally = &report.tally;
        writeln!(
            terminal,
            "result throughput.dbench {} ops/s clients={clients} ops={} ns={} made={} removed={} written={} read={} \
             idle={} preempt={preempt} cpus={cpus}{mark}",
            report.ops_per_s(),
            report.outcome.done,
            report.outcome.ns,
            tally.made,
            tally.removed,
            tally.written,
            tally.read,
            tally.idle
        )?;
    }
    Ok(())
}

pub(crate) fn hackbench_command(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let params = Hackbench::parse(args)?;
    let _one = ONE_AT_A_TIME.lock();
    let (preempt, cpus) = conditions();
    let mark = preempt_stats::mark();
    let Hackbench { groups, pairs, loops } = params;
    writeln!(
        terminal,
        "hackbench: groups of {pairs} senders and {pairs} receivers: {groups}, messages from each to each: {loops}, \
         preempt={preempt}"
    )?;
    let outcome = hackbench::run(params, || !terminal.interrupted())?;
    writeln!(terminal, "{} messages in {}", outcome.done, Ns(outcome.ns))?;
    if outcome.stopped {
        return Err(Failure::new(format_args!(
            "stopped after {} of {} messages",
            outcome.done,
            params.messages()
        )));
    }
    writeln!(
        terminal,
        "result throughput.hackbench {} ns messages={} groups={groups} pairs={pairs} loops={loops} preempt={preempt} \
         cpus={cpus}{mark}",
        outcome.ns, outcome.done
    )?;
    Ok(())
}
