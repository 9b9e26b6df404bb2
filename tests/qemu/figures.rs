//! The sweep, path by path, and the bench, figure by figure.
//!
//! Invariant: each image is booted once, and the bench again to see that its figures are the same; a path or a figure that
//! does not come is a failure.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use stint_tools::budgets::{self, Budget};
use stint_tools::machine::Machine;
use stint_tools::qemu::Captured;
use stint_tools::suite::{self, excerpt};
use stint_tools::{bench, cargo, lines, repeat, sweep};

use crate::boot::{BENCH, SHORT, SWEEP, Shared, boot, broken, keep, shared};

/// Name, CPUs, and what the image is told. On one CPU every instruction is interrupted. On four, where the same paths come
/// with live locks and others across CPUs, every eleventh is, which would take minutes otherwise; `make sweep SMP=4` walks
/// all of them.
const SWEEPS: &[(&str, u32, &str)] = &[("sweep", 1, "test=all"), ("sweep-smp4", 4, "test=all:step=11")];

/// Preemption in the core paths, one trial per path and machine.
pub fn sweep_trials(leaders: &mut Vec<Trial>, followers: &mut Vec<Trial>) {
    for (name, cpus, told) in SWEEPS {
        sweep_on(name, Machine { cpus: *cpus, ..Machine::measuring() }, told, leaders, followers);
    }
}

/// The sweep on one machine.
fn sweep_on(
    name: &'static str,
    machine: Machine,
    told: &'static str,
    leaders: &mut Vec<Trial>,
    followers: &mut Vec<Trial>,
) {
    let listed = boot(&SWEEP, name, &machine, "test=list", SHORT).and_then(|captured| suite::list(&captured));
    let paths = match listed {
        Ok(paths) => paths,
        Err(error) => {
            leaders.push(broken(&format!("{name}::the_image_builds_and_lists_its_paths"), error));
            return;
        }
    };
    let cell: Shared<Arc<Captured>> = Arc::default();
    let run = move || {
        shared(&cell, || {
            eprintln!("[{name}] booting");
            let captured = boot(&SWEEP, name, &machine, told, sweep::LIMITS)?;
            keep(name, &captured.console)?;
            Ok(Arc::new(captured))
        })
    };
    let leader = run.clone();
    leaders.push(Trial::test(format!("{name}::the_run_is_complete"), move || {
        let captured = leader()?;
        sweep::closing(&captured, &sweep::paths(&captured.console))
            .map_err(|why| format!("{why}\n{}", excerpt(&captured.console)).into())
    }));
    for path in paths {
        let run = run.clone();
        followers.push(Trial::test(format!("{name}::{}", path.name), move || {
            sweep::judge(&*run()?, &path.name).map_err(Failed::from)
        }));
    }
}

/// Every figure of the bench against its committed budget, on one CPU and on four.
pub fn bench_trials(leaders: &mut Vec<Trial>, followers: &mut Vec<Trial>) {
    let all = match cargo::root().and_then(|root| budgets::read(&root)) {
        Ok(all) => all,
        Err(error) => {
            leaders.push(broken("bench::the_budgets_can_be_read", error));
            return;
        }
    };
    for (name, group, cpus) in [("bench", "budget", 1), ("bench-smp4", "budget-smp4", 4)] {
        let machine = Machine { cpus, ..Machine::measuring() };
        bench_on(name, group, machine, Arc::new(budgets::on(&all, cpus)), leaders, followers);
    }
}

/// The bench on one machine.
fn bench_on(
    name: &'static str,
    group: &str,
    machine: Machine,
    budgets: Arc<Vec<Budget>>,
    leaders: &mut Vec<Trial>,
    followers: &mut Vec<Trial>,
) {
    let cell: Shared<Arc<Captured>> = Arc::default();
    let first = machine.clone();
    let run = move || {
        shared(&cell, || {
            eprintln!("[{name}] booting");
            let captured = boot(&BENCH, name, &first, "", bench::LIMITS)?;
            keep(name, &captured.console)?;
            Ok(Arc::new(captured))
        })
    };
    let (once, again) = (run.clone(), machine.clone());
    followers.push(Trial::test(format!("{name}::two_runs_of_the_image_print_the_same_figures"), move || {
        let second = boot(&BENCH, name, &again, "", bench::LIMITS)?;
        repeat::same_figures(&once()?.console, &second.console).map_err(Failed::from)
    }));
    let (leader, bounded) = (run.clone(), Arc::clone(&budgets));
    leaders.push(Trial::test(format!("{name}::the_run_is_complete"), move || {
        let captured = leader()?;
        if !captured.succeeded() {
            return Err(format!("{}\n{}", captured.end, excerpt(&captured.console)).into());
        }
        let results = lines::results(&captured.console);
        let loose: Vec<_> = budgets::unbounded(&bounded, &results).iter().map(|m| m.name.clone()).collect();
        if loose.is_empty() {
            return Ok(());
        }
        Err(format!("nothing bounds {}: give each a line in {}", loose.join(", "), budgets::FILE).into())
    }));
    for budget in budgets.iter().cloned() {
        let run = run.clone();
        followers.push(Trial::test(format!("{group}::{}", budget.name), move || {
            budgets::check(&budget, &lines::results(&run()?.console)).map_err(Failed::from)
        }));
    }
}
