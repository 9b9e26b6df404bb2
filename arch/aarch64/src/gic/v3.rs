//! GICv3: set up through the `arm-gic` crate, driven through system registers by our own assembly.
//!
//! The crate's accessors of the system registers tell the compiler that they touch no memory, so stores
//! may move across them; an acknowledge or an SGI must not be passed like that. Hence the assembly here.
//!
//! Invariant: interrupts are in (non-secure) Group 1. Affinity routing is on; shared interrupts are
//! routed to one CPU when they are enabled.
//!
//! Context: set-up and configuration by one caller at a time; `ack`, `eoi`, SGIs anywhere.
//! Registers: Arm GIC architecture 3 and 4 (IHI 0069).

use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, GicRedistributor, GicRedistributorIterator};
use arm_gic::{IntId, Trigger, UniqueMmioPointer};

use super::{GicFault, MAX_CPUS, PRIORITY_DEFAULT};

/// Virtual address of the distributor; 0 until `init_dist`.
static DIST: AtomicUsize = AtomicUsize::new(0);
/// First redistributor and bytes mapped from there.
static REGION: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
/// Redistributor of each CPU, once that CPU has found it.
static REDIST: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(0) }; MAX_CPUS];
/// Affinity of each CPU, for SGIs and routing.
static AFFINITY: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

fn distributor() -> GicDistributor<'static> {
    let regs = NonNull::new(DIST.load(Ordering::Relaxed) as *mut Gicd).expect("GICv3: init_dist comes first");
    // SAFETY: set once to the mapped registers. The configuring callers are serialised, so this is the
    // only pointer in use at a time.
    GicDistributor::new(unsafe { UniqueMmioPointer::new(regs) })
}

fn redistributor(cpu: usize) -> GicRedistributor<'static> {
    let regs = REDIST[cpu].load(Ordering::Relaxed) as *mut GicrSgi;
    let regs = NonNull::new(regs).expect("GICv3: init_cpu comes first");
    // SAFETY: as for the distributor.
    GicRedistributor::new(unsafe { UniqueMmioPointer::new(regs) })
}

pub(super) unsafe fn init_dist(dist: *mut u8, redist: *mut u8, redist_bytes: usize) -> Result<(), GicFault> {
    if !crate::cpu::has_gic_sysregs() {
        return Err(GicFault::NoSystemRegisters);
    }
    DIST.store(dist as usize, Ordering::Relaxed);
    REGION[0].store(redist as usize, Ordering::Relaxed);
    REGION[1].store(redist_bytes, Ordering::Relaxed);
    let mut distributor = distributor();
    distributor.enable_all_interrupts(false);
    distributor.configure_default_settings();
    let spis = distributor.typer().num_spis();
    for spi in 0..spis.min(IntId::MAX_SPI_COUNT) {
        // The range was checked, and the number is one of a shared interrupt.
        let _ = distributor.set_interrupt_priority(IntId::spi(spi), PRIORITY_DEFAULT);
    }
    Ok(())
}

pub(super) fn init_cpu(cpu: usize) -> Result<(), GicFault> {
    GicCpuInterface::enable_system_register_el1();
    let sre: u64;
    // SAFETY: reads back whether system registers are on.
    unsafe { asm!("isb", "mrs {}, S3_0_C12_C12_5", out(reg) sre, options(nostack, preserves_flags)) };
    if sre & 1 == 0 {
        return Err(GicFault::NoSystemRegisters);
    }
    let affinity = crate::cpu::mpidr();
    AFFINITY[cpu].store(affinity, Ordering::Relaxed);
    REDIST[cpu].store(find_redistributor(affinity)?, Ordering::Relaxed);

    let mut redistributor = redistributor(cpu);
    // An error says that the redistributor is awake already: fine.
    let _ = redistributor.mark_core_awake();
    redistributor.configure_default_settings();
    for intid in IntId::private() {
        let _ = redistributor.set_interrupt_priority(intid, PRIORITY_DEFAULT);
    }
    for sgi in 0..16 {
        let _ = redistributor.enable_interrupt(IntId::sgi(sgi), true);
    }
    redistributor.wait_for_pending_write();
    // SAFETY: this CPU's interface: EOI also deactivates (EOImode 0), all priority bits preempt (BPR1 0),
    // no priority masked (PMR), Group 1 on. Interrupts are masked in PSTATE while this runs.
    unsafe {
        asm!(
            "msr S3_0_C12_C12_4, xzr", // ICC_CTLR_EL1
            "msr S3_0_C12_C12_3, xzr", // ICC_BPR1_EL1
            "msr S3_0_C4_C6_0, {pmr}", // ICC_PMR_EL1
            "msr S3_0_C12_C12_7, {on}", // ICC_IGRPEN1_EL1
            "isb",
            pmr = in(reg) 0xffu64,
            on = in(reg) 1u64,
            options(nostack, preserves_flags),
        );
    }
    Ok(())
}

