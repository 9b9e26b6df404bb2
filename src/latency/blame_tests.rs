//! That the parts add up, whatever the events are, and that each cause is recognised.

use super::*;
use crate::trace::event::Left;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec as List;

const US: u32 = 7;
const SITE: Section = Section { caller: 0x1000, parent: 0x2000 };
const OTHER_SITE: Section = Section { caller: 0x3000, parent: 0 };
const FREE: Costs = costs(0, 0, 0, 0);

const fn costs(plain_before: u64, plain_behind: u64, section_before: u64, section_behind: u64) -> Costs {
    Costs {
        plain: Cost { before_ns: plain_before, behind_ns: plain_behind },
        around: Cost { before_ns: plain_before, behind_ns: plain_behind },
        section: Cost { before_ns: section_before, behind_ns: section_behind },
        silent_ns: 2,
    }
}

/// `(ns, task, in_hardirq, event)`.
type Row = (u64, u32, bool, Event);

fn seen(row: &Row) -> Seen {
    Seen { ns: row.0, task: row.1, in_hardirq: row.2, silent_hooks: 0, event: row.3 }
}

fn explained(due_ns: u64, seen_ns: u64, costs: Costs, rows: &[Row]) -> List<(Part, u64)> {
    let interval = Interval { task: US, due_ns, seen_ns };
    let parts = explain(interval, (0, 0), costs, |_, see| rows.iter().for_each(|row| see(&seen(row))));
    assert_eq!(parts.iter().map(|(_, ns)| ns).sum::<u64>(), seen_ns - due_ns);
    parts.into_iter().collect()
}

fn switch(prev: u32, next: u32) -> Event {
    switch_to(prev, next, 9)
}

fn switch_to(prev: u32, next: u32, next_prio: i32) -> Event {
    Event::SchedSwitch { prev, prev_prio: 120, left: Left::Preempted, next, next_prio }
}

fn waking() -> Event {
    Event::SchedWaking { task: US, prio: 9, cpu: 0 }
}

fn woken() -> Event {
    Event::SchedWakeup { task: US, prio: 9, cpu: 0 }
}

const TIMER: u64 = 0x5000;

/// Task 3 has interrupts masked over the due time; then the usual way, with a softirq and another interrupt in it.
fn usual() -> List<Row> {
    vec![
        (80, 3, false, Event::IrqDisable(SITE)),
        // Due at 100.
        (150, 3, false, Event::IrqEnable(OTHER_SITE)),
        (160, 3, true, Event::IrqDisable(OTHER_SITE)),
        (161, 3, true, Event::PreemptDisable(OTHER_SITE)),
        (180, 3, true, Event::IrqHandlerEntry { irq: 27 }),
        (190, 3, true, Event::HrtimerExpireEntry { timer: 1, function: TIMER, now_ns: 190 }),
        (200, 3, true, waking()),
        (220, 3, true, woken()),
        (225, 3, true, Event::HrtimerExpireExit { timer: 1 }),
        (240, 3, true, Event::IrqHandlerExit { irq: 27, handled: true }),
        (250, 3, false, Event::SoftirqEntry { vector: 8 }),
        (300, 3, false, Event::SoftirqExit { vector: 8 }),
        (340, 3, false, switch(3, US)),
        (350, US, false, Event::IrqEnable(SITE)),
    ]
}

#[test]
fn each_piece_of_an_ordinary_wake_up_has_its_part() {
    assert_eq!(
        explained(100, 360, FREE, &usual()),
        [
            (Part::Masked { task: 3, at: SITE }, 50),
            (Part::Entry, 30),
            (Part::Handler { irq: 27 }, 25),
            (Part::Wake, 35),
            (Part::Switch, 50),
            (Part::Softirq { vector: 8 }, 50),
            (Part::Return, 20),
        ]
    );
}

#[test]
fn the_events_own_time_is_a_part_that_the_others_do_not_have() {
    let parts = explained(100, 360, costs(1, 3, 4, 6), &usual());
    // The first takes 4 of the 50 before it; two take 10 of the 10 between them; two that are 1 apart, no more than that.
    let plain = 9 * (1 + 3);
    assert_eq!(parts[0], (Part::Tracing, 4 + 10 + 1 + 6 + plain + 4 + 6));
    assert_eq!(parts[1], (Part::Masked { task: 3, at: SITE }, 46));
}

