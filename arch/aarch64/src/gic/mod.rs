//! The interrupt controller, whichever generation the device tree names.
//!
//! Two halves: `init_dist` once, `init_cpu` on every CPU. Configuration calls (`enable`, `set_trigger`,
//! …) are made by one caller at a time: the kernel's irqchip locks. [`ack`], [`eoi`] and the SGI calls
//! take no lock and may be used in any context; they are the hot path.
//!
//! Interrupt numbers are INTIDs: 0–15 SGI, 16–31 PPI (both per CPU), 32.. SPI. Spurious answers
//! (1020–1023) are returned as they are. Priorities: lower is more urgent; only the upper four bits exist
//! on every implementation, so use steps of 16.

pub mod v2;
pub mod v3;

use core::sync::atomic::{AtomicBool, Ordering};

/// Largest number of CPUs served.
pub const MAX_CPUS: usize = 64;
/// Priority for interrupts that want nothing special.
pub const PRIORITY_DEFAULT: u8 = 0xa0;
/// Acknowledging found nothing to do if the number is this or larger (after [`intid`]).
pub const SPURIOUS_FROM: u32 = 1020;

/// Which driver answers. Written once by `init_dist`, before any interrupt is enabled.
static IS_V3: AtomicBool = AtomicBool::new(false);

/// Where the registers are mapped.
#[derive(Clone, Copy, Debug)]
pub enum GicRegs {
    /// GICv2: distributor and CPU interface.
    V2 {
        /// GICD.
        dist: *mut u8,
        /// GICC, two pages.
        cpu: *mut u8,
    },
    /// GICv3: distributor and redistributor region.
    V3 {
        /// GICD, 64 KiB.
        dist: *mut u8,
        /// First GICR.
        redist: *mut u8,
        /// Bytes of the region that are mapped.
        redist_bytes: usize,
    },
}

/// Why the controller cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicFault {
    /// The CPU has no system registers for the GICv3, or a hypervisor keeps them.
    NoSystemRegisters,
    /// No redistributor of the mapped region has this affinity.
    NoRedistributor(u64),
    /// The redistributors have a layout the driver does not know.
    UnknownRedistributor,
    /// More CPUs than the driver serves.
    TooManyCpus(usize),
}

impl core::fmt::Display for GicFault {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Self::NoSystemRegisters => {
                f.write_str("GICv3 without system registers on this CPU; expected ICC_SRE_EL1.SRE = 1")
            }
            Self::NoRedistributor(affinity) => {
                write!(f, "GICv3: no redistributor for the CPU with affinity {affinity:#x}")
            }
            Self::UnknownRedistributor => {
                f.write_str("GICv3: unknown redistributor layout; expected architecture version 3 or 4")
            }
            Self::TooManyCpus(cpu) => write!(f, "CPU {cpu}; expected at most {MAX_CPUS} CPUs"),
        }
    }
}

/// Sets the distributor up: every shared interrupt disabled, level triggered, default priority.
///
/// # Safety
///
/// The pointers must be the mapped registers of the named controller, for ever and for nobody else.
pub unsafe fn init_dist(regs: GicRegs) -> Result<(), GicFault> {
    match regs {
        // SAFETY: the caller's promise.
        GicRegs::V2 { dist, cpu } => unsafe { v2::init_dist(dist, cpu) },
        GicRegs::V3 { dist, redist, redist_bytes } => {
            IS_V3.store(true, Ordering::Relaxed);
            // SAFETY: the caller's promise.
            unsafe { v3::init_dist(dist, redist, redist_bytes)? };
        }
    }
    Ok(())
}

/// Sets the calling CPU's side up: private interrupts disabled, SGIs enabled, no priority masked.
pub fn init_cpu(cpu: usize) -> Result<(), GicFault> {
    if cpu >= MAX_CPUS {
        return Err(GicFault::TooManyCpus(cpu));
    }
    if is_v3() {
        v3::init_cpu(cpu)
    } else {
        v2::init_cpu(cpu);
        Ok(())
    }
}

#[inline(always)]
fn is_v3() -> bool {
    IS_V3.load(Ordering::Relaxed)
}

