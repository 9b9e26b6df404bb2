//! Functions of a few instructions, written down as words.
use super::*;
use crate::guarantee::graph::Bound;
use crate::guarantee::names::Frame;

const BASE: u64 = 0x1000;
const NOP: u32 = 0xd503_201f;
const RET: u32 = 0xd65f_03c0;
const BRK: u32 = 0xd420_0020;
const MASK: u32 = 0xd503_42df;
const OPEN: u32 = 0xd503_42ff;
/// mrs x9, daif; and msr daif, x9
const SAVE: u32 = 0xd53b_4229;
const RESTORE: u32 = 0xd51b_4229;
/// mrs x8, sp_el0; ldr w9, [x8, #8]; add or sub w9, w9, #1; str w9, [x8, #8]; ldr x9, [x8, #8]
const TASK: u32 = 0xd538_4108;
const LOAD: u32 = 0xb940_0909;
const ADD: u32 = 0x1100_0529;
const SUB: u32 = 0x5100_0529;
const STORE: u32 = 0xb900_0909;
const LOAD_WORD: u32 = 0xf940_0509;
const BLR: u32 = 0xd63f_0100;

/// A call `words` on, or back.
fn bl(words: i32) -> u32 {
    0x9400_0000 | words as u32 & 0x03ff_ffff
}

/// `cbz x0`, and `cbz x9`, `words` on or back.
fn cbz(register: u32, words: i32) -> u32 {
    0xb400_0000 | (words as u32 & 0x7_ffff) << 5 | register
}

struct Assembly;

impl Inlined for Assembly {
    fn frames(&self, _: u64) -> Rc<[Frame]> {
        Rc::new([])
    }
}

/// The longest section, its end, and the problems of walking `functions` from the first one.
fn walk(
    functions: &[(&str, &[u32])],
    bounds: &[(u64, Bound)],
    limits: &str,
) -> (Option<(u64, End)>, Vec<String>) {
    walk_code(&Code::by_hand(BASE, functions, bounds), limits)
}

fn walk_code(code: &Code, limits: &str) -> (Option<(u64, End)>, Vec<String>) {
    let limits = Limits::parse(limits).unwrap();
    let mut walker = Walker::new(code, &Assembly, &limits, Kind::Any, returning(code));
    walker.root(BASE, Machine::OPEN);
    let longest = walker.sections.iter().map(|section| (section.length, section.end)).max();
    (longest, walker.problems.iter().map(|problem| problem.text.clone()).collect())
}

#[test]
fn a_section_holds_what_closes_and_not_what_opens() {
    assert_eq!(
        walk(&[("f", &[NOP, MASK, NOP, NOP, OPEN, NOP, RET])], &[], ""),
        (Some((3, End::Open)), vec![])
    );
}

#[test]
fn a_mask_inside_of_a_section_opens_nothing_at_its_end() {
    let nested = [MASK, SAVE, MASK, NOP, RESTORE, NOP, OPEN, RET];
    assert_eq!(walk(&[("f", &nested)], &[], ""), (Some((6, End::Open)), vec![]));
}

#[test]
fn a_count_is_followed_by_value() {
    let counted = [TASK, LOAD, ADD, STORE, NOP, LOAD, SUB, STORE, RET];
    assert_eq!(walk(&[("f", &counted)], &[], ""), (Some((4, End::Open)), vec![]));
    let lost = [TASK, ADD, STORE, RET];
    let (_, problems) = walk(&[("f", &lost)], &[], "");
    assert!(problems[0].contains("count is stored that is not known"), "{problems:?}");
}

#[test]
fn the_word_of_a_counted_section_is_not_zero() {
    // The branch behind the load goes to a switch that cannot be: it would leave with IRQs masked.
    let code = [TASK, LOAD, ADD, STORE, LOAD_WORD, cbz(9, 5), LOAD, SUB, STORE, RET, MASK, RET];
    assert_eq!(walk(&[("f", &code)], &[], "").1, Vec::<String>::new());
}

#[test]
fn a_section_may_begin_in_one_function_and_end_in_another() {
    let caller = [bl(5), NOP, OPEN, RET, NOP];
    assert_eq!(
        walk(&[("f", &caller), ("lock", &[NOP, MASK, RET])], &[], "").0,
        Some((3, End::Open)),
        "msr, ret and the nop behind the call"
    );
}

#[test]
fn a_call_in_a_section_costs_what_it_executes() {
    let caller = [MASK, bl(4), OPEN, RET, NOP];
    assert_eq!(walk(&[("f", &caller), ("g", &[NOP, NOP, RET])], &[], "").0, Some((5, End::Open)));
}

#[test]
fn a_path_that_never_returns_is_left_out() {
    // cbz to the call of a function that ends in a brk after a long way.
    let caller = [MASK, cbz(0, 3), OPEN, RET, bl(1)];
    let long = [NOP, NOP, NOP, NOP, NOP, BRK];
    assert_eq!(walk(&[("f", &caller), ("panic", &long)], &[], ""), (Some((2, End::Open)), vec![]));
}