#[test]
fn hooks_that_make_no_event_are_tracing_too() {
    let interval = Interval { task: US, due_ns: 100, seen_ns: 200 };
    let parts = explain(interval, (0, 0), FREE, |_, see| {
        see(&seen(&(90, 3, false, Event::IrqDisable(SITE))));
        see(&Seen { silent_hooks: 5, ..seen(&(150, 3, false, Event::IrqEnable(SITE))) });
    });
    let parts: List<_> = parts.into_iter().collect();
    assert_eq!(parts, [(Part::Tracing, 10), (Part::Masked { task: 3, at: SITE }, 40), (Part::Entry, 50)]);
}

#[test]
fn a_task_that_ran_and_is_as_important_is_not_on_its_way_to_the_scheduler() {
    let switch =
        |next_prio| Event::SchedSwitch { prev: 1, prev_prio: 120, left: Left::Idle, next: 3, next_prio };
    for (next_prio, part) in
        [(8, Part::Other { task: 3 }), (9, Part::Other { task: 3 }), (10, Part::Behind { task: 3 })]
    {
        let rows = [(5, 1, false, switch(next_prio)), (10, 3, true, waking()), (20, 3, true, woken())];
        assert_eq!(explained(20, 30, FREE, &rows), [(part, 10)]);
    }
}

#[test]
fn a_section_that_leads_into_the_switch_is_the_switch() {
    let rows = [
        (10, 3, true, waking()),
        (20, 3, true, woken()),
        (30, 3, false, Event::PreemptEnable(SITE)),
        (40, 3, false, Event::PreemptDisable(SITE)),
        (50, 3, false, Event::IrqDisable(SITE)),
        (70, 3, false, switch(3, US)),
    ];
    assert_eq!(
        explained(20, 80, FREE, &rows),
        [(Part::Behind { task: 3 }, 20), (Part::Switch, 30), (Part::Return, 10)]
    );
}

#[test]
fn a_task_that_keeps_preemption_off_is_named_with_the_place() {
    let rows = [
        (5, 3, false, Event::PreemptDisable(SITE)),
        (10, 3, true, waking()),
        (20, 3, true, woken()),
        (25, 3, true, Event::IrqHandlerExit { irq: 27, handled: true }),
        (90, 3, false, Event::PreemptEnable(OTHER_SITE)),
        (95, 3, false, switch(3, US)),
    ];
    assert_eq!(
        explained(20, 95, FREE, &rows),
        [(Part::PreemptOff { task: 3, at: SITE }, 70), (Part::Behind { task: 3 }, 5)]
    );
}

#[test]
fn a_more_important_task_is_named() {
    let rows = [
        (10, 3, false, waking()),
        (20, 3, false, woken()),
        (30, 3, false, switch(3, 4)),
        (80, 4, false, switch(4, 5)),
        (90, 5, false, switch(5, US)),
    ];
    assert_eq!(
        explained(20, 100, FREE, &rows),
        [
            (Part::Behind { task: 3 }, 10),
            (Part::Other { task: 4 }, 50),
            (Part::Other { task: 5 }, 10),
            (Part::Return, 10)
        ]
    );
}

#[test]
fn a_lock_is_blamed_on_the_one_that_was_boosted_for_it() {
    let rows = [
        (10, US, false, switch(3, US)),
        (20, US, false, Event::ContentionBegin { lock: 0xabc, flags: 8 }),
        (30, US, false, Event::SchedPiSetprio { task: 4, old_prio: 120, new_prio: 9 }),
        (31, US, false, Event::SchedPiSetprio { task: 5, old_prio: 120, new_prio: 9 }),
        (40, US, false, switch(US, 4)),
        (80, 4, false, waking()),
        (81, 4, false, woken()),
        (90, 4, false, switch(4, US)),
        (95, US, false, Event::ContentionEnd { lock: 0xabc, ret: 0 }),
    ];
    let lock = Part::Lock { lock: 0xabc, owner: Some(4) };
    assert_eq!(
        explained(35, 100, FREE, &rows),
        [(Part::Own, 5), (lock, 49), (Part::Wake, 1), (Part::Return, 10)]
    );
}

#[test]
fn a_cpu_that_waits_for_an_interrupt_is_not_one_with_interrupts_masked() {
    let rows = [
        (10, 0, false, Event::IrqDisable(SITE)),
        (20, 0, false, Event::CpuIdle { state: 1 }),
        (110, 0, false, Event::CpuIdle { state: NOT_IDLE }),
        (115, 0, false, Event::IrqEnable(SITE)),
    ];
    assert_eq!(
        explained(100, 120, FREE, &rows),
        [(Part::Entry, 15), (Part::Masked { task: 0, at: SITE }, 5)]
    );
}

#[test]
fn what_the_ring_does_not_have_is_said_to_be_unrecorded() {
    assert_eq!(explained(100, 150, FREE, &[]), [(Part::Unrecorded, 50)]);
    let rows = [(130, 3, false, Event::IrqDisable(SITE))];
    assert_eq!(
        explained(100, 150, FREE, &rows),
        [(Part::Unrecorded, 30), (Part::Masked { task: 3, at: SITE }, 20)]
    );
}

