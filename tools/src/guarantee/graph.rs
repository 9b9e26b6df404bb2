//! The longest path through a graph with loops whose passes are bounded.
//!
//! A *bound* says of a node: **of the innermost loop that it is in, no run passes it more often than so.** Nodes with the
//! same name are copies of one place in the source (the compiler unrolls and duplicates), and are counted together.
//!
//! A loop is a strongly connected component. Its bounds are those of its own nodes, which are in no loop inside of it
//! ([`Nest`]). They cut the component: what is left of it must be free of cycles, or its cycles are loops of their own,
//! with bounds of their own. So nothing depends on a loop having one entry, or on its shape. With
//! at most N passes of the cutting nodes, a run through the loop is
//!
//! ```text
//! entry … first cut,  cut … next cut (N - 1 times),  last cut … exit
//! ```
//!
//! and each part is a longest path without the cuts. A component that nobody cuts is [`Unbounded`].
//!
//! Pure. Recursion as deep as loops nest.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::loops::{Nest, components};

pub use super::loops::Node;

/// A bound of the passes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The place in the source: copies have the same one.
    pub name: u64,
    /// Passes of the node in one run of its loop.
    pub passes: u64,
}

/// Nodes, weighted edges, and the bounds of loops.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    edges: Vec<Vec<(Node, u64)>>,
    bounds: HashMap<Node, Bound>,
    nest: Nest,
}

/// How the longest path reaches a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// It starts here.
    Start,
    /// Along an edge from this node.
    Edge(Node),
    /// Through `passes` passes of a loop, each as long as `pass` at the most, of which `cut` is one node; the loop was
    /// entered at `entry`.
    #[allow(missing_docs, reason = "the text above names them")]
    Loop { entry: Node, cut: Node, passes: u64, pass: u64 },
}

/// The longest paths from some starts.
#[derive(Clone, Debug)]
pub struct Longest {
    /// Their length, for each node that is reached.
    pub length: Vec<Option<u64>>,
    /// How each is reached.
    pub from: Vec<From>,
}

/// A loop without a bound: its nodes, its own ones first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbounded(pub Vec<Node>);

impl Graph {
    /// A graph without edges whose nodes are in these loops.
    #[must_use]
    pub fn new(nodes: usize, nest: Nest) -> Self {
        Self { edges: vec![Vec::new(); nodes], bounds: HashMap::new(), nest }
    }

    /// Adds an edge.
    pub fn edge(&mut self, from: Node, to: Node, weight: u64) {
        self.edges[from].push((to, weight));
    }

    /// Bounds the loop that `node` is in.
    pub fn bound(&mut self, node: Node, bound: Bound) {
        self.bounds.insert(node, bound);
    }

    /// The longest paths from `starts`, each of which has a length already.
    ///
    /// # Errors
    /// At a loop that nobody bounds.
    pub fn longest(&self, starts: &[(Node, u64)]) -> Result<Longest, Unbounded> {
        let mut found =
            Longest { length: vec![None; self.edges.len()], from: vec![From::Start; self.edges.len()] };
        for &(node, length) in starts {
            found.reach(node, length, From::Start);
        }
        let all = Part { inside: (0..self.edges.len()).collect(), cut: Vec::new() };
        self.run(&all, &mut found)?;
        Ok(found)
    }

    /// All loops at the outermost level, for telling which have no bound.
    #[must_use]
    pub fn unbounded(&self) -> Vec<Unbounded> {
        let all = Part { inside: (0..self.edges.len()).collect(), cut: Vec::new() };
        let mut found = Vec::new();
        self.find_unbounded(&all, &mut found);
        found
    }

    fn find_unbounded(&self, part: &Part, found: &mut Vec<Unbounded>) {
        for component in self.components(part) {
            if !self.is_loop(&component, part) {
                continue;
            }
            match self.cut(&component) {
                Ok(cut) => {
                    let inner = Part { inside: component.clone(), cut: cut.nodes };
                    self.find_unbounded(&inner, found);
                }
                Err(loop_) => found.push(loop_),
            }
        }
    }

    /// Extends the paths that end in `part` through it.
    fn run(&self, part: &Part, found: &mut Longest) -> Result<(), Unbounded> {
        let of = self.member(part);
        let mut components = self.components(part);
        // Tarjan's order is that of the last: sinks first.
        components.reverse();
        for component in components {
            if component.iter().all(|&node| found.length[node].is_none()) {
                continue;
            }
            if self.is_loop(&component, part) {
                self.run_loop(&component, part, found)?;
            }
            let here: std::collections::HashSet<Node> = component.iter().copied().collect();
            for &node in &component {
                let Some(length) = found.length[node] else { continue };
                for &(to, weight) in &self.edges[node] {
                    if of[to] && !here.contains(&to) && !part.cut.contains(&to) {
                        found.reach(to, length.saturating_add(weight), From::Edge(node));
                    }
                }
            }
        }
        Ok(())
    }

