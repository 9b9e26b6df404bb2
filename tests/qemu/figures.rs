//! The sweep, path by path, and the bench, figure by figure.
//!
//! Invariant: each image is booted once; a path or a figure that does not come is a failure.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use stint_tools::budgets::{self, Budget};
use stint_tools::machine::Machine;
use stint_tools::qemu::Captured;
use stint_tools::suite::excerpt;
use stint_tools::{bench, cargo, lines, sweep};

use crate::boot::{BENCH, SWEEP, Shared, boot, broken, keep, list_tests, shared};

/// Preemption at every instruction of the core paths, one trial per path.
pub fn sweep_trials(leaders: &mut Vec<Trial>, followers: &mut Vec<Trial>) {
    let paths = match list_tests(&SWEEP, "sweep") {
        Ok(paths) => paths,
        Err(error) => {
            leaders.push(broken("sweep::the_image_builds_and_lists_its_paths", error));
            return;
        }
    };
    let cell: Shared<Arc<Captured>> = Arc::default();
    let run = move || {
        shared(&cell, || {
            eprintln!("[sweep] booting");
            let captured = boot(&SWEEP, "sweep", &Machine::measuring(), "", sweep::LIMITS)?;
            keep("sweep", &captured.console)?;
            Ok(Arc::new(captured))
        })
    };
    let leader = run.clone();
    leaders.push(Trial::test("sweep::the_run_is_complete", move || {
        let captured = leader()?;
        sweep::closing(&captured, &sweep::paths(&captured.console))
            .map_err(|why| format!("{why}\n{}", excerpt(&captured.console)).into())
    }));
    for path in paths {
        let run = run.clone();
        followers.push(Trial::test(format!("sweep::{}", path.name), move || {
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
    let run = move || {
        shared(&cell, || {
            eprintln!("[{name}] booting");
            let captured = boot(&BENCH, name, &machine, "", bench::LIMITS)?;
            keep(name, &captured.console)?;
            Ok(Arc::new(captured))
        })
    };
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
