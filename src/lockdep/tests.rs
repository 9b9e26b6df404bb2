//! The checker against a brute-force oracle, and what its reports say.

use super::*;
use crate::lockdep::graph::Direction;
use crate::lockdep::set::ClassSet;
use proptest::prelude::*;
use std::boxed::Box;
use std::string::{String, ToString};
use std::vec::Vec;

const OPEN: Open = Open { hard: true, soft: true };
const MASKED: Open = Open { hard: false, soft: false };
const BH_OFF: Open = Open { hard: true, soft: false };

#[track_caller]
fn take(
    checker: &mut Checker,
    held: &HeldStack,
    key: &LockKey,
    context: Context,
    open: Open,
) -> Vec<Problem> {
    let mut found = Vec::new();
    let lock = core::ptr::from_ref(key).addr();
    let taking = Taking { key, lock, at: Location::caller(), context, open, tried: false };
    checker.acquire(held, &taking, &mut |problem| found.push(problem.clone()));
    found
}

fn give(checker: &mut Checker, held: &HeldStack, key: &LockKey, open: Open) -> Vec<Problem> {
    let mut found = Vec::new();
    let lock = core::ptr::from_ref(key).addr();
    checker.release(held, key, lock, open, &mut |problem| found.push(problem.clone()));
    found
}

/// One lock inside the other, in thread context, interrupts open; what was reported.
fn nest(checker: &mut Checker, outer: &LockKey, inner: &LockKey) -> Vec<Problem> {
    let held = HeldStack::new();
    let mut found = take(checker, &held, outer, Context::Thread, OPEN);
    found.extend(take(checker, &held, inner, Context::Thread, OPEN));
    found.extend(give(checker, &held, inner, OPEN));
    found.extend(give(checker, &held, outer, OPEN));
    assert!(held.is_empty());
    found
}

fn checker() -> Box<Checker> {
    Box::new(Checker::new())
}

/// The one problem, in words.
#[track_caller]
fn only(found: &[Problem]) -> String {
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].to_string()
}

