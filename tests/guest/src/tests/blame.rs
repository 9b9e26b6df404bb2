//! The blame report: what holds a wake-up up is found in the trace, by name and with about its length, and the parts of
//! every explanation add up to the whole.
//!
//! Each test holds a task up on purpose, across the moment at which its timer is due, and looks at what is said of it.

use crate::framework::clock::{TickOff, is_exact, spin_until_ns};
use crate::framework::cpus::{here, on};
use crate::framework::interrupt::Interrupt;
use crate::framework::{Failure, Outcome};
use crate::tests::HIGH;
use crate::{check, check_eq, ktest};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::irqflags::{local_irq_restore, local_irq_save};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU64, AtomicUsize};
use stint::bootargs::PreemptModel;
use stint::irq::tasklet::Tasklet;
use stint::ksyms::Symbol;
use stint::latency::blame::{Explanation, Part};
use stint::latency::params::{Loads, Params};
use stint::latency::run;
use stint::latency::witness::{Watching, Witness};
use stint::locking::Semaphore;
use stint::preempt::preempt_disable;
use stint::start::boot_info;
use stint::task::{self, Builder};
use stint::time::{self, Timer};

/// From now until the timer is due: enough for the late task to sleep by then, with the trace on.
const AHEAD_NS: u64 = 300_000;
/// From the obstacle's begin to the due time.
const EARLY_NS: u64 = 20_000;
/// From the due time to the obstacle's end: the time that must be found.
const HELD_NS: u64 = 60_000;
/// What may be missing, or be too much, in an image with debug checks and with the trace's own hooks in between.
const EDGE_NS: u64 = 15_000;

fn watching() -> Result<Watching, Failure> {
    Watching::start().map_err(|error| Failure::new(format_args!("{error}")))
}

/// Why a task of `cpu` is as late as it is when it is to wake at a time across which `obstacle` lasts, which is called, when
/// the task sleeps, with its begin and its end. The task's timer is one of this CPU.
fn held_up(cpu: usize, obstacle: impl FnOnce((u64, u64))) -> Result<Explanation, Failure> {
    let _watching = watching()?;
    let _tick = TickOff::new();
    let alarm = Arc::new((Semaphore::new(0), AtomicUsize::new(0)));
    let timer = {
        let alarm = Arc::clone(&alarm);
        Timer::new_hard(move || {
            alarm.1.store(here(), Relaxed);
            let _ = alarm.0.give();
        })
    };
    let due = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&due);
    let late = on(cpu, task::build("late")).fifo(HIGH).spawn(move || {
        let _tick = TickOff::new();
        let mut witness = Witness::new();
        let due_ns = time::now_ns() + AHEAD_NS;
        told.store(due_ns, Relaxed);
        alarm.0.take();
        let now_ns = time::now_ns();
        witness.explain(0, due_ns, now_ns, alarm.1.load(Relaxed));
        witness.explanations().iter().cloned().collect::<Vec<_>>()
    })?;
    // Here it is more important, so it has run until it sleeps; another CPU comes to that long before it is due.
    while due.load(Relaxed) == 0 {
        task::yield_now();
    }
    let due_ns = due.load(Relaxed);
    timer.start_at(due_ns);
    obstacle((due_ns - EARLY_NS, due_ns + HELD_NS));
    let explanations = late.join().expect("it returns them");
    let [explanation] = explanations.as_slice() else { panic!("one was asked for: {explanations:?}") };
    check_sum(explanation)?;
    Ok(explanation.clone())
}

fn check_sum(explanation: &Explanation) -> Outcome {
    let sum: u64 = explanation.parts.iter().map(|(_, ns)| ns).sum();
    check_eq!(sum, explanation.whole_ns, "the sum of the parts, {:?}", explanation.parts);
    Ok(())
}

/// One part is the obstacle, and about as long as it was; `what` says what was looked for.
fn check_part(explanation: &Explanation, what: &str, is_it: impl Fn(&Part) -> bool) -> Outcome {
    let parts = &explanation.parts;
    let found: u64 = parts.iter().filter(|(part, _)| is_it(part)).map(|(_, ns)| ns).sum();
    check!(
        found + EDGE_NS >= HELD_NS && (found <= HELD_NS + EDGE_NS || !is_exact()),
        "{found} ns of {what}; about {HELD_NS} were expected of {} in {parts:?}",
        explanation.whole_ns
    );
    Ok(())
}

fn is_in(address: u64, function: &str) -> bool {
    format!("{}", Symbol(address)).contains(function)
}

#[inline(never)]
fn with_interrupts_masked((from_ns, to_ns): (u64, u64)) {
    spin_until_ns(from_ns);
    let flags = local_irq_save();
    spin_until_ns(to_ns);
    local_irq_restore(flags);
}

#[inline(never)]
fn with_preemption_off((from_ns, to_ns): (u64, u64)) {
    spin_until_ns(from_ns);
    let guard = preempt_disable();
    spin_until_ns(to_ns);
    drop(guard);
}

ktest! {
    fn a_section_with_interrupts_masked_over_the_due_time_is_blamed_by_name() {
        let me = task::current_ref().id();
        check_part(&held_up(here(), with_interrupts_masked)?, "masked interrupts", |part| {
            matches!(part, Part::Masked { task, at } if *task == me && is_in(at.caller, "with_interrupts_masked"))
        })?;
    }
}

