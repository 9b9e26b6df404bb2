//! R3: software timers: never early, in order, on their grid, and all of them.

use crate::framework::Failure;
use crate::framework::clock::{LATE_NS, TickOff, is_exact, spin_ns};
use crate::framework::events::Events;
use crate::framework::softirqs::SoftirqsFirst;
use crate::tests::HIGH;
use crate::{check, check_eq, ktest};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use stint::locking::Semaphore;
use stint::time::hrtimer::EXPIRED_PER_IRQ;
use stint::time::{Timer, now_ns};
use stint::{preempt, task};

/// When each of some timers went off.
struct Times {
    next: AtomicUsize,
    ns: [AtomicU64; 256],
}

impl Times {
    const fn new() -> Self {
        Self { next: AtomicUsize::new(0), ns: [const { AtomicU64::new(0) }; 256] }
    }

    fn stamp(&self) {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.ns.get(at) {
            place.store(now_ns(), Ordering::Relaxed);
        }
    }

    fn taken(&self) -> Vec<u64> {
        let count = self.next.load(Ordering::Relaxed).min(256);
        self.ns[..count].iter().map(|ns| ns.load(Ordering::Relaxed)).collect()
    }
}

/// A timer started between `started.0` and `started.1` with a delay must go off at that delay: never early, and on an
/// exact clock not late.
fn check_due(what: &str, started: (u64, u64), delay_ns: u64, fired_ns: u64) -> crate::framework::Outcome {
    check!(fired_ns >= started.0 + delay_ns, "{what}: {} ns early", started.0 + delay_ns - fired_ns);
    if is_exact() {
        let late = fired_ns.saturating_sub(started.1 + delay_ns);
        check!(late <= LATE_NS, "{what}: {late} ns late");
    }
    Ok(())
}

ktest! {
    fn timers_go_off_in_the_order_of_their_expiry() {
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        // In steps that no interrupt can blur, started in a shuffled order.
        const ORDER: [u8; 12] = [7, 2, 11, 0, 5, 9, 1, 10, 4, 8, 3, 6];
        let timers: Vec<(u8, Timer)> = ORDER.iter().map(|&n| (n, Timer::new(move || LOG.mark((b'a' + n) as char)))).collect();
        let base = now_ns() + 500_000;
        for (n, timer) in &timers {
            timer.start_at(base + u64::from(*n) * 50_000);
        }
        task::sleep_until(base + 3_000_000);
        check_eq!(LOG.text(), "abcdefghijkl");
        check!(timers.iter().all(|(_, timer)| !timer.is_running()), "one that has gone off says that it runs");
    }
}

ktest! {
    fn timers_of_one_time_go_off_in_the_order_of_their_start() {
        static LOG: Events = Events::new();
        let due = now_ns() + 1_000_000;
        let timers: Vec<Timer> = ['c', 'a', 'd', 'b'].into_iter().map(|letter| Timer::new(move || LOG.mark(letter))).collect();
        for timer in &timers {
            timer.start_at(due);
        }
        // Started again: to the end of the line.
        timers[1].start_at(due);
        task::sleep_until(due + 500_000);
        check_eq!(LOG.text(), "cdba");
    }
}

ktest! {
    fn a_timer_for_a_time_that_has_passed_goes_off_at_once() {
        let _softirqs = SoftirqsFirst::new();
        static LOG: Events = Events::new();
        let timer = Timer::new(|| LOG.mark('t'));
        for due in [0, now_ns() - 1] {
            let flags = arch::irqflags::local_irq_save();
            timer.start_at(due);
            LOG.mark('s');
            arch::irqflags::local_irq_restore(flags);
            // Well within a tick.
            spin_ns(100_000);
            LOG.mark('m');
        }
        check_eq!(LOG.text(), "stmstm");
    }
}

ktest! {
    fn a_timer_is_never_early_and_accurate_to_the_clock() {
        static FIRED: AtomicU64 = AtomicU64::new(0);
        let timer = Timer::new(|| FIRED.store(now_ns(), Ordering::Relaxed));
        for delay_ns in [0, 1, 999, 1_000, 12_345, 100_000, 777_777, 3_999_999, 4_000_000, 25_000_001] {
            FIRED.store(0, Ordering::Relaxed);
            let before = now_ns();
            timer.start_once(delay_ns);
            let started = (before, now_ns());
            task::sleep_ns(delay_ns + 200_000);
            let fired = FIRED.load(Ordering::Relaxed);
            check!(fired != 0, "a timer of {delay_ns} ns did not go off");
            check_due(&alloc::format!("a timer of {delay_ns} ns"), started, delay_ns, fired)?;
        }
    }
}

