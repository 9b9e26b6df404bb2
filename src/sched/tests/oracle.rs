//! Random sequences against oracles that are too simple to be wrong.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// A task of the real-time oracle: `None` priority means asleep.
struct Model {
    queues: Vec<VecDeque<usize>>,
    prio: Vec<usize>,
    is_rr: Vec<bool>,
    slice: Vec<u32>,
    running: Option<usize>,
}

impl Model {
    fn is_queued(&self, i: usize) -> bool {
        self.queues[self.prio[i]].contains(&i)
    }

    fn remove(&mut self, i: usize) {
        self.queues[self.prio[i]].retain(|&k| k != i);
    }

    fn best(&self) -> Option<usize> {
        self.queues.iter().find_map(|q| q.front().copied())
    }

    fn order(&self) -> Vec<usize> {
        self.queues.iter().flatten().copied().collect()
    }

    /// The first priority in use, counted like kernel priorities.
    fn best_prio(&self) -> usize {
        self.queues.iter().position(|q| !q.is_empty()).unwrap_or(128)
    }
}

const TASKS: usize = 10;
/// User priorities; few, so that they collide, and at both ends of each word.
const LEVELS: [u32; 6] = [1, 35, 36, 50, 98, 99];

#[derive(Clone, Debug)]
enum Op {
    Wake(usize),
    Sleep,
    Schedule,
    Yield,
    Tick,
    Set(usize, usize, bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..TASKS).prop_map(Op::Wake),
        2 => Just(Op::Sleep),
        4 => Just(Op::Schedule),
        1 => Just(Op::Yield),
        3 => Just(Op::Tick),
        3 => (0..TASKS, 0..LEVELS.len(), any::<bool>()).prop_map(|(i, l, rr)| Op::Set(i, l, rr)),
    ]
}

