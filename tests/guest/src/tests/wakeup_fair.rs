//! P4, within the fair class: the wake-up granularity.
//!
//! A sleeper that wakes preempts if it is behind the running task, in virtual time, by more than the granularity of
//! *its* weight: 1 ms at nice 0, 328 µs at nice −5, 3.057 ms at nice 5, and on several CPUs more
//! (`fair_scale`). The tests make the runner use the CPU until
//! its lead over the sleeper is a little less, or a little more, and then wake it.

use crate::framework::Failure;
use crate::framework::clock::{TickOff, fair_scale, is_exact, spin_ns};
use crate::framework::events::Events;
use crate::{check, check_eq, ktest};
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};
use stint::locking::Semaphore;
use stint::sched::core::with_rq;
use stint::sched::prio::{Policy, SchedAttr};
use stint::{preempt, task};

/// Distance from the granularity at which the two outcomes are tested: far above the time that the steps of the
/// test take themselves.
const MARGIN_NS: u64 = 150_000;

/// Granularities: 1 ms of the wakee's own time, in virtual time.
const GRANULARITY_NICE_0_NS: u64 = 1_000_000;
const GRANULARITY_NICE_MINUS_5_NS: u64 = 328_000;
const GRANULARITY_NICE_5_NS: u64 = 3_057_000;

/// The running fair task's virtual time, as of when its turn began or it was last charged.
fn my_vruntime() -> u64 {
    with_rq(|rq| rq.cfs().curr().map_or(0, |curr| curr.se().vruntime()))
}

/// A case: who sleeps, who runs and wakes it, how far the runner is ahead then.
struct Case {
    sleeper: SchedAttr,
    runner: SchedAttr,
    /// In virtual time, where there is one CPU; `None`: the runner wakes the sleeper at once, when it is still 3 ms behind it.
    lead_ns: Option<u64>,
    /// Another task waits in the queue all the time, 3 ms ahead of the sleeper: the sleeper is then placed by
    /// what that one has had, and not by what the runner has had.
    bystander: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self { sleeper: SchedAttr::NORMAL, runner: SchedAttr::NORMAL, lead_ns: None, bystander: false }
    }
}

/// Plays a case: "raWg" if the wake-up asked for a switch and the sleeper preempted the runner, "rgW" if not.
fn order(log: &'static Events, gate: &'static Semaphore, case: Case) -> Result<String, Failure> {
    static SLEEPERS: AtomicU64 = AtomicU64::new(0);
    static START: Semaphore = Semaphore::new(0);
    SLEEPERS.store(0, Ordering::Relaxed);
    let _tick = TickOff::new();
    // The runner is there first, so that the debt of a new task is behind it when it matters.
    let lead_ns = case.lead_ns;
    let runner = task::build("runner").attr(case.runner).spawn(move || {
        START.take();
        let ahead = my_vruntime().wrapping_sub(SLEEPERS.load(Ordering::Relaxed)) as i64;
        if let Some(lead_ns) = lead_ns {
            spin_ns((lead_ns as i64 * fair_scale() as i64 - ahead).max(0) as u64);
        }
        log.mark('r');
        let guard = preempt::preempt_disable();
        let _ = gate.give();
        if preempt::need_resched() {
            log.mark('a');
        }
        drop(guard);
        log.mark('g');
    })?;
    task::sleep_ms(1);
    let sleeper = task::build("sleeper").attr(case.sleeper).spawn(move || {
        // A turn of its own, for what it writes down to be fresh.
        task::sleep_ns(20_000);
        SLEEPERS.store(my_vruntime(), Ordering::Relaxed);
        gate.take();
        log.mark('W');
    })?;
    // Until it waits at the gate.
    while SLEEPERS.load(Ordering::Relaxed) == 0 || sleeper.task().info().queued {
        task::sleep_ms(1);
    }
    START.give()?;
    let bystander = if case.bystander { Some(task::build("bystander").spawn(|| {})?) } else { None };
    runner.join();
    sleeper.join();
    if let Some(bystander) = bystander {
        bystander.join();
    }
    Ok(log.text())
}

/// For the cases that must *not* preempt: a host that takes its time in the wrong place makes any lead too big.
fn need_exact_clock() -> crate::framework::Outcome {
    if is_exact() { Ok(()) } else { Err(Failure::Ignored("the clock is the host's")) }
}

fn nice(nice: i32) -> SchedAttr {
    SchedAttr::normal(nice).expect("a nice level")
}

