//! A board whose CPUs wait in a spin table: QEMU's Raspberry Pi 4, with a device tree that says so.
//!
//! The tree (tests/data/rpi4-spin-table.dtb) has memory, GIC, timer, console and six cpu nodes: the board's four, one
//! for a CPU that it does not have, and another one with an `enable-method` that nobody knows. (A CPU that is there and
//! stays in its firmware's loop would make the emulator count every turn of that.)
//!
//! Invariants: the CPUs of the table come; one that cannot be started, and one that does not come, are left out and
//! named; a CPU that was let out once goes into the kernel's own pen and comes back from there.

use libtest_mimic::Trial;
use stint_tools::qemu::End;
use stint_tools::suite::excerpt;

use crate::boot::{SPIN_TABLE_TREE, boot_rpi4, message};

const COMMAND: &str = "cpu off 2; cpu; cpu on 2; cpu; cpu on 4";
/// What the console says, in this order.
const SAYS: &[&str] = &[
    "the CPU with mpidr 0x5 is left out: enable-method \"magic\"; expected psci or spin-table",
    "CPU 4 (mpidr 0x4) did not come within 1000 ms; left out",
    "smp: 4 CPUs online",
    "0x2  off       spin-table",
    "online: 0-1,3",
    "0x2  online    spin-table",
    "0x4  left out  spin-table",
    "online: 0-3",
    "CPU 4 did not come when it was started, and is left out",
];

/// One trial: the boot.
pub fn trials(followers: &mut Vec<Trial>) {
    followers.push(Trial::test("cpus::spin_table", || {
        let captured = boot_rpi4("cpus-spin_table", SPIN_TABLE_TREE, COMMAND, "", &[]).map_err(message)?;
        let mut rest = &*captured.console;
        for phrase in SAYS {
            let Some((_, behind)) = rest.split_once(phrase) else {
                let console = excerpt(&captured.console);
                return Err(format!("{}; expected `{phrase}`\n{console}", captured.end).into());
            };
            rest = behind;
        }
        // The last command fails, and so does the run.
        if matches!(captured.end, End::Exited(_)) { Ok(()) } else { Err(captured.end.to_string().into()) }
    }));
}
