//! M3, M4, K10: preempt-stats. Planted sections are found with their places and lengths, idling is not, a budget is told
//! once, a missing scheduling point is named, and switched off the text is what it was.
//!
//! On a machine with an exact clock lengths are exact: the hooks' own cycles are taken off, so a section is as long as the
//! cycle counter says that it is without them.

use crate::framework::clock::{TickOff, is_exact, spin_ns, tick_ns, work, work_inline};
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::framework::{Failure, Outcome};
use crate::tests::{HIGH, high_waiter};
use crate::{check, check_eq, ktest};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arch::irqflags::{local_irq_restore, local_irq_save};
use arch::patch::{Key, PatchError, count_sites};
use arch::pmu::cycles;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use stint::ksyms::Symbol;
use stint::locking::Semaphore;
use stint::preempt::{self, preempt_disable};
use stint::preempt_stats::section::{Kind, Section};
use stint::preempt_stats::{self, order::Order, recorder::CpuStats, report};
use stint::task::{self, current_ref};
use stint::time::now_ns;
use stint::trace::control;
use stint::trace::event::KindSet;
use stint::{klog, patching};

/// The most that a planted section is longer than what is counted inside it: the instructions between its ends and the two
/// readings of the counter, in an image with debug checks.
const EDGE_CYCLES: u64 = 80;

/// The statistics, on while this lives, from zero.
struct On(());

impl On {
    fn new() -> Result<Self, Failure> {
        need_own_stats()?;
        preempt_stats::on().map_err(failure)?;
        Ok(Self(()))
    }

    /// Ends it, and gives what was found.
    fn finish(self) -> Result<CpuStats, Failure> {
        preempt_stats::off().map_err(failure)?;
        Ok(preempt_stats::snapshot())
    }
}

impl Drop for On {
    fn drop(&mut self) {
        let _ = preempt_stats::set_budget(None);
        let _ = preempt_stats::off();
        preempt_stats::reset();
    }
}

fn failure(error: patching::PatchFailure) -> Failure {
    Failure::new(format_args!("unexpected error: {error}"))
}

/// With a budget for the whole run the statistics are the run's.
fn need_own_stats() -> Outcome {
    match preempt_stats::budget_us() {
        None if control::chosen().meets(KindSet::SECTIONS) => {
            Err(Failure::Ignored("the run's trace has the sites"))
        }
        None => Ok(()),
        Some(_) => Err(Failure::Ignored("the statistics watch the latency budget of the run")),
    }
}

fn need_exact() -> Outcome {
    if is_exact() { Ok(()) } else { Err(Failure::Ignored("lengths need a clock that counts instructions")) }
}

/// The section that was closed in the function of this name.
fn closed_in(stats: &CpuStats, function: &str) -> Result<Section, Failure> {
    let found = stats.ledger.worst().find(|section| is_in(section.from.site, function));
    found.ok_or_else(|| {
        let all: Vec<_> =
            stats.ledger.worst().map(|s| format!("{} {}", s.cycles, Symbol(s.from.site))).collect();
        Failure::new(format_args!("no section was closed in {function}; there are {all:?}"))
    })
}

fn is_in(address: u64, function: &str) -> bool {
    format!("{}", Symbol(address)).contains(function)
}

/// The section is there, begins and ends in `function`, is of this kind and this task, and is `inside` cycles long, and
/// a little for its ends.
fn check_section(stats: &CpuStats, function: &str, kind: Kind, inside: u64) -> Outcome {
    let section = closed_in(stats, function)?;
    check!(
        is_in(section.to.site, function),
        "it was opened at {}, expected in {function}",
        Symbol(section.to.site)
    );
    check_eq!(section.kind, kind, "what was closed in {function}");
    check_eq!(section.who.id, current_ref().id(), "the task of the section in {function}");
    let over = section.cycles.wrapping_sub(inside);
    check!(
        over <= EDGE_CYCLES,
        "the section in {function} has {} cycles; expected {inside} to {}",
        section.cycles,
        inside + EDGE_CYCLES
    );
    Ok(())
}

