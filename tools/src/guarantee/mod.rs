//! `make guarantee`: how long the CPU can be closed to the most important task, computed from the image.
//!
//! ```text
//! code     the instructions as they are executed     insn     what one of them does
//! names    the functions inlined at an address       table    jump tables
//! state    mask, preempt count, and what decides them
//! walk     a function in a state, and all it calls   loops, graph   the longest path
//! limits   what the code cannot say: tools/guarantee.toml
//! bound    the figures of a model                    measured what runs of it showed
//! report   showing it
//! ```
//!
//! What is computed is exact in the state that closes the CPU and in the arithmetic of the paths, and an upper bound in
//! everything else: conditions that the analysis cannot decide are taken both ways. Instructions are counted, as the
//! emulator counts them; a cache miss of a board is not.
//!
//! Invariant: an unbounded loop, an unknown target of a call, or recursion where the CPU is closed is an error with the
//! calls that lead there; so is a limit that nothing uses.
#![forbid(unsafe_code)]

pub mod bound;
pub mod code;
pub mod graph;
pub mod insn;
pub mod limits;
pub mod loops;
pub mod measured;
pub mod names;
pub mod report;
pub mod state;
pub mod table;
pub mod walk;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::cargo;
use crate::lines::figure;
use bound::{Bounds, MODELS, Model};
use limits::Limits;
use measured::Measured;
use names::Names;

/// What the calls of the kernel nest to is what the walk recurses to.
const STACK_BYTES: usize = 512 << 20;
/// Wake-ups for each load.
const FRAGMENTS: u32 = 300;

/// What was computed for one model.
pub struct Computed {
    /// The model.
    pub model: Model,
    /// With as many timers due in one interrupt as it serves.
    pub bounds: Bounds,
    /// With one.
    pub alone: Bounds,
}

/// Computes the bounds of all models of a linked image.
///
/// # Errors
/// When something keeps the bound from being one: each problem with its back-trace.
pub fn compute(elf: &Path, limits: &Limits) -> Result<Vec<Computed>> {
    let data = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let limits = limits.clone();
    let work = move || -> Result<Vec<Computed>> {
        let names = Names::read(&data)?;
        let compute = |model: &Model, alone| bound::compute(&data, &names, model, alone, &limits);
        let mut computed = Vec::new();
        for &model in &MODELS {
            let bounds = compute(&model, false)?;
            if !bounds.problems.is_empty() {
                // The other models have the same, and there is no bound anyway.
                return Ok(vec![Computed { model, bounds, alone: Bounds::default() }]);
            }
            let alone = compute(&model, true)?;
            computed.push(Computed { model, bounds, alone });
        }
        Ok(computed)
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work)?;
    let computed = thread.join().map_err(|_| anyhow!("the analysis panicked"))??;
    Ok(computed)
}

/// What keeps the figures from being a bound.
///
/// # Errors
/// With all problems and their back-traces, and the limits that nothing uses.
pub fn check(computed: &[Computed], limits: &Limits) -> Result<()> {
    let all = || computed.iter().flat_map(|one| [&one.bounds, &one.alone]);
    let problems: BTreeSet<_> = all().flat_map(|bounds| &bounds.problems).collect();
    let mut text = String::new();
    for problem in &problems {
        text += &format!("\n{}", problem.text);
        for call in &problem.calls {
            text += &format!("\n      {call}");
        }
    }
    ensure!(problems.is_empty(), "{} places keep the bound from being computed:{text}", problems.len());
    let used: BTreeSet<_> = all().flat_map(|bounds| &bounds.used).collect();
    let idle: Vec<String> = limits.entries().filter(|entry| !used.contains(entry)).collect();
    ensure!(
        idle.is_empty(),
        "nothing in the image uses these entries of {}; take them out: {}",
        limits::FILE,
        idle.join(", ")
    );
    Ok(())
}

/// Compares with what is committed.
///
/// # Errors
/// At the first figure that has grown, has fallen by a tenth, or is not committed.
pub fn check_committed(computed: &[Computed], limits: &Limits) -> Result<()> {
    for one in computed {
        let name = one.model.name;
        for (of, bounds) in [(name.to_owned(), &one.bounds), (format!("{name}.alone"), &one.alone)] {
            for found in &bounds.figures {
                let most = limits.committed(&of, found.name).with_context(|| {
                    format!("[bounds.{of}] in {} has no `{} = {}`", limits::FILE, found.name, found.value)
                })?;
                if let Some(advice) = differs(found.value, most) {
                    bail!(
                        "{} of the model {of} is {} instructions, and {most} is committed in {}. {advice} The path:\n{}",
                        found.name,
                        found.value,
                        limits::FILE,
                        found.path.join("\n")
                    );
                }
            }
        }
    }
    Ok(())
}

