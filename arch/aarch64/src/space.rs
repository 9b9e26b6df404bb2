//! The final page tables of the kernel's half of the address space.
//!
//! Invariant: a range is mapped once and unmapped once, never changed in place, so break-before-make
//! holds by construction; nothing is mapped both writable and executable ([`Prot`] cannot say it).
//!
//! Context: one caller at a time (the kernel wraps the space in a lock), thread context or boot. Pages
//! for tables are donated by the caller, so nothing here allocates. Bound: linear in the pages mapped.
//! Architecture: Arm ARM D8 (VMSAv8-64).

use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;

use aarch64_paging::Mapping;
use aarch64_paging::descriptor::{El1Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El1And0, MemoryRegion, PageTable, Translation, VaRange};

use crate::boot;
use crate::mmu::{KERNEL_BASE, LINEAR_BASE, MMIO_BASE, PAGE_BYTES, PhysAddr, linear, linear_to_phys};

/// What may be done with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prot {
    /// Read and execute.
    Text,
    /// Read.
    ReadOnly,
    /// Read and write.
    Data,
    /// Device registers, read and write, in order, early acknowledgement (Device-nGnRE).
    Device,
}

impl Prot {
    fn attributes(self) -> El1Attributes {
        let normal = El1Attributes::ATTRIBUTE_INDEX_1 | El1Attributes::INNER_SHAREABLE;
        let common = El1Attributes::VALID | El1Attributes::ACCESSED | El1Attributes::UXN;
        common
            | match self {
                Self::Text => normal | El1Attributes::READ_ONLY,
                Self::ReadOnly => normal | El1Attributes::READ_ONLY | El1Attributes::PXN,
                Self::Data => normal | El1Attributes::PXN,
                Self::Device => El1Attributes::ATTRIBUTE_INDEX_0 | El1Attributes::PXN,
            }
    }
}

/// Why a range could not be mapped or unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmuError {
    /// So many spare pages must be donated first.
    NeedTables(usize),
    /// The range is not made of whole pages of the upper half.
    BadRange {
        /// Virtual address asked for.
        va: usize,
        /// Bytes asked for.
        bytes: usize,
    },
    /// Something is mapped there already.
    Occupied(usize),
}

impl fmt::Display for MmuError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NeedTables(pages) => write!(f, "{pages} spare pages needed for page tables"),
            Self::BadRange { va, bytes } => write!(
                f,
                "range {va:#x} + {bytes:#x}: expected whole pages of {PAGE_BYTES} bytes from {LINEAR_BASE:#x} up"
            ),
            Self::Occupied(va) => write!(f, "something is mapped in the range at {va:#x} already"),
        }
    }
}

/// Spare pages that can be kept; more than any single mapping may need.
const SPARE_MAX: usize = 64;

/// Makes tables of donated pages and finds them again through the linear map.
struct Tables {
    spare: [Cell<u64>; SPARE_MAX],
    count: Cell<usize>,
}

impl Tables {
    fn push(&self, page: PhysAddr) -> bool {
        let count = self.count.get();
        let room = count < SPARE_MAX;
        if room {
            self.spare[count].set(page.0);
            self.count.set(count + 1);
        }
        room
    }
}

impl Translation<El1Attributes> for Tables {
    fn allocate_table(&mut self) -> (NonNull<PageTable<El1Attributes>>, PhysicalAddress) {
        let count = self.count.get();
        assert!(count > 0, "page tables: 0 spare pages; expected KernelSpace::map to have counted them");
        self.count.set(count - 1);
        let phys = PhysicalAddress(self.spare[count - 1].get() as usize);
        let table = self.physical_to_virtual(phys);
        // SAFETY: the page was donated: it is mapped in the linear map and nobody else's.
        unsafe { table.write_bytes(0, 1) };
        (table, phys)
    }

    unsafe fn deallocate_table(&mut self, table: NonNull<PageTable<El1Attributes>>) {
        // A page too many stays unused; only unmapping whole 2 MiB blocks comes here.
        self.push(linear_to_phys(table.as_ptr() as usize));
    }

    fn physical_to_virtual(&self, phys: PhysicalAddress) -> NonNull<PageTable<El1Attributes>> {
        NonNull::new(linear(PhysAddr(phys.0 as u64)).cast()).expect("linear addresses are not 0")
    }
}

/// The kernel's half of the address space, as all CPUs see it.
pub struct KernelSpace {
    map: Mapping<Tables, El1And0>,
}

impl KernelSpace {
    /// An empty space whose first table is `root`.
    ///
    /// # Safety
    ///
    /// `root` must be a page of RAM that is the caller's to give away and is mapped in the linear map.
    pub unsafe fn new(root: PhysAddr) -> Self {
        let tables = Tables { spare: [const { Cell::new(0) }; SPARE_MAX], count: Cell::new(0) };
        tables.push(root);
        Self { map: Mapping::with_asid_and_va_range(tables, 0, 1, El1And0, VaRange::Upper) }
    }

    /// Gives a page for tables. `false`: there are enough, the page is still the caller's.
    ///
    /// # Safety
    ///
    /// As for [`new`](Self::new).
    pub unsafe fn donate(&mut self, page: PhysAddr) -> bool {
        self.map.translation().push(page)
    }

