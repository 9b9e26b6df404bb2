//! P1, P2: the preempt word, its operations, and the two forms of a request.
//!
//! These tests write the running task's own word, with interrupts masked, and put it back.

use crate::framework::Failure;
use crate::framework::clock::{TickOff, pmu_interrupt, spin_ns};
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::tests::{HIGH, LOW, high_waiter};
use crate::{check, check_eq, ktest};
use arch::irqflags::{local_irq_restore, local_irq_save};
use arch::thread_info::{self as ti, PREEMPT_ENABLED};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use stint::drivers::machine::BoardKind;
use stint::locking::Semaphore;
use stint::time::{Timer, now_ns};
use stint::{preempt, start, task};

/// Counts that occur: none, one, nested, softirq, hard interrupt, all together.
const COUNTS: [u32; 7] = [0, 1, 2, 0xff, 0x100, 0x1_0000, 0x1_0102];

/// Runs `f` with interrupts masked and the word as given, and puts the word back.
fn with_word<T>(count: u32, wanted: bool, f: impl FnOnce() -> T) -> T {
    let flags = local_irq_save();
    set_word(count, wanted);
    let result = f();
    set_word(0, false);
    local_irq_restore(flags);
    result
}

fn set_word(count: u32, wanted: bool) {
    // Interrupts are masked and the caller puts the count back before anybody else looks.
    ti::preempt_count_sub(ti::preempt_count());
    ti::preempt_count_add(count);
    if wanted { ti::set_preempt_need_resched() } else { ti::clear_preempt_need_resched() }
}

fn flag_half() -> u32 {
    (ti::preempt_word() >> 32) as u32
}

ktest! {
    fn the_word_is_zero_exactly_when_the_count_is_zero_and_a_switch_is_wanted() {
        for count in COUNTS {
            for wanted in [false, true] {
                let word = with_word(count, wanted, ti::preempt_word);
                let expected = u64::from(count) | if wanted { 0 } else { 1 << 32 };
                check_eq!(word, expected, "the word for count {count:#x}, wanted {wanted}");
                check_eq!(word == 0, count == 0 && wanted, "zero for count {count:#x}, wanted {wanted}");
            }
        }
    }
}

ktest! {
    fn dec_and_test_says_yes_only_from_one_with_a_switch_wanted() {
        for count in [1, 2, 0x101, 0x1_0001] {
            for wanted in [false, true] {
                let (yes, left, flag) =
                    with_word(count, wanted, || (ti::preempt_count_dec_and_test(), ti::preempt_count(), flag_half()));
                check_eq!(yes, count == 1 && wanted, "the answer from count {count:#x}, wanted {wanted}");
                check_eq!(left, count - 1, "the count from {count:#x}");
                check_eq!(flag, u32::from(!wanted), "the flag half from count {count:#x}");
            }
        }
    }
}

ktest! {
    fn count_operations_leave_the_flag_alone() {
        let operations: [(&str, fn(), u32); 6] = [
            ("inc", || ti::preempt_count_inc(), 6),
            ("add", || ti::preempt_count_add(0x1_0000), 0x1_0005),
            ("sub", || ti::preempt_count_sub(2), 3),
            ("dec_and_test", || { let _ = ti::preempt_count_dec_and_test(); }, 4),
            // SAFETY: masked; `with_word` puts the count back.
            ("set", || unsafe { ti::preempt_count_set::<0x201>() }, 0x201),
            ("nothing", || {}, 5),
        ];
        for (name, operation, expected) in operations {
            for wanted in [false, true] {
                let (count, flag) = with_word(5, wanted, || {
                    operation();
                    (ti::preempt_count(), flag_half())
                });
                check_eq!(count, expected, "the count after {name}");
                check_eq!(flag, u32::from(!wanted), "the flag half after {name}");
            }
        }
    }
}

ktest! {
    fn flag_operations_leave_the_count_alone() {
        for count in COUNTS {
            let seen = with_word(count, false, || {
                ti::set_preempt_need_resched();
                let set = (ti::preempt_count(), flag_half());
                ti::clear_preempt_need_resched();
                (set, (ti::preempt_count(), flag_half()))
            });
            check_eq!(seen, ((count, 0), (count, 1)), "count and flag half after set, and after clear");
        }
    }
}

