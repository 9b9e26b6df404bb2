//! Tracing: whole records, in order and complete, with the tasks, times and contexts that were.

use crate::framework::clock::TickOff;
use crate::framework::cpus::{self, here};
use crate::framework::{Failure, Outcome};
use crate::tests::HIGH;
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use arch::patch::{Key, count_sites};
use core::sync::atomic::{AtomicBool, Ordering};
use stint::locking::{Mutex, Semaphore};
use stint::preempt::preempt_disable;
use stint::task;
use stint::time::Timer;
use stint::trace::control;
use stint::trace::event::{Event, KindSet, Left};
use stint::trace::{self, Entry, ring};

/// A time that does not come.
const FAR_NS: u64 = u64::MAX / 2;

/// Tracing of some events, from empty rings, for as long as it lives; then what was before.
pub(super) struct Traced(KindSet);

impl Traced {
    pub(super) fn of(kinds: KindSet) -> Result<Self, Failure> {
        let before = control::chosen();
        control::on(kinds).map_err(|error| Failure::new(format_args!("{error}")))?;
        control::clear();
        Ok(Self(before))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if let Err(error) = control::on(self.0) {
            panic!("tracing cannot be set back: {error}");
        }
    }
}

/// The events of this CPU so far.
fn events_here() -> Vec<Entry> {
    let mut events = Vec::with_capacity(ring::capacity());
    let _pause = control::pause();
    trace::for_each_last_of(here(), usize::MAX, |entry| events.push(*entry));
    events
}

/// Some sleeps of three tasks of different importance.
fn some_switches() -> Outcome {
    let sleepers = [1, 2, 3].map(|n| {
        task::build("sleeper").fifo(10 + n).spawn(move || {
            for _ in 0..40 {
                task::sleep_ns(20_000 + 7_000 * n as u64);
            }
        })
    });
    for sleeper in sleepers {
        sleeper?.join();
    }
    Ok(())
}

