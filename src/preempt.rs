//! Kernel preemption: the markers and the two points where a request is honoured.
//!
//! The preempt word (`arch::thread_info`) is the single truth: a count of reasons not to switch, and the
//! inverted request. It is zero exactly when a switch is due. Two places look at it:
//!
//! * **the return from an interrupt** (`entry.S`), which calls [`arm64_preempt_schedule_irq`];
//! * **the last `preempt_enable`**, which calls `preempt_schedule`.
//!
//! Both end in `sched::core::preempt_schedule_alone` or, on several CPUs, `preempt_schedule_smp`; there is no third way.
//!
//! Which points are active depends on the model (`preempt=`, reference 3.5), decided by patching before anything
//! runs: `full` and `rt` have the two above and no others; `none` and `voluntary` have [`cond_resched`] instead, and
//! `voluntary` makes every [`might_sleep`] one too. With `preempt_style=event` the markers stay, but the short
//! sections of the kernel mask interrupts and have no point at their end (docs/adr/0006): a request that is made
//! while interrupts are masked sends this CPU an interrupt, whose return is the point.
//!
//! What counts (reference 1.4): bits 7:0 `preempt_disable` and held spin locks, 15:8 softirq, 19:16 hard
//! interrupt. The idle task runs with count 1 and is never preempted: it polls.
//!
//! Context: any. Locks: none.

use crate::percpu::NonPreemptible;
use crate::sched::core as sched;
use arch::irqflags;
use arch::patch::{EVENT_STYLE, PREEMPT_INERT, SLEEPING_SPIN_LOCKS, VOLUNTARY, static_branch};
use arch::thread_info::{self, Counted};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};

/// `preempt_disable` and spin locks.
pub const PREEMPT_MASK: u32 = 0x0000_00ff;
/// Serving a softirq (odd) or bottom halves disabled.
pub const SOFTIRQ_MASK: u32 = 0x0000_ff00;
/// One softirq being served.
pub const SOFTIRQ_OFFSET: u32 = 0x100;
/// One level of `local_bh_disable`: an even multiple, so that bit 8 says "serving".
pub const SOFTIRQ_DISABLE_OFFSET: u32 = 2 * SOFTIRQ_OFFSET;
/// In a hard interrupt.
pub const HARDIRQ_MASK: u32 = 0x000f_0000;
/// In a non-maskable interrupt.
pub const NMI_MASK: u32 = 0x00f0_0000;

pub use arch::thread_info::{need_resched, preempt_count};

