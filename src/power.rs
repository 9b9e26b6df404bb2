//! Leaving the machine: power off with an exit status, or stop where nothing can be turned off.
//!
//! By the firmware (PSCI) where there is one; else by the board's watchdog, once its driver is there; an emulator takes an
//! exit status too.
//!
//! Context: any, also a panic.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU8, Ordering};

use crate::bootargs::ExitMethod;
use crate::drivers::bcm2711::watchdog;
use crate::drivers::machine::PsciMethod;
use crate::drivers::{console, early};
use crate::ladder;

/// How to leave, as far as it is known yet.
static METHOD: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const PSCI_HVC: u8 = 1;
const PSCI_SMC: u8 = 2;
const SEMIHOSTING: u8 = 3;

/// The firmware, whatever the method.
static PSCI: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Remembers how this machine is left.
pub fn set_method(exit: ExitMethod, psci: Option<PsciMethod>) {
    let firmware = match psci {
        Some(PsciMethod::Hvc) => PSCI_HVC,
        Some(PsciMethod::Smc) => PSCI_SMC,
        None => UNKNOWN,
    };
    PSCI.store(firmware, Ordering::Relaxed);
    METHOD.store(if exit == ExitMethod::Semihosting { SEMIHOSTING } else { firmware }, Ordering::Relaxed);
}

/// Turns the machine off. With `exit=semihosting` the emulator's exit status is `code`. A machine that
/// cannot be turned off is stopped, after the line `stint: halted`, by its watchdog where it has one; if it failed, it stays
/// as it is, to be looked at, and a board's light says how far it had come.
pub fn exit(code: u32) -> ! {
    console::hand_over();
    match METHOD.load(Ordering::Relaxed) {
        SEMIHOSTING => arch::semihost::exit(code),
        PSCI_HVC => arch::psci::system_off(arch::psci::PsciConduit::Hvc),
        PSCI_SMC => arch::psci::system_off(arch::psci::PsciConduit::Smc),
        _ if code == 0 => {
            early::write_text("stint: halted\n");
            if let Some(watchdog) = watchdog::get() {
                watchdog.halt();
            }
            arch::psci::stop()
        }
        _ => {
            early::write_text("stint: halted\n");
            ladder::repeat()
        }
    }
}

/// Starts the machine again. Returns if there is nothing that could.
pub fn restart() {
    console::hand_over();
    match PSCI.load(Ordering::Relaxed) {
        PSCI_HVC => arch::psci::system_reset(arch::psci::PsciConduit::Hvc),
        PSCI_SMC => arch::psci::system_reset(arch::psci::PsciConduit::Smc),
        _ => {
            if let Some(watchdog) = watchdog::get() {
                watchdog.reboot();
                // It comes in a sixth of a millisecond, whatever is run until then.
                arch::psci::stop()
            }
        }
    }
}

/// Stops a boot that cannot go on; the reason has been printed.
pub fn boot_failed() -> ! {
    early::write_text("stint: halted\n");
    if METHOD.load(Ordering::Relaxed) == UNKNOWN {
        ladder::repeat()
    }
    exit(1)
}
