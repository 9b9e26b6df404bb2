//! R3: the functions of timers run in softirqs, with interrupts open, and are cancelled without a race; overruns.

use crate::framework::Failure;
use crate::framework::clock::{LATE_NS, TickOff, is_exact, spin_until_ns};
use crate::{check, check_eq, ktest};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use stint::time::{Timer, now_ns};
use stint::{preempt, task};

fn only_with_an_exact_clock() -> Result<(), Failure> {
    if is_exact() { Ok(()) } else { Err(Failure::Ignored("the clock is the host's")) }
}

/// Both kinds of timers, whose function is handed its timer.
fn both_kinds(function: impl Fn(&Timer) + Clone + Send + Sync + 'static) -> [(&'static str, Timer); 2] {
    [("soft", Timer::with_self(function.clone())), ("hard", Timer::hard_with_self(function))]
}

ktest! {
    fn soft_timers_call_with_interrupts_open_and_outside_the_interrupt() {
        static SEEN: AtomicU32 = AtomicU32::new(0);
        let timer = Timer::new(|| SEEN.store(1 | u32::from(preempt::in_hardirq()) << 1 | u32::from(arch::irqflags::irqs_disabled()) << 2, Ordering::Relaxed));
        timer.start_once(50_000);
        task::sleep_ms(1);
        check_eq!(SEEN.load(Ordering::Relaxed), 0b001, "called, in hard interrupt, masked");
    }
}

ktest! {
    fn a_periodic_timer_does_not_drift_in_ten_thousand_periods() {
        only_with_an_exact_clock()?;
        const PERIOD_NS: u64 = 100_003;
        const PERIODS: u64 = 10_000;
        static CALLS: AtomicU64 = AtomicU64::new(0);
        static FIRST: AtomicU64 = AtomicU64::new(0);
        static WORST: AtomicU64 = AtomicU64::new(0);
        for (kind, timer) in both_kinds(|timer| {
            let call = CALLS.fetch_add(1, Ordering::Relaxed) + timer.overruns();
            let due = FIRST.load(Ordering::Relaxed) + call * PERIOD_NS;
            // Early is very late.
            WORST.fetch_max(now_ns().wrapping_sub(due), Ordering::Relaxed);
        }) {
            CALLS.store(0, Ordering::Relaxed);
            WORST.store(0, Ordering::Relaxed);
            let first = now_ns() + PERIOD_NS;
            FIRST.store(first, Ordering::Relaxed);
            timer.start_periodic_at(first, PERIOD_NS)?;
            task::sleep_until(first + (PERIODS - 1) * PERIOD_NS + PERIOD_NS / 2);
            timer.cancel();
            check_eq!(CALLS.load(Ordering::Relaxed), PERIODS, "calls of a {kind} timer in {PERIODS} periods");
            let worst = WORST.load(Ordering::Relaxed);
            check!(worst <= LATE_NS, "the worst call of a {kind} timer was {worst} ns late");
        }
    }
}

ktest! {
    fn points_that_pass_without_a_call_are_overruns_of_the_next() {
        only_with_an_exact_clock()?;
        const PERIOD_NS: u64 = 500_000;
        static OVERRUNS: [AtomicU64; 3] = [const { AtomicU64::new(u64::MAX) }; 3];
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let _tick = TickOff::new();
        for (kind, timer) in both_kinds(|timer| {
            let call = CALLS.fetch_add(1, Ordering::Relaxed) as usize;
            if let Some(place) = OVERRUNS.get(call) {
                place.store(timer.overruns(), Ordering::Relaxed);
            }
        }) {
            CALLS.store(0, Ordering::Relaxed);
            let start = now_ns();
            timer.start_periodic_at(start + PERIOD_NS, PERIOD_NS)?;
            spin_until_ns(start + PERIOD_NS + PERIOD_NS / 2);
            check_eq!(timer.overruns(), 0, "overruns of a {kind} timer after a call in time");
            let flags = arch::irqflags::local_irq_save();
            spin_until_ns(start + 4 * PERIOD_NS + PERIOD_NS / 2);
            arch::irqflags::local_irq_restore(flags);
            spin_until_ns(start + 4 * PERIOD_NS + PERIOD_NS * 3 / 4);
            check_eq!(timer.overruns(), 2, "overruns of a {kind} timer after three points with interrupts masked");
            spin_until_ns(start + 5 * PERIOD_NS + PERIOD_NS / 2);
            check!(timer.cancel());
            let seen = [0, 1, 2].map(|call: usize| OVERRUNS[call].load(Ordering::Relaxed));
            check_eq!((CALLS.load(Ordering::Relaxed), seen), (3, [0, 2, 0]), "calls of a {kind} timer, and overruns as its function saw them");
        }
    }
}