ktest! {
    fn a_cancelled_timer_does_not_go_off() {
        static FIRED: AtomicU32 = AtomicU32::new(0);
        let timer = Timer::new(|| { FIRED.fetch_add(1, Ordering::Relaxed); });
        check!(!timer.cancel(), "a timer that was never started was cancelled");
        timer.start_once(200_000);
        check!(timer.is_running());
        check!(timer.cancel(), "a running timer was not there to be cancelled");
        check!(!timer.is_running() && !timer.cancel(), "it is cancelled and still there");
        task::sleep_ms(1);
        check_eq!(FIRED.load(Ordering::Relaxed), 0, "calls of a cancelled timer");
        timer.start_once(100_000);
        task::sleep_ms(1);
        check_eq!(FIRED.load(Ordering::Relaxed), 1, "calls after it was started again");
        check!(!timer.cancel(), "a timer that has gone off was cancelled");
    }
}

ktest! {
    fn a_dropped_timer_does_not_go_off() {
        static FIRED: AtomicBool = AtomicBool::new(false);
        let timer = Timer::new(|| FIRED.store(true, Ordering::Relaxed));
        timer.start_once(200_000);
        drop(timer);
        task::sleep_ms(1);
        check!(!FIRED.load(Ordering::Relaxed));
    }
}

ktest! {
    fn cancelling_the_first_timer_leaves_the_others_on_time() {
        static FIRED: AtomicU64 = AtomicU64::new(0);
        let _tick = TickOff::new();
        let first = Timer::new(|| {});
        let second = Timer::new(|| FIRED.store(now_ns(), Ordering::Relaxed));
        let before = now_ns();
        second.start_once(500_000);
        let started = (before, now_ns());
        first.start_once(100_000);
        first.cancel();
        task::sleep_ms(2);
        check_due("the second timer", started, 500_000, FIRED.load(Ordering::Relaxed))?;
    }
}

ktest! {
    fn starting_a_running_timer_moves_it() {
        static TIMES: Times = Times::new();
        let _tick = TickOff::new();
        let timer = Timer::new(|| TIMES.stamp());
        let restart = |first_ns, second_ns| {
            // Masked, so that the first time cannot pass in between.
            let flags = arch::irqflags::local_irq_save();
            timer.start_once(first_ns);
            let before = now_ns();
            timer.start_once(second_ns);
            let started = (before, now_ns());
            arch::irqflags::local_irq_restore(flags);
            started
        };
        let later = restart(100_000, 900_000);
        task::sleep_ns(500_000);
        check_eq!(TIMES.taken().len(), 0, "calls at the old time");
        task::sleep_ms(2);
        let times = TIMES.taken();
        check_eq!(times.len(), 1, "calls of a timer that was moved");
        check_due("moved to later", later, 900_000, times[0])?;
        let sooner = restart(900_000, 100_000);
        task::sleep_ms(2);
        let times = TIMES.taken();
        check_eq!(times.len(), 2, "calls of a timer that was moved twice");
        check_due("moved to sooner", sooner, 100_000, times[1])?;
    }
}

ktest! {
    fn a_periodic_timer_keeps_its_grid_without_drift() {
        let _softirqs = SoftirqsFirst::new();
        const PERIOD_NS: u64 = 123_457;
        static TIMES: Times = Times::new();
        let timer = Timer::new(|| TIMES.stamp());
        let before = now_ns();
        timer.start_periodic(PERIOD_NS)?;
        let started = (before, now_ns());
        // With the tick beside it, and work that masks interrupts now and then.
        let end = started.1 + 100 * PERIOD_NS + 50_000;
        while now_ns() < end {
            let flags = arch::irqflags::local_irq_save();
            crate::framework::clock::work(30);
            arch::irqflags::local_irq_restore(flags);
        }
        timer.cancel();
        let times = TIMES.taken();
        if is_exact() {
            check_eq!(times.len(), 100, "calls in a hundred periods");
        }
        for (k, &fired) in times.iter().enumerate() {
            let due = (k as u64 + 1) * PERIOD_NS;
            check!(fired >= started.0 + due, "call {k} is early");
            if is_exact() {
                check_due(&alloc::format!("call {k}"), started, due, fired)?;
            }
        }
    }
}

