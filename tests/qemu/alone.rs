//! In-kernel tests that show something only in a boot of their own: right behind the boot, what is said once in a
//! boot, or with the latency budget that makes the run fail.
//!
//! A budget cannot stand over the whole list: timing every section makes interrupts longer by some hundred
//! instructions each, and the tests that storm do not get to their work. So two short boots show both answers.

use libtest_mimic::{Failed, Trial};
use stint_tools::machine::Machine;
use stint_tools::qemu::End;
use stint_tools::suite::excerpt;

use crate::boot::{KTEST, LIMITS, boot, keep, message};

/// Name, boot arguments, whether the run succeeds, and what it says.
const BOOTS: &[(&str, &str, bool, &[&str])] = &[
    (
        "softirqs_do_not_wait_for_the_first_turn_of_their_thread",
        // Without a tick while it boots: the thread is not to have had its turn before the test begins.
        "hz=100 test=only:softirqs_do_not_wait_for_the_first_turn_of_their_thread",
        true,
        &["test softirqs_do_not_wait_for_the_first_turn_of_their_thread ... ok"],
    ),
    (
        "throttling_is_told",
        "test=only:with_nobody_else_the_cpu_idles_while_real_time_tasks_are_held_back",
        true,
        &["RT throttling activated: real-time tasks have used 5000 us of 10000 us; init/"],
    ),
    (
        "a_section_over_the_latency_budget_fails_the_run",
        "test=only:ticks_are_counted_also_when_interrupts_were_masked_for_some latency_budget_us=150",
        false,
        &[
            "test ticks_are_counted_also_when_interrupts_were_masked_for_some ... ok",
            "over the latency budget",
            "opened at",
            "test no_section_is_over_the_latency_budget ... FAILED",
        ],
    ),
    (
        "a_run_within_the_latency_budget_passes",
        "test=only:ticks_are_counted_also_when_interrupts_were_masked_for_some latency_budget_us=1000000",
        true,
        &["test no_section_is_over_the_latency_budget ... ok"],
    ),
];

/// On four CPUs with a thread of the host for each, which really interleave: nothing is said about times there. Name and boot
/// arguments.
const AS_THREADS: &[(&str, &str)] = &[
    ("nobody_is_lost_while_tasks_are_pushed_pulled_and_balanced_and_a_cpu_comes_and_goes", ""),
    ("a_soft_timer_cancelled_from_another_cpu_is_not_running_and_does_not_run", "preempt=rt"),
    ("a_timer_that_three_cpus_start_and_cancel_never_runs_in_two_places", "preempt=rt"),
    ("a_tasklet_scheduled_on_two_cpus_never_runs_in_two_places_nor_while_disabled", "preempt=rt"),
];

/// One trial per boot.
pub fn trials(followers: &mut Vec<Trial>) {
    for (name, told, succeeds, phrases) in BOOTS {
        followers.push(Trial::test(format!("alone::{name}"), move || {
            let captured = boot(&KTEST, name, &Machine::measuring(), told, LIMITS).map_err(message)?;
            keep(&format!("alone-{name}"), &captured.console).map_err(message)?;
            let ended_well = matches!(captured.end, End::Exited(code) if (code == 0) == *succeeds);
            let missing: Vec<_> =
                phrases.iter().filter(|phrase| !captured.console.contains(**phrase)).collect();
            if ended_well && missing.is_empty() {
                return Ok(());
            }
            let expected = if *succeeds { "status 0" } else { "a status other than 0" };
            let (end, console) = (&captured.end, excerpt(&captured.console));
            Err(format!("{end}; expected: {expected}; phrases that did not come: {missing:?}\n{console}")
                .into())
        }));
    }
    for (name, told) in AS_THREADS {
        followers.push(Trial::test(format!("alone::threads_{name}"), move || {
            let machine = Machine { cpus: 4, ..Machine::default() };
            passes(name, &machine, told, "threads")
        }));
    }
}

/// Boots one kernel test alone.
fn passes(name: &str, machine: &Machine, told: &str, on: &str) -> Result<(), Failed> {
    let told = format!("test=only:{name} {told}");
    let captured = boot(&KTEST, name, machine, &told, LIMITS).map_err(message)?;
    keep(&format!("alone-{on}-{name}"), &captured.console).map_err(message)?;
    if captured.succeeded() && captured.console.contains(&format!("test {name} ... ok")) {
        return Ok(());
    }
    Err(format!("{}\n{}", captured.end, excerpt(&captured.console)).into())
}
