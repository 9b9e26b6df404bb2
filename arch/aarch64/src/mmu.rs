//! The address space: where everything is, and the final page tables.
//!
//! 39-bit addresses, 4 KiB granule, three levels. TTBR1 holds the kernel; TTBR0 holds the identity map
//! while booting, then an empty table (user tasks later).
//!
//! Invariant: no mapping is both writable and executable once the final tables are live; SCTLR_EL1.WXN
//! makes the CPU enforce it as well. The tables themselves are in `space.rs`.
//!
//! Context: any; nothing here allocates or locks. Architecture: Arm ARM D8 (VMSAv8-64).

pub use crate::space::{KernelSpace, MmuError, Prot};

/// Physical memory of the board at `LINEAR_BASE + phys`, never executable.
pub const LINEAR_BASE: usize = 0xffff_ff80_0000_0000;
/// Physical addresses of this many bits fit the linear map (256 GiB).
pub const LINEAR_BITS: u32 = 38;
/// The image is linked at `KERNEL_BASE + TEXT_OFFSET`.
pub const KERNEL_BASE: usize = 0xffff_ffc0_0000_0000;
/// Offset of the image header from a 2 MiB boundary when the loader keeps to the boot protocol.
pub const TEXT_OFFSET: usize = 0x8_0000;
/// Device registers.
pub const MMIO_BASE: usize = 0xffff_ffd0_0000_0000;
/// Bytes of the device window.
pub const MMIO_BYTES: usize = (1 << 30) - PATCH_PAGES * PAGE_BYTES;
/// The pages behind the device window: where text that is being patched is writable (`patch.rs`).
pub const PATCH_WINDOW: usize = MMIO_BASE + MMIO_BYTES;
/// How many they are.
pub const PATCH_PAGES: usize = 32;
/// Kernel stacks.
pub const STACK_BASE: usize = 0xffff_ffe0_0000_0000;
/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;

/// A physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhysAddr(pub u64);

/// Where a physical address of RAM is in the linear map.
pub const fn linear(phys: PhysAddr) -> *mut u8 {
    (LINEAR_BASE + phys.0 as usize) as *mut u8
}

/// The physical address behind an address in the linear map.
pub fn linear_to_phys(va: usize) -> PhysAddr {
    debug_assert!((LINEAR_BASE..KERNEL_BASE).contains(&va), "{va:#x} is not in the linear map");
    PhysAddr((va - LINEAR_BASE) as u64)
}

/// SCTLR_EL1 with the bits that must be one, MMU and caches off.
pub const SCTLR_OFF: u64 = 0x30d0_0800;
/// SCTLR_EL1 in normal operation: M, C, I, stack alignment checks at both levels.
pub const SCTLR_ON: u64 = SCTLR_OFF | 1 | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 12);
/// Writable memory is never executable.
pub const SCTLR_WXN: u64 = 1 << 19;

/// TCR_EL1 without the physical address size: T0SZ = T1SZ = 25, 4 KiB granules, walks inner and outer
/// write-back cacheable and inner shareable, 16-bit ASIDs.
pub const TCR: u64 = 25
    | (1 << 8)
    | (1 << 10)
    | (3 << 12)
    | (25 << 16)
    | (1 << 24)
    | (1 << 26)
    | (3 << 28)
    | (2 << 30)
    | (1 << 36);

/// Memory attributes and raw descriptors of the early tables.
pub mod attr {
    /// Attribute 0: Device-nGnRE; 1: normal write-back; 2: normal non-cacheable.
    pub const MAIR: u64 = 0x04 | (0xff << 8) | (0x44 << 16);
    const AF: u64 = 1 << 10;
    const INNER: u64 = 3 << 8;
    const NORMAL: u64 = 1 << 2;
    const PXN: u64 = 1 << 53;
    const UXN: u64 = 1 << 54;
    const READ_ONLY: u64 = 1 << 7;
    /// 2 MiB of normal memory, executable. Read-only, or SCTLR.WXN would forbid executing it.
    pub const IDMAP_BLOCK: u64 = 1 | AF | INNER | NORMAL | READ_ONLY | UXN;
    /// 2 MiB of normal memory.
    pub const EARLY_BLOCK_NX: u64 = 1 | AF | INNER | NORMAL | UXN | PXN;
    /// A page of normal memory, executable.
    pub const EARLY_PAGE_X: u64 = 3 | AF | INNER | NORMAL | UXN;
    /// A page of device registers.
    pub const EARLY_PAGE_DEVICE: u64 = 3 | AF | UXN | PXN;
}

/// Root of the tables in use for the kernel's half, which every CPU uses.
pub fn kernel_root() -> PhysAddr {
    let root: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mrs {}, ttbr1_el1", out(reg) root, options(nomem, nostack, preserves_flags)) };
    // ASID and the common-not-private bit, neither of which is used, are beside the address.
    PhysAddr(root & 0xffff_ffff_fffe)
}

/// Whether `va` is mapped and writable: the MMU is asked.
pub fn is_writable(va: usize) -> bool {
    crate::cpu::with_irqs_masked(|| {
        let par: u64;
        // SAFETY: translates without an access. PAR_EL1 is nobody else's between the two: interrupts are masked.
        unsafe {
            core::arch::asm!("at s1e1w, {}", "isb", "mrs {}, par_el1", in(reg) va, out(reg) par, options(nostack, preserves_flags));
        }
        par & 1 == 0
    })
}

/// Puts the identity map back into the lower half (boot and start of further CPUs).
pub fn idmap_enter() {
    set_lower_table(crate::boot::idmap_root());
}

/// Installs a table for the lower half, which is this CPU's alone: so are the TLB entries made of it (CnP is not used), and
/// their invalidation is not broadcast. What all CPUs share is the upper half; there it is (`space.rs`).
pub fn set_lower_table(root: PhysAddr) {
    // SAFETY: kernel code and data live in the upper half, so no reference depends on the lower half.
    unsafe {
        core::arch::asm!(
            "msr ttbr0_el1, {root}",
            "isb",
            "tlbi vmalle1",
            "dsb nsh",
            "isb",
            root = in(reg) root.0,
            options(nostack, preserves_flags),
        );
    }
}
