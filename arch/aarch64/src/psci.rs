//! Calls to the firmware: power off, reset (start of further CPUs comes with them).
//!
//! Context: any. Never call with a conduit the device tree did not give: SMC on a board without firmware
//! at EL3 hangs or traps.

use smccc::{Hvc, Smc, psci};

/// How to reach the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciConduit {
    /// `hvc`: a hypervisor answers.
    Hvc,
    /// `smc`: EL3 answers.
    Smc,
}

/// Turns the machine off.
pub fn system_off(conduit: PsciConduit) -> ! {
    // The result would tell why it did not work; there is nobody left to tell.
    let _ = match conduit {
        PsciConduit::Hvc => psci::system_off::<Hvc>(),
        PsciConduit::Smc => psci::system_off::<Smc>(),
    };
    stop()
}

/// Resets the machine.
pub fn system_reset(conduit: PsciConduit) -> ! {
    let _ = match conduit {
        PsciConduit::Hvc => psci::system_reset::<Hvc>(),
        PsciConduit::Smc => psci::system_reset::<Smc>(),
    };
    stop()
}

/// Masks everything and sleeps.
pub fn stop() -> ! {
    // SAFETY: masking interrupts has no effect on memory; nothing runs on this CPU after.
    unsafe { core::arch::asm!("msr daifset, #0xf", options(nostack, preserves_flags)) };
    loop {
        crate::cpu::wait_for_interrupt();
    }
}
