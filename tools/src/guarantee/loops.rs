//! The loops of a function: strongly connected components, and how they nest.
//!
//! A loop is a component. What is left of it without its *entries*, the nodes that are reached from outside, are the loops
//! inside of it. For the code that a compiler makes of structured source these are its natural loops; a loop with several
//! entries is one loop all the same.
//!
//! Pure.
#![forbid(unsafe_code)]

/// Index of a node.
pub type Node = usize;

/// Which loop each node is in, and which loop each loop is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nest {
    /// The innermost loop of a node.
    home: Vec<Option<usize>>,
    /// The loop around a loop.
    parent: Vec<Option<usize>>,
}

impl Nest {
    /// The loops of a graph that is entered at `start`.
    #[must_use]
    pub fn of(edges: &[Vec<Node>], start: Node) -> Self {
        let mut nest = Self { home: vec![None; edges.len()], parent: Vec::new() };
        let all: Vec<Node> = (0..edges.len()).collect();
        nest.find(edges, start, &all, &vec![false; edges.len()], None);
        nest
    }

    fn find(
        &mut self,
        edges: &[Vec<Node>],
        start: Node,
        inside: &[Node],
        gone: &[bool],
        parent: Option<usize>,
    ) {
        let next = |node: Node, at: usize| edges[node].get(at).copied();
        for component in components(edges.len(), inside, gone, next) {
            let itself = |node: Node| edges[node].contains(&node) && !gone[node];
            if component.len() == 1 && !itself(component[0]) {
                continue;
            }
            let this = self.parent.len();
            self.parent.push(parent);
            let mut member = vec![false; edges.len()];
            for &node in &component {
                member[node] = true;
                self.home[node] = Some(this);
            }
            let mut without = gone.to_vec();
            let mut entered = false;
            for (from, to) in
                edges.iter().enumerate().flat_map(|(from, to)| to.iter().map(move |&to| (from, to)))
            {
                if member[to] && !member[from] {
                    (without[to], entered) = (true, true);
                }
            }
            if member[start] || !entered {
                let first = if member[start] { start } else { component[0] };
                without[first] = true;
            }
            self.find(edges, start, &component, &without, Some(this));
        }
    }

    /// The same loops for other nodes, each of which stands for one of these.
    #[must_use]
    pub fn spread(&self, stands_for: impl Iterator<Item = Node>) -> Self {
        Self { home: stands_for.map(|node| self.home[node]).collect(), parent: self.parent.clone() }
    }

    /// Of these nodes, which lie in one loop together, those that are in no loop inside of the smallest such.
    #[must_use]
    pub fn own(&self, nodes: &[Node]) -> Vec<Node> {
        let chain = |node: Node| {
            let mut chain: Vec<usize> =
                std::iter::successors(self.home[node], |&of| self.parent[of]).collect();
            chain.reverse();
            chain
        };
        let mut common = chain(nodes[0]);
        for &node in &nodes[1..] {
            let other = chain(node);
            let same = common.iter().zip(&other).take_while(|(a, b)| a == b).count();
            common.truncate(same);
        }
        let smallest = common.last().copied();
        nodes.iter().copied().filter(|&node| self.home[node] == smallest).collect()
    }
}

/// The strongly connected components of the nodes `inside`, edges to those that are `gone` left out; a component comes
/// before those that lead to it. `next` gives a node's successors one by one. (Tarjan, without recursion.)
pub fn components(
    count: usize,
    inside: &[Node],
    gone: &[bool],
    next: impl Fn(Node, usize) -> Option<Node>,
) -> Vec<Vec<Node>> {
    const NEW: usize = usize::MAX;
    let mut member = vec![false; count];
    inside.iter().for_each(|&node| member[node] = true);
    let mut index = vec![NEW; count];
    let mut low = vec![0; count];
    let mut on_stack = vec![false; count];
    let (mut stack, mut found, mut order) = (Vec::new(), Vec::new(), 0);
    for &root in inside {
        if index[root] != NEW {
            continue;
        }
        let mut work = vec![(root, 0)];
        while let Some((node, at)) = work.last_mut() {
            let node = *node;
            if *at == 0 {
                (index[node], low[node]) = (order, order);
                order += 1;
                stack.push(node);
                on_stack[node] = true;
            }
            if let Some(to) = next(node, *at) {
                *at += 1;
                if member[to] && !gone[to] {
                    if index[to] == NEW {
                        work.push((to, 0));
                    } else if on_stack[to] {
                        low[node] = low[node].min(index[to]);
                    }
                }
                continue;
            }
            work.pop();
            if let Some(&(before, _)) = work.last() {
                low[before] = low[before].min(low[node]);
            }
            if low[node] == index[node] {
                let at = stack.iter().rposition(|&member| member == node).unwrap_or(0);
                let component = stack.split_off(at);
                component.iter().for_each(|&member| on_stack[member] = false);
                found.push(component);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nest(nodes: usize, edges: &[(Node, Node)]) -> Nest {
        let mut lists = vec![Vec::new(); nodes];
        edges.iter().for_each(|&(from, to)| lists[from].push(to));
        Nest::of(&lists, 0)
    }

    #[test]
    fn a_straight_line_has_no_loop() {
        assert_eq!(nest(3, &[(0, 1), (1, 2)]).home, [None; 3]);
    }

    #[test]
    fn a_loop_inside_of_a_loop_is_its_own() {
        // 0 → 1 (outer head) → 2 (inner, itself) → 3 → 1; 3 → 4
        let nest = nest(5, &[(0, 1), (1, 2), (2, 2), (2, 3), (3, 1), (3, 4)]);
        assert_eq!(nest.home[0], None);
        assert_eq!(nest.home[1], nest.home[3]);
        assert_ne!(nest.home[1], nest.home[2]);
        assert_eq!(nest.parent[nest.home[2].unwrap()], nest.home[1]);
        assert_eq!(nest.own(&[1, 2, 3]), [1, 3]);
        assert_eq!(nest.own(&[2]), [2]);
    }

    #[test]
    fn a_loop_with_two_entries_is_one_loop() {
        let nest = nest(4, &[(0, 1), (0, 2), (1, 2), (2, 1), (2, 3)]);
        assert_eq!(nest.home[1], nest.home[2]);
        assert_eq!(nest.parent.len(), 1);
    }

    #[test]
    fn the_entry_of_the_function_may_be_the_head_of_a_loop() {
        let nest = nest(2, &[(0, 1), (1, 0)]);
        assert_eq!(nest.own(&[0, 1]), [0, 1]);
        assert_eq!(nest.parent.len(), 1);
    }

    #[test]
    fn a_part_of_a_loop_that_is_entered_elsewhere_belongs_to_that_loop() {
        // The whole is one loop with head 1 and a shortcut 2 → 1; a state that is met at 3 sees 1, 2, 3 alike.
        let nest = nest(4, &[(0, 1), (1, 2), (2, 1), (2, 3), (3, 1)]);
        let spread = nest.spread([1, 2, 3].into_iter());
        assert_eq!(spread.own(&[0, 1, 2]), [0, 1, 2]);
    }

    #[test]
    fn components_come_before_those_that_lead_to_them() {
        let edges = [vec![1], vec![2], vec![1, 3], vec![]];
        let found = components(4, &[0, 1, 2, 3], &[false; 4], |node, at| edges[node].get(at).copied());
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], [3]);
        assert_eq!(found[2], [0]);
        let without = components(4, &[0, 1, 2, 3], &[false, true, false, false], |node, at| {
            edges[node].get(at).copied()
        });
        assert_eq!(without.len(), 4, "an edge to a node that is gone makes no loop");
    }
}
