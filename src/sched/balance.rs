#![forbid(unsafe_code)]
//! Moving fair tasks from where there are many to where there are few.
//!
//! Three occasions (reference 4.7): a CPU that is about to idle takes one task; a CPU looks around at intervals, long
//! ones while it is busy; an idle CPU without a tick is woken to do that for all its like. All use the same decisions,
//! for one flat domain of CPUs that are all alike: [`find_busiest`] says from whom and how much, `Rq::detach_one`
//! chooses the task, and [`Balancer`] says when.
//!
//! Two measures. Where one CPU has nothing, what counts is how many wait: half the difference is moved. Where all have
//! something, it is load, what has been wanted of late, and it must be out by more than [`IMBALANCE_PCT`].
//! A CPU on which something better than fair tasks runs has only a part of its capacity to give to them
//! (`BUSY_CAPACITY`): else fair tasks behind a real-time hog would look well served.
//!
//! Invariant: a move never makes the picture worse: not to a CPU that has more to do than the one it comes from.
//! Bounds: a search looks at each CPU of the domain twice; one task is moved for each time that two run queues are
//! locked, and [`CANDIDATES`] are looked at for it.
//!
//! Contexts: any, IRQs off. Locks: none, but for `detach_one`, under the run queue's.

use super::cpupri;
use super::entity::SchedRef;
use super::prio::Policy;
use super::rq::Rq;
use super::select::{IMBALANCE_PCT, View};
use super::smp::CANDIDATES;
use crate::smp::CpuMask;

/// A task that ran so recently has its data in the cache.
pub const MIGRATION_COST_NS: u64 = 500_000;
/// What a CPU has to give, if nothing better than fair tasks runs there.
const CAPACITY: u64 = 1024;
/// ... and if something does.
const BUSY_CAPACITY: u64 = 256;
/// After so many failures warm caches do not count any more.
const CACHE_NICE_TRIES: u32 = 1;
/// A busy CPU looks around so much less often.
const BUSY_FACTOR: u64 = 16;
const MS: u64 = 1_000_000;
/// Where all that could be moved is bound to its CPU, the interval grows up to this.
const MAX_PINNED_INTERVAL_NS: u64 = 512 * MS;

/// In what position a CPU looks around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuIdle {
    /// It idles.
    Idle,
    /// It is about to, unless it finds something.
    NewlyIdle,
    /// It runs something.
    Busy,
}

/// How much is to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imbalance {
    /// So many tasks.
    Tasks(u32),
    /// So much load.
    Load(u64),
}

impl Imbalance {
    /// Nothing is left to be moved.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Tasks(0) | Self::Load(0))
    }
}

/// From whom, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busiest {
    /// The CPU that has too much.
    pub cpu: usize,
    /// How much of it.
    pub imbalance: Imbalance,
}

/// What balancing sees of a CPU.
#[derive(Clone, Copy)]
struct Load {
    nr: u32,
    avg: u64,
    capacity: u64,
}

/// Whether `cpu` has nothing to do, as those who spread tasks see it.
#[must_use]
pub fn is_idle(view: &View<'_>, cpu: usize) -> bool {
    Load::of(view, cpu).nr == 0
}

impl Load {
    fn of(view: &View<'_>, cpu: usize) -> Self {
        let runs_better = view.pri.level(cpu) > cpupri::FAIR;
        let is_looking = runs_better && view.looking.contains(cpu);
        let capacity = if runs_better && !is_looking { BUSY_CAPACITY } else { CAPACITY };
        // (The two tables are not of one moment.)
        let nr = view.loads.nr_running(cpu).saturating_sub(u32::from(is_looking));
        Self { nr, avg: view.loads.load_avg(cpu), capacity }
    }

    /// Load by capacity.
    const fn scaled(self) -> u64 {
        self.avg * CAPACITY / self.capacity
    }
}

