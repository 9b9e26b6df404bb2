//! The runner: which tests, in which order, and the lines that the host reads.
//!
//! `test=list` names the tests. `test=all skip=K` runs those that need not panic, from the K-th of that list on.
//! `test=only:<name>` runs one, which is the only way to run one that must panic. Each test is announced by
//! `run <name>`, so that the host knows in which one the machine died.

use super::surroundings::Surroundings;
use super::{Failure, Models, Outcome, TESTS, Test, cpus, models};
use crate::stress::{self, Wishes};
use alloc::vec::Vec;
use stint::sched::prio::SchedAttr;
use stint::time::Timer;
use stint::{klog, kprintln, power, preempt, preempt_stats, start, task};

/// A test that takes longer than this, by the machine's clock, hangs. Seconds of idling pass in no time on a
/// machine with virtual time.
const WATCHDOG_NS: u64 = 20_000_000_000;

/// The priority of the task that tests run in.
const PRIORITY: u32 = 1;
/// That of ksoftirqd in `rt`.
pub const SOFTIRQ_PRIORITY: u32 = PRIORITY + 1;

/// The body of the image's first task.
pub fn main() {
    let bootargs = &start::boot_info().bootargs;
    cpus::stay_on_boot_cpu();
    if models::RT.contains(Models::of(bootargs)) {
        raise_the_softirq_thread();
    }
    let skip = bootargs.skip.map_or(Ok(0), str::parse::<usize>);
    let failed = match (bootargs.test.unwrap_or("all"), skip) {
        ("list", _) => list(),
        ("all", Ok(skip)) => run_all(skip),
        (test, _) => match (test.strip_prefix("only:"), test.strip_prefix("stress")) {
            (Some(name), _) => run_only(name),
            (_, Some(wishes)) => run_stress(wishes.trim_start_matches(':')),
            _ => {
                kprintln!(
                    "ktest: test={test} skip={:?}: expected list, all (with a number to skip), only:<name>, or \
                     stress:ops=<number>,seed=<number>,only=<scene>",
                    bootargs.skip
                );
                1
            }
        },
    };
    power::exit(u32::from(failed > 0));
}

/// The tests by file and line: an order that a person can follow, and the same in every boot of an image.
fn tests() -> Vec<&'static Test> {
    let mut tests: Vec<&Test> = TESTS.iter().collect();
    tests.sort_unstable_by_key(|test| (test.file, test.line));
    tests
}

fn list() -> usize {
    for test in tests() {
        match test.panics {
            None => kprintln!("test-list {}", test.name),
            // Such a test gets a boot of its own, in a model where it applies.
            Some(text) => {
                kprintln!("test-list {} boot={} panics={text}", test.name, test.applies.0.bootargs())
            }
        }
    }
    0
}

fn run_all(skip: usize) -> usize {
    let (mut passed, mut failed) = (0, 0);
    for test in tests().into_iter().skip(skip).filter(|test| test.panics.is_none()) {
        match run(test) {
            Ok(()) => passed += 1,
            Err(Failure::Failed { .. }) => failed += 1,
            Err(Failure::Ignored(_)) => {}
        }
    }
    failed += check_budget();
    kprintln!("ktest: {passed} passed, {failed} failed");
    failed
}

/// With `latency_budget_us=` a section that was longer, in whichever test, fails the run (M4).
fn check_budget() -> usize {
    let Some(budget_us) = preempt_stats::budget_us() else { return 0 };
    preempt_stats::report::tell_violations();
    klog::drain();
    let violations = preempt_stats::violations();
    kprintln!("run no_section_is_over_the_latency_budget");
    if violations == 0 {
        kprintln!("test no_section_is_over_the_latency_budget ... ok");
        return 0;
    }
    kprintln!(
        "test no_section_is_over_the_latency_budget ... FAILED: {violations} sections of more than {budget_us} us"
    );
    1
}

