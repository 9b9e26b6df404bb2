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
//! Invariant: `WAITING` and the overload masks are up to date whenever a run queue's lock is released by these functions or
//! by the core. **Bound:** [`PUSHES`] moves per push, [`PULLS`] run queues per pull, one move per pair of locks; interrupts
//! are masked from before to behind them.
//!
//! Context: any, IRQs masked. Locks: the run queue given, and a second one at a time, which may mean to let go of the first.

use super::class::Resched;
use super::cpu_loads::CpuLoads;
use super::cpupri::{self, CpuPri, level_of, level_of_prio};
use super::entity::SchedRef;
use super::hooks::Ready;
use super::migrate::{lock_second_rq, move_queued_task};
use super::rq::{Rq, Special};
use super::runqueue::{CPUPRI, RunQueue, cpu_rq, sched_ref, task_of, this_rq};
use super::select::{self, View, Wakeup};
use crate::smp::{self, AtomicCpuMask, CpuMask};
use crate::task::{self, Task};
use core::sync::atomic::{Ordering, fence};

/// The most tasks that one push moves. More than one at a time comes only of unpinning many at once.
const PUSHES: usize = 8;
/// The most run queues that one pull looks into.
const PULLS: usize = 8;

/// How much there is to do on each CPU.
pub(super) static LOADS: CpuLoads = CpuLoads::new();
/// The level of the best real-time task that waits on each CPU and could run elsewhere; `IDLE` for none.
static WAITING: CpuPri = CpuPri::new();
/// The CPUs where such a task waits.
static RT_OVERLOAD: AtomicCpuMask = AtomicCpuMask::new();
/// The same for deadline tasks.
static DL_OVERLOAD: AtomicCpuMask = AtomicCpuMask::new();

/// The machine as it is now.
pub(super) fn view() -> View<'static> {
    let online = smp::online();
    View { pri: &CPUPRI, loads: &LOADS, online, domain: online & smp::isolation::housekeeping() }
}

/// Says which tasks of `this`, locked, wait for another CPU. To be called when one has begun or ceased to.
#[inline]
pub(super) fn publish_overload(this: &RunQueue) {
    // SAFETY: locked by the caller, who does not use a reference of its own meanwhile.
    let rq = unsafe { this.rq() };
    let cpu = this.cpu();
    let level = rq.rt_pushable().map_or(cpupri::IDLE, |p| level_of(&p));
    let before = WAITING.level(cpu);
    if before != level {
        WAITING.set(cpu, level);
        set_overloaded(&RT_OVERLOAD, cpu, level != cpupri::IDLE);
    }
    let is_dl = rq.special().contains(Special::DEADLINE) && rq.dl_is_overloaded();
    set_overloaded(&DL_OVERLOAD, cpu, is_dl);
}

#[inline]
fn set_overloaded(mask: &AtomicCpuMask, cpu: usize, is_overloaded: bool) {
    if mask.load().contains(cpu) != is_overloaded {
        if is_overloaded {
            mask.set(cpu)
        } else {
            mask.clear(cpu)
        };
    }
}

/// `hooks::select_task_rq`.
pub(super) fn select_task_rq(task: &Task, this: &'static RunQueue, why: Ready) -> usize {
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
    publish_overload(this);
    if task.sched.is_migratable() && task.sched.prio() < super::prio::MAX_RT_PRIO {
        push(this);
    }
}

/// `hooks::balance_callback`: what does not run on `this`, locked, goes where it can.
pub(super) fn push(this: &'static RunQueue) {
    publish_overload(this);
    // What waits is published before a place for it is looked for (module).
    fence(Ordering::SeqCst);
    if view().domain.contains(this.cpu()) {
        push_deadline(this);
        push_rt(this);
    }
}

fn push_rt(this: &'static RunQueue) {
    push_each(this, Rq::rt_pushable, |rq, p| rq.curr().prio() > p.prio());
}

fn push_deadline(this: &'static RunQueue) {
    // SAFETY: locked by the caller, who has no reference; so in the closures.
    if unsafe { this.rq() }.special().contains(Special::DEADLINE) {
        push_each(this, Rq::dl_pushable, |rq, p| {
            rq.curr().class() > super::Class::Deadline || rq.dl().pick() == Some(p)
        });
    }
}