#[test]
fn two_orders_of_two_locks_are_reported_with_both_pairs_of_places() {
    let mut checker = checker();
    let a = LockKey::new(Kind::Sleep);
    let b = LockKey::new(Kind::Sleep);
    assert!(nest(&mut checker, &a, &b).is_empty());
    assert!(nest(&mut checker, &a, &b).is_empty());
    let found = nest(&mut checker, &b, &a);
    let [Problem::Order { now, known }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((now.outer.made_at, now.inner.made_at), (b.made_at(), a.made_at()));
    assert_eq!(known.steps.len(), 1);
    assert_eq!((known.steps[0].outer.made_at, known.steps[0].inner.made_at), (a.made_at(), b.made_at()));
    let text = found[0].to_string();
    for place in [now.outer.at, now.inner.at, known.steps[0].outer.at, known.steps[0].inner.at] {
        assert!(text.contains(&place.to_string()), "{place} is not in: {text}");
    }
    assert!(nest(&mut checker, &b, &a).is_empty(), "reported once");
    assert!(nest(&mut checker, &a, &b).is_empty(), "the order that was first stays right");
}

#[test]
fn a_cycle_of_three_locks_is_reported_with_its_steps_in_order() {
    let mut checker = checker();
    let (a, b, c) = (LockKey::new(Kind::Sleep), LockKey::new(Kind::Sleep), LockKey::new(Kind::Sleep));
    assert!(nest(&mut checker, &a, &b).is_empty());
    assert!(nest(&mut checker, &b, &c).is_empty());
    let found = nest(&mut checker, &c, &a);
    let [Problem::Order { known, .. }] = &found[..] else { panic!("{found:?}") };
    let steps: Vec<_> = known.steps.iter().map(|s| (s.outer.made_at, s.inner.made_at)).collect();
    assert_eq!(steps, [(a.made_at(), b.made_at()), (b.made_at(), c.made_at())]);
}

#[test]
fn locks_that_are_made_at_one_place_are_one_class() {
    let mut checker = checker();
    let make = || LockKey::new(Kind::Raw);
    let (one, two) = (make(), make());
    let text = only(&nest(&mut checker, &one, &two));
    assert!(text.starts_with("possible deadlock"), "{text}");
    assert_eq!(checker.classes().len(), 1);
    assert!(nest(&mut checker, &two, &one).is_empty(), "reported once");
}

/// As a queue does that has a mutex beside its list's lock.
#[test]
fn locks_of_different_kinds_that_a_constructor_makes_for_its_caller_are_two_classes() {
    #[track_caller]
    fn pair() -> (LockKey, LockKey) {
        (LockKey::new(Kind::Sleep), LockKey::new(Kind::Raw))
    }
    let mut checker = checker();
    let (mutex, list) = pair();
    assert_eq!(mutex.made_at(), list.made_at(), "the place is the caller's");
    assert!(nest(&mut checker, &mutex, &list).is_empty());
    assert_eq!(checker.classes().len(), 2);
}

#[test]
fn a_subclass_may_be_taken_inside_its_class_and_not_the_other_way() {
    let mut checker = checker();
    let make = |subclass| LockKey::with_subclass(Kind::Sleep, subclass);
    let (parent, child) = (make(0), make(1));
    assert!(nest(&mut checker, &parent, &child).is_empty());
    assert!(only(&nest(&mut checker, &child, &parent)).starts_with("lock order inversion"));
}

#[test]
fn a_class_used_in_an_interrupt_and_taken_with_interrupts_open_is_reported_from_either_side() {
    for used_first in [true, false] {
        let mut checker = checker();
        let key = LockKey::new(Kind::Raw);
        let held = HeldStack::new();
        let mut found = Vec::new();
        for used in [used_first, !used_first] {
            let (context, open) = if used { (Context::HardIrq, MASKED) } else { (Context::Thread, OPEN) };
            assert!(found.is_empty());
            found = take(&mut checker, &held, &key, context, open);
            give(&mut checker, &held, &key, open);
        }
        let text = only(&found);
        assert!(text.starts_with("a hard interrupt may wait for what it interrupts"), "{text}");
    }
}

#[test]
fn masked_sections_may_share_a_lock_with_an_interrupt() {
    let mut checker = checker();
    let key = LockKey::new(Kind::Raw);
    let held = HeldStack::new();
    for (context, open) in [(Context::HardIrq, MASKED), (Context::Thread, MASKED), (Context::SoftIrq, MASKED)]
    {
        assert!(take(&mut checker, &held, &key, context, open).is_empty());
        assert!(give(&mut checker, &held, &key, open).is_empty());
    }
}

#[test]
fn a_softirqs_lock_needs_bottom_halves_off_and_no_more() {
    let mut checker = checker();
    let key = LockKey::new(Kind::Raw);
    let held = HeldStack::new();
    for (context, open) in [(Context::SoftIrq, BH_OFF), (Context::Thread, BH_OFF)] {
        assert!(take(&mut checker, &held, &key, context, open).is_empty());
        assert!(give(&mut checker, &held, &key, open).is_empty());
    }
    let text = only(&take(&mut checker, &held, &key, Context::Thread, OPEN));
    assert!(text.starts_with("a softirq may wait"), "{text}");
}

#[test]
fn interrupts_that_are_open_at_the_release_were_open_inside() {
    let mut checker = checker();
    let key = LockKey::new(Kind::Raw);
    let held = HeldStack::new();
    assert!(take(&mut checker, &held, &key, Context::HardIrq, MASKED).is_empty());
    assert!(give(&mut checker, &held, &key, MASKED).is_empty());
    assert!(take(&mut checker, &held, &key, Context::Thread, MASKED).is_empty());
    assert_eq!(give(&mut checker, &held, &key, OPEN).len(), 1);
}

#[test]
fn an_interrupts_lock_that_leads_to_an_open_one_is_reported_with_the_way() {
    let mut checker = checker();
    let (used, between, open) = (LockKey::new(Kind::Raw), LockKey::new(Kind::Raw), LockKey::new(Kind::Raw));
    let held = HeldStack::new();
    assert!(take(&mut checker, &held, &used, Context::HardIrq, MASKED).is_empty());
    give(&mut checker, &held, &used, MASKED);
    assert!(take(&mut checker, &held, &open, Context::Thread, OPEN).is_empty());
    give(&mut checker, &held, &open, OPEN);
    for (outer, inner, expected) in [(&between, &open, 0), (&used, &between, 1)] {
        assert!(take(&mut checker, &held, outer, Context::Thread, MASKED).is_empty());
        let found = take(&mut checker, &held, inner, Context::Thread, MASKED);
        assert_eq!(found.len(), expected, "{found:?}");
        if let [Problem::Interrupted { way, .. }] = &found[..] {
            let steps: Vec<_> = way.steps.iter().map(|s| (s.outer.made_at, s.inner.made_at)).collect();
            assert_eq!(steps, [(used.made_at(), between.made_at()), (between.made_at(), open.made_at())]);
        }
        give(&mut checker, &held, inner, MASKED);
        give(&mut checker, &held, outer, MASKED);
    }
}

#[test]
fn an_interrupts_locks_have_no_order_with_those_it_interrupts() {
    let mut checker = checker();
    let (thread, irq) = (LockKey::new(Kind::Raw), LockKey::new(Kind::Raw));
    let held = HeldStack::new();
    take(&mut checker, &held, &thread, Context::Thread, OPEN);
    assert!(take(&mut checker, &held, &irq, Context::HardIrq, MASKED).is_empty());
    assert!(checker.graph().is_empty());
}

#[test]
fn what_may_sleep_is_not_taken_inside_what_must_not() {
    let kinds = [Kind::Raw, Kind::Spin, Kind::Sleep];
    for outer in kinds {
        for inner in kinds {
            let mut checker = checker();
            let found = nest(&mut checker, &LockKey::new(outer), &LockKey::new(inner));
            assert_eq!(found.len(), usize::from(inner > outer), "{inner} in {outer}: {found:?}");
        }
    }
    let mut checker = checker();
    let mutex = LockKey::new(Kind::Sleep);
    let text = only(&take(&mut checker, &HeldStack::new(), &mutex, Context::SoftIrq, BH_OFF));
    assert!(text.contains("in context SoftIrq"), "{text}");
}

#[test]
fn a_lock_that_was_tried_leads_on_and_is_not_led_to() {
    let mut checker = checker();
    let (a, b) = (LockKey::new(Kind::Sleep), LockKey::new(Kind::Sleep));
    let held = HeldStack::new();
    assert!(nest(&mut checker, &a, &b).is_empty());
    take(&mut checker, &held, &b, Context::Thread, OPEN);
    let lock = core::ptr::from_ref(&a).addr();
    let at = Location::caller();
    let taking = Taking { key: &a, lock, at, context: Context::Thread, open: OPEN, tried: true };
    checker.acquire(&held, &taking, &mut |problem| panic!("{problem}"));
    assert_eq!(held.len(), 2);
    let c = LockKey::new(Kind::Sleep);
    assert!(take(&mut checker, &held, &c, Context::Thread, OPEN).is_empty());
    assert!(only(&nest(&mut checker, &c, &a)).starts_with("lock order inversion"));
}

#[test]
fn a_release_by_somebody_else_is_reported() {
    let mut checker = checker();
    let key = LockKey::new(Kind::Sleep);
    let (mine, theirs) = (HeldStack::new(), HeldStack::new());
    take(&mut checker, &mine, &key, Context::Thread, OPEN);
    assert!(only(&give(&mut checker, &theirs, &key, OPEN)).contains("does not hold it"));
    assert!(give(&mut checker, &mine, &key, OPEN).is_empty());
}

#[test]
fn locks_may_be_released_in_any_order() {
    let mut checker = checker();
    let (a, b, c) = (LockKey::new(Kind::Sleep), LockKey::new(Kind::Sleep), LockKey::new(Kind::Sleep));
    let held = HeldStack::new();
    for key in [&a, &b] {
        assert!(take(&mut checker, &held, key, Context::Thread, OPEN).is_empty());
    }
    assert!(give(&mut checker, &held, &a, OPEN).is_empty());
    assert!(take(&mut checker, &held, &c, Context::Thread, OPEN).is_empty());
    assert_eq!(checker.graph().len(), 2, "a → b and b → c, not a → c");
    assert!(give(&mut checker, &held, &b, OPEN).is_empty());
    assert!(give(&mut checker, &held, &c, OPEN).is_empty());
    assert!(held.is_empty());
}

#[test]
fn what_is_left_at_a_moment_is_reported_once_and_forgotten() {
    let mut checker = checker();
    let (raw, mutex) = (LockKey::new(Kind::Raw), LockKey::new(Kind::Sleep));
    let held = HeldStack::new();
    take(&mut checker, &held, &mutex, Context::Thread, OPEN);
    take(&mut checker, &held, &raw, Context::Thread, OPEN);
    let mut found = Vec::new();
    checker.left(&held, Moment::Switch, |_, kind| kind == Kind::Raw, &mut |p| found.push(p.clone()));
    assert!(only(&found).contains("at a switch to another task"), "{found:?}");
    assert_eq!(held.len(), 1);
    found.clear();
    checker.left(&held, Moment::Exit, |_, _| true, &mut |p| found.push(p.clone()));
    assert!(only(&found).contains("when its task ends"), "{found:?}");
    assert!(held.is_empty());
}

#[test]
fn the_checker_says_so_when_a_table_is_full_and_is_off_from_then_on() {
    let mut checker = checker();
    let held = HeldStack::new();
    let keys: Vec<LockKey> = (0..=255).map(|i| LockKey::with_subclass(Kind::Sleep, i)).collect();
    for key in &keys {
        assert!(take(&mut checker, &held, key, Context::Thread, OPEN).is_empty());
        assert!(give(&mut checker, &held, key, OPEN).is_empty());
    }
    let one_more = LockKey::new(Kind::Sleep);
    assert_eq!(
        only(&take(&mut checker, &held, &one_more, Context::Thread, OPEN)),
        "off from here on: more than 256 lock classes"
    );
    assert!(checker.is_off());
    assert!(nest(&mut checker, &keys[0], &keys[0]).is_empty());
}

#[test]
fn too_deep_a_nesting_turns_the_checker_off() {
    let mut checker = checker();
    let held = HeldStack::new();
    let keys: Vec<LockKey> = (0..=HELD_MAX).map(|i| LockKey::with_subclass(Kind::Sleep, i as u8)).collect();
    let found: Vec<Problem> =
        keys.iter().flat_map(|key| take(&mut checker, &held, key, Context::Thread, OPEN)).collect();
    assert_eq!(only(&found), "off from here on: more than 16 locks held by one task");
}

#[test]
fn a_way_longer_than_is_told_says_how_much_is_missing() {
    let mut checker = checker();
    let keys: Vec<LockKey> = (0..12).map(|i| LockKey::with_subclass(Kind::Sleep, i)).collect();
    for pair in keys.windows(2) {
        assert!(nest(&mut checker, &pair[0], &pair[1]).is_empty());
    }
    let text = only(&nest(&mut checker, &keys[11], &keys[0]));
    assert!(text.contains("and 5 more steps"), "{text}");
}

/// What the checker should know, by the slowest means there are.
#[derive(Default)]
struct Oracle {
    edges: Vec<(usize, usize)>,
    wrong: Vec<(usize, usize)>,
    /// For hard interrupts and softirqs: the classes used in them, those open to them, and what was reported.
    uses: [Uses; 2],
    in_interrupt: Vec<usize>,
}

#[derive(Default)]
struct Uses {
    used: Vec<usize>,
    open: Vec<usize>,
    used_reported: Vec<usize>,
    open_reported: Vec<usize>,
}

/// The kind of a report, without the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Order,
    Recursion,
    Nesting,
    Interrupted(Interrupt),
    InInterrupt,
}

