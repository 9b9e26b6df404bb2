//! Tests of the suite runner: guests that pass, fail, die, hang, lie and fall silent.

use super::*;
use std::collections::VecDeque;
use std::time::Duration;

fn captured(console: &str, end: End) -> Captured {
    Captured { console: console.to_owned(), end }
}

fn tests(names: &[&str]) -> Vec<Listed> {
    names.iter().map(|name| Listed { name: (*name).to_owned(), panics: None, boot: String::new() }).collect()
}

/// Plays prepared boots in order and notes what they were asked to do.
fn play(listed: &[Listed], boots: &[(&str, End)]) -> (Suite, Vec<String>) {
    let mut boots: VecDeque<_> = boots.iter().cloned().collect();
    let mut asked = Vec::new();
    let suite = run(listed, |arguments| {
        asked.push(arguments.to_owned());
        let (console, end) = boots.pop_front().expect("one boot more than expected");
        Ok(captured(console, end))
    })
    .unwrap();
    assert!(boots.is_empty(), "{} boots fewer than expected", boots.len());
    (suite, asked)
}

#[test]
fn one_boot_is_enough_when_nothing_dies() {
    let console =
        "banner\nrun a\ntest a ... ok\nrun b\ntest b ... ignored: no PAN\nktest: 1 passed, 0 failed\n";
    let (suite, asked) = play(&tests(&["a", "b"]), &[(console, End::Exited(0))]);
    assert_eq!(asked, ["test=all"]);
    assert_eq!(suite.verdict("a"), Verdict::Passed);
    assert_eq!(suite.verdict("b"), Verdict::Ignored("no PAN".into()));
    assert_eq!((suite.complaints.len(), suite.counts()), (0, (1, 0, 1)));
}

#[test]
fn a_failed_test_carries_its_reason_and_its_console() {
    let console =
        "run a\ntest a ... ok\nrun b\nsaw 3\ntest b ... FAILED: left 3\nktest: 1 passed, 1 failed\n";
    let (suite, _) = play(&tests(&["a", "b"]), &[(console, End::Exited(1))]);
    let Verdict::Failed(text) = suite.verdict("b") else { panic!("not failed") };
    assert!(text.starts_with("left 3") && text.contains("saw 3") && !text.contains("run a"), "{text}");
    assert!(suite.complaints.is_empty());
}

#[test]
fn a_guest_that_dies_in_a_test_is_booted_again_behind_it() {
    let first = "run a\ntest a ... ok\nrun b\npanic: oh\n";
    let second = "run c\ntest c ... ok\nktest: 1 passed, 0 failed\n";
    let (suite, asked) =
        play(&tests(&["a", "b", "c"]), &[(first, End::Exited(101)), (second, End::Exited(0))]);
    assert_eq!(asked, ["test=all", "test=all skip=2"]);
    let Verdict::Failed(text) = suite.verdict("b") else { panic!("not failed") };
    assert!(text.contains("panicked") && text.contains("panic: oh") && !text.contains("test a"), "{text}");
    assert_eq!(suite.verdict("c"), Verdict::Passed);
}

#[test]
fn a_death_in_the_last_test_needs_no_further_boot() {
    let (suite, asked) = play(&tests(&["a"]), &[("run a\n", End::Silent(Duration::from_secs(60)))]);
    assert_eq!(asked.len(), 1);
    let Verdict::Failed(text) = suite.verdict("a") else { panic!("not failed") };
    assert!(text.contains("no output for 60 s"), "{text}");
}

#[test]
fn must_panic_tests_count_when_skipping_but_are_not_run_here() {
    let mut listed = tests(&["a", "p", "c"]);
    listed[1].panics = Some("boom".into());
    let second = "run c\ntest c ... ok\nktest: 1 passed, 0 failed\n";
    let (suite, asked) = play(&listed, &[("run a\n", End::Deadlock), (second, End::Exited(0))]);
    assert_eq!(asked, ["test=all", "test=all skip=1"]);
    assert_eq!(suite.counts(), (1, 1, 0));
    assert!(suite.complaints.is_empty());
}

#[test]
fn a_machine_that_does_not_boot_fails_every_test_once() {
    let (suite, asked) = play(&tests(&["a", "b"]), &[("no console\n", End::Silent(Duration::from_secs(60)))]);
    assert_eq!(asked.len(), 1);
    let Verdict::Failed(text) = suite.verdict("b") else { panic!("not failed") };
    assert!(text.contains("never ran") && text.contains("before the first test"), "{text}");
}

#[test]
fn a_death_between_two_tests_is_a_complaint_and_the_rest_still_runs() {
    let second = "run b\ntest b ... ok\nktest: 1 passed, 0 failed\n";
    let boots = [("run a\ntest a ... ok\npanic: late\n", End::Exited(101)), (second, End::Exited(0))];
    let (suite, asked) = play(&tests(&["a", "b"]), &boots);
    assert_eq!(asked, ["test=all", "test=all skip=1"]);
    assert!(suite.complaints[0].contains("after `a`"), "{}", suite.complaints[0]);
    assert_eq!(suite.counts(), (2, 0, 0));
}

#[test]
fn a_guest_that_miscounts_or_exits_wrongly_is_caught() {
    let console = "run a\ntest a ... ok\nktest: 2 passed, 0 failed\n";
    let (suite, _) = play(&tests(&["a"]), &[(console, End::Exited(3))]);
    assert_eq!(suite.complaints.len(), 2, "{:?}", suite.complaints);
}

#[test]
fn a_guest_that_forgets_a_test_is_caught() {
    let console = "run a\ntest a ... ok\nktest: 1 passed, 0 failed\n";
    let (suite, _) = play(&tests(&["a", "b"]), &[(console, End::Exited(0))]);
    assert!(suite.complaints[0].contains("`b` is listed but was not run"));
    assert!(matches!(suite.verdict("b"), Verdict::Failed(_)));
}

#[test]
fn a_list_must_be_complete_and_unambiguous() {
    let good = list(&captured("test-list a\ntest-list b panics=x y\n", End::Exited(0))).unwrap();
    assert_eq!(good[1], Listed { name: "b".into(), panics: Some("x y".into()), boot: String::new() });
    let refused = |console, end| list(&captured(console, end)).unwrap_err().to_string();
    assert!(refused("test-list a\ntest-list a\n", End::Exited(0)).contains("two tests are called `a`"));
    assert!(refused("hello\n", End::Exited(0)).contains("listed no test"));
    assert!(refused("test-list a\n", End::Exited(101)).contains("panicked"));
}

#[test]
fn a_must_panic_test_needs_the_status_and_the_text() {
    assert_eq!(
        judge_panic(&captured("panic: guard page of x", End::Exited(101)), "guard page"),
        Verdict::Passed
    );
    let Verdict::Failed(text) = judge_panic(&captured("panic: other", End::Exited(101)), "guard page") else {
        panic!("not failed")
    };
    assert!(text.contains("not with the text"), "{text}");
    assert!(matches!(judge_panic(&captured("guard page", End::Exited(0)), "guard page"), Verdict::Failed(_)));
}

#[test]
fn an_excerpt_is_bounded_and_says_so() {
    let long: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    let text = excerpt(&long);
    assert!(text.lines().count() < 130 && text.contains("880 earlier lines") && text.contains("line 999"));
}
