#![forbid(unsafe_code)]
//! On which CPU a task is to wake up.
//!
//! Pure answers to one question, from the two tables that every CPU keeps up to date (`cpupri`: what runs where,
//! `cpu_loads`: how much there is to do), by the rules of Linux 5.11 (reference 4.7, 5.2, 5.3) for one flat domain of
//! CPUs that are all alike and share a cache. No lock is held and nothing is promised: by the time the task is queued
//! the picture may be another, and pushing, pulling and balancing put right what that made wrong.
//!
//! | class | where |
//! |---|---|
//! | real-time | where it was, unless something as important runs there, or something bound: then where the least runs |
//! | deadline | where it was, unless an earlier deadline runs there: then without a deadline task, or the latest one |
//! | fair, woken | near its waker or where it was, there or anywhere else if that is idle |
//! | fair, new | the idlest |
//!
//! Bounds: each looks at every CPU of the mask a fixed number of times, and touches one cache line for all but fair
//! tasks where no CPU is idle.
//!
//! Invariant: the answer is one of the CPUs that the task may run on and that are online, if there is one.
//! Contexts: any, IRQs off. Locks: none.

use super::class::Class;
use super::cpu_loads::CpuLoads;
use super::cpupri::{self, CpuPri, level_of, level_of_prio};
use super::deadline::dl_time_before;
use super::entity::{SchedRef, SchedTask};
use super::prio::{Policy, STOP_PRIO};
use super::rq::Rq;
use crate::MAX_CPUS;
use crate::smp::CpuMask;

/// By how many percent one CPU must have more to do than another before that is worth a move.
pub const IMBALANCE_PCT: u64 = 117;
/// How long a task counts whom it wakes before half of that is forgotten.
const WAKEES_DECAY_NS: u64 = 1_000_000_000;

/// What is to be known of the machine.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What runs on each CPU.
    pub pri: &'a CpuPri,
    /// How much there is to do on each.
    pub loads: &'a CpuLoads,
    /// Those that take tasks at all.
    pub online: CpuMask,
    /// Those of them among which tasks are spread. The others, isolated ones, have level [`cpupri::OFF`].
    pub domain: CpuMask,
    /// A CPU whose running task does nothing but look around (`rt`: softirqs are a real-time thread's), and is no load.
    pub looking: CpuMask,
}

/// Why a CPU is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// The task slept.
    Woken {
        /// The waker is about to sleep.
        sync: bool,
    },
    /// The task is new.
    Fork,
}

/// Whom a task wakes: one that wakes many different ones should not have them all beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakees {
    last: usize,
    flips: u32,
    since_ns: u64,
}

impl Wakees {
    pub(super) const fn new() -> Self {
        Self { last: 0, flips: 0, since_ns: 0 }
    }

    fn wakes(&mut self, whom: usize, now_ns: u64) {
        if now_ns.wrapping_sub(self.since_ns) as i64 > WAKEES_DECAY_NS as i64 {
            self.flips >>= 1;
            self.since_ns = now_ns;
        }
        if self.last != whom {
            self.last = whom;
            self.flips += 1;
        }
    }
}

/// `waker`, which runs on this CPU, wakes `p`: remembered for [`select_fair`]. IRQs off.
pub fn record_wakee(waker: &SchedTask, p: &SchedTask, now_ns: u64) {
    if let Some(smp) = waker.try_smp() {
        let mut wakees = smp.wakees.get();
        wakees.wakes(core::ptr::from_ref(p).addr(), now_ns);
        smp.wakees.set(wakees);
    }
}

fn flips(task: &SchedTask) -> u64 {
    task.try_smp().map_or(0, |smp| u64::from(smp.wakees.get().flips))
}

/// Where `p`, which last ran on `prev` and is woken, or made, on `this`, is to be queued. `waker` is what runs on `this`.
#[must_use]
pub fn select_task_rq(
    view: &View<'_>,
    p: &SchedTask,
    prev: usize,
    this: usize,
    waker: &SchedTask,
    why: Wakeup,
) -> usize {
    // A stopper is its CPU's, above all when that goes; only a new one, made elsewhere, has still to get there.
    if p.migrate_disabled() != 0 || p.class() == Class::Stop && why != Wakeup::Fork {
        return prev;
    }
    let chosen = if p.is_deadline() {
        select_deadline(view, p, prev, this)
    } else if p.is_rt() {
        select_rt(view, p, prev, this)
    } else {
        select_fair(view, p, prev, this, waker, why)
    };
    if may_run(view, p, chosen) { chosen } else { fallback(view, p, prev) }
}

fn may_run(view: &View<'_>, p: &SchedTask, cpu: usize) -> bool {
    (p.cpus_allowed() & view.online).contains(cpu)
}