fn run_only(name: &str) -> usize {
    let Some(test) = tests().into_iter().find(|test| test.name == name) else {
        kprintln!("ktest: there is no test {name}; test=list names them");
        return 1;
    };
    let failed = usize::from(run(test).is_err()) + check_budget();
    kprintln!("ktest: {} passed, {failed} failed", usize::from(failed == 0));
    failed
}

/// The stress, as long as it is asked for, and what a test has to leave behind.
fn run_stress(wishes: &str) -> usize {
    let wishes = match Wishes::parse(wishes) {
        Ok(wishes) => wishes,
        Err(word) => {
            kprintln!("ktest: test=stress: `{word}`: expected ops=<number>, seed=<number> or only=<scene>");
            return 1;
        }
    };
    kprintln!("run stress");
    become_the_test_task();
    let surroundings = Surroundings::take();
    let mut outcome = stress::run(&wishes);
    if outcome.is_ok() {
        outcome = surroundings.check_restored();
    }
    print_outcome("stress", &outcome);
    let failed = usize::from(outcome.is_err());
    kprintln!("ktest: {} passed, {failed} failed", 1 - failed);
    failed
}

fn run(test: &'static Test) -> Outcome {
    kprintln!("run {}", test.name);
    become_the_test_task();
    let watchdog = Timer::new_hard(hang);
    watchdog.start_once(WATCHDOG_NS);
    settle();
    let surroundings = Surroundings::take();
    let mut outcome = if !test.applies.0.contains(Models::of(&start::boot_info().bootargs)) {
        Err(Failure::Ignored(test.applies.1))
    } else if cpus::online() < test.cpus.0 {
        Err(Failure::Ignored(test.cpus.1))
    } else {
        (test.body)()
    };
    become_the_test_task();
    settle();
    if outcome.is_ok() {
        outcome = surroundings.check_restored();
    }
    drop(watchdog);
    if let (Some(text), Ok(())) = (test.panics, &outcome) {
        outcome = Err(Failure::new(format_args!("it must panic with `{text}`, and did not")));
    }
    print_outcome(test.name, &outcome);
    outcome
}

/// The line that the host reads.
fn print_outcome(name: &str, outcome: &Outcome) {
    match outcome {
        Ok(()) => kprintln!("test {name} ... ok"),
        Err(Failure::Failed { at, why }) => kprintln!("test {name} ... FAILED: {why} ({at})"),
        Err(Failure::Ignored(why)) => kprintln!("test {name} ... ignored: {why}"),
    }
}

/// In `rt` softirqs are a thread of the priority that tests have, so a busy test would keep them off. One more makes
/// them come as they do in the other models, and still below every real-time task of a test.
fn raise_the_softirq_thread() {
    task::for_each(|task| {
        if task.name().starts_with("ksoftirqd") {
            let attr = SchedAttr::fifo(SOFTIRQ_PRIORITY).expect("2 is a priority");
            task.set_scheduler(attr).expect("the softirq thread can change its priority");
        }
    });
}

/// Lets those run who have been promised to: where the kernel is not preempted, they wait for this.
fn settle() {
    preempt::cond_resched();
}

fn become_the_test_task() {
    let attr = SchedAttr::fifo(PRIORITY).expect("1 is a priority");
    task::current_ref().set_scheduler(attr).expect("the running task can change its priority");
}

/// The watchdog's end of a test: says who waits, and panics, for the host to boot again behind this test.
fn hang() {
    kprintln!("the test hangs; the tasks are:");
    print_tasks();
    panic!("watchdog: the test takes longer than {} s", WATCHDOG_NS / 1_000_000_000);
}

/// Every task: what it does, and what it has.
pub fn print_tasks() {
    task::for_each(|task| {
        let info = task.info();
        kprintln!(
            "  {:>4} {:<15} state {:#x} queued {} prio {} CPU {} of {}, switches {}+{}, {:?}",
            info.id,
            info.name,
            info.state,
            info.queued,
            info.prio,
            task.cpu(),
            task.affinity(),
            info.switches.0,
            info.switches.1,
            info.attr
        );
    });
}