/// Looks for the redistributor with this CPU's affinity in the mapped region.
fn find_redistributor(affinity: u64) -> Result<usize, GicFault> {
    let base = REGION[0].load(Ordering::Relaxed);
    let end = base + REGION[1].load(Ordering::Relaxed);
    let first = NonNull::new(base as *mut GicrSgi).ok_or(GicFault::UnknownRedistributor)?;
    // SAFETY: the region is mapped; frames are only read, and the walk ends at the last frame or below.
    let frames =
        unsafe { GicRedistributorIterator::new(first) }.map_err(|_| GicFault::UnknownRedistributor)?;
    let mut frame_va = base;
    for frame in frames {
        let typer = frame.typer();
        if typer.core_mpidr() == affinity {
            return Ok(frame_va);
        }
        // GICv4 frames have two more pages of 64 KiB.
        frame_va += if typer.virtual_lpis_supported() { 0x4_0000 } else { 0x2_0000 };
        if frame_va >= end {
            break;
        }
    }
    Err(GicFault::NoRedistributor(affinity))
}

fn id(intid: u32) -> IntId {
    match intid {
        0..16 => IntId::sgi(intid),
        16..32 => IntId::ppi(intid - 16),
        _ => IntId::spi(intid - 32),
    }
}

pub(super) fn enable(cpu: usize, intid: u32, priority: u8) {
    // The errors are for numbers out of range, which `id` does not make.
    let _ = if intid < 32 {
        let mut redistributor = redistributor(cpu);
        let _ = redistributor.set_interrupt_priority(id(intid), priority);
        redistributor.enable_interrupt(id(intid), true)
    } else {
        let mut distributor = distributor();
        let _ = distributor.set_interrupt_priority(id(intid), priority);
        let _ = distributor.set_routing(id(intid), Some(AFFINITY[cpu].load(Ordering::Relaxed)));
        distributor.enable_interrupt(id(intid), true)
    };
}

/// Reads the interrupt's bit of GICD_ISENABLER (0x100), ISACTIVER (0x300) and their like.
fn read_bit(intid: u32, offset: usize) -> bool {
    let register = DIST.load(Ordering::Relaxed) + offset + intid as usize / 32 * 4;
    // SAFETY: a register of the mapped distributor, whose reading changes nothing.
    unsafe { (register as *const u32).read_volatile() & 1 << (intid % 32) != 0 }
}

/// The route of an interrupt that is let through is not changed under it (as Linux: between the two writes of 32 bits
/// that a bridge may make of one, it would have no CPU).
pub(super) fn set_target(cpu: usize, intid: u32) {
    let enabled = read_bit(intid, 0x100);
    if enabled {
        mask(cpu, intid);
    }
    let _ = distributor().set_routing(id(intid), Some(AFFINITY[cpu].load(Ordering::Relaxed)));
    if enabled {
        unmask(cpu, intid);
    }
}

pub(super) fn is_active(intid: u32) -> bool {
    read_bit(intid, 0x300)
}

pub(super) fn disable(cpu: usize, intid: u32) {
    if intid < 32 {
        let mut redistributor = redistributor(cpu);
        let _ = redistributor.enable_interrupt(id(intid), false);
        redistributor.wait_for_pending_write();
    } else {
        let mut distributor = distributor();
        let _ = distributor.enable_interrupt(id(intid), false);
        distributor.wait_for_pending_write();
    }
}

/// Bit of GICD_CTLR and GICR_CTLR: a write to an enable register has not taken effect everywhere.
const CTLR_RWP_DIST: u32 = 1 << 31;
const CTLR_RWP_REDIST: u32 = 1 << 3;

/// The registers that an interrupt's enable bit is in: the frame of its SGI_base or distributor, and the control
/// register that tells of pending writes.
#[inline(always)]
fn enable_frame(cpu: usize, intid: u32) -> (usize, usize, u32) {
    if intid < 32 {
        let redist = REDIST[cpu].load(Ordering::Relaxed);
        (redist + 0x1_0000, redist, CTLR_RWP_REDIST)
    } else {
        let dist = DIST.load(Ordering::Relaxed);
        (dist, dist, CTLR_RWP_DIST)
    }
}

/// See [`super::mask`].
#[inline]
pub fn mask(cpu: usize, intid: u32) {
    let (frame, control, pending) = enable_frame(cpu, intid);
    let clear = frame + 0x180 + intid as usize / 32 * 4;
    // SAFETY: GICD_ICENABLER or GICR_ICENABLER0 of the mapped controller; a bit that is 0 changes nothing. The
    // loop is bounded by the hardware: the write takes effect in finite time.
    unsafe {
        (clear as *mut u32).write_volatile(1 << (intid % 32));
        while (control as *const u32).read_volatile() & pending != 0 {}
    }
}

/// See [`super::unmask`].
#[inline]
pub fn unmask(cpu: usize, intid: u32) {
    let (frame, ..) = enable_frame(cpu, intid);
    let set = frame + 0x100 + intid as usize / 32 * 4;
    // SAFETY: as in `mask`, GICD_ISENABLER or GICR_ISENABLER0.
    unsafe { (set as *mut u32).write_volatile(1 << (intid % 32)) };
}

