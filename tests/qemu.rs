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
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use stint_tools::bootargs::{self, Wishes};
use stint_tools::budgets::{self, Budget};
use stint_tools::cargo::{self, Built};
use stint_tools::lines;
use stint_tools::machine::Machine;
use stint_tools::qemu::{self, Captured, End, Limits, Payload};
use stint_tools::suite::{self, Listed, Suite, Verdict, excerpt};
use stint_tools::{bench, dtb, stub, sweep};

/// A test image: minutes at most; a single test is silent for seconds.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(900),
    silence: Duration::from_secs(120),
};
/// A boot that is over, or fails, within a second.
const SHORT: Limits = Limits {
    total: Duration::from_secs(60),
    silence: Duration::from_secs(30),
};

/// The machines that run every in-kernel test, and what their kernel is told besides. The first one also runs
/// the tests that must panic.
fn machines() -> Vec<(&'static str, Machine, &'static str)> {
    let base = Machine::measuring;
    vec![
        ("gicv3", base(), ""),
        ("gicv2", Machine { gic: 2, ..base() }, ""),
        (
            "gicv3-el2",
            Machine {
                el2: true,
                ..base()
            },
            "",
        ),
        (
            "gicv3-secure",
            Machine {
                secure: true,
                ..base()
            },
            "",
        ),
        // The non-secure view of a GICv2 with Security Extensions, entered at EL2: what a Raspberry Pi has.
        (
            "gicv2-secure-el2",
            Machine {
                gic: 2,
                el2: true,
                secure: true,
                ..base()
            },
            "",
        ),
        (
            "cortex-a53",
            Machine {
                cpu: "cortex-a53".into(),
                ..base()
            },
            "",
        ),
        (
            "cpu-max",
            Machine {
                cpu: "max".into(),
                ..base()
            },
            "",
        ),
        // Live lock words on one CPU, as if there were others.
        ("smp-locks", base(), "smp_locks=1"),
        // 16 ns per tick: rounding that a 1 GHz counter hides.
        (
            "timer-62.5mhz",
            Machine {
                timer_hz: None,
                ..base()
            },
            "",
        ),
        ("hz-1000", base(), "hz=1000"),
    ]
}

/// How a broken world is made.
enum World {
    /// The image is entered with this x0, and nothing lies there.
    X0(u64),
    /// A sound device tree in which one text is replaced; handed over by QEMU.
    TreeByQemu(&'static [u8], &'static [u8]),
    /// The same, but handed over by the stub, since QEMU repairs what is wrong with memory nodes.
    TreeByStub(&'static [u8], &'static [u8]),
    /// A sound machine with these boot arguments.
    Told(&'static str),
    /// A sound machine with this shell command.
    Command(&'static str),
}

/// How a boot must end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The kernel refuses to go on, in whatever way it still can.
    Stops,
    /// The guest ends the run with status 0.
    Succeeds,
    /// The guest ends the run with another status.
    Fails,
}

/// Boots of the default image that must say something in particular: adjust the phrases here.
const WORLDS: &[(&str, World, Fate, &[&str])] = &[
    (
        "no_device_tree",
        World::X0(0),
        Fate::Stops,
        &["no device tree"],
    ),
    // A loader of 32-bit days passes the address of its ATAGs.
    (
        "an_atags_address",
        World::X0(0x100),
        Fate::Stops,
        &["magic"],
    ),
    (
        "a_corrupt_device_tree",
        World::X0(stub::TREE_AT),
        Fate::Stops,
        &["magic"],
    ),
    (
        "an_unknown_gic",
        World::TreeByQemu(b"arm,gic-v3\0", b"acme,irq-9\0"),
        Fate::Stops,
        &["GIC", "acme,irq-9"],
    ),
    (
        "no_memory_node",
        World::TreeByStub(b"memory", b"mem0ry"),
        Fate::Stops,
        &["memory"],
    ),
    (
        "bad_bootargs_are_named",
        World::Told("hz=7 preempt=banana foo=1 demo=0"),
        Fate::Succeeds,
        &["hz=7", "banana", "foo"],
    ),
    (
        "a_good_command_succeeds",
        World::Command("uname -a"),
        Fate::Succeeds,
        &["aarch64"],
    ),
    (
        "a_failing_command_fails_the_run",
        World::Command("no_such_command"),
        Fate::Fails,
        &["no_such_command"],
    ),
    (
        "nobody_at_the_console",
        World::Told(""),
        Fate::Succeeds,
        &[],
    ),
];

/// An image, built once, or the reason why it could not be.
type Image = LazyLock<Result<Built, String>>;
static KTEST: Image = LazyLock::new(|| cargo::build("ktest").map_err(|error| format!("{error:#}")));
static STINT: Image = LazyLock::new(|| cargo::build("stint").map_err(|error| format!("{error:#}")));
static SWEEP: Image = LazyLock::new(|| cargo::build("sweep").map_err(|error| format!("{error:#}")));
static BENCH: Image = LazyLock::new(|| cargo::build("bench").map_err(|error| format!("{error:#}")));

/// A result that many trials share: the first that needs it makes it.
type Shared<T> = Arc<OnceLock<Result<T, String>>>;

fn shared<T: Clone>(cell: &Shared<T>, make: impl FnOnce() -> Result<T>) -> Result<T, Failed> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(Failed::from)
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A boot keeps one core busy; more at once would only make the slowest one silent for longer.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores.min(4));

    let mut leaders = Vec::new();
    let mut followers = Vec::new();
    sweep_trials(&mut leaders, &mut followers);
    machine_trials(&mut leaders, &mut followers);
    bench_trials(&mut leaders, &mut followers);
    world_trials(&mut followers);
    leaders.extend(followers);
    libtest_mimic::run(&arguments, leaders).exit_code()
}

