//! Memory at boot: from the device tree to final page tables, page allocator and heap.
//!
//! Everything in the tree's memory nodes is mapped in the linear map, except reserved ranges marked
//! `no-map`; everything mapped that is not reserved, image or device tree goes to the page allocator.
//!
//! Context: the boot CPU, once.

use arch::boot;
use arch::mmu::{KernelSpace, LINEAR_BITS, MmuError, PAGE_BYTES, PhysAddr, linear};

use super::regions::{Regions, TooManyRegions};
use super::{frames, heap, space};
use crate::drivers::fdt::{FdtError, Tree};
use crate::drivers::machine::{self, PhysRange};

/// Less RAM than this is not enough to run.
const RAM_MIN_BYTES: u64 = 16 << 20;
/// The tables are made of one block that the early tables map.
const TABLE_BLOCK: u64 = 2 << 20;
/// The first pool of the heap is a quarter of the free memory, but no more than this.
const HEAP_FIRST_MAX: usize = 64 << 20;

/// What memory there is.
#[derive(Clone, Copy, Debug)]
pub struct MemoryInfo {
    /// RAM in the device tree.
    pub ram_bytes: u64,
    /// Handed to the page allocator.
    pub free_bytes: u64,
    /// First pools of the heap.
    pub heap_bytes: usize,
}

/// Why there is no memory to run in.
#[derive(Clone, Debug)]
pub enum MemoryFault {
    /// The device tree does not say.
    Tree(FdtError),
    /// Too little.
    TooLittle {
        /// RAM in the device tree.
        ram_bytes: u64,
        /// Of that, not taken by image, device tree and reservations.
        free_bytes: u64,
    },
    /// The image lies outside the RAM in the device tree.
    ImageOutside(u64),
    /// More holes than can be described.
    TooManyRegions,
    /// The page tables cannot be made.
    Mmu(MmuError),
    /// No free block for the first tables.
    NoTableBlock,
}

impl core::fmt::Display for MemoryFault {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Self::Tree(error) => {
                write!(f, "memory: the device tree {error}; expected /memory with device_type and reg")
            }
            Self::ImageOutside(phys) => write!(
                f,
                "memory: the image at {phys:#x} is outside the RAM in the device tree; expected it inside"
            ),
            Self::TooLittle { ram_bytes, free_bytes } => write!(
                f,
                "memory: {ram_bytes} bytes of RAM, {free_bytes} free; expected at least {RAM_MIN_BYTES} and half of \
                 it free"
            ),
            Self::TooManyRegions => {
                write!(f, "memory: more than {} separate ranges", super::regions::MAX)
            }
            Self::Mmu(error) => write!(f, "memory: page tables: {error}"),
            Self::NoTableBlock => write!(f, "memory: no free block of {TABLE_BLOCK} bytes for page tables"),
        }
    }
}

impl From<TooManyRegions> for MemoryFault {
    fn from(_: TooManyRegions) -> Self {
        Self::TooManyRegions
    }
}

impl From<MmuError> for MemoryFault {
    fn from(error: MmuError) -> Self {
        Self::Mmu(error)
    }
}

/// Finds the memory, makes the final tables live, starts the page allocator and the heap. `dtb` is where
/// the device tree is.
pub fn init(tree: &Tree, dtb: PhysRange) -> Result<MemoryInfo, MemoryFault> {
    let (ram, mut free) = survey(tree, dtb)?;
    // A tree outside RAM counts as RAM here: nobody will miss the difference.
    let (ram_bytes, free_bytes) = (ram.bytes(), free.bytes());
    if ram_bytes < RAM_MIN_BYTES || free_bytes < RAM_MIN_BYTES / 2 {
        return Err(MemoryFault::TooLittle { ram_bytes, free_bytes });
    }
    let block = free.find(TABLE_BLOCK, TABLE_BLOCK).ok_or(MemoryFault::NoTableBlock)?;
    boot::early_map_block(PhysAddr(block)).ok_or(MemoryFault::NoTableBlock)?;
    let table_end = switch_tables(&ram, block)?;
    free.remove(block, table_end)?;

    for region in free.iter() {
        let start = linear(PhysAddr(region.start)) as usize;
        // SAFETY: RAM that is in the linear map and that nobody has: the set is what is left.
        unsafe { frames::add(start, start + region.bytes() as usize) };
    }
    let free_bytes = free.bytes();
    let first = (free_bytes as usize / 4).next_power_of_two().min(HEAP_FIRST_MAX);
    let heap_bytes = heap::init(first, free_bytes as usize / 4 * 3);
    Ok(MemoryInfo { ram_bytes, free_bytes, heap_bytes })
}