/// The CPU that `this` should take from. None when there is nothing to be gained.
#[must_use]
pub fn find_busiest(view: &View<'_>, this: usize, idle: CpuIdle) -> Option<Busiest> {
    if !view.domain.contains(this) {
        return None;
    }
    let local = Load::of(view, this);
    // Only who has somebody waiting has something to give.
    let crowded = |cpu: &usize| *cpu != this && view.loads.nr_running(*cpu) > 1;
    if local.nr == 0 {
        let busiest = view.domain.iter().filter(crowded).max_by_key(|&cpu| {
            let load = Load::of(view, cpu);
            (load.nr, load.scaled())
        })?;
        let tasks = (view.loads.nr_running(busiest) >> 1).max(1);
        return Some(Busiest { cpu: busiest, imbalance: Imbalance::Tasks(tasks) });
    }
    if idle != CpuIdle::Busy {
        // It has become busy since.
        return None;
    }
    let (mut load, mut capacity) = (0, 0);
    for cpu in view.domain.iter() {
        let theirs = Load::of(view, cpu);
        load += theirs.avg;
        capacity += theirs.capacity;
    }
    let cpu = view.domain.iter().filter(crowded).max_by_key(|&cpu| Load::of(view, cpu).scaled())?;
    let busiest = Load::of(view, cpu);
    // A third CPU, which has nobody waiting, may carry more than all others: what slept there of late counts. The two can
    // only become equal.
    let of_both = (busiest.avg + local.avg) * CAPACITY / (busiest.capacity + local.capacity);
    let mean = of_both.min(load * CAPACITY / capacity.max(1));
    let is_balanced = local.scaled() >= mean
        || local.scaled() >= busiest.scaled()
        || 100 * busiest.scaled() <= IMBALANCE_PCT * local.scaled();
    if is_balanced {
        return None;
    }
    // Neither is to end on the other side of the mean.
    let too_much = busiest.scaled().saturating_sub(mean) * busiest.capacity;
    let too_little = (mean - local.scaled()) * local.capacity;
    let amount = too_much.min(too_little) / CAPACITY;
    (amount != 0).then_some(Busiest { cpu, imbalance: Imbalance::Load(amount) })
}

/// A CPU that idles without a tick, to be woken so that it looks around for all its like: `this` has more than it can do.
#[must_use]
pub fn nohz_kick(view: &View<'_>, this: usize, tickless: CpuMask) -> Option<usize> {
    let idle = (tickless & view.domain).without(this);
    if view.loads.nr_running(this) < 2 {
        return None;
    }
    idle.iter().find(|&cpu| view.pri.level(cpu) == cpupri::IDLE)
}

impl Rq {
    /// A fair task that waits here and may and should go to the CPU `to`; counted off `imbalance`. `failed`: how often
    /// nothing was found before ([`Balancer::nr_failed`]). The caller has both queues locked and moves it. Needs the clock.
    pub fn find_one(&self, to: usize, imbalance: &mut Imbalance, failed: u32) -> Option<SchedRef> {
        let curr = self.curr;
        let runs_on = curr != self.idle && curr.is_queued();
        let waiting = self.cfs.nr_running - u32::from(curr.is_fair() && runs_on);
        // If nobody runs on, the first of those who wait is about to.
        if imbalance.is_settled() || waiting < 1 + u32::from(!runs_on) {
            return None;
        }
        // Those that would run last go first.
        let p =
            self.cfs.iter_from_last().take(CANDIDATES).find(|&p| {
                p.may_move_to(to) && !self.is_cache_hot(p, failed) && fits(p, *imbalance, failed)
            })?;
        *imbalance = match *imbalance {
            Imbalance::Tasks(n) => Imbalance::Tasks(n - 1),
            Imbalance::Load(load) => Imbalance::Load(load.saturating_sub(p.load_avg().max(1))),
        };
        Some(p)
    }

    /// [`Self::find_one`], and takes it off this queue.
    pub fn detach_one(&mut self, to: usize, imbalance: &mut Imbalance, failed: u32) -> Option<SchedRef> {
        let p = self.find_one(to, imbalance, failed)?;
        self.detach_task(p);
        Some(p)
    }

    /// Some fair task that waits or runs here might run on `to` but for the state of its caches.
    pub fn has_movable(&self, to: usize) -> bool {
        let curr = Some(self.curr).filter(|curr| curr.is_fair() && curr.is_queued());
        self.cfs.iter_from_last().take(CANDIDATES).chain(curr).any(|p| p.may_move_to(to))
    }

    fn is_cache_hot(&self, p: SchedRef, failed: u32) -> bool {
        if failed > CACHE_NICE_TRIES || p.policy() == Policy::Idle {
            return false;
        }
        let ran = self.clock_task_ns().wrapping_sub(p.se.exec_start.get());
        self.cfs.is_buddy(p) || (ran as i64) < MIGRATION_COST_NS as i64
    }
}