impl Expected {
    fn of(problem: &Problem) -> Self {
        match problem {
            Problem::Order { .. } => Self::Order,
            Problem::Recursion(_) => Self::Recursion,
            Problem::Nesting(_) => Self::Nesting,
            Problem::Interrupted { interrupt, .. } => Self::Interrupted(*interrupt),
            Problem::InInterrupt { .. } => Self::InInterrupt,
            other => panic!("{other}"),
        }
    }
}

const CLASSES: usize = 7;
const KINDS: [Kind; CLASSES] =
    [Kind::Raw, Kind::Raw, Kind::Raw, Kind::Spin, Kind::Spin, Kind::Sleep, Kind::Sleep];
const BOTH: [Interrupt; 2] = [Interrupt::Hard, Interrupt::Soft];

impl Oracle {
    /// Whether there is a way of any length, also of none, over `edges` and one more.
    fn reaches(&self, from: usize, to: usize, more: Option<(usize, usize)>) -> bool {
        let mut reached = [false; CLASSES];
        reached[from] = true;
        for _ in 0..CLASSES {
            for &(a, b) in self.edges.iter().chain(&more) {
                reached[b] |= reached[a];
            }
        }
        reached[to]
    }

    fn contradiction(&self, interrupt: usize, more: Option<(usize, usize)>) -> bool {
        let uses = &self.uses[interrupt];
        uses.used.iter().any(|&u| uses.open.iter().any(|&o| self.reaches(u, o, more)))
    }