/// Preemption is off while this lives; dropping it is `preempt_enable` and **may switch to another task**.
///
/// Not `Send`: it belongs to the task that made it.
///
/// ```
/// let guard = stint::preempt::preempt_disable();
/// assert_eq!(stint::preempt::preempt_count(), 1);
/// drop(guard);
/// ```
///
/// ```compile_fail,E0277
/// fn give_away<T: Send>(_: T) {}
/// give_away(stint::preempt::preempt_disable());
/// ```
#[must_use = "preemption is on again as soon as the guard is dropped"]
pub struct PreemptGuard {
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: the count is above zero while the guard lives, and it cannot leave the task.
unsafe impl NonPreemptible for PreemptGuard {}

/// `preempt_disable()`: no switch on this CPU until the guard is dropped. Nests.
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub fn preempt_disable() -> PreemptGuard {
    preempt_count_inc();
    PreemptGuard { _not_send: PhantomData }
}

impl Drop for PreemptGuard {
    #[inline(always)]
    fn drop(&mut self) {
        preempt_enable();
    }
}

impl PreemptGuard {
    /// `preempt_enable_no_resched()`: ends the section without looking at the request, which then waits
    /// for the next point. For code that is about to call `schedule()` itself.
    #[inline(always)]
    pub fn enable_no_resched(self) {
        core::mem::forget(self);
        preempt_count_dec();
    }
}

/// One level more. Compiler barrier.
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub(crate) fn preempt_count_inc() {
    thread_info::preempt_count_inc();
    #[cfg(debug_assertions)]
    debug::disabled(core::panic::Location::caller(), 1);
}

/// Debug builds remember who disabled bottom halves, too.
#[cfg(debug_assertions)]
#[inline(always)]
#[track_caller]
pub(crate) fn bottom_halves_disabled() {
    debug::disabled(core::panic::Location::caller(), SOFTIRQ_DISABLE_OFFSET);
}

/// One level less, without the check. Compiler barrier.
#[inline(always)]
pub(crate) fn preempt_count_dec() {
    #[cfg(debug_assertions)]
    debug::about_to_enable();
    thread_info::preempt_count_sub(1);
}

/// One level less; if that was the last one and a switch is wanted, switches.
#[inline(always)]
pub(crate) fn preempt_enable() {
    #[cfg(debug_assertions)]
    debug::about_to_enable();
    if thread_info::preempt_count_dec_and_test() {
        preempt_schedule();
    }
}

/// [`preempt_count_inc`] for the sections whose marker depends on a key (`arch::thread_info`).
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub(crate) fn preempt_count_inc_unless<const FIRST: u32, const SECOND: u32>() -> Counted {
    let counted = thread_info::preempt_count_inc_unless::<FIRST, SECOND>();
    #[cfg(debug_assertions)]
    if counted == Counted::Done {
        debug::disabled(core::panic::Location::caller(), 1);
    }
    counted
}

/// [`preempt_enable`] for those sections.
#[inline(always)]
pub(crate) fn preempt_enable_unless<const FIRST: u32, const SECOND: u32>() -> Counted {
    #[cfg(debug_assertions)]
    if !static_branch::<FIRST>() && !static_branch::<SECOND>() {
        debug::about_to_enable();
    }
    let counted = thread_info::preempt_count_dec_unless::<FIRST, SECOND>();
    // Loaded afresh: an interrupt may have asked while the count was still 1 (thread_info.rs).
    if counted == Counted::Done && thread_info::preempt_word() == 0 {
        preempt_schedule();
    }
    counted
}

/// The slow side of `preempt_enable`: the word is zero. With interrupts masked by the caller it does
/// nothing (the request waits: reference 3.6).
#[cold]
#[inline(never)]
pub(crate) fn preempt_schedule() {
    if static_branch::<PREEMPT_INERT>() {
        return;
    }
    let flags = irqflags::local_irq_save();
    // Asked again now that nothing can interfere: an interrupt may have switched in between, and then
    // the request is served.
    if !irqflags::irqs_disabled_flags(flags) && thread_info::preempt_word() == 0 {
        // SAFETY: IRQs masked, the word zero, so count 0; in task context.
        unsafe { sched::preempt_schedule_irqs_off() };
    }
    irqflags::local_irq_restore(flags);
}

/// Switches if the word is zero, with IRQs masked by the caller, who has had them open before and is about
/// to open them: the end of a [`crate::locking::SchedLock`] section that woke somebody. In the event-driven style
/// nobody looks: the request has sent an interrupt.
#[inline(always)]
pub(crate) fn preempt_check_resched_irqs_off() {
    if thread_info::preempt_word_is_zero_unless::<EVENT_STYLE>() && !static_branch::<PREEMPT_INERT>() {
        // SAFETY: IRQs masked by contract, the word zero, so count 0; in task context (a hard interrupt
        // has count bits).
        unsafe { sched::preempt_schedule_irqs_off() };
    }
}

/// The switch at the return from an interrupt, called by entry.S when the word is zero.
///
/// On the stack of the interrupted task, after the end of interrupt was signalled, IRQs masked, D, A and F
/// open. Returns, with IRQs masked, when the task runs again. Linux enables interrupts around the switch
/// and therefore has to loop; here they stay masked to the `eret`, so no request can arrive unseen: what
/// is pending by then interrupts the resumed code and makes its own check (docs/adr/0003).
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
pub extern "C" fn arm64_preempt_schedule_irq() {
    if static_branch::<PREEMPT_INERT>() {
        return;
    }
    debug_assert!(irqflags::irqs_disabled(), "preempt_schedule_irq with IRQs enabled");
    debug_assert_eq!(preempt_count(), 0, "preempt_schedule_irq with a preempt count");
    // SAFETY: as the debug asserts say; entry.S guarantees it, and calls this where there is one CPU.
    unsafe { sched::preempt_schedule_alone() };
}

/// [`arm64_preempt_schedule_irq`] where there are several CPUs.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
pub extern "C" fn arm64_preempt_schedule_irq_smp() {
    if static_branch::<PREEMPT_INERT>() {
        return;
    }
    debug_assert!(irqflags::irqs_disabled(), "preempt_schedule_irq with IRQs enabled");
    debug_assert_eq!(preempt_count(), 0, "preempt_schedule_irq with a preempt count");
    // SAFETY: as above; the branch to here is there where there are several CPUs.
    unsafe { sched::preempt_schedule_smp() };
}

/// `cond_resched()`: a scheduling point in a long kernel path, for the models in which the kernel is not
/// preempted. Does nothing where preemption is on. Returns whether it switched.
///
/// It is a preemption: the state is not looked at, so a task on its way to sleep stays ready (K4).
///
/// Thread context, no locks held; in debug builds every model checks that.
#[inline]
#[cfg_attr(debug_assertions, track_caller)]
pub fn cond_resched() -> bool {
    check_may_sleep();
    static_branch::<PREEMPT_INERT>() && thread_info::preempt_word() == 0 && cond_resched_slow()
}

#[cold]
#[inline(never)]
fn cond_resched_slow() -> bool {
    let flags = irqflags::local_irq_save();
    // With interrupts masked by the caller this is no place to switch, and the request waits.
    let may_switch = !irqflags::irqs_disabled_flags(flags) && thread_info::preempt_word() == 0;
    if may_switch {
        // SAFETY: the word is zero and IRQs were open, and nobody is preempted in this model: IRQs masked,
        // count 0, in task context.
        unsafe { sched::preempt_schedule_irqs_off() };
    }
    irqflags::local_irq_restore(flags);
    may_switch
}

/// [`cond_resched`] for paths that may also be called where a switch is not allowed: there it does nothing, and
/// nobody complains. Any context.
#[inline]
pub(crate) fn cond_resched_if_allowed() {
    // The word is zero only with count 0, and the slow side looks at the mask.
    if static_branch::<PREEMPT_INERT>() && thread_info::preempt_word() == 0 {
        cond_resched_slow();
    }
}

/// `might_resched()`: the scheduling point of the `voluntary` model, and of no other.
#[inline(always)]
pub(crate) fn might_resched() {
    if static_branch::<VOLUNTARY>() && thread_info::preempt_word() == 0 {
        cond_resched_slow();
    }
}

/// A guard whose lock can be let go of for a moment: [`cond_resched_lock`].
pub trait LockBreak {
    /// Whether somebody is known to wait for the lock.
    fn is_contended(&self) -> bool;
    /// Releases the lock, runs `between`, and takes the lock again.
    fn released(&mut self, between: impl FnOnce());
}

/// `cond_resched_lock()`: lets go of a lock that a long path holds, for whoever is to run or waits for it, and
/// takes it again. Returns whether it did; then what the lock guards may have changed.
///
/// Where the lock keeps preemption off, in every model, a request is a reason; where the lock can tell that
/// somebody waits (those that sleep can), that is one too. Thread context, no other lock held.
///
/// ```
/// let lock = stint::locking::SpinLock::new(1);
/// let mut guard = lock.lock();
/// assert!(!stint::preempt::cond_resched_lock(&mut guard), "nobody waits");
/// assert_eq!(*guard, 1);
/// ```
#[inline]
pub fn cond_resched_lock<G: LockBreak>(guard: &mut G) -> bool {
    let breaks = need_resched() || guard.is_contended();
    if breaks {
        // Where the release is no point, this is.
        guard.released(|| {
            if !cond_resched() && thread_info::preempt_word() == 0 {
                preempt_schedule();
            }
        });
    }
    breaks
}

/// In a hard interrupt.
#[inline(always)]
#[must_use]
pub fn in_hardirq() -> bool {
    preempt_count() & HARDIRQ_MASK != 0
}

/// In any kind of interrupt, or with bottom halves disabled (reference 1.4: not "in softirq context").
#[inline(always)]
#[must_use]
pub fn in_interrupt() -> bool {
    preempt_count() & (NMI_MASK | HARDIRQ_MASK | SOFTIRQ_MASK) != 0
}

/// Serving a softirq, or with bottom halves disabled.
#[inline(always)]
#[must_use]
pub fn in_softirq() -> bool {
    preempt_count() & SOFTIRQ_MASK != 0
}

/// In thread context, whatever is disabled.
#[inline(always)]
#[must_use]
pub fn in_task() -> bool {
    preempt_count() & (NMI_MASK | HARDIRQ_MASK | SOFTIRQ_OFFSET) == 0
}

/// Not allowed to sleep.
#[inline(always)]
#[must_use]
pub fn in_atomic() -> bool {
    preempt_count() != 0
}

/// Whether a switch could happen right here: count 0 and IRQs open.
#[inline(always)]
#[must_use]
pub fn preemptible() -> bool {
    preempt_count() == 0 && !irqflags::irqs_disabled()
}

/// `might_sleep()`: the caller may block, so it must be in a context that may. Debug builds check. In the model
/// `voluntary` it is a scheduling point, whether the caller then blocks or not.
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub fn might_sleep() {
    check_may_sleep();
    might_resched();
}

/// The check of [`might_sleep`] alone.
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub(crate) fn check_may_sleep() {
    #[cfg(debug_assertions)]
    debug::assert_may_sleep();
}

/// The check for what is certain to sleep: made in every build, because the switch sets the count to
/// what it knows it is, and a task that slept with preemption off would wake with it on.
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub(crate) fn will_sleep() {
    check_may_sleep();
    if !preemptible() {
        sleeping_in_atomic_context(irqflags::local_save_flags());
    }
}

/// The boot is over.
static SYSTEM_RUNS: AtomicBool = AtomicBool::new(false);

/// From here on tasks run and interrupts come: what must not sleep is checked. Once, at the end of the boot.
pub(crate) fn system_runs() {
    SYSTEM_RUNS.store(true, Ordering::Relaxed);
}

/// Whether a lock that sleeps in some models may be taken here, in this model. While booting it may: there is
/// nobody to wait for.
pub(crate) fn may_spin_lock() -> bool {
    !static_branch::<SLEEPING_SPIN_LOCKS>() || preemptible() || !SYSTEM_RUNS.load(Ordering::Relaxed)
}

/// Debug builds, for the locks that sleep in some models and not in others: wrong in a hard interrupt in every
/// model. While booting there is only one to take them, with interrupts masked.
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub(crate) fn check_not_in_hardirq() {
    #[cfg(debug_assertions)]
    debug::assert_not_in_hardirq();
}

/// [`check_may_sleep`] where the boot may come by.
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub(crate) fn check_may_sleep_if_running() {
    #[cfg(debug_assertions)]
    if SYSTEM_RUNS.load(Ordering::Relaxed) {
        debug::assert_may_sleep();
    }
}

/// The end of a task that sleeps where it must not. `flags`: the mask that it would open.
#[cold]
#[inline(never)]
#[cfg_attr(debug_assertions, track_caller)]
pub(crate) fn sleeping_in_atomic_context(flags: irqflags::Flags) -> ! {
    let task = crate::task::current();
    let count = preempt_count();
    let context = if count & (NMI_MASK | HARDIRQ_MASK) != 0 {
        " (in a hard interrupt over the task)"
    } else if count & SOFTIRQ_OFFSET != 0 {
        " (in a softirq)"
    } else if count & SOFTIRQ_MASK != 0 {
        " (bottom halves disabled)"
    } else {
        ""
    };
    let irqs = if irqflags::irqs_disabled_flags(flags) { "masked" } else { "open" };
    #[cfg(debug_assertions)]
    let disabled_at = debug::DisabledAt(task);
    #[cfg(not(debug_assertions))]
    let disabled_at = "";
    panic!(
        "sleeping in atomic context: task {}/{}, preempt count {count:#x}{context}, IRQs {irqs}{disabled_at}",
        task.name(),
        task.id()
    )
}

/// What the debug checks remember: where preemption was disabled.
#[cfg(debug_assertions)]
mod debug {
    use super::{PREEMPT_MASK, SOFTIRQ_MASK, SOFTIRQ_OFFSET, preempt_count, preemptible};
    use crate::task::{self, Task};
    use core::fmt;
    use core::panic::Location;

