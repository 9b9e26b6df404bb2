//! The Rust side of the first few hundred instructions: constants for `boot.S`, the places of the image,
//! and the little that can be done while the early tables are live.
//!
//! Invariant: the early tables map the image (writable, executable), two 2 MiB blocks around the device
//! tree in the linear map, and nothing else; everything added here is added by turning an invalid entry
//! into a valid one, which needs no TLB maintenance.
//!
//! Context: the boot CPU only, interrupts masked, before the final tables are live (the layout functions
//! may be called at any time). No locks: there is nobody else yet.

use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::mmu::{KERNEL_BASE, LINEAR_BASE, MMIO_BASE, PAGE_BYTES, PhysAddr, TEXT_OFFSET};
use crate::mmu::{SCTLR_OFF, SCTLR_ON, TCR, attr};
use crate::secondary::Record;

/// Bytes of the boot stack, which becomes the idle task's stack of the boot CPU.
pub const BOOT_STACK_BYTES: usize = 32 * 1024;

/// Level-3 tables for the image while booting: 2 MiB each (the linker script asserts that it fits).
const KERNEL_L3_TABLES: usize = 4;
/// Level-2 tables for the linear map while booting: each covers 1 GiB in which some block is needed
/// early (device tree, which may straddle two; block for the final tables; one spare).
const LINEAR_L2_TABLES: usize = 4;

const fn l1_index(va: usize) -> usize {
    (va >> 30) & 0x1ff
}

core::arch::global_asm!(
    include_str!("boot.S"),
    TEXT_OFFSET = const TEXT_OFFSET,
    SCTLR_EL2_OFF = const 0x30c5_0830u64,
    SCTLR_EL1_OFF = const SCTLR_OFF,
    SCTLR_EL1_ON = const SCTLR_ON,
    HCR_EL2_RW = const 1u64 << 31,
    CPTR_EL2_NO_TRAP = const 0x33ffu64,
    SPSR_EL1H_MASKED = const 0x3c5u64,
    MAIR = const attr::MAIR,
    TCR = const TCR,
    IDMAP_BLOCK = const attr::IDMAP_BLOCK,
    NORMAL_BLOCK_NX = const attr::EARLY_BLOCK_NX,
    NORMAL_PAGE = const attr::EARLY_PAGE_X,
    TABLE = const 3,
    KERNEL_L1_INDEX = const l1_index(KERNEL_BASE),
    MMIO_L1_INDEX = const l1_index(MMIO_BASE),
    LINEAR_BITS = const crate::mmu::LINEAR_BITS,
    KERNEL_L3_TABLES = const KERNEL_L3_TABLES,
    LINEAR_L2_TABLES = const LINEAR_L2_TABLES,
    BOOT_STACK_BYTES = const BOOT_STACK_BYTES,
    SCTLR_EL1_SEALED = const SCTLR_ON | crate::mmu::SCTLR_WXN,
    AFFINITY_MASK = const crate::cpu::AFFINITY_MASK,
    SECONDARY_RECORDS = const crate::gic::MAX_CPUS,
    SECONDARY_RECORD_BYTES = const size_of::<Record>(),
    SECONDARY_AFFINITY = const offset_of!(Record, affinity),
    SECONDARY_TTBR1 = const offset_of!(Record, ttbr1),
    SECONDARY_TASK = const offset_of!(Record, task),
    FACTS_IMAGE_FROM = const offset_of!(BoardFacts, image_from),
    FACTS_UART = const offset_of!(BoardFacts, uart),
    FACTS_CLOCK = const offset_of!(BoardFacts, uart_clock_hz),
    FACTS_GPIO = const offset_of!(BoardFacts, gpio),
    FACTS_BYTES = const size_of::<BoardFacts>(),
    PL011_DR = const 0x00,
    PL011_FR = const 0x18,
    PL011_FR_BUSY_BIT = const 3,
    PL011_FR_TXFF_BIT = const 5,
    PL011_IBRD = const 0x24,
    PL011_FBRD = const 0x28,
    PL011_LCR = const 0x2c,
    PL011_LCR_8N1_FIFO = const 0x70,
    PL011_CR = const 0x30,
    PL011_CR_ON = const 0x301,
    PL011_IMSC = const 0x38,
    BAUD = const 115_200u64,
    GPFSEL1 = const 0x04,
    GPFSEL3 = const 0x0c,
    GPFSEL4 = const 0x10,
    GPSET1 = const 0x20,
    GPCLR1 = const 0x2c,
    GPIO_PULL0 = const 0xe4,
    ALT0 = const 0b100,
    PULL_UP = const 0b01,
    LIGHT_BIT = const 1u32 << (LIGHT_PIN - 32),
);

