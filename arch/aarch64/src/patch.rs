//! Code patching: one mechanism for everything that is decided rarely and asked often.
//!
//! [`static_branch`] is a single `nop` in the instruction stream. If its key is switched on, the `nop` is a branch to the
//! cold side. A feature that is off costs one instruction and no data access. Uses: spin locks that need a lock word
//! only when there is more than one CPU, preemption points that a model switches off, trace hooks.
//!
//! The table is built by the assembler: site and target (32 bits, self-relative), the key, and the instruction
//! that the branch replaces. That need not be a `nop`: a site can be an instruction that works anyway, and then
//! a feature that is off costs nothing at all (`hooks.rs`). But it must be the same wherever it stands: a branch,
//! an `adr` or a load of a literal would be kept as they read in the table.
//!
//! * **At boot** [`apply`] writes the sites of every enabled key, before the text is sealed. Most keys never change
//!   afterwards, so a critical section sees one answer throughout.
//! * **While the kernel runs** [`set`] switches a key of [`Key::is_switchable`], through a second, writable mapping of the
//!   text page that its caller provides ([`TextWindow`]).
//!
//! Invariant of a site while the kernel runs: whatever the site holds, old or new, it is a whole instruction, and both
//! are right at any moment. Everybody who uses a switchable key must be able to live with sites that change one by one.
//!
//! **With more than one CPU** the architecture lets a CPU change an instruction that another one executes only if
//! both the old and the new one are B, BL, NOP, BRK, SVC, HVC, SMC or ISB (Arm ARM B2.2.5). A `nop` site may thus be
//! changed at any time, and the others see the old or the new one until they next synchronise, which the caller of
//! [`set`] has them do. For any other original the other CPUs stand still meanwhile, with interrupts masked, outside of
//! patched text, and execute an `isb` before they go on ([`Standstill`]). On one CPU, masked interrupts are enough.
//!
//! Context: `enable` and `apply` at boot; `set` in a thread, one at a time. Locks: none. Bound of a masked section: one site
//! on one CPU, [`Standstill::sites`] of them on several.

use crate::irqflags::{raw_local_irq_restore, raw_local_irq_save};
use crate::mmu::PAGE_BYTES;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What can be patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Key {
    /// Spin locks take a lock word. Off: one CPU is online and `preempt_disable` or masking is the lock.
    SmpLocks = 0,
    /// `preempt=none` and `voluntary`: the IRQ-exit and `preempt_enable` points do nothing.
    PreemptInert = 1,
    /// Scheduler events are written to the trace ring.
    Trace = 2,
    /// The interrupt controller is a GICv2.
    GicV2 = 3,
    /// `preempt=voluntary`: `might_sleep` is a scheduling point too.
    Voluntary = 4,
    /// `preempt=rt`: softirqs and interrupt handlers are threads.
    Rt = 5,
    /// `SpinLock` is a sleeping lock: in `preempt=rt`, and for long sections in the event-driven style.
    SleepingSpinLocks = 6,
    /// `preempt_style=event`: short sections mask interrupts and do not poll at their end.
    EventStyle = 7,
    /// preempt-stats: sections with preemption off or interrupts masked are timed.
    PreemptStats = 8,
    /// Interrupt handlers are timed.
    IrqStats = 9,
}

impl Key {
    /// Whether [`set`] may change it after the boot: who uses it can live with sites that change one by one.
    #[must_use]
    pub const fn is_switchable(self) -> bool {
        matches!(self, Self::Trace | Self::PreemptStats | Self::IrqStats)
    }
}

