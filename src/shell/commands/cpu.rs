//! `cpu`: the CPUs, and turning them off and on.
#![forbid(unsafe_code)]

use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::parse_u64;
use crate::smp::hotplug::{self, Level};
use crate::smp::{self, isolation};
use alloc::vec::Vec;

pub(super) fn cpu(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    match args {
        [] => list(terminal),
        ["on", number] => {
            let cpu = parse(number)?;
            hotplug::cpu_up(cpu).map_err(|error| Failure::new(format_args!("CPU {cpu} {error}")))
        }
        ["off", number] => {
            let cpu = parse(number)?;
            hotplug::cpu_down(cpu).map_err(|error| Failure::new(format_args!("CPU {cpu} {error}")))
        }
        _ => Err(Failure::new(format_args!("nothing, on and a number, or off and a number was expected"))),
    }
}

fn parse(number: &str) -> Result<usize, Failure> {
    let cpu = parse_u64(number).and_then(|cpu| usize::try_from(cpu).ok());
    cpu.ok_or_else(|| {
        Failure::new(format_args!("{number}: the number of a CPU was expected: {}", smp::present()))
    })
}

fn list(terminal: &mut dyn Terminal) -> Result<(), Failure> {
    // Collected first: the terminal may be slow, and the states are of one moment.
    let mut cpus = Vec::new();
    hotplug::for_each_cpu(|cpu| cpus.push(*cpu));
    writeln!(terminal, "{:>4} {:>10}  {:<9} {:<10}  RUNS", "CPU", "MPIDR", "STATE", "METHOD")?;
    for info in &cpus {
        let isolated = if isolation::is_isolated(info.cpu) { ", isolated" } else { "" };
        writeln!(
            terminal,
            "{:>4} {:>#10x}  {:<9} {:<10}  {}{isolated}",
            info.cpu,
            info.affinity,
            info.state,
            info.method,
            Level(info.level)
        )?;
    }
    writeln!(terminal, "online: {}", smp::online())?;
    Ok(())
}
