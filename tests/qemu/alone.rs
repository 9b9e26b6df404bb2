//! In-kernel tests that show something only in a boot of their own: right behind the boot, what is said once in a
//! boot, or with the latency budget that makes the run fail.
//!
//! A budget cannot stand over the whole list: timing every section makes interrupts longer by some hundred
//! instructions each, and the tests that storm do not get to their work. So two short boots show both answers.

use libtest_mimic::Trial;
use stint_tools::machine::Machine;
use stint_tools::qemu::End;
use stint_tools::suite::excerpt;

use crate::boot::{KTEST, LIMITS, boot, keep, message};

/// Name, boot arguments, whether the run succeeds, and what it says.
const BOOTS: &[(&str, &str, bool, &[&str])] = &[
    (
        "softirqs_do_not_wait_for_the_first_turn_of_their_thread",
        "test=only:softirqs_do_not_wait_for_the_first_turn_of_their_thread",
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
}
