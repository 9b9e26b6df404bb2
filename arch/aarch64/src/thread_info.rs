//! `ThreadInfo`: the first bytes of every task, and the preempt word inside it.
//!
//! `sp_el0` holds the address of the running task's `ThreadInfo` while the CPU is in the kernel. It has
//! two parts that look alike and are not (reference 1.3):
//!
//! * `flags`: the TIF bits. `TIF_NEED_RESCHED` is the request as the rest of the machine sees it. Any CPU may look; who
//!   writes has the lock of the run queue on which the task runs (one CPU: interrupts masked), so a write is a plain load
//!   and a plain store. A bit that is set without that lock would need a word of its own.
//! * the **preempt word**: 64 bits, `{ count: u32, need_resched: u32 }`, written only by the CPU that runs
//!   the task. The flag half is *inverted* (0 = "a switch is wanted"), so the whole word is zero exactly
//!   when the count is zero and a switch is wanted: one load and one `cbnz` decide a preemption.
//!
//! Behind the word lies the **bottom-half word**, so that the return from an interrupt loads both with one
//! `ldp`: a hint that a soft interrupt was raised over this task, and for the `rt` model how deep the task has
//! disabled bottom halves. The hint may be set with nothing pending any more; what is pending the kernel knows.
//!
//! Invariant this file owns: a count operation never stores the flag half and a flag operation never
//! stores the count half. An interrupt may clear the flag between the load and the store of a count
//! operation; a 64-bit store would undo that and lose a preemption. Hence the explicit `w` and `x`
//! registers: overlapping accesses of two widths are outside Rust's memory model, so they are assembly.
//!
//! The stores are sites of preempt-stats (`hooks.rs`).
//!
//! Context: any, always on the CPU's own word.

use crate::patch::{PREEMPT_STATS, site};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bit number in `ThreadInfo::flags`: somebody wants this task to give up the CPU.
pub const TIF_NEED_RESCHED: u64 = 1;
const TIF_NEED_RESCHED_MASK: u64 = 1 << TIF_NEED_RESCHED;

/// The word of a task that may be preempted and need not be: count 0, no switch wanted.
pub const PREEMPT_ENABLED: u64 = 1 << 32;
/// A new task starts as if it had just been switched away from: one level for the `preempt_disable`
/// around `__schedule`, one for the run-queue lock. `schedule_tail` unwinds both.
pub const FORK_PREEMPT_COUNT: u64 = PREEMPT_ENABLED | 2;
/// The boot task, until the scheduler adopts it: count 1 and the flag half still zero.
pub const INIT_PREEMPT_COUNT: u64 = 1;

/// See the module's text.
#[repr(C)]
pub struct ThreadInfo {
    flags: AtomicU64,
    preempt: PreemptWord,
    bh: BhWord,
}

/// See the module's text. Written by the CPU that runs the task alone; atomic, because its interrupts do too.
#[repr(C, align(8))]
struct BhWord {
    hint: AtomicU32,
    nesting: AtomicU32,
}

/// The 64-bit union. Only this type reads or writes it; assembly reads it through `offsets.rs`.
#[repr(C, align(8))]
pub struct PreemptWord {
    count: UnsafeCell<u32>,
    need_resched: UnsafeCell<u32>,
}

// The assembly's `ldr x` of both halves relies on these.
const _: () = {
    assert!(size_of::<PreemptWord>() == 8);
    assert!(offset_of!(PreemptWord, count) == 0, "little endian: the count is bits 31:0");
    assert!(offset_of!(PreemptWord, need_resched) == 4);
    assert!(cfg!(target_endian = "little"), "big endian would swap the halves");
    assert!(offset_of!(ThreadInfo, flags) == 0);
    assert!(offset_of!(ThreadInfo, preempt) == 8);
    // `ldp` of both words; the hint is the low half of the second.
    assert!(offset_of!(ThreadInfo, bh) == offset_of!(ThreadInfo, preempt) + 8);
    assert!(size_of::<BhWord>() == 8 && offset_of!(BhWord, hint) == 0);
};