/// What is known of a board before, or without, its device tree; found by where the loader has put the image. boot.S reads
/// it before the MMU is on. The device blocks are those of the boards themselves, so their layout is known here.
#[derive(Debug)]
#[repr(C)]
pub struct BoardFacts {
    /// The row holds for images at this physical address or above; the last row has 0.
    pub image_from: u64,
    /// Physical address of a PL011.
    pub uart: u64,
    /// Clock of its baud rate divisor.
    pub uart_clock_hz: u64,
    /// Clock of a mini UART's divisor; 0: there is none.
    pub core_clock_hz: u64,
    /// Physical address of a BCM2711's GPIO block, whose pins 14 and 15 are the UART's and [`LIGHT_PIN`] a light; 0: none,
    /// then nothing of that is touched and the ladder is silent.
    pub gpio: u64,
}

/// The light of a board with a GPIO block, on when the pin is high (Raspberry Pi 4: ACT).
pub const LIGHT_PIN: u32 = 42;

unsafe extern "C" {
    static _head: u8;
    static _etext: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __early_end: u8;
    static __boot_stack_bottom: u8;
    static __boot_stack_top: u8;
    static _end: u8;
    static early_id_l1: u8;
    static early_up_l1: u8;
    static early_linear_l2: u8;
    static early_mmio_l3: u8;
    static early_empty: u8;
    fn stint_replace_ttbr1(ttbr1: u64, empty_ttbr1: u64, sctlr: u64);
    fn stint_probe_read32(addr: *const u32, out: *mut u32) -> bool;
}

/// Physical address of `_head`; written once by the boot CPU before anything reads it.
static IMAGE_PHYS: AtomicU64 = AtomicU64::new(0);

/// Places of the image, all page aligned, virtual.
#[derive(Clone, Copy, Debug)]
pub struct ImageLayout {
    /// First byte of the header and text.
    pub text: usize,
    /// End of text.
    pub text_end: usize,
    /// Read-only data, patch table, symbol names and registries.
    pub rodata: usize,
    /// End of the read-only data.
    pub rodata_end: usize,
    /// Writable data, per-CPU block, bss and early tables.
    pub data: usize,
    /// End of the writable data; from here to `boot_stack` there is a hole that is never mapped.
    pub data_end: usize,
    /// Lowest address of the boot stack.
    pub boot_stack: usize,
    /// Its end, and the end of the image.
    pub boot_stack_end: usize,
}

macro_rules! addr_of_symbol {
    ($symbol:ident) => {
        // Only the address of a linker symbol means anything; taking it reads no memory.
        (&raw const $symbol) as usize
    };
}

/// Where the parts of the image are, as linked.
pub fn image_layout() -> ImageLayout {
    ImageLayout {
        text: addr_of_symbol!(_head),
        text_end: addr_of_symbol!(_etext),
        rodata: addr_of_symbol!(__rodata_start),
        rodata_end: addr_of_symbol!(__rodata_end),
        data: addr_of_symbol!(__data_start),
        data_end: addr_of_symbol!(__early_end),
        boot_stack: addr_of_symbol!(__boot_stack_bottom),
        boot_stack_end: addr_of_symbol!(__boot_stack_top),
    }
}

/// Bytes from the header to the end of the boot stack.
pub fn image_bytes() -> usize {
    addr_of_symbol!(_end) - addr_of_symbol!(_head)
}

/// Lowest and highest address of the boot stack (the idle task's stack of the boot CPU).
pub fn boot_stack() -> (usize, usize) {
    (addr_of_symbol!(__boot_stack_bottom), addr_of_symbol!(__boot_stack_top))
}

/// Remembers where the loader put the image. First thing the boot CPU does in Rust.
pub fn set_image_phys(phys: PhysAddr) {
    IMAGE_PHYS.store(phys.0, Ordering::Relaxed);
}

/// Physical address of the header.
pub fn image_phys() -> PhysAddr {
    PhysAddr(IMAGE_PHYS.load(Ordering::Relaxed))
}

/// Physical address of something inside the image.
pub fn image_to_phys(va: usize) -> PhysAddr {
    PhysAddr((va - addr_of_symbol!(_head)) as u64 + image_phys().0)
}

/// Reads a word that may not be there. `None` if the access faults.
///
/// Works only while the early vectors are installed.
///
/// # Safety
///
/// The address must be mapped or cleanly unmapped; reading it must have no side effect.
pub unsafe fn probe_read32(addr: *const u32) -> Option<u32> {
    let mut value = 0;
    // SAFETY: the routine writes `value` only; a fault at its load resumes at its failure exit.
    unsafe { stint_probe_read32(addr, &mut value) }.then_some(value)
}

