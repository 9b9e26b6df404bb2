//! The tasks of a run: each with a number, random numbers of its own, and a pulse.
//!
//! Invariant: the sum of all pulses is the number of operations; a task that makes no progress has a pulse that
//! stands still, whatever the others do.

use crate::framework::cpus;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use stint::locking::Completion;
use stint::smp;
use stint::task::{Builder, JoinHandle, TaskRef};

/// The most tasks of a run.
const MAX: usize = 128;
/// One cache line each: that nobody waits for another's count.
#[repr(align(64))]
struct Pulse(AtomicU64);
static PULSES: [Pulse; MAX] = [const { Pulse(AtomicU64::new(0)) }; MAX];

/// All tasks begin together.
pub static GO: Completion = Completion::new();
/// Everybody ends.
pub static STOP: AtomicBool = AtomicBool::new(false);
/// Those who change others end.
pub static STOP_SHAKERS: AtomicBool = AtomicBool::new(false);

/// Before the first task is made.
pub fn reset() {
    STOP.store(false, Ordering::Relaxed);
    STOP_SHAKERS.store(false, Ordering::Relaxed);
    PULSES.iter().for_each(|pulse| pulse.0.store(0, Ordering::Relaxed));
}

/// Operations so far.
pub fn ops() -> u64 {
    (0..MAX).map(pulse).sum()
}

/// The pulse of one task.
pub fn pulse(index: usize) -> u64 {
    PULSES[index].0.load(Ordering::Relaxed)
}

/// Random numbers: xorshift64*.
pub struct Random(u64);

impl Random {
    /// A sequence for this seed.
    pub fn new(seed: u64) -> Self {
        // A state of 0 would stay 0.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// One below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((self.next() >> 32) * end) >> 32
    }

    /// A non-empty set of CPUs that are online.
    pub fn cpus(&mut self) -> smp::CpuMask {
        let online = smp::online();
        let some = smp::CpuMask::from_bits(self.next()) & online;
        if some.is_empty() { online } else { some }
    }

    /// One CPU that is online.
    pub fn cpu(&mut self) -> usize {
        let start = self.below(64) as usize;
        smp::online().next_from(start).unwrap_or(0)
    }
}

/// What a task knows of itself.
pub struct Me {
    index: usize,
    /// Its random numbers.
    pub random: Random,
}

impl Me {
    /// One operation more.
    pub fn beat(&self) {
        PULSES[self.index].0.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is to end.
    pub fn is_over(&self) -> bool {
        STOP.load(Ordering::Acquire)
    }
}

/// All tasks of a run, and how they are made.
pub struct Cast {
    members: Vec<Member>,
    seed: u64,
    /// The scene that makes tasks now.
    pub scene: &'static str,
}

struct Member {
    scene: &'static str,
    movable: bool,
    handle: JoinHandle<()>,
}

impl Cast {
    /// Nobody yet.
    pub fn new(seed: u64) -> Self {
        Self { members: Vec::new(), seed, scene: "" }
    }

    /// Makes a task that may run on all CPUs and whose priority, policy and CPU set the shakers may change.
    pub fn spawn(&mut self, task: Builder, body: impl FnOnce(Me) + Send + 'static) -> stint::Result<TaskRef> {
        self.add(task, true, body)
    }

    /// As `spawn`, for one that sees to its CPU set itself.
    pub fn spawn_unmoved(
        &mut self,
        task: Builder,
        body: impl FnOnce(Me) + Send + 'static,
    ) -> stint::Result<TaskRef> {
        self.add(task, false, body)
    }

    fn add(
        &mut self,
        task: Builder,
        movable: bool,
        body: impl FnOnce(Me) + Send + 'static,
    ) -> stint::Result<TaskRef> {
        let index = self.members.len();
        assert!(index < MAX, "more than {MAX} tasks in a stress run; raise MAX in cast.rs");
        let me = Me { index, random: Random::new(self.seed.wrapping_mul(1000) + index as u64) };
        let handle = cpus::among(smp::online(), task).spawn(move || {
            GO.wait();
            body(me);
        })?;
        let reference = handle.task().clone();
        self.members.push(Member { scene: self.scene, movable, handle });
        Ok(reference)
    }

    /// The tasks made so far, and whether they may be moved.
    pub fn tasks(&self) -> Vec<(TaskRef, bool)> {
        self.members.iter().map(|member| (member.handle.task().clone(), member.movable)).collect()
    }

    /// Whether a task of these scenes has not ended.
    pub fn lives(&self, of: impl Fn(&str) -> bool) -> bool {
        self.members.iter().any(|member| of(member.scene) && !member.handle.task().is_dead())
    }

    /// Each scene's operations.
    pub fn totals(&self) -> Vec<(&'static str, u64)> {
        let mut totals: Vec<(&'static str, u64)> = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            match totals.iter_mut().find(|(name, _)| *name == member.scene) {
                Some((_, ops)) => *ops += pulse(index),
                None => totals.push((member.scene, pulse(index))),
            }
        }
        totals
    }

    /// The tasks that live, with their pulses: for the watcher.
    pub fn living(&self) -> impl Iterator<Item = (usize, &TaskRef)> {
        let member = self.members.iter().enumerate();
        member.map(|(index, member)| (index, member.handle.task())).filter(|(_, task)| !task.is_dead())
    }

    /// Scene and name of a task.
    pub fn name(&self, index: usize) -> String {
        let mut name = String::new();
        if let Some(member) = self.members.get(index) {
            // Writing to a string does not fail.
            let _ = write!(name, "{}: {}", member.scene, member.handle.task().name());
        }
        name
    }
}
