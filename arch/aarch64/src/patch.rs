//! Code patching at boot: one mechanism for everything that is decided once.
//!
//! [`static_branch`] is a single `nop` in the instruction stream. If its key is switched on before the
//! text is sealed, [`apply`] turns the `nop` into a branch to the cold side. A feature that is off costs
//! one instruction and no data access. Uses: spin locks that need a lock word only when there is more
//! than one CPU, preemption points that a model switches off, trace hooks.
//!
//! Invariant: a key never changes after `apply`, so a critical section sees one answer throughout.
//! The table is built by the assembler: site and target (32 bits, self-relative), the key, and the instruction
//! that the branch replaces. That need not be a `nop`: a site can be an instruction that works anyway, and then
//! a feature that is off costs nothing at all.

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

/// For `asm!`: an instruction that works while `{key}` is off, and is a branch to `{target}` while it is on. It may
/// be any that the code needs anyway, so a feature that is off costs nothing.
macro_rules! site {
    ($instruction:literal) => {
        concat!(
            "2: ",
            $instruction,
            "\n.pushsection .patch, \"a\"\n.balign 4\n.long 2b - .\n.long {target} - .\n.long {key}\n",
            $instruction,
            "\n.popsection"
        )
    };
    ($instruction:literal, $key:literal, $target:literal) => {
        concat!(
            "3: ",
            $instruction,
            "\n.pushsection .patch, \"a\"\n.balign 4\n.long 3b - .\n.long {",
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

/// Writes the branches. Returns the number of patched sites.
///
/// # Safety
/// Once, on the boot CPU, while the others are off and the text is still mapped writable at its link
/// address (the early tables); IRQs masked.
pub unsafe fn apply() -> usize {
    SEALED.store(true, Ordering::Relaxed);
    let enabled = ENABLED.load(Ordering::Relaxed);
    let mut patched = 0;
    let mut entry = &raw const __patch_start;
    let end = &raw const __patch_end;
    while entry < end {
        // SAFETY: the table lies between the two linker symbols and holds whole entries.
        let Site { site, target, key, original: _ } = unsafe { entry.read() };
        if enabled & (1 << key) != 0 {
            let site_at = (entry as usize).wrapping_add_signed(site as isize);
            let target_at = (entry as usize + 4).wrapping_add_signed(target as isize);
            let distance = (target_at as isize - site_at as isize) >> 2;
            let branch = 0x1400_0000 | (distance as u32 & 0x03ff_ffff);
            // SAFETY: the site is an aligned instruction of ours in writable text; the instruction side
            // is made to see it (clean to PoU, invalidate, synchronise) before anybody executes it.
            unsafe {
                (site_at as *mut u32).write_volatile(branch);
                asm!("dc cvau, {a}", "dsb ish", "ic ivau, {a}", "dsb ish", "isb", a = in(reg) site_at, options(nostack, preserves_flags));
            }
            patched += 1;
        }
        // SAFETY: stays within or one past the table.
        entry = unsafe { entry.add(1) };
    }
    patched
}
