//! A kernel that comes over the serial line, to QEMU's Raspberry Pi 4 and to `virt`.
//!
//! Invariants: the kernel that starts is whole although the line damaged and lost bytes; it finds what the firmware would
//! have left for it: the device tree, EL2, and the other CPUs in their spin loop; a file that is refused starts nothing,
//! and the right one can follow.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use stint_tools::chainload::{self, Sent};
use stint_tools::machine::{self, Machine};
use stint_tools::qemu::{self, Payload};
use stint_tools::serial::port::{self, Patience};

use crate::boot::{CHAINLOADER, SPIN_TABLE_TREE, STINT, built, keep, message};
use crate::pty::{Guest, LEAVE, converse};

const TOLD: &str = "demo=0";
/// A megabyte over a pseudo-terminal, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(300);

/// Two trials, one for each machine.
pub fn trials(followers: &mut Vec<Trial>) {
    followers.push(Trial::test(
        "chainload::a_raspberry_pi_takes_a_kernel_over_a_bad_line_and_all_cpus_come",
        || {
            let mut command = Command::new(machine::program());
            // One host thread for all CPUs: with four, three that wait in the firmware's loop would stand in the way of every
            // access to a device that the fourth makes.
            command.args(["-accel", "tcg,thread=single"]);
            command.args([
                "-M",
                "raspi4b",
                "-dtb",
                SPIN_TABLE_TREE,
                "-display",
                "none",
                "-no-reboot",
                "-append",
                TOLD,
                "-kernel",
            ]);
            command.arg(&built(&CHAINLOADER).map_err(message)?.image);
            let says = session("chainload-rpi4", command, "cpu\r", "online: 0-3")?;
            expect(&says, &["entered at EL2", "bootargs demo=0", "smp: 4 CPUs online"])
        },
    ));
    followers.push(Trial::test(
        "chainload::virt_takes_a_kernel_and_starts_it_with_its_own_device_tree",
        || {
            let image = &built(&CHAINLOADER).map_err(message)?.image;
            let machine = Machine { el2: true, ..Machine::default() };
            let command = qemu::command(&machine, Payload::Image(image), TOLD);
            let says = session("chainload-virt", command, "uname -a\r", "aarch64")?;
            expect(&says, &["linux,dummy-virt, entered at EL2", "bootargs demo=0"])
        },
    ));
}

/// Sends a kernel that is refused, then the right one over a line that is not, and tries the shell. Returns what was said.
fn session(name: &str, command: Command, keys: &'static str, answer: &'static str) -> Result<String, Failed> {
    let kernel = std::fs::read(&built(&STINT).map_err(message)?.image)?;
    let mut guest = Guest::start(command).map_err(message)?;
    let mut line = port::open(&guest.dev).map_err(message)?;
    port::be_patient(&line, Patience::TwoTenths).map_err(message)?;
    guest.go().map_err(message)?;

    let mut other = kernel.clone();
    other[8..16].copy_from_slice(&0x20_0000u64.to_le_bytes());
    let refused = chainload::send(&mut line, &other, LIMIT, |_, _| {});
    let why = refused.map(|_| String::new()).unwrap_or_else(|error| error.to_string());
    if !why.contains("its text_offset is not 0x80000") {
        return Err(format!("a kernel for another place was not refused: {why}").into());
    }

    let mut bad = BadLine { line: line.try_clone()?, frames: 0 };
    let sent = chainload::send(&mut bad, &kernel, LIMIT, |_, _| {}).map_err(message)?;
    let blocks = kernel.len().div_ceil(4096) as u32;
    if sent.blocks != blocks || sent.again < BadLine::DAMAGED {
        return Err(format!(
            "{sent:?}; expected {:?} or more sent again",
            Sent { blocks, again: BadLine::DAMAGED }
        )
        .into());
    }

    port::be_patient(&line, Patience::ForEver).map_err(message)?;
    let says = converse(line, &[("stint> ", keys), (answer, LEAVE)], LIMIT).map_err(message)?;
    keep(name, &says).map_err(message)?;
    Ok(says)
}

fn expect(says: &str, phrases: &[&str]) -> Result<(), Failed> {
    match phrases.iter().find(|phrase| !says.contains(**phrase)) {
        Some(lacks) => Err(format!("expected `{lacks}` in\n{says}").into()),
        None => Ok(()),
    }
}

/// Damages some of the frames that go over it.
struct BadLine {
    line: File,
    frames: u32,
}

impl BadLine {
    const DAMAGED: u32 = 4;
}

impl Read for BadLine {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.line.read(buffer)
    }
}

impl Write for BadLine {
    /// One call is one frame.
    fn write(&mut self, frame: &[u8]) -> std::io::Result<usize> {
        self.frames += 1;
        let mut bytes = frame.to_vec();
        match self.frames {
            // The announcement, a block's payload, its length; and bytes that never arrive.
            1 => bytes[20] ^= 1,
            4 => bytes[2000] ^= 0x80,
            8 => bytes[11] = 0xff,
            12 => drop(bytes.drain(100..103)),
            _ => {}
        }
        self.line.write_all(&bytes)?;
        Ok(frame.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.line.flush()
    }
}