/// Pushes what `candidate` names, as long as there is a place for it. `runs_here`: it is the next to run on this CPU.
fn push_each(
    this: &'static RunQueue,
    candidate: impl Fn(&Rq) -> Option<SchedRef>,
    runs_here: impl Fn(&Rq, SchedRef) -> bool,
) {
    let mut unsuitable = CpuMask::of(this.cpu());
    for _ in 0..PUSHES {
        // SAFETY: locked: by the caller, or again by the step before.
        let rq = unsafe { this.rq() };
        let Some(p) = candidate(rq) else { return };
        if runs_here(rq, p) && !rq.special().contains(Special::STOP) {
            super::wakeup::resched_rq_if(this, Resched::Yes);
            return;
        }
        let mut view = view();
        view.domain = view.domain & !unsuitable;
        let Some(cpu) = select::push_target(&view, &p, this.cpu(), this_rq().cpu()) else { return };
        let to = cpu_rq(cpu);
        // SAFETY: IRQs masked, `this` locked; `cpu` is another one.
        unsafe { lock_second_rq(this, to) };
        // SAFETY: both locked.
        let (rq, to_rq) = unsafe { (this.rq(), to.rq()) };
        // The lock may have been let go of: is it still the one to go, and is that still the place?
        if candidate(rq) == Some(p) && p.may_move_to(cpu) && is_first_there(to_rq, p) && is_online(cpu) {
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

fn is_online(cpu: usize) -> bool {
    smp::online().contains(cpu)
}

/// Would `p` be the next to run on the CPU of `rq`?
fn is_first_there(rq: &Rq, p: SchedRef) -> bool {
    if p.is_deadline() {
        return !rq.special().contains(Special::STOP)
            && rq.earliest_deadline().is_none_or(|theirs| is_before(p.dl().deadline_ns(), theirs));
    }
    !rq.special().contains(Special::RT_THROTTLED) && p.prio() < rq.peek_prio()
}

fn is_before(deadline: u64, other: u64) -> bool {
    super::deadline::dl_time_before(deadline, other)
}

/// `hooks::pull_before_pick`: `this` CPU is about to pick.
pub(super) fn pull_before_pick(this: &'static RunQueue) {
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { this.rq() };
    let prio = rq.peek_prio();
    let level = level_of_prio(prio);
    // What will run is published before it is looked for something better (module).
    this.publish_level(level);
    fence(Ordering::SeqCst);
    let others = |mask: &AtomicCpuMask| !mask.load().without(this.cpu()).is_empty();
    if others(&DL_OVERLOAD) {
        pull_deadline(this);
    }
    if others(&RT_OVERLOAD) && level < cpupri::DEADLINE {
        pull_rt(this);
    }
}

fn pull_rt(this: &'static RunQueue) {
    let mut tried = CpuMask::of(this.cpu());
    for _ in 0..PULLS {
        // SAFETY: locked: by the caller, or again by the step before.
        let rq = unsafe { this.rq() };
        let level = level_of_prio(rq.peek_prio());
        let candidates = RT_OVERLOAD.load() & !tried;
        let best = candidates
            .iter()
            .map(|cpu| (WAITING.level(cpu), cpu))
            .filter(|&(theirs, _)| theirs > level)
            .max();
        let Some((_, cpu)) = best else { return };
        if rq.special().contains(Special::RT_THROTTLED) || !view().domain.contains(this.cpu()) {
            return;
        }
        tried = tried.with(cpu);
        pull_from(this, cpu, |theirs, ours| theirs.rt_pushable_for(this.cpu(), ours.peek_prio()));
    }
}

fn pull_deadline(this: &'static RunQueue) {
    if !view().domain.contains(this.cpu()) {
        return;
    }
    let others = DL_OVERLOAD.load().without(this.cpu());
    for cpu in others.iter().take(PULLS) {
        pull_from(this, cpu, |theirs, ours| {
            (!ours.special().contains(Special::STOP))
                .then(|| theirs.dl_pushable_for(this.cpu(), ours.earliest_deadline()))
                .flatten()
        });
    }
}

/// Takes from `cpu` the task that `choose` names, seeing that run queue and ours.
fn pull_from(this: &'static RunQueue, cpu: usize, choose: impl Fn(&Rq, &Rq) -> Option<SchedRef>) {
    let from = cpu_rq(cpu);
    // SAFETY: IRQs masked, `this` locked; another CPU's.
    unsafe { lock_second_rq(this, from) };
    // SAFETY: both locked; the references end here.
    let chosen = unsafe { choose(from.rq(), this.rq()) };
    if let Some(p) = chosen {
        move_queued_task(task_of(p), from, this);
    } else {
        // What was published is out of date.
        publish_overload(from);
    }
    // SAFETY: locked above.
    unsafe { from.unlock() };
}

/// `hooks::prio_changed`: the priority or the set of `task` has changed, which belongs to `this`, locked.
pub(super) fn prio_changed(this: &'static RunQueue, task: &Task) {
    // SAFETY: locked by the caller, who has no reference.
    let rq = unsafe { this.rq() };
    let p = sched_ref(task);
    if rq.curr() != p {
        if p.is_queued() {
            task_woken(this, task);
        } else {
            publish_overload(this);
        }
        return;
    }
    let level = level_of(&p);
    this.publish_level(level);
    publish_overload(this);
    fence(Ordering::SeqCst);
    // It may have sunk below what waits elsewhere: the next pick pulls that.
    let waits = RT_OVERLOAD.load().without(this.cpu()).iter().any(|cpu| WAITING.level(cpu) > level);
    if waits || level < cpupri::STOP && !DL_OVERLOAD.load().without(this.cpu()).is_empty() {
        super::wakeup::resched_rq_if(this, Resched::Yes);
    }
}