/// Some CPU where `p` may run: where the least is going on. If there is none that is online, any that is: its mask is
/// then to be broken by the caller, who says so.
#[must_use]
pub fn fallback(view: &View<'_>, p: &SchedTask, prev: usize) -> usize {
    let allowed = p.cpus_allowed() & view.online;
    let mask = if allowed.is_empty() { view.online } else { allowed };
    view.pri.find_lowest(mask, cpupri::OFF, &[prev]).or_else(|| mask.next_from(prev)).unwrap_or(prev)
}

/// For a real-time task.
#[must_use]
pub fn select_rt(view: &View<'_>, p: &SchedTask, prev: usize, this: usize) -> usize {
    let level = level_of(p);
    let runs = view.pri.level(prev);
    let stays = may_run(view, p, prev)
        && (runs < cpupri::RT_MIN || runs < level && !view.loads.is_curr_bound(prev) || runs == cpupri::OFF);
    if stays {
        return prev;
    }
    let allowed = p.cpus_allowed() & view.domain;
    view.pri.find_lowest(allowed, level, &[prev, this]).unwrap_or(prev)
}

/// Where the real-time or deadline task `p`, which waits on `from`, could run now, if anywhere.
#[must_use]
pub fn push_target(view: &View<'_>, p: &SchedTask, from: usize, this: usize) -> Option<usize> {
    let allowed = (p.cpus_allowed() & view.domain).without(from);
    if p.migrate_disabled() != 0 {
        return None;
    }
    if p.is_deadline() {
        return find_later(view, allowed, p.dl().deadline_ns(), &[this]);
    }
    view.pri.find_lowest(allowed, level_of(p), &[this, from])
}

/// The first of the tasks that wait on `rq`, whose lock is held, and could run elsewhere now, and where. What is about to
/// run here stays, and so does everything on an isolated CPU. The caller locks the other queue too, which may mean to let
/// go of this one, and looks again.
#[must_use]
pub fn find_push(view: &View<'_>, rq: &Rq, this: usize) -> Option<(SchedRef, usize)> {
    if !view.domain.contains(rq.cpu()) {
        return None;
    }
    rq.pushables()
        .filter(|&p| !rq.is_next(p))
        .find_map(|p| push_target(view, &p, rq.cpu(), this).map(|target| (p, target)))
}

/// Before a pick on the CPU of `rq`, whose lock is held: another CPU where a real-time or deadline task waits that should
/// run here instead; of several, that of the best one. Those in `tried` had nothing for this CPU after all.
#[must_use]
pub fn pull_source(view: &View<'_>, rq: &Rq, tried: CpuMask) -> Option<usize> {
    let this = rq.cpu();
    let mut sources = (view.loads.overloaded() & view.domain & !tried).without(this);
    let to_beat = level_of_prio(rq.prio_to_beat());
    if sources.is_empty() || to_beat >= cpupri::STOP {
        return None;
    }
    let mut earliest = rq.earliest_deadline();
    let mut found = None;
    for cpu in sources.iter() {
        let theirs = view.loads.pushable_deadline(cpu);
        if let Some(time) = theirs.filter(|&time| earliest.is_none_or(|ours| dl_time_before(time, ours))) {
            earliest = Some(time);
            found = Some(cpu);
        }
    }
    if found.is_some() || to_beat >= cpupri::DEADLINE {
        return found;
    }
    let mut best = to_beat;
    while let Some(cpu) = sources.first() {
        sources = sources.without(cpu);
        let level = view.loads.pushable(cpu);
        if level > best {
            best = level;
            found = Some(cpu);
        }
    }
    found
}

/// The task that `rq` is to take from `source`, both locked, if there is one.
#[must_use]
pub fn find_pull(rq: &Rq, source: &Rq) -> Option<SchedRef> {
    let to_beat = rq.prio_to_beat();
    if to_beat <= STOP_PRIO {
        return None;
    }
    let deadline = source.dl_pushable_for(rq.cpu(), rq.earliest_deadline());
    deadline.or_else(|| source.rt_pushable_for(rq.cpu(), to_beat))
}

/// For a deadline task.
#[must_use]
pub fn select_deadline(view: &View<'_>, p: &SchedTask, prev: usize, this: usize) -> usize {
    let deadline = p.dl().deadline_ns();
    let runs = view.pri.level(prev);
    let is_first = view.loads.deadline(prev).is_none_or(|earliest| dl_time_before(deadline, earliest));
    if may_run(view, p, prev) && runs < cpupri::STOP && is_first {
        return prev;
    }
    find_later(view, p.cpus_allowed() & view.domain, deadline, &[prev, this]).unwrap_or(prev)
}

