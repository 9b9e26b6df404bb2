//! The graph against an oracle that knows no steps: after every operation it works out from scratch who owns what,
//! who waits where and in which order, and what everybody's priority must be.

use super::graph::{self, Follow, MAX_LOCK_DEPTH};
use super::node::{At, PiEntity, PiLock, PiTask, Waiter};
use crate::plist::wait_prio;
use crate::sched::prio::MAX_RT_PRIO;
use core::cell::{Cell, RefCell};
use proptest::prelude::*;
use std::{boxed::Box, vec, vec::Vec};

/// A task that is nothing but a place in the graph.
struct Thread {
    pi: PiTask<Thread>,
    prio: Cell<i32>,
    normal_prio: Cell<i32>,
    waiter: RefCell<Option<Box<Waiter<Thread>>>>,
}

// SAFETY: the tests have one thread.
unsafe impl Sync for Thread {}

impl Thread {
    fn new(prio: i32) -> Self {
        Self {
            pi: PiTask::new(),
            prio: Cell::new(prio),
            normal_prio: Cell::new(prio),
            waiter: RefCell::new(None),
        }
    }

    fn at(&self) -> At<Self> {
        // SAFETY: boxed, and freed after the graph.
        unsafe { At::new(self) }
    }
}

impl PiEntity for Thread {
    fn pi(&self) -> &PiTask<Self> {
        &self.pi
    }
    fn prio(&self) -> i32 {
        self.prio.get()
    }
    fn normal_prio(&self) -> i32 {
        self.normal_prio.get()
    }
    fn set_prio(&self, prio: i32, donor: Option<&Self>) {
        assert!(prio != self.prio.get() || prio < 0, "a change that is none");
        let is_inherited = prio != self.normal_prio.get();
        assert!(donor.is_some() == is_inherited || prio < 0, "a priority that is inherited has a donor");
        if let Some(donor) = donor {
            assert_eq!(wait_prio(donor.prio()), prio, "the donor's priority");
        }
        self.prio.set(prio);
    }
}

/// What the lock operations of the kernel do, without a kernel.
struct World {
    threads: Box<[Thread]>,
    locks: Box<[PiLock<Thread>]>,
    longest_walk: usize,
}

#[derive(Debug, PartialEq)]
enum Taken {
    Free,
    Waits,
    Refused,
}

impl World {
    fn new(prios: &[i32], locks: usize) -> Self {
        Self {
            threads: prios.iter().map(|&prio| Thread::new(prio)).collect(),
            locks: (0..locks).map(|_| PiLock::new()).collect(),
            longest_walk: 0,
        }
    }

    fn is_blocked(&self, t: usize) -> bool {
        self.threads[t].pi.blocked_on().is_some()
    }

    fn index_of(&self, task: At<Thread>) -> usize {
        self.threads.iter().position(|thread| thread.at() == task).unwrap()
    }

    fn owner(&self, l: usize) -> Option<usize> {
        self.locks[l].owner().map(|owner| self.index_of(owner))
    }

    fn is_wanted(&self, l: usize) -> bool {
        self.locks[l].top().is_some()
    }

    /// Walks from `next`; true if it came back to `origin`, or had to give up.
    fn walk(&mut self, mut next: Option<At<Thread>>, follow: Follow, origin: Option<At<Thread>>) -> bool {
        let mut steps = 0;
        while let Some(task) = next {
            if Some(task) == origin || steps == MAX_LOCK_DEPTH {
                return true;
            }
            steps += 1;
            next = graph::adjust(&*task, follow);
        }
        self.longest_walk = self.longest_walk.max(steps);
        false
    }

