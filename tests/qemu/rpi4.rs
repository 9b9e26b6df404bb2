//! The Raspberry Pi 4 of QEMU: what its boots say, line by line, and what a boot that fails shows without a screen.
//!
//! The in-kernel tests run on it like on every machine (`rpi4::…`); these are the boots of the default image. The board's
//! light is seen in QEMU's trace of register writes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use stint_tools::bootargs::{self, Wishes};
use stint_tools::machine::Machine;
use stint_tools::qemu::{self, Captured, End, Payload};
use stint_tools::suite::excerpt;
use stint_tools::{dtb, lines, raspi};

use crate::boot::{SHORT, STINT, built, from_card, keep, logs, message};

/// The whole ladder.
const LADDER: &str = "123456789A\r\n";
/// Writes that turn the light on and off, in the trace.
const LIGHT_ON: &str = "addr 0xfe200020 value 0x400 ";
const LIGHT_OFF: &str = "addr 0xfe20002c value 0x400 ";
/// Worst wake-up under all loads with one CPU running, in ns of a counter that is 2.9 % fast, three CPUs parked in the
/// firmware's loop: measured 2,407, rounded up.
const WORST_NS: f64 = 3000.0;

/// Boots that succeed: name, how, boot arguments, what is said in this order.
const BOOTS: &[(&str, How, &str, &[&str])] = &[
    (
        "boots_at_the_boards_clock",
        How::Usual,
        "",
        &[
            LADDER,
            "smp: 4 CPUs online",
            " #1 SMP PREEMPT(full) Cortex-A72",
            "entered at EL2",
            "counter 54 MHz",
            "GICv2",
            "PL011 at 0xfe201000, 115200 baud from 48 MHz",
            " at 0x80000",
        ],
    ),
    ("boots_with_our_own_tree", How::OwnTree, "", &[LADDER, "smp: 4 CPUs online", "Stint's own tree"]),
    (
        "speaks_on_the_mini_uart",
        How::SecondUart,
        "console=serial1",
        &["6789A\r\n", "smp: 4 CPUs online", "mini UART at 0xfe215040, 115200 baud from 500 MHz"],
    ),
    ("boots_where_newer_firmware_loads_it", How::At2Mib, "", &[LADDER, "smp: 4 CPUs online", " at 0x200000"]),
];

/// How a board is booted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// With the tree there is.
    Usual,
    /// With our own.
    OwnTree,
    /// Listening to the mini UART.
    SecondUart,
    /// The image's header asks for this place.
    At2Mib,
}

/// All boots.
pub fn trials(followers: &mut Vec<Trial>) {
    for (name, how, told, says) in BOOTS {
        followers.push(Trial::test(format!("rpi4::{name}"), move || {
            let captured = enter(*how, told).map_err(message)?;
            keep(&format!("rpi4-{name}"), &captured.console).map_err(message)?;
            expect(&captured, says).map_err(message)?;
            if captured.end == End::Exited(0) { Ok(()) } else { Err(captured.end.to_string().into()) }
        }));
    }
    followers.push(Trial::test("rpi4::without_a_tree_it_says_what_to_do_and_blinks", || {
        // QEMU then passes a list of ATAGs, like old firmware.
        let mut command =
            without_tree(&qemu::command(&Machine::raspberry_pi4(PathBuf::new()), Payload::None, ""));
        command.arg("-kernel").arg(&built(&STINT).map_err(message)?.image);
        fails(
            command,
            "no-tree",
            &["1234\r\n", "x0 = 0x100", "ATAGs", "bcm2711-rpi-4-b.dtb", "stint: halted"],
        )
        .map_err(message)
    }));
    followers.push(Trial::test(
        "rpi4::an_unknown_interrupt_controller_is_named_and_the_light_blinks",
        || {
            let tree = spoilt_tree(b"arm,gic-400", b"acme,irq-40").map_err(message)?;
            let image = &built(&STINT).map_err(message)?.image;
            let command = qemu::command(&Machine::raspberry_pi4(tree), Payload::Image(image), "");
            fails(command, "unknown-gic", &["12345\r\n", "acme,irq-40", "stint: halted"]).map_err(message)
        },
    ));
    followers.push(Trial::test("rpi4::a_task_is_on_time_under_load", || {
        let worst = latency().map_err(message)?;
        if worst <= WORST_NS {
            Ok(())
        } else {
            Err(format!("worst wake-up {worst} ns; expected {WORST_NS}").into())
        }
    }));
}

fn pi(tree: &Path) -> Machine {
    Machine { icount: true, ..Machine::raspberry_pi4(tree.to_owned()) }
}

