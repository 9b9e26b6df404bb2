//! K5, K3: softirqs run with interrupts open, once, in order, before the kernel goes on; and never too long.
//!
//! The tests borrow the vectors Timer and Spare, which the kernel itself does not use.

use crate::framework::clock::{TickOff, is_exact, spin_ns, work};
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::framework::{Failure, Outcome};
use crate::tests::{high_waiter, irq_stack_place};
use crate::{check, check_eq, ktest};
use arch::patch::{Key, is_enabled};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use stint::irq::softirq::{
    self, MAX_RESTART, Vector, in_serving_softirq, local_bh_disable, local_softirq_pending, open_softirq,
    raise_softirq, raise_softirq_irqoff,
};
use stint::locking::{Semaphore, SpinLock, spin_lock_bh};
use stint::preempt::{self, preempt_count};
use stint::task;

/// Leaves a test that is about softirqs behind the interrupt where they are a thread's.
pub fn not_in_rt() -> Outcome {
    if is_enabled(Key::Rt) {
        return Err(Failure::Ignored("in rt all softirqs run in ksoftirqd"));
    }
    if stint::start::boot_info().bootargs.threadirqs {
        return Err(Failure::Ignored("with threadirqs the softirqs behind interrupts run in ksoftirqd"));
    }
    Ok(())
}

/// The switches of ksoftirqd, to see whether it ran.
fn ksoftirqd_switches() -> u64 {
    let mut switches = 0;
    task::for_each(|task| {
        if task.name() == "ksoftirqd/0" {
            let (slept, preempted) = task.info().switches;
            switches = slept + preempted;
        }
    });
    switches
}

ktest! {
    fn softirqs_run_behind_the_interrupt_in_the_order_of_their_vectors() {
        static LOG: Events = Events::new();
        not_in_rt()?;
        let _tick = TickOff::new();
        open_softirq(Vector::Timer, || LOG.mark('1'));
        open_softirq(Vector::Spare, || LOG.mark('7'));
        let raiser = Interrupt::request(8, || {
            LOG.mark('[');
            raise_softirq_irqoff(Vector::Spare);
            raise_softirq_irqoff(Vector::Timer);
            raise_softirq_irqoff(Vector::Spare);
            LOG.mark(']');
        })?;
        raiser.raise();
        LOG.mark('m');
        check_eq!(LOG.text(), "[]17m");
        check_eq!(local_softirq_pending(), 0, "vectors pending behind the interrupt");
    }
}

ktest! {
    fn a_softirq_sees_its_bit_in_the_count_and_interrupts_open() {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static INSIDE: AtomicU32 = AtomicU32::new(0);
        static CONTEXT: AtomicU32 = AtomicU32::new(0);
        not_in_rt()?;
        let _tick = TickOff::new();
        let inner = Interrupt::request(9, || INSIDE.store(preempt_count(), Relaxed))?;
        open_softirq(Vector::Timer, || {
            COUNT.store(preempt_count(), Relaxed);
            let context = [
                in_serving_softirq(),
                preempt::in_interrupt(),
                !preempt::in_hardirq(),
                !preempt::in_task(),
                !arch::irqflags::irqs_disabled(),
            ];
            CONTEXT.store(context.iter().fold(0, |bits, &bit| bits << 1 | u32::from(bit)), Relaxed);
            arch::gic::send_sgi_self(9);
            work(1000);
        });
        let raiser = Interrupt::request(8, || raise_softirq_irqoff(Vector::Timer))?;
        raiser.raise();
        check_eq!(COUNT.load(Relaxed), 0x100, "the count in a softirq behind an interrupt");
        check_eq!(CONTEXT.load(Relaxed), 0b1_1111, "serving, interrupt, not hardirq, not task, interrupts open");
        check_eq!(inner.taken(), 1, "interrupts in the softirq");
        check_eq!(INSIDE.load(Relaxed), 0x1_0100, "the count in an interrupt in a softirq");
        let guard = preempt::preempt_disable();
        raiser.raise();
        check_eq!(COUNT.load(Relaxed), 0x101, "the count in a softirq over a section with preemption off");
        drop(guard);
        let bh = local_bh_disable();
        check_eq!(preempt_count(), 0x200, "the count with bottom halves disabled");
        check!(!in_serving_softirq() && preempt::in_task() && preempt::in_softirq());
        raiser.raise();
        drop(bh);
        check_eq!(COUNT.load(Relaxed), 0x101, "the count in a softirq at local_bh_enable");
        check_eq!(preempt_count(), 0);
    }
}

