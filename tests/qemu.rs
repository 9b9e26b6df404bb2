//! Boots the kernel in QEMU and judges it: in-kernel tests on every machine, broken worlds, sweep, bench.
//!
//! One boot per machine runs the whole test image; each pair of machine and test is a trial that takes its
//! result from that shared run (see `stint_tools::suite` for what happens when the guest dies half way). Per
//! group one trial, named `… the_run_is_complete`, judges the run itself; these come first, so that the boots
//! are spread over the test threads and every other trial finds its result ready.
//!
//! Invariants: no assertion depends on the host's clock, which only decides when to give up on a guest; the
//! console of every run is kept in `<target>/qemu/`. `cargo test -p stint --test qemu -- <filter>` boots only
//! what the filter needs; `-- --list` shows every name.
//!
//! Which machines there are stands below; the broken worlds and their phrases in `qemu/worlds.rs`; budgets in
//! `tools/budgets.toml`.
#![forbid(unsafe_code)]

#[path = "qemu/alone.rs"]
mod alone;
#[path = "qemu/boot.rs"]
mod boot;
#[path = "qemu/buses.rs"]
mod buses;
#[path = "qemu/card.rs"]
mod card;
#[path = "qemu/chainload.rs"]
mod chainload;
#[path = "qemu/cpus.rs"]
mod cpus;
#[path = "qemu/figures.rs"]
mod figures;
#[path = "qemu/guarantee.rs"]
mod guarantee;
#[path = "qemu/isolation.rs"]
mod isolation;
#[path = "qemu/lab.rs"]
mod lab;
#[path = "qemu/latency.rs"]
mod latency;
#[path = "qemu/pty.rs"]
mod pty;
#[path = "qemu/rpi4.rs"]
mod rpi4;
#[path = "qemu/rpi4_devices.rs"]
mod rpi4_devices;
#[path = "qemu/sdcard.rs"]
mod sdcard;
#[path = "qemu/serial.rs"]
mod serial;
#[path = "qemu/spin_table.rs"]
mod spin_table;
#[path = "qemu/stress.rs"]
mod stress;
#[path = "qemu/trace.rs"]
mod trace;
#[path = "qemu/worlds.rs"]
mod worlds;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use boot::{KTEST, LIMITS, Shared, boot, broken, keep, list_tests, message, shared};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use stint_tools::machine::{Board, Machine};
use stint_tools::qemu::Captured;
use stint_tools::raspi::{self, DeviceTree};
use stint_tools::suite::{self, Listed, Suite, Verdict};

/// With one of these in the environment (`make test SMP=8`, `BOARD=rpi4`) the in-kernel tests run on the machines with
/// so many CPUs, or on that board, and nothing else is run.
const CPUS: &str = "STINT_SMP";
const BOARD: &str = "STINT_BOARD";

/// The machines that were chosen: all, or those with as many CPUs as was asked for, or one that has them, or those that
/// are such a board.
///
/// # Errors
/// When there cannot be such a one.
fn chosen_machines(
    cpus: Option<&str>,
    board: Option<&str>,
) -> Result<Vec<(&'static str, Machine, &'static str)>> {
    let mut chosen = machines()?;
    let is_pi = |machine: &Machine| matches!(machine.board, Board::RaspberryPi4 { .. });
    match board {
        None => {}
        Some("virt") => chosen.retain(|(_, machine, _)| !is_pi(machine)),
        Some("rpi4") => chosen.retain(|(_, machine, _)| is_pi(machine)),
        Some(other) => bail!("BOARD is `{other}`; virt or rpi4 would be right"),
    }
    let Some(text) = cpus else { return Ok(chosen) };
    let cpus = text.parse().with_context(|| format!("SMP is `{text}`; a number of CPUs would be right"))?;
    let machine = Machine { cpus, ..Machine::measuring() };
    machine.check_cpus()?;
    chosen.retain(|(_, machine, _)| machine.cpus == cpus);
    if chosen.is_empty() {
        chosen.push(("smp", machine, ""));
    }
    Ok(chosen)
}

