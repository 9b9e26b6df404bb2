//! Showing what was found.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::graph::{From, Longest, Node};
use super::names::short;
use super::walk::{Begin, End, Section, Summary, Via, Walker};

/// Where a section's time goes: its start, the calls and loops on its longest path that cost `least` at the least, its end.
#[must_use]
pub fn path(walker: &Walker<'_>, section: &Section, least: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let body = &section.summary.body;
    let paths = if section.begin == Begin::Switch { &body.resumed } else { &body.local };
    trace(walker, &section.summary, paths, section.node, least, 0, &mut lines);
    if let Some(inside) = &section.inside
        && let Some((length, node)) = inside.heads.get(&section.end)
    {
        lines.push(format!("  {:>6}  {}", length, walker.code.name(inside.entry)));
        trace(walker, inside, &inside.body.entry, *node, least, 1, &mut lines);
    }
    lines
}

/// The longest path from a function's entry to an end inside of it.
pub fn head(
    walker: &Walker<'_>,
    summary: &Rc<Summary>,
    end: End,
    node: Node,
    least: u64,
    lines: &mut Vec<String>,
) {
    trace(walker, summary, &summary.body.entry, node, least, 0, lines);
    // The end may be inside of a call.
    for callee in walker.callees(summary, node) {
        if let Some(&(length, inside)) = callee.heads.get(&end) {
            lines.push(format!("  {length:>6}  {}", walker.code.name(callee.entry)));
            trace(walker, &callee, &callee.body.entry, inside, least, 1, lines);
            return;
        }
    }
}

/// The path on which `summary`'s entry is left at `node`, for a head.
pub fn trace(
    walker: &Walker<'_>,
    summary: &Rc<Summary>,
    paths: &Longest,
    node: Node,
    least: u64,
    depth: usize,
    lines: &mut Vec<String>,
) {
    if depth > 12 {
        return;
    }
    let indent = "  ".repeat(depth + 1);
    let body = &summary.body;
    let mut steps = Vec::new();
    let mut at = node;
    let mut seen = std::collections::HashSet::new();
    while seen.insert(at) {
        match paths.from[at] {
            From::Start => break,
            From::Edge(before) => {
                steps.push((before, at, None));
                at = before;
            }
            From::Loop { entry, cut, passes, pass } => {
                steps.push((cut, at, Some((passes, pass))));
                at = entry;
            }
        }
    }
    lines.push(format!("{indent}from  {}", walker.place(body.nodes[at].0)));
    for (from, to, through_loop) in steps.into_iter().rev() {
        if let Some((passes, pass)) = through_loop {
            if passes.saturating_mul(pass) >= least {
                let place = walker.place(body.nodes[from].0);
                lines.push(format!(
                    "{indent}{:>6}  {passes} passes of {pass} at {place}",
                    passes.saturating_mul(pass)
                ));
            }
            continue;
        }
        let steps = body.steps[from].iter().filter(|step| step.to == to && step.weight.is_some());
        let Some(step) = steps.max_by_key(|step| step.weight) else { continue };
        let weight = step.weight.unwrap_or(0);
        if let Via::Call(callee, exit) = &step.via
            && weight >= least
        {
            let place = walker.place(body.nodes[from].0);
            lines
                .push(format!("{indent}{weight:>6}  {} from {place}", short(walker.code.name(callee.entry))));
            inside(walker, callee, *exit, least, depth + 1, lines);
        }
    }
    lines.push(format!("{indent}to    {}", walker.place(body.nodes[node].0)));
}

/// The longest way through a callee.
fn inside(
    walker: &Walker<'_>,
    callee: &Rc<Summary>,
    exit: super::state::Machine,
    least: u64,
    depth: usize,
    lines: &mut Vec<String>,
) {
    let body = &callee.body;
    let last = (0..body.nodes.len())
        .filter(|&node| body.nodes[node].1 == exit && body.steps[node].is_empty())
        .filter_map(|node| body.entry.length[node].map(|length| (length, node)))
        .max();
    if let Some((_, node)) = last {
        trace(walker, callee, &body.entry, node, least, depth, lines);
    }
}