// SAFETY: `flags` is atomic. The preempt word is shared in form only: every operation on it is made by
// the CPU that runs the task (or on a task that no CPU runs yet), and an interrupt on that CPU restores
// the count before it returns.
unsafe impl Sync for ThreadInfo {}

/// Offset of the preempt word, for inline assembly and for `offsets.rs`.
pub(crate) const PREEMPT: usize = offset_of!(ThreadInfo, preempt);
/// Offset of the flag half.
pub(crate) const NEED_RESCHED: usize = PREEMPT + offset_of!(PreemptWord, need_resched);

impl ThreadInfo {
    /// A `ThreadInfo` with no flags and the given preempt word.
    #[must_use]
    pub const fn new(preempt_word: u64) -> Self {
        Self {
            flags: AtomicU64::new(0),
            preempt: PreemptWord {
                count: UnsafeCell::new(preempt_word as u32),
                need_resched: UnsafeCell::new((preempt_word >> 32) as u32),
            },
            bh: BhWord { hint: AtomicU32::new(0), nesting: AtomicU32::new(0) },
        }
    }

    /// Sets `TIF_NEED_RESCHED`; returns whether it was set before. Any CPU may call it that holds the lock of the run
    /// queue on which the task runs.
    #[inline(always)]
    pub fn test_and_set_need_resched(&self) -> bool {
        // Who writes has the lock, so load and store need not be one.
        let flags = self.flags.load(Ordering::Relaxed);
        let was_set = flags & TIF_NEED_RESCHED_MASK != 0;
        if !was_set {
            self.flags.store(flags | TIF_NEED_RESCHED_MASK, Ordering::Relaxed);
        }
        was_set
    }

    /// Clears `TIF_NEED_RESCHED`. The caller holds the run-queue lock (reference 3.3 step 7).
    #[inline(always)]
    pub fn clear_need_resched(&self) {
        let flags = self.flags.load(Ordering::Relaxed);
        if flags & TIF_NEED_RESCHED_MASK != 0 {
            self.flags.store(flags & !TIF_NEED_RESCHED_MASK, Ordering::Relaxed);
        }
    }

    /// Whether `TIF_NEED_RESCHED` is set.
    #[inline(always)]
    #[must_use]
    pub fn tif_need_resched(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & TIF_NEED_RESCHED_MASK != 0
    }

    /// The preempt word of a task, for printing. Only exact for a task that is not running elsewhere.
    #[must_use]
    pub fn preempt_word(&self) -> u64 {
        let base: *const Self = self;
        let word: u64;
        // SAFETY: `base` is a live `ThreadInfo`; the load is 8 bytes at an 8-aligned offset inside it.
        unsafe {
            asm!("ldr {w}, [{b}, #{o}]", w = out(reg) word, b = in(reg) base, o = const PREEMPT, options(nostack, readonly, preserves_flags))
        };
        word
    }
}

/// The running task's `ThreadInfo`.
///
/// Declared `pure`: seen from the code of one task the answer never changes, because the register is
/// switched together with the stack and the callee-saved registers that may hold a copy.
#[inline(always)]
#[must_use]
pub fn current_thread_info() -> *const ThreadInfo {
    let ti;
    // SAFETY: reads a register; `sp_el0` is set before any Rust code runs (boot.S) and by `cpu_switch_to`.
    unsafe { asm!("mrs {}, sp_el0", out(reg) ti, options(pure, nomem, nostack, preserves_flags)) };
    ti
}

/// The running task's `flags`, typed.
#[inline(always)]
fn current_flags() -> &'static ThreadInfo {
    // SAFETY: the running task is alive for as long as it runs; the reference does not outlive the call.
    unsafe { &*current_thread_info() }
}

/// `need_resched()`: tests the TIF bit, *not* the folded half (reference 1.2).
#[inline(always)]
#[must_use]
pub fn need_resched() -> bool {
    current_flags().tif_need_resched()
}

