//! R3: the functions of timers run in softirqs, with interrupts open, and are cancelled without a race; overruns.

use crate::framework::Failure;
use crate::framework::clock::{LATE_NS, TickOff, is_exact, spin_until_ns};
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::framework::softirqs::SoftirqsFirst;
use crate::tests::{HIGH, MIDDLE};
use crate::{check, check_eq, ktest};
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::patch::{Key, is_enabled};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use stint::irq::softirq::in_serving_softirq;
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
    fn soft_timers_call_in_a_softirq_and_hard_ones_in_the_interrupt() {
        static SEEN: AtomicU32 = AtomicU32::new(0);
        for ((kind, timer), right) in both_kinds(|_| {
            let state = [true, in_serving_softirq(), preempt::in_hardirq(), arch::irqflags::irqs_disabled()];
            SEEN.store(state.iter().fold(0, |bits, &bit| bits << 1 | u32::from(bit)), Ordering::Relaxed);
        })
        .into_iter()
        .zip([0b1100, 0b1011])
        {
            SEEN.store(0, Ordering::Relaxed);
            timer.start_once(50_000);
            task::sleep_ms(1);
            check_eq!(SEEN.load(Ordering::Relaxed), right, "the function of a {kind} timer: called, in a softirq, in a hard interrupt, masked");
        }
    }
}

ktest! {
    only_in(models::NOT_RT, "it is about functions that run behind the interrupt; in rt a thread calls them, and its priority decides who waits"),
    /// One function is the longest that the rest of a storm holds a task up.
    fn a_storm_of_soft_timers_does_not_hold_a_fifo_task_up() {
        only_with_an_exact_clock()?;
        const STORM: usize = 200;
        const FUNCTION_NS: u64 = 2_000;
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let _tick = TickOff::new();
        let timers: Vec<Timer> = (0..STORM)
            .map(|_| Timer::new(|| {
                CALLS.fetch_add(1, Ordering::Relaxed);
                spin_until_ns(now_ns() + FUNCTION_NS);
            }))
            .collect();
        let storm = now_ns() + 10_000_000;
        for timer in &timers {
            timer.start_at(storm);
        }
        // In the middle of it, while its first softirq still goes on, and when ksoftirqd has it.
        let mut tasks = Vec::new();
        for due in [storm + 5 * FUNCTION_NS, storm + 20 * FUNCTION_NS, storm + 90 * FUNCTION_NS] {
            tasks.push(task::build("high").fifo(HIGH).spawn(move || {
                task::sleep_until(due);
                (now_ns() - due, CALLS.load(Ordering::Relaxed) as usize)
            })?);
        }
        for task in tasks {
            let (late, before) = task.join().unwrap_or_default();
            check!(before > 0 && before < STORM, "{before} functions of {STORM} were called before: the task is not in the middle of the storm");
            check!(late <= FUNCTION_NS + LATE_NS, "a FIFO task was {late} ns late in a storm of functions of {FUNCTION_NS} ns");
        }
        // The rest runs where there is time.
        task::sleep_ms(5);
        check_eq!(CALLS.load(Ordering::Relaxed) as usize, STORM, "functions that were called in the end");
    }
}

ktest! {
    only_in(models::NOT_RT, "it is about functions that run behind the interrupt; in rt a thread calls them, and its priority decides who waits"),
    fn a_function_that_starts_its_timer_for_the_past_leaves_time_to_others() {
        only_with_an_exact_clock()?;
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let timer = Timer::with_self(|timer| {
            CALLS.fetch_add(1, Ordering::Relaxed);
            timer.start_at(0);
        });
        let before = now_ns();
        timer.start_at(0);
        crate::framework::clock::work(1_000_000);
        let took = now_ns() - before;
        check!(timer.cancel(), "it was started to the end");
        check!(took < 20_000_000, "{took} ns for two million instructions");
        let calls = CALLS.load(Ordering::Relaxed);
        check!(calls > 16, "{calls} calls");
        task::sleep_ms(1);
        check_eq!(CALLS.load(Ordering::Relaxed), calls, "calls after it was cancelled");
    }
}

ktest! {
    /// An interrupt handler that comes while the function runs must not wait for it, and is told so.
    fn an_interrupt_that_finds_the_function_running_can_stop_the_timer_but_not_wait_for_it() {
        static ANSWER: AtomicU32 = AtomicU32::new(0);
        static CALLS: AtomicU32 = AtomicU32::new(0);
        static TIMER: spin::Mutex<Option<Arc<Timer>>> = spin::Mutex::new(None);
        if is_enabled(Key::Rt) {
            // There the function is a task's, which the interrupt's would-be canceller may wait for.
            return Err(Failure::Ignored("in rt functions are called by a thread"));
        }
        let interrupt = Interrupt::request(9, || {
            let timer = TIMER.lock().clone().expect("set below");
            ANSWER.store(match timer.try_cancel() {
                Err(stint::Error::Busy) => 1,
                _ => 2,
            }, Ordering::Relaxed);
            core::mem::forget(timer);
        })?;
        let timer = Arc::new(Timer::new(|| {
            if CALLS.fetch_add(1, Ordering::Relaxed) == 0 {
                arch::gic::send_sgi_self(9);
                crate::framework::clock::work(1000);
            }
        }));
        *TIMER.lock() = Some(Arc::clone(&timer));
        timer.start_periodic(100_000)?;
        task::sleep_ms(1);
        check_eq!((ANSWER.load(Ordering::Relaxed), interrupt.taken()), (1, 1), "answer of try_cancel (1: Busy), interrupts");
        check_eq!(CALLS.load(Ordering::Relaxed), 1, "calls of a timer that was stopped in its first");
        check_eq!(timer.try_cancel(), Ok(false));
        *TIMER.lock() = None;
        // The handler kept a count, so as not to drop the timer in an interrupt.
        // SAFETY: that count.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(&timer)) };
    }
}

ktest! {
    /// Where functions are called by a thread, `cancel` waits for the one that runs, and its caller's priority helps it.
    fn cancelling_waits_for_a_function_that_can_be_preempted() {
        static LOG: Events = Events::new();
        if !is_enabled(Key::Rt) {
            return Err(Failure::Ignored("only in rt can a task find the function running"));
        }
        let timer = Arc::new(Timer::new(|| {
            LOG.mark('f');
            crate::framework::clock::work(200_000);
            LOG.mark('F');
        }));
        let start = now_ns() + 1_000_000;
        let high = task::build("high").fifo(HIGH).spawn({
            let timer = Arc::clone(&timer);
            move || {
                // In the middle of the function.
                task::sleep_until(start + 150_000);
                LOG.mark('c');
                timer.cancel();
                LOG.mark('C');
            }
        })?;
        let middle = task::build("middle").fifo(MIDDLE).spawn(move || {
            task::sleep_until(start + 100_000);
            LOG.mark('m');
            crate::framework::clock::work(500_000);
            LOG.mark('M');
        })?;
        timer.start_at(start);
        task::sleep_ms(5);
        high.join();
        middle.join();
        check_eq!(LOG.text(), "fmcFCM");
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
        let _softirqs = SoftirqsFirst::new();
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
        let _softirqs = SoftirqsFirst::new();
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
