#![forbid(unsafe_code)]
//! A run queue as one of several: what other CPUs need to know of it, and tasks that come and go.
//!
//! Nothing of this is called where there is one CPU, and nothing of it is in the paths that one CPU takes. The core
//! works as it always does, and where there are several CPUs it then says [`Rq::sync_task`] for each task that it has
//! touched: queued, dequeued, begun or ceased to run, or given another priority or mask. That is the one duty; it may be
//! done once too often, never too seldom.
//!
//! A queued task moves in two halves, [`Rq::detach_task`] here and [`Rq::attach_task`] there, under both locks or one
//! after the other; in between it is `Migrating`. A sleeping one is moved by whoever wakes it elsewhere:
//! [`Rq::detach_sleeping`] with the old queue locked, [`Rq::wake_up_migrated`] with the new one.
//!
//! Invariants: a task's virtual time keeps its distance to `min_vruntime` over a move, a deadline task keeps budget and
//! deadline, a real-time task goes behind its equals; a task that runs is never moved.
//!
//! Contexts: any, under the run-queue lock, IRQs off. Everything but the first look at a task that is no real-time one
//! needs the clock.

use core::mem::swap;
use core::sync::atomic::{AtomicU8, Ordering};

use super::class::{Class, DequeueFlags, EnqueueFlags, Resched, WakeFlags};
use super::cpu_loads::CpuLoads;
use super::cpupri::{self, CpuPri, level_of};
use super::deadline::dl_time_before;
use super::deadline_admit::DlBandwidth;
use super::entity::{OnRq, SchedRef};
use super::pelt::LoadAvg;
use super::prio::{DEFAULT_PRIO, MAX_DL_PRIO, MAX_PRIO, MAX_RT_PRIO, STOP_PRIO};
use super::pushable::Pushable;
use super::rq::{Rq, Special};
use super::rt::RtRq;
use crate::smp::CpuMask;

/// The most candidates that a search for a task to take looks at. Behind so many that may not run on the CPU in question
/// a better one could be hidden until one of them has gone.
pub const CANDIDATES: usize = 32;

/// What a run queue keeps where it is one of several.
#[derive(Debug)]
pub(super) struct RqSmp {
    pub(super) cpu: usize,
    pub(super) pushable: Pushable,
    /// What this CPU's fair tasks want.
    avg: LoadAvg,
    /// This CPU alone, while it takes tasks at all: the set of a task that is bound to it. Empty from when it begins to go.
    own: CpuMask,
    /// Offline, or left out of balancing.
    is_off: bool,
    /// The level of the best pushable task that others have been told of; `Special::PUSHABLE` says whether there is one.
    told_pushable: u8,
    /// This CPU's byte in the kernel's table of levels.
    entry: &'static AtomicU8,
    /// The level of what has been woken and is to run here, until the switch.
    coming: u8,
    /// What the table of levels says of this CPU; or [`cpupri::OFF`], which no task has, if that has been lowered and the CPU
    /// has not looked since for what should rather run here.
    ///
    /// Kept as the priority of that level, [`prio_of`], which is what a task has: the more important, the less.
    told_prio: i32,
}

/// For a run queue that is in no table.
static UNSEEN: AtomicU8 = AtomicU8::new(cpupri::OFF);

impl RqSmp {
    pub(super) const fn new() -> Self {
        Self {
            cpu: 0,
            pushable: Pushable::new(),
            avg: LoadAvg::new(1),
            own: CpuMask::NONE,
            is_off: false,
            told_pushable: 0,
            entry: &UNSEEN,
            coming: cpupri::IDLE,
            told_prio: prio_of(cpupri::OFF),
        }
    }
}

impl Rq {
    /// The CPU whose run queue this is.
    #[inline(always)]
    pub fn cpu(&self) -> usize {
        self.smp.cpu
    }

    /// Tells the run queue whose it is. Before there is more than one.
    pub fn set_cpu(&mut self, cpu: usize) {
        self.smp.cpu = cpu;
        self.set_taking(true);
    }

    /// Whether tasks that are bound to this CPU become ready here without a look at which CPUs are online.
    pub fn set_taking(&mut self, takes: bool) {
        self.smp.own = if takes { CpuMask::of(self.smp.cpu) } else { CpuMask::NONE };
    }

