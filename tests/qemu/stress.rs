//! The stress, for a short time: with exact time, where every run is the same, and with a host thread for each CPU,
//! where none is.
//!
//! `make stress` runs it for as long as is asked for.

use libtest_mimic::Trial;
use stint_tools::machine::Machine;
use stint_tools::suite::excerpt;

use crate::boot::{KTEST, LIMITS, boot, keep, message};

/// Name, CPUs, whether time is exact, boot arguments.
const RUNS: &[(&str, u32, bool, &str)] = &[
    ("four_cpus", 4, true, "test=stress:ops=200000,seed=1"),
    ("four_cpus_in_rt", 4, true, "test=stress:ops=100000,seed=2 preempt=rt"),
    ("four_cpus_as_threads", 4, false, "test=stress:ops=200000,seed=3"),
    ("two_cpus_as_threads", 2, false, "test=stress:ops=100000,seed=4"),
    ("one_cpu", 1, true, "test=stress:ops=50000,seed=5"),
];

/// One trial per run.
pub fn trials(followers: &mut Vec<Trial>) {
    for (name, cpus, icount, told) in RUNS {
        followers.push(Trial::test(format!("stress::{name}"), move || {
            let base = if *icount { Machine::measuring() } else { Machine::default() };
            let machine = Machine { cpus: *cpus, ..base };
            let captured = boot(&KTEST, name, &machine, told, LIMITS).map_err(message)?;
            keep(&format!("stress-{name}"), &captured.console).map_err(message)?;
            if captured.succeeded() && captured.console.contains("test stress ... ok") {
                return Ok(());
            }
            Err(format!("{}\n{}", captured.end, excerpt(&captured.console)).into())
        }));
    }
}