/// [`Key::SmpLocks`] as a const argument.
pub const SMP_LOCKS: u32 = Key::SmpLocks as u32;
/// [`Key::PreemptInert`] as a const argument.
pub const PREEMPT_INERT: u32 = Key::PreemptInert as u32;
/// [`Key::Trace`] as a const argument.
pub const TRACE: u32 = Key::Trace as u32;
/// [`Key::GicV2`] as a const argument.
pub const GIC_V2: u32 = Key::GicV2 as u32;
/// [`Key::Voluntary`] as a const argument.
pub const VOLUNTARY: u32 = Key::Voluntary as u32;
/// [`Key::Rt`] as a const argument.
pub const RT: u32 = Key::Rt as u32;
/// [`Key::SleepingSpinLocks`] as a const argument.
pub const SLEEPING_SPIN_LOCKS: u32 = Key::SleepingSpinLocks as u32;
/// [`Key::EventStyle`] as a const argument.
pub const EVENT_STYLE: u32 = Key::EventStyle as u32;
/// [`Key::PreemptStats`] as a const argument.
pub const PREEMPT_STATS: u32 = Key::PreemptStats as u32;
/// [`Key::IrqStats`] as a const argument.
pub const IRQ_STATS: u32 = Key::IrqStats as u32;

static ENABLED: AtomicU32 = AtomicU32::new(0);
static SEALED: AtomicBool = AtomicBool::new(false);

/// Whether `KEY` was switched on: a `nop` that falls through to `false`, or a branch to `true`.
#[inline(always)]
#[must_use]
pub fn static_branch<const KEY: u32>() -> bool {
    // SAFETY: the site is one `nop` or one `b`; no register, flag or memory is touched.
    unsafe {
        asm!(
            "2: nop",
            ".pushsection .patch, \"a\"",
            ".balign 4",
            ".long 2b - .",
            ".long {target} - .",
            ".long {key}",
            "nop",
            ".popsection",
            key = const KEY,
            target = label { return true },
            options(nomem, nostack, preserves_flags)
        );
    }
    false
}

/// For `asm!`: an instruction that works while the key in the operand `$key` is off, and is a branch to the label
/// `$target` while it is on. It may be any that the code needs anyway, so a feature that is off costs nothing.
macro_rules! site {
    ($instruction:literal, $key:literal, $target:literal) => {
        concat!(
            "2: ",
            $instruction,
            "\n.pushsection .patch, \"a\"\n.balign 4\n.long 2b - .\n.long {",
            $target,
            "} - .\n.long {",
            $key,
            "}\n",
            $instruction,
            "\n.popsection"
        )
    };
}
pub(crate) use site;

#[repr(C)]
struct Site {
    site: i32,
    target: i32,
    key: u32,
    original: u32,
}

unsafe extern "C" {
    static __patch_start: Site;
    static __patch_end: Site;
}

/// Switches `key` on; takes effect at [`apply`].
pub fn enable(key: Key) {
    debug_assert!(!SEALED.load(Ordering::Relaxed), "code is patched before the text is sealed");
    ENABLED.fetch_or(1 << key as u32, Ordering::Relaxed);
}

/// Whether `key` is switched on, for printing.
#[must_use]
pub fn is_enabled(key: Key) -> bool {
    ENABLED.load(Ordering::Relaxed) & (1 << key as u32) != 0
}

/// The table, entry by entry: the address of the site, what it branches to, the key, the original instruction.
fn sites() -> impl Iterator<Item = (usize, usize, u32, u32)> {
    let start = &raw const __patch_start;
    // SAFETY: both symbols delimit one table of whole entries.
    let count = unsafe { (&raw const __patch_end).offset_from_unsigned(start) };
    (0..count).map(move |at| {
        // SAFETY: inside the table, which is read-only data.
        let (entry, Site { site, target, key, original }) = unsafe { (start.add(at), start.add(at).read()) };
        let site_at = (entry as usize).wrapping_add_signed(site as isize);
        let target_at = (entry as usize + 4).wrapping_add_signed(target as isize);
        (site_at, target_at, key, original)
    })
}

/// `b target`, for the place `site`.
fn branch(site: usize, target: usize) -> u32 {
    let distance = (target as isize - site as isize) >> 2;
    0x1400_0000 | (distance as u32 & 0x03ff_ffff)
}