    /// Whether other CPUs are to see this one as [`cpupri::OFF`]: offline, or isolated. [`Self::publish`] is to follow.
    pub fn set_off(&mut self, is_off: bool) {
        self.smp.is_off = is_off;
    }

    /// What others are to think that runs here. While real-time tasks are held back none is to be sent here; a deadline task
    /// may be.
    #[inline]
    pub fn level(&self) -> u8 {
        if self.smp.is_off {
            return cpupri::OFF;
        }
        let runs = level_of(&self.curr).max(self.smp.coming);
        if self.is_throttled() { runs.max(cpupri::RT_MAX) } else { runs }
    }

    /// Something of this level runs here from now on, or is about to; the caller looks elsewhere for something better, or
    /// this is more than was told before.
    #[inline(always)]
    pub(super) fn tell_level(&mut self, pri: &CpuPri, level: u8) {
        self.smp.told_prio = prio_of(level);
        pri.set(self.smp.cpu, level);
    }

    /// [`Self::tell_level`] of what is so, without a look: if the CPU sinks by that, its next pick looks, whatever it is
    /// going to run. (What waits here may be no less than what was told, and less than what waits elsewhere.)
    #[inline]
    fn publish_level(&mut self, pri: &CpuPri) {
        let level = self.level();
        let told = if prio_of(level) > self.smp.told_prio { cpupri::OFF } else { level };
        self.tell_level(pri, level);
        self.smp.told_prio = prio_of(told);
    }

    /// Others are to see this CPU as [`cpupri::OFF`].
    #[inline(always)]
    pub(super) fn is_off(&self) -> bool {
        self.smp.is_off
    }

    /// The real-time task that the next pick returns, if nothing is out of the ordinary.
    #[inline(always)]
    pub(super) fn plain_pick(&self) -> Option<SchedRef> {
        if self.special().is_empty() { self.rt.pick() } else { None }
    }

    /// Nothing is out of the ordinary, and nobody waits here whom other CPUs may take (as nobody can where there is one CPU).
    /// One load.
    #[inline(always)]
    pub(super) fn is_quiet(&self) -> bool {
        self.special.is_empty()
    }

    /// `p` may run on this CPU and on no other, and this CPU takes tasks: it need not be asked where `p` is to run.
    #[inline(always)]
    pub(super) fn is_own(&self, p: SchedRef) -> bool {
        p.cpus_allowed() == self.smp.own
    }

    /// A real-time task that [`Self::is_own`]: it is in no list and in no sum of which other CPUs are told, so when it
    /// wakes, runs, makes room or sleeps there is nothing to tell but the CPU's level.
    #[inline(always)]
    pub(super) fn is_own_rt(&self, p: SchedRef) -> bool {
        let is_own = p.is_rt() && self.is_own(p);
        debug_assert!(!is_own || p.is_bound_rt() && !p.is_counted(), "{p:?} may be taken, or counts as fair");
        is_own
    }

    /// The level that others know of this CPU, as a priority ([`prio_of`]); that of [`cpupri::OFF`] if it was lowered and the
    /// CPU has not looked since for what should rather run here.
    #[inline(always)]
    pub(super) fn told_prio(&self) -> i32 {
        self.smp.told_prio
    }

    /// This CPU is known to run something of this real-time priority; the table has been told.
    #[inline(always)]
    pub(super) fn note_told_prio(&mut self, prio: i32) {
        self.smp.told_prio = prio;
    }

    /// Where the table has this CPU's level.
    pub(super) fn set_entry(&mut self, entry: &'static AtomicU8) {
        self.smp.entry = entry;
    }

    /// Tells the kernel's table, and nothing else, that something of this real-time priority runs here or is about to.
    #[inline(always)]
    pub(super) fn tell_table(&self, prio: i32) {
        self.smp.entry.store((MAX_RT_PRIO - prio) as u8, Ordering::Relaxed);
    }

    /// What has been woken and is to run here, until the switch: of this real-time priority, unless that of something else is
    /// more.
    #[inline(always)]
    pub(super) fn note_coming(&mut self, prio: i32) {
        self.smp.coming = self.smp.coming.max((MAX_RT_PRIO - prio) as u8);
    }