ktest! {
    only_in(models::PREEMPTED_SPINNING, "preemption is not what keeps the task waiting, or sections mask"),
    fn a_section_with_preemption_off_is_blamed_by_name() {
        let me = task::current_ref().id();
        check_part(&held_up(here(), with_preemption_off)?, "preemption off", |part| {
            matches!(part, Part::PreemptOff { task, at } if *task == me && is_in(at.caller, "with_preemption_off"))
        })?;
    }
}

/// Raises an interrupt when the obstacle is to begin; its handler, or what that raises, lasts until the end.
fn raise(slow: &Interrupt, until_ns: &AtomicU64, (from_ns, to_ns): (u64, u64)) {
    until_ns.store(to_ns, Relaxed);
    spin_until_ns(from_ns);
    slow.raise();
}

ktest! {
    fn the_handler_of_another_interrupt_is_blamed_by_its_number() {
        static UNTIL_NS: AtomicU64 = AtomicU64::new(0);
        let slow = Interrupt::request(9, || spin_until_ns(UNTIL_NS.load(Relaxed)))?;
        let explanation = held_up(here(), |times| raise(&slow, &UNTIL_NS, times))?;
        check_part(&explanation, "interrupt 9", |part| *part == Part::Ipi { ipi: 9 })?;
    }
}

ktest! {
    only_in(models::PREEMPTED_SPINNING, "softirqs are in a thread, or the task waits for a scheduling point anyway"),
    fn a_softirq_is_blamed_by_its_vector() {
        static UNTIL_NS: AtomicU64 = AtomicU64::new(0);
        static SLOW: Tasklet = Tasklet::new(|_| spin_until_ns(UNTIL_NS.load(Relaxed)), 0);
        let raises = Interrupt::request(9, || SLOW.schedule())?;
        let explanation = held_up(here(), |times| raise(&raises, &UNTIL_NS, times))?;
        let tasklets = stint::irq::softirq::Vector::Tasklet as u32;
        check_part(&explanation, "softirq TASKLET", |part| *part == Part::Softirq { vector: tasklets })?;
    }
}

/// [`held_up`] by a task that `class` puts into a class, and that task.
fn held_up_by_a_task(
    cpu: usize,
    class: impl FnOnce(Builder) -> Builder,
) -> Result<(Explanation, u32), Failure> {
    let mut id = 0;
    let explanation = held_up(cpu, |(_, to_ns)| {
        // Begun at once: to make a task takes a while.
        let other = class(on(cpu, task::build("other"))).spawn(move || spin_until_ns(to_ns));
        let other = other.expect("there is memory for a task");
        id = other.task().id();
        other.join();
    })?;
    Ok((explanation, id))
}

ktest! {
    fn a_more_important_task_is_blamed_by_its_number() {
        let (explanation, id) = held_up_by_a_task(here(), |task| task.fifo(HIGH + 1))?;
        check_part(&explanation, "the other task", |part| *part == Part::Other { task: id })?;
    }
}

ktest! {
    needs_cpus(2),
    fn a_task_as_important_on_another_cpu_than_the_timers_is_blamed_by_its_number() {
        let (explanation, id) = held_up_by_a_task(1, |task| task.fifo(HIGH))?;
        check_part(&explanation, "the other task", |part| *part == Part::Other { task: id })?;
    }
}

ktest! {
    needs_cpus(2),
    fn a_task_that_is_less_important_on_another_cpu_than_the_timers_is_one_to_be_behind() {
        let (explanation, id) = held_up_by_a_task(1, |task| task)?;
        let parts = &explanation.parts;
        let is_behind = parts.iter().any(|(part, _)| *part == Part::Behind { task: id });
        let is_other = parts.iter().any(|(part, _)| matches!(part, Part::Other { .. }));
        check!(is_behind && !is_other, "task {id} ran on, and was not chosen: {parts:?}");
        // Where it is preempted, it runs on only until the other CPU's request is there.
        if matches!(boot_info().bootargs.preempt, PreemptModel::None | PreemptModel::Voluntary) {
            check_part(&explanation, "the other task", |part| *part == Part::Behind { task: id })?;
        }
    }
}

ktest! {
    fn the_parts_of_every_new_worst_add_up_under_every_load() {
        for loads in [Loads::NONE, Loads::ALL] {
            let watching = watching()?;
            let params = Params { fragments: 60, loads, blame: true, ..Params::default() };
            let report = run::run(params, |_| true)?;
            drop(watching);
            stint::kprintln!();
            let witness = report.witness.as_ref().expect("it was asked for");
            let all = witness.explanations();
            check!(!all.is_empty(), "no explanation in a run of {}", report.wakeup_ns.n());
            all.iter().try_for_each(check_sum)?;
            check!(all.iter().is_sorted_by_key(|worst| worst.whole_ns), "not each is a new worst: {all:?}");
            let last = all.back().map(|worst| worst.whole_ns);
            check_eq!(last, Some(report.wakeup_ns.max()), "the last that is explained, and the worst");
            // Without preemption a wait is longer than the ring.
            let short = matches!(boot_info().bootargs.preempt, PreemptModel::Full | PreemptModel::Rt);
            for worst in all.iter().filter(|_| short) {
                let unknown = worst.parts.iter().filter(|(part, _)| *part == Part::Unrecorded);
                let unknown: u64 = unknown.map(|(_, ns)| ns).sum();
                check!(unknown == 0, "{unknown} ns of {} are not recorded", worst.whole_ns);
            }
        }
    }
}