pub(super) fn set_trigger(cpu: usize, intid: u32, edge: bool) {
    let trigger = if edge { Trigger::Edge } else { Trigger::Level };
    let _ = match intid {
        0..16 => return,
        16..32 => redistributor(cpu).set_trigger(id(intid), trigger),
        _ => distributor().set_trigger(id(intid), trigger),
    };
}

pub(super) fn set_pending(cpu: usize, intid: u32) {
    write_pending(cpu, intid, 0x200);
}

pub(super) fn clear_pending(cpu: usize, intid: u32) {
    write_pending(cpu, intid, 0x280);
}

/// Writes the interrupt's bit to GICD_ISPENDR or ICPENDR, or to the redistributor's, which are at the same offsets
/// in its second frame. A write of one bit leaves the others alone.
fn write_pending(cpu: usize, intid: u32, offset: usize) {
    let (frame, ..) = enable_frame(cpu, intid);
    let register = frame + offset + intid as usize / 32 * 4;
    // SAFETY: a register of the mapped controller.
    unsafe { (register as *mut u32).write_volatile(1 << (intid % 32)) };
}

/// See [`super::ack`].
#[inline(always)]
pub fn ack() -> u32 {
    let raw: u64;
    // SAFETY: takes the interrupt, which the caller handles. No `nomem`: the handler's accesses stay
    // behind. S3_0_C12_C12_0 is ICC_IAR1_EL1.
    unsafe { asm!("mrs {}, S3_0_C12_C12_0", out(reg) raw, options(nostack, preserves_flags)) };
    raw as u32
}

/// See [`super::eoi`].
#[inline(always)]
pub fn eoi(raw: u32) {
    // SAFETY: ends what `ack` returned. No `nomem`: the handler's accesses stay before. S3_0_C12_C12_1 is
    // ICC_EOIR1_EL1.
    unsafe { asm!("msr S3_0_C12_C12_1, {}", in(reg) u64::from(raw), options(nostack, preserves_flags)) };
}

/// See [`super::send_sgi_self`].
#[inline(always)]
pub fn send_sgi_self(sgi: u32) {
    send_to(crate::cpu::mpidr(), sgi);
}

/// See [`super::send_sgi`].
#[inline(always)]
pub fn send_sgi(cpu: usize, sgi: u32) {
    send_to(AFFINITY[cpu].load(Ordering::Relaxed), sgi);
}

#[inline(always)]
fn send_to(affinity: u64, sgi: u32) {
    send_prepared(prepare(affinity, sgi));
}

/// An SGI whose target has been worked out: sending it is one register write and its barriers.
#[derive(Clone, Copy, Debug)]
pub struct PreparedSgi(u64);

/// Works out SGI `sgi` to the calling CPU.
pub fn prepare_sgi_self(sgi: u32) -> PreparedSgi {
    prepare(crate::cpu::mpidr(), sgi)
}

#[inline(always)]
fn prepare(affinity: u64, sgi: u32) -> PreparedSgi {
    let aff = |shift: u32| affinity >> shift & 0xff;
    // A target list covers 16 CPUs of one Aff1 cluster; the range selector the rest of 256.
    let value = aff(32) << 48
        | aff(16) << 32
        | aff(8) << 16
        | u64::from(sgi) << 24
        | (aff(0) >> 4) << 44
        | 1 << (aff(0) & 0xf);
    PreparedSgi(value)
}

/// Sends it.
#[inline(always)]
pub fn send_prepared(PreparedSgi(value): PreparedSgi) {
    // SAFETY: sends an interrupt. The barrier makes earlier stores visible first; the isb makes the send
    // happen here. S3_0_C12_C11_5 is ICC_SGI1R_EL1.
    unsafe {
        asm!("dsb ishst", "msr S3_0_C12_C11_5, {}", "isb", in(reg) value, options(nostack, preserves_flags));
    }
}

/// See [`super::send_sgi_mask`]. CPUs of one cluster (all affinity fields but the lowest, and 16 of that) share a write.
pub fn send_sgi_mask(mut cpus: u64, sgi: u32) {
    // SAFETY: a barrier. Earlier stores are visible before any of the interrupts.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
    while cpus != 0 {
        let affinity_of = |cpu: u32| AFFINITY[cpu as usize].load(Ordering::Relaxed);
        let first = affinity_of(cpus.trailing_zeros());
        let mut value = prepare(first, sgi).0;
        let mut left = cpus;
        while left != 0 {
            let cpu = left.trailing_zeros();
            left &= left - 1;
            let affinity = affinity_of(cpu);
            if affinity & !0xf == first & !0xf {
                value |= 1 << (affinity & 0xf);
                cpus &= !(1 << cpu);
            }
        }
        // SAFETY: sends an interrupt. ICC_SGI1R_EL1.
        unsafe { asm!("msr S3_0_C12_C11_5, {}", in(reg) value, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier: they are sent here.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}