fn enter(how: How, told: &str) -> Result<Captured> {
    let bootargs = bootargs::compose(&Wishes { command: Some("uname -a"), extra: told, interactive: false })?;
    let tree = if how == How::OwnTree { raspi::own()? } else { raspi::device_tree()? };
    let mut machine = pi(&tree.path);
    if how == How::SecondUart {
        machine.extra = vec!["-serial".into(), "null".into()];
    }
    // The banner is wanted as well, without the demonstration.
    let bootargs = format!("{bootargs} demo=0");
    let image = if how == How::At2Mib { moved_image()? } else { from_card(&built(&STINT)?.image)? };
    qemu::capture(qemu::command(&machine, Payload::Image(&image), &bootargs), SHORT)
}

/// The image with another `text_offset` in its header.
fn moved_image() -> Result<PathBuf> {
    const TEXT_OFFSET_AT: usize = 8;
    let mut bytes = std::fs::read(&built(&STINT)?.image).context("cannot read the image")?;
    bytes[TEXT_OFFSET_AT..TEXT_OFFSET_AT + 8].copy_from_slice(&0x20_0000u64.to_le_bytes());
    let path = logs()?.join("rpi4-moved.img");
    std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn spoilt_tree(from: &[u8], to: &[u8]) -> Result<PathBuf> {
    let own = raspi::own()?.path;
    let mut blob = std::fs::read(&own).with_context(|| format!("cannot read {}", own.display()))?;
    dtb::replace(&mut blob, from, to)?;
    let path = logs()?.join("rpi4-spoilt.dtb");
    std::fs::write(&path, blob).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The same command without its tree.
fn without_tree(command: &Command) -> Command {
    let mut bare = Command::new(command.get_program());
    let mut arguments = command.get_args();
    while let Some(argument) = arguments.next() {
        if argument == "-dtb" {
            arguments.next();
        } else {
            bare.arg(argument);
        }
    }
    bare
}

/// A boot that must stop, say this in this order, and then turn the light on and off. It does so for ever: it is looked
/// at until enough was seen.
fn fails(mut command: Command, name: &str, says: &[&str]) -> Result<()> {
    let log = |kind| logs().map(|logs| logs.join(format!("rpi4-{name}.{kind}")));
    let (trace, console) = (log("trace")?, log("log")?);
    // Of an earlier run.
    let _ = std::fs::remove_file(&trace);
    let stdout = File::create(&console).with_context(|| format!("cannot write {}", console.display()))?;
    command.args(["-trace", "memory_region_ops_write", "-D"]).arg(&trace);
    command.args(["-monitor", "none", "-serial", "stdio"]).stdin(Stdio::null()).stdout(stdout);
    let mut child = qemu::spawn_with_remarks(command)?;
    let start = Instant::now();
    let (mut light, mut end) = (String::new(), None);
    while start.elapsed() < SHORT.silence && end.is_none() && !light.contains("+-+-+-") {
        std::thread::sleep(Duration::from_millis(50));
        // There is none before the first write.
        light = light_in(&std::fs::read_to_string(&trace).unwrap_or_default());
        end = child.try_wait().context("cannot ask for QEMU's status")?;
    }
    let _ = child.kill();
    let _ = child.wait();
    let text =
        std::fs::read_to_string(&console).with_context(|| format!("cannot read {}", console.display()))?;
    expect(&Captured { console: text, end: End::Halted }, says)?;
    ensure!(end.is_none(), "QEMU ended: {end:?}; expected that it is killed");
    ensure!(light.contains("+-+-+-"), "the light was turned on and off so: {light}");
    Ok(())
}

/// How the light was turned on and off. Steady while the board boots; then the number.
fn light_in(trace: &str) -> String {
    let change = |line: &str| match line {
        line if line.contains(LIGHT_ON) => Some('+'),
        line if line.contains(LIGHT_OFF) => Some('-'),
        _ => None,
    };
    trace.lines().filter_map(change).collect()
}

fn expect(captured: &Captured, says: &[&str]) -> Result<()> {
    let mut rest = &*captured.console;
    for phrase in says {
        let found = rest.split_once(phrase);
        let (_, behind) = found.with_context(|| {
            format!("{}; expected {phrase:?}\n{}", captured.end, excerpt(&captured.console))
        })?;
        rest = behind;
    }
    Ok(())
}

/// The worst wake-up of the latency demonstration. One CPU: the emulator lets several share one clock.
fn latency() -> Result<f64> {
    let wishes = Wishes {
        command: Some("latency period=1013us fragments=1000 load=all"),
        extra: "nr_cpus=1",
        interactive: false,
    };
    let machine = pi(&raspi::device_tree()?.path);
    let image = &built(&STINT)?.image;
    let captured = qemu::capture(
        qemu::command(&machine, Payload::Image(image), &bootargs::compose(&wishes)?),
        crate::boot::LIMITS,
    )?;
    keep("rpi4-latency", &captured.console)?;
    let result = lines::results(&captured.console).into_iter().find(|result| result.name == "latency.wakeup");
    let result = result
        .filter(|result| captured.end == End::Exited(0) && result.field("missed") == Some("0"))
        .with_context(|| {
            format!("{}; expected a result, and nothing missed\n{}", captured.end, excerpt(&captured.console))
        })?;
    Ok(result.value)
}
