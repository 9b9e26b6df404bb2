//! The order of lock classes as a graph: an edge `a → b` says that `b` was taken while `a` was held.
//!
//! Each edge keeps the two places of its first observation, so that a report can name the sites of both
//! orders. Edges are kept in both directions, as bits, so a search is word operations.
//!
//! **Bound of a search:** each class is expanded once, 256 × 4 words; of a look-up: the edge table is at most
//! three quarters full. Searches are made for a new edge or a new use only.
//!
//! Invariant: `after` and `before` are each other's transpose, and an edge is in the table exactly if its bit
//! is set. That the graph has no cycle is the checker's invariant.
//! Context: any; plain data, owned by the checker. Locks: none.
#![forbid(unsafe_code)]

use super::class::{CLASSES_MAX, ClassId, Place};
use super::set::ClassSet;

/// Slots of the edge table, a power of two.
const SLOTS: usize = 2048;
/// The most edges there can be.
pub const EDGES_MAX: usize = SLOTS / 4 * 3;

/// `to` was taken while `from` was held.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// The class that was held.
    pub from: ClassId,
    /// The class that was taken.
    pub to: ClassId,
    /// Where the held one had been taken.
    pub held_at: Place,
    /// Where the other one was taken.
    pub taken_at: Place,
}

/// Which way to follow the edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a class to what is taken inside it.
    Inwards,
    /// From a class to what it is taken inside of.
    Outwards,
}

/// See the module's text.
pub struct Graph {
    after: [ClassSet; CLASSES_MAX],
    before: [ClassSet; CLASSES_MAX],
    edges: [Option<Edge>; SLOTS],
    len: usize,
    /// Of the last search: whence each class was reached.
    parent: [ClassId; CLASSES_MAX],
}

impl Graph {
    /// No edges.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            after: [ClassSet::EMPTY; CLASSES_MAX],
            before: [ClassSet::EMPTY; CLASSES_MAX],
            edges: [None; SLOTS],
            len: 0,
            parent: [ClassId::FIRST; CLASSES_MAX],
        }
    }

    /// How many edges there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is an edge from `from` to `to`.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, from: ClassId, to: ClassId) -> bool {
        self.after[from.index()].contains(to)
    }

    /// Adds a new edge. Returns whether there was room.
    pub fn add(&mut self, edge: Edge) -> bool {
        debug_assert!(!self.has(edge.from, edge.to), "{edge:?} is there already");
        if self.len == EDGES_MAX {
            return false;
        }
        let slot = self.slot(edge.from, edge.to);
        self.edges[slot] = Some(edge);
        self.len += 1;
        self.after[edge.from.index()].insert(edge.to);
        self.before[edge.to.index()].insert(edge.from);
        true
    }

    /// The edge from `from` to `to`.
    #[must_use]
    pub fn edge(&self, from: ClassId, to: ClassId) -> Option<&Edge> {
        self.edges[self.slot(from, to)].as_ref()
    }

    /// The edges from `index` on in the order of the table, with the index behind the one that is returned: to
    /// walk them with the checker unlocked in between.
    #[must_use]
    pub fn edge_from(&self, index: usize) -> Option<(usize, Edge)> {
        let (at, edge) = self.edges.iter().enumerate().skip(index).find_map(|(i, e)| Some((i, (*e)?)))?;
        Some((at + 1, edge))
    }

    /// The slot in which the edge is, or would be. There is always a free one, so it ends.
    fn slot(&self, from: ClassId, to: ClassId) -> usize {
        let mut slot = (from.index() * 67 + to.index() * 257) % SLOTS;
        while self.edges[slot].is_some_and(|edge| edge.from != from || edge.to != to) {
            slot = (slot + 1) % SLOTS;
        }
        slot
    }

    /// Follows the edges from `start`, breadth first, to the first class of `goals`; `start` itself counts.
    pub fn search(&mut self, start: ClassId, direction: Direction, goals: &ClassSet) -> Option<ClassId> {
        let edges = match direction {
            Direction::Inwards => &self.after,
            Direction::Outwards => &self.before,
        };
        let mut seen = ClassSet::of(start);
        let mut level = seen;
        self.parent[start.index()] = start;
        while !level.is_empty() {
            if let Some(goal) = level.and(goals).pop() {
                return Some(goal);
            }
            let mut next = ClassSet::EMPTY;
            while let Some(class) = level.pop() {
                let mut fresh = edges[class.index()].minus(&seen);
                seen.add(&fresh);
                next.add(&fresh);
                while let Some(neighbour) = fresh.pop() {
                    self.parent[neighbour.index()] = class;
                }
            }
            level = next;
        }
        None
    }

    /// A shortest way from `from` inwards to `to`, edge by edge; nothing if there is none.
    pub fn way(&mut self, from: ClassId, to: ClassId) -> impl Iterator<Item = Edge> + '_ {
        // Searched from its end, so that the parents lead forwards.
        let found = self.search(to, Direction::Outwards, &ClassSet::of(from)).is_some();
        let mut at = if found { from } else { to };
        core::iter::from_fn(move || {
            let next = self.parent[at.index()];
            let edge = if at == to { None } else { self.edge(at, next).copied() };
            at = next;
            edge
        })
    }
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}