ktest! {
    fn a_function_that_is_longer_than_its_period_loses_no_point_and_leaves_time_to_others() {
        only_with_an_exact_clock()?;
        const PERIOD_NS: u64 = 50_000;
        static POINTS: AtomicU64 = AtomicU64::new(0);
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let _tick = TickOff::new();
        for (kind, timer) in both_kinds(|timer| {
            CALLS.fetch_add(1, Ordering::Relaxed);
            POINTS.fetch_add(1 + timer.overruns(), Ordering::Relaxed);
            spin_until_ns(now_ns() + 2 * PERIOD_NS + PERIOD_NS / 2);
        }) {
            POINTS.store(0, Ordering::Relaxed);
            CALLS.store(0, Ordering::Relaxed);
            let first = now_ns() + PERIOD_NS;
            timer.start_periodic_at(first, PERIOD_NS)?;
            spin_until_ns(first + 300 * PERIOD_NS);
            timer.cancel();
            let (points, calls) = (POINTS.load(Ordering::Relaxed), CALLS.load(Ordering::Relaxed));
            check!((297..=304).contains(&points), "{points} points of a {kind} timer were called for or counted; 301 have passed");
            check_eq!(calls, points.div_ceil(3), "calls of a {kind} timer of {points} points, each as long as two and a half");
        }
    }
}

ktest! {
    fn a_grid_that_began_in_the_past_is_joined_at_once() {
        only_with_an_exact_clock()?;
        const PERIOD_NS: u64 = 1_000_000;
        static CALLS: AtomicU64 = AtomicU64::new(0);
        static FIRST_OVERRUNS: AtomicU64 = AtomicU64::new(0);
        static LAST: AtomicU64 = AtomicU64::new(0);
        for (kind, timer) in both_kinds(|timer| {
            if CALLS.fetch_add(1, Ordering::Relaxed) == 0 {
                FIRST_OVERRUNS.store(timer.overruns(), Ordering::Relaxed);
            }
            LAST.store(now_ns(), Ordering::Relaxed);
        }) {
            CALLS.store(0, Ordering::Relaxed);
            let first = now_ns() - 10 * PERIOD_NS - PERIOD_NS / 2;
            timer.start_periodic_at(first, PERIOD_NS)?;
            task::sleep_until(first + 12 * PERIOD_NS + PERIOD_NS / 2);
            check!(timer.cancel());
            check_eq!(FIRST_OVERRUNS.load(Ordering::Relaxed), 10, "overruns of the first call of a {kind} timer: eleven points have passed");
            check_eq!(CALLS.load(Ordering::Relaxed), 3, "calls of a {kind} timer: at once, and at points 11 and 12");
            let late = LAST.load(Ordering::Relaxed) - (first + 12 * PERIOD_NS);
            check!(late <= LATE_NS, "the last is {late} ns late");
        }
    }
}

ktest! {
    fn a_function_may_cancel_and_start_its_own_timer() {
        only_with_an_exact_clock()?;
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        for (kind, timer) in both_kinds(move |timer| match counted.fetch_add(1, Ordering::Relaxed) {
            2 => {
                assert!(timer.is_running() && timer.cancel() && !timer.is_running() && !timer.cancel());
            }
            3 => timer.start_once(50_000),
            4 => assert!(!timer.is_running() && timer.try_cancel() == Ok(false)),
            _ => {}
        }) {
            calls.store(0, Ordering::Relaxed);
            timer.start_periodic(100_000)?;
            task::sleep_ms(2);
            check_eq!(calls.load(Ordering::Relaxed), 3, "calls of a {kind} timer that its function cancels in the third");
            timer.start_once(10_000);
            task::sleep_ms(2);
            check_eq!(calls.load(Ordering::Relaxed), 5, "calls with two more, one of them started by the function");
        }
    }
}