    /// The same where it is known to be the most.
    #[inline(always)]
    pub(super) fn set_coming(&mut self, prio: i32) {
        debug_assert!(self.smp.coming < (MAX_RT_PRIO - prio) as u8, "what is coming was not told");
        self.smp.coming = (MAX_RT_PRIO - prio) as u8;
    }

    /// Tells the kernel's table what is coming.
    pub(super) fn tell_coming(&self) {
        self.smp.entry.store(self.smp.coming, Ordering::Relaxed);
    }

    /// [`Self::publish_switch`] of two tasks that [`Self::is_own_rt`], when the level has been told: makes `next` the
    /// running task.
    #[inline(always)]
    pub(super) fn run_own_rt(&mut self, next: SchedRef) {
        self.smp.coming = cpupri::IDLE;
        self.curr = next;
    }

    /// Is [`Self::publish_wakeup`] done by this? `p` is a real-time task of one CPU.
    #[inline(always)]
    pub(super) fn tell_plain_wakeup(&mut self, pri: &CpuPri, p: SchedRef, decision: Resched) -> bool {
        if !p.is_rt() || !p.has_one_cpu() {
            return false;
        }
        debug_assert!(p.is_bound_rt() && !p.is_counted(), "{p:?} may still be taken, or is counted as fair");
        if decision.is_yes() {
            let level = level_of_rt(p);
            if p.prio() >= self.smp.told_prio {
                return false;
            }
            self.smp.coming = level;
            self.tell_level(pri, level);
        }
        true
    }

    /// The level of the most important task that [`Self::rt_pushable`] would return; 0 for none.
    #[inline]
    pub(super) fn best_pushable(&self) -> u8 {
        // What is held back is held back: it does not go on elsewhere.
        match self.smp.pushable.highest_prio() {
            Some(prio) if !self.is_throttled() => cpupri::level_of_prio(prio),
            _ => 0,
        }
    }

    /// Tells the tables all there is to tell: after an event (`Rq::event`), a change of [`Self::set_off`], a tick.
    #[inline(never)]
    pub fn publish(&mut self, pri: &CpuPri, loads: &CpuLoads) {
        self.publish_level(pri);
        loads.runs(self.smp.cpu, &self.curr);
        loads.publish(self);
        self.note_told_pushable(self.best_pushable());
    }

    #[inline]
    fn note_told_pushable(&mut self, level: u8) {
        self.smp.told_pushable = level;
        self.special.set(Special::PUSHABLE, level != 0);
    }

    /// Tells others of the tasks that they may take from here, if that is something new.
    #[inline]
    fn publish_pushable(&mut self, loads: &CpuLoads) {
        let best = self.best_pushable();
        if best != self.smp.told_pushable {
            self.note_told_pushable(best);
            loads.publish_pushable(self.smp.cpu, best);
        }
    }

    /// Brings what several CPUs need to know of `p`, which belongs to this run queue, up to date. See the module's text.
    #[inline]
    pub fn sync_task(&mut self, p: SchedRef) {
        let waits = p.is_rt() && p.is_queued() && p != self.curr && p.is_migratable();
        self.smp.pushable.place(p, waits.then(|| p.prio()));
        if !p.is_rt() || p.is_counted() {
            self.sync_load(p);
        }
    }

    /// Tracks the load that `p` is.
    #[inline(never)]
    fn sync_load(&mut self, p: SchedRef) {
        let now = self.clock_task_ns();
        self.smp.avg.advance(now, self.cfs.load.unshifted(), self.cfs.curr.is_some(), 1);
        if p.is_fair() {
            let weight = p.se.load.get().unshifted();
            let smp = p.smp();
            if !smp.has_avg.replace(true) {
                smp.avg.set(LoadAvg::of_new_task(weight, &self.smp.avg, now));
            }
            let mut avg = smp.avg.get();
            let before = avg;
            avg.advance(now, u64::from(p.se.is_on_rq()), self.cfs.curr == Some(p), weight);
            if !p.se.is_counted.replace(true) {
                self.smp.avg.add(&avg);
            } else if !before.is_of_weight(weight) {
                self.smp.avg.remove(&before);
                self.smp.avg.add(&avg);
            }
            smp.avg.set(avg);
        } else {
            self.uncount(p);
        }
    }