/// What to do about a figure that is not as committed: above it, or below by a tenth, which is more than it is rounded up by.
fn differs(value: u64, committed: u64) -> Option<&'static str> {
    if value > committed {
        Some("If the change is worth it, raise the number and say why in the commit.")
    } else if value < committed - committed / 10 {
        Some(
            "If the code has become that much shorter, lower the number; if not, a way is not followed any more.",
        )
    } else {
        None
    }
}

/// `make guarantee`.
///
/// # Errors
/// When the image does not build, a bound cannot be computed, a run exceeds one, or one has grown.
pub fn guarantee(measuring: bool, paths: bool) -> Result<()> {
    let built = cargo::build("stint")?;
    let limits = Limits::read(&cargo::root()?)?;
    let computed = compute(&built.elf, &limits)?;
    check(&computed, &limits)?;
    for one in &computed {
        let measured = (measuring && one.model.preempts)
            .then(|| measured::measure(&built.image, one.model.name, FRAGMENTS))
            .transpose()?;
        print!("{}", render(one, measured.as_ref(), paths));
        if let Some(measured) = &measured {
            measured::check(one.model.name, &one.bounds, measured)?;
        }
    }
    print!("{}", conditions(&computed, &limits));
    check_committed(&computed, &limits)
}

/// One model as a table.
#[must_use]
pub fn render(one: &Computed, measured: Option<&Measured>, paths: bool) -> String {
    let mut text =
        format!("\npreempt={}{:>34}{:>16}{:>12}\n", one.model.name, "computed", "one timer due", "measured");
    for found in &one.bounds.figures {
        let what = match found.name {
            "irqs" => "interrupts masked",
            "section" => "section of a thread",
            "softirq" => "piece of a softirq",
            "interrupt" => "interrupt that wakes nobody",
            "schedule" => "__schedule",
            "irq_to_task" => "interrupt to task",
            _ => "wake-up of the highest task",
        };
        let seen = measured.and_then(|measured| match found.name {
            "irqs" => Some(measured.irqs),
            "wake" => Some(measured.wake),
            _ => None,
        });
        text += &format!(
            "  {what:<32}{:>12}{:>16}{:>12}\n",
            figure(found.value as f64),
            one.alone.value(found.name).map_or(String::new(), |value| figure(value as f64)),
            seen.map_or(String::new(), |seen| figure(seen as f64))
        );
        if paths {
            found.path.iter().for_each(|line| text += &format!("{line}\n"));
        }
    }
    if let Some(measured) = measured {
        text +=
            &format!("  Measured: a request to switch waited {} at most.\n", figure(measured.request as f64));
    }
    match one.bounds.value("wake") {
        Some(wake) => {
            text += &format!(
                "  The highest-priority task wakes within {} instructions, and {} for each further interrupt.\n",
                figure(wake as f64),
                figure(one.bounds.value("interrupt").unwrap_or(0) as f64)
            );
        }
        None => text += "  A wake-up has no bound: a task runs until it comes to a scheduling point.\n",
    }
    text
}

/// On what it depends.
fn conditions(computed: &[Computed], limits: &Limits) -> String {
    let mut text =
        String::from("\nConditions: one CPU, GICv3, after the boot. Never executed, or not in a section:\n");
    limits.conditions().for_each(|(name, reason)| text += &format!("  {name:<40} {reason}\n"));
    text += "Assumed of loops that do not say it themselves, and how often they go back to their start:\n";
    limits
        .assumed()
        .for_each(|(name, times, reason)| text += &format!("  {name:<40} {times:>3}  {reason}\n"));
    text += "Not computed, measured only: sections through\n";
    limits.measured().for_each(|(name, reason)| text += &format!("  {name:<40} {reason}\n"));
    let ends: BTreeSet<_> = computed.iter().flat_map(|one| &one.bounds.never_return).collect();
    text += &format!(
        "Paths into {} functions that never return are left out: panics, and the ends of tasks.\n",
        ends.len()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_has_grown_or_fallen_is_told_from_one_that_is_rounded_up() {
        let advises =
            |value, committed, word| differs(value, committed).is_some_and(|advice| advice.contains(word));
        assert!(
            advises(15_001, 15_000, "raise") && advises(67_499, 75_000, "lower") && advises(0, 5200, "lower")
        );
        for (value, committed) in [(67_500, 75_000), (14_332, 15_000), (15_000, 15_000), (0, 0)] {
            assert_eq!(differs(value, committed), None, "{value} of {committed}");
        }
    }
}