fn write_entry(table: usize, index: usize, entry: u64) {
    // SAFETY: `table` is one of the early tables, which lie in the image's writable part; only the boot
    // CPU runs. The store makes an invalid entry valid, so the walker sees the old or the new entry.
    unsafe {
        let slot = (table as *mut u64).add(index);
        slot.write_volatile(entry);
        core::arch::asm!("dsb ishst", "isb", options(nostack, preserves_flags));
    }
}

/// Maps one page of device registers in the early device table and returns its address. The address
/// stays valid under the final tables. Slots: 0..8; a slot is used once.
pub fn early_ioremap(slot: usize, phys: PhysAddr) -> *mut u8 {
    assert!(slot < EARLY_MMIO_SLOTS, "early device slot {slot}: expected less than {EARLY_MMIO_SLOTS}");
    let page = phys.0 & !(PAGE_BYTES as u64 - 1);
    write_entry(addr_of_symbol!(early_mmio_l3), slot, page | attr::EARLY_PAGE_DEVICE);
    EARLY_MMIO[slot].store(page | 1, Ordering::Relaxed);
    (MMIO_BASE + slot * PAGE_BYTES + (phys.0 as usize & (PAGE_BYTES - 1))) as *mut u8
}

/// Number of pages [`early_ioremap`] can map.
pub const EARLY_MMIO_SLOTS: usize = 8;
/// Physical page in each early device slot, bit 0 set if used: the final tables repeat them.
static EARLY_MMIO: [AtomicU64; EARLY_MMIO_SLOTS] = [const { AtomicU64::new(0) }; EARLY_MMIO_SLOTS];

/// The page mapped at an early device slot.
pub fn early_mmio_page(slot: usize) -> Option<PhysAddr> {
    let page = EARLY_MMIO[slot].load(Ordering::Relaxed);
    (page & 1 != 0).then_some(PhysAddr(page & !1))
}

/// Maps the 2 MiB block of RAM that contains `phys` in the early linear map. `None`: no table left.
pub fn early_map_block(phys: PhysAddr) -> Option<*mut u8> {
    let l1 = addr_of_symbol!(early_up_l1) as *const u64;
    let index = (phys.0 >> 30) as usize & 0x1ff;
    let read = |i: usize| {
        // SAFETY: early_up_l1 is a live table of 512 entries in the image, and `i` is less than that.
        unsafe { l1.add(i).read_volatile() }
    };
    let l2 = match read(index) {
        0 => {
            let used = (0..l1_index(KERNEL_BASE)).filter(|&i| read(i) != 0).count();
            if used == LINEAR_L2_TABLES {
                return None;
            }
            let table = addr_of_symbol!(early_linear_l2) + used * PAGE_BYTES;
            write_entry(l1 as usize, index, image_to_phys(table).0 | 3);
            table
        }
        entry => {
            // All linear-map tables are early_linear_l2 tables: back from physical to virtual.
            let phys = entry & 0xffff_ffff_f000;
            (phys - image_phys().0) as usize + addr_of_symbol!(_head)
        }
    };
    let block = phys.0 & !0x1f_ffff;
    write_entry(l2, (phys.0 >> 21) as usize & 0x1ff, block | attr::EARLY_BLOCK_NX);
    Some((LINEAR_BASE + phys.0 as usize) as *mut u8)
}

/// Switches the upper half to the tables at `ttbr1`, with writable memory never executable from now on,
/// and the lower half to an empty table.
///
/// # Safety
///
/// The new tables must map the image, the stack in use and everything reachable through references at
/// the same addresses as the old ones. All exceptions must be masked.
pub unsafe fn install_tables(ttbr1: PhysAddr) {
    let code = image_to_phys(stint_replace_ttbr1 as *const () as usize).0 as usize;
    let empty = image_to_phys(addr_of_symbol!(early_empty)).0;
    // SAFETY: the physical address is identity mapped by TTBR0 and holds a function of this signature,
    // which uses no stack.
    let replace: extern "C" fn(u64, u64, u64) = unsafe { core::mem::transmute(code) };
    crate::mmu::idmap_enter();
    replace(ttbr1.0, empty, SCTLR_ON | crate::mmu::SCTLR_WXN);
    crate::mmu::set_lower_table(PhysAddr(empty));
}

/// Root of the identity map, for CPUs that are started later.
pub fn idmap_root() -> PhysAddr {
    image_to_phys(addr_of_symbol!(early_id_l1))
}