    /// `p` is not part of what is to do here any more.
    fn uncount(&mut self, p: SchedRef) {
        if p.is_counted() {
            p.se.is_counted.set(false);
            let mut avg = p.smp().avg.get();
            avg.advance(self.clock_task_ns(), 0, false, p.se.load.get().unshifted());
            self.smp.avg.remove(&avg);
            p.smp().avg.set(avg);
        }
    }

    /// What the fair tasks here have wanted of late, in units of weight; as of the last change.
    pub fn load_avg(&self) -> u64 {
        self.smp.avg.load_avg()
    }

    /// What the fair tasks here have had of late, of 1024.
    pub fn util_avg(&self) -> u64 {
        self.smp.avg.util_avg()
    }

    /// Counts the load up to now; on the tick, so that it is not too old where nothing changes. Needs the clock.
    pub fn sync_curr_load(&mut self) {
        self.sync_load(self.curr);
    }

    /// `next` runs in the place of `prev` from now on: [`Self::sync_task`] of both, and what the tables are to say.
    #[inline]
    pub fn publish_switch(&mut self, pri: &CpuPri, loads: &CpuLoads, prev: SchedRef, next: SchedRef) {
        // Where a real-time task follows a real-time task there is little to tell.
        self.smp.coming = cpupri::IDLE;
        let is_counted = prev.is_counted() || next.is_counted();
        if prev.is_bound_rt() && next.is_bound_rt() && !is_counted {
            // And nothing of whom others may take.
            self.publish_level(pri);
            loads.runs(self.smp.cpu, &next);
            return;
        }
        self.sync_task(prev);
        self.sync_task(next);
        if prev.is_rt() && next.is_rt() && !is_counted {
            self.publish_level(pri);
            loads.runs(self.smp.cpu, &next);
            self.publish_pushable(loads);
        } else {
            self.publish(pri, loads);
        }
    }

    /// `p` has been woken or attached: [`Self::sync_task`], and what the tables are to say. With `Yes` it is about to run
    /// here, and the next waker is to know that already.
    #[inline]
    pub fn publish_wakeup(&mut self, pri: &CpuPri, loads: &CpuLoads, p: SchedRef, decision: Resched) {
        if decision.is_yes() {
            self.smp.coming = self.smp.coming.max(level_of(&p));
        }
        if p.is_bound_rt() && !p.is_counted() {
            self.publish_level(pri);
        } else if p.is_rt() && !p.is_counted() {
            self.sync_task(p);
            self.publish_level(pri);
            self.publish_pushable(loads);
        } else {
            self.publish_change(pri, loads, p);
        }
    }

    /// `p` has been dequeued or detached, or has another priority, class or mask: [`Self::sync_task`], and what the tables
    /// are to say.
    pub fn publish_change(&mut self, pri: &CpuPri, loads: &CpuLoads, p: SchedRef) {
        self.sync_task(p);
        self.publish(pri, loads);
    }

    /// Runs `f` with the reservations of all CPUs that share deadline tasks in the place of this CPU's: admission and
    /// its end then concern those. The lock that guards `root` is held.
    pub fn with_root<R>(&mut self, root: &mut DlBandwidth, f: impl FnOnce(&mut Self) -> R) -> R {
        swap(&mut self.dl_bandwidth, root);
        let result = f(self);
        swap(&mut self.dl_bandwidth, root);
        result
    }

    /// The priority of what the next pick would return, if nothing came in between; that of idle if nothing waits. To be
    /// asked when a task that goes to sleep has been dequeued: is there less to do here than there was?
    pub fn peek_prio(&self) -> i32 {
        if self.special.contains(Special::STOP) {
            STOP_PRIO
        } else if self.dl.pick().is_some() {
            -1
        } else if !self.rt.is_empty() && !self.is_throttled() {
            self.rt.highest_prio()
        } else if self.cfs.nr_running != 0 {
            DEFAULT_PRIO
        } else {
            MAX_PRIO
        }
    }

