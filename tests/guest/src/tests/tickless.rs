//! No tick on an idle CPU: time goes on, jiffies are right, timers are on time, and idle time is accounted.

use crate::framework::Failure;
use crate::framework::clock::{LATE_NS, is_exact, spin_ns, tick_ns};
use crate::{check, check_eq, ktest};
use core::sync::atomic::{AtomicU64, Ordering};
use stint::time::{Timer, idle, now_ns, tick};
use stint::{klog, task};

/// Interrupts for ticks.
fn ticks_taken() -> u64 {
    tick::jiffies() - tick::skipped()
}

/// Uses the CPU until a tick, and returns when it came.
fn next_tick_ns() -> u64 {
    let before = tick::jiffies();
    while tick::jiffies() == before {}
    now_ns()
}

fn only_with_an_exact_clock() -> Result<(), Failure> {
    if is_exact() { Ok(()) } else { Err(Failure::Ignored("the clock is the host's")) }
}

ktest! {
    fn an_idle_second_takes_no_tick() {
        only_with_an_exact_clock()?;
        // Behind what the kernel's own threads may still have to do.
        task::sleep_ns(10 * tick_ns());
        // Nor does real-time throttling look once more whether this task still runs.
        stint::sched::core::set_rt_bandwidth(None, 1_000_000)?;
        let (waits, taken, skipped) = (idle::waits(), ticks_taken(), tick::skipped());
        task::sleep_ms(1000);
        let waited = idle::waits() - waits;
        stint::sched::core::set_rt_bandwidth(Some(950_000), 1_000_000)?;
        check_eq!(waited, 1, "interrupts in an idle second, of which the last ends the sleep");
        check!(ticks_taken() - taken <= 1, "{} ticks were taken", ticks_taken() - taken);
        let second = u64::from(tick::hz());
        check!((second - 1..=second + 1).contains(&(tick::skipped() - skipped)), "{} ticks were skipped in a second of {second}", tick::skipped() - skipped);
    }
}

ktest! {
    /// Each wait ends after a thousand turns of its loop, which take some microseconds; in WFI one wait is the whole sleep.
    fn a_cpu_that_is_kept_awake_sleeps_in_no_wfi_wakes_in_time_and_is_idle_all_the_same() {
        only_with_an_exact_clock()?;
        const SLEEP_NS: u64 = 5_000_000;
        task::sleep_ns(10 * tick_ns());
        let sleep = || {
            let (begin_ns, waits, idle_ns) = (now_ns(), idle::waits(), idle::time_ns());
            task::sleep_ns(SLEEP_NS);
            (now_ns() - begin_ns, idle::waits() - waits, idle::time_ns() - idle_ns)
        };
        let awake = idle::StayAwake::new();
        let (passed_ns, waits, idle_ns) = sleep();
        drop(awake);
        check!(waits >= 100, "{waits} waits: one of them was WFI");
        check!((SLEEP_NS..SLEEP_NS + LATE_NS).contains(&passed_ns), "slept {passed_ns} ns of {SLEEP_NS}");
        check!(idle_ns >= SLEEP_NS / 10 * 9 && idle_ns <= passed_ns, "idle for {idle_ns} of {passed_ns} ns");
        let (_, waits, _) = sleep();
        check!(waits <= 4, "{waits} waits, though nobody keeps the CPU awake any more");
    }
}

ktest! {
    fn jiffies_are_right_after_idling() {
        for ms in [1, 3, 40, 333, 2000] {
            let (before_ns, before) = (now_ns(), tick::jiffies());
            task::sleep_ms(ms);
            let (passed_ns, passed) = (now_ns() - before_ns, tick::jiffies() - before);
            let by_clock = passed_ns / tick_ns();
            check!(passed.abs_diff(by_clock) <= 1, "{passed} ticks in the time of {by_clock}");
        }
    }
}

ktest! {
    fn jiffies_are_right_in_an_interrupt_that_ends_an_idle_second() {
        static SEEN: AtomicU64 = AtomicU64::new(0);
        let timer = Timer::new_hard(|| SEEN.store(tick::jiffies(), Ordering::Relaxed));
        let before = tick::jiffies();
        timer.start_once(1_000_000_000);
        task::sleep_ms(1001);
        let passed = SEEN.load(Ordering::Relaxed) - before;
        check!(passed.abs_diff(tick::hz().into()) <= 1 || !is_exact(), "{passed} ticks in a second of {}", tick::hz());
    }
}

ktest! {
    fn the_tick_goes_on_on_its_grid_after_idling() {
        only_with_an_exact_clock()?;
        let first = next_tick_ns();
        for ms in [1, 9, 333, 1003] {
            task::sleep_ms(ms);
            let off = (next_tick_ns() - first) % tick_ns();
            check!(off <= LATE_NS || off >= tick_ns() - LATE_NS, "after {ms} ms the tick is {off} ns off its grid");
        }
    }
}

ktest! {
    fn a_busy_cpu_takes_every_tick() {
        only_with_an_exact_clock()?;
        next_tick_ns();
        let (taken, skipped) = (ticks_taken(), tick::skipped());
        spin_ns(10 * tick_ns() + tick_ns() / 2);
        check_eq!(ticks_taken() - taken, 10, "ticks taken in the time of ten");
        check_eq!(tick::skipped(), skipped, "ticks skipped");
    }
}

ktest! {
    fn timers_are_on_time_on_a_cpu_that_idles_without_a_tick() {
        static FIRED: AtomicU64 = AtomicU64::new(0);
        for timer in [Timer::new(|| FIRED.store(now_ns(), Ordering::Relaxed)), Timer::new_hard(|| FIRED.store(now_ns(), Ordering::Relaxed))] {
            for delay_ns in [5_000_000, 33_333_333, 500_000_001] {
                FIRED.store(0, Ordering::Relaxed);
                let due = now_ns() + delay_ns;
                timer.start_at(due);
                task::sleep_until(due + 1_000_000);
                let fired = FIRED.load(Ordering::Relaxed);
                check!(fired >= due, "due at {due}, went off at {fired}");
                check!(fired - due <= LATE_NS || !is_exact(), "it was {} ns late", fired - due);
            }
        }
    }
}

ktest! {
    fn idle_time_is_accounted_to_the_microsecond() {
        only_with_an_exact_clock()?;
        let before = idle::time_ns();
        spin_ns(20_000_000);
        let spun = idle::time_ns() - before;
        check_eq!(spun, 0, "idle nanoseconds while a task runs");
        for ms in [1, 10, 300] {
            let before = idle::time_ns();
            task::sleep_ms(ms);
            let idled = idle::time_ns() - before;
            check!(idled.abs_diff(ms * 1_000_000) <= LATE_NS, "{idled} ns idle of {ms} ms");
        }
    }
}

ktest! {
    /// The log's thread is woken by the tick, which an idle CPU does not have.
    fn what_was_logged_comes_out_on_an_idle_cpu() {
        log::info!("a message, and then silence");
        task::sleep_ns(tick_ns() / 4);
        check!(!klog::pending() || !is_exact(), "the log waits for a tick");
        // From an interrupt that wakes nobody, on a CPU that idles already.
        let timer = Timer::new_hard(|| log::info!("a message out of an interrupt"));
        let due = now_ns() + 50 * tick_ns();
        timer.start_at(due);
        task::sleep_until(due + tick_ns() / 4);
        check!(!klog::pending() || !is_exact(), "the log waits for a tick");
    }
}