/// Writes one instruction, and makes the instruction side see it (clean to PoU, invalidate, synchronise).
///
/// # Safety
/// `writable` is a mapping of the instruction at `site`; what is written is right there at any moment.
unsafe fn write_site(writable: *mut u32, site: usize, instruction: u32) {
    // SAFETY: by contract. The data side is cleaned where it was written, the instruction side invalidated where it
    // is fetched: an instruction cache may be virtually indexed.
    unsafe {
        writable.write_volatile(instruction);
        asm!("dc cvau, {w}", "dsb ish", "ic ivau, {s}", "dsb ish", "isb", w = in(reg) writable, s = in(reg) site, options(nostack, preserves_flags));
    }
}

/// Writes the branches. Returns the number of patched sites.
///
/// # Safety
/// Once, on the boot CPU, while the others are off and the text is still mapped writable at its link
/// address (the early tables); IRQs masked.
pub unsafe fn apply() -> usize {
    SEALED.store(true, Ordering::Relaxed);
    let enabled = ENABLED.load(Ordering::Relaxed);
    let mut patched = 0;
    for (site, target, key, _) in sites() {
        if enabled & (1 << key) != 0 {
            // SAFETY: the site is an aligned instruction of ours in writable text, and nobody executes it now.
            unsafe { write_site(site as *mut u32, site, branch(site, target)) };
            patched += 1;
        }
    }
    patched
}

/// A writable view of sealed text, page by page.
///
/// # Safety
/// What [`show`](Self::show) returns is a mapping of the page of text at the given address, readable and writable until the
/// next call of [`hide_all`](Self::hide_all).
pub unsafe trait TextWindow {
    /// Why a page cannot be shown.
    type Error;
    /// How many pages can be shown at once: one at least.
    fn pages(&self) -> usize;
    /// Maps the page of text at `page` writable, somewhere.
    ///
    /// # Errors
    /// The owner of the page tables refuses.
    fn show(&mut self, page: usize) -> Result<*mut u8, Self::Error>;
    /// All pages that are shown may go.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    fn hide_all(&mut self) -> Result<(), Self::Error>;
}

/// Why a key was not switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchError<E> {
    /// The key is decided at boot.
    BootOnly(Key),
    /// The text cannot be written to. Sites already changed stay changed: ask again, or for the opposite.
    Window(E),
}

impl<E: core::fmt::Display> core::fmt::Display for PatchError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BootOnly(key) => {
                write!(f, "{key:?} is decided at boot; expected Trace, PreemptStats or IrqStats")
            }
            Self::Window(error) => write!(f, "the kernel's text cannot be written to: {error}"),
        }
    }
}

/// Keeps all other CPUs away from text that is being changed.
///
/// # Safety
/// While [`hold`](Self::hold) runs its function, interrupts are masked on this CPU, and no other one executes a patch site.
/// Each of them synchronises its context (`isb`) between the end of the function and the next site that it executes.
pub unsafe trait Standstill {
    /// How many sites may be changed in one go: what all CPUs wait for.
    fn sites(&self) -> usize;
    /// Runs `change`, once.
    fn hold(&mut self, change: &(dyn Fn() + Sync));
}

/// [`Standstill`] where there is one CPU: with interrupts masked nobody is at the site.
#[derive(Debug)]
pub struct OneCpu;

// SAFETY: there is no other CPU, and `write_site` ends with an `isb`.
unsafe impl Standstill for OneCpu {
    fn sites(&self) -> usize {
        1
    }

    fn hold(&mut self, change: &(dyn Fn() + Sync)) {
        let flags = raw_local_irq_save();
        change();
        raw_local_irq_restore(flags);
    }
}

/// The most sites that are changed in one go.
const BATCH: usize = 128;
const NOP: u32 = 0xd503_201f;