    /// Extends the paths that end in a loop through the loop.
    fn run_loop(&self, component: &[Node], part: &Part, found: &mut Longest) -> Result<(), Unbounded> {
        let cut = self.cut(component)?;
        let inner = Part { inside: component.to_vec(), cut: cut.nodes.clone() };
        let blank =
            || Longest { length: vec![None; self.edges.len()], from: vec![From::Start; self.edges.len()] };

        // To the first cut, and to everything that is reached without one.
        let mut before = blank();
        let mut first: Option<(u64, Node)> = None;
        for &node in component {
            let Some(length) = found.length[node] else { continue };
            if cut.nodes.contains(&node) {
                first = first.max(Some((length, node)));
            } else {
                before.reach(node, length, found.from[node]);
            }
        }
        self.run(&inner, &mut before)?;
        let arrival = |paths: &Longest| {
            let mut best: Option<(u64, Node)> = None;
            for &node in component {
                let Some(length) = paths.length[node] else { continue };
                for &(to, weight) in &self.edges[node] {
                    if cut.nodes.contains(&to) && !part.cut.contains(&to) {
                        best = best.max(Some((length.saturating_add(weight), node)));
                    }
                }
            }
            best
        };
        let first = first.max(arrival(&before));
        for &node in component {
            if let Some(length) = before.length[node]
                && (found.length[node].is_none_or(|old| length > old))
            {
                (found.length[node], found.from[node]) = (Some(length), before.from[node]);
            }
        }
        let (Some((first, entry)), true) = (first, cut.passes > 0) else {
            // The cut is never reached, or never passed: what was reached with it is not.
            for &node in &cut.nodes {
                found.length[node] = None;
            }
            return Ok(());
        };

        // From cut to cut, and from the last one on.
        let mut round = blank();
        for &node in &cut.nodes {
            round.reach(node, 0, From::Start);
        }
        self.run(&inner, &mut round)?;
        let pass = arrival(&round).map_or(0, |(length, _)| length);
        let last = first.saturating_add((cut.passes - 1).saturating_mul(pass));
        let by = From::Loop { entry, cut: cut.nodes[0], passes: cut.passes, pass };
        for &node in component {
            if let Some(length) = round.length[node] {
                let from = if round.from[node] == From::Start { by } else { round.from[node] };
                found.reach(node, last.saturating_add(length), from);
            }
        }
        Ok(())
    }

    /// The nodes that cut a loop, and how often they are passed.
    fn cut(&self, component: &[Node]) -> Result<Cut, Unbounded> {
        let own = self.nest.own(component);
        let mut passes: HashMap<u64, u64> = HashMap::new();
        let mut nodes: Vec<Node> = Vec::new();
        for &node in &own {
            if let Some(bound) = self.bounds.get(&node) {
                nodes.push(node);
                let known = passes.entry(bound.name).or_insert(0);
                *known = (*known).max(bound.passes);
            }
        }
        if nodes.is_empty() {
            let mut all = own.clone();
            all.extend(component.iter().filter(|node| !own.contains(node)));
            return Err(Unbounded(all));
        }
        Ok(Cut { nodes, passes: passes.values().sum() })
    }

    fn is_loop(&self, component: &[Node], part: &Part) -> bool {
        component.len() > 1
            || self.edges[component[0]].iter().any(|&(to, _)| to == component[0] && !part.cut.contains(&to))
    }

    fn member(&self, part: &Part) -> Vec<bool> {
        let mut of = vec![false; self.edges.len()];
        part.inside.iter().for_each(|&node| of[node] = true);
        of
    }

    fn components(&self, part: &Part) -> Vec<Vec<Node>> {
        let mut gone = vec![false; self.edges.len()];
        part.cut.iter().for_each(|&node| gone[node] = true);
        components(self.edges.len(), &part.inside, &gone, |node, at| {
            self.edges[node].get(at).map(|edge| edge.0)
        })
    }
}

/// A part of the graph: these nodes, without the edges into those that are cut.
struct Part {
    inside: Vec<Node>,
    cut: Vec<Node>,
}

struct Cut {
    nodes: Vec<Node>,
    passes: u64,
}

impl Longest {
    fn reach(&mut self, node: Node, length: u64, from: From) {
        if self.length[node].is_none_or(|old| length > old) {
            (self.length[node], self.from[node]) = (Some(length), from);
        }
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
