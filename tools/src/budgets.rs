//! Upper bounds of the bench figures: `tools/budgets.toml`.
//!
//! ```toml
//! [bench]
//! yield_none = 22        # instructions, at most
//! [smp4]
//! yield_none = 40        # the same with four CPUs online
//! [smp4.thread_metric]
//! memory = 50            # and of another group
//! ```
//!
//! Invariant: every figure of the bench has exactly one budget per machine and every budget has its figure; a
//! missing one on either side is a failure, so nothing gets slower unseen. The format is the part of TOML that
//! this needs: sections, `name = whole number`, comments.
#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::lines::{Measured, figure};

/// Where the budgets are, seen from the repository's root.
pub const FILE: &str = "tools/budgets.toml";

/// One upper bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Group and name, as in the result line.
    pub name: String,
    /// How many CPUs the machine has.
    pub cpus: u32,
    /// The largest figure allowed.
    pub most: u64,
}

/// Reads the committed budgets.
///
/// # Errors
/// When the file cannot be read or understood; the message names the line.
pub fn read(root: &Path) -> Result<Vec<Budget>> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} cannot be understood", path.display()))
}

/// Parses the budgets.
///
/// # Errors
/// At the first line that is not a section, a budget, a comment or empty, and at a name given twice.
pub fn parse(text: &str) -> Result<Vec<Budget>> {
    let mut group = String::new();
    let mut cpus = 1;
    let mut budgets: Vec<Budget> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            (cpus, group) = machine_and_group(section.trim());
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            bail!("line {number}: `{line}` is neither `[group]` nor `name = whole number`");
        };
        let most = value.trim().parse().ok().with_context(|| {
            format!(
                "line {number}: the budget of `{}` is `{}`; a whole number is needed",
                key.trim(),
                value.trim()
            )
        })?;
        let name = if group.is_empty() { key.trim().to_owned() } else { format!("{group}.{}", key.trim()) };
        ensure!(
            !budgets.iter().any(|known| known.name == name && known.cpus == cpus),
            "line {number}: `{name}` has a budget on {cpus} CPUs already"
        );
        budgets.push(Budget { name, cpus, most });
    }
    Ok(budgets)
}

/// What a section is about: `smpN` is the bench on N CPUs, `smpN.group` another group there.
fn machine_and_group(section: &str) -> (u32, String) {
    let (machine, group) = section.split_once('.').unwrap_or((section, "bench"));
    match machine.strip_prefix("smp").and_then(|digits| digits.parse().ok()) {
        Some(cpus) => (cpus, group.to_owned()),
        None => (1, section.to_owned()),
    }
}

/// The budgets of the machine with `cpus` CPUs; none if nobody bounded it.
#[must_use]
pub fn on(budgets: &[Budget], cpus: u32) -> Vec<Budget> {
    budgets.iter().filter(|budget| budget.cpus == cpus).cloned().collect()
}

/// Judges one budget against what was measured; `Err` holds a message with both numbers.
///
/// # Errors
/// When the result is missing or above the budget.
pub fn check(budget: &Budget, measured: &[Measured]) -> Result<(), String> {
    let Some(result) = measured.iter().find(|m| m.name == budget.name) else {
        return Err(format!(
            "the bench image printed no line `result {} …`; its budget is {}. \
             If the benchmark was taken out, take its line out of {FILE} as well",
            budget.name, budget.most
        ));
    };
    // The worst repetition counts, where it is given: an outlier in a deterministic run is a finding.
    let worst =
        result.field("max").and_then(|max| max.parse::<f64>().ok()).unwrap_or(result.value).max(result.value);
    if result.value > budget.most as f64 {
        return Err(format!(
            "{} took {} {} (max {}) on {} CPUs, its budget is {}. If the change is worth it, raise the number in {FILE} \
             and say why in the commit",
            budget.name,
            figure(result.value),
            result.unit,
            figure(worst),
            budget.cpus,
            budget.most
        ));
    }
    Ok(())
}

/// Results of the budgeted groups that nothing bounds.
#[must_use]
pub fn unbounded<'a>(budgets: &[Budget], measured: &'a [Measured]) -> Vec<&'a Measured> {
    measured.iter().filter(|m| !budgets.iter().any(|b| b.name == m.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines;

    #[test]
    fn sections_and_dotted_names_mean_the_same() {
        let expected = vec![Budget { name: "bench.yield_none".into(), cpus: 1, most: 22 }];
        assert_eq!(parse("[bench]\nyield_none = 22 # insn\n").unwrap(), expected);
        assert_eq!(parse("# all\n\nbench.yield_none=22").unwrap(), expected);
    }

    #[test]
    fn a_machine_with_several_cpus_has_budgets_of_its_own() {
        let all = parse("[bench]\nyield_none = 22\n[smp4]\nyield_none = 40\n").unwrap();
        let of = |cpus| on(&all, cpus).iter().map(|b| (b.name.clone(), b.most)).collect::<Vec<_>>();
        assert_eq!(of(1), [("bench.yield_none".into(), 22)]);
        assert_eq!(of(4), [("bench.yield_none".into(), 40)]);
        assert!(of(8).is_empty());
        let other = parse("[smp4.thread_metric]\nmemory = 50\n").unwrap();
        assert_eq!(other, [Budget { name: "thread_metric.memory".into(), cpus: 4, most: 50 }]);
    }

    #[test]
    fn what_cannot_be_understood_is_named_with_its_line() {
        let refused = |text| parse(text).unwrap_err().to_string();
        assert!(refused("\nnonsense").contains("line 2"));
        assert!(refused("a = fast").contains("`fast`"));
        assert!(refused("a = 1\na = 2").contains("`a` has a budget on 1 CPUs already"));
    }

    #[test]
    fn a_figure_above_its_budget_fails_with_both_numbers() {
        let budget = Budget { name: "bench.x".into(), cpus: 1, most: 22 };
        let measured = lines::results("result bench.x 25 insn max=31\nresult bench.y 1 insn\n");
        let message = check(&budget, &measured).unwrap_err();
        assert!(
            message.contains("took 25 insn (max 31) on 1 CPUs") && message.contains("budget is 22"),
            "{message}"
        );
        assert_eq!(check(&Budget { most: 25, ..budget }, &measured), Ok(()));
    }

    #[test]
    fn a_missing_figure_and_a_missing_budget_are_both_found() {
        let budgets = [Budget { name: "bench.x".into(), cpus: 1, most: 22 }];
        let measured = lines::results("result bench.y 1 insn\n");
        assert!(check(&budgets[0], &measured).unwrap_err().contains("no line `result bench.x"));
        assert_eq!(unbounded(&budgets, &measured)[0].name, "bench.y");
    }

    #[test]
    fn the_committed_budgets_can_be_read_and_name_known_benchmarks() {
        let root = crate::cargo::root().unwrap();
        for budget in read(&root).unwrap() {
            assert!(
                crate::peers::meaning(&budget.name).is_some(),
                "`{}` has no row in peers.rs",
                budget.name
            );
        }
    }
}
