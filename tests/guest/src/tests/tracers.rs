//! The tracers: each finds the longest of its kind, as long as an independent measurement says, and what happened meanwhile.

use crate::framework::Failure;
use crate::framework::clock::{TickOff, is_exact, work};
use crate::framework::cpus::here;
use crate::tests::traced::Traced;
use crate::tests::{HIGH, LOW};
use crate::{check, check_eq, ktest};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arch::irqflags::{local_irq_restore, local_irq_save};
use arch::timer::counter;
use core::sync::atomic::{AtomicU64, Ordering};
use stint::latency::witness::Watching;
use stint::locking::Semaphore;
use stint::preempt::preempt_disable;
use stint::preempt_stats::recorder::CpuStats;
use stint::preempt_stats::section::Section;
use stint::sched::SchedAttr;
use stint::trace::control;
use stint::trace::event::{Event, Kind, KindSet};
use stint::trace::snapshot::Taken;
use stint::trace::tracer::Tracer;
use stint::trace::{Entry, show};
use stint::{preempt_stats, task};

/// A tracer, from nothing, for as long as it lives.
struct Traces(());

impl Traces {
    fn with(tracer: Tracer) -> Result<Self, Failure> {
        control::set_tracer(tracer).map_err(|error| Failure::new(format_args!("{error}")))?;
        Ok(Self(()))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = control::set_tracer(Tracer::Nop) {
            panic!("the tracer cannot be switched off: {error}");
        }
    }
}

/// The statistics, from nothing, for as long as they live.
struct Stats(());

impl Stats {
    fn on() -> Result<Self, Failure> {
        if preempt_stats::budget_us().is_some() {
            return Err(Failure::Ignored("the statistics watch the latency budget of the run"));
        }
        preempt_stats::on().map_err(|error| Failure::new(format_args!("{error}")))?;
        Ok(Self(()))
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        let _ = preempt_stats::off();
        preempt_stats::reset();
    }
}

fn taken() -> Result<Taken, Failure> {
    control::snapshot().ok_or_else(|| Failure::new(format_args!("the tracer has found nothing")))
}

/// What the statistics have for a tracer.
type Worst = fn(&CpuStats) -> Section;

/// One of each: masked and then preemption off, crossing each other.
#[inline(never)]
fn planted() {
    let flags = local_irq_save();
    work(40_000);
    let guard = preempt_disable();
    work(10_000);
    local_irq_restore(flags);
    work(50_000);
    drop(guard);
}

ktest! {
    fn the_longest_of_a_tracer_is_the_longest_of_the_statistics() {
        if !is_exact() {
            return Err(Failure::Ignored("which section is the longest needs a clock that counts instructions"));
        }
        let _tick = TickOff::new();
        let worst: [(Tracer, Worst, u64); 3] = [
            (Tracer::Irqsoff, |stats| stats.worst_irqs, 100_000),
            (Tracer::Preemptoff, |stats| stats.worst_preempt, 120_000),
            (Tracer::Preemptirqsoff, |stats| stats.ledger.max, 200_000),
        ];
        // With records in the window and without: what they take is no part of the section.
        for kinds in [KindSet::SECTIONS, KindSet::NONE] {
            for (tracer, worst, at_least) in worst {
                let _traced = Traced::of(kinds)?;
                let _stats = Stats::on()?;
                let _traces = Traces::with(tracer)?;
                preempt_stats::reset();
                planted();
                // Not before this: what follows may be longer.
                let stats = preempt_stats::snapshot();
                let taken = taken()?;
                let name = tracer.name();
                let section = taken.found.section;
                check_eq!((name, taken.found.length), (name, worst(&stats).cycles), "cycles of the longest");
                check_eq!(section, worst(&stats), "its places and its task");
                check_eq!(taken.cpu, here(), "its CPU");
                check!((at_least..at_least + 200).contains(&taken.found.length), "{name}: {} cycles", taken.found.length);
            }
        }
    }
}

ktest! {
    fn a_snapshot_has_the_events_of_its_window_and_says_where_it_began_and_ended() {
        let _traced = Traced::of(KindSet::SECTIONS.or(KindSet::named("timer").expect("a group")))?;
        let _traces = Traces::with(Tracer::Irqsoff)?;
        let timer = stint::time::Timer::new(|| {});
        let flags = local_irq_save();
        work(20_000);
        timer.start_at(u64::MAX / 2);
        work(200_000);
        local_irq_restore(flags);
        timer.cancel();
        let taken = taken()?;
        let (from, to) = (taken.found.from_ticks, taken.found.to_ticks);
        check!(taken.entries.iter().all(|(_, entry)| (from..=to).contains(&entry.ticks)), "{:?}", taken);
        if is_exact() {
            let kinds: Vec<Kind> = taken.entries.iter().map(|(_, entry)| entry.event.kind()).collect();
            check_eq!(kinds.first(), Some(&Kind::IrqDisable), "the first event of the window");
            check_eq!(kinds.last(), Some(&Kind::IrqEnable), "the last");
            check!(kinds.contains(&Kind::HrtimerStart), "{kinds:?}");
            let mut lines: Vec<String> = Vec::new();
            let shown = show::snapshot_lines(|line| {
                lines.push(format!("{line}"));
                Ok::<(), ()>(())
            });
            check_eq!(shown, Ok(true));
            let text = lines.join("\n");
            check!(text.starts_with("# irqsoff latency trace v1.1.5 on stint-"), "{text}");
            let this = "a_snapshot_has_the_events";
            let places: Vec<&str> = text.lines().filter(|line| line.starts_with("#  => ")).collect();
            check!(places.len() == 2 && places.iter().all(|place| place.contains(this)), "{places:?}");
            check!(text.contains("us : hrtimer_start: ") || text.contains("us!: hrtimer_start: "), "{text}");
        }
    }
}

