//! The most important tasks run, wherever that is: pushing to other CPUs, pulling from them, and choosing a CPU for a task
//! that wakes.
//!
//! The decisions are pure (`select`, `smp`); here they are asked, from the two tables that all CPUs publish
//! ([`CPUPRI`]: what runs where; [`LOADS`]: how much there is to do), and carried out under the locks.
//!
//! * **Push**: a real-time or deadline task that has been made ready and must wait, or has lost its CPU, goes at once
//!   where something less important runs.
//! * **Pull**: a CPU that is about to run something less important than before looks whether something better waits
//!   elsewhere ([`RT_OVERLOAD`], [`WAITING`]).
//!
//! Neither can miss what the other leaves: who waits is published before it is looked for a place, and what a CPU will
//! run is published before it looks for who waits; with a full barrier in between on both sides, at least one of the two
//! sees the other (docs/adr/0012).
//!
//! Invariant: the tables are up to date whenever a run queue's lock is released after a change. **Bound:** [`PUSHES`] moves per push, [`PULLS`] run queues per pull, one move per pair of locks; interrupts
//! are masked from before to behind them.
//!
//! Context: any, IRQs masked. Locks: the run queue given, and a second one at a time, which may mean to let go of the first.

use super::class::{Class, Resched};
use super::cpu_loads::CpuLoads;
use super::cpupri::{self, level_of_prio};
use super::deadline::dl_time_before;
use super::entity::SchedRef;
use super::hooks::Ready;
use super::migrate::{lock_second_rq, move_queued_task};
use super::prio::{MAX_DL_PRIO, MAX_RT_PRIO};
use super::rebalance;
use super::rq::{Rq, Special};
use super::runqueue::{CPUPRI, RunQueue, cpu_rq, sched_ref, task_of, this_rq};
use super::select::{self, View, Wakeup};
use crate::smp::{self, CpuMask};
use crate::task::{self, Task};
use core::sync::atomic::{Ordering, fence};

/// The most tasks that one push moves. More than one at a time comes only of unpinning many at once.
const PUSHES: usize = 8;
/// The most run queues that one pull looks into.
const PULLS: usize = 8;

/// How much there is to do on each CPU, and what waits there for another one.
pub(super) static LOADS: CpuLoads = CpuLoads::new();

/// The machine as it is now.
pub(super) fn view() -> View<'static> {
    let online = smp::online();
    View { pri: &CPUPRI, loads: &LOADS, online, domain: online & smp::isolation::housekeeping() }
}

/// `hooks::select_task_rq`.
pub(super) fn select_task_rq(task: &Task, this: &'static RunQueue, why: Ready) -> usize {
    if task.sched.class() == Class::Stop {
        // Its own CPU, also one that is going: it is the last to work there.
        return task.sched.cpus_allowed().first().unwrap_or(this.cpu());
    }
    let waker = task::current();
    let here = this_rq().cpu();
    let why = match why {
        Ready::Wake => Wakeup::Woken { sync: false },
        Ready::Fork => Wakeup::Fork,
    };
    if why != Wakeup::Fork && !task.sched.is_rt() {
        select::record_wakee(&waker.sched, &task.sched, crate::time::now_ns());
    }
    select::select_task_rq(&view(), &task.sched, this.cpu(), here, &waker.sched, why)
}

/// `hooks::task_woken`: `task` waits on `this`, which is locked.
pub(super) fn task_woken(this: &'static RunQueue, task: &Task) {
    if task.sched.prio() < MAX_RT_PRIO && task.sched.is_migratable() {
        push(this);
    }
}

/// `hooks::event`.
pub(super) fn event(this: &'static RunQueue) {
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { this.rq() };
    rq.publish(&CPUPRI, &LOADS);
    fence(Ordering::SeqCst);
    // Where real-time tasks are not held back any more there may be none, and some may wait elsewhere: the pick pulls.
    let waits = select::pull_source(&view(), rq, CpuMask::NONE).is_some();
    super::wakeup::resched_rq_if(this, Resched::when(waits));
    push(this);
}