ktest! {
    fn a_softirq_raised_in_a_softirq_runs_after_it() {
        static LOG: Events = Events::new();
        not_in_rt()?;
        let _tick = TickOff::new();
        let raiser = Interrupt::request(8, || {
            LOG.mark('i');
            raise_softirq_irqoff(Vector::Timer);
        })?;
        open_softirq(Vector::Timer, || {
            LOG.mark('[');
            if LOG.len() < 4 {
                // The exit of this interrupt must leave it pending.
                arch::gic::send_sgi_self(8);
                work(1000);
                // Nor may the end of a section in a softirq run it.
                drop(local_bh_disable());
            }
            LOG.mark(']');
        });
        raiser.raise();
        LOG.mark('m');
        check_eq!(LOG.text(), "i[i][]m");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_task_woken_by_a_softirq_runs_at_the_same_interrupt_exit() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        not_in_rt()?;
        let _tick = TickOff::new();
        open_softirq(Vector::Timer, || {
            LOG.mark('s');
            let _ = GATE.give();
            LOG.mark('t');
        });
        let raiser = Interrupt::request(8, || {
            LOG.mark('i');
            raise_softirq_irqoff(Vector::Timer);
        })?;
        let high = high_waiter(&LOG, &GATE)?;
        raiser.raise();
        LOG.mark('m');
        high.join();
        check_eq!(LOG.text(), "istHm");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn an_interrupt_in_a_softirq_stays_on_the_interrupt_stack_and_does_not_preempt() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static OUTER: AtomicUsize = AtomicUsize::new(0);
        static INNER: AtomicUsize = AtomicUsize::new(0);
        not_in_rt()?;
        let _tick = TickOff::new();
        let waker = Interrupt::request(9, || {
            let here = 0u8;
            INNER.store((&raw const here).addr(), Relaxed);
            let _ = GATE.give();
            LOG.mark('w');
        })?;
        open_softirq(Vector::Timer, || {
            let here = 0u8;
            OUTER.store((&raw const here).addr(), Relaxed);
            LOG.mark('[');
            arch::gic::send_sgi_self(9);
            work(1000);
            LOG.mark(']');
        });
        let raiser = Interrupt::request(8, || raise_softirq_irqoff(Vector::Timer))?;
        let high = high_waiter(&LOG, &GATE)?;
        raiser.raise();
        LOG.mark('m');
        high.join();
        check_eq!(LOG.text(), "[w]Hm");
        check_eq!(waker.taken(), 1);
        let (outer, inner) = (OUTER.load(Relaxed), INNER.load(Relaxed));
        check!(inner < outer && outer - inner < 16 * 1024, "the interrupt at {inner:#x} is not below the softirq at {outer:#x}");
        check!(irq_stack_place().contains(&inner), "the interrupt at {inner:#x} is not on the interrupt stack");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_softirq_raised_with_bottom_halves_disabled_waits_for_the_outermost_enable() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        static STACK: AtomicUsize = AtomicUsize::new(0);
        not_in_rt()?;
        let _tick = TickOff::new();
        open_softirq(Vector::Timer, || {
            let here = 0u8;
            STACK.store((&raw const here).addr(), Relaxed);
            LOG.mark('s');
            let _ = GATE.give();
        });
        let raiser = Interrupt::request(8, || {
            LOG.mark('i');
            raise_softirq_irqoff(Vector::Timer);
        })?;
        let high = high_waiter(&LOG, &GATE)?;
        let thread = ksoftirqd_switches();
        let outer = local_bh_disable();
        let inner = local_bh_disable();
        raiser.raise();
        LOG.mark('a');
        drop(inner);
        LOG.mark('b');
        // By the thread itself: that must not wake ksoftirqd either.
        raise_softirq(Vector::Timer);
        LOG.mark('c');
        drop(outer);
        LOG.mark('m');
        high.join();
        check_eq!(LOG.text(), "iabcsHm");
        check!(irq_stack_place().contains(&STACK.load(Relaxed)), "local_bh_enable ran the softirq on the thread's stack");
        task::sleep_ms(1);
        check_eq!(ksoftirqd_switches(), thread, "switches of ksoftirqd, which was not needed");
    }
}

