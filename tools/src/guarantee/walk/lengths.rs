//! How long the paths of one function are: from its exploration to its summary.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::rc::Rc;

use super::found::Found;
use super::{Begin, Body, End, Exit, Section, Summary, Walker};
use crate::guarantee::graph::{Bound, From, Graph, Longest, Node, Unbounded};
use crate::guarantee::state::Machine;

impl Walker<'_> {
    /// What was met, as an answer for callers.
    pub(super) fn summarise(&mut self, entry: u64, machine: Machine, mut found: Found) -> Rc<Summary> {
        let count = found.nodes.len();
        let useful = found.useful(|machine| self.kind.closed(machine));
        let mut graph = Graph::new(count, found.nest());
        let (mut starts, mut resumptions) = (Vec::new(), Vec::new());
        for node in (0..count).filter(|&node| useful[node]) {
            for step in found.steps[node].iter().filter(|step| useful[step.to]) {
                if let Some(weight) = step.weight {
                    graph.edge(node, step.to, weight);
                }
                starts.extend(step.start.map(|start| (step.to, start)));
                resumptions.extend(step.resumed.map(|start| (step.to, start)));
            }
            let pc = found.nodes[node].0;
            if let Some(mut bound) = self.code.bound(pc) {
                if let Some((entry, passes)) = self.limits.passes(|pattern| self.is_within(pc, pattern)) {
                    self.used.insert(entry.to_owned());
                    bound.passes = passes;
                }
                graph.bound(node, bound);
            }
        }
        for step in found.steps.iter_mut() {
            step.retain(|step| useful[step.to]);
        }
        self.bound_by_limits(&mut graph, &found);
        let from_entry: Vec<_> =
            (self.kind.closed(machine) && useful[0]).then_some((0, 0)).into_iter().collect();
        let none = || Longest { length: vec![None; count], from: vec![From::Start; count] };
        let entry_paths = graph.longest(&from_entry).unwrap_or_else(|_| none());
        let local_paths = graph.longest(&starts).unwrap_or_else(|_| none());
        let resumed_paths = graph.longest(&resumptions).unwrap_or_else(|_| none());

        let mut exits: BTreeMap<Machine, Exit> = BTreeMap::new();
        for (&node, ways) in found.exits.iter().filter(|(node, _)| useful[**node]) {
            for (exit, way) in ways {
                let known = exits.entry(*exit).or_default();
                let through = entry_paths.length[node].zip(way.through).map(|(a, b)| a + b);
                let tail = local_paths.length[node].zip(way.through).map(|(a, b)| a + b).max(way.tail);
                let resumed =
                    resumed_paths.length[node].zip(way.through).map(|(a, b)| a + b).max(way.resumed);
                if self.kind.closed(*exit) {
                    known.through = known.through.max(through);
                    known.tail = known.tail.max(tail);
                    known.resumed = known.resumed.max(resumed);
                }
            }
        }
        // On one way the mask is restored, on another it is not, because it says "masked" and they are: the same.
        for exit in exits.keys().rev().copied().collect::<Vec<_>>() {
            if let Some(same) = exit.with_mask_dropped().filter(|same| exits.contains_key(same))
                && let Some(length) = exits.remove(&exit)
            {
                let known = exits.entry(same).or_default();
                known.through = known.through.max(length.through);
                known.tail = known.tail.max(length.tail);
                known.resumed = known.resumed.max(length.resumed);
            }
        }
        let mut summary = Summary {
            entry,
            exits,
            heads: BTreeMap::new(),
            body: Body {
                nodes: found.nodes.clone(),
                steps: found.steps.clone(),
                entry: entry_paths,
                local: local_paths,
                resumed: resumed_paths,
            },
        };
        let mut ended: Vec<(Node, End, u64, Option<Rc<Summary>>)> = Vec::new();
        ended.extend(found.ends.iter().map(|&(node, end)| (node, end, 0, None)));
        ended.extend(found.switches.iter().map(|(&node, &length)| (node, End::Switch, length, None)));
        for (&node, callees) in &found.calls {
            for callee in callees {
                for (&end, &(length, _)) in &callee.heads {
                    ended.push((node, end, 1 + length, Some(callee.clone())));
                }
            }
        }
        ended.retain(|(node, ..)| useful[*node]);
        for (node, end, more, _) in &ended {
            if let Some(length) = summary.body.entry.length[*node] {
                let head = summary.heads.entry(*end).or_insert((0, *node));
                *head = (*head).max((length + more, *node));
            }
        }
        let summary = Rc::new(summary);
        for (node, end, more, inside) in ended {
            for (begin, paths) in
                [(Begin::Closed, &summary.body.local), (Begin::Switch, &summary.body.resumed)]
            {
                if let Some(length) = paths.length[node] {
                    let (length, inside) = (length + more, inside.clone());
                    self.sections.push(Section {
                        length,
                        begin,
                        end,
                        summary: summary.clone(),
                        node,
                        inside,
                    });
                }
            }
        }
        summary
    }

    /// Bounds the loops that the code does not, by the table.
    fn bound_by_limits(&mut self, graph: &mut Graph, found: &Found) {
        // Each round bounds at least one loop; inner ones come to light when the outer ones are bounded.
        for _ in 0..64 {
            let mut changed = false;
            let mut open = Vec::new();
            for Unbounded(nodes) in graph.unbounded() {
                let chain = self.loop_functions(&nodes, found);
                // The innermost function that is named.
                let limit = chain.iter().find_map(|function| {
                    let left_out = self.limits.left_out(function).map(|name| (name, 1));
                    self.limits.loops().find(|(pattern, _)| function.contains(pattern)).or(left_out)
                });
                match limit {
                    Some((pattern, passes)) => {
                        self.used.insert(pattern.to_owned());
                        // The test in front of the body is passed once more.
                        let bound = Bound { name: u64::MAX - nodes[0] as u64, passes: passes + 1 };
                        graph.bound(nodes[0], bound);
                        changed = true;
                    }
                    None => open.push(nodes),
                }
            }
            if !changed {
                for nodes in open {
                    let pc = found.nodes[nodes[0]].0;
                    let chain = self.loop_functions(&nodes, found);
                    if let Some(call) = self.calls.last_mut() {
                        call.1 = pc;
                    }
                    let text =
                        format!("a loop without a bound at {}, in {}", self.place(pc), chain.join(" < "));
                    self.problem(text);
                    // So that the rest can be computed.
                    graph.bound(nodes[0], Bound { name: u64::MAX - nodes[0] as u64, passes: 1 });
                }
                if graph.unbounded().is_empty() {
                    return;
                }
            }
        }
        let text = format!(
            "more loops in each other than the analysis bounds, around {}",
            self.place(found.nodes[0].0)
        );
        self.problem(text);
    }

    /// The functions that a whole loop lies in, the innermost first.
    fn loop_functions(&self, nodes: &[Node], found: &Found) -> Vec<String> {
        let mut common: Option<Vec<String>> = None;
        for &node in nodes {
            let pc = found.nodes[node].0;
            let mut chain: Vec<String> =
                self.names.frames(pc).iter().map(|frame| frame.function.clone()).collect();
            if chain.is_empty() {
                chain.push(self.code.name(pc).to_owned());
            }
            common = Some(match common {
                None => chain,
                Some(before) => {
                    let same =
                        before.iter().rev().zip(chain.iter().rev()).take_while(|(a, b)| a == b).count();
                    chain.split_off(chain.len() - same)
                }
            });
        }
        common.unwrap_or_default()
    }
}