    #[inline(always)]
    #[track_caller]
    pub(super) fn assert_not_in_hardirq() {
        if super::in_hardirq() {
            lock_in_hardirq();
        }
    }

    #[cold]
    #[track_caller]
    fn lock_in_hardirq() -> ! {
        panic!(
            "SpinLock in a hard interrupt over task {}: expected RawSpinLockIrqSave (or SpinLockIrqSave, where \
             the handler is a thread in preempt=rt); preempt count {:#x}",
            task::current().name(),
            preempt_count()
        )
    }

    /// What is disabled, and not by an interrupt.
    const BY_CODE: u32 = PREEMPT_MASK | SOFTIRQ_MASK & !SOFTIRQ_OFFSET;

    /// The outermost disabler, which has added `by`, leaves its address in the task; in an interrupt too, where nothing
    /// was disabled by the task.
    #[inline(always)]
    pub(super) fn disabled(at: &'static Location<'static>, by: u32) {
        let count = preempt_count();
        if count & BY_CODE == by
            && let Some(task) = task::try_current()
        {
            task.preempt_disabled_at.set(Some(at));
        }
        debug_assert!(count & PREEMPT_MASK < 245, "preempt count about to overflow: {count:#x}");
    }

    #[inline(always)]
    pub(super) fn about_to_enable() {
        debug_assert!(
            preempt_count() & PREEMPT_MASK != 0,
            "preempt_enable without preempt_disable: count {:#x}",
            preempt_count()
        );
    }

    /// Where the running task disabled preemption or bottom halves, if it did.
    pub(super) struct DisabledAt(pub(super) &'static Task);

    impl fmt::Display for DisabledAt {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0.preempt_disabled_at.get() {
                Some(at) if preempt_count() & BY_CODE != 0 => write!(f, "; preemption was disabled at {at}"),
                _ => Ok(()),
            }
        }
    }

    #[inline(always)]
    #[track_caller]
    pub(super) fn assert_may_sleep() {
        if !preemptible() {
            super::sleeping_in_atomic_context(arch::irqflags::local_save_flags());
        }
    }
}