/// The machines that run every in-kernel test, and what their kernel is told besides. The first one also runs
/// the tests that must panic.
fn machines() -> Result<Vec<(&'static str, Machine, &'static str)>> {
    let base = Machine::measuring;
    // With QEMU's own 62.5 MHz: what it makes of the board's 54 MHz is 2.9 % too fast, which no deadline survives.
    let pi = |tree: DeviceTree| Machine { icount: true, timer_hz: None, ..Machine::raspberry_pi4(tree.path) };
    let tree = raspi::device_tree()?;
    if tree.is_own {
        eprintln!("rpi4: {}", tree.origin());
    }
    Ok(vec![
        ("gicv3", base(), ""),
        ("gicv2", Machine { gic: 2, ..base() }, ""),
        ("gicv3-el2", Machine { el2: true, ..base() }, ""),
        ("gicv3-secure", Machine { secure: true, ..base() }, ""),
        // The non-secure view of a GICv2 with Security Extensions, entered at EL2: what a Raspberry Pi has.
        ("gicv2-secure-el2", Machine { gic: 2, el2: true, secure: true, ..base() }, ""),
        ("cortex-a53", Machine { cpu: "cortex-a53".into(), ..base() }, ""),
        ("cpu-max", Machine { cpu: "max".into(), ..base() }, ""),
        // Live lock words on one CPU, as if there were others.
        ("smp-locks", base(), "smp_locks=1"),
        // 16 ns per tick: rounding that a 1 GHz counter hides.
        ("timer-62.5mhz", Machine { timer_hz: None, ..base() }, ""),
        ("hz-1000", base(), "hz=1000 trace=1"),
        // The other models: the whole list, in which a test that does not apply says why.
        ("preempt-none", base(), "preempt=none"),
        ("preempt-voluntary", base(), "preempt=voluntary"),
        ("preempt-rt", base(), "preempt=rt"),
        ("preempt-event", base(), "preempt_style=event"),
        // Several CPUs: the list runs on one of them with live locks, the tests about several on all.
        ("smp2", Machine { cpus: 2, ..base() }, ""),
        ("smp4", Machine { cpus: 4, ..base() }, ""),
        ("smp4-gicv2", Machine { cpus: 4, gic: 2, ..base() }, ""),
        ("smp4-rt", Machine { cpus: 4, ..base() }, "preempt=rt"),
        // The board, with its own device tree where that is at hand.
        ("rpi4", pi(tree), ""),
    ])
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A boot keeps one core busy; more at once would only make the slowest one silent for longer.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores.min(4));

    let mut leaders = Vec::new();
    let mut followers = Vec::new();
    let wanted = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (cpus, board) = (wanted(CPUS), wanted(BOARD));
    let all = cpus.is_none() && board.is_none();
    let machines = match chosen_machines(cpus.as_deref(), board.as_deref()) {
        Ok(machines) => machines,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::from(2);
        }
    };
    // The sweep takes longest.
    if all {
        figures::sweep_trials(&mut leaders, &mut followers);
    }
    machine_trials(machines, &mut leaders, &mut followers);
    if all {
        figures::bench_trials(&mut leaders, &mut followers);
        stress::trials(&mut followers);
        cpus::trials(&mut followers);
        spin_table::trials(&mut followers);
        sdcard::trials(&mut followers);
        serial::trials(&mut followers);
        chainload::trials(&mut followers);
        isolation::trials(&mut followers);
        worlds::trials(&mut followers);
        latency::trials(&mut followers);
        lab::trials(&mut followers);
        guarantee::trials(&mut followers);
        trace::trials(&mut followers);
        alone::trials(&mut followers);
    }
    if all || board.as_deref() == Some("rpi4") {
        rpi4::trials(&mut followers);
        rpi4_devices::trials(&mut followers);
        card::trials(&mut followers);
        buses::trials(&mut followers);
    }
    leaders.extend(followers);
    libtest_mimic::run(&arguments, leaders).exit_code()
}

/// The in-kernel tests, on these machines.
fn machine_trials(
    machines: Vec<(&'static str, Machine, &'static str)>,
    leaders: &mut Vec<Trial>,
    followers: &mut Vec<Trial>,
) {
    let listed = match list_tests(&KTEST, "ktest") {
        Ok(listed) => Arc::new(listed),
        Err(error) => {
            leaders.push(broken("ktest::the_image_builds_and_lists_its_tests", error));
            return;
        }
    };
    for (index, (name, machine, told)) in machines.into_iter().enumerate() {
        let cell: Shared<Arc<Suite>> = Arc::default();
        let run = {
            let (machine, listed) = (machine.clone(), Arc::clone(&listed));
            move || shared(&cell, || run_suite(name, &machine, told, &listed).map(Arc::new))
        };
        let leader = run.clone();
        leaders.push(Trial::test(format!("{name}::the_run_is_complete"), move || {
            let suite = leader()?;
            if suite.complaints.is_empty() { Ok(()) } else { Err(suite.complaints.join("\n").into()) }
        }));
        for test in listed.iter() {
            let (run, machine, test) = (run.clone(), machine.clone(), test.clone());
            let title = format!("{name}::{}", test.name);
            match test.panics {
                None => {
                    followers.push(Trial::ignorable_test(title, move || judge(run()?.verdict(&test.name))))
                }
                Some(text) if index == 0 => followers.push(Trial::ignorable_test(title, move || {
                    let told = format!("{} test=only:{}", test.boot, test.name);
                    let captured = boot_ktest(name, &machine, &told)?;
                    judge(suite::judge_panic(&captured, &text))
                })),
                Some(_) => {}
            }
        }
    }
}

fn run_suite(name: &str, machine: &Machine, told: &str, listed: &[Listed]) -> Result<Suite> {
    eprintln!("[{name}] booting, {} tests", listed.len());
    let suite = suite::run(listed, |test| boot(&KTEST, name, machine, &format!("{told} {test}"), LIMITS))?;
    keep(name, &suite.console)?;
    let (passed, failed, ignored) = suite.counts();
    eprintln!("[{name}] {passed} passed, {failed} failed, {ignored} ignored, {} boot(s)", suite.boots);
    Ok(suite)
}

fn boot_ktest(name: &str, machine: &Machine, told: &str) -> Result<Captured, Failed> {
    boot(&KTEST, name, machine, told, LIMITS).map_err(message)
}

fn judge(verdict: Verdict) -> Result<Completion, Failed> {
    match verdict {
        Verdict::Passed => Ok(Completion::Completed),
        Verdict::Ignored(reason) => Ok(Completion::ignored_with(reason)),
        Verdict::Failed(text) => Err(text.into()),
    }
}