ktest! {
    fn what_a_record_takes_is_no_part_of_a_section() {
        if !is_exact() {
            return Err(Failure::Ignored("how long it takes needs a clock that counts instructions"));
        }
        let _tick = TickOff::new();
        let timer = stint::time::Timer::new(|| {});
        // The hook is there both times. One of them makes a record, of some hundred instructions.
        let length = |kinds: KindSet| {
            let _traced = Traced::of(kinds)?;
            let _traces = Traces::with(Tracer::Irqsoff)?;
            let flags = local_irq_save();
            work(50_000);
            timer.start_at(u64::MAX / 2);
            local_irq_restore(flags);
            Ok::<u64, Failure>(taken()?.found.length)
        };
        // Once before, so that all starts find the timer pending.
        length(KindSet::NONE)?;
        let (without, with) = (length(KindSet::NONE)?, length(KindSet::named("hrtimer_start").expect("an event"))?);
        timer.cancel();
        check!((without..without + 40).contains(&with), "{with} cycles with a record, {without} without");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_wake_up_that_has_to_wait_is_the_longest_and_as_long_as_it_was() {
        static GATE: Semaphore = Semaphore::new(0);
        static RAN: AtomicU64 = AtomicU64::new(0);
        let _tick = TickOff::new();
        let high = task::build("high").fifo(HIGH).spawn(|| {
            for _ in 0..3 {
                GATE.take();
                RAN.store(counter(), Ordering::Relaxed);
            }
        })?;
        let id = high.task().id();
        let _traced = Traced::of(KindSet::named("sched").expect("a group"))?;
        let _traces = Traces::with(Tracer::WakeupRt)?;
        GATE.give()?;
        let short = taken()?.found.length;
        // Nobody can run meanwhile.
        let guard = preempt_disable();
        let before = counter();
        GATE.give()?;
        let woken = counter();
        work(100_000);
        drop(guard);
        let (outer, inner) = (RAN.load(Ordering::Relaxed) - before, RAN.load(Ordering::Relaxed) - woken);
        let taken = taken()?;
        GATE.give()?;
        high.join();
        let (length, who) = (taken.found.length, taken.found.section.who);
        check_eq!((who.id, who.name.as_str()), (id, "high"), "who waited");
        check!(short < length, "the wait that had to is {length} ticks long, the other one {short}");
        // From the hook in the give to the hook in the switch: within what is measured around them.
        check!(length <= outer, "{length} ticks, and from before the give to the task only {outer}");
        if is_exact() {
            let length_ns = taken.length_ns();
            let missing_ns = inner.saturating_sub(length) * length_ns / length.max(1);
            check!(
                length_ns >= 200_000 && missing_ns < 3000,
                "{length_ns} ns, and {missing_ns} ns more from behind the give to the task"
            );
        }
        let events: Vec<Event> = taken.entries.iter().map(|(_, entry): &(usize, Entry)| entry.event).collect();
        let woken = events.iter().any(|event| matches!(event, Event::SchedWakeup { task, .. } if *task == id));
        let ran = events.iter().any(|event| matches!(event, Event::SchedSwitch { next, .. } if *next == id));
        check!(woken && ran, "the window: {events:?}");
    }
}

ktest! {
    /// Whoever runs is as important as it is now, not as it was when it was switched to.
    fn a_wake_up_over_a_task_that_was_lowered_meanwhile_counts() {
        static GATE: Semaphore = Semaphore::new(0);
        let woken = task::build("woken").fifo(LOW).spawn(|| GATE.take())?;
        let id = woken.task().id();
        let _traces = Traces::with(Tracer::WakeupRt)?;
        let giver = task::build("giver").fifo(HIGH).spawn(|| {
            // No switch in between, which would say how important this task is now.
            let guard = preempt_disable();
            task::current_ref().set_scheduler(SchedAttr::NORMAL)?;
            GATE.give()?;
            drop(guard);
            woken.join();
            // Before the one that waits for this task is woken.
            taken()
        })?;
        let who = giver.join().expect("it was not aborted")?.found.section.who;
        check_eq!((who.id, who.name.as_str()), (id, "woken"), "who waited");
    }
}

ktest! {
    fn a_blame_run_leaves_the_tracer_on() {
        let before = control::chosen();
        let _traces = Traces::with(Tracer::Irqsoff)?;
        drop(Watching::start().map_err(|error| Failure::new(format_args!("{error}")))?);
        check_eq!(control::tracer(), Tracer::Irqsoff);
        check_eq!(control::chosen(), before);
    }
}

ktest! {
    fn idling_is_no_section_of_any_tracer() {
        if !is_exact() {
            return Err(Failure::Ignored("how long nothing happens needs a clock that counts instructions"));
        }
        let idle_ns = 30_000_000;
        for tracer in [Tracer::Irqsoff, Tracer::Preemptoff, Tracer::Preemptirqsoff] {
            let _traces = Traces::with(tracer)?;
            task::sleep_ns(idle_ns);
            let length = taken()?.found.length;
            check!(length < idle_ns / 10, "{}: {length} cycles of {idle_ns} ns of idling", tracer.name());
        }
    }
}