    /// What a real-time or deadline task from elsewhere would have to beat to be the next to run here: nothing real-time
    /// does while real-time tasks are held back.
    pub fn prio_to_beat(&self) -> i32 {
        if self.smp.is_off {
            STOP_PRIO
        } else if self.is_throttled() {
            self.peek_prio().min(MAX_DL_PRIO)
        } else {
            self.peek_prio()
        }
    }

    /// `p`, a real-time or deadline task that waits here, is about to run here: it is the next to be picked, and beats what
    /// runs. (At the head of the equals of what runs it would be the next too, but when?)
    pub fn is_next(&self, p: SchedRef) -> bool {
        if self.special.contains(Special::STOP) {
            return false;
        }
        if p.is_deadline() {
            return self.dl.pick() == Some(p);
        }
        let is_picked = self.dl.pick().is_none() && !self.is_throttled() && self.rt.pick() == Some(p);
        is_picked && p.prio() < self.curr.prio()
    }

    fn is_throttled(&self) -> bool {
        self.special.contains(Special::RT_THROTTLED)
    }

    /// The most important real-time task that waits here and could run elsewhere.
    pub fn rt_pushable(&self) -> Option<SchedRef> {
        self.smp.pushable.first()
    }

    /// Real-time tasks wait here that could run elsewhere.
    #[inline(always)]
    pub fn rt_is_overloaded(&self) -> bool {
        !self.smp.pushable.is_empty()
    }

    /// The most important real-time task that `cpu`, where a task of priority `than` would run next, could take from
    /// here: it beats that, and it is not about to run here. Looks at [`CANDIDATES`] tasks.
    pub fn rt_pushable_for(&self, cpu: usize, than: i32) -> Option<SchedRef> {
        let candidates = self.smp.pushable.iter().take(if self.is_throttled() { 0 } else { CANDIDATES });
        candidates.take_while(|p| p.prio() < than).find(|&p| p.may_move_to(cpu) && !self.is_next(p))
    }

    /// The deadline task with the earliest deadline that waits here and could run elsewhere. Looks at [`CANDIDATES`]:
    /// a deadline task may run anywhere unless it forbids its migration for a while.
    pub fn dl_pushable(&self) -> Option<SchedRef> {
        self.dl.iter().take(CANDIDATES).find(|&p| p != self.curr && p.is_migratable())
    }