    fn acquire(
        &mut self,
        held: &[(usize, Context)],
        class: usize,
        context: Context,
        open: Open,
        tried: bool,
    ) -> Vec<Expected> {
        let mut expected = Vec::new();
        let outers = held.iter().filter(|&&(_, at)| at == context && !tried).map(|&(outer, _)| outer);
        for outer in outers {
            let pair = (outer, class);
            if self.edges.contains(&pair) || self.wrong.contains(&pair) {
                continue;
            }
            let mut fits = true;
            if outer == class {
                expected.push(Expected::Recursion);
                fits = false;
            } else {
                if KINDS[class] > KINDS[outer] {
                    expected.push(Expected::Nesting);
                }
                if self.reaches(class, outer, None) {
                    expected.push(Expected::Order);
                    fits = false;
                } else if let Some(i) = (0..2).find(|&i| self.contradiction(i, Some(pair))) {
                    expected.push(Expected::Interrupted(BOTH[i]));
                    fits = false;
                }
            }
            if fits { self.edges.push(pair) } else { self.wrong.push(pair) }
        }
        if !tried && context != Context::Thread {
            if KINDS[class] == Kind::Sleep && !self.in_interrupt.contains(&class) {
                self.in_interrupt.push(class);
                expected.push(Expected::InInterrupt);
            }
            let i = usize::from(context == Context::SoftIrq);
            if !self.uses[i].used.contains(&class) && !self.uses[i].used_reported.contains(&class) {
                self.uses[i].used.push(class);
                if self.contradiction(i, None) {
                    self.uses[i].used.pop();
                    self.uses[i].used_reported.push(class);
                    expected.push(Expected::Interrupted(BOTH[i]));
                }
            }
        }
        self.open(class, open, &mut expected);
        expected
    }

