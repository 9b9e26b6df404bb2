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
use super::prio::{MAX_DL_PRIO, MAX_PRIO, MAX_RT_PRIO};
use super::rebalance;
use super::rq::{Rq, Special};
use super::runqueue::{CPUPRI, RunQueue, cpu_rq, sched_ref, task_of, this_rq};
use super::select::{self, View, Wakeup};
use super::smp::prio_of;
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
    let domain = online & smp::isolation::housekeeping();
    View { pri: &CPUPRI, loads: &LOADS, online, domain, looking: CpuMask::NONE }
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
    if task.sched.prio() >= MAX_RT_PRIO {
        return;
    }
    let p = sched_ref(task);
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { this.rq() };
    if p.is_rt() && p.prio() == rq.curr().prio() && preempts_equal(rq, p) {
        super::wakeup::resched_rq_if(this, Resched::Yes);
    } else if p.is_migratable() {
        push(this);
    }
}

/// Should `p`, as important as what runs on the CPU of `rq`, run there because only the other can go elsewhere?
fn preempts_equal(rq: &mut Rq, p: SchedRef) -> bool {
    let view = view();
    let can_go = |p: SchedRef| select::push_target(&view, &p, rq.cpu(), rq.cpu()).is_some();
    let (curr_can_go, p_can_go) = (can_go(rq.curr()), can_go(p));
    rq.check_preempt_equal(p, curr_can_go, p_can_go) == Resched::Yes
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
    let mut unsuitable = CpuMask::of(this.cpu());
    for _ in 0..PUSHES {
        // SAFETY: locked: by the caller, or again by the step before.
        let rq = unsafe { this.rq() };
        let mut view = view();
        view.domain = view.domain & !unsuitable;
        let here = this_rq().cpu();
        let target = |p: SchedRef| Some((p, select::push_target(&view, &p, this.cpu(), here)?));
        let Some((p, cpu)) = rq.pushables().filter(|&p| !rq.is_next(p)).find_map(target) else {
            return;
        };
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
    this.ask_balance();
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
    publish_what_will_run(this, prio);
    if !LOADS.overloaded().without(this.cpu()).is_empty() {
        pull(this);
    }
    if prio == MAX_PRIO {
        rebalance::newly_idle(this);
    }
}

/// Something of priority `prio` will run on `this`, locked. Before it is looked for something better (module).
fn publish_what_will_run(this: &RunQueue, prio: i32) {
    let level = level_of_prio(prio);
    // SAFETY: locked by the caller, who uses no reference of its own meanwhile.
    let rq = unsafe { this.rq() };
    if level < cpupri::DEADLINE && !rq.is_off() {
        rq.tell_level(&CPUPRI, level);
    }
    fence(Ordering::SeqCst);
}

/// [`pull_before_pick`] of a CPU that is going to run the real-time task `next`, if nothing is there to be pulled: it is
/// told what runs. False: ask that.
#[inline(always)]
pub(super) fn has_nothing_to_pull(rq: &mut Rq, next: SchedRef) -> bool {
    let (prio, told) = (next.prio(), rq.told_prio());
    if prio == told {
        return true;
    }
    if prio > told {
        return may_sink_to(rq, prio);
    }
    rq.tell_table(prio);
    rq.note_told_prio(prio);
    true
}

/// The CPU of `rq` is going to run something of this real-time priority, which is less than what was told: tells it, and
/// whether nobody waits elsewhere who should run here instead. If somebody may, `rq` itself goes on to think that it has not
/// sunk, so that the next pick looks.
#[inline(always)]
fn may_sink_to(rq: &mut Rq, prio: i32) -> bool {
    if rq.is_off() {
        // Nobody is to know, and nothing comes here.
        return true;
    }
    rq.tell_table(prio);
    // The handshake with `push` (module). Who waits here himself is among those found: then it is looked at at leisure.
    fence(Ordering::SeqCst);
    let is_alone = LOADS.overloaded().is_empty();
    if is_alone {
        rq.note_told_prio(prio);
    }
    is_alone
}

/// `hooks::about_to_run`.
#[inline(always)]
pub(super) fn about_to_run(rq: &mut Rq, prio: i32) {
    let told = rq.told_prio();
    if prio < told {
        rq.tell_table(prio);
        rq.note_told_prio(prio);
        // More than all that is coming, of which was told.
        rq.set_coming(prio);
    } else if told == prio_of(cpupri::OFF) && !rq.is_off() {
        // Told, but not known to be looked down to: the next pick still looks.
        rq.note_coming(prio);
        rq.tell_coming();
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
        let (prio, earliest) = (rq.prio_to_beat(), rq.earliest_deadline());
        // Each time: the move before has published what runs as yet.
        publish_what_will_run(this, prio);
        let others = LOADS.overloaded() & !tried & view().domain;
        let Some(cpu) = find_deadline(others, prio, earliest).or_else(|| find_rt(others, prio)) else {
            return;
        };
        tried = tried.with(cpu);
        let from = cpu_rq(cpu);
        // SAFETY: IRQs masked, `this` locked; another CPU's.
        unsafe { lock_second_rq(this, from) };
        // SAFETY: both locked.
        let (rq, from_rq) = unsafe { (this.rq(), from.rq()) };
        // Ours may have been let go of.
        let (prio, earliest) = (rq.prio_to_beat(), rq.earliest_deadline());
        let deadline = (prio >= MAX_DL_PRIO).then(|| from_rq.dl_pushable_for(this.cpu(), earliest)).flatten();
        if let Some(p) = deadline.or_else(|| from_rq.rt_pushable_for(this.cpu(), prio)) {
            move_queued_task(task_of(p), from, this);
        }
        // SAFETY: locked above.
        unsafe { from.unlock() };
    }
}

/// Where the earliest deadline waits, if it is earlier than ours.
fn find_deadline(others: CpuMask, prio: i32, ours: Option<u64>) -> Option<usize> {
    let waits = |cpu| Some((LOADS.pushable_deadline(cpu)?, cpu));
    let first =
        others.iter().filter_map(waits).reduce(|a, b| if dl_time_before(b.0, a.0) { b } else { a })?;
    (prio >= MAX_DL_PRIO && ours.is_none_or(|ours| dl_time_before(first.0, ours))).then_some(first.1)
}

/// Where the most important real-time task waits, if it is more important than `prio`.
fn find_rt(others: CpuMask, prio: i32) -> Option<usize> {
    let (level, cpu) = others.iter().map(|cpu| (LOADS.pushable(cpu), cpu)).max()?;
    (level > level_of_prio(prio)).then_some(cpu)
}

/// The core is about to switch from `prev` to `next` on `this`, locked: tells the others, and says whether
/// `hooks::balance_callback` has something to do behind the switch.
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
#[inline(always)]
pub(super) fn readied(this: &RunQueue, task: &Task, decision: Resched) {
    // SAFETY: as in `switched`.
    let rq = unsafe { this.rq() };
    if !rq.tell_plain_wakeup(&CPUPRI, sched_ref(task), decision) {
        tell_wakeup(this, task, decision);
    }
}

#[inline(never)]
fn tell_wakeup(this: &RunQueue, task: &Task, decision: Resched) {
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
    let others = (LOADS.overloaded() & view().domain).without(this.cpu());
    let (prio, earliest) = (rq.prio_to_beat(), rq.earliest_deadline());
    if find_deadline(others, prio, earliest).or_else(|| find_rt(others, prio)).is_some() {
        super::wakeup::resched_rq_if(this, Resched::Yes);
    }
}