    fn lock(&mut self, t: usize, l: usize) -> Taken {
        let (thread, lock) = (&self.threads[t], &self.locks[l]);
        let me = thread.at();
        let Some(owner) = lock.take_or_pin(thread) else { return Taken::Free };
        if owner == me {
            lock.settle();
            return Taken::Refused;
        }
        // SAFETY: boxes; the waiter is kept in the thread until it is off the lock.
        let waiter = Box::new(unsafe { Waiter::new(thread, lock) });
        // SAFETY: as above.
        let at = unsafe { At::new(&*waiter) };
        *thread.waiter.borrow_mut() = Some(waiter);
        graph::block(at, owner);
        if self.walk(Some(owner), Follow::Chain, Some(me)) {
            let mut ring = 0;
            assert!(graph::find_cycle(me, |_| ring += 1), "a walk that came back, and no ring");
            assert!(ring >= 2);
            self.give_up(t);
            return Taken::Refused;
        }
        assert!(!graph::find_cycle(me, |_| {}), "a ring that the walk did not see");
        Taken::Waits
    }

    fn unlock(&mut self, t: usize, l: usize) {
        let (thread, lock) = (&self.threads[t], &self.locks[l]);
        assert!(lock.is_owned_by(thread));
        match lock.top() {
            None => assert!(lock.release_unwanted(thread), "bit 0 is set and nobody waits"),
            Some(waiter) => {
                let next = waiter.task();
                graph::hand_over(lock, thread, waiter);
                assert!(lock.is_owned_by(&*next));
                next.waiter.borrow_mut().take();
            }
        }
    }

    /// A wait ends without the lock: late, cancelled, or the task is aborted.
    fn give_up(&mut self, t: usize) {
        let waiter = self.threads[t].pi.blocked_on().unwrap();
        let next = graph::remove(waiter);
        self.threads[t].waiter.borrow_mut().take();
        self.walk(next, Follow::Change, None);
    }

    fn set_normal_prio(&mut self, t: usize, prio: i32) {
        self.threads[t].normal_prio.set(prio);
        let at = self.threads[t].at();
        self.walk(Some(at), Follow::Change, None);
    }
}

/// The same world in lists, with nothing derived kept.
struct Oracle {
    normal: Vec<i32>,
    owner: Vec<Option<usize>>,
    /// By lock: who waits, with the number of the event since which they have that priority there.
    waiters: Vec<Vec<(usize, u64)>>,
    filed_prio: Vec<i32>,
    events: u64,
}

impl Oracle {
    fn new(prios: &[i32], locks: usize) -> Self {
        Self {
            normal: prios.to_vec(),
            owner: vec![None; locks],
            waiters: vec![Vec::new(); locks],
            filed_prio: prios.iter().map(|&p| wait_prio(p)).collect(),
            events: 0,
        }
    }

    /// Least fixed point: everybody's priority, from their own and those of who waits for what they own.
    fn effective(&self) -> Vec<i32> {
        let mut prio = self.normal.clone();
        loop {
            let mut changed = false;
            for (l, waiters) in self.waiters.iter().enumerate() {
                let Some(owner) = self.owner[l] else { continue };
                for &(w, _) in waiters {
                    if prio[w] < MAX_RT_PRIO && prio[w] < prio[owner] {
                        prio[owner] = prio[w];
                        changed = true;
                    }
                }
            }
            if !changed {
                return prio;
            }
        }
    }

    /// Whoever's priority as a waiter is another one than before goes behind its equals.
    fn refile(&mut self) {
        let prio = self.effective();
        self.events += 1;
        for waiters in &mut self.waiters {
            for (w, since) in waiters.iter_mut() {
                if self.filed_prio[*w] != wait_prio(prio[*w]) {
                    *since = self.events;
                }
            }
        }
        for (filed, prio) in self.filed_prio.iter_mut().zip(&prio) {
            *filed = wait_prio(*prio);
        }
        for waiters in &mut self.waiters {
            waiters.sort_by_key(|&(w, since)| (self.filed_prio[w], since));
        }
    }

    fn waits_for(&self, t: usize) -> Option<usize> {
        self.waiters.iter().position(|waiters| waiters.iter().any(|&(w, _)| w == t))
    }

    fn would_deadlock(&self, t: usize, l: usize) -> bool {
        let mut next = self.owner[l];
        while let Some(owner) = next {
            if owner == t {
                return true;
            }
            next = self.waits_for(owner).and_then(|l| self.owner[l]);
        }
        false
    }
}