/// The in-kernel tests, on every machine.
fn machine_trials(leaders: &mut Vec<Trial>, followers: &mut Vec<Trial>) {
    let listed = match list_tests(&KTEST, "ktest") {
        Ok(listed) => Arc::new(listed),
        Err(error) => {
            leaders.push(broken("ktest::the_image_builds_and_lists_its_tests", error));
            return;
        }
    };
    for (index, (name, machine, told)) in machines().into_iter().enumerate() {
        let cell: Shared<Arc<Suite>> = Arc::default();
        let run = {
            let (machine, listed) = (machine.clone(), Arc::clone(&listed));
            move || {
                shared(&cell, || {
                    run_suite(name, &machine, told, &listed).map(Arc::new)
                })
            }
        };
        let leader = run.clone();
        leaders.push(Trial::test(
            format!("{name}::the_run_is_complete"),
            move || {
                let suite = leader()?;
                if suite.complaints.is_empty() {
                    Ok(())
                } else {
                    Err(suite.complaints.join("\n").into())
                }
            },
        ));
        for test in listed.iter() {
            let (run, machine, test) = (run.clone(), machine.clone(), test.clone());
            let title = format!("{name}::{}", test.name);
            match test.panics {
                None => followers.push(Trial::ignorable_test(title, move || {
                    judge(run()?.verdict(&test.name))
                })),
                Some(text) if index == 0 => {
                    followers.push(Trial::ignorable_test(title, move || {
                        let captured =
                            boot_ktest(name, &machine, &format!("test=only:{}", test.name))?;
                        judge(suite::judge_panic(&captured, &text))
                    }))
                }
                Some(_) => {}
            }
        }
    }
}

fn list_tests(image: &Image, name: &str) -> Result<Vec<Listed>> {
    let captured = boot(image, name, &Machine::measuring(), "test=list", SHORT)?;
    suite::list(&captured)
}

fn run_suite(name: &str, machine: &Machine, told: &str, listed: &[Listed]) -> Result<Suite> {
    eprintln!("[{name}] booting, {} tests", listed.len());
    let suite = suite::run(listed, |test| {
        boot(&KTEST, name, machine, &format!("{told} {test}"), LIMITS)
    })?;
    keep(name, &suite.console)?;
    let (passed, failed, ignored) = suite.counts();
    eprintln!(
        "[{name}] {passed} passed, {failed} failed, {ignored} ignored, {} boot(s)",
        suite.boots
    );
    Ok(suite)
}

