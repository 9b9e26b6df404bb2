//! Boots of the default image: worlds that should not exist, boot arguments, commands.
//!
//! Invariant: each world differs from a sound one in exactly one thing, and the kernel has to name it. What it
//! must say stands in one table, so that a message can be reworded in one place.

use anyhow::{Context, Result};
use libtest_mimic::Trial;
use stint_tools::bootargs::{self, Wishes};
use stint_tools::machine::Machine;
use stint_tools::qemu::{self, Captured, End, Payload};
use stint_tools::suite::excerpt;
use stint_tools::{dtb, stub};

use crate::boot::{LIMITS, SHORT, STINT, boot, built, keep, logs, message};

/// How a broken world is made.
enum World {
    /// The image is entered with this x0, and nothing lies there.
    X0(u64),
    /// A sound device tree in which one text is replaced. The stub hands it over: QEMU would repair it.
    Tree(&'static [u8], &'static [u8]),
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
    ("no_device_tree", World::X0(0), Fate::Stops, &["no device tree"]),
    // A loader of 32-bit days passes the address of its ATAGs.
    ("an_atags_address", World::X0(0x100), Fate::Stops, &["magic"]),
    ("a_corrupt_device_tree", World::X0(stub::TREE_AT), Fate::Stops, &["magic"]),
    ("an_unknown_gic", World::Tree(b"arm,gic-v3\0", b"acme,irq-9\0"), Fate::Stops, &["GIC", "acme,irq-9"]),
    ("no_memory_node", World::Tree(b"memory", b"mem0ry"), Fate::Stops, &["memory"]),
    (
        "bad_bootargs_are_named",
        World::Told("hz=7 preempt=banana foo=1 demo=0"),
        Fate::Succeeds,
        &["hz=7", "banana", "foo"],
    ),
    ("a_good_command_succeeds", World::Command("uname -a"), Fate::Succeeds, &["aarch64"]),
    ("a_failing_command_fails_the_run", World::Command("no_such_command"), Fate::Fails, &["no_such_command"]),
    ("nobody_at_the_console", World::Told(""), Fate::Succeeds, &[]),
];

/// Boots of the default image: broken worlds, boot arguments, commands.
pub fn trials(followers: &mut Vec<Trial>) {
    for (name, world, fate, phrases) in WORLDS {
        followers.push(Trial::test(format!("boot::{name}"), move || {
            let captured = enter(name, world).map_err(message)?;
            keep(&format!("boot-{name}"), &captured.console).map_err(message)?;
            let ended_well = match fate {
                // How a kernel stops depends on what it could find out: halted, or switched off with a status.
                Fate::Stops => {
                    captured.end == End::Halted || matches!(captured.end, End::Exited(code) if code != 0)
                }
                Fate::Succeeds => captured.end == End::Exited(0),
                Fate::Fails => {
                    matches!(captured.end, End::Exited(code) if code != 0 && code != 101)
                }
            };
            let missing: Vec<_> =
                phrases.iter().filter(|phrase| !captured.console.contains(**phrase)).collect();
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
            Err(format!("{end}; expected: {expected}; phrases that did not come: {missing:?}\n{console}")
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
            let bootargs = bootargs::compose(&Wishes { command: Some(command), ..plain })?;
            let image = &built(&STINT)?.image;
            qemu::capture(qemu::command(&machine, Payload::Image(image), &bootargs), LIMITS)
        }
        World::X0(x0) => {
            machine.extra = stub::arguments(&built(&STINT)?.image, *x0, None, &dir)?;
            qemu::capture(qemu::command(&machine, Payload::None, ""), SHORT)
        }
        World::Tree(from, to) => {
            let image = &built(&STINT)?.image;
            let bootargs = bootargs::compose(&plain)?;
            let tree = dir.join(format!("boot-{name}.dtb"));
            let mut blob = dtb::dump(&machine, image, &bootargs, &tree)?;
            dtb::replace(&mut blob, from, to)?;
            std::fs::write(&tree, blob).with_context(|| format!("cannot write {}", tree.display()))?;
            machine.extra = stub::arguments(image, stub::TREE_AT, Some(&tree), &dir)?;
            qemu::capture(qemu::command(&machine, Payload::None, ""), SHORT)
        }
    }
}