/// Half a task too much is moved, and more after each time that nothing could be.
fn fits(p: SchedRef, imbalance: Imbalance, failed: u32) -> bool {
    match imbalance {
        Imbalance::Tasks(n) => n > 0,
        Imbalance::Load(load) => p.load_avg() >> failed.min(63) <= load,
    }
}

/// When a CPU looks around.
#[derive(Clone, Copy, Debug)]
pub struct Balancer {
    next_ns: u64,
    interval_ns: u64,
    min_interval_ns: u64,
    nr_failed: u32,
    idle_since_ns: u64,
    avg_idle_ns: u64,
}

/// What came of looking around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Balanced,
    /// Something was moved.
    Moved,
    /// Something should have been moved, and nothing could be.
    Failed,
    /// Nothing there may run here, wherever it was looked: no failure, and no reason to look again soon.
    Pinned,
}

impl Balancer {
    /// For a domain of so many CPUs.
    #[must_use]
    pub const fn new(cpus: usize) -> Self {
        let cpus = if cpus == 0 { 1 } else { cpus as u64 };
        Self {
            next_ns: 0,
            interval_ns: cpus * MS,
            min_interval_ns: cpus * MS,
            nr_failed: 0,
            idle_since_ns: 0,
            avg_idle_ns: 2 * MIGRATION_COST_NS,
        }
    }

    /// The domain has so many CPUs now.
    pub const fn set_cpus(&mut self, cpus: usize) {
        let new = Self::new(cpus);
        self.interval_ns = new.interval_ns;
        self.min_interval_ns = new.min_interval_ns;
    }

    /// Is it time? When it is, the caller looks around, and tells [`Self::done`].
    #[must_use]
    pub const fn is_due(&self, now_ns: u64) -> bool {
        now_ns.wrapping_sub(self.next_ns) as i64 >= 0
    }

    /// When it will be time.
    #[must_use]
    pub const fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// How often nothing could be moved that should have been.
    #[must_use]
    pub const fn nr_failed(&self) -> u32 {
        self.nr_failed
    }

    /// This is what came of it. True: what runs on the busiest CPU is to be pushed off it by its stopper (active
    /// balancing), because nothing else will do.
    pub const fn done(&mut self, now_ns: u64, idle: CpuIdle, outcome: Outcome) -> bool {
        let max = 2 * self.min_interval_ns;
        let mut is_active = false;
        match outcome {
            Outcome::Moved => {
                self.nr_failed = 0;
                self.interval_ns = self.min_interval_ns;
            }
            Outcome::Balanced => {
                self.nr_failed = 0;
                self.interval_ns = if self.interval_ns < max { self.interval_ns * 2 } else { max };
            }
            Outcome::Pinned => {
                self.nr_failed = 0;
                self.interval_ns = if self.interval_ns < MAX_PINNED_INTERVAL_NS {
                    self.interval_ns * 2
                } else {
                    self.interval_ns
                };
            }
            Outcome::Failed => {
                if !matches!(idle, CpuIdle::NewlyIdle) {
                    self.nr_failed += 1;
                }
                is_active = self.nr_failed > CACHE_NICE_TRIES + 2;
                if is_active {
                    self.nr_failed = CACHE_NICE_TRIES + 1;
                }
            }
        }
        let factor = if matches!(idle, CpuIdle::Busy) { BUSY_FACTOR } else { 1 };
        self.next_ns = now_ns + self.interval_ns * factor;
        is_active
    }

    /// The CPU begins to idle: an interval that was set while it was busy is too long.
    pub const fn idle_begins(&mut self, now_ns: u64) {
        self.idle_since_ns = now_ns;
        let soon = now_ns + self.interval_ns;
        if soon.wrapping_sub(self.next_ns) as i64 <= 0 {
            self.next_ns = soon;
        }
    }

    /// The CPU ceases to idle.
    pub const fn idle_ends(&mut self, now_ns: u64) {
        let idle = now_ns.wrapping_sub(self.idle_since_ns) as i64;
        let change = (idle - self.avg_idle_ns as i64) / 8;
        let avg = (self.avg_idle_ns as i64).saturating_add(change);
        let max = 2 * MIGRATION_COST_NS as i64;
        self.avg_idle_ns = if avg < 0 {
            0
        } else if avg > max {
            max as u64
        } else {
            avg as u64
        };
    }

    /// Does the CPU idle long enough, as a rule, for a move to pay? Asked when it is about to.
    #[must_use]
    pub const fn is_worth_it(&self) -> bool {
        self.avg_idle_ns >= MIGRATION_COST_NS
    }
}