/// The current count: a 32-bit load.
#[inline(always)]
#[must_use]
pub fn preempt_count() -> u32 {
    let count: u32;
    // SAFETY: `sp_el0` points at a live `ThreadInfo`.
    unsafe {
        asm!("ldr {c:w}, [{ti}, #{o}]", c = out(reg) count, ti = in(reg) current_thread_info(), o = const PREEMPT, options(nostack, readonly, preserves_flags))
    };
    count
}

/// Stores the count half only.
///
/// # Safety
/// The caller knows the count that the surrounding code expects; see the scheduler, its only user.
#[inline(always)]
pub unsafe fn preempt_count_set<const COUNT: u32>() {
    if COUNT == 0 {
        // SAFETY: as below, with the zero register.
        unsafe {
            asm!(word_site!("str wzr, [{ti}, #{o}]", "xzr", "preempt_hook_count"),
                ti = in(reg) current_thread_info(), o = const PREEMPT, key = const PREEMPT_STATS, options(nostack, preserves_flags))
        };
        return;
    }
    // SAFETY: `sp_el0` points at a live `ThreadInfo`; 4 bytes inside it. No `nomem`: this is a barrier
    // for the compiler, so that a critical section cannot leak out of its markers.
    unsafe {
        asm!(word_site!("str {c:w}, [{ti}, #{o}]", "{c}", "preempt_hook_count"),
            c = in(reg) u64::from(COUNT), ti = in(reg) current_thread_info(), o = const PREEMPT, key = const PREEMPT_STATS, options(nostack, preserves_flags))
    };
}

/// Adds `val` to the count (a compiler barrier: what follows stays inside).
#[inline(always)]
pub fn preempt_count_add(val: u32) {
    // SAFETY: as in `preempt_count_set`. Load, add and store are not atomic and need not be: only this
    // CPU writes the word, and an interrupt in between gives the count back unchanged.
    unsafe {
        asm!("ldr {c:w}, [{ti}, #{o}]", "add {c:w}, {c:w}, {v:w}", word_site!("str {c:w}, [{ti}, #{o}]", "{c}", "preempt_hook_count"),
            c = out(reg) _, v = in(reg) val, ti = in(reg) current_thread_info(), o = const PREEMPT, key = const PREEMPT_STATS, options(nostack, preserves_flags));
    }
}

/// Subtracts `val` from the count (a compiler barrier: what precedes stays inside). Does not check for a
/// pending switch: that is `preempt_enable_no_resched`.
#[inline(always)]
pub fn preempt_count_sub(val: u32) {
    // SAFETY: as in `preempt_count_add`.
    unsafe {
        asm!("ldr {c:w}, [{ti}, #{o}]", "sub {c:w}, {c:w}, {v:w}", word_site!("str {c:w}, [{ti}, #{o}]", "{c}", "preempt_hook_count"),
            c = out(reg) _, v = in(reg) val, ti = in(reg) current_thread_info(), o = const PREEMPT, key = const PREEMPT_STATS, options(nostack, preserves_flags));
    }
}

/// [`preempt_count_add`] of a constant of at most 12 bits, in three instructions.
#[inline(always)]
pub fn preempt_count_add_const<const VAL: u32>() {
    // SAFETY: as in `preempt_count_add`.
    unsafe {
        asm!("ldr {c:w}, [{ti}, #{o}]", "add {c:w}, {c:w}, #{v}", word_site!("str {c:w}, [{ti}, #{o}]", "{c}", "preempt_hook_count"),
            c = out(reg) _, v = const VAL, ti = in(reg) current_thread_info(), o = const PREEMPT, key = const PREEMPT_STATS, options(nostack, preserves_flags));
    }
}

/// [`preempt_count_sub`] of a constant of at most 12 bits, in three instructions.
#[inline(always)]
pub fn preempt_count_sub_const<const VAL: u32>() {
    // SAFETY: as in `preempt_count_add`.
    unsafe {
        asm!("ldr {c:w}, [{ti}, #{o}]", "sub {c:w}, {c:w}, #{v}", word_site!("str {c:w}, [{ti}, #{o}]", "{c}", "preempt_hook_count"),
            c = out(reg) _, v = const VAL, ti = in(reg) current_thread_info(), o = const PREEMPT, key = const PREEMPT_STATS, options(nostack, preserves_flags));
    }
}