ktest! {
    fn every_switch_leaves_the_task_that_the_one_before_went_to() {
        let _traced = Traced::of(KindSet::DEFAULT)?;
        some_switches()?;
        let events = events_here();
        check!(events.windows(2).all(|pair| pair[0].ticks <= pair[1].ticks), "the times go back");
        let (mut running, mut switches) = (None, 0);
        for entry in &events {
            let by = entry.stamp.task;
            check!(running.is_none_or(|running| running == by), "{:?} is of task {by}, but {running:?} ran", entry.event);
            if let Event::SchedSwitch { prev, next, .. } = entry.event {
                check_eq!(prev, by, "who is left, and who ran");
                check!(prev != next || prev == 0, "a switch of task {prev} to itself");
                check!(entry.stamp.irqs_off() && entry.stamp.depth == 2, "a switch with {}", entry.stamp);
                running = Some(next);
                switches += 1;
            }
        }
        check_eq!(running, Some(task::current_ref().id()), "the task that runs after the last switch");
        check!(switches > 10, "only {switches} switches");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_wake_up_and_its_switches_are_traced_in_order() {
        static GATE: Semaphore = Semaphore::new(0);
        let _traced = Traced::of(KindSet::named("sched").expect("a group"))?;
        let _tick = TickOff::new();
        let high = task::build("high").fifo(HIGH).spawn(|| {
            GATE.take();
            GATE.take();
        })?;
        let me = task::current_ref();
        let (me, my_prio, id) = (me.id(), me.info().prio, high.task().id());
        control::clear();
        GATE.give()?;
        let events = events_here();
        GATE.give()?;
        high.join();
        let found: Vec<Event> = events.iter().map(|entry| entry.event).collect();
        let (prio, cpu) = (99 - HIGH, here() as u32);
        let expected = [
            Event::SchedWaking { task: id, prio, cpu },
            Event::SchedWakeup { task: id, prio, cpu },
            Event::SchedSwitch { prev: me, prev_prio: my_prio, left: Left::Preempted, next: id, next_prio: prio },
            Event::SchedSwitch { prev: id, prev_prio: prio, left: Left::Idle, next: me, next_prio: my_prio },
        ];
        check_eq!(&found[..], &expected[..], "the events of a give");
    }
}

ktest! {
    fn who_yields_is_left_ready_and_not_preempted() {
        static STARTED: Semaphore = Semaphore::new(0);
        let _traced = Traced::of(KindSet::named("sched").expect("a group"))?;
        let equals = [(); 2].map(|()| {
            task::build("equal").fifo(HIGH).spawn(|| {
                STARTED.take();
                (0..3).for_each(|_| task::yield_now());
            })
        });
        // Both are ready before one of them runs.
        let guard = preempt_disable();
        for _ in &equals {
            STARTED.give()?;
        }
        drop(guard);
        let mut ids = Vec::new();
        for equal in equals {
            let equal = equal?;
            ids.push(equal.task().id());
            equal.join();
        }
        let between = |event: &Event| match *event {
            Event::SchedSwitch { prev, left, next, .. } if ids.contains(&prev) && ids.contains(&next) => Some(left),
            _ => None,
        };
        let left: Vec<Left> = events_here().iter().filter_map(|entry| between(&entry.event)).collect();
        check!(left.iter().filter(|&&left| left == Left::Ready).count() >= 3, "they let each other go first: {left:?}");
        check!(!left.contains(&Left::Preempted), "nobody is preempted by an equal: {left:?}");
    }
}

ktest! {
    fn who_is_switched_to_was_woken_or_left_ready_before() {
        let _traced = Traced::of(KindSet::named("sched").expect("a group"))?;
        some_switches()?;
        // All CPUs by time: a task may be woken on one and run on another. Of a task that is not in the trace yet, its first
        // event tells how it stands.
        let mut events = Vec::with_capacity(ring::capacity() * stint::smp::seen().count());
        {
            let _pause = control::pause();
            trace::for_each_last(usize::MAX, |_, entry| {
                if events.len() < events.capacity() {
                    events.push(*entry);
                }
            });
        }
        let mut asleep: Vec<u32> = Vec::new();
        let mut checked = 0;
        for entry in &events {
            match entry.event {
                Event::SchedWakeup { task, .. } | Event::SchedWakeupNew { task, .. } => asleep.retain(|&id| id != task),
                Event::SchedSwitch { prev, left, next, .. } => {
                    check!(!asleep.contains(&next), "task {next} runs, and nobody has woken it");
                    checked += 1;
                    if prev != 0 && !matches!(left, Left::Preempted | Left::Ready) {
                        asleep.push(prev);
                    }
                }
                _ => {}
            }
        }
        check!(checked > 100, "only {checked} switches");
    }
}

ktest! {
    fn a_new_task_and_its_end_are_traced_and_its_name_is_remembered() {
        let _traced = Traced::of(KindSet::named("sched").expect("a group"))?;
        let short = task::build("short lived=1").fifo(HIGH).spawn(|| {})?;
        let (me, id) = (task::current_ref().id(), short.task().id());
        short.join();
        let events = events_here();
        let position = |wanted: &dyn Fn(&Entry) -> bool| events.iter().position(wanted);
        let fork = position(&|entry| entry.event == Event::SchedProcessFork { child: id } && entry.stamp.task == me);
        let new = position(&|entry| matches!(entry.event, Event::SchedWakeupNew { task, .. } if task == id));
        let exit = position(&|entry| matches!(entry.event, Event::SchedProcessExit { .. }) && entry.stamp.task == id);
        let last = position(
            &|entry| matches!(entry.event, Event::SchedSwitch { prev, left: Left::Dead, .. } if prev == id),
        );
        check!(fork.is_some() && fork < new && new < exit && exit < last, "{fork:?} {new:?} {exit:?} {last:?}");
        // Its memory may be anybody's by now.
        let name = trace::names::Names::none().get(id);
        check_eq!(name.as_ref().map(task::Name::as_str), Some("short lived=1"), "the name of a task that has ended");
    }
}

ktest! {
    fn a_ring_that_is_full_keeps_its_newest_events_and_counts_all() {
        let _traced = Traced::of(KindSet::named("lock").expect("a group").or(KindSet::named("timer").expect("a group")))?;
        let (before, capacity) = (ring::written_here(), ring::capacity());
        let timer = Timer::new(|| {});
        for n in 0..capacity + 100 {
            timer.start_at(FAR_NS - n as u64);
        }
        let written = ring::written_here() - before;
        let events = events_here();
        timer.cancel();
        check!(written >= capacity + 100, "{written} events of {} were counted", capacity + 100);
        check_eq!(events.len(), capacity, "events in a ring that is full");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_boost_and_a_wait_for_a_mutex_are_traced() {
        static LOCK: Mutex<()> = Mutex::new(());
        let _traced = Traced::of(KindSet::DEFAULT)?;
        let me = task::current_ref();
        let my_prio = me.info().prio;
        let held = LOCK.lock();
        let high = task::build("high").fifo(HIGH).spawn(|| drop(LOCK.lock()))?;
        let id = high.task().id();
        drop(held);
        high.join();
        let events = events_here();
        let of = |task| events.iter().filter(move |entry| entry.stamp.task == task).map(|entry| entry.event);
        let waits: Vec<Event> = of(id)
            .filter(|event| matches!(event, Event::ContentionBegin { .. } | Event::ContentionEnd { .. }))
            .collect();
        check!(
            matches!(waits[..], [Event::ContentionBegin { lock, .. }, Event::ContentionEnd { lock: same, ret: 0 }] if lock == same),
            "the wait: {waits:?}"
        );
        let boosts: Vec<(i32, i32)> = events
            .iter()
            .filter_map(|entry| match entry.event {
                Event::SchedPiSetprio { task, old_prio, new_prio } if task == me.id() => Some((old_prio, new_prio)),
                _ => None,
            })
            .collect();
        check_eq!(&boosts[..], &[(my_prio, 99 - HIGH), (99 - HIGH, my_prio)][..], "the priorities of the owner");
    }
}

ktest! {
    fn tracing_that_is_off_has_no_hook_in_place_and_records_nothing() {
        if !control::chosen().is_empty() {
            return Err(Failure::Ignored("the run is traced"));
        }
        drop(Traced::of(KindSet::ALL)?);
        let stats_on = stint::preempt_stats::budget_us().is_some();
        for key in [Key::Trace, Key::IrqStats, Key::PreemptStats] {
            let (all, original) = count_sites(key);
            check!(all > 0, "{key:?} has no site");
            if key != Key::PreemptStats || !stats_on {
                check_eq!(original, all, "original instructions of the sites");
            }
        }
        let before = ring::written_here();
        some_switches()?;
        check_eq!(ring::written_here(), before, "records while it is off");
    }
}

ktest! {
    needs_cpus(2),
    fn a_reader_on_another_cpu_has_whole_records_while_they_are_overwritten() {
        static STOP: AtomicBool = AtomicBool::new(false);
        static FULL: Semaphore = Semaphore::new(0);
        STOP.store(false, Ordering::Relaxed);
        let _traced = Traced::of(KindSet::named("hrtimer_start").expect("an event"))?;
        let there = cpus::others().next().expect("two CPUs");
        // Each start is due one nanosecond before the last: a record of another time, or half of one, does not fit in.
        let writer = cpus::on(there, task::build("writer").fifo(10)).spawn(|| {
            let timer = Timer::new(|| {});
            let mut due = FAR_NS;
            while !STOP.load(Ordering::Relaxed) {
                due -= 1;
                timer.start_at(due);
                if FAR_NS - due == ring::capacity() as u64 {
                    let _ = FULL.give();
                }
            }
            timer.cancel();
            FAR_NS - due
        })?;
        FULL.take();
        let (mut seen, mut rounds) = (0, 0);
        let mut result = Ok(());
        while result.is_ok() && rounds < 50 {
            rounds += 1;
            let mut before: Option<(u64, u64)> = None;
            trace::for_each_last_of(there, usize::MAX, |entry| {
                if let Event::HrtimerStart { expires_ns, soft: true, .. } = entry.event
                    && (FAR_NS / 2..FAR_NS).contains(&expires_ns)
                {
                    let follows = before.is_none_or(|(due, ticks)| expires_ns < due && ticks <= entry.ticks);
                    if !follows && result.is_ok() {
                        result = Err(Failure::new(format_args!("{entry:?} behind {before:?}")));
                    }
                    before = Some((expires_ns, entry.ticks));
                    seen += 1;
                }
            });
        }
        STOP.store(true, Ordering::Relaxed);
        let written = writer.join();
        result?;
        check!(seen > 1000, "{seen} records were read of {written:?}");
    }
}
