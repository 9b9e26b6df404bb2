//! GICv2 (GIC-400): memory-mapped distributor and CPU interface.
//!
//! Invariants: the group registers are never written, so the same code drives a controller without
//! Security Extensions (all Group 0) and the non-secure view of one with them (all Group 1, the rest
//! reads as zero and ignores writes). A priority or target is written as one byte: its neighbours in the
//! word belong to other interrupts. What `ack` returned goes to `eoi` unchanged, sender bits included.
//!
//! Context: set-up and configuration by one caller at a time; `ack`, `eoi`, SGIs anywhere.
//! Registers: Arm GIC architecture 2.0 (IHI 0048), chapter 4.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering, compiler_fence};

use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};
use tock_registers::{register_bitfields, register_structs};

use super::{MAX_CPUS, PRIORITY_DEFAULT};

register_bitfields! { u32,
    GICD_CTLR [ ENABLE OFFSET(0) NUMBITS(1) [] ],
    GICD_TYPER [ ITLINES OFFSET(0) NUMBITS(5) [] ],
    GICD_SGIR [
        INTID OFFSET(0) NUMBITS(4) [],
        TARGETS OFFSET(16) NUMBITS(8) [],
        FILTER OFFSET(24) NUMBITS(2) [ List = 0, Others = 1, Me = 2 ]
    ],
    GICC_CTLR [ ENABLE OFFSET(0) NUMBITS(1) [] ]
}

register_structs! {
    #[allow(non_snake_case, reason = "the manual's names")]
    Gicd {
        (0x000 => CTLR: ReadWrite<u32, GICD_CTLR::Register>),
        (0x004 => TYPER: ReadOnly<u32, GICD_TYPER::Register>),
        (0x008 => _reserved0),
        (0x100 => ISENABLER: [ReadWrite<u32>; 32]),
        (0x180 => ICENABLER: [ReadWrite<u32>; 32]),
        (0x200 => ISPENDR: [ReadWrite<u32>; 32]),
        (0x280 => ICPENDR: [ReadWrite<u32>; 32]),
        (0x300 => ISACTIVER: [ReadWrite<u32>; 32]),
        (0x380 => ICACTIVER: [ReadWrite<u32>; 32]),
        (0x400 => IPRIORITYR: [ReadWrite<u8>; 1020]),
        (0x7fc => _reserved1),
        (0x800 => ITARGETSR: [ReadWrite<u8>; 1020]),
        (0xbfc => _reserved2),
        (0xc00 => ICFGR: [ReadWrite<u32>; 64]),
        (0xd00 => _reserved3),
        (0xf00 => SGIR: WriteOnly<u32, GICD_SGIR::Register>),
        (0xf04 => @END),
    }
}

register_structs! {
    #[allow(non_snake_case, reason = "the manual's names")]
    Gicc {
        (0x00 => CTLR: ReadWrite<u32, GICC_CTLR::Register>),
        (0x04 => PMR: ReadWrite<u32>),
        (0x08 => BPR: ReadWrite<u32>),
        (0x0c => IAR: ReadOnly<u32>),
        (0x10 => EOIR: WriteOnly<u32>),
        (0x14 => _reserved0),
        (0xd0 => APR: [ReadWrite<u32>; 4]),
        (0xe0 => @END),
    }
}

/// Virtual addresses of the registers; 0 until `init_dist`.
static DIST: AtomicUsize = AtomicUsize::new(0);
static CPU: AtomicUsize = AtomicUsize::new(0);
/// The bit by which the distributor knows each CPU: not the CPU's number in general.
static TARGET_BIT: [AtomicU8; MAX_CPUS] = [const { AtomicU8::new(0) }; MAX_CPUS];

fn gicd() -> &'static Gicd {
    // SAFETY: set once to registers that stay mapped; every register is a volatile cell.
    unsafe { &*(DIST.load(Ordering::Relaxed) as *const Gicd) }
}

#[inline(always)]
fn gicc() -> &'static Gicc {
    // SAFETY: as above. The CPU interface is banked: every CPU sees its own at this address.
    unsafe { &*(CPU.load(Ordering::Relaxed) as *const Gicc) }
}

pub(super) unsafe fn init_dist(dist: *mut u8, cpu: *mut u8) {
    DIST.store(dist as usize, Ordering::Relaxed);
    CPU.store(cpu as usize, Ordering::Relaxed);
    let gicd = gicd();
    gicd.CTLR.set(0);
    let lines = (gicd.TYPER.read(GICD_TYPER::ITLINES) as usize + 1).min(32);
    for word in 1..lines {
        gicd.ICENABLER[word].set(!0);
        gicd.ICPENDR[word].set(!0);
        gicd.ICACTIVER[word].set(!0);
        gicd.ICFGR[word * 2].set(0);
        gicd.ICFGR[word * 2 + 1].set(0);
    }
    let me = my_target_bit(gicd);
    for intid in 32..(lines * 32).min(1020) {
        gicd.IPRIORITYR[intid].set(PRIORITY_DEFAULT);
        gicd.ITARGETSR[intid].set(me);
    }
    gicd.CTLR.write(GICD_CTLR::ENABLE::SET);
}

