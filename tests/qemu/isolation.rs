//! Isolated CPUs, from the boot arguments to what can be measured there.
//!
//! The kernel tests of isolation need a machine that is told so, and are ignored on any other: here each has a boot of
//! its own. Then the default image is asked with its own `jitter`, and told wrong things.

use libtest_mimic::Trial;
use stint_tools::bootargs::{self, Wishes};
use stint_tools::machine::Machine;
use stint_tools::qemu::{self, Captured, End, Payload};
use stint_tools::suite::excerpt;

use crate::boot::{KTEST, LIMITS, STINT, boot, built, keep, message};

/// What the kernel tests of isolation expect.
const TOLD: &str = "isolcpus=2,3 nohz_full=3";

/// The kernel tests that are ignored elsewhere.
const KERNEL_TESTS: &[&str] = &[
    "tasks_that_do_not_ask_for_it_do_not_get_to_an_isolated_cpu",
    "a_task_that_asks_for_it_gets_to_an_isolated_cpu_and_stays",
    "an_isolated_cpu_without_a_tick_leaves_one_task_alone",
    "work_on_other_cpus_does_not_reach_an_isolated_cpu_without_a_tick",
    "an_ordinary_cpu_takes_its_ticks",
    "the_tick_comes_back_when_a_second_task_does_and_goes_when_it_does",
    "jiffies_follow_the_clock_where_the_tick_is_stopped",
    "what_is_logged_on_a_cpu_without_a_tick_comes_out",
];

/// Boots of the default image with four CPUs: a name, boot arguments, a command, and what must be said.
const BOOTS: &[(&str, &str, &str, &[&str])] = &[
    (
        "jitter_finds_nothing_on_a_quiet_cpu",
        TOLD,
        "jitter cpu=3 for=200ms",
        &["isolated: CPU 2-3 (no tick: 3); house is kept by 0-1", "result jitter.cpu3 0 ns max=0 n=0 "],
    ),
    (
        "jitter_finds_the_ticks_of_an_ordinary_cpu",
        TOLD,
        "jitter cpu=1 for=200ms",
        &["\ntick                   50 ", " n=50 all_max="],
    ),
    ("top_shows_every_cpu", "", "top for=100ms", &["result top.cpu0 ", "result top.cpu3 "]),
    (
        "wrong_sets_of_cpus_are_named",
        "isolcpus=0-1 nohz_full=x irqaffinity=1-9",
        "watchdog",
        &[
            "isolcpus=0-1: CPU 0 keeps house and cannot be isolated",
            "nohz_full=x: expected CPU numbers and ranges",
            "irqaffinity=1-9: CPU 4-9 is not there; this machine has 0-3",
            "a CPU that gets nowhere is reported after 10s",
        ],
    ),
];

/// One trial per kernel test and per boot.
pub fn trials(followers: &mut Vec<Trial>) {
    let machine = || Machine { cpus: 4, ..Machine::measuring() };
    for name in KERNEL_TESTS {
        followers.push(Trial::test(format!("isolation::{name}"), move || {
            let told = format!("{TOLD} test=only:{name}");
            let captured = boot(&KTEST, name, &machine(), &told, LIMITS).map_err(message)?;
            let passed = format!("test {name} ... ok");
            judge(name, &captured, &[&passed])
        }));
    }
    for (name, told, command, phrases) in BOOTS {
        followers.push(Trial::test(format!("isolation::{name}"), move || {
            let wishes = Wishes { command: Some(command), extra: told, interactive: false };
            let bootargs = bootargs::compose(&wishes).map_err(message)?;
            let image = &built(&STINT).map_err(message)?.image;
            let command = qemu::command(&machine(), Payload::Image(image), &bootargs);
            let captured = qemu::capture(command, LIMITS).map_err(message)?;
            judge(name, &captured, phrases)
        }));
    }
}

/// Status 0, and all of the phrases.
fn judge(name: &str, captured: &Captured, phrases: &[&str]) -> Result<(), libtest_mimic::Failed> {
    keep(&format!("isolation-{name}"), &captured.console).map_err(message)?;
    let missing: Vec<_> = phrases.iter().filter(|phrase| !captured.console.contains(**phrase)).collect();
    if captured.end == End::Exited(0) && missing.is_empty() {
        return Ok(());
    }
    let (end, console) = (&captured.end, excerpt(&captured.console));
    Err(format!("{end}; expected: status 0; phrases that did not come: {missing:?}\n{console}").into())
}
