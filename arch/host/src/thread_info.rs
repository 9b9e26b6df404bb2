//! The preempt word of the calling thread. Semantics as in the AArch64 crate.

use crate::patch::static_branch;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bit number in the flags: somebody wants this task to give up the CPU.
pub const TIF_NEED_RESCHED: u64 = 1;
/// Count 0, no switch wanted.
pub const PREEMPT_ENABLED: u64 = 1 << 32;
/// The word of a new task.
pub const FORK_PREEMPT_COUNT: u64 = PREEMPT_ENABLED | 2;
/// The word of the boot task.
pub const INIT_PREEMPT_COUNT: u64 = 1;

thread_local! {
    static WORD: Cell<u64> = const { Cell::new(PREEMPT_ENABLED) };
    static HINT: Cell<bool> = const { Cell::new(false) };
    static NESTING: Cell<u32> = const { Cell::new(0) };
}

/// The TIF flags of a task; its word is the thread's.
#[repr(C)]
pub struct ThreadInfo {
    flags: AtomicU64,
    initial_word: u64,
}

impl ThreadInfo {
    /// A `ThreadInfo` with no flags.
    #[must_use]
    pub const fn new(preempt_word: u64) -> Self {
        Self { flags: AtomicU64::new(0), initial_word: preempt_word }
    }

    /// Sets `TIF_NEED_RESCHED`; returns whether it was set before.
    pub fn test_and_set_need_resched(&self) -> bool {
        self.flags.fetch_or(1 << TIF_NEED_RESCHED, Ordering::Relaxed) & (1 << TIF_NEED_RESCHED) != 0
    }

    /// Clears `TIF_NEED_RESCHED`.
    pub fn clear_need_resched(&self) {
        self.flags.fetch_and(!(1 << TIF_NEED_RESCHED), Ordering::Relaxed);
    }

    /// Whether `TIF_NEED_RESCHED` is set.
    #[must_use]
    pub fn tif_need_resched(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & (1 << TIF_NEED_RESCHED) != 0
    }

    /// The word it was made with.
    #[must_use]
    pub fn preempt_word(&self) -> u64 {
        self.initial_word
    }
}

/// There is no task on a PC.
#[must_use]
pub fn current_thread_info() -> *const ThreadInfo {
    std::ptr::null()
}

/// No task, no request.
#[must_use]
pub fn need_resched() -> bool {
    false
}

/// The count half.
#[must_use]
pub fn preempt_count() -> u32 {
    WORD.get() as u32
}

/// Stores the count half only.
///
/// # Safety
/// As in the AArch64 crate.
pub unsafe fn preempt_count_set<const COUNT: u32>() {
    WORD.set(WORD.get() & !0xffff_ffff | u64::from(COUNT));
}

/// Adds to the count half.
pub fn preempt_count_add(val: u32) {
    WORD.set(WORD.get() & !0xffff_ffff | u64::from(preempt_count().wrapping_add(val)));
}

/// Subtracts from the count half.
pub fn preempt_count_sub(val: u32) {
    preempt_count_add(val.wrapping_neg());
}

/// Adds a constant.
pub fn preempt_count_add_const<const VAL: u32>() {
    preempt_count_add(VAL);
}

/// Subtracts a constant.
pub fn preempt_count_sub_const<const VAL: u32>() {
    preempt_count_sub(VAL);
}

/// The thread's hint.
#[must_use]
pub fn softirq_hint() -> bool {
    HINT.get()
}

/// Sets it.
pub fn set_softirq_hint() {
    HINT.set(true);
}

/// Clears it.
pub fn clear_softirq_hint() {
    HINT.set(false);
}

/// The thread's depth.
#[must_use]
pub fn bh_nesting() -> u32 {
    NESTING.get()
}

/// Sets it.
pub fn set_bh_nesting(to: u32) {
    NESTING.set(to);
}

/// One level more.
pub fn preempt_count_inc() {
    preempt_count_add(1);
}

/// One level less; whether the word is now zero.
#[must_use]
pub fn preempt_count_dec_and_test() -> bool {
    preempt_count_sub(1);
    WORD.get() == 0
}

/// What became of a count operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It was done.
    Done,
    /// The first key is on.
    First,
    /// The second key is on.
    Second,
}

fn unless<const FIRST: u32, const SECOND: u32>(otherwise: impl FnOnce()) -> Counted {
    if static_branch::<FIRST>() {
        Counted::First
    } else if static_branch::<SECOND>() {
        Counted::Second
    } else {
        otherwise();
        Counted::Done
    }
}

/// One level more unless a key is on.
#[must_use]
pub fn preempt_count_inc_unless<const FIRST: u32, const SECOND: u32>() -> Counted {
    unless::<FIRST, SECOND>(preempt_count_inc)
}

/// One level less unless a key is on.
#[must_use]
pub fn preempt_count_dec_unless<const FIRST: u32, const SECOND: u32>() -> Counted {
    unless::<FIRST, SECOND>(|| preempt_count_sub(1))
}

/// Whether the word is zero; `false` while the key is on.
#[must_use]
pub fn preempt_word_is_zero_unless<const KEY: u32>() -> bool {
    !static_branch::<KEY>() && WORD.get() == 0
}

/// Flag half to 0 unless the key is on.
#[must_use]
pub fn set_preempt_need_resched_unless<const KEY: u32>() -> bool {
    let off = !static_branch::<KEY>();
    if off {
        set_preempt_need_resched();
    }
    off
}

/// The whole word.
#[must_use]
pub fn preempt_word() -> u64 {
    WORD.get()
}

/// Flag half to 0.
pub fn set_preempt_need_resched() {
    WORD.set(u64::from(preempt_count()));
}

/// Flag half to 1.
pub fn clear_preempt_need_resched() {
    WORD.set(u64::from(preempt_count()) | PREEMPT_ENABLED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_operation_leaves_the_flag_and_the_reverse() {
        clear_preempt_need_resched();
        preempt_count_add(3);
        assert_eq!(preempt_word(), PREEMPT_ENABLED | 3);
        set_preempt_need_resched();
        assert_eq!(preempt_word(), 3);
        preempt_count_sub(2);
        assert_eq!(preempt_word(), 1);
        assert!(preempt_count_dec_and_test());
        clear_preempt_need_resched();
        preempt_count_inc();
        assert!(!preempt_count_dec_and_test());
    }
}
