//! K2: spin locks are preemption markers, and nothing is switched to inside.

use crate::framework::Failure;
use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::tests::high_waiter;
use crate::{check, check_eq, ktest};
use arch::irqflags::{irqs_disabled, local_irq_restore, local_irq_save};
use arch::patch::{Key, is_enabled};
use core::cell::Cell;
use stint::locking::{RawSpinLock, SchedLock, Semaphore, SpinLock, SpinLockIrqSave};
use stint::preempt::preempt_count;

ktest! {
    only_in(models::SPINNING, "it shows what a spin lock does that spins"),
    fn a_spin_lock_counts_one_and_gives_it_back() {
        static LOCK: SpinLock<u32> = SpinLock::new(7);
        static RAW: RawSpinLock<u32> = RawSpinLock::new(8);
        let mut guard = LOCK.lock();
        *guard += 1;
        check_eq!((preempt_count(), irqs_disabled()), (1, false), "count and mask inside SpinLock");
        let raw = RAW.lock();
        check_eq!((preempt_count(), *raw), (2, 8), "count inside RawSpinLock inside SpinLock");
        drop(raw);
        check_eq!(preempt_count(), 1);
        drop(guard);
        check_eq!((preempt_count(), *LOCK.lock()), (0, 8), "count after, and the value");
    }
}

ktest! {
    only_in(models::SPINNING, "it shows what a spin lock does that masks and counts"),
    fn an_irqsave_lock_masks_counts_and_restores() {
        static LOCK: SpinLockIrqSave<()> = SpinLockIrqSave::new(());
        let guard = LOCK.lock();
        let inside = (preempt_count(), irqs_disabled());
        drop(guard);
        check_eq!(inside, (1, true), "count and mask inside");
        check_eq!((preempt_count(), irqs_disabled()), (0, false), "count and mask after");
    }
}

ktest! {
    only_in(models::SPINNING, "it shows what a spin lock does that masks and counts"),
    fn nested_irqsave_locks_restore_the_outer_state() {
        static OUTER: SpinLockIrqSave<()> = SpinLockIrqSave::new(());
        static INNER: SpinLockIrqSave<()> = SpinLockIrqSave::new(());
        let outer = OUTER.lock();
        let inner = INNER.lock();
        let both = (preempt_count(), irqs_disabled());
        drop(inner);
        let one = (preempt_count(), irqs_disabled());
        drop(outer);
        let flags = local_irq_save();
        drop(OUTER.lock());
        let under_mask = (preempt_count(), irqs_disabled());
        local_irq_restore(flags);
        check_eq!(both, (2, true), "count and mask inside both");
        check_eq!(one, (1, true), "count and mask after the inner one");
        check_eq!(under_mask, (0, true), "count and mask after a lock taken with interrupts masked");
        check!(!irqs_disabled());
    }
}

ktest! {
    only_in(models::PREEMPTED_SPINNING, "it shows the preemption point at the end of a spin lock that spins"),
    fn no_switch_happens_inside_a_spin_lock() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static LOCK: SpinLock<()> = SpinLock::new(());
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let guard = LOCK.lock();
        GATE.give()?;
        LOG.mark('i');
        drop(guard);
        LOG.mark('u');
        high.join();
        check_eq!(LOG.text(), "iHu");
    }
}

ktest! {
    only_in(models::PREEMPTED_SPINNING, "it shows the preemption point at the end of a spin lock that spins"),
    /// Interrupts first, count second: the other way round, the enable sees masked interrupts, does not switch,
    /// and the unmasking does not look.
    fn an_irqsave_unlock_honours_a_request_made_inside() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static LOCK: SpinLockIrqSave<()> = SpinLockIrqSave::new(());
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let guard = LOCK.lock();
        GATE.give()?;
        LOG.mark('i');
        drop(guard);
        LOG.mark('u');
        high.join();
        check_eq!(LOG.text(), "iHu");
    }
}

ktest! {
    only_in(models::PREEMPTED_SPINNING, "it shows what a spin lock does that masks and counts"),
    fn an_interrupt_pending_at_unlock_is_handled_and_then_preempts() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static LOCK: SpinLockIrqSave<()> = SpinLockIrqSave::new(());
        let _tick = TickOff::new();
        let waker = Interrupt::request(8, || {
            // The count of the section is still there: the switch is the enable's, not the interrupt's.
            LOG.mark(if preempt_count() == arch::HARDIRQ_OFFSET + 1 { 'h' } else { '?' });
            let _ = GATE.give();
        })?;
        let high = high_waiter(&LOG, &GATE)?;
        let guard = LOCK.lock();
        waker.send();
        crate::framework::clock::work(1000);
        LOG.mark('i');
        drop(guard);
        LOG.mark('u');
        high.join();
        check_eq!(LOG.text(), "ihHu");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// The lock of the kernel's own queues counts nothing, so it makes its own check at the end.
    fn a_queue_lock_switches_at_its_end_and_not_inside() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static LOCK: SchedLock<Cell<u32>> = SchedLock::new(Cell::new(0));
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let guard = LOCK.lock();
        guard.set(guard.get() + 1);
        GATE.give()?;
        LOG.mark('i');
        let inside = (preempt_count(), irqs_disabled());
        drop(guard);
        LOG.mark('u');
        high.join();
        check_eq!(LOG.text(), "iHu");
        check_eq!(inside, (0, true), "count and mask inside");
        check!(!irqs_disabled());
    }
}

ktest! {
    only_in(models::PREEMPTED.and(models::COUNT), "a request waits for somebody who looks only where the kernel is preempted and its sections count"),
    fn a_queue_lock_released_without_the_check_leaves_the_request() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static LOCK: SchedLock<()> = SchedLock::new(());
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let guard = LOCK.lock();
        GATE.give()?;
        guard.unlock_no_resched();
        LOG.mark('u');
        drop(stint::preempt::preempt_disable());
        LOG.mark('n');
        high.join();
        check_eq!(LOG.text(), "uHn");
    }
}

ktest! {
    only_in(models::SPINNING, "it shows what a spin lock does that spins"),
    fn try_lock_counts_if_it_takes_the_lock() {
        static LOCK: SpinLock<u32> = SpinLock::new(1);
        let taken = LOCK.try_lock();
        check_eq!((taken.is_some(), preempt_count()), (true, 1), "taken, and the count");
        drop(taken);
        check_eq!(preempt_count(), 0);
    }
}

ktest! {
    only_in(models::SPINNING, "it shows what a spin lock does that spins"),
    fn try_lock_on_a_held_lock_word_fails_and_counts_nothing() {
        static LOCK: SpinLock<u32> = SpinLock::new(1);
        static MASKING: SpinLockIrqSave<u32> = SpinLockIrqSave::new(1);
        if !is_enabled(Key::SmpLocks) {
            return Err(Failure::Ignored("one CPU has no lock words; boot with smp_locks=1"));
        }
        let guard = LOCK.lock();
        let refused = LOCK.try_lock().is_none();
        let count = preempt_count();
        drop(guard);
        let guard = MASKING.lock();
        let masking_refused = MASKING.try_lock().is_none();
        let (masking_count, masked) = (preempt_count(), irqs_disabled());
        drop(guard);
        check!(refused && masking_refused, "a held lock was taken again");
        check_eq!((count, masking_count, masked), (1, 1, true), "counts and mask after the refusals");
        check_eq!((preempt_count(), irqs_disabled()), (0, false));
    }
}