fn boot_ktest(name: &str, machine: &Machine, told: &str) -> Result<Captured, Failed> {
    boot(&KTEST, name, machine, told, LIMITS).map_err(|error| format!("{error:#}").into())
}

fn judge(verdict: Verdict) -> Result<Completion, Failed> {
    match verdict {
        Verdict::Passed => Ok(Completion::Completed),
        Verdict::Ignored(reason) => Ok(Completion::ignored_with(reason)),
        Verdict::Failed(text) => Err(text.into()),
    }
}

/// Preemption at every instruction of the core paths, one trial per path.
fn sweep_trials(leaders: &mut Vec<Trial>, followers: &mut Vec<Trial>) {
    let paths = match list_tests(&SWEEP, "sweep") {
        Ok(paths) => paths,
        Err(error) => {
            leaders.push(broken("sweep::the_image_builds_and_lists_its_paths", error));
            return;
        }
    };
    let cell: Shared<Arc<Captured>> = Arc::default();
    let run = move || {
        shared(&cell, || {
            eprintln!("[sweep] booting");
            let captured = boot(&SWEEP, "sweep", &Machine::measuring(), "", sweep::LIMITS)?;
            keep("sweep", &captured.console)?;
            Ok(Arc::new(captured))
        })
    };
    let leader = run.clone();
    leaders.push(Trial::test("sweep::the_run_is_complete", move || {
        let captured = leader()?;
        sweep::closing(&captured, &sweep::paths(&captured.console))
            .map_err(|why| format!("{why}\n{}", excerpt(&captured.console)).into())
    }));
    for path in paths {
        let run = run.clone();
        followers.push(Trial::test(format!("sweep::{}", path.name), move || {
            sweep::judge(&*run()?, &path.name).map_err(Failed::from)
        }));
    }
}

/// Every figure of the bench against its committed budget.
fn bench_trials(leaders: &mut Vec<Trial>, followers: &mut Vec<Trial>) {
    let budgets: Arc<Vec<Budget>> = match cargo::root().and_then(|root| budgets::read(&root)) {
        Ok(budgets) => Arc::new(budgets),
        Err(error) => {
            leaders.push(broken("bench::the_budgets_can_be_read", error));
            return;
        }
    };
    let cell: Shared<Arc<Captured>> = Arc::default();
    let run = move || {
        shared(&cell, || {
            eprintln!("[bench] booting");
            let captured = boot(&BENCH, "bench", &Machine::measuring(), "", bench::LIMITS)?;
            keep("bench", &captured.console)?;
            Ok(Arc::new(captured))
        })
    };
    let (leader, bounded) = (run.clone(), Arc::clone(&budgets));
    leaders.push(Trial::test("bench::the_run_is_complete", move || {
        let captured = leader()?;
        if !captured.succeeded() {
            return Err(format!("{}\n{}", captured.end, excerpt(&captured.console)).into());
        }
        let results = lines::results(&captured.console);
        let loose: Vec<_> = budgets::unbounded(&bounded, &results)
            .iter()
            .map(|m| m.name.clone())
            .collect();
        if loose.is_empty() {
            return Ok(());
        }
        Err(format!(
            "nothing bounds {}: give each a line in {}",
            loose.join(", "),
            budgets::FILE
        )
        .into())
    }));
    for budget in budgets.iter().cloned() {
        let run = run.clone();
        followers.push(Trial::test(format!("budget::{}", budget.name), move || {
            budgets::check(&budget, &lines::results(&run()?.console)).map_err(Failed::from)
        }));
    }
}