    /// The real-time and deadline tasks that wait here and could run elsewhere, those that are to be pushed first first:
    /// [`CANDIDATES`] of each.
    pub fn pushables(&self) -> impl Iterator<Item = SchedRef> + '_ {
        let curr = self.curr;
        let deadline = self.dl.iter().take(CANDIDATES).filter(move |&p| p != curr && p.is_migratable());
        deadline.chain(self.smp.pushable.iter().take(if self.is_throttled() { 0 } else { CANDIDATES }))
    }

    /// Deadline tasks wait here that could run elsewhere.
    pub fn dl_is_overloaded(&self) -> bool {
        self.dl_pushable().is_some()
    }

    /// As [`Self::rt_pushable_for`], for deadline tasks: `than` is the earliest deadline that waits or runs on `cpu`, if
    /// there is one.
    pub fn dl_pushable_for(&self, cpu: usize, than: Option<u64>) -> Option<SchedRef> {
        self.dl
            .iter()
            .take(CANDIDATES)
            .take_while(|p| than.is_none_or(|than| dl_time_before(p.dl().deadline_ns(), than)))
            .find(|&p| p != self.curr && p.may_move_to(cpu) && !self.is_next(p))
    }

    /// The earliest deadline of those that run or wait here.
    pub fn earliest_deadline(&self) -> Option<u64> {
        self.dl.pick().map(|p| p.dl().deadline_ns())
    }

    /// `p`, a real-time task, has become ready, is as important as the running task, and so did not preempt it. If `p`
    /// cannot run elsewhere and the running task can, `p` goes in front of its equals and the running task makes room.
    /// `curr_can_go` and `p_can_go`: cpupri has another CPU for it.
    pub fn check_preempt_equal(&mut self, p: SchedRef, curr_can_go: bool, p_can_go: bool) -> Resched {
        let curr = self.curr;
        let is_equal = p.is_rt() && p != curr && p.prio() == curr.prio();
        if !is_equal || !curr.is_migratable() || !curr_can_go || p.is_migratable() && p_can_go {
            return Resched::No;
        }
        self.rt.requeue_head(p);
        Resched::Yes
    }

    /// Takes the queued `p`, which does not run, off this queue, to be attached to another one.
    pub fn detach_task(&mut self, p: SchedRef) {
        debug_assert!(p.is_queued() && p != self.curr, "rq: {p:?} runs or is not queued, and is to be moved");
        self.class_dequeue(p, DequeueFlags::empty());
        p.on_rq.set(OnRq::Migrating);
        self.forget(p);
        self.smp.pushable.place(p, None);
    }

    /// What this CPU alone knew of `p` is nobody's any more.
    fn forget(&mut self, p: SchedRef) {
        match p.class() {
            Class::Deadline => {
                // Held back, it waits for its budget where it is going.
                self.dl.leave(p);
                self.update_special();
            }
            Class::Fair => p.se.exec_start.set(0),
            _ => {}
        }
        self.uncount(p);
    }

    /// Puts `p`, detached from another queue, on this one, and says whether the running task should make room.
    pub fn attach_task(&mut self, p: SchedRef) -> Resched {
        debug_assert!(p.on_rq() == OnRq::Migrating, "rq: {p:?} is attached and was not detached");
        p.on_rq.set(OnRq::Queued);
        if p.is_deadline() {
            self.dl.attach(p, self.clock_ns());
            self.update_special();
        } else {
            self.class_enqueue(p, EnqueueFlags::MIGRATED);
        }
        self.sync_task(p);
        self.check_preempt_curr(p, WakeFlags::empty())
    }

    /// The sleeping `p` is about to be woken on another CPU: it leaves this queue's virtual time, and the deadline tasks
    /// that wait for a budget. [`Self::wake_up_migrated`] is to follow at once. A new task needs neither.
    pub fn detach_sleeping(&mut self, p: SchedRef) {
        debug_assert!(!p.is_queued() && p != self.curr, "rq: {p:?} does not sleep");
        if p.is_new.get() {
            return;
        }
        if p.is_fair() {
            self.cfs.leave_sleeping(p);
        }
        self.forget(p);
        self.smp.pushable.place(p, None);
    }

    /// Wakes `p`, which [`Self::detach_sleeping`] has taken from another queue, on this one.
    pub fn wake_up_migrated(&mut self, p: SchedRef, flags: WakeFlags) -> Resched {
        self.enqueue_task(p, EnqueueFlags::WAKEUP | EnqueueFlags::MIGRATED);
        self.sync_task(p);
        self.check_preempt_curr(p, flags)
    }

    /// True when what is kept for other CPUs is what it should be; for tests and debug builds. Walks everything.
    pub fn is_smp_consistent(&self) -> bool {
        let may_go = |p: &SchedRef| *p != self.curr && p.is_migratable();
        let waiting = self.rt.iter().filter(may_go).count();
        self.smp.pushable.is_consistent()
            && self.smp.pushable.iter().count() == waiting
            && self.smp.pushable.iter().all(|p| {
                may_go(&p) && p.is_queued() && p.is_rt() && i32::from(p.rt.pushable_at.get()) == p.prio() + 1
            })
            && RtRq::is_consistent(&self.rt)
    }
}

/// A level as the priority that a real-time task of it has; the others lie on both sides of those.
#[inline(always)]
pub(super) const fn prio_of(level: u8) -> i32 {
    MAX_RT_PRIO - level as i32
}

/// The level of a real-time task.
#[inline(always)]
fn level_of_rt(p: SchedRef) -> u8 {
    (MAX_RT_PRIO - p.prio()) as u8
}

impl SchedRef {
    /// May run on one CPU, or on none.
    #[inline(always)]
    fn has_one_cpu(self) -> bool {
        let mask = self.cpus_allowed().bits();
        mask & mask.wrapping_sub(1) == 0
    }

    /// A real-time task that other CPUs may not take, and that is not among those they may.
    #[inline(always)]
    fn is_bound_rt(self) -> bool {
        self.is_rt() && !self.is_migratable() && self.rt.pushable_at.get() == 0
    }
}
