//! K1: markers nest, are counted per task, and hold a switch off until the last one is gone.

use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::tests::{HIGH, high_waiter};
use crate::{check, check_eq, ktest};
use stint::locking::{Semaphore, SpinLock};
use stint::preempt::{preempt_count, preempt_disable};
use stint::{preempt, task};

ktest! {
    only_in(models::SPINNING, "it shows what a spin lock does that spins"),
    fn nested_markers_count_up_and_down() {
        check_eq!(preempt_count(), 0);
        let outer = preempt_disable();
        check_eq!(preempt_count(), 1);
        let inner = preempt_disable();
        check_eq!(preempt_count(), 2);
        static LOCK: SpinLock<()> = SpinLock::new(());
        let locked = LOCK.lock();
        check_eq!(preempt_count(), 3);
        // In any order: the count does not care.
        drop(outer);
        check_eq!(preempt_count(), 2);
        drop(locked);
        check_eq!(preempt_count(), 1);
        drop(inner);
        check_eq!(preempt_count(), 0);
    }
}

ktest! {
    fn two_hundred_markers_deep_is_still_exact() {
        let guards: alloc::vec::Vec<_> = (0..200).map(|_| preempt_disable()).collect();
        let deep = preempt_count();
        drop(guards);
        check_eq!(deep, 200);
        check_eq!(preempt_count(), 0);
    }
}

ktest! {
    only_in(models::SPINNING, models::MAKES_TASKS_IN_ATOMIC),
    fn the_count_belongs_to_the_task_and_not_to_the_cpu() {
        let guard = preempt_disable();
        // Made runnable inside the section, and so begins when it ends: with its own count.
        let other = task::build("other").fifo(HIGH).spawn(|| {
            let at_first = preempt_count();
            let _guard = preempt_disable();
            (at_first, preempt_count())
        });
        let here = preempt_count();
        drop(guard);
        check_eq!(other?.join(), Some((0, 1)), "counts in the other task");
        check_eq!(here, 1, "the count here");
    }
}

ktest! {
    fn the_context_predicates_tell_the_context() {
        check!(preempt::in_task() && preempt::preemptible());
        check!(!preempt::in_atomic() && !preempt::in_hardirq() && !preempt::in_interrupt());
        {
            let _guard = preempt_disable();
            check!(preempt::in_task() && preempt::in_atomic() && !preempt::preemptible() && !preempt::in_interrupt());
        }
        let flags = arch::irqflags::local_irq_save();
        let masked = (preempt::preemptible(), preempt::in_atomic());
        arch::irqflags::local_irq_restore(flags);
        check_eq!(masked, (false, false), "preemptible, atomic, with interrupts masked");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn nothing_is_switched_to_inside_nested_markers() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let outer = preempt_disable();
        let inner = preempt_disable();
        GATE.give()?;
        LOG.mark('2');
        drop(inner);
        LOG.mark('1');
        drop(outer);
        LOG.mark('0');
        high.join();
        check_eq!(LOG.text(), "21H0");
    }
}