#[inline(never)]
fn planted_masked(turns: u32) -> u64 {
    let flags = local_irq_save();
    let begin = cycles();
    work(turns);
    let inside = cycles() - begin;
    local_irq_restore(flags);
    inside
}

#[inline(never)]
fn planted_preempt_off(turns: u32) -> u64 {
    let guard = preempt_disable();
    let begin = cycles();
    work(turns);
    let inside = cycles() - begin;
    drop(guard);
    inside
}

#[inline(never)]
fn planted_nested(turns: u32) -> u64 {
    let guard = preempt_disable();
    // Read without hooks in between: five detours are inside, and none of them counts.
    let flags = local_irq_save();
    work(turns);
    let inner = preempt_disable();
    work(turns);
    drop(inner);
    local_irq_restore(flags);
    work(turns);
    drop(guard);
    // What it must be: three times the work.
    u64::from(turns) * 6
}

#[inline(never)]
fn planted_crossed(turns: u32) -> u64 {
    let flags = local_irq_save();
    work(turns);
    let guard = preempt_disable();
    local_irq_restore(flags);
    work(turns);
    drop(guard);
    u64::from(turns) * 4
}

ktest! {
    fn switched_on_every_site_is_a_branch_and_switched_off_the_text_is_what_it_was() {
        need_own_stats()?;
        let (all, original) = count_sites(Key::PreemptStats);
        check!(all > 50, "{all} sites; expected one at each place that masks, counts, idles or returns");
        check_eq!(original, all, "original instructions before");
        let on = On::new()?;
        check_eq!(count_sites(Key::PreemptStats), (all, 0), "sites, and original instructions, while it is on");
        // Asked again it has nothing to do.
        check_eq!(patching::set_key(Key::PreemptStats, true), Ok(0));
        on.finish()?;
        check_eq!(count_sites(Key::PreemptStats), (all, all), "sites, and original instructions, after it");
    }
}

ktest! {
    fn a_key_that_is_decided_at_boot_is_refused_and_nothing_is_patched() {
        let before = count_sites(Key::PreemptInert);
        check_eq!(patching::set_key(Key::PreemptInert, true), Err(PatchError::BootOnly(Key::PreemptInert)));
        check_eq!(count_sites(Key::PreemptInert), before);
    }
}

ktest! {
    fn a_masked_section_is_found_with_its_places_and_its_exact_length() {
        need_exact()?;
        let _tick = TickOff::new();
        // The figures of the statistics, and those of the counter with the statistics off: the same.
        let mut lengths = [0; 2];
        for (turns, length) in [20_000, 30_000].into_iter().zip(&mut lengths) {
            let on = On::new()?;
            let inside = planted_masked(turns);
            let stats = on.finish()?;
            check_section(&stats, "planted_masked", Kind::IRQS, inside)?;
            check_eq!(inside, planted_masked(turns), "cycles inside, with the statistics and without");
            let section = closed_in(&stats, "planted_masked")?;
            check_eq!(stats.worst_irqs, section, "the longest time with interrupts masked");
            check_eq!(stats.ledger.max, section, "the longest section");
            *length = section.cycles;
        }
        check_eq!(lengths[1] - lengths[0], 20_000, "cycles of 10,000 turns more");
    }
}

ktest! {
    fn a_section_with_preemption_off_is_found_with_its_places_and_its_exact_length() {
        need_exact()?;
        let _tick = TickOff::new();
        let mut lengths = [0; 2];
        for (turns, length) in [20_000, 30_000].into_iter().zip(&mut lengths) {
            let on = On::new()?;
            let inside = planted_preempt_off(turns);
            let stats = on.finish()?;
            check_section(&stats, "planted_preempt_off", Kind::PREEMPT, inside)?;
            let section = closed_in(&stats, "planted_preempt_off")?;
            check_eq!(stats.worst_preempt, section, "the longest time with preemption off");
            *length = section.cycles;
        }
        check_eq!(lengths[1] - lengths[0], 20_000, "cycles of 10,000 turns more");
    }
}