/// Boots of the default image: broken worlds, boot arguments, commands.
fn world_trials(followers: &mut Vec<Trial>) {
    for (name, world, fate, phrases) in WORLDS {
        followers.push(Trial::test(format!("boot::{name}"), move || {
            let captured =
                enter(name, world).map_err(|error| Failed::from(format!("{error:#}")))?;
            keep(&format!("boot-{name}"), &captured.console)
                .map_err(|error| Failed::from(format!("{error:#}")))?;
            let ended_well = match fate {
                // How a kernel stops depends on what it could find out: halted, or switched off with a status.
                Fate::Stops => {
                    captured.end == End::Halted
                        || matches!(captured.end, End::Exited(code) if code != 0)
                }
                Fate::Succeeds => captured.end == End::Exited(0),
                Fate::Fails => {
                    matches!(captured.end, End::Exited(code) if code != 0 && code != 101)
                }
            };
            let missing: Vec<_> = phrases
                .iter()
                .filter(|phrase| !captured.console.contains(**phrase))
                .collect();
            if ended_well && missing.is_empty() {
                return Ok(());
            }
            let expected = match fate {
                Fate::Stops => "the kernel to stop (`stint: halted`, or a status other than 0)",
                Fate::Succeeds => "status 0",
                Fate::Fails => "a status other than 0, and no panic",
            };
            let end = &captured.end;
            let console = excerpt(&captured.console);
            Err(format!(
                "{end}; expected: {expected}; phrases that did not come: {missing:?}\n{console}"
            )
            .into())
        }));
    }
}

/// Makes a world and boots the default image in it.
fn enter(name: &str, world: &World) -> Result<Captured> {
    let mut machine = Machine::measuring();
    let plain = Wishes::default();
    let dir = logs()?;
    match world {
        World::Told(told) => boot(&STINT, name, &machine, told, LIMITS),
        World::Command(command) => {
            let bootargs = bootargs::compose(&Wishes {
                command: Some(command),
                ..plain
            })?;
            let image = &built(&STINT)?.image;
            qemu::capture(
                qemu::command(&machine, Payload::Image(image), &bootargs),
                LIMITS,
            )
        }
        World::X0(x0) => {
            machine.extra = stub::arguments(&built(&STINT)?.image, *x0, None, &dir)?;
            qemu::capture(qemu::command(&machine, Payload::None, ""), SHORT)
        }
        World::TreeByQemu(from, to) | World::TreeByStub(from, to) => {
            let image = &built(&STINT)?.image;
            let bootargs = bootargs::compose(&plain)?;
            let tree = dir.join(format!("boot-{name}.dtb"));
            let mut blob = dtb::dump(&machine, image, &bootargs, &tree)?;
            dtb::replace(&mut blob, from, to)?;
            std::fs::write(&tree, blob)
                .with_context(|| format!("cannot write {}", tree.display()))?;
            let payload = if matches!(world, World::TreeByQemu(..)) {
                machine.extra = vec!["-dtb".into(), tree.display().to_string()];
                Payload::Image(image)
            } else {
                machine.extra = stub::arguments(image, stub::TREE_AT, Some(&tree), &dir)?;
                Payload::None
            };
            qemu::capture(qemu::command(&machine, payload, &bootargs), SHORT)
        }
    }
}

fn built(image: &'static Image) -> Result<&'static Built> {
    image
        .as_ref()
        .map_err(|message| anyhow::anyhow!("{message}"))
}

/// Boots an image with the boot arguments `told`.
fn boot(
    image: &Image,
    name: &str,
    machine: &Machine,
    told: &str,
    limits: Limits,
) -> Result<Captured> {
    let built = image
        .as_ref()
        .map_err(|message| anyhow::anyhow!("{message}"))?;
    let bootargs = bootargs::compose(&Wishes {
        extra: told,
        command: None,
        interactive: false,
    })?;
    let command = qemu::command(machine, Payload::Image(&built.image), &bootargs);
    qemu::capture(command, limits).with_context(|| format!("the machine `{name}` could not be run"))
}

/// Keeps a console for whoever wants to read more than a failure message holds.
fn keep(name: &str, console: &str) -> Result<()> {
    let path = logs()?.join(format!("{name}.log"));
    std::fs::write(&path, console).with_context(|| format!("cannot write {}", path.display()))
}

fn logs() -> Result<PathBuf> {
    let dir = cargo::target_dir()?.join("qemu");
    std::fs::create_dir_all(&dir)
        .with_context(|| format!("cannot make the directory {}", dir.display()))?;
    Ok(dir)
}

/// A trial that stands for everything that could not even be listed.
fn broken(name: &str, error: anyhow::Error) -> Trial {
    let message = format!("{error:#}");
    Trial::test(name, move || Err(message.into()))
}
