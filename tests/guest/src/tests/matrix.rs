//! P10: which preemption points are active in which model (reference 3.5), one test per row, run in every model.
//!
//! Each test leaves a request behind that nothing has served, comes to one point, and looks whether the task that
//! the request is for has run. So a point that is inert is shown to be, and not only one that is active.

use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::framework::models::{COUNT, EVENT, INERT, Models, PREEMPTED, RT, SPINNING, VOLUNTARY};
use crate::framework::{Failure, models};
use crate::tests::HIGH;
use crate::{check, check_eq, ktest};
use stint::locking::{
    Completion, Mutex, RawSpinLock, RawSpinLockIrqSave, Semaphore, SpinLock, SpinLockIrqSave,
};
use stint::preempt::{self, cond_resched_lock, preempt_disable};
use stint::task;

/// The world of this boot is one of these.
fn here(models: Models) -> bool {
    models.contains(Models::of(&stint::start::boot_info().bootargs))
}

/// What happened at `point`, with a request pending that was made before: `pHn` if the point served it.
fn at(log: &'static Events, gate: &'static Semaphore, point: impl FnOnce()) -> Result<(), Failure> {
    let _tick = TickOff::new();
    let high = task::build("high").fifo(HIGH).spawn(move || {
        gate.take();
        log.mark('H');
    })?;
    // It comes to its wait.
    task::sleep_ns(10_000);
    let guard = preempt_disable();
    gate.give()?;
    guard.enable_no_resched();
    log.mark('p');
    let wanted = preempt::need_resched();
    point();
    log.mark('n');
    high.join();
    check!(wanted, "there was no request to be served");
    Ok(())
}