ktest! {
    fn nested_and_crossed_sections_are_one_from_the_first_closing_to_the_last_opening() {
        need_exact()?;
        let _tick = TickOff::new();
        let on = On::new()?;
        let nested = planted_nested(10_000);
        let crossed = planted_crossed(10_000);
        let stats = on.finish()?;
        check_section(&stats, "planted_nested", Kind::BOTH, nested)?;
        check_section(&stats, "planted_crossed", Kind::BOTH, crossed)?;
        // The masked part alone is two thirds of the first, half of the other.
        check!(is_in(stats.worst_irqs.from.site, "planted_nested"), "{}", Symbol(stats.worst_irqs.from.site));
        check_eq!(stats.worst_irqs.kind, Kind::IRQS);
        check!(stats.worst_irqs.cycles.wrapping_sub(nested / 3 * 2) <= EDGE_CYCLES, "{:?}", stats.worst_irqs);
        check_eq!(stats.worst_preempt.kind, Kind::PREEMPT);
        check!(stats.worst_preempt.cycles.wrapping_sub(nested) <= EDGE_CYCLES, "{:?}", stats.worst_preempt);
    }
}

ktest! {
    fn an_interrupt_is_a_section_from_its_vector_to_its_return() {
        let _tick = TickOff::new();
        let slow = Interrupt::request(8, || work(20_000))?;
        let on = On::new()?;
        slow.raise();
        let stats = on.finish()?;
        let section = closed_in(&stats, "el1_irq")?;
        check!(is_in(section.to.site, "el1_irq_eret"), "it was opened at {}", Symbol(section.to.site));
        check_eq!(section.kind, Kind::BOTH);
        check_eq!(section.who.id, current_ref().id(), "the interrupted task");
        if is_exact() {
            check!((40_000..42_000).contains(&section.cycles), "{} cycles", section.cycles);
        }
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_section_that_ends_behind_a_switch_belongs_to_the_task_in_which_it_began() {
        static GATE: Semaphore = Semaphore::new(0);
        static DONE: AtomicBool = AtomicBool::new(false);
        let _tick = TickOff::new();
        let high = task::build("switchee").fifo(HIGH).spawn(|| {
            GATE.take();
            DONE.store(true, Ordering::Relaxed);
            GATE.take();
        })?;
        let on = On::new()?;
        GATE.give()?;
        let stats = on.finish()?;
        check!(DONE.load(Ordering::Relaxed), "the high task did not run");
        GATE.give()?;
        let id = high.task().id();
        high.join();
        // Closed by the giver, opened by the taker; and back.
        let me = current_ref().id();
        let found = |task: u32, opened: &str| {
            stats.ledger.worst().any(|s| s.who.id == task && s.cycles < 5_000 && is_in(s.to.site, opened))
        };
        let all: Vec<String> =
            stats.ledger.worst().map(|s| format!("{} {} {}", s.who, Symbol(s.from.site), Symbol(s.to.site))).collect();
        // Where there are several CPUs the taker waits in a function of its own.
        check!(found(me, "take") || found(me, "block_in"), "from the giver to the taker; found: {all:?}");
        check!(found(id, "give"), "from the taker back to the giver; found: {all:?}");
        check!(stats.ledger.max.cycles < 20_000, "a section was left open: {:?}", stats.ledger.max);
    }
}

ktest! {
    fn idling_is_no_section_and_no_task_sleeps_through_one() {
        let on = On::new()?;
        for _ in 0..4 {
            task::sleep_ns(3 * tick_ns());
        }
        let stats = on.finish()?;
        check!(stats.ledger.count > 10, "{} sections in four sleeps; expected some of each", stats.ledger.count);
        if is_exact() {
            let max = stats.ledger.max;
            check!(max.cycles < 20_000, "{} cycles from {} to {}", max.cycles, Symbol(max.from.site), Symbol(max.to.site));
            let max = stats.worst_preempt;
            check!(max.cycles < 20_000, "{} cycles from {} to {}", max.cycles, Symbol(max.from.site), Symbol(max.to.site));
        }
    }
}

ktest! {
    fn the_histogram_adds_up_and_the_sections_fit_into_the_time() {
        let on = On::new()?;
        for turns in 1..200 {
            planted_masked(turns);
            planted_preempt_off(turns);
            drop(preempt_disable());
        }
        task::sleep_ns(2 * tick_ns());
        let stats = on.finish()?;
        let ledger = &stats.ledger;
        check!(ledger.count >= 3 * 199, "{} sections; expected the {} planted ones at least", ledger.count, 3 * 199);
        check_eq!(ledger.histogram.iter().sum::<u64>(), ledger.count, "the histogram's sum");
        let elapsed = stats.until_cycles - stats.since_cycles;
        check!(ledger.sum_cycles < elapsed, "{} cycles of sections in {elapsed}", ledger.sum_cycles);
        check!(ledger.worst().all(|section| section.cycles <= ledger.max.cycles));
    }
}

ktest! {
    fn a_reset_forgets_and_goes_on() {
        let on = On::new()?;
        planted_masked(50_000);
        preempt_stats::reset();
        planted_preempt_off(10_000);
        let stats = on.finish()?;
        check!(closed_in(&stats, "planted_masked").is_err(), "it is still there");
        closed_in(&stats, "planted_preempt_off")?;
    }
}

#[inline(never)]
fn planted_over_budget(turns: u32) -> u64 {
    let flags = local_irq_save();
    work(turns);
    local_irq_restore(flags);
    0
}

/// Lines of the log that contain the text.
fn logged(text: &str) -> usize {
    report::tell_violations();
    klog::drain();
    let mut lines = 0;
    klog::for_each_kept(|line| lines += usize::from(line.contains(text)));
    lines
}

ktest! {
    fn a_section_over_the_budget_is_told_once_and_counted_every_time() {
        need_exact()?;
        need_own_stats()?;
        let _tick = TickOff::new();
        // On several CPUs the emulator runs one at a time, and what another one has begun meanwhile may be over the budget.
        const OURS: &str = "with interrupts closed in task init/";
        let (told, named) = (logged(OURS), logged("planted_over_budget"));
        let on = On::new()?;
        preempt_stats::set_budget(Some(100)).map_err(failure)?;
        // 90 and 120 microseconds.
        planted_over_budget(45_000);
        check_eq!(preempt_stats::violations(), 0, "violations by a section within the budget");
        planted_over_budget(60_000);
        planted_over_budget(60_000);
        check_eq!(preempt_stats::violations(), 2, "violations, each of them counted");
        check_eq!(logged(OURS) - told, 1, "reports of two violations at the same places");
        check_eq!(logged("planted_over_budget") - named, 2, "places named: closed, opened");
        check!(on.finish()?.ledger.violations >= 2);
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn it_is_switched_on_and_off_under_interrupts_and_loses_its_way_never() {
        static STOP: AtomicBool = AtomicBool::new(false);
        need_own_stats()?;
        STOP.store(false, Ordering::Relaxed);
        let (all, _) = count_sites(Key::PreemptStats);
        // Timer interrupts and switches at all distances from the patching; less often where each costs more.
        let apart = if control::chosen().is_empty() { 2 } else { 5 };
        let sleepers = [7_001, 11_003, 13_007].map(|ns| {
            task::build("sleeper").fifo(HIGH).spawn(move || {
                while !STOP.load(Ordering::Relaxed) {
                    task::sleep_ns(apart * ns);
                }
            })
        });
        for _ in 0..10 {
            let on = On::new()?;
            let spun_ns = apart * 50_000;
            spin_ns(spun_ns);
            let stats = on.finish()?;
            check!(stats.ledger.count > 10, "{} sections in {spun_ns} ns", stats.ledger.count);
            if is_exact() {
                let max = stats.ledger.max;
                check!(max.cycles < 50_000, "{} cycles from {} to {}", max.cycles, Symbol(max.from.site), Symbol(max.to.site));
            }
            check_eq!(count_sites(Key::PreemptStats), (all, all), "sites, and original instructions");
        }
        STOP.store(true, Ordering::Relaxed);
        for sleeper in sleepers {
            sleeper?.join();
        }
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_request_that_comes_into_a_section_waits_for_its_end() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = high_waiter(&LOG, &GATE)?;
        let on = On::new()?;
        let guard = preempt_disable();
        GATE.give()?;
        work(20_000);
        drop(guard);
        let stats = on.finish()?;
        high.join();
        let worst = stats.finder.worst;
        check_eq!(worst.who.id, current_ref().id(), "who ran on");
        if is_exact() {
            check!((40_000..41_000).contains(&worst.cycles), "it waited {} cycles", worst.cycles);
        }
    }
}

#[inline(never)]
fn planted_loop_without_a_scheduling_point(ns: u64) {
    let end_ns = now_ns() + ns;
    while now_ns() < end_ns {
        // Here and in no call: of one that has just begun a trace does not show who made it.
        work_inline(1000);
    }
}

ktest! {
    only_in(models::INERT, "it shows what a kernel without preemption does"),
    fn without_preemption_the_finder_names_the_loop_that_lacks_a_scheduling_point() {
        static GATE: Semaphore = Semaphore::new(0);
        let waker = Interrupt::request(8, || {
            let _ = GATE.give();
        })?;
        let high = task::build("high").fifo(HIGH).spawn(|| GATE.take())?;
        task::sleep_ms(1);
        let on = On::new()?;
        waker.raise();
        planted_loop_without_a_scheduling_point(5 * tick_ns());
        preempt::cond_resched();
        let stats = on.finish()?;
        high.join();
        let worst = stats.finder.worst;
        let places: Vec<String> = worst.trace.iter().map(|&pc| format!("{}", Symbol(pc))).collect();
        check!(
            places.iter().any(|place| place.contains("planted_loop_without_a_scheduling_point")),
            "the trace is {places:?}"
        );
        check_eq!(worst.who.id, current_ref().id(), "who ran on");
        if is_exact() {
            // The loop looks at the clock, and the hooks' time, which does not count here, passes there.
            let waited = 5 * tick_ns() * 98 / 100..5 * tick_ns() + 20_000;
            check!(waited.contains(&worst.cycles), "it waited {} cycles; expected {waited:?}", worst.cycles);
            // At the first tick at which the age had doubled it was taken anew.
            let after = worst.trace_cycles;
            check!(after * 2 + tick_ns() >= worst.cycles, "taken {after} cycles after the request");
        }
    }
}

/// Keeps what is written.
struct Page(String);

impl fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        Ok(())
    }
}