/// `hooks::balance_callback`: what waits on `this`, locked, goes where it can run.
pub(super) fn push(this: &'static RunQueue) {
    // What waits has been published; now a place for it is looked for (module).
    fence(Ordering::SeqCst);
    if !view().domain.contains(this.cpu()) {
        return;
    }
    let mut unsuitable = CpuMask::NONE;
    for _ in 0..PUSHES {
        // SAFETY: locked: by the caller, or again by the step before.
        let rq = unsafe { this.rq() };
        let mut view = view();
        view.domain = view.domain & !unsuitable;
        let Some((p, cpu)) = select::find_push(&view, rq, this_rq().cpu()) else { return };
        let to = cpu_rq(cpu);
        // SAFETY: IRQs masked, `this` locked; `cpu` is another one.
        let is_same = unsafe { lock_second_rq(this, to) };
        // SAFETY: both locked.
        let (rq, to_rq) = unsafe { (this.rq(), to.rq()) };
        // The lock may have been let go of: is it still one to go, and is that still the place?
        let goes = (is_same || rq.pushables().any(|other| other == p) && !rq.is_next(p))
            && p.may_move_to(cpu)
            && smp::online().contains(cpu)
            && beats(to_rq, p);
        if goes {
            move_queued_task(task_of(p), this, to);
        } else {
            unsuitable = unsuitable.with(cpu);
        }
        // SAFETY: locked above.
        unsafe { to.unlock() };
    }
    // Somebody may be left: at the next switch.
    this.needs_balance.set(true);
}

/// Would `p` be the next to run on the CPU of `rq`?
fn beats(rq: &Rq, p: SchedRef) -> bool {
    let than = rq.prio_to_beat();
    if p.is_deadline() {
        let is_earlier = |theirs| dl_time_before(p.dl().deadline_ns(), theirs);
        than >= MAX_DL_PRIO && rq.earliest_deadline().is_none_or(is_earlier)
    } else {
        p.prio() < than
    }
}

/// `hooks::pull_before_pick`: `this` CPU is about to pick.
pub(super) fn pull_before_pick(this: &'static RunQueue) {
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { this.rq() };
    let prio = rq.prio_to_beat();
    if prio < MAX_DL_PRIO {
        return;
    }
    let level = level_of_prio(prio);
    if level < cpupri::DEADLINE {
        // What will run is published before it is looked for something better (module).
        this.publish_level(level);
    }
    fence(Ordering::SeqCst);
    if !LOADS.overloaded().without(this.cpu()).is_empty() {
        pull(this);
    }
    if level == cpupri::IDLE {
        rebalance::newly_idle(this);
    }
}

/// Takes what should rather run here than what would. One task, if any: the best there is, as far as was published.
#[cold]
#[inline(never)]
fn pull(this: &'static RunQueue) {
    let mut tried = CpuMask::of(this.cpu());
    for _ in 0..PULLS {
        // SAFETY: locked: by the caller, or again by the step before.
        let rq = unsafe { this.rq() };
        let Some(cpu) = select::pull_source(&view(), rq, tried) else { return };
        tried = tried.with(cpu);
        let from = cpu_rq(cpu);
        // SAFETY: IRQs masked, `this` locked; another CPU's.
        unsafe { lock_second_rq(this, from) };
        // SAFETY: both locked.
        let (rq, from_rq) = unsafe { (this.rq(), from.rq()) };
        // Ours may have been let go of: it is looked at again.
        if let Some(p) = select::find_pull(rq, from_rq) {
            move_queued_task(task_of(p), from, this);
        }
        // SAFETY: locked above.
        unsafe { from.unlock() };
    }
}

/// The core is about to switch from `prev` to `next` on `this`, locked: tells the others, and says whether
/// `hooks::balance_callback` has something to do behind the switch.
#[inline]
pub(super) fn switched(this: &RunQueue, prev: &Task, next: &Task) -> bool {
    // SAFETY: locked by the caller, who does not use a reference of its own meanwhile.
    let rq = unsafe { this.rq() };
    rq.publish_switch(&CPUPRI, &LOADS, sched_ref(prev), sched_ref(next));
    if sched_ref(prev) == rq.idle() {
        rebalance::idle_ends(this);
    }
    rq.rt_is_overloaded() || rq.special().contains(Special::DEADLINE)
}

/// `task` of `this`, locked, has been made ready, with this decision about the running one.
#[inline]
pub(super) fn readied(this: &RunQueue, task: &Task, decision: Resched) {
    // SAFETY: as in `switched`.
    unsafe { this.rq() }.publish_wakeup(&CPUPRI, &LOADS, sched_ref(task), decision);
}

/// `task` of `this`, locked, has been taken out, or has another priority or set.
#[inline]
pub(super) fn changed(this: &RunQueue, task: &Task) {
    // SAFETY: as in `switched`.
    unsafe { this.rq() }.publish_change(&CPUPRI, &LOADS, sched_ref(task));
}

/// `hooks::prio_changed`: the priority or the set of `task` has changed, which belongs to `this`, locked.
pub(super) fn prio_changed(this: &'static RunQueue, task: &Task) {
    changed(this, task);
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    if rq.curr() != p {
        if p.is_queued() {
            task_woken(this, task);
        }
        return;
    }
    fence(Ordering::SeqCst);
    // It may have sunk below what waits elsewhere: the next pick pulls that.
    if select::pull_source(&view(), rq, CpuMask::NONE).is_some() {
        super::wakeup::resched_rq_if(this, Resched::Yes);
    }
}
