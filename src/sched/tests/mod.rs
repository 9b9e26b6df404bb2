//! Tests of the scheduling classes, by rule. The helper is a CPU without a
//! core: it drives a run queue by hand, at chosen times.

mod balance;
mod bandwidth;
mod deadline;
mod fair_accounts;
mod fair_pick;
mod fair_preempt;
mod oracle;
mod params;
mod rt;
mod select;
mod setprio;
mod smp;
mod stop;
mod vectors;

use std::{boxed::Box, vec::Vec};

use core::ptr::NonNull;

use super::{DequeueFlags, EnqueueFlags, Policy, Resched, Rq, SchedAttr, SchedRef, SchedTask, WakeFlags};

/// One CPU, its tasks, and the time.
pub(super) struct Cpu {
    pub(super) rq: Box<Rq>,
    pub(super) now: u64,
    // The run queue points at them: boxed once, never moved, freed last.
    tasks: Vec<NonNull<SchedTask>>,
}

impl Drop for Cpu {
    fn drop(&mut self) {
        for task in self.tasks.drain(..) {
            // SAFETY: every pointer came from `Box::into_raw` in `adopt`, and
            // no `SchedRef` is used after the CPU is gone.
            drop(unsafe { Box::from_raw(task.as_ptr()) });
        }
    }
}

impl Cpu {
    pub(super) fn new() -> Self {
        let mut cpu = Self { rq: Box::new(Rq::new()), now: 1_000_000, tasks: Vec::new() };
        let idle = cpu.adopt(SchedTask::new_idle());
        cpu.rq.init(idle, 250, 1);
        cpu.rq.update_clock(cpu.now);
        cpu
    }

    fn adopt(&mut self, task: SchedTask) -> SchedRef {
        let task = NonNull::from(Box::leak(Box::new(task)));
        self.tasks.push(task);
        // SAFETY: boxed, freed only when this CPU is dropped; one thread.
        unsafe { SchedRef::new(task) }
    }

    /// A task that has never been woken.
    pub(super) fn task(&mut self, attr: SchedAttr) -> SchedRef {
        let p = self.adopt(SchedTask::new());
        p.init(attr);
        p
    }

    /// A new task, forked by whoever runs and woken.
    pub(super) fn start(&mut self, attr: SchedAttr) -> SchedRef {
        let p = self.task(attr);
        let _ = self.rq.task_fork(p);
        let _ = self.rq.wake_up_new_task(p);
        p
    }

    pub(super) fn fifo(&mut self, rt_priority: u32) -> SchedRef {
        self.start(SchedAttr::fifo(rt_priority).unwrap())
    }

    pub(super) fn rr(&mut self, rt_priority: u32) -> SchedRef {
        self.start(SchedAttr::rr(rt_priority).unwrap())
    }

    pub(super) fn normal(&mut self, nice: i32) -> SchedRef {
        self.start(SchedAttr::normal(nice).unwrap())
    }

    pub(super) fn with_policy(&mut self, policy: Policy) -> SchedRef {
        self.start(SchedAttr::new(policy, 0, 0).unwrap())
    }

    /// A fair task that is queued with its virtual runtime `offset` ns after
    /// `min_vruntime`.
    pub(super) fn normal_at(&mut self, nice: i32, offset: i64) -> SchedRef {
        let p = self.normal(nice);
        self.set_offset(p, offset);
        p
    }

    /// Moves a waiting fair task to `offset` ns after `min_vruntime`.
    pub(super) fn set_offset(&mut self, p: SchedRef, offset: i64) {
        let v = self.rq.cfs.min_vruntime.wrapping_add_signed(offset);
        if self.rq.cfs.curr == Some(p) {
            p.se.vruntime.set(v);
        } else {
            self.rq.cfs.timeline.remove(p);
            p.se.vruntime.set(v);
            self.rq.cfs.timeline.insert(p);
        }
    }

    pub(super) fn pass(&mut self, ns: u64) {
        self.now += ns;
        self.rq.update_clock(self.now);
    }

    pub(super) fn schedule(&mut self) -> SchedRef {
        let prev = self.rq.curr();
        self.rq.pick_next_task(prev)
    }

    /// Makes `p`, a waiting fair task, the running one, whoever is first.
    pub(super) fn run(&mut self, p: SchedRef) {
        self.rq.cfs.put_prev(self.now);
        self.rq.cfs.set_next(p, self.now);
        self.rq.curr = p;
    }

    pub(super) fn sleep(&mut self) -> SchedRef {
        let curr = self.rq.curr();
        self.rq.dequeue_task(curr, DequeueFlags::SLEEP);
        self.schedule()
    }

    pub(super) fn wake(&mut self, p: SchedRef) -> Resched {
        self.rq.enqueue_task(p, EnqueueFlags::WAKEUP);
        self.rq.check_preempt_curr(p, WakeFlags::empty())
    }

    /// Where it cannot be refused.
    pub(super) fn set_scheduler(&mut self, p: SchedRef, attr: SchedAttr) -> Resched {
        self.rq.set_scheduler(p, attr).unwrap()
    }

    pub(super) fn rt_order(&self) -> Vec<SchedRef> {
        self.rq.rt().iter().collect()
    }

    pub(super) fn fair_order(&self) -> Vec<SchedRef> {
        self.rq.cfs().iter().collect()
    }

    pub(super) fn check(&self) {
        assert!(self.rq.rt.is_consistent(), "real-time lists, bitmap and priorities disagree");
        assert!(self.rq.cfs.is_consistent(), "fair sums, cache or order are wrong");
        assert!(self.rq.dl.is_consistent(), "deadline trees and tasks disagree");
    }
}