ktest! {
    only_in(models::BH_LOCKS, models::SLEEPS_WITH_BH_OFF),
    fn a_softirq_waits_for_the_end_of_spin_lock_bh_and_finds_the_lock_free() {
        static LOG: Events = Events::new();
        static LOCK: SpinLock<u32> = SpinLock::new(0);
        let _tick = TickOff::new();
        open_softirq(Vector::Timer, || {
            *spin_lock_bh(&LOCK) += 1;
            LOG.mark('s');
        });
        let mut guard = spin_lock_bh(&LOCK);
        if !is_enabled(Key::SleepingSpinLocks) {
            check_eq!(preempt_count(), 0x201, "the count in the section");
        }
        raise_softirq(Vector::Timer);
        *guard += 1;
        LOG.mark('m');
        drop(guard);
        // In rt it is the turn of a thread.
        task::sleep_ms(1);
        LOG.mark('n');
        check_eq!(LOG.text(), "msn");
        check_eq!(*spin_lock_bh(&LOCK), 2);
    }
}

/// Raises a Timer softirq from an interrupt, whose function raises itself until it was called `until` times and calls
/// `each` each time. Returns the calls made when the interrupted code goes on, and those made after a sleep.
fn calls_of_one_that_comes_again(until: u32, each: fn(u32)) -> Result<(u32, u32), Failure> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    static UNTIL: AtomicU32 = AtomicU32::new(0);
    static EACH: AtomicUsize = AtomicUsize::new(0);
    let _tick = TickOff::new();
    CALLS.store(0, Relaxed);
    UNTIL.store(until, Relaxed);
    EACH.store(each as *const () as usize, Relaxed);
    open_softirq(Vector::Timer, || {
        let calls = CALLS.fetch_add(1, Relaxed) + 1;
        // SAFETY: stored from a function of this type, above.
        let each = unsafe { core::mem::transmute::<*const (), fn(u32)>(EACH.load(Relaxed) as *const ()) };
        each(calls);
        if calls < UNTIL.load(Relaxed) {
            raise_softirq(Vector::Timer);
        }
    });
    let raiser = Interrupt::request(8, || raise_softirq_irqoff(Vector::Timer))?;
    raiser.raise();
    let inline = CALLS.load(Relaxed);
    task::sleep_ms(20);
    Ok((inline, CALLS.load(Relaxed)))
}

ktest! {
    fn a_run_of_softirqs_ends_after_ten_passes_and_ksoftirqd_goes_on() {
        not_in_rt()?;
        let thread = ksoftirqd_switches();
        let (inline, all) = calls_of_one_that_comes_again(35, |_| {})?;
        check_eq!(inline, MAX_RESTART, "calls behind the interrupt");
        check_eq!(all, 35, "calls in all");
        check!(ksoftirqd_switches() > thread, "the rest did not run in ksoftirqd");
        let (inline, all) = calls_of_one_that_comes_again(10, |_| {})?;
        check_eq!((inline, all), (10, 10), "calls of one that ends with the tenth pass");
    }
}

ktest! {
    fn a_run_of_softirqs_ends_after_two_milliseconds() {
        not_in_rt()?;
        if !is_exact() {
            return Err(Failure::Ignored("the clock is the host's"));
        }
        let (inline, all) = calls_of_one_that_comes_again(5, |_| spin_ns(1_500_000))?;
        check_eq!(inline, 2, "passes of 1.5 ms");
        check_eq!(all, 5, "calls in all");
    }
}

ktest! {
    fn a_task_that_wants_the_cpu_ends_a_run_of_softirqs() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        not_in_rt()?;
        let high = high_waiter(&LOG, &GATE)?;
        let (inline, all) = calls_of_one_that_comes_again(8, |call| {
            LOG.mark('s');
            if call == 3 {
                let _ = GATE.give();
            }
        })?;
        high.join();
        check_eq!(inline, 3, "calls behind the interrupt");
        check_eq!(all, 8, "calls in all");
        check_eq!(LOG.text(), "sssHsssss");
    }
}

ktest! {
    fn a_softirq_raised_by_a_thread_runs_in_ksoftirqd_and_no_interrupt_takes_it_away() {
        static LOG: Events = Events::new();
        not_in_rt()?;
        let _tick = TickOff::new();
        open_softirq(Vector::Timer, || LOG.mark('s'));
        let nothing = Interrupt::request(8, || LOG.mark('i'))?;
        raise_softirq(Vector::Timer);
        LOG.mark('m');
        // ksoftirqd is ready and has not come to run: it is left to it.
        nothing.raise();
        drop(local_bh_disable());
        LOG.mark('n');
        task::sleep_ms(1);
        check_eq!(LOG.text(), "mins");
    }
}

