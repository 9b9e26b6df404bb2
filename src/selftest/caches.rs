//! Whether cache maintenance reaches memory, and memory comes back through it.
//!
//! A page is looked at in two ways: as normal memory, through the caches, and as device memory, past them. What is
//! written in one way must be seen in the other after the maintenance that the drivers use, and that is the check. Whether
//! a write that was **not** cleaned stays unseen tells whether there are caches at all: QEMU has none.
//!
//! Two views of one page with different attributes are allowed by the architecture if maintenance stands between them
//! (Arm ARM B2.16, mismatched memory attributes). The page is kept for ever, as its second view is.

use core::ptr::NonNull;

use alloc::format;
use arch::cache;
use arch::mmu::{PAGE_BYTES, PhysAddr, linear_to_phys};

use super::judge::{Found, Verdict};
use crate::locking::Mutex;
use crate::mm::{self, frames};

/// Words that are looked at: a few lines of any cache.
const WORDS: usize = 128;

/// The page's two views.
struct Page {
    cached: NonNull<u32>,
    uncached: NonNull<u32>,
}

// SAFETY: the pointers are to a page that is nobody else's and mapped for ever.
unsafe impl Send for Page {}

static PAGE: Mutex<Option<Page>> = Mutex::new(None);

fn write(view: NonNull<u32>, seed: u32) {
    for i in 0..WORDS {
        // SAFETY: within the page, which is ours (the lock is held).
        unsafe { view.add(i).write_volatile(seed.wrapping_mul(i as u32 + 1)) };
    }
}

fn holds(view: NonNull<u32>, seed: u32) -> bool {
    // SAFETY: as above.
    (0..WORDS).all(|i| unsafe { view.add(i).read_volatile() } == seed.wrapping_mul(i as u32 + 1))
}

/// The check.
pub(super) fn check() -> Found {
    let mut page = PAGE.lock();
    if page.is_none() {
        match make() {
            Ok(new) => *page = Some(new),
            Err(why) => return why,
        }
    }
    let Some(Page { cached, uncached }) = *page else {
        return Found::new(Verdict::Failed, "no page");
    };
    let start = cached.as_ptr() as usize;
    let bytes = WORDS * 4;
    // Nothing of the page is in a cache, and memory is known.
    cache::clean_inval_to_poc(start, bytes);
    write(uncached, 0x9e37_79b9);
    barrier();
    // What a core fetched ahead of its own accord between the two is dropped.
    cache::clean_inval_to_poc(start, bytes);
    let comes_in = holds(cached, 0x9e37_79b9);

    write(cached, 0x85eb_ca6b);
    barrier();
    let kept_back = !holds(uncached, 0x85eb_ca6b);
    cache::clean_to_poc(start, bytes);
    let comes_out = holds(uncached, 0x85eb_ca6b);
    cache::clean_inval_to_poc(start, bytes);

    let caches = if kept_back {
        "a write that is not cleaned is kept back"
    } else {
        "writes are not kept back (an emulator?)"
    };
    let seen = |good| if good { "is seen" } else { "is NOT seen" };
    Found::new(
        Verdict::of(comes_in && comes_out),
        format!(
            "lines of {} bytes; a clean {} in memory, memory {} behind an invalidate; {caches}",
            cache::line_bytes(),
            seen(comes_out),
            seen(comes_in)
        ),
    )
}

/// Accesses before are complete before those behind, whatever the view: the maintenance of no bytes is its DSB SY.
fn barrier() {
    cache::clean_to_poc(0, 0);
}

fn make() -> Result<Page, Found> {
    let cached = frames::alloc_pages(0).map_err(|error| Found::new(Verdict::Failed, format!("{error}")))?;
    let PhysAddr(phys) = linear_to_phys(cached.as_ptr() as usize);
    let mapped = mm::ioremap(PhysAddr(phys), PAGE_BYTES);
    let uncached = mapped.ok().and_then(|va| NonNull::new(va.cast()));
    let Some(uncached) = uncached else {
        // SAFETY: allocated above; nobody has seen it.
        unsafe { frames::free_pages(cached, 0) };
        return Err(Found::new(Verdict::Failed, "no second view of a page could be mapped"));
    };
    Ok(Page { cached: cached.cast(), uncached })
}