    /// Spare pages at hand.
    pub fn spare_tables(&self) -> usize {
        self.map.translation().count.get()
    }

    /// How many spare pages are missing to be sure that `map` of this range will not run out.
    pub fn tables_missing(&self, va: usize, bytes: usize, phys: PhysAddr) -> usize {
        tables_for(va, bytes, phys).saturating_sub(self.spare_tables())
    }

    /// Maps `bytes` from `phys` at `va`.
    pub fn map(&mut self, va: usize, phys: PhysAddr, bytes: usize, prot: Prot) -> Result<(), MmuError> {
        let region = region(va, bytes)?;
        if !phys.0.is_multiple_of(PAGE_BYTES as u64) {
            return Err(MmuError::BadRange { va: phys.0 as usize, bytes });
        }
        match self.tables_missing(va, bytes, phys) {
            0 => {}
            _ => return Err(MmuError::NeedTables(tables_for(va, bytes, phys))),
        }
        let occupied = self.map.walk_range(&region, &mut |_, entry, _| {
            if entry.is_valid() { Err(()) } else { Ok(()) }
        });
        if occupied.is_err() {
            return Err(MmuError::Occupied(va));
        }
        let target = PhysicalAddress(phys.0 as usize);
        self.map
            .map_range(&region, target, prot.attributes(), Constraints::empty())
            .map_err(|_| MmuError::BadRange { va, bytes })
    }

    /// Removes a mapping; when this returns no CPU can use it any more.
    pub fn unmap(&mut self, va: usize, bytes: usize) -> Result<(), MmuError> {
        let region = region(va, bytes)?;
        self.map
            .map_range(&region, PhysicalAddress(0), El1Attributes::empty(), Constraints::empty())
            .map_err(|_| MmuError::BadRange { va, bytes })
    }

    /// Maps the image: text executable, rodata read-only, data and boot stack writable, the hole between
    /// them not at all; and again the device pages mapped while booting.
    pub fn map_image(&mut self) -> Result<(), MmuError> {
        let image = boot::image_layout();
        for (from, to, prot) in [
            (image.text, image.text_end, Prot::Text),
            (image.rodata, image.rodata_end, Prot::ReadOnly),
            (image.data, image.data_end, Prot::Data),
            (image.boot_stack, image.boot_stack_end, Prot::Data),
        ] {
            self.map(from, boot::image_to_phys(from), to - from, prot)?;
        }
        for slot in 0..boot::EARLY_MMIO_SLOTS {
            if let Some(page) = boot::early_mmio_page(slot) {
                self.map(MMIO_BASE + slot * PAGE_BYTES, page, PAGE_BYTES, Prot::Device)?;
            }
        }
        Ok(())
    }

    /// Maps a range of RAM in the linear map; what it shares with the image's text and rodata becomes
    /// read-only there too.
    pub fn map_linear(&mut self, start: PhysAddr, bytes: usize) -> Result<(), MmuError> {
        let image = boot::image_layout();
        let sealed = boot::image_to_phys(image.text).0..boot::image_to_phys(image.rodata_end).0;
        let end = start.0 + bytes as u64;
        for (from, to, prot) in [
            (start.0, end.min(sealed.start), Prot::Data),
            (start.0.max(sealed.start), end.min(sealed.end), Prot::ReadOnly),
            (start.0.max(sealed.end), end, Prot::Data),
        ] {
            if from < to {
                let va = LINEAR_BASE + from as usize;
                self.map(va, PhysAddr(from), (to - from) as usize, prot)?;
            }
        }
        Ok(())
    }

    /// Makes this the address space of the CPU.
    ///
    /// # Safety
    ///
    /// Everything in use must be mapped here as it was: image, current stack, device pages, and the RAM
    /// behind every linear address that is still used. All exceptions must be masked.
    pub unsafe fn activate(&self) {
        self.map.mark_active();
        // SAFETY: by the caller's promise.
        unsafe { boot::install_tables(PhysAddr(self.map.root_address().0 as u64)) };
    }
}

fn region(va: usize, bytes: usize) -> Result<MemoryRegion, MmuError> {
    let end = va.checked_add(bytes).filter(|_| va >= LINEAR_BASE && bytes > 0);
    match end {
        Some(end) if (va | bytes).is_multiple_of(PAGE_BYTES) => Ok(MemoryRegion::new(va, end)),
        _ => Err(MmuError::BadRange { va, bytes }),
    }
}

/// Upper bound of the tables a new mapping needs: one level-2 table per GiB touched, and a level-3 table
/// per 2 MiB touched that cannot be a block.
fn tables_for(va: usize, bytes: usize, phys: PhysAddr) -> usize {
    let touched = |shift: u32| ((va + bytes - 1) >> shift) - (va >> shift) + 1;
    let aligned = (va ^ phys.0 as usize) & 0x1f_ffff == 0;
    touched(30) + if aligned { touched(21).min(2) } else { touched(21) }
}

const _: () = assert!(KERNEL_BASE == LINEAR_BASE + (1 << crate::mmu::LINEAR_BITS));