fn compare(world: &World, oracle: &Oracle) -> Result<(), TestCaseError> {
    let prio = oracle.effective();
    for (t, thread) in world.threads.iter().enumerate() {
        prop_assert_eq!(thread.prio.get(), prio[t], "priority of task {}", t);
        let lock = thread.pi.blocked_on().map(|w| w.lock());
        let expected = oracle.waits_for(t).map(|l| {
            // SAFETY: boxed.
            unsafe { At::new(&world.locks[l]) }
        });
        prop_assert!(lock == expected, "task {} waits for the wrong lock", t);
        if let Some(waiter) = thread.pi.blocked_on() {
            prop_assert_eq!(waiter.prio(), wait_prio(prio[t]), "task {} is filed under a stale priority", t);
        }
        let best = (0..oracle.owner.len())
            .filter(|&l| oracle.owner[l] == Some(t))
            .flat_map(|l| oracle.waiters[l].iter().map(|&(w, _)| wait_prio(prio[w])))
            .min();
        prop_assert_eq!(thread.pi.top_donation().map(|w| w.prio()), best, "top donation of task {}", t);
    }
    for (l, lock) in world.locks.iter().enumerate() {
        prop_assert_eq!(world.owner(l), oracle.owner[l], "owner of lock {}", l);
        let top = lock.top().map(|w| world.index_of(w.task()));
        prop_assert_eq!(top, oracle.waiters[l].first().map(|&(w, _)| w), "top waiter of lock {}", l);
    }
    Ok(())
}

const TASKS: usize = 10;
const LOCKS: usize = 7;

fn prios() -> impl Strategy<Value = i32> {
    // Deadline and real-time ones that tie often, and fair ones.
    prop_oneof![3 => -1i32..6, 1 => 95i32..104, 1 => 100i32..140]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 512 }, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_gives_every_task_the_priority_of_the_oracle(
        start in prop::collection::vec(prios(), TASKS),
        ops in prop::collection::vec((0u8..8, 0..TASKS, 0..LOCKS, prios()), 1..250),
    ) {
        let mut world = World::new(&start, LOCKS);
        let mut oracle = Oracle::new(&start, LOCKS);
        for (op, t, l, prio) in ops {
            match op {
                // Lock; twice as often, so that chains and trees grow.
                0..=3 if !world.is_blocked(t) => {
                    let taken = world.lock(t, l);
                    oracle.events += 1;
                    let expected = match oracle.owner[l] {
                        None => { oracle.owner[l] = Some(t); Taken::Free }
                        Some(_) if oracle.would_deadlock(t, l) => Taken::Refused,
                        Some(_) => {
                            oracle.waiters[l].push((t, oracle.events));
                            Taken::Waits
                        }
                    };
                    prop_assert_eq!(&taken, &expected);
                    if taken == Taken::Refused && world.owner(l) != Some(t) {
                        // The refused one was filed for a moment and has raised others for that time: who is back at
                        // its priority is behind its equals. The oracle learns the order.
                        adopt_order(&world, &mut oracle);
                    }
                }
                // Release one that it holds, of a task that is not blocked, in any order.
                4 | 5 if !world.is_blocked(t) && oracle.owner[l] == Some(t) => {
                    world.unlock(t, l);
                    oracle.owner[l] = if oracle.waiters[l].is_empty() {
                        None
                    } else {
                        Some(oracle.waiters[l].remove(0).0)
                    };
                }
                // Time-out, cancel, abort: the same to the graph.
                6 if world.is_blocked(t) => {
                    world.give_up(t);
                    for waiters in &mut oracle.waiters {
                        waiters.retain(|&(w, _)| w != t);
                    }
                }
                7 => {
                    world.set_normal_prio(t, prio);
                    oracle.normal[t] = prio;
                }
                _ => {}
            }
            oracle.refile();
            compare(&world, &oracle)?;
        }
        // Everybody gives back what they have, in some order, and nothing is left.
        for _ in 0..TASKS * LOCKS {
            let Some(l) = (0..LOCKS).find(|&l| world.owner(l).is_some_and(|t| !world.is_blocked(t))) else { break };
            let t = world.owner(l).unwrap();
            world.unlock(t, l);
        }
        for (t, thread) in world.threads.iter().enumerate() {
            prop_assert!(!world.is_blocked(t), "task {} waits for ever", t);
            prop_assert_eq!(thread.prio.get(), thread.normal_prio.get(), "task {} at the end", t);
        }
        prop_assert!(world.locks.iter().all(|lock| !lock.is_locked()));
    }
}

