//! The watchers: who gets nowhere is reported once, and nobody else is.
//!
//! The thresholds are far below those in use, and yet long: these tests are for machines with virtual time.

use crate::framework::clock::{is_exact, spin_ns};
use crate::framework::{Failure, cpus};
use crate::tests::throttling::Limits;
use crate::tests::{HIGH, LOW};
use crate::{check, check_eq, ktest};
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use stint::locking::{Mutex, Semaphore};
use stint::watchdog::{self, Reports};
use stint::{klog, task};

/// The threshold.
const N: u64 = 20_000_000;

/// The watchers with these thresholds, until it is dropped.
struct Watching {
    before: Reports,
}

impl Watching {
    fn start(thresh_ns: u64, hung_ns: u64) -> Result<Self, Failure> {
        if !is_exact() {
            return Err(Failure::Ignored("it needs a machine with virtual time"));
        }
        watchdog::start(thresh_ns, hung_ns)?;
        Ok(Self { before: watchdog::reports() })
    }

    /// What has been told since the start: CPUs, their ends, tasks.
    fn told(&self) -> (u32, u32, u32) {
        let now = watchdog::reports();
        let before = self.before;
        (now.stuck - before.stuck, now.recovered - before.recovered, now.hung - before.hung)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        watchdog::stop();
    }
}

/// The lines of the log that the drain has kept.
fn kept_lines_with(text: &str) -> usize {
    let mut count = 0;
    klog::for_each_kept(|line| count += usize::from(line.contains(text)));
    count
}

ktest! {
    fn a_task_that_keeps_others_off_its_cpu_is_reported_once_and_its_end_once() {
        let _unlimited = Limits::none()?;
        let watching = Watching::start(N, 0)?;
        let stop = Arc::new(AtomicBool::new(false));
        let waits = cpus::on(0, task::build("waits")).spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Relaxed) {
                    task::sleep_ns(N / 20);
                }
            }
        })?;
        for round in 1..=2 {
            let hog = cpus::on(0, task::build("hog").fifo(HIGH)).spawn(|| spin_ns(4 * N))?;
            hog.join();
            // Another CPU, if there is one, waits for an answer before it tells.
            task::sleep_ns(5 * N);
            check_eq!(watching.told(), (round, round, 0), "CPUs, ends, tasks told");
        }
        stop.store(true, Relaxed);
        waits.join();
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_cpu_that_idles_that_has_one_task_or_that_switches_is_not_reported() {
        cpus::nobody_looks_around()?;
        let _unlimited = Limits::none()?;
        let watching = Watching::start(N, 0)?;
        task::sleep_ns(4 * N);
        check_eq!(watching.told(), (0, 0, 0), "told of a CPU that idles");
        spin_ns(4 * N);
        check_eq!(watching.told(), (0, 0, 0), "told of a CPU with one task");
        let other = task::build("other").fifo(LOW).spawn(|| {
            for _ in 0..8 {
                spin_ns(N / 2);
                task::sleep_ns(N / 20);
            }
        })?;
        spin_ns(4 * N);
        other.join();
        check_eq!(watching.told(), (0, 0, 0), "told of a CPU that switches");
    }
}

ktest! {
    fn a_task_that_waits_for_a_mutex_is_reported_once_with_whoever_has_it() {
        let watching = Watching::start(0, N)?;
        let mutex = Arc::new(Mutex::new(()));
        let gate = Arc::new(Semaphore::new(0));
        let holder = task::build("keeper").fifo(HIGH).spawn({
            let (mutex, gate) = (mutex.clone(), gate.clone());
            move || {
                let _held = mutex.lock();
                gate.take();
            }
        })?;
        let waiter = task::build("starved").fifo(LOW).spawn({
            let mutex = mutex.clone();
            move || drop(mutex.lock())
        })?;
        task::sleep_ns(5 * N);
        let told = watching.told();
        gate.give()?;
        holder.join();
        waiter.join();
        check_eq!(told, (0, 0, 1), "CPUs, ends, tasks told");
        let mut text = String::from("task starved/");
        check_eq!(kept_lines_with(&text), 1, "lines with {text:?}");
        text = String::from(", which keeper/");
        check_eq!(kept_lines_with(&text), 1, "lines with {text:?}");
    }
}

ktest! {
    fn a_task_that_waits_for_an_event_is_never_too_late() {
        let watching = Watching::start(0, N)?;
        let gate = Arc::new(Semaphore::new(0));
        let waiter = task::build("patient").spawn({
            let gate = gate.clone();
            move || gate.take()
        })?;
        task::sleep_ns(5 * N);
        let told = watching.told();
        gate.give()?;
        waiter.join();
        check_eq!(told, (0, 0, 0), "CPUs, ends, tasks told");
    }
}

/// Priority of a task that disturbs the others.
const TOP: i32 = 90;

ktest! {
    needs_cpus(2),
    fn another_cpu_that_a_task_keeps_from_others_is_reported_with_its_frames() {
        let _unlimited = Limits::none()?;
        let watching = Watching::start(N, 0)?;
        let hog = cpus::on(1, task::build("hog one").fifo(TOP)).spawn(|| spin_ns(6 * N))?;
        let waiter = cpus::on(1, task::build("waits")).spawn(|| ())?;
        task::sleep_ns(8 * N);
        hog.join();
        waiter.join();
        check_eq!(watching.told(), (1, 1, 0), "CPUs, ends, tasks told");
        for text in ["CPU 1 stuck for 20 ms in task hog one/", "(FIFO 90), preempt_count 0x", "CPU 1   #0"] {
            check_eq!(kept_lines_with(text), 1, "lines with {text:?}");
        }
        // All CPUs tick on one grid: CPU 1 may be in its own tick when the tick of another looks at it.
        let counts = ["preempt_count 0x0: it has not", "preempt_count 0x10000: it has not"];
        let told: usize = counts.map(kept_lines_with).iter().sum();
        check!(told > 0, "no line with one of {counts:?}");
        check!(kept_lines_with("ret_from_fork") > 0, "no line names what every task begins with");
    }
}

ktest! {
    needs_cpus(2),
    fn another_cpu_with_interrupts_masked_is_reported_as_one_that_does_not_answer() {
        let _unlimited = Limits::none()?;
        let watching = Watching::start(N, 0)?;
        let deaf = cpus::on(1, task::build("deaf").fifo(TOP)).spawn(|| {
            let flags = arch::irqflags::local_irq_save();
            spin_ns(8 * N);
            arch::irqflags::local_irq_restore(flags);
        })?;
        task::sleep_ns(10 * N);
        deaf.join();
        check_eq!(watching.told(), (1, 1, 0), "CPUs, ends, tasks told");
        for text in ["in task deaf/", "CPU 1 does not answer within 50 ms"] {
            check_eq!(kept_lines_with(text), 1, "lines with {text:?}");
        }
    }
}

ktest! {
    needs_cpus(2),
    fn cpus_that_idle_or_have_one_task_are_not_reported() {
        let _unlimited = Limits::none()?;
        let watching = Watching::start(N, 0)?;
        let alone = cpus::on(1, task::build("alone")).spawn(|| spin_ns(8 * N))?;
        task::sleep_ns(10 * N);
        alone.join();
        check_eq!(watching.told(), (0, 0, 0), "CPUs, ends, tasks told");
    }
}