/// The RAM to map, and what of it is free.
fn survey(tree: &Tree, dtb: PhysRange) -> Result<(Regions, Regions), MemoryFault> {
    let mut ram = Regions::new();
    let mut overflow = Ok(());
    let keep = |result: Result<(), TooManyRegions>, overflow: &mut Result<(), TooManyRegions>| {
        if result.is_err() {
            *overflow = result;
        }
    };
    machine::memory(tree, &mut |range| {
        let end = range.end().min(1 << LINEAR_BITS);
        keep(ram.add(range.start, end), &mut overflow);
    })
    .map_err(MemoryFault::Tree)?;
    machine::reserved(tree, &mut |range, no_map| {
        if no_map {
            keep(ram.remove(range.start, range.end()), &mut overflow);
        }
    });
    let image = boot::image_layout();
    let phys = |va| boot::image_to_phys(va).0;
    let (image_start, image_end) = (phys(image.text), phys(image.boot_stack_end));
    if !ram.iter().any(|r| r.start <= image_start && image_end <= r.end) {
        return Err(MemoryFault::ImageOutside(image_start));
    }
    let mut free = ram.clone();
    machine::reserved(tree, &mut |range, _| {
        keep(free.remove(range.start, range.end()), &mut overflow);
    });
    overflow?;
    free.remove(dtb.start, dtb.end())?;
    // The tree is read through the linear map later on, wherever it is.
    let page = PAGE_BYTES as u64;
    ram.add(dtb.start & !(page - 1), dtb.end().next_multiple_of(page))?;
    // The hole below the boot stack is in nobody's way: its frames are free.
    free.remove(phys(image.text), phys(image.data_end))?;
    free.remove(phys(image.boot_stack), phys(image.boot_stack_end))?;
    Ok((ram, free))
}

/// Builds the final tables out of pages from `block` and switches to them. Returns the end of the pages
/// used.
fn switch_tables(ram: &Regions, block: u64) -> Result<u64, MemoryFault> {
    let mut next = block;
    let mut page = || {
        let page = PhysAddr(next);
        next += PAGE_BYTES as u64;
        page
    };
    // SAFETY: the block is free RAM which the early tables map; pages are taken from it one by one.
    let mut kernel = unsafe { KernelSpace::new(page()) };
    let mut donate = |kernel: &mut KernelSpace, count: usize| {
        for _ in 0..count {
            // SAFETY: as above. It is always taken: fewer than fit were missing.
            unsafe { kernel.donate(page()) };
        }
    };
    // The image: a level-2 and a few level-3 tables, and as many for the devices; more than enough.
    donate(&mut kernel, 24);
    kernel.map_image()?;
    for region in ram.iter() {
        // By GiB, so that one step never needs more tables than can be spare.
        let mut start = region.start;
        while start < region.end {
            let end = (((start >> 30) + 1) << 30).min(region.end);
            // Up to three pieces around the sealed part of the image, with two page tables each.
            let missing = 12usize.saturating_sub(kernel.spare_tables());
            donate(&mut kernel, missing);
            kernel.map_linear(PhysAddr(start), (end - start) as usize)?;
            start = end;
        }
    }
    // SAFETY: the image, the boot stack (in it), the early device pages and all RAM are mapped where they
    // were; exceptions are masked since reset.
    unsafe { kernel.activate() };
    space::set(kernel);
    Ok(next)
}