/// `preempt_disable` in three instructions (the immediate keeps a register free).
#[inline(always)]
pub fn preempt_count_inc() {
    // SAFETY: as in `preempt_count_add`.
    unsafe {
        asm!("ldr {c:w}, [{ti}, #{o}]", "add {c:w}, {c:w}, #1", word_site!("str {c:w}, [{ti}, #{o}]", "{c}", "preempt_hook_count"),
            c = out(reg) _, ti = in(reg) current_thread_info(), o = const PREEMPT, key = const PREEMPT_STATS, options(nostack, preserves_flags));
    }
}

/// Takes one level off and says whether the whole word is now zero: count 0 and a switch wanted.
///
/// The second load is what makes it right: an interrupt after the first load may have asked for a switch
/// (flag half to 0), and its own exit could not act because the count was still 1. If the interrupt came
/// after the store it has switched already and set the flag half back, and the answer is no.
#[inline(always)]
#[must_use]
pub fn preempt_count_dec_and_test() -> bool {
    let word: u64;
    // SAFETY: as in `preempt_count_add`.
    unsafe {
        asm!("ldr {w:w}, [{ti}, #{o}]", "sub {w:w}, {w:w}, #1", word_site!("str {w:w}, [{ti}, #{o}]", "{w}", "preempt_hook_count"),
            "ldr {w}, [{ti}, #{o}]",
            w = out(reg) word, ti = in(reg) current_thread_info(), o = const PREEMPT, key = const PREEMPT_STATS, options(nostack, preserves_flags));
    }
    word == 0
}

/// What became of a count operation that a key can turn into something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It was done.
    Done,
    /// Nothing was done: the first key is on.
    First,
    /// Nothing was done: the second key is on.
    Second,
}

/// [`preempt_count_inc`] unless a key is on; `FIRST` goes before `SECOND`. The instructions of the operation are
/// the patch sites, so while both are off it costs what `preempt_count_inc` costs.
#[inline(always)]
#[must_use]
pub fn preempt_count_inc_unless<const FIRST: u32, const SECOND: u32>() -> Counted {
    // SAFETY: as in `preempt_count_add`. Neither site has stored anything when it is reached.
    unsafe {
        asm!(
            site!("ldr {c:w}, [{ti}, #{o}]", "first", "one"),
            site!("add {c:w}, {c:w}, #1", "second", "two"),
            word_site!("str {c:w}, [{ti}, #{o}]", "{c}", "preempt_hook_count"),
            c = out(reg) _,
            ti = in(reg) current_thread_info(),
            o = const PREEMPT,
            key = const PREEMPT_STATS,
            first = const FIRST,
            second = const SECOND,
            one = label { return Counted::First },
            two = label { return Counted::Second },
            options(nostack, preserves_flags)
        );
    }
    Counted::Done
}

/// One level less unless a key is on, as in [`preempt_count_inc_unless`]. Does not look at the word: the caller
/// loads it afresh, for the reason given at [`preempt_count_dec_and_test`].
#[inline(always)]
#[must_use]
pub fn preempt_count_dec_unless<const FIRST: u32, const SECOND: u32>() -> Counted {
    // SAFETY: as in `preempt_count_inc_unless`.
    unsafe {
        asm!(
            site!("ldr {c:w}, [{ti}, #{o}]", "first", "one"),
            site!("sub {c:w}, {c:w}, #1", "second", "two"),
            word_site!("str {c:w}, [{ti}, #{o}]", "{c}", "preempt_hook_count"),
            c = out(reg) _,
            ti = in(reg) current_thread_info(),
            o = const PREEMPT,
            key = const PREEMPT_STATS,
            first = const FIRST,
            second = const SECOND,
            one = label { return Counted::First },
            two = label { return Counted::Second },
            options(nostack, preserves_flags)
        );
    }
    Counted::Done
}

