//! The trace ring: whole, in order, and complete. Needs `trace=1`.

use crate::framework::clock::TickOff;
use crate::framework::cpus::here;
use crate::framework::{Failure, Outcome};
use crate::tests::HIGH;
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use arch::patch::{Key, is_enabled};
use stint::locking::Semaphore;
use stint::task;
use stint::trace::{self, Entry, Event, RING_EVENTS};

fn need_trace() -> Outcome {
    if is_enabled(Key::Trace) {
        Ok(())
    } else {
        Err(Failure::Ignored("the trace hooks are off; boot with trace=1"))
    }
}

/// The last events of this CPU, taken where nobody writes there.
fn last_events() -> Vec<Entry> {
    let mut events = Vec::with_capacity(RING_EVENTS);
    let flags = arch::irqflags::local_irq_save();
    trace::for_each_last(RING_EVENTS * stint::MAX_CPUS, |cpu, entry| {
        if cpu == here() {
            events.push(*entry);
        }
    });
    arch::irqflags::local_irq_restore(flags);
    events
}

ktest! {
    fn every_switch_leaves_the_task_that_the_one_before_went_to() {
        need_trace()?;
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
        let events = last_events();
        check_eq!(events.len(), RING_EVENTS, "events in a ring that is full");
        check!(events.windows(2).all(|pair| pair[0].ticks <= pair[1].ticks), "the times go back");
        let mut running = None;
        for entry in &events {
            if let Event::Switch { prev, next, .. } = entry.event {
                check!(running.is_none_or(|running| running == prev), "task {prev} was left, but {running:?} ran");
                check!(prev != next, "a switch of task {prev} to itself");
                running = Some(next);
            }
        }
        check_eq!(running, Some(task::current_ref().id()), "the task that runs after the last switch");
    }
}

ktest! {
    fn a_wake_up_and_its_switches_are_traced_in_order() {
        need_trace()?;
        static GATE: Semaphore = Semaphore::new(0);
        let _tick = TickOff::new();
        let high = task::build("high").fifo(HIGH).spawn(|| {
            GATE.take();
            GATE.take();
        })?;
        let (me, id) = (task::current_ref().id(), high.task().id());
        GATE.give()?;
        let events = last_events();
        GATE.give()?;
        high.join();
        let mut last = events.iter().rev().map(|entry| entry.event);
        let found = [last.next(), last.next(), last.next()];
        let expected = [
            Event::Switch { prev: id, next: me, preempt: false },
            Event::Switch { prev: me, next: id, preempt: true },
            Event::Wakeup { task: id, prio: 99 - HIGH },
        ];
        check_eq!(found, expected.map(Some), "the last three events, newest first");
    }
}