ktest! {
    fn a_periodic_timer_leaves_out_what_it_missed_and_returns_to_its_grid() {
        let _softirqs = SoftirqsFirst::new();
        const PERIOD_NS: u64 = 500_000;
        static TIMES: Times = Times::new();
        let _tick = TickOff::new();
        let timer = Timer::new(|| TIMES.stamp());
        let before = now_ns();
        timer.start_periodic(PERIOD_NS)?;
        let started = (before, now_ns());
        let flags = arch::irqflags::local_irq_save();
        crate::framework::clock::spin_until_ns(started.1 + 3 * PERIOD_NS + PERIOD_NS / 2);
        arch::irqflags::local_irq_restore(flags);
        // Three points of the grid have passed: one call, and the next at the fourth.
        crate::framework::clock::spin_until_ns(started.1 + 4 * PERIOD_NS + PERIOD_NS / 2);
        timer.cancel();
        let times = TIMES.taken();
        if is_exact() {
            check_eq!(times.len(), 2, "calls for four points of the grid, of which three passed masked");
            check_due("the call after the gap", started, 4 * PERIOD_NS, times[1])?;
        }
        check!(times.iter().all(|&fired| fired >= started.0 + 3 * PERIOD_NS), "it went off with interrupts masked");
    }
}

ktest! {
    fn a_period_that_would_take_the_whole_cpu_is_refused() {
        let timer = Timer::new(|| {});
        check_eq!(timer.start_periodic(999), Err(stint::Error::BadTimerPeriod { ns: 999 }));
        check_eq!(timer.start_periodic_at(0, 0), Err(stint::Error::BadTimerPeriod { ns: 0 }));
        check!(!timer.is_running());
        check_eq!(timer.start_periodic(1_000_000), Ok(()));
    }
}

