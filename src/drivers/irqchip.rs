//! The interrupt controller as the rest of the kernel sees it: found in the device tree, configured under
//! a lock, used without one.
//!
//! Context: configuration from any (bounded); [`ack`], [`eoi`], [`mask`], [`unmask`] and the SGI calls from any.
//! Lock: CHIP, a leaf.

use arch::gic::{self, GicRegs};
pub use arch::gic::{
    PRIORITY_DEFAULT, SPURIOUS_FROM, ack, eoi, intid, is_active, mask, send_sgi, send_sgi_mask,
    send_sgi_self, unmask,
};
use arch::mmu::PhysAddr;

use super::machine::{GicInfo, GicVersion};
use crate::locking::RawSpinLockIrqSave;
use crate::mm::{SpaceError, ioremap};

/// Serialises configuration: some registers are read and written back. Interrupts are masked meanwhile: the
/// handler of a line that nobody claimed disables it.
static CHIP: RawSpinLockIrqSave<()> = RawSpinLockIrqSave::new(());

/// Redistributor frames are at most this large; no more than needed for every CPU are mapped.
const REDIST_BYTES: u64 = 0x4_0000 * gic::MAX_CPUS as u64;

/// Why there are no interrupts.
#[derive(Clone, Copy, Debug)]
pub enum IrqchipFault {
    /// The registers cannot be mapped.
    Map(SpaceError),
    /// The controller is not what the device tree says.
    Gic(gic::GicFault),
}

impl core::fmt::Display for IrqchipFault {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Self::Map(error) => write!(f, "GIC registers: {error}"),
            Self::Gic(fault) => fault.fmt(f),
        }
    }
}

/// Sets the distributor up. Once, on the boot CPU, before [`init_cpu`].
pub fn init(info: &GicInfo) -> Result<(), IrqchipFault> {
    let map = |start: u64, bytes: u64| ioremap(PhysAddr(start), bytes as usize).map_err(IrqchipFault::Map);
    let dist = map(info.distributor.start, info.distributor.bytes)?;
    let regs = match info.version {
        GicVersion::V2 => GicRegs::V2 { dist, cpu: map(info.cpu_side.start, info.cpu_side.bytes)? },
        GicVersion::V3 => {
            let bytes = info.cpu_side.bytes.min(REDIST_BYTES);
            GicRegs::V3 { dist, redist: map(info.cpu_side.start, bytes)?, redist_bytes: bytes as usize }
        }
    };
    let _guard = CHIP.lock();
    // SAFETY: the device tree says that these are the registers of this controller; they were just mapped
    // for good, and only this driver uses them.
    unsafe { gic::init_dist(regs) }.map_err(IrqchipFault::Gic)
}

/// Sets the calling CPU's side up. `cpu` is its logical number. Interrupts are masked.
pub fn init_cpu(cpu: usize) -> Result<(), IrqchipFault> {
    let _guard = CHIP.lock();
    gic::init_cpu(cpu).map_err(IrqchipFault::Gic)
}

/// Lets an interrupt through to `cpu` (for a private one on a GICv2: the calling CPU).
pub fn enable(cpu: usize, intid: u32, priority: u8) {
    let _guard = CHIP.lock();
    gic::enable(cpu, intid, priority);
}

/// Holds an interrupt back.
pub fn disable(cpu: usize, intid: u32) {
    let _guard = CHIP.lock();
    gic::disable(cpu, intid);
}

/// Delivers a shared interrupt to `cpu` from now on. Nobody masks or unmasks it meanwhile.
pub fn set_target(cpu: usize, intid: u32) {
    let _guard = CHIP.lock();
    gic::set_target(cpu, intid);
}

/// Says how the device signals. Only while the interrupt is disabled.
pub fn set_trigger(cpu: usize, intid: u32, edge: bool) {
    let _guard = CHIP.lock();
    gic::set_trigger(cpu, intid, edge);
}

/// Forgets that an interrupt is pending: what came before somebody was there to take it.
pub fn clear_pending(cpu: usize, intid: u32) {
    let _guard = CHIP.lock();
    gic::clear_pending(cpu, intid);
}

/// Makes an interrupt pending.
pub fn set_pending(cpu: usize, intid: u32) {
    let _guard = CHIP.lock();
    gic::set_pending(cpu, intid);
}
