//! The kernel's address space behind its lock: device windows, and pages for page tables.
//!
//! Invariant: the device window is handed out upwards and never taken back; asking for the same physical
//! page again gives the mapping there is.
//!
//! Context: thread, boot. Locks: SPACE; the page allocator's is never taken while it is held.

use arch::mmu::{
    KernelSpace, MMIO_BASE, MMIO_BYTES, MmuError, PAGE_BYTES, PATCH_PAGES, PATCH_WINDOW, PhysAddr, Prot,
    linear_to_phys,
};
use arch::patch::TextWindow;
use heapless::Vec;

use super::frames;
use crate::locking::SpinLock;
use crate::preempt;

/// Device windows that can exist.
const WINDOWS_MAX: usize = 48;
/// The pages mapped while booting come first.
const FIRST_WINDOW: usize = MMIO_BASE + arch::boot::EARLY_MMIO_SLOTS * PAGE_BYTES;

struct Window {
    phys: u64,
    bytes: usize,
    va: usize,
}

struct Space {
    kernel: KernelSpace,
    windows: Vec<Window, WINDOWS_MAX>,
    next_va: usize,
}

static SPACE: SpinLock<Option<Space>> = SpinLock::new(None);

/// Why a mapping could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceError {
    /// No page for a page table.
    OutOfMemory(frames::OutOfMemory),
    /// All device windows are used.
    NoWindow(usize),
    /// The tables refuse.
    Mmu(MmuError),
    /// The final tables are not live yet.
    TooEarly,
}

impl core::fmt::Display for SpaceError {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Self::OutOfMemory(error) => error.fmt(f),
            Self::NoWindow(bytes) => write!(
                f,
                "no device window for {bytes} bytes; expected at most {WINDOWS_MAX} windows in {MMIO_BYTES} bytes"
            ),
            Self::Mmu(error) => error.fmt(f),
            Self::TooEarly => f.write_str("the final page tables are not live yet"),
        }
    }
}

/// Takes over the tables that have just been made live.
pub(super) fn set(kernel: KernelSpace) {
    *SPACE.lock() = Some(Space { kernel, windows: Vec::new(), next_va: FIRST_WINDOW });
}

/// Runs `change` with the space, after making sure of the table pages for `bytes` from `va` to `phys`.
fn with_tables<R>(
    va: usize,
    bytes: usize,
    phys: PhysAddr,
    change: &mut dyn FnMut(&mut Space) -> Result<R, SpaceError>,
) -> Result<R, SpaceError> {
    loop {
        {
            let mut guard = SPACE.lock();
            let space = guard.as_mut().ok_or(SpaceError::TooEarly)?;
            if space.kernel.tables_missing(va, bytes, phys) == 0 {
                return change(space);
            }
        }
        preempt::cond_resched_if_allowed();
        // One page a turn; the bound is the number of tables the range needs.
        let page = frames::alloc_pages(0).map_err(SpaceError::OutOfMemory)?;
        let mut guard = SPACE.lock();
        let kernel = &mut guard.as_mut().ok_or(SpaceError::TooEarly)?.kernel;
        // SAFETY: the page was just allocated and is given away for good.
        let taken = unsafe { kernel.donate(linear_to_phys(page.as_ptr() as usize)) };
        drop(guard);
        if !taken {
            // SAFETY: allocated above; nobody else has it.
            unsafe { frames::free_pages(page, 0) };
            return Err(SpaceError::Mmu(MmuError::BadRange { va, bytes }));
        }
    }
}