ktest! {
    fn at_nice_0_a_lead_below_the_granularity_does_not_preempt() {
        need_exact_clock()?;
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, Case { sleeper: nice(0), lead_ns: Some(GRANULARITY_NICE_0_NS - MARGIN_NS), ..Case::default() })?, "rgW");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn at_nice_0_a_lead_above_the_granularity_preempts() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, Case { sleeper: nice(0), lead_ns: Some(GRANULARITY_NICE_0_NS + MARGIN_NS), ..Case::default() })?, "raWg");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_heavier_wakee_needs_a_smaller_lead() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, Case { sleeper: nice(-5), lead_ns: Some(GRANULARITY_NICE_MINUS_5_NS + MARGIN_NS), ..Case::default() })?, "raWg");
    }
}

ktest! {
    fn a_heavier_wakee_needs_a_lead_all_the_same() {
        need_exact_clock()?;
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, Case { sleeper: nice(-5), lead_ns: Some(GRANULARITY_NICE_MINUS_5_NS - MARGIN_NS), ..Case::default() })?, "rgW");
    }
}

ktest! {
    /// A lead with which nice 0 and nice −5 would preempt.
    fn a_lighter_wakee_needs_a_bigger_lead() {
        need_exact_clock()?;
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, Case { sleeper: nice(5), lead_ns: Some(GRANULARITY_NICE_5_NS - MARGIN_NS), bystander: true, ..Case::default() })?, "rgW");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// A sleeper gets 3 ms of credit at most, measured from the least served task: only with another one waiting can
    /// the runner be further ahead than that.
    fn a_lighter_wakee_preempts_with_a_lead_that_is_big_enough() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, Case { sleeper: nice(5), lead_ns: Some(GRANULARITY_NICE_5_NS + 4 * MARGIN_NS), bystander: true, ..Case::default() })?, "raWg");
    }
}

ktest! {
    fn a_batch_task_never_preempts_on_wake_up() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let attr = SchedAttr::new(Policy::Batch, 0, 0).expect("a policy");
        check_eq!(order(&LOG, &GATE, Case { sleeper: attr, lead_ns: Some(2_900_000), ..Case::default() })?, "rgW");
    }
}

ktest! {
    /// The other half of the next one: between two normal tasks the same positions do not preempt.
    fn a_normal_task_without_any_lead_does_not_preempt() {
        need_exact_clock()?;
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        check_eq!(order(&LOG, &GATE, Case::default())?, "rgW");
    }
}

ktest! {
    /// It asks at once. Who runs then is decided by virtual time as always: a runner that is behind goes on.
    fn a_normal_task_asks_one_of_the_idle_policy_to_make_room_without_any_lead() {
        static LOG: Events = Events::new();
        static GATE: Semaphore = Semaphore::new(0);
        let attr = SchedAttr::new(Policy::Idle, 0, 0).expect("a policy");
        let text = order(&LOG, &GATE, Case { runner: attr, ..Case::default() })?;
        check!(text.starts_with("ra"), "found {text:?}, expected it to begin with \"ra\"");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    /// Half a latency of credit for a sleep of any length: afterwards it shares like everybody.
    fn a_long_sleep_gives_no_more_than_a_bounded_credit() {
        use crate::framework::runs::Runs;
        static RUNS: Runs = Runs::new();
        static GATE: Semaphore = Semaphore::new(0);
        let sleeper = task::build("sleeper").spawn(|| {
            GATE.take();
            RUNS.hog(1);
        })?;
        let worker = task::build("worker").spawn(|| RUNS.hog(2))?;
        task::sleep_ms(50);
        GATE.give()?;
        task::sleep_ms(100);
        RUNS.stop();
        sleeper.join();
        worker.join();
        let runs = RUNS.completed();
        let used = |who| runs.iter().filter(|run| run.who == who).map(|run| run.ns).sum::<u64>();
        // The worker's time before the wake-up is its first run.
        let (sleeper, worker) = (used(1), used(2) - runs.first().map_or(0, |run| run.ns));
        let allowed = 3_000_000 * fair_scale() + 2 * crate::framework::clock::tick_ns() + 3_000_000 * fair_scale();
        check!(sleeper.saturating_sub(worker) <= allowed, "after 50 ms of sleep it had {sleeper} ns, the other {worker} ns");
        check!(sleeper >= 30_000_000, "the sleeper had only {sleeper} ns of 100 ms");
    }
}