#[test]
fn causes_that_find_no_place_are_the_rest() {
    let mut rows: List<Row> = vec![(1, 3, true, Event::IpiEntry { ipi: 0 })];
    for irq in 0..40 {
        rows.push((10 + u64::from(irq), 3, true, Event::IrqHandlerEntry { irq }));
        rows.push((11 + u64::from(irq), 3, true, Event::IrqHandlerExit { irq, handled: true }));
    }
    let parts = explained(10, 50, FREE, &rows);
    assert_eq!((parts.len(), parts[PARTS - 1]), (PARTS, (Part::Rest, 40 - 19)));
}

#[test]
fn a_task_that_is_woken_on_another_cpu_waits_for_that_one_and_then_for_its_own() {
    let timer_cpu = [
        (50, 0, true, Event::IrqHandlerEntry { irq: 27 }),
        (120, 0, true, waking()),
        (500, 0, true, Event::IrqHandlerExit { irq: 27, handled: true }),
    ];
    let cpu = [
        (90, 3, false, Event::IrqDisable(SITE)),
        (150, 3, false, Event::IrqEnable(SITE)),
        (160, 3, true, Event::IrqDisable(OTHER_SITE)),
        (165, 3, true, Event::IpiEntry { ipi: 0 }),
        (170, 3, true, woken()),
        (175, 3, true, Event::IpiExit { ipi: 0 }),
        (190, 3, true, switch(3, US)),
    ];
    let interval = Interval { task: US, due_ns: 100, seen_ns: 200 };
    let parts = explain(interval, (1, 0), FREE, |which, see| {
        let rows: &[Row] = if which == 1 { &timer_cpu } else { &cpu };
        rows.iter().for_each(|row| see(&seen(row)));
    });
    let parts: List<_> = parts.into_iter().collect();
    assert_eq!(
        parts,
        [
            (Part::Handler { irq: 27 }, 20),
            (Part::Masked { task: 3, at: SITE }, 30),
            (Part::Behind { task: 3 }, 10),
            (Part::Switch, 20),
            (Part::Ipi { ipi: 0 }, 10),
            (Part::Return, 10),
        ]
    );
}

#[test]
fn a_wake_up_that_was_left_to_another_cpu_is_over_when_the_timer_is_due_again() {
    let left_to_another = (50, 3, true, waking());
    let rows =
        [left_to_another, (60, 3, false, Event::IrqDisable(SITE)), (130, 3, false, Event::IrqEnable(SITE))];
    assert_eq!(
        explained(100, 150, FREE, &rows),
        [(Part::Masked { task: 3, at: SITE }, 30), (Part::Entry, 20)]
    );
}

/// What the CPU of the task says of its time, where it was woken at 120 by the CPU of its timer.
fn explained_there(cpu: &[Row]) -> List<(Part, u64)> {
    let timer_cpu = [(110, 0, true, Event::IrqHandlerEntry { irq: 27 }), (120, 0, true, waking())];
    let interval = Interval { task: US, due_ns: 100, seen_ns: 200 };
    let parts = explain(interval, (1, 0), FREE, |which, see| {
        let rows: &[Row] = if which == 1 { &timer_cpu } else { cpu };
        rows.iter().for_each(|row| see(&seen(row)));
    });
    parts.into_iter().filter(|(part, _)| matches!(part, Part::Behind { .. } | Part::Other { .. })).collect()
}

#[test]
fn a_task_that_ran_before_the_wake_up_on_another_cpu_was_not_chosen_over_it() {
    let to = |next, next_prio| switch_to(5, next, next_prio);
    let less = [(90, 5, true, to(3, 120)), (190, 3, true, switch(3, US))];
    assert_eq!(explained_there(&less), [(Part::Behind { task: 3 }, 70)]);
    let equal = [(90, 5, true, to(3, 9)), (190, 3, true, switch(3, US))];
    assert_eq!(explained_there(&equal), [(Part::Other { task: 3 }, 70)]);
    let chosen_over_it =
        [(90, 5, true, to(3, 120)), (130, 3, true, to(4, 120)), (190, 4, true, switch(4, US))];
    assert_eq!(
        explained_there(&chosen_over_it),
        [(Part::Behind { task: 3 }, 10), (Part::Other { task: 4 }, 60)]
    );
}