fn attr(level: usize, is_rr: bool) -> SchedAttr {
    let policy = if is_rr { Policy::Rr } else { Policy::Fifo };
    SchedAttr::new(policy, LEVELS[level], 0).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn real_time_queues_match_a_list_of_deques(ops in prop::collection::vec(op(), 1..300)) {
        let mut cpu = Cpu::new();
        let idle = cpu.rq.idle();
        cpu.rq.init(idle, 30, 1); // three ticks to a slice
        let tasks: Vec<SchedRef> = (0..TASKS).map(|i| {
            let p = cpu.task(attr(i % LEVELS.len(), i % 2 == 0));
            let _ = cpu.rq.task_fork(p);
            p
        }).collect();
        let mut m = Model {
            queues: (0..100).map(|_| VecDeque::new()).collect(),
            prio: tasks.iter().map(|p| p.prio() as usize).collect(),
            is_rr: (0..TASKS).map(|i| i % 2 == 0).collect(),
            slice: std::vec![3; TASKS],
            running: None,
        };
        for op in ops {
            match op {
                Op::Wake(i) if !m.is_queued(i) => {
                    let expected = m.running.is_none_or(|r| m.prio[i] < m.prio[r]);
                    prop_assert_eq!(cpu.wake(tasks[i]).is_yes(), expected);
                    let prio = m.prio[i];
                    m.queues[prio].push_back(i);
                }
                Op::Sleep if m.running.is_some() => {
                    m.remove(m.running.unwrap());
                    cpu.sleep();
                    m.running = m.best();
                }
                Op::Schedule => {
                    cpu.schedule();
                    m.running = m.best();
                }
                Op::Yield => {
                    cpu.rq.yield_task();
                    if let Some(r) = m.running {
                        m.remove(r);
                        let prio = m.prio[r];
                        m.queues[prio].push_back(r);
                    }
                }
                Op::Tick => {
                    let mut expected = false;
                    if let Some(r) = m.running.filter(|&r| m.is_rr[r]) {
                        m.slice[r] -= 1;
                        if m.slice[r] == 0 {
                            m.slice[r] = 3;
                            let prio = m.prio[r];
                            if m.queues[prio].len() > 1 {
                                expected = true;
                                m.remove(r);
                                m.queues[prio].push_back(r);
                            }
                        }
                    }
                    prop_assert_eq!(cpu.rq.task_tick().is_yes(), expected);
                }
                Op::Set(i, level, is_rr) => {
                    let (old, new) = (m.prio[i], 99 - LEVELS[level] as usize);
                    let was_queued = m.is_queued(i);
                    let answer = cpu.set_scheduler(tasks[i], attr(level, is_rr)).is_yes();
                    if new != old {
                        m.remove(i);
                        m.prio[i] = new;
                        if was_queued && new < old {
                            m.queues[new].push_back(i);
                        } else if was_queued {
                            m.queues[new].push_front(i);
                        }
                    }
                    let is_change = new != old || m.is_rr[i] != is_rr;
                    m.is_rr[i] = is_rr;
                    let expected = was_queued && is_change && match m.running {
                        Some(r) if r == i => m.best_prio() < new,
                        Some(r) => new < m.prio[r],
                        None => true,
                    };
                    prop_assert_eq!(answer, expected);
                }
                _ => {}
            }
            let order: Vec<SchedRef> = m.order().into_iter().map(|i| tasks[i]).collect();
            prop_assert_eq!(cpu.rt_order(), order);
            prop_assert_eq!(cpu.rq.rt().highest_prio() as usize, m.best_prio());
            prop_assert_eq!(cpu.rq.curr(), m.running.map_or(idle, |r| tasks[r]));
            for (i, p) in tasks.iter().enumerate() {
                prop_assert_eq!(p.time_slice(), m.slice[i]);
                prop_assert_eq!(p.is_queued(), m.is_queued(i));
            }
            prop_assert!(cpu.rq.rt().is_consistent());
        }
    }

    #[test]
    fn fair_invariants_hold_under_any_sequence(
        ops in prop::collection::vec((0u8..8, 0usize..8, -20i32..20, 0u64..20_000_000), 1..300),
    ) {
        let mut cpu = Cpu::new();
        let tasks: Vec<SchedRef> = (0..8).map(|i| cpu.normal([0, 0, -5, 5, 19, -20, 0, 10][i])).collect();
        cpu.schedule();
        let mut min = cpu.rq.cfs.min_vruntime;
        for (op, i, nice, ns) in ops {
            let p = tasks[i];
            let v_before = p.se.vruntime.get();
            match op {
                0 | 1 => {
                    cpu.pass(ns);
                    if cpu.rq.task_tick().is_yes() { cpu.schedule(); }
                }
                2 if !p.is_queued() => {
                    cpu.pass(ns);
                    let answer = cpu.wake(p);
                    let bound = cpu.rq.cfs.min_vruntime.wrapping_sub(3_000_000);
                    prop_assert!(p.se.vruntime.get().wrapping_sub(bound) as i64 >= 0, "woken too far behind");
                    prop_assert!(p.se.vruntime.get().wrapping_sub(v_before) as i64 >= 0, "moved back");
                    if answer.is_yes() { cpu.schedule(); }
                }
                3 if cpu.rq.curr() != cpu.rq.idle() => { cpu.pass(ns); cpu.sleep(); }
                4 => { cpu.pass(ns / 100); cpu.rq.yield_task(); cpu.schedule(); }
                5 => {
                    let answer = cpu.rq.set_nice(p, nice).unwrap();
                    if answer.is_yes() { cpu.schedule(); }
                }
                6 => {
                    let policy = [Policy::Normal, Policy::Batch, Policy::Idle][(nice + 20) as usize % 3];
                    let attr = SchedAttr::new(policy, 0, nice).unwrap();
                    if cpu.set_scheduler(p, attr).is_yes() { cpu.schedule(); }
                }
                7 => { cpu.pass(ns); cpu.schedule(); }
                _ => {}
            }
            cpu.check();
            prop_assert!(cpu.rq.cfs.min_vruntime.wrapping_sub(min) as i64 >= 0, "min_vruntime went back");
            min = cpu.rq.cfs.min_vruntime;
            let queued = tasks.iter().filter(|p| p.is_queued()).count();
            prop_assert_eq!(queued, cpu.rq.nr_running());
            prop_assert_eq!(cpu.rq.curr() == cpu.rq.idle(), cpu.rq.cfs().curr().is_none());
        }
    }
}