    fn open(&mut self, class: usize, open: Open, expected: &mut Vec<Expected>) {
        for (i, is_open) in [(0, open.hard), (1, open.hard && open.soft)] {
            if is_open && !self.uses[i].open.contains(&class) && !self.uses[i].open_reported.contains(&class)
            {
                self.uses[i].open.push(class);
                if self.contradiction(i, None) {
                    self.uses[i].open.pop();
                    self.uses[i].open_reported.push(class);
                    expected.push(Expected::Interrupted(BOTH[i]));
                }
            }
        }
    }
}

/// The steps follow from each other.
fn is_connected(way: &Way) -> bool {
    way.steps.windows(2).all(|pair| pair[0].inner.made_at == pair[1].outer.made_at)
}

fn sites_hold(problem: &Problem) -> bool {
    match problem {
        Problem::Order { now, known } => {
            let steps = &known.steps;
            is_connected(known) && known.more > 0
                || steps.first().is_some_and(|step| step.outer.made_at == now.inner.made_at)
                    && steps.last().is_some_and(|step| step.inner.made_at == now.outer.made_at)
        }
        Problem::Interrupted { used, open, way, .. } => {
            let steps = &way.steps;
            is_connected(way) && way.more > 0
                || steps.first().map_or(used.made_at, |step| step.outer.made_at) == used.made_at
                    && steps.last().map_or(used.made_at, |step| step.inner.made_at) == open.made_at
        }
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Any sequence of acquisitions and releases by two tasks and what interrupts them.
    #[test]
    fn any_sequence_is_reported_exactly_if_what_is_known_would_contradict_itself(
        ops in prop::collection::vec((0usize..2, 0usize..CLASSES, 0u8..16, any::<bool>(), any::<bool>(), any::<bool>()), 0..60),
    ) {
        // One line, seven columns: seven classes.
        let keys = [LockKey::new(KINDS[0]), LockKey::new(KINDS[1]), LockKey::new(KINDS[2]), LockKey::new(KINDS[3]), LockKey::new(KINDS[4]), LockKey::new(KINDS[5]), LockKey::new(KINDS[6])];
        let mut checker = checker();
        let mut oracle = Oracle::default();
        let stacks = [HeldStack::new(), HeldStack::new()];
        // Class, context and a made-up address of each lock that is held.
        let mut held: [Vec<(usize, Context, usize)>; 2] = Default::default();
        for (at, (task, class, dice, hard, soft, release)) in ops.into_iter().enumerate() {
            let open = Open { hard, soft };
            let mut found = Vec::new();
            let mut report = |problem: &Problem| found.push(problem.clone());
            let mut expected = Vec::new();
            if release && !held[task].is_empty() || held[task].len() == HELD_MAX {
                let which = usize::from(dice) % held[task].len();
                let (class, _, lock) = held[task].remove(which);
                checker.release(&stacks[task], &keys[class], lock, open, &mut report);
                oracle.open(class, open, &mut expected);
            } else {
                let context = match dice % 4 {
                    0 | 1 => Context::Thread,
                    2 => Context::SoftIrq,
                    _ => Context::HardIrq,
                };
                let tried = dice / 4 == 0;
                let lock = 0x1000 + at;
                let outers: Vec<(usize, Context)> = held[task].iter().map(|&(c, x, _)| (c, x)).collect();
                let taking = Taking { key: &keys[class], lock, at: Location::caller(), context, open, tried };
                checker.acquire(&stacks[task], &taking, &mut report);
                expected = oracle.acquire(&outers, class, context, open, tried);
                held[task].push((class, context, lock));
            }
            let kinds: Vec<Expected> = found.iter().map(Expected::of).collect();
            prop_assert_eq!(kinds, expected, "step {}", at);
            prop_assert!(found.iter().all(sites_hold), "{:?}", found);
            prop_assert_eq!(checker.graph().len(), oracle.edges.len());
            prop_assert!(!checker.is_off());
            for i in 0..2 {
                prop_assert_eq!(stacks[i].len(), held[i].len());
            }
            for a in 0..CLASSES {
                prop_assert!(oracle.edges.iter().all(|&(x, y)| !(oracle.reaches(a, x, None) && oracle.reaches(y, a, None))));
            }
        }
    }

    #[test]
    fn a_search_finds_the_nearest_goal_and_a_way_to_it(
        pairs in prop::collection::vec((0usize..12, 0usize..12), 0..40), from in 0usize..12, to in 0usize..12,
    ) {
        let at = Location::caller();
        let mut graph = Box::new(Graph::new());
        let id = ClassId::from_index;
        for &(a, b) in &pairs {
            if !graph.has(id(a), id(b)) {
                let edge = Edge { from: id(a), to: id(b), held_at: at, taken_at: at };
                prop_assert!(graph.add(edge));
            }
        }
        let mut distance = [usize::MAX; 12];
        distance[from] = 0;
        for _ in 0..12 {
            for &(a, b) in &pairs {
                distance[b] = distance[b].min(distance[a].saturating_add(1));
            }
        }
        let found = graph.search(id(from), Direction::Inwards, &ClassSet::of(id(to)));
        prop_assert_eq!(found.is_some(), distance[to] != usize::MAX);
        prop_assert_eq!(graph.search(id(to), Direction::Outwards, &ClassSet::of(id(from))).is_some(), found.is_some());
        let way: Vec<Edge> = graph.way(id(from), id(to)).collect();
        if found.is_some() {
            prop_assert_eq!(way.len(), distance[to]);
            let mut place = id(from);
            for edge in &way {
                prop_assert_eq!(edge.from, place);
                place = edge.to;
            }
            prop_assert_eq!(place, id(to));
        } else {
            prop_assert!(way.is_empty());
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn the_edge_table_finds_every_edge_and_no_other(
        pairs in prop::collection::hash_set((0usize..256, 0usize..256), 0..EDGES_MAX + 10),
    ) {
        let at = Location::caller();
        let mut graph = Box::new(Graph::new());
        let id = ClassId::from_index;
        for (i, &(a, b)) in pairs.iter().enumerate() {
            let edge = Edge { from: id(a), to: id(b), held_at: at, taken_at: at };
            prop_assert_eq!(graph.add(edge), i < EDGES_MAX);
        }
        let mut walked = 0;
        let mut next = 0;
        while let Some((behind, edge)) = graph.edge_from(next) {
            prop_assert!(pairs.contains(&(edge.from.index(), edge.to.index())));
            prop_assert!(graph.edge(edge.from, edge.to).is_some());
            walked += 1;
            next = behind;
        }
        prop_assert_eq!(walked, pairs.len().min(EDGES_MAX));
        prop_assert_eq!(walked, graph.len());
    }
}
