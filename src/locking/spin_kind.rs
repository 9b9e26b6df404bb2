//! The four kinds of spin lock: what each does to the CPU and to its word, in every model (table in `spin`).
//!
//! The common model pays for no other: an instruction of the marker is the patch site, and where a key turns it into
//! a branch the other way of doing it stands behind. On release the lock word comes before the marker; so where
//! there is a word, its cold side asks once more whether this is a model in which it was taken.
//!
//! Context: as `spin` says. Locks: the word of the lock itself.

use super::RawLock;
use super::raw_mutex::RawMutex;
use crate::preempt;
use arch::irqflags::{self, Flags};
use arch::patch::{EVENT_STYLE, RT, SLEEPING_SPIN_LOCKS, SMP_LOCKS, static_branch};
use arch::thread_info::Counted;
use core::cell::Cell;

/// What a lock is made of, and what it does to the CPU.
pub trait Kind {
    /// What the lock needs besides the data.
    type Words;
    /// What must be put back.
    type State: Copy;
    /// Takes the lock.
    fn lock(words: &Self::Words) -> Self::State;
    /// Takes the lock if it is free.
    fn try_lock(words: &Self::Words) -> Option<Self::State>;
    /// Releases the lock; may switch to another task.
    ///
    /// # Safety
    /// The caller holds it, and got `state` from taking it.
    unsafe fn unlock(words: &Self::Words, state: Self::State);
    /// Whether somebody waits for the lock that the caller holds. (On one CPU nobody can wait for the end of a section
    /// that is not preempted.)
    fn is_contended(words: &Self::Words) -> bool;
}

/// [`super::RawSpinLock`].
#[derive(Debug)]
pub enum RawCount {}

/// [`super::RawSpinLockIrqSave`].
#[derive(Debug)]
pub enum RawMask {}

/// [`super::SpinLock`].
#[derive(Debug)]
pub enum Spin {}

/// [`super::SpinLockIrqSave`].
#[derive(Debug)]
pub enum SpinMask {}

/// A word to spin on.
#[repr(C)]
pub struct Word {
    spin: RawLock,
    /// What the holder's mask was, in the event-driven style. Here and not in the guard, where it would occupy a
    /// register in the other style too.
    flags: Cell<Flags>,
}

// SAFETY: `flags` is written by the holder once it has the word, and read by the holder before it lets go.
unsafe impl Sync for Word {}

impl RawCount {
    #[track_caller]
    pub(super) const fn open() -> Word {
        Word { spin: RawLock::new(), flags: Cell::new(0) }
    }
}

impl RawMask {
    #[track_caller]
    pub(super) const fn open() -> Word {
        RawCount::open()
    }
}

impl Spin {
    #[track_caller]
    pub(super) const fn open() -> Both {
        Both { spin: RawLock::that_may_sleep(), mutex: RawMutex::new() }
    }
}

impl SpinMask {
    #[track_caller]
    pub(super) const fn open() -> Both {
        Spin::open()
    }
}

/// A word to spin on, and a mutex in its place where the lock sleeps.
#[repr(C)]
pub struct Both {
    spin: RawLock,
    mutex: RawMutex,
}

impl Both {
    /// Sleeps while another task has it.
    #[cfg_attr(debug_assertions, track_caller)]
    #[inline(never)]
    fn lock_mutex(&self) {
        preempt::check_may_sleep_if_running();
        self.spin.dep().acquire();
        self.mutex.lock();
    }

    #[cfg_attr(debug_assertions, track_caller)]
    #[inline(never)]
    fn try_lock_mutex(&self) -> bool {
        preempt::check_not_in_hardirq();
        let taken = self.mutex.try_lock();
        if taken {
            self.spin.dep().acquired_by_trying();
        }
        taken
    }

    #[inline(never)]
    fn unlock_mutex(&self) {
        self.spin.dep().release();
        self.mutex.unlock();
    }

    /// Releases the word if this is a model in which it was taken; the mutex has its own release.
    ///
    /// # Safety
    /// The caller holds the lock.
    #[inline(always)]
    unsafe fn unlock_word<const SLEEPS: u32>(&self) {
        if (cfg!(debug_assertions) || static_branch::<SMP_LOCKS>()) && !static_branch::<SLEEPS>() {
            // SAFETY: the caller holds the lock, and not by the mutex.
            unsafe { self.spin.unlock() };
        }
    }

    /// Where it sleeps a task may wait, otherwise a CPU.
    fn is_contended<const SLEEPS: u32>(&self) -> bool {
        if static_branch::<SLEEPS>() { self.mutex.is_wanted() } else { self.spin.is_contended() }
    }
}

impl Kind for RawCount {
    type Words = Word;
    type State = ();

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn lock(word: &Word) {
        match preempt::preempt_count_inc_unless::<EVENT_STYLE, EVENT_STYLE>() {
            Counted::Done => word.spin.lock_by_call(),
            _ => lock_mask(word),
        }
    }

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn try_lock(word: &Word) -> Option<()> {
        let taken = match preempt::preempt_count_inc_unless::<EVENT_STYLE, EVENT_STYLE>() {
            Counted::Done => {
                let taken = word.spin.try_lock();
                if !taken {
                    preempt::preempt_enable();
                }
                taken
            }
            _ => {
                let flags = irqflags::local_irq_save();
                let taken = word.spin.try_lock();
                if taken {
                    word.flags.set(flags);
                } else {
                    irqflags::local_irq_restore(flags);
                }
                taken
            }
        };
        taken.then_some(())
    }

