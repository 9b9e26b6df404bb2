//! Calls to the firmware: power off, reset, CPUs on and off.
//!
//! Context: any. Never call with a conduit the device tree did not give: SMC on a board without firmware
//! at EL3 hangs or traps.

use smccc::{Hvc, Smc, psci};

use crate::mmu::PhysAddr;

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

pub use smccc::psci::Error as PsciError;

/// Starts the CPU with this affinity at `entry`, with `context` in x0. Everything it is to find was cleaned to memory.
///
/// # Errors
/// What the firmware says. [`PsciError::AlreadyOn`]: it runs something.
pub fn cpu_on(
    conduit: PsciConduit,
    affinity: u64,
    entry: PhysAddr,
    context: PhysAddr,
) -> Result<(), PsciError> {
    match conduit {
        PsciConduit::Hvc => psci::cpu_on::<Hvc>(affinity, entry.0, context.0),
        PsciConduit::Smc => psci::cpu_on::<Smc>(affinity, entry.0, context.0),
    }
}

/// Turns the calling CPU off. Returns only if the firmware refuses.
pub fn cpu_off(conduit: PsciConduit) -> PsciError {
    let refused = match conduit {
        PsciConduit::Hvc => psci::cpu_off::<Hvc>(),
        PsciConduit::Smc => psci::cpu_off::<Smc>(),
    };
    refused.err().unwrap_or(PsciError::InternalFailure)
}

/// Whether the CPU with this affinity is off as the firmware sees it. A CPU that called [`cpu_off`] is on for a while.
pub fn is_off(conduit: PsciConduit, affinity: u64) -> bool {
    let level = psci::LowestAffinityLevel::All;
    let state = match conduit {
        PsciConduit::Hvc => psci::affinity_info::<Hvc>(affinity, level),
        PsciConduit::Smc => psci::affinity_info::<Smc>(affinity, level),
    };
    state == Ok(psci::AffinityState::Off)
}

/// Masks everything and sleeps.
pub fn stop() -> ! {
    // SAFETY: masking interrupts has no effect on memory; nothing runs on this CPU after.
    unsafe { core::arch::asm!("msr daifset, #0xf", options(nostack, preserves_flags)) };
    loop {
        crate::cpu::wait_for_interrupt();
    }
}