ktest! {
    fn ksoftirqd_is_interrupted_on_its_own_stack() {
        static STACKS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
        not_in_rt()?;
        let _tick = TickOff::new();
        let inner = Interrupt::request(9, || {
            let here = 0u8;
            STACKS[1].store((&raw const here).addr(), Relaxed);
        })?;
        open_softirq(Vector::Timer, || {
            let here = 0u8;
            STACKS[0].store((&raw const here).addr(), Relaxed);
            arch::gic::send_sgi_self(9);
            work(1000);
        });
        raise_softirq(Vector::Timer);
        task::sleep_ms(1);
        check_eq!(inner.taken(), 1);
        for stack in &STACKS {
            check!(!irq_stack_place().contains(&stack.load(Relaxed)), "ksoftirqd's softirq or its interrupt used the interrupt stack");
        }
    }
}

ktest! {
    fn softirqs_do_not_wait_for_the_first_turn_of_their_thread() {
        static RAN: AtomicBool = AtomicBool::new(false);
        not_in_rt()?;
        if ksoftirqd_switches() > 0 {
            return Err(Failure::Ignored("ksoftirqd has had its first turn; it is shown in a boot of its own"));
        }
        open_softirq(Vector::Timer, || RAN.store(true, Relaxed));
        raise_softirq(Vector::Timer);
        // Several ticks, and this task leaves the thread no turn.
        spin_ns(20_000_000);
        check_eq!(ksoftirqd_switches(), 0, "turns of ksoftirqd");
        check!(RAN.load(Relaxed), "the softirq waits for a thread that is kept off the CPU");
    }
}

ktest! {
    fn softirqs_are_counted_by_vector() {
        let before = softirq::runs();
        open_softirq(Vector::Spare, || {});
        for _ in 0..3 {
            raise_softirq(Vector::Spare);
            task::sleep_ms(1);
        }
        check_eq!(softirq::runs()[Vector::Spare as usize] - before[Vector::Spare as usize], 3);
    }
}

ktest! {
    panics = "local_bh_enable in a hard interrupt or with IRQs masked",
    fn bottom_halves_are_not_enabled_with_interrupts_masked() {
        not_in_rt()?;
        let guard = local_bh_disable();
        let _ = arch::irqflags::local_irq_save();
        drop(guard);
        Ok(())
    }
}

ktest! {
    panics = "returned with preempt count",
    fn a_softirq_that_keeps_preemption_off_is_found() {
        not_in_rt()?;
        open_softirq(Vector::Timer, || core::mem::forget(preempt::preempt_disable()));
        raise_softirq(Vector::Timer);
        task::sleep_ms(1);
        Ok(())
    }
}

ktest! {
    panics = "sleeping in atomic context",
    fn a_softirq_that_sleeps_is_found() {
        not_in_rt()?;
        open_softirq(Vector::Timer, || task::sleep_ms(1));
        raise_softirq(Vector::Timer);
        task::sleep_ms(1);
        Ok(())
    }
}

/// Leaves a test that is about softirqs in threads.
fn only_in_rt() -> Outcome {
    if is_enabled(Key::Rt) { Ok(()) } else { Err(Failure::Ignored("it is about preempt=rt")) }
}

ktest! {
    fn in_rt_softirqs_are_a_threads_and_preemptible() {
        static SEEN: AtomicU32 = AtomicU32::new(u32::MAX);
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        only_in_rt()?;
        open_softirq(Vector::Timer, || {
            SEEN.store(preempt_count() << 1 | u32::from(in_serving_softirq()), Relaxed);
            LOG.mark('[');
            let _ = GATE.give();
            LOG.mark(']');
        });
        let raiser = Interrupt::request(8, || raise_softirq_irqoff(Vector::Timer))?;
        let high = high_waiter(&LOG, &GATE)?;
        raiser.raise();
        LOG.mark('m');
        high.join();
        check_eq!(SEEN.load(Relaxed), 1, "count 0 and serving");
        // The runner has put ksoftirqd above this task.
        check_eq!(LOG.text(), "[H]m");
    }
}

ktest! {
    fn in_rt_bottom_halves_disabled_keep_the_thread_waiting_and_not_the_rest() {
        static LOG: Events = Events::new();
        static DONE: AtomicBool = AtomicBool::new(false);
        only_in_rt()?;
        open_softirq(Vector::Timer, || LOG.mark('s'));
        let outer = local_bh_disable();
        let inner = local_bh_disable();
        check_eq!(preempt_count(), 0, "the count with bottom halves disabled");
        raise_softirq(Vector::Timer);
        // The section may sleep, and the thread finds it locked.
        task::sleep_ms(1);
        LOG.mark('a');
        drop(inner);
        task::sleep_ms(1);
        LOG.mark('b');
        drop(outer);
        task::sleep_ms(1);
        LOG.mark('m');
        DONE.store(true, Relaxed);
        check_eq!(LOG.text(), "absm");
    }
}