/// A CPU of `allowed` without a deadline task, the least important running there, or else the one whose earliest
/// deadline is the latest, if that is later than `deadline`.
fn find_later(view: &View<'_>, allowed: CpuMask, deadline: u64, prefer: &[usize]) -> Option<usize> {
    if let Some(mask) = view.pri.lowest_mask(allowed, cpupri::DEADLINE) {
        return cpupri::choose(mask, prefer);
    }
    let mut latest: Option<(usize, u64)> = None;
    for cpu in allowed.iter().filter(|&cpu| view.pri.level(cpu) == cpupri::DEADLINE) {
        let Some(theirs) = view.loads.deadline(cpu) else { continue };
        let is_later = dl_time_before(latest.map_or(deadline, |(_, time)| time), theirs);
        if is_later {
            latest = Some((cpu, theirs));
        }
    }
    latest.map(|(cpu, _)| cpu)
}

/// For a fair task.
#[must_use]
pub fn select_fair(
    view: &View<'_>,
    p: &SchedTask,
    prev: usize,
    this: usize,
    waker: &SchedTask,
    why: Wakeup,
) -> usize {
    let allowed = p.cpus_allowed() & view.domain;
    if allowed.is_empty() {
        return prev;
    }
    let Wakeup::Woken { sync } = why else {
        return find_idlest(view, allowed, this);
    };
    let is_affine = !wake_wide(waker, p, view.domain.count() as u64) && allowed.contains(this);
    let target = if is_affine && this != prev && view.domain.contains(prev) {
        wake_affine(view, p, waker, prev, this, sync)
    } else {
        prev
    };
    select_idle_sibling(view, p, allowed, prev, target, this, is_affine)
}

/// Does this pair of waker and wakee belong to many, so that pulling them together does more harm than good?
fn wake_wide(waker: &SchedTask, p: &SchedTask, cpus: u64) -> bool {
    let (a, b) = (flips(waker), flips(p));
    let (master, slave) = (a.max(b), a.min(b));
    slave >= cpus && master >= slave * cpus
}

/// Near the waker or where it was?
fn wake_affine(
    view: &View<'_>,
    p: &SchedTask,
    waker: &SchedTask,
    prev: usize,
    this: usize,
    sync: bool,
) -> usize {
    let is_idle = |cpu| view.pri.level(cpu) == cpupri::IDLE;
    if is_idle(this) {
        return if is_idle(prev) { prev } else { this };
    }
    if sync && view.loads.nr_running(this) == 1 {
        return this;
    }
    if is_idle(prev) {
        return prev;
    }
    let task = p.load_avg();
    let mut ours = view.loads.load_avg(this);
    if sync {
        let waker = waker.load_avg();
        if waker > ours {
            return this;
        }
        ours -= waker;
    }
    let ours = (ours + task) * 100;
    let theirs =
        view.loads.load_avg(prev).saturating_sub(task) * (100 + (IMBALANCE_PCT - 100) / 2) + u64::from(sync);
    if ours < theirs { this } else { prev }
}

/// `target` or something like it that is idle.
fn select_idle_sibling(
    view: &View<'_>,
    p: &SchedTask,
    allowed: CpuMask,
    prev: usize,
    target: usize,
    this: usize,
    is_affine: bool,
) -> usize {
    let would_run = |cpu: usize| {
        let level = view.pri.level(cpu);
        // (First the level: it is `OFF` for what is no CPU.)
        (level == cpupri::IDLE || level == cpupri::FAIR && makes_room(view, p, cpu)) && allowed.contains(cpu)
    };
    if would_run(target) {
        return target;
    }
    if prev != target && would_run(prev) {
        return prev;
    }
    let Some(smp) = p.try_smp() else {
        return view.pri.find_idle(allowed, &[target]).unwrap_or(target);
    };
    let recent = usize::from(smp.recent_cpu.get());
    if recent < MAX_CPUS && recent != prev && recent != target && would_run(recent) {
        smp.recent_cpu.set(prev as u8);
        return recent;
    }
    if is_affine {
        smp.recent_cpu.set(this as u8);
    }
    view.pri.find_idle(allowed, &[target]).unwrap_or(target)
}

/// All that runs and waits there is of the idle policy, and `p` is not.
fn makes_room(view: &View<'_>, p: &SchedTask, cpu: usize) -> bool {
    p.policy() != Policy::Idle && view.loads.has_only_idle_policy(cpu)
}

/// An idle CPU, or else the one whose fair tasks want the least, one that runs nothing better before all others.
fn find_idlest(view: &View<'_>, allowed: CpuMask, this: usize) -> usize {
    if let Some(idle) = view.pri.find_idle(allowed, &[this]) {
        return idle;
    }
    let cost = |cpu: usize| {
        let distance = cpu.wrapping_sub(this) % 64;
        (view.pri.level(cpu) > cpupri::FAIR, view.loads.load_avg(cpu), view.loads.nr_running(cpu), distance)
    };
    allowed.iter().min_by_key(|&cpu| cost(cpu)).unwrap_or(this)
}