/// A row of the matrix: `point` serves a request in the `active` worlds and in no others.
macro_rules! row {
    ($(#[$meta:meta])* $name:ident: active in $active:expr, $point:expr) => {
        ktest! {
            $(#[$meta])*
            fn $name() {
                static LOG: Events = Events::new();
                static GATE: Semaphore = Semaphore::new(0);
                at(&LOG, &GATE, $point)?;
                check_eq!(LOG.text(), if here($active) { "pHn" } else { "pnH" });
            }
        }
    };
}

row! {
    the_return_from_an_interrupt_is_a_point_in_full_and_rt: active in PREEMPTED, || {
        let nothing = Interrupt::request(9, || {}).expect("a free line");
        nothing.raise();
    }
}

row! {
    the_last_preempt_enable_is_a_point_in_full_and_rt: active in PREEMPTED, || drop(preempt_disable())
}

row! {
    preempt_enable_no_resched_is_a_point_in_no_model: active in models::NOWHERE, || {
        preempt_disable().enable_no_resched();
    }
}

row! {
    cond_resched_is_a_point_in_none_and_voluntary: active in INERT, || {
        assert_eq!(preempt::cond_resched(), here(INERT), "what cond_resched says");
    }
}

row! {
    might_sleep_is_a_point_in_voluntary: active in VOLUNTARY, preempt::might_sleep
}

row! {
    /// Because it might sleep, whether it does or not.
    taking_a_free_mutex_is_a_point_in_voluntary: active in VOLUNTARY, || {
        static MUTEX: Mutex<()> = Mutex::new(());
        drop(MUTEX.lock());
    }
}

row! {
    taking_a_unit_of_a_semaphore_is_a_point_in_voluntary: active in VOLUNTARY, || {
        static UNITS: Semaphore = Semaphore::new(1);
        UNITS.take();
    }
}

ktest! {
    fn waiting_for_what_is_complete_is_a_point_in_voluntary() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static DONE: Completion = Completion::new();
        // Before the request: to complete is a point too.
        DONE.complete_all();
        at(&LOG, &GATE, || DONE.wait())?;
        check_eq!(LOG.text(), if here(VOLUNTARY) { "pHn" } else { "pnH" });
    }
}

row! {
    the_release_of_a_raw_spin_lock_is_a_point_where_it_counts: active in PREEMPTED.and(COUNT), || {
        static LOCK: RawSpinLock<()> = RawSpinLock::new(());
        drop(LOCK.lock());
    }
}

row! {
    the_release_of_a_raw_lock_that_masks_is_a_point_where_it_counts: active in PREEMPTED.and(COUNT), || {
        static LOCK: RawSpinLockIrqSave<()> = RawSpinLockIrqSave::new(());
        drop(LOCK.lock());
    }
}

row! {
    /// Where it sleeps, preemption was never off.
    the_release_of_a_spin_lock_is_a_point_where_it_spins: active in PREEMPTED.and(SPINNING), || {
        static LOCK: SpinLock<()> = SpinLock::new(());
        drop(LOCK.lock());
    }
}

row! {
    /// In `rt` it is a lock that sleeps, and preemption was never off.
    the_end_of_local_bh_disable_is_a_point_in_full: active in PREEMPTED.and(models::NOT_RT), || {
        drop(stint::irq::softirq::local_bh_disable());
    }
}

row! {
    a_yield_serves_a_request_in_every_model: active in models::ALL, task::yield_now
}

row! {
    a_sleep_serves_a_request_in_every_model: active in models::ALL, || task::sleep_ns(1_000)
}

row! {
    cond_resched_lock_lets_go_of_a_spin_lock_in_every_model: active in models::ALL, || {
        static LOCK: SpinLock<u32> = SpinLock::new(7);
        let mut guard = LOCK.lock();
        assert!(cond_resched_lock(&mut guard), "it says that it did not let go");
        assert_eq!(*guard, 7);
    }
}

row! {
    cond_resched_lock_lets_go_of_a_raw_lock_in_every_model: active in models::ALL, || {
        static LOCK: RawSpinLockIrqSave<u32> = RawSpinLockIrqSave::new(7);
        let mut guard = LOCK.lock();
        assert!(cond_resched_lock(&mut guard), "it says that it did not let go");
        assert!(arch::irqflags::irqs_disabled(), "it is not held again");
    }
}

/// What happens when a request is made inside of a section: `iHu` at the end, `Hiu` at once, `iuH` after it.
macro_rules! inside {
    ($(#[$meta:meta])* $name:ident: $lock:ident, $end:expr, $once:expr) => {
        ktest! {
            $(#[$meta])*
            fn $name() {
                static LOG: Events = Events::new();
                static GATE: Semaphore = Semaphore::new(0);
                static LOCK: $lock<()> = $lock::new(());
                let _tick = TickOff::new();
                let high = task::build("high").fifo(HIGH).spawn(|| {
                    GATE.take();
                    LOG.mark('H');
                })?;
                task::sleep_ns(10_000);
                let guard = LOCK.lock();
                GATE.give()?;
                LOG.mark('i');
                drop(guard);
                LOG.mark('u');
                high.join();
                let expected = if here($once) { "Hiu" } else if here($end) { "iHu" } else { "iuH" };
                check_eq!(LOG.text(), expected);
            }
        }
    };
}

inside! {
    a_request_inside_a_spin_lock_waits_for_its_end_where_it_spins_and_not_where_it_sleeps:
        SpinLock, PREEMPTED, PREEMPTED.and(models::SLEEPING)
}

inside! {
    a_request_inside_a_spin_lock_that_masks_waits_for_its_end_and_not_in_rt: SpinLockIrqSave, PREEMPTED, RT
}

inside! {
    /// In the event-driven style nobody looks at the end; the request interrupts there.
    a_request_inside_a_raw_lock_is_served_at_its_end_in_full_and_rt: RawSpinLock, PREEMPTED, models::NOWHERE
}

inside! {
    a_request_inside_a_raw_lock_that_masks_is_served_at_its_end_in_full_and_rt:
        RawSpinLockIrqSave, PREEMPTED, models::NOWHERE
}

ktest! {
    only_in(models::PREEMPTED.and(EVENT), "it is about the interrupt of the event-driven style"),
    /// Also where interrupts are masked by hand, which no point follows in the other style.
    fn a_request_made_under_a_mask_is_served_when_the_mask_is_lifted() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = crate::tests::high_waiter(&LOG, &GATE)?;
        let flags = arch::irqflags::local_irq_save();
        GATE.give()?;
        LOG.mark('i');
        arch::irqflags::local_irq_restore(flags);
        LOG.mark('u');
        high.join();
        check_eq!(LOG.text(), "iHu");
    }
}