#[test]
fn a_loop_in_a_section_needs_a_bound() {
    let code = [MASK, NOP, NOP, cbz(0, -2), OPEN, RET];
    let (_, problems) = walk(&[("f", &code)], &[], "");
    assert!(problems.len() == 1 && problems[0].contains("loop without a bound at f+0x4"), "{problems:?}");
    let bound = Bound { name: 1, passes: 5 };
    assert_eq!(walk(&[("f", &code)], &[(BASE + 4, bound)], ""), (Some((1 + 5 * 3, End::Open)), vec![]));
    let by_table = walk(&[("f", &code)], &[], "[loops]\n\"f\" = [4, \"goes back four times\"]");
    assert_eq!(by_table, (Some((1 + 5 * 3, End::Open)), vec![]));
}

#[test]
fn a_loop_outside_of_sections_needs_none_and_one_around_them_ends_them() {
    let around = [MASK, NOP, OPEN, cbz(0, -3), RET];
    assert_eq!(walk(&[("f", &around)], &[], ""), (Some((2, End::Open)), vec![]));
}

#[test]
fn an_indirect_call_in_a_section_needs_targets() {
    let caller = [MASK, BLR, OPEN, RET];
    let long = [NOP, NOP, NOP, RET];
    let functions: [(&str, &[u32]); 2] = [("f", &caller), ("handler", &long)];
    let (_, problems) = walk(&functions, &[], "");
    assert!(problems[0].contains("indirect call with unknown targets: f+0x4"), "{problems:?}");
    let told = "[calls.\"f\"]\n\"handler\" = \"all there is\"";
    assert_eq!(walk(&functions, &[], told), (Some((6, End::Open)), vec![]));
    let code = Code::by_hand(BASE, &functions, &[]);
    let limits = Limits::parse(&format!("{told}\n\"gone\" = \"was renamed\"")).unwrap();
    let mut walker = Walker::new(&code, &Assembly, &limits, Kind::Any, returning(&code));
    walker.root(BASE, Machine::OPEN);
    let unused: Vec<_> = limits.entries().filter(|entry| !walker.used.contains(entry)).collect();
    assert_eq!(unused, ["f -> gone"], "a target that is no function");
    assert_eq!(walk(&[("f", &[BLR, RET])], &[], "").1, Vec::<String>::new(), "not closed");
}

#[test]
fn recursion_in_a_section_needs_a_depth() {
    // g calls itself, or returns.
    let functions: [(&str, &[u32]); 2] = [("f", &[MASK, bl(3), OPEN, RET]), ("g", &[cbz(0, 2), bl(-1), RET])];
    let (_, problems) = walk(&functions, &[], "");
    assert!(problems[0].contains("recursion into g"), "{problems:?}");
    let told = "[recursion]\n\"g\" = [3, \"three levels\"]";
    // Two calls of three instructions, and the innermost of two.
    assert_eq!(walk(&functions, &[], told), (Some((2 + 3 + 3 + 2, End::Open)), vec![]));
}

#[test]
fn a_switch_ends_a_section_and_begins_the_next_one() {
    let functions: [(&str, &[u32]); 2] =
        [("f", &[MASK, NOP, bl(4), NOP, OPEN, RET]), ("cpu_switch_to", &[NOP, RET])];
    let code = Code::by_hand(BASE, &functions, &[]);
    let limits = Limits::default();
    let mut walker = Walker::new(&code, &Assembly, &limits, Kind::Any, returning(&code));
    walker.root(BASE, Machine::OPEN);
    let mut found: Vec<_> = walker.sections.iter().map(|s| (s.begin, s.end, s.length)).collect();
    found.sort_unstable();
    assert_eq!(found, [(Begin::Closed, End::Switch, 5), (Begin::Switch, End::Open, 1)]);
}

#[test]
fn a_function_that_leaves_the_cpu_closed_is_a_problem() {
    let (_, problems) = walk(&[("f", &[MASK, RET])], &[], "");
    assert!(problems[0].contains("f returns with the mask or the count changed"), "{problems:?}");
}

#[test]
fn a_softirq_that_gives_way_ends_its_piece() {
    // mov w9, #0x100 and, at the end, #0 into the count.
    let code = [TASK, 0x5280_2009, STORE, NOP, NOP, NOP, 0x5280_0009, STORE, RET];
    assert_eq!(walk(&[("f", &code)], &[], "").0, Some((5, End::Open)));
    let mut cut = Code::by_hand(BASE, &[("f", &code)], &[]);
    cut.give_way(BASE + 16);
    let found = walk_code(&cut, "").0;
    assert_eq!(found, Some((2, End::GivesWay)), "the piece before; the one behind is as long");
}

#[test]
fn a_site_of_preempt_stats_cannot_go_unnoticed() {
    // The pointer to the task comes from the caller.
    let functions: [(&str, &[u32]); 1] = [("f", &[LOAD, ADD, STORE, NOP, LOAD, SUB, STORE, RET])];
    let mut code = Code::by_hand(BASE, &functions, &[]);
    assert_eq!(walk_code(&code, "").0, None);
    code.hook(BASE + 8);
    code.hook(BASE + 24);
    assert_eq!(walk_code(&code, ""), (Some((4, End::Open)), vec![]));
}