ktest! {
    fn hard_timers_call_in_hard_interrupt_context() {
        static SEEN: AtomicU32 = AtomicU32::new(0);
        let timer = Timer::new_hard(|| SEEN.store(1 | u32::from(preempt::in_hardirq()) << 1 | u32::from(arch::irqflags::irqs_disabled()) << 2, Ordering::Relaxed));
        timer.start_once(50_000);
        task::sleep_ms(1);
        check_eq!(SEEN.load(Ordering::Relaxed), 0b111, "called, in hard interrupt, masked");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// Many at once go off in several interrupts, with the preemption check in between: the second interrupt finds the
    /// task that the first one woke on the CPU.
    fn many_hard_timers_due_at_once_all_go_off_with_preemption_checks_in_between() {
        const TIMERS: usize = 3 * EXPIRED_PER_IRQ + 5;
        static FIRED: AtomicUsize = AtomicUsize::new(0);
        static INTERRUPTED: [AtomicU32; TIMERS] = [const { AtomicU32::new(u32::MAX) }; TIMERS];
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = task::build("high").fifo(HIGH).spawn(|| GATE.take())?;
        let (me, high_id) = (task::current_ref().id(), high.task().id());
        let timers: Vec<Timer> = (0..TIMERS)
            .map(|n| {
                Timer::new_hard(move || {
                    let at = FIRED.fetch_add(1, Ordering::Relaxed);
                    INTERRUPTED[at].store(task::current_ref().id(), Ordering::Relaxed);
                    if n == 0 {
                        let _ = GATE.give();
                    }
                })
            })
            .collect();
        let flags = arch::irqflags::local_irq_save();
        for timer in &timers {
            timer.start_once(1_000);
        }
        spin_ns(50_000);
        arch::irqflags::local_irq_restore(flags);
        high.join();
        task::sleep_ms(1);
        check_eq!(FIRED.load(Ordering::Relaxed), TIMERS, "timers that went off");
        let interrupted = |n: usize| INTERRUPTED[n].load(Ordering::Relaxed);
        check!((0..EXPIRED_PER_IRQ).all(|n| interrupted(n) == me), "the first interrupt ran fewer than {EXPIRED_PER_IRQ} timers");
        check_eq!(interrupted(EXPIRED_PER_IRQ), high_id, "the task under timer number {EXPIRED_PER_IRQ}, the first of the second interrupt");
    }
}

ktest! {
    fn hundreds_of_timers_at_random_times_all_go_off_on_time() {
        const TIMERS: u64 = 200;
        static FIRED: AtomicU64 = AtomicU64::new(0);
        static EARLY: AtomicU64 = AtomicU64::new(0);
        static WORST_NS: AtomicU64 = AtomicU64::new(0);
        let _tick = TickOff::new();
        let mut random = 12_345u64;
        let mut timers = Vec::new();
        for _ in 0..TIMERS {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let delay_ns = 2_000_000 + (random >> 33) % 20_000_000;
            let due_ns = now_ns() + delay_ns;
            let timer = Timer::new(move || {
                let now = now_ns();
                FIRED.fetch_add(1, Ordering::Relaxed);
                EARLY.fetch_add(u64::from(now < due_ns), Ordering::Relaxed);
                WORST_NS.fetch_max(now.saturating_sub(due_ns), Ordering::Relaxed);
            });
            timer.start_once(delay_ns.saturating_sub(now_ns().saturating_sub(due_ns - delay_ns)));
            timers.push(timer);
        }
        // Every third is taken back: the tree is changed in the middle.
        let mut cancelled = 0;
        for timer in timers.iter().step_by(3) {
            cancelled += u64::from(timer.cancel());
        }
        task::sleep_ms(40);
        check_eq!(FIRED.load(Ordering::Relaxed) + cancelled, TIMERS, "timers that went off or were cancelled");
        if is_exact() {
            let worst = WORST_NS.load(Ordering::Relaxed);
            check!(worst <= 2 * LATE_NS, "the worst one was {worst} ns late");
        }
    }
}

ktest! {
    fn a_timer_can_be_started_from_a_handler() {
        static LOG: Events = Events::new();
        let second = Arc::new(Timer::new(|| LOG.mark('2')));
        let started = Arc::clone(&second);
        let first = Timer::new(move || {
            LOG.mark('1');
            started.start_once(50_000);
        });
        first.start_once(50_000);
        task::sleep_ms(1);
        check_eq!(LOG.text(), "12");
    }
}

/// Starts a periodic timer whose function does `once` to the timer itself at its third call. Returns the calls
/// until long after.
fn calls_of_a_timer_that(once: fn(&Timer)) -> Result<u32, Failure> {
    if !is_exact() {
        return Err(Failure::Ignored("the clock is the host's"));
    }
    const PERIOD_NS: u64 = 100_000;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let timer = Arc::new_cyclic(|itself: &alloc::sync::Weak<Timer>| {
        let itself = itself.clone();
        Timer::new(move || {
            if counted.fetch_add(1, Ordering::Relaxed) == 2 {
                // SAFETY: the timer is dropped in this function's caller alone, so it is there while it calls. (An
                // upgrade here could be the last reference.)
                once(unsafe { &*itself.as_ptr() });
            }
        })
    });
    timer.start_periodic(PERIOD_NS)?;
    task::sleep_ns(10 * PERIOD_NS + PERIOD_NS / 2);
    Ok(calls.load(Ordering::Relaxed))
}

ktest! {
    fn a_periodic_timer_that_its_function_cancels_is_not_called_again() {
        check_eq!(calls_of_a_timer_that(|timer| { timer.cancel(); })?, 3);
        check_eq!(calls_of_a_timer_that(|timer| { timer.cancel(); timer.start_once(50_000); })?, 4, "calls with one more start");
    }
}

ktest! {
    fn a_function_can_start_its_own_timer_anew() {
        check_eq!(calls_of_a_timer_that(|timer| timer.start_once(50_000))?, 4, "calls with a single one at the end");
        // Three at the old period, then one each 200 us from 300 us to 1050 us.
        let calls = calls_of_a_timer_that(|timer| timer.start_periodic(200_000).expect("a period"))?;
        check_eq!(calls, 6, "calls with a longer period from the third on");
    }
}