ktest! {
    fn the_report_names_the_places_and_ends_in_result_lines() {
        let _on = On::new()?;
        planted_masked(10_000);
        planted_preempt_off(9_000);
        preempt_stats::off().map_err(failure)?;
        let mut page = Page(String::new());
        report::top(&mut page).map_err(|_| Failure::new(format_args!("the report cannot be written")))?;
        for wanted in [
            "planted_masked",
            "planted_preempt_off",
            "irqs",
            "preempt",
            "result preempt_stats.section ",
            "result preempt_stats.irqsoff ",
            "result preempt_stats.preemptoff ",
            "result preempt_stats.request ",
        ] {
            check!(page.0.contains(wanted), "`{wanted}` is not in the report:\n{}", page.0);
        }
        // A name of a function may have blanks; the line for programs has none within a word.
        let mut worst = page.0.lines().filter(|line| line.starts_with("result preempt_stats.worst ")).peekable();
        let first = worst.peek().copied().unwrap_or_default();
        check!(first.contains(" rank=1 ") && first.contains("planted_masked"), "the worst section is told as `{first}`");
        for line in worst {
            let whole = line.split(' ').skip(4).all(|word| word.split('=').count() == 2);
            check!(whole, "`{line}` has a word that is not key=value");
        }
        check_eq!(Order::parse(&["top"]).ok(), Some(Order::Top));
    }
}