ktest! {
    fn need_resched_asks_the_shared_flag_and_not_the_word() {
        let by_word = with_word(0, true, ti::need_resched);
        check!(!by_word, "the word alone made need_resched() true");
        let flags = local_irq_save();
        // SAFETY: the running task's own head; interrupts are masked until it is as before.
        let info = unsafe { &*ti::current_thread_info() };
        let was_set = info.test_and_set_need_resched();
        let (by_flag, word) = (ti::need_resched(), ti::preempt_word());
        let again = info.test_and_set_need_resched();
        info.clear_need_resched();
        let after = ti::need_resched();
        local_irq_restore(flags);
        check_eq!((was_set, by_flag, again, after), (false, true, true, false), "before, set, set again, cleared");
        check_eq!(word, PREEMPT_ENABLED, "the word while the shared flag alone was set");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// The four instructions of `dec_and_test`, interrupted at every one in turn by a real interrupt whose handler
    /// asks for a switch. Either the answer is yes (the interrupt came before the last load), or the interrupt
    /// came after the store, found the word zero at its exit and has switched already. A `dec_and_test` without
    /// the second load, or one that stores 64 bits, answers no and leaves the request standing.
    fn a_request_made_inside_dec_and_test_is_never_lost() {
        let Some(intid) = pmu_interrupt() else { return Err(Failure::Ignored("the device tree names no PMU interrupt")) };
        let _tick = TickOff::new();
        let interrupt = Interrupt::request(intid, || {
            arch::pmu::overflow_stop();
            // SAFETY: the interrupted task's own head.
            unsafe { &*ti::current_thread_info() }.test_and_set_need_resched();
            ti::set_preempt_need_resched();
        })?;
        arch::pmu::overflow_after(200);
        spin_ns(100_000);
        if interrupt.taken() == 0 && start::boot_info().compatible == BoardKind::RaspberryPi4 {
            arch::pmu::overflow_stop();
            return Err(Failure::Ignored("QEMU's raspi4b signals the cycle counter as a PPI, the board and its device tree by SPIs"));
        }
        let (mut said_yes, mut switched) = (0, 0);
        for distance in 1..=60 {
            let taken = interrupt.taken();
            ti::preempt_count_inc();
            arch::pmu::overflow_after(distance);
            let yes = ti::preempt_count_dec_and_test();
            // Behind the path: for the distances that reach past it.
            let patience_ns = now_ns() + 1_000_000_000;
            while interrupt.taken() == taken && now_ns() < patience_ns {
                arch::cpu::relax();
            }
            let flags = local_irq_save();
            let word = ti::preempt_word();
            // SAFETY: as above.
            unsafe { &*ti::current_thread_info() }.clear_need_resched();
            ti::clear_preempt_need_resched();
            local_irq_restore(flags);
            check_eq!(interrupt.taken(), taken + 1, "interrupts taken at distance {distance}");
            check_eq!(yes, word == 0, "the answer at distance {distance}, with the word {word:#x} left behind");
            if yes { said_yes += 1 } else { switched += 1 }
        }
        if crate::framework::clock::is_exact() {
            check!(said_yes > 0 && switched > 0, "{said_yes} times yes and {switched} times switched: one side was never reached");
        }
    }
}

ktest! {
    fn an_interrupt_gives_the_count_back_and_counts_itself_meanwhile() {
        static INSIDE: AtomicU32 = AtomicU32::new(0);
        let _tick = TickOff::new();
        let interrupt = Interrupt::request(8, || INSIDE.store(preempt::preempt_count(), Ordering::Relaxed))?;
        for depth in 0..4u32 {
            (0..depth).for_each(|_| ti::preempt_count_inc());
            interrupt.raise();
            let after = preempt::preempt_count();
            (0..depth).for_each(|_| ti::preempt_count_sub(1));
            check_eq!(after, depth, "the count after an interrupt");
            check_eq!(INSIDE.load(Ordering::Relaxed), depth + arch::HARDIRQ_OFFSET, "the count inside the handler");
        }
        check_eq!(interrupt.taken(), 4);
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_wake_up_that_wants_a_switch_sets_both_forms_of_the_request() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let guard = preempt::preempt_disable();
        let before = (preempt::need_resched(), ti::preempt_word());
        GATE.give()?;
        let after = (preempt::need_resched(), ti::preempt_word());
        drop(guard);
        let switched_back = (preempt::need_resched(), ti::preempt_word());
        high.join();
        check_eq!(before, (false, PREEMPT_ENABLED | 1), "TIF and word before the wake-up");
        check_eq!(after, (true, 1), "TIF and word after the wake-up, count 1");
        check_eq!(switched_back, (false, PREEMPT_ENABLED), "TIF and word of the task that was switched from, back");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_wake_up_of_a_lesser_task_asks_for_nothing() {
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let waiter = task::build("waiter").fifo(LOW).spawn(|| GATE.take())?;
        let attr = stint::sched::prio::SchedAttr::fifo(HIGH as u32).expect("a priority");
        task::current_ref().set_scheduler(attr)?;
        let guard = preempt::preempt_disable();
        GATE.give()?;
        let after = (preempt::need_resched(), ti::preempt_word());
        drop(guard);
        waiter.join();
        check_eq!(after, (false, PREEMPT_ENABLED | 1), "TIF and word after the wake-up");
    }
}

ktest! {
    /// The fork count is 2 (the switch's own), and `schedule_tail` unwinds it.
    fn a_new_task_begins_with_count_zero_and_interrupts_open() {
        let task = task::build("new").fifo(HIGH).spawn(|| (ti::preempt_word(), arch::irqflags::irqs_disabled(), preempt::need_resched()))?;
        check_eq!(task.join(), Some((PREEMPT_ENABLED, false, false)), "word, masked, TIF in a new task");
        check_eq!(ti::FORK_PREEMPT_COUNT, 0x1_0000_0002);
    }
}

ktest! {
    fn the_idle_task_runs_with_count_one() {
        static SEEN: AtomicU64 = AtomicU64::new(u64::MAX);
        let timer = Timer::new_hard(|| {
            if task::current_ref().id() == 0 {
                SEEN.store(ti::preempt_word() - u64::from(arch::HARDIRQ_OFFSET), Ordering::Relaxed);
            }
        });
        for _ in 0..20 {
            timer.start_once(500_000);
            task::sleep_ns(1_000_000);
        }
        check_eq!(SEEN.load(Ordering::Relaxed), PREEMPT_ENABLED | 1, "the word of the interrupted idle task");
    }
}

ktest! {
    /// Sampled from an interrupt with a period that drifts through everything the load does.
    fn the_flag_half_is_only_ever_zero_or_one() {
        static STRANGE: AtomicU64 = AtomicU64::new(0);
        static SAMPLES: AtomicU32 = AtomicU32::new(0);
        static GATE: Semaphore = Semaphore::new(0);
        let sampler = Timer::new_hard(|| {
            SAMPLES.fetch_add(1, Ordering::Relaxed);
            let word = ti::preempt_word();
            if word >> 32 > 1 {
                STRANGE.store(word, Ordering::Relaxed);
            }
            let _ = GATE.give();
        });
        let taker = task::build("taker").fifo(HIGH).spawn(|| (0..500).for_each(|_| GATE.take()))?;
        sampler.start_periodic(21_713)?;
        let yielders = [task::build("yield-a"), task::build("yield-b")].map(|builder| builder.spawn(|| (0..300).for_each(|_| task::yield_now())));
        taker.join();
        sampler.cancel();
        for yielder in yielders {
            yielder?.join();
        }
        check!(SAMPLES.load(Ordering::Relaxed) >= 500);
        check_eq!(STRANGE.load(Ordering::Relaxed), 0, "a word whose flag half is neither 0 nor 1");
    }
}