#[test]
fn what_a_cpu_says_of_earlier_turns_of_the_task_does_not_count_for_a_wake_up_on_another_cpu() {
    let woken_here = (70, 5, true, Event::SchedWakeup { task: US, prio: 130, cpu: 0 });
    for (prio, part) in [(9, Part::Other { task: 3 }), (120, Part::Behind { task: 3 })] {
        let ran_here =
            [woken_here, (80, 5, false, switch_to(5, US, 130)), (90, US, false, switch_to(US, 3, prio))];
        // It went to another CPU, where it ran.
        let waited_here = [woken_here, (90, 5, false, switch_to(5, 3, prio))];
        for turn in [ran_here.as_slice(), &waited_here] {
            assert_eq!(explained_there(turn), [(part, 80)], "{turn:?}");
            let rows = [turn, &[(190, 3, true, switch_to(3, US, 9))]].concat();
            assert_eq!(explained_there(&rows), [(part, 70)], "{rows:?}");
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let task = || 0u32..9;
    let at = prop_oneof![Just(SITE), Just(OTHER_SITE)];
    let small = || 0u32..3;
    prop_oneof![
        at.clone().prop_map(Event::IrqDisable),
        at.clone().prop_map(Event::IrqEnable),
        at.clone().prop_map(Event::PreemptDisable),
        at.prop_map(Event::PreemptEnable),
        small().prop_map(|irq| Event::IrqHandlerEntry { irq }),
        small().prop_map(|irq| Event::IrqHandlerExit { irq, handled: true }),
        small().prop_map(|vector| Event::SoftirqEntry { vector }),
        small().prop_map(|vector| Event::SoftirqExit { vector }),
        small().prop_map(|ipi| Event::IpiEntry { ipi }),
        small().prop_map(|ipi| Event::IpiExit { ipi }),
        Just(Event::HrtimerExpireEntry { timer: 1, function: TIMER, now_ns: 0 }),
        Just(Event::HrtimerExpireExit { timer: 1 }),
        (task(), task()).prop_map(|(prev, next)| switch(prev, next)),
        task().prop_map(|task| Event::SchedWaking { task, prio: 9, cpu: 0 }),
        task().prop_map(|task| Event::SchedWakeup { task, prio: 9, cpu: 0 }),
        Just(Event::ContentionBegin { lock: 1, flags: 8 }),
        Just(Event::ContentionEnd { lock: 1, ret: 0 }),
        (task(), 0i32..200).prop_map(|(task, new_prio)| Event::SchedPiSetprio {
            task,
            old_prio: 100,
            new_prio
        }),
        prop_oneof![Just(1), Just(NOT_IDLE)].prop_map(|state| Event::CpuIdle { state }),
    ]
}

fn rows() -> impl Strategy<Value = List<Row>> {
    let row = (0u64..60, 0u32..9, any::<bool>(), event());
    proptest::collection::vec(row, 0..120).prop_map(|rows| {
        let mut now = 0;
        rows.into_iter()
            .map(|(delta, task, in_hardirq, event)| {
                now += delta;
                (now, task, in_hardirq, event)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_parts_add_up_to_the_whole_whatever_the_events_are(
        first in rows(), second in rows(), due_ns in 0u64..2000, late_ns in 0u64..2000,
        plain in 0u64..50, section in 0u64..200, one_cpu in any::<bool>(), shuffled in any::<bool>(), silent_hooks: u8,
    ) {
        let mut first = first;
        if shuffled {
            // No ring is so; it must not matter.
            first.sort_by_key(|row| row.0 % 17);
        }
        let interval = Interval { task: US, due_ns, seen_ns: due_ns + late_ns };
        let cpus = if one_cpu { (0, 0) } else { (1, 0) };
        let parts = explain(interval, cpus, costs(plain, section, section, plain), |cpu, see| {
            let rows = if cpu == 0 { &first } else { &second };
            rows.iter().for_each(|row| see(&Seen { silent_hooks, ..seen(row) }));
        });
        prop_assert_eq!(parts.iter().map(|(_, ns)| ns).sum::<u64>(), late_ns);
        prop_assert!(parts.iter().all(|(_, ns)| *ns > 0));
        for (at, (part, _)) in parts.iter().enumerate() {
            prop_assert!(parts[..at].iter().all(|(other, _)| other != part), "{part:?} is there twice");
        }
    }

    #[test]
    fn what_happens_outside_of_the_interval_has_no_part(rows in rows(), late_ns in 1u64..100) {
        // All before: the state that they leave lasts for the whole interval.
        let due_ns = rows.last().map_or(0, |row| row.0) + 1;
        let parts = explained(due_ns, due_ns + late_ns, costs(9, 9, 9, 9), &rows);
        prop_assert_eq!(parts.len(), 1);
        prop_assert_eq!(parts[0].1, late_ns);
    }
}