    #[inline(always)]
    unsafe fn unlock(word: &Word, (): ()) {
        if static_branch::<SMP_LOCKS>() {
            // SAFETY: by contract.
            return unsafe { unlock_count_with_word(word) };
        }
        word.spin.unlock_without_word();
        if preempt::preempt_enable_unless::<EVENT_STYLE, EVENT_STYLE>() != Counted::Done {
            // There is no word that anybody else could have taken.
            irqflags::local_irq_restore(word.flags.get());
        }
    }

    fn is_contended(word: &Word) -> bool {
        word.spin.is_contended()
    }
}

/// The beginning of a [`RawCount`] section in the event-driven style. A call, so that the mask does not take a
/// register that the common style would have to save.
#[cold]
#[inline(never)]
#[cfg_attr(debug_assertions, track_caller)]
fn lock_mask(word: &Word) {
    let flags = irqflags::local_irq_save();
    word.spin.lock();
    word.flags.set(flags);
}

/// The end of a [`RawCount`] section where there is a word.
///
/// # Safety
/// The caller holds the lock.
#[cold]
#[inline(never)]
unsafe fn unlock_count_with_word(word: &Word) {
    // The flags may be somebody else's the moment the word is released.
    let flags = word.flags.get();
    // SAFETY: by contract, and the caller has asked.
    unsafe { word.spin.unlock_word() };
    if preempt::preempt_enable_unless::<EVENT_STYLE, EVENT_STYLE>() != Counted::Done {
        irqflags::local_irq_restore(flags);
    }
}

impl Kind for RawMask {
    type Words = Word;
    type State = Flags;

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn lock(word: &Word) -> Flags {
        let flags = irqflags::local_irq_save();
        let _ = preempt::preempt_count_inc_unless::<EVENT_STYLE, EVENT_STYLE>();
        word.spin.lock();
        flags
    }

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn try_lock(word: &Word) -> Option<Flags> {
        let flags = irqflags::local_irq_save();
        let _ = preempt::preempt_count_inc_unless::<EVENT_STYLE, EVENT_STYLE>();
        if word.spin.try_lock() {
            return Some(flags);
        }
        leave_mask(flags);
        None
    }

    #[inline(always)]
    unsafe fn unlock(word: &Word, flags: Flags) {
        // SAFETY: by contract.
        unsafe { word.spin.unlock() };
        leave_mask(flags);
    }

    fn is_contended(word: &Word) -> bool {
        word.spin.is_contended()
    }
}

#[inline(always)]
fn leave_mask(flags: Flags) {
    irqflags::local_irq_restore(flags);
    let _ = preempt::preempt_enable_unless::<EVENT_STYLE, EVENT_STYLE>();
}

impl Kind for Spin {
    type Words = Both;
    type State = ();

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn lock(words: &Both) {
        preempt::check_not_in_hardirq();
        match preempt::preempt_count_inc_unless::<SLEEPING_SPIN_LOCKS, SLEEPING_SPIN_LOCKS>() {
            Counted::Done => words.spin.lock(),
            _ => words.lock_mutex(),
        }
    }

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn try_lock(words: &Both) -> Option<()> {
        preempt::check_not_in_hardirq();
        let taken = match preempt::preempt_count_inc_unless::<SLEEPING_SPIN_LOCKS, SLEEPING_SPIN_LOCKS>() {
            Counted::Done => {
                let taken = words.spin.try_lock();
                if !taken {
                    preempt::preempt_enable();
                }
                taken
            }
            _ => words.try_lock_mutex(),
        };
        taken.then_some(())
    }

    #[inline(always)]
    unsafe fn unlock(words: &Both, (): ()) {
        // SAFETY: by contract.
        unsafe { words.unlock_word::<SLEEPING_SPIN_LOCKS>() };
        if preempt::preempt_enable_unless::<SLEEPING_SPIN_LOCKS, SLEEPING_SPIN_LOCKS>() != Counted::Done {
            words.unlock_mutex();
        }
    }

    fn is_contended(words: &Both) -> bool {
        words.is_contended::<SLEEPING_SPIN_LOCKS>()
    }
}

impl Kind for SpinMask {
    type Words = Both;
    /// Where the lock sleeps: what the mask was, and still is.
    type State = Flags;

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn lock(words: &Both) -> Flags {
        let flags = irqflags::local_irq_save();
        match preempt::preempt_count_inc_unless::<RT, EVENT_STYLE>() {
            Counted::Done | Counted::Second => words.spin.lock(),
            Counted::First => {
                irqflags::local_irq_restore(flags);
                words.lock_mutex();
            }
        }
        flags
    }

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn try_lock(words: &Both) -> Option<Flags> {
        let flags = irqflags::local_irq_save();
        let taken = match preempt::preempt_count_inc_unless::<RT, EVENT_STYLE>() {
            counted @ (Counted::Done | Counted::Second) => {
                let taken = words.spin.try_lock();
                if !taken {
                    irqflags::local_irq_restore(flags);
                    if counted == Counted::Done {
                        preempt::preempt_enable();
                    }
                }
                taken
            }
            Counted::First => {
                irqflags::local_irq_restore(flags);
                words.try_lock_mutex()
            }
        };
        taken.then_some(flags)
    }

    #[inline(always)]
    unsafe fn unlock(words: &Both, flags: Flags) {
        // SAFETY: by contract.
        unsafe { words.unlock_word::<RT>() };
        irqflags::local_irq_restore(flags);
        if preempt::preempt_enable_unless::<RT, EVENT_STYLE>() == Counted::First {
            words.unlock_mutex();
        }
    }

    fn is_contended(words: &Both) -> bool {
        words.is_contended::<RT>()
    }
}