/// Whether the word is zero; always `false`, without a look, while `KEY` is on.
#[inline(always)]
#[must_use]
pub fn preempt_word_is_zero_unless<const KEY: u32>() -> bool {
    // SAFETY: as in `preempt_count`.
    unsafe {
        asm!(
            site!("ldr {w}, [{ti}, #{o}]", "off", "instead"),
            "cbz {w}, {zero}",
            w = out(reg) _,
            ti = in(reg) current_thread_info(),
            o = const PREEMPT,
            off = const KEY,
            instead = label { return false },
            zero = label { return true },
            options(nostack, readonly, preserves_flags)
        );
    }
    false
}

/// [`set_preempt_need_resched`]; returns `false` with nothing done while `KEY` is on.
#[inline(always)]
#[must_use]
pub fn set_preempt_need_resched_unless<const KEY: u32>() -> bool {
    // SAFETY: as in `set_preempt_need_resched`. The register is read here and not by the compiler: the reading is the
    // patch site, because the store is one of preempt-stats.
    unsafe {
        asm!(
            site!("mrs {ti}, sp_el0", "off", "instead"),
            word_site!("str wzr, [{ti}, #{o}]", "xzr", "preempt_hook_request"),
            ti = out(reg) _,
            o = const NEED_RESCHED,
            key = const PREEMPT_STATS,
            off = const KEY,
            instead = label { return false },
            options(nostack, preserves_flags)
        );
    }
    true
}

/// The whole word. Zero means "switch now".
#[inline(always)]
#[must_use]
pub fn preempt_word() -> u64 {
    let word: u64;
    // SAFETY: as in `preempt_count`.
    unsafe {
        asm!("ldr {w}, [{ti}, #{o}]", w = out(reg) word, ti = in(reg) current_thread_info(), o = const PREEMPT, options(nostack, readonly, preserves_flags))
    };
    word
}

/// Asks this CPU to switch at the next point (flag half to 0).
#[inline(always)]
pub fn set_preempt_need_resched() {
    // SAFETY: as in `preempt_count_set`; stores the flag half only.
    unsafe {
        asm!(word_site!("str wzr, [{ti}, #{o}]", "xzr", "preempt_hook_request"),
            ti = in(reg) current_thread_info(), o = const NEED_RESCHED, key = const PREEMPT_STATS, options(nostack, preserves_flags))
    };
}

/// Withdraws the request (flag half to 1).
#[inline(always)]
pub fn clear_preempt_need_resched() {
    // SAFETY: as in `set_preempt_need_resched`.
    unsafe {
        asm!(word_site!("str {one:w}, [{ti}, #{o}]", "xzr", "preempt_hook_served"),
            one = in(reg) 1u64, ti = in(reg) current_thread_info(), o = const NEED_RESCHED, key = const PREEMPT_STATS, options(nostack, preserves_flags))
    };
}

/// Whether a soft interrupt was raised over the running task and nobody has looked since.
#[inline(always)]
#[must_use]
pub fn softirq_hint() -> bool {
    current_flags().bh.hint.load(Ordering::Relaxed) != 0
}

/// Makes the next return from an interrupt, or the next `local_bh_enable`, look for soft interrupts.
#[inline(always)]
pub fn set_softirq_hint() {
    current_flags().bh.hint.store(1, Ordering::Relaxed);
}

/// Somebody looks now, or a thread will. IRQs masked.
#[inline(always)]
pub fn clear_softirq_hint() {
    current_flags().bh.hint.store(0, Ordering::Relaxed);
}

/// How deep the running task has disabled bottom halves, in the `rt` model; the kernel's bits.
#[inline(always)]
#[must_use]
pub fn bh_nesting() -> u32 {
    current_flags().bh.nesting.load(Ordering::Relaxed)
}

/// Sets what [`bh_nesting`] returns.
#[inline(always)]
pub fn set_bh_nesting(to: u32) {
    current_flags().bh.nesting.store(to, Ordering::Relaxed);
}