/// The registers of the first eight targets are banked and hold the reader's own bit. A controller for
/// one CPU may read as zero there: then nobody looks at targets.
fn my_target_bit(gicd: &Gicd) -> u8 {
    let bits = (0..32).map(|i| gicd.ITARGETSR[i].get()).fold(0, |all, one| all | one);
    if bits == 0 { 1 } else { bits }
}

pub(super) fn init_cpu(cpu: usize) {
    let (gicd, gicc) = (gicd(), gicc());
    TARGET_BIT[cpu].store(my_target_bit(gicd), Ordering::Relaxed);
    // Words and bytes 0..32 are banked: this CPU's SGIs and PPIs.
    gicd.ICENABLER[0].set(0xffff_0000);
    gicd.ICPENDR[0].set(0xffff_0000);
    gicd.ICACTIVER[0].set(!0);
    for intid in 0..32 {
        gicd.IPRIORITYR[intid].set(PRIORITY_DEFAULT);
    }
    gicd.ISENABLER[0].set(0x0000_ffff);
    // What the firmware left active would hold back everything of the same or a lower priority.
    for apr in &gicc.APR {
        apr.set(0);
    }
    gicc.PMR.set(0xff);
    gicc.BPR.set(0);
    gicc.CTLR.write(GICC_CTLR::ENABLE::SET);
}

pub(super) fn enable(cpu: usize, intid: u32, priority: u8) {
    let (gicd, index) = (gicd(), intid as usize);
    gicd.IPRIORITYR[index].set(priority);
    if intid >= 32 {
        set_target(cpu, intid);
    }
    gicd.ISENABLER[index / 32].set(1 << (index % 32));
}

/// One byte, and one target: with several the controller would interrupt all of them, for one to find it.
pub(super) fn set_target(cpu: usize, intid: u32) {
    gicd().ITARGETSR[intid as usize].set(TARGET_BIT[cpu].load(Ordering::Relaxed));
}

pub(super) fn is_active(intid: u32) -> bool {
    gicd().ISACTIVER[intid as usize / 32].get() & 1 << (intid % 32) != 0
}

pub(super) fn disable(intid: u32) {
    gicd().ICENABLER[intid as usize / 32].set(1 << (intid % 32));
}

/// See [`super::mask`].
pub(super) fn unmask(intid: u32) {
    gicd().ISENABLER[intid as usize / 32].set(1 << (intid % 32));
}

pub(super) fn set_trigger(intid: u32, edge: bool) {
    // Two bits per interrupt, the upper one says edge. Read and write back: the callers are serialised.
    let register = &gicd().ICFGR[intid as usize / 16];
    let bit = 2 << (intid % 16 * 2);
    register.set(if edge { register.get() | bit } else { register.get() & !bit });
}

pub(super) fn set_pending(intid: u32) {
    gicd().ISPENDR[intid as usize / 32].set(1 << (intid % 32));
}

pub(super) fn clear_pending(intid: u32) {
    gicd().ICPENDR[intid as usize / 32].set(1 << (intid % 32));
}

/// See [`super::ack`].
#[inline(always)]
pub fn ack() -> u32 {
    let raw = gicc().IAR.get();
    // The handler's accesses stay behind the acknowledge, as far as the compiler is concerned.
    compiler_fence(Ordering::SeqCst);
    raw
}

/// See [`super::eoi`].
#[inline(always)]
pub fn eoi(raw: u32) {
    compiler_fence(Ordering::SeqCst);
    gicc().EOIR.set(raw);
}

/// See [`super::send_sgi_self`].
#[inline(always)]
pub fn send_sgi_self(sgi: u32) {
    publish();
    gicd().SGIR.write(GICD_SGIR::FILTER::Me + GICD_SGIR::INTID.val(sgi));
}

/// See [`super::send_sgi`].
#[inline(always)]
pub fn send_sgi(cpu: usize, sgi: u32) {
    publish();
    let target = u32::from(TARGET_BIT[cpu].load(Ordering::Relaxed));
    gicd().SGIR.write(GICD_SGIR::TARGETS.val(target) + GICD_SGIR::INTID.val(sgi));
}

/// See [`super::send_sgi_mask`].
pub fn send_sgi_mask(mut cpus: u64, sgi: u32) {
    let mut targets = 0;
    while cpus != 0 {
        targets |= TARGET_BIT[cpus.trailing_zeros() as usize].load(Ordering::Relaxed);
        cpus &= cpus - 1;
    }
    publish();
    gicd().SGIR.write(GICD_SGIR::TARGETS.val(u32::from(targets)) + GICD_SGIR::INTID.val(sgi));
}

/// Makes what was stored before visible to the CPU the SGI goes to.
#[inline(always)]
fn publish() {
    // SAFETY: a barrier. No `nomem`: the stores before must be made before.
    unsafe { core::arch::asm!("dsb ishst", options(nostack, preserves_flags)) };
}
