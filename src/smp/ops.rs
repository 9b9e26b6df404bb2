//! How a CPU is started: one interface, an implementation for each `enable-method`.
//!
//! Context: threads. Locks: none; the caller serialises.

use arch::mmu::{self, PhysAddr};
use arch::psci::PsciConduit;
use arch::secondary;

use super::bringup::CpuError;
use crate::cpus::{Cpu, Method};
use crate::mm;
use crate::start::boot_info;

/// What an `enable-method` can do.
pub(super) struct CpuOps {
    /// Makes the CPU, which is off, run from its record at `record`.
    pub(super) boot: fn(cpu: &Cpu, record: PhysAddr) -> Result<(), CpuError>,
    /// Turns the calling CPU off, whose work is done. Returns if that is not possible. IRQs masked.
    pub(super) die: fn(),
}

/// The operations for this CPU.
pub(super) fn of(cpu: &Cpu) -> Option<&'static CpuOps> {
    match cpu.method {
        Method::Boot => None,
        Method::Psci => Some(&PSCI),
        Method::SpinTable(_) => Some(&SPIN_TABLE),
    }
}

static PSCI: CpuOps = CpuOps { boot: psci_boot, die: psci_die };
// There is no way back into the firmware's table: its word has been used.
static SPIN_TABLE: CpuOps = CpuOps { boot: spin_table_boot, die: || {} };

fn conduit() -> Option<PsciConduit> {
    use crate::drivers::machine::PsciMethod;
    Some(match boot_info().psci? {
        PsciMethod::Hvc => PsciConduit::Hvc,
        PsciMethod::Smc => PsciConduit::Smc,
    })
}

fn psci_boot(cpu: &Cpu, record: PhysAddr) -> Result<(), CpuError> {
    let conduit = conduit().ok_or(CpuError::NoFirmware)?;
    let (entry, _) = secondary::entry_points();
    arch::psci::cpu_on(conduit, cpu.affinity, entry, record).map_err(CpuError::Firmware)
}

/// The firmware cleans the caches of the CPU, with the state in them that says that it is dead.
fn psci_die() {
    if let Some(conduit) = conduit() {
        let error = arch::psci::cpu_off(conduit);
        log::warn!(target: "smp", "the firmware does not turn the CPU off: {error}; it waits instead");
    }
}

/// Whether the firmware has really turned CPU `cpu` off: before that, it cannot be started again.
pub(super) fn is_off(cpu: usize) -> bool {
    match (crate::cpus::cpu(cpu), conduit()) {
        (Some(known), Some(conduit)) => arch::psci::is_off(conduit, known.affinity),
        _ => false,
    }
}

fn spin_table_boot(cpu: &Cpu, _: PhysAddr) -> Result<(), CpuError> {
    let Method::SpinTable(release_addr) = cpu.method else { return Err(CpuError::NoFirmware) };
    let slot = slot(release_addr)?;
    let (_, entry) = secondary::entry_points();
    // SAFETY: the device tree says that the CPU waits for this word, and reserves it; `entry` is for CPUs from there,
    // whose record is written.
    unsafe { arch::spin_table::release(slot, entry) };
    Ok(())
}

/// Where the word at physical `at` is mapped. In RAM that the device tree describes that is the linear map, as for
/// everything else in the page: two mappings of different kinds of one page would be wrong.
fn slot(at: u64) -> Result<*mut u64, CpuError> {
    let bad = CpuError::ReleaseAddress(at);
    if !at.is_multiple_of(8) || at >> mmu::LINEAR_BITS != 0 {
        return Err(bad);
    }
    let linear = mmu::linear(PhysAddr(at)).cast::<u64>();
    if mmu::is_writable(linear as usize) {
        return Ok(linear);
    }
    mm::ioremap(PhysAddr(at), size_of::<u64>()).map(|mapped| mapped.cast()).map_err(|_| bad)
}