/// Maps pages of RAM at a kernel address, all of them or none. The range is the caller's: nobody else asks for it
/// meanwhile.
///
/// Each page is a section of its own: sixteen of them in one kept preemption off for 2,700 instructions; the worst page
/// takes 1,200.
pub(super) fn map(va: usize, phys: PhysAddr, bytes: usize) -> Result<(), SpaceError> {
    for offset in pages(va, bytes)? {
        let (page, phys) = (va + offset, PhysAddr(phys.0 + offset as u64));
        let mapped = with_tables(page, PAGE_BYTES, phys, &mut |space| {
            space.kernel.map(page, phys, PAGE_BYTES, Prot::Data).map_err(SpaceError::Mmu)
        });
        if let Err(error) = mapped {
            if offset != 0 {
                // They were mapped just now, so the range is a good one.
                let _ = unmap(va, offset);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Removes what [`map`] made, a page at a time.
pub(super) fn unmap(va: usize, bytes: usize) -> Result<(), SpaceError> {
    for offset in pages(va, bytes)? {
        let mut guard = SPACE.lock();
        let space = guard.as_mut().ok_or(SpaceError::TooEarly)?;
        space.kernel.unmap(va + offset, PAGE_BYTES).map_err(SpaceError::Mmu)?;
    }
    Ok(())
}

/// The offsets of the pages of a range, which must be whole ones.
fn pages(va: usize, bytes: usize) -> Result<impl Iterator<Item = usize>, SpaceError> {
    let whole = bytes > 0 && (va | bytes).is_multiple_of(PAGE_BYTES) && va.checked_add(bytes).is_some();
    let error = SpaceError::Mmu(MmuError::BadRange { va, bytes });
    if whole { Ok((0..bytes).step_by(PAGE_BYTES)) } else { Err(error) }
}

/// The pages behind the device window, at which text can be written to while it is patched. One at a time: whoever has
/// them has the lock of their static.
pub(crate) struct PatchWindow {
    shown: usize,
}

impl PatchWindow {
    /// Shows nothing yet.
    pub(crate) const fn new() -> Self {
        Self { shown: 0 }
    }
}

// SAFETY: `map` makes a readable and writable mapping of the physical page behind `page`; it stays until `hide_all` or the
// drop, because nobody else maps in the window.
unsafe impl TextWindow for PatchWindow {
    type Error = SpaceError;

    fn pages(&self) -> usize {
        PATCH_PAGES
    }

    fn show(&mut self, page: usize) -> Result<*mut u8, SpaceError> {
        let bytes = PATCH_PAGES * PAGE_BYTES;
        if self.shown == PATCH_PAGES {
            return Err(SpaceError::Mmu(MmuError::BadRange { va: PATCH_WINDOW + bytes, bytes: PAGE_BYTES }));
        }
        let va = PATCH_WINDOW + self.shown * PAGE_BYTES;
        map(va, arch::boot::image_to_phys(page), PAGE_BYTES)?;
        self.shown += 1;
        Ok(va as *mut u8)
    }

    fn hide_all(&mut self) -> Result<(), SpaceError> {
        match core::mem::take(&mut self.shown) {
            0 => Ok(()),
            pages => unmap(PATCH_WINDOW, pages * PAGE_BYTES),
        }
    }
}

impl Drop for PatchWindow {
    fn drop(&mut self) {
        // It was mapped, so it can be unmapped; if not, the next `show` says so.
        let _ = self.hide_all();
    }
}

/// Maps device registers and returns where `phys` is. Never executable, never cached; the mapping stays
/// for ever, and mapping the same registers again gives the same address.
pub fn ioremap(phys: PhysAddr, bytes: usize) -> Result<*mut u8, SpaceError> {
    let page = phys.0 & !(PAGE_BYTES as u64 - 1);
    let offset = (phys.0 - page) as usize;
    let span = (offset + bytes).next_multiple_of(PAGE_BYTES);
    // The exact address is only known under the lock; ask for the tables of the worst one.
    let worst_va = MMIO_BASE + MMIO_BYTES - PAGE_BYTES;
    with_tables(worst_va, span + PAGE_BYTES, PhysAddr(page), &mut |space| {
        let known =
            space.windows.iter().find(|w| w.phys <= page && page + span as u64 <= w.phys + w.bytes as u64);
        if let Some(window) = known {
            return Ok((window.va + (page - window.phys) as usize + offset) as *mut u8);
        }
        let va = space.next_va;
        if va + span > MMIO_BASE + MMIO_BYTES || space.windows.is_full() {
            return Err(SpaceError::NoWindow(bytes));
        }
        space.kernel.map(va, PhysAddr(page), span, Prot::Device).map_err(SpaceError::Mmu)?;
        space.next_va = va + span;
        // There is room: checked above.
        let _ = space.windows.push(Window { phys: page, bytes: span, va });
        Ok((va + offset) as *mut u8)
    })
}
