use super::*;

/// A graph that is entered at node 0.
fn graph(nodes: usize, edges: &[(Node, Node, u64)], bounds: &[(Node, u64, u64)]) -> Graph {
    let mut plain = vec![Vec::new(); nodes];
    edges.iter().for_each(|&(from, to, _)| plain[from].push(to));
    let mut graph = Graph::new(nodes, Nest::of(&plain, 0));
    edges.iter().for_each(|&(from, to, weight)| graph.edge(from, to, weight));
    bounds.iter().for_each(|&(node, name, passes)| graph.bound(node, Bound { name, passes }));
    graph
}

fn length(graph: &Graph, to: Node) -> Option<u64> {
    graph.longest(&[(0, 0)]).unwrap().length[to]
}

#[test]
fn the_longer_way_counts() {
    let graph = graph(4, &[(0, 1, 1), (0, 2, 5), (1, 3, 1), (2, 3, 1)], &[]);
    assert_eq!(length(&graph, 3), Some(6));
    assert_eq!(graph.longest(&[(0, 10)]).unwrap().length[3], Some(16));
    assert_eq!(graph.longest(&[(1, 0)]).unwrap().length[2], None);
}

#[test]
fn a_loop_counts_its_passes() {
    // 0 → 1 (bounded) → 2 → 1, 2 → 3: the body is 1 and 2, passed four times at most.
    let graph = graph(4, &[(0, 1, 1), (1, 2, 10), (2, 1, 1), (2, 3, 1)], &[(1, 7, 4)]);
    assert_eq!(length(&graph, 3), Some(1 + 4 * 10 + 3 + 1));
}

#[test]
fn a_test_in_front_of_the_body_is_passed_once_more_without_it() {
    // 1 is the test, 2 the bounded body.
    let graph = graph(4, &[(0, 1, 1), (1, 2, 1), (2, 1, 10), (1, 3, 1)], &[(2, 7, 3)]);
    assert_eq!(length(&graph, 3), Some(1 + 3 * (1 + 10) + 1));
}

#[test]
fn a_loop_without_a_bound_is_an_error_that_names_it() {
    let graph = graph(4, &[(0, 1, 1), (1, 2, 1), (2, 1, 1), (2, 3, 1)], &[]);
    let Unbounded(nodes) = graph.longest(&[(0, 0)]).unwrap_err();
    assert_eq!(nodes.len(), 2);
    assert!(nodes.contains(&1) && nodes.contains(&2));
    assert_eq!(graph.unbounded().len(), 1);
    assert!(graph.longest(&[(3, 0)]).is_ok(), "nobody comes to the loop");
}

#[test]
fn the_bound_of_an_inner_loop_does_not_bound_the_outer_one() {
    let edges = [(0, 1, 1), (1, 2, 1), (2, 2, 5), (2, 3, 1), (3, 1, 1), (3, 4, 1)];
    let inner = graph(5, &edges, &[(2, 7, 3)]);
    assert_eq!(inner.longest(&[(0, 0)]).unwrap_err().0.len(), 3);
    let both = graph(5, &edges, &[(2, 7, 3), (1, 8, 2)]);
    // Two passes of: 1 to 2, two times back to 2, on to 3; between them 3 to 1.
    assert_eq!(length(&both, 4), Some(1 + 2 * (1 + 2 * 5 + 1) + 1 + 1));
}

#[test]
fn copies_of_one_place_share_its_passes_and_other_places_add_theirs() {
    // The compiler has unrolled the loop: both halves are one place.
    let edges = [(0, 1, 1), (1, 2, 10), (2, 1, 10), (1, 3, 1), (2, 3, 1)];
    assert_eq!(length(&graph(4, &edges, &[(1, 7, 4), (2, 7, 4)]), 3), Some(1 + 3 * 10 + 1));
    assert_eq!(length(&graph(4, &edges, &[(1, 7, 4), (2, 8, 4)]), 3), Some(1 + 7 * 10 + 1));
}

#[test]
fn a_loop_with_two_entries_is_bounded_like_any_other() {
    let edges = [(0, 1, 1), (0, 2, 3), (1, 2, 10), (2, 1, 10), (2, 3, 1)];
    assert_eq!(graph(4, &edges, &[]).unbounded().len(), 1);
    // At the most: in by 2, then five times through 1.
    assert_eq!(length(&graph(4, &edges, &[(1, 7, 5)]), 3), Some(3 + 10 + 4 * 20 + 10 + 1));
}

#[test]
fn a_cycle_that_avoids_the_bounded_place_is_found() {
    // 1 → 2 → 1 passes 2; 1 → 3 → 1 does not.
    let edges = [(0, 1, 1), (1, 2, 1), (2, 1, 1), (1, 3, 1), (3, 1, 1), (1, 4, 1)];
    let graph = graph(5, &edges, &[(2, 7, 5)]);
    let Unbounded(nodes) = graph.longest(&[(0, 0)]).unwrap_err();
    assert!(nodes.contains(&3), "{nodes:?}");
}

#[test]
fn what_is_never_passed_is_not_reached() {
    let edges = [(0, 1, 1), (1, 2, 1), (2, 1, 1), (1, 3, 1)];
    let graph = graph(4, &edges, &[(2, 7, 0)]);
    assert_eq!(length(&graph, 3), Some(2));
    assert_eq!(length(&graph, 2), None);
}

#[test]
fn a_path_can_be_followed_back_to_its_start() {
    let graph = graph(4, &[(0, 1, 1), (1, 2, 10), (2, 1, 1), (2, 3, 1)], &[(1, 7, 4)]);
    let found = graph.longest(&[(0, 0)]).unwrap();
    assert_eq!(found.from[3], From::Edge(2));
    assert_eq!(found.from[2], From::Edge(1));
    assert_eq!(found.from[1], From::Loop { entry: 1, cut: 1, passes: 4, pass: 11 });
    assert_eq!(found.from[0], From::Start);
}