/// Lets an interrupt through: a private one on `cpu`, which must be the calling CPU on a GICv2; a shared
/// one, to be delivered to `cpu`.
pub fn enable(cpu: usize, intid: u32, priority: u8) {
    // What its handler is, and what that reads, is there before the interrupt can be.
    // SAFETY: a barrier. No `nomem`: it orders the caller's stores.
    unsafe { core::arch::asm!("dsb ishst", options(nostack, preserves_flags)) };
    if is_v3() { v3::enable(cpu, intid, priority) } else { v2::enable(cpu, intid, priority) }
}

/// Holds back an interrupt that was enabled before; nothing else of it changes. Takes no lock: one register write
/// and the wait for its effect.
#[inline]
pub fn mask(cpu: usize, intid: u32) {
    if is_v3() { v3::mask(cpu, intid) } else { v2::disable(intid) }
}

/// Undoes [`mask`].
#[inline]
pub fn unmask(cpu: usize, intid: u32) {
    if is_v3() { v3::unmask(cpu, intid) } else { v2::unmask(intid) }
}

/// Holds an interrupt back.
pub fn disable(cpu: usize, intid: u32) {
    if is_v3() { v3::disable(cpu, intid) } else { v2::disable(intid) }
}

/// Says how a device signals: by an edge or a level. Only while the interrupt is disabled.
pub fn set_trigger(cpu: usize, intid: u32, edge: bool) {
    if is_v3() { v3::set_trigger(cpu, intid, edge) } else { v2::set_trigger(intid, edge) }
}

/// Delivers a shared interrupt to `cpu`, which has run `init_cpu`, from now on. One that is pending goes there too; one
/// that is being handled is not taken away.
pub fn set_target(cpu: usize, intid: u32) {
    if is_v3() { v3::set_target(cpu, intid) } else { v2::set_target(cpu, intid) }
}

/// Whether a CPU has acknowledged a shared interrupt and not yet ended it. After [`disable`] it is not acknowledged
/// anew: once this says no, nobody is in its handler.
#[must_use]
pub fn is_active(intid: u32) -> bool {
    if is_v3() { v3::is_active(intid) } else { v2::is_active(intid) }
}

/// Makes an interrupt pending as if its device had signalled (SPI, PPI; for tests).
pub fn set_pending(cpu: usize, intid: u32) {
    if is_v3() { v3::set_pending(cpu, intid) } else { v2::set_pending(intid) }
}

/// Forgets that an interrupt is pending; a device that signals by a level makes it so again.
pub fn clear_pending(cpu: usize, intid: u32) {
    if is_v3() { v3::clear_pending(cpu, intid) } else { v2::clear_pending(intid) }
}

/// Acknowledges the most urgent pending interrupt. Not a memory barrier: data passed along with an SGI
/// is read after a `dmb ishld`.
#[inline(always)]
pub fn ack() -> u32 {
    if is_v3() { v3::ack() } else { v2::ack() }
}

/// Ends the interrupt that [`ack`] returned as `raw`.
#[inline(always)]
pub fn eoi(raw: u32) {
    if is_v3() { v3::eoi(raw) } else { v2::eoi(raw) }
}

/// The interrupt number in what [`ack`] returned: a GICv2 puts the sender of an SGI above it.
#[inline(always)]
pub const fn intid(raw: u32) -> u32 {
    raw & 0x3ff
}

/// Sends SGI `sgi` to the calling CPU. Everything stored before is visible to the handler.
#[inline(always)]
pub fn send_sgi_self(sgi: u32) {
    if is_v3() { v3::send_sgi_self(sgi) } else { v2::send_sgi_self(sgi) }
}

/// Sends SGI `sgi` to another CPU that has run `init_cpu`.
#[inline(always)]
pub fn send_sgi(cpu: usize, sgi: u32) {
    if is_v3() { v3::send_sgi(cpu, sgi) } else { v2::send_sgi(cpu, sgi) }
}

/// Sends SGI `sgi` to every CPU of `cpus`, a bit each, all of which have run `init_cpu`. Everything stored before is
/// visible to the handlers. Bound: a register write for each 16 CPUs (GICv3), or one (GICv2), and 64 steps.
pub fn send_sgi_mask(cpus: u64, sgi: u32) {
    if is_v3() { v3::send_sgi_mask(cpus, sgi) } else { v2::send_sgi_mask(cpus, sgi) }
}
