//! What the exploration of one function meets: nodes, steps, and the ways out.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::{End, Exit, Step, Summary};
use crate::guarantee::graph::Node;
use crate::guarantee::loops::Nest;
use crate::guarantee::state::{Machine, Registers};

/// What an exploration has met.
#[derive(Default)]
pub(super) struct Found {
    pub(super) nodes: Vec<(u64, Machine)>,
    pub(super) registers: Vec<Registers>,
    pub(super) steps: Vec<Vec<Step>>,
    pub(super) queued: Vec<bool>,
    pub(super) index: HashMap<(u64, Machine), Node>,
    pub(super) work: Vec<Node>,
    pub(super) exits: BTreeMap<Node, Vec<(Machine, Exit)>>,
    pub(super) ends: BTreeSet<(Node, End)>,
    pub(super) switches: BTreeMap<Node, u64>,
    pub(super) calls: BTreeMap<Node, Vec<Rc<Summary>>>,
}

impl Found {
    /// A path arrives at an instruction in a state.
    pub(super) fn meet(&mut self, pc: u64, machine: Machine, registers: &Registers) -> Node {
        if let Some(&node) = self.index.get(&(pc, machine)) {
            if self.registers[node].join(registers) && !self.queued[node] {
                self.queued[node] = true;
                self.work.push(node);
            }
            return node;
        }
        let node = self.nodes.len();
        self.nodes.push((pc, machine));
        self.registers.push(registers.clone());
        self.steps.push(Vec::new());
        self.queued.push(true);
        self.index.insert((pc, machine), node);
        self.work.push(node);
        node
    }

    /// The loops of the function. Those of its instructions, whatever the state: a state that is met in the middle of a
    /// loop is no entry of it.
    pub(super) fn nest(&self) -> Nest {
        let mut index: BTreeMap<u64, Node> = BTreeMap::new();
        for &(pc, _) in &self.nodes {
            let next = index.len();
            index.entry(pc).or_insert(next);
        }
        let mut edges: Vec<Vec<Node>> = vec![Vec::new(); index.len()];
        for (node, steps) in self.steps.iter().enumerate() {
            let from = index[&self.nodes[node].0];
            for step in steps {
                let to = index[&self.nodes[step.to].0];
                if !edges[from].contains(&to) {
                    edges[from].push(to);
                }
            }
        }
        // The first node is the entry.
        Nest::of(&edges, 0).spread(self.nodes.iter().map(|(pc, _)| index[pc]))
    }

    /// The nodes from which a path leads out, or to an opening.
    pub(super) fn useful(&self, closed: impl Fn(Machine) -> bool) -> Vec<bool> {
        let count = self.nodes.len();
        let mut before: Vec<Vec<Node>> = vec![Vec::new(); count];
        for (node, steps) in self.steps.iter().enumerate() {
            steps.iter().for_each(|step| before[step.to].push(node));
        }
        let mut useful = vec![false; count];
        let mut work: Vec<Node> = (0..count).filter(|&node| !closed(self.nodes[node].1)).collect();
        work.extend(self.exits.keys().chain(self.switches.keys()));
        work.extend(self.ends.iter().map(|(node, _)| node));
        while let Some(node) = work.pop() {
            if !std::mem::replace(&mut useful[node], true) {
                work.extend(&before[node]);
            }
        }
        useful
    }
}