/// Makes the oracle's order among equals that of the world: the waiters in the order in which they would be served.
fn adopt_order(world: &World, oracle: &mut Oracle) {
    for (l, waiters) in oracle.waiters.iter_mut().enumerate() {
        let order: Vec<usize> = world.locks[l].waiters().map(|w| world.index_of(w.task())).collect();
        for (w, since) in waiters.iter_mut() {
            *since = oracle.events + order.iter().position(|t| t == w).unwrap() as u64;
        }
        oracle.events += order.len() as u64;
    }
}

/// Task i owns lock i and waits for lock i - 1; task 0 runs.
fn chain(length: usize) -> World {
    let prios: Vec<i32> = (0..=length).map(|_| 120).collect();
    let mut world = World::new(&prios, length);
    for i in 0..length {
        assert_eq!(world.lock(i, i), Taken::Free);
    }
    for i in 1..length {
        assert_eq!(world.lock(i, i - 1), Taken::Waits);
    }
    world
}

#[test]
fn a_chain_of_1024_tasks_is_boosted_to_its_end_and_back() {
    let mut world = chain(MAX_LOCK_DEPTH);
    world.threads[MAX_LOCK_DEPTH].normal_prio.set(7);
    world.threads[MAX_LOCK_DEPTH].prio.set(7);
    assert_eq!(world.lock(MAX_LOCK_DEPTH, MAX_LOCK_DEPTH - 1), Taken::Waits);
    assert_eq!(world.longest_walk, MAX_LOCK_DEPTH);
    assert!(world.threads.iter().all(|thread| thread.prio.get() == 7));
    world.give_up(MAX_LOCK_DEPTH);
    assert!(world.threads[..MAX_LOCK_DEPTH].iter().all(|thread| thread.prio.get() == 120));
}

#[test]
fn a_ring_of_any_length_is_found_by_the_task_that_closes_it() {
    for length in [2, 3, 5, 100, 1000] {
        let mut world = chain(length);
        assert_eq!(world.lock(0, length - 1), Taken::Refused, "a ring of {length}");
        assert_eq!(world.lock(0, 0), Taken::Refused, "itself");
    }
}

#[test]
fn equal_waiters_are_served_in_the_order_of_arrival_and_fair_ones_are_equal() {
    let mut world = World::new(&[50, 139, 100, 120, 10, 10], 1);
    for t in 0..6 {
        world.lock(t, 0);
    }
    let mut order = Vec::new();
    while let Some(t) = world.owner(0) {
        order.push(t);
        world.unlock(t, 0);
    }
    assert_eq!(order, [0, 4, 5, 1, 2, 3]);
}

#[test]
fn fair_tasks_do_not_boost_each_other() {
    let mut world = World::new(&[139, 100], 1);
    world.lock(0, 0);
    world.lock(1, 0);
    assert_eq!(world.threads[0].prio.get(), 139);
}

#[test]
fn a_raised_waiter_goes_behind_its_new_equals_and_a_renewed_priority_keeps_its_place() {
    let mut world = World::new(&[50, 20, 10, 10], 1);
    for t in 0..4 {
        world.lock(t, 0);
    }
    world.set_normal_prio(1, 10);
    world.set_normal_prio(2, 10);
    let mut order = Vec::new();
    while let Some(t) = world.owner(0) {
        order.push(t);
        world.unlock(t, 0);
    }
    assert_eq!(order, [0, 2, 3, 1]);
}