/// A change that is still to be made.
#[derive(Clone, Copy)]
struct Change {
    /// Where it is written to, as an address.
    at: usize,
    site: usize,
    instruction: u32,
}

/// Changes of the pages that are shown, collected so that the other CPUs need not stand still for each.
struct Batch {
    changes: [Change; BATCH],
    count: usize,
}

impl Batch {
    /// Makes the changes. The window still shows their pages.
    fn make<S: Standstill>(&mut self, stop: &mut S) {
        let changes = &self.changes[..core::mem::take(&mut self.count)];
        if !changes.is_empty() {
            stop.hold(&|| {
                for &Change { at, site, instruction } in changes {
                    // SAFETY: the window shows the page of the site at `at`; nobody is at the site, by the contract of
                    // `Standstill`, and the old and the new instruction are both right there, by that of switchable keys.
                    unsafe { write_site(at as *mut u32, site, instruction) };
                }
            });
        }
    }
}

/// Switches `key` while the kernel runs: a `nop` site at once, the others with the CPUs at a standstill. Returns how many
/// sites were changed. Thread context; one call at a time. The other CPUs may execute a `nop` site as it was until they
/// next synchronise: the caller sees to that.
///
/// # Errors
/// See [`PatchError`].
pub fn set<W: TextWindow, S: Standstill>(
    key: Key,
    on: bool,
    window: &mut W,
    stop: &mut S,
) -> Result<usize, PatchError<W::Error>> {
    if !key.is_switchable() {
        return Err(PatchError::BootOnly(key));
    }
    let mut shown = None;
    let mut shown_pages = 0;
    let mut changed = 0;
    let mut batch = Batch { changes: [Change { at: 0, site: 0, instruction: 0 }; BATCH], count: 0 };
    let limit = stop.sites().clamp(1, BATCH);
    for (site, target, _, original) in sites().filter(|&(_, _, of, _)| of == key as u32) {
        let wanted = if on { branch(site, target) } else { original };
        // SAFETY: an aligned instruction of ours; text is readable.
        if unsafe { (site as *const u32).read_volatile() } == wanted {
            continue;
        }
        let page = site & !(PAGE_BYTES - 1);
        let base = match shown {
            Some((known, base)) if known == page => base,
            _ => {
                if shown_pages == window.pages() {
                    // While their pages are still there.
                    batch.make(stop);
                    window.hide_all().map_err(PatchError::Window)?;
                    shown_pages = 0;
                }
                shown_pages += 1;
                window.show(page).map_err(PatchError::Window)?
            }
        };
        shown = Some((page, base));
        // SAFETY: inside the page.
        let at = unsafe { base.add(site - page) };
        changed += 1;
        if original == NOP {
            let flags = raw_local_irq_save();
            // SAFETY: the window shows the page. The old and the new instruction are a `nop` and a branch, which may be
            // changed under another CPU; both are right there at any moment, by the invariant of switchable keys.
            unsafe { write_site(at.cast(), site, wanted) };
            raw_local_irq_restore(flags);
            continue;
        }
        batch.changes[batch.count] = Change { at: at as usize, site, instruction: wanted };
        batch.count += 1;
        if batch.count == limit {
            batch.make(stop);
        }
    }
    batch.make(stop);
    if on {
        ENABLED.fetch_or(1 << key as u32, Ordering::Relaxed);
    } else {
        ENABLED.fetch_and(!(1 << key as u32), Ordering::Relaxed);
    }
    Ok(changed)
}

/// How many sites `key` has, and how many of them hold their original instruction.
#[must_use]
pub fn count_sites(key: Key) -> (usize, usize) {
    sites().filter(|&(_, _, of, _)| of == key as u32).fold((0, 0), |(all, same), (site, _, _, original)| {
        // SAFETY: an aligned instruction of ours; text is readable.
        let found = unsafe { (site as *const u32).read_volatile() };
        (all + 1, same + usize::from(found == original))
    })
}
