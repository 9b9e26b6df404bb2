//! Who is let into the deadline class where there are several CPUs.
//!
//! Deadline tasks run wherever the earliest deadlines are to run, so they are admitted to all CPUs together: one sum, kept
//! here, of what all of them have reserved. A task that may run on one CPU alone has to fit there as well: its share is part
//! of that run queue's sum too, as on a machine with one CPU. Between one CPU and all of them there is nothing: admission
//! could say nothing about such a task (reference 5.3: EPERM).
//!
//! Isolated CPUs are none of those that deadline tasks share; a task that is bound to one has it for itself.
//!
//! Invariant: a task's share is in the same sums from when it is let in until it leaves; so its set changes only to one of
//! the same kind ([`may_change`]).
//!
//! Context: any, IRQs masked. Lock: its own, inside the run queue's, a leaf.

use super::deadline::DlParams;
use super::deadline_admit::{DlBandwidth, DlRefused, covers};
use super::prio::{Policy, SchedAttr};
use super::push_pull::view;
use super::rq::Rq;
use super::runqueue::{cpu_rq, sched_ref};
use crate::error::{Error, Result};
use crate::locking::RawLock;
use crate::smp::{CpuMask, isolation};
use crate::task::Task;
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use core::cell::UnsafeCell;

struct Root {
    lock: RawLock,
    bandwidth: UnsafeCell<DlBandwidth>,
}

// SAFETY: `bandwidth` is used with the lock held.
unsafe impl Sync for Root {}

static ROOT: Root = Root { lock: RawLock::new(), bandwidth: UnsafeCell::new(DlBandwidth::new()) };

impl Root {
    /// IRQs masked.
    fn with<R>(&self, f: impl FnOnce(&mut DlBandwidth) -> R) -> R {
        self.lock.lock();
        // SAFETY: locked, and this is the only reference.
        let result = f(unsafe { &mut *self.bandwidth.get() });
        // SAFETY: locked above.
        unsafe { self.lock.unlock() };
        result
    }
}

/// The one CPU on which a task of this set may run.
fn bound_to(cpus: CpuMask) -> Option<usize> {
    if cpus.count() == 1 { cpus.first() } else { None }
}

/// May a task of this set be a deadline task?
pub(super) fn may_enter(cpus: CpuMask) -> bool {
    bound_to(cpus).is_some() || covers(cpus, view().domain)
}

/// May a deadline task change its set from `old` to `new` without being admitted anew?
pub(super) fn may_change(old: CpuMask, new: CpuMask) -> bool {
    match bound_to(old) {
        Some(cpu) => bound_to(new) == Some(cpu),
        None => bound_to(new).is_none() && covers(new, view().domain),
    }
}

/// Runs `f`, which gives `task` these parameters, on its run queue, with the sums to which the task belongs. The run queue is
/// locked.
#[inline]
pub(super) fn with_accounts<R>(
    rq: &mut Rq,
    task: &Task,
    attr: SchedAttr,
    f: impl FnOnce(&mut Rq) -> Result<R, DlRefused>,
) -> Result<R> {
    let is_concerned = attr.policy() == Policy::Deadline || task.sched.policy() == Policy::Deadline;
    if !static_branch::<SMP_LOCKS>() || !is_concerned {
        return f(rq).map_err(Error::from);
    }
    with_root(rq, task, attr, f)
}

#[cold]
#[inline(never)]
fn with_root<R>(
    rq: &mut Rq,
    task: &Task,
    attr: SchedAttr,
    f: impl FnOnce(&mut Rq) -> Result<R, DlRefused>,
) -> Result<R> {
    let cpus = task.sched.cpus_allowed();
    let enters = attr.policy() == Policy::Deadline;
    if enters && !may_enter(cpus) {
        return Err(Error::DeadlineAffinity);
    }
    let Some(cpu) = bound_to(cpus) else {
        return ROOT.with(|root| rq.with_root(root, f)).map_err(Error::from);
    };
    if isolation::is_isolated(cpu) {
        return f(rq).map_err(Error::from);
    }
    // In both sums.
    let now = rq.clock_ns();
    let p = sched_ref(task);
    let has = p.policy() == Policy::Deadline;
    let held = if has { p.dl().params() } else { DlParams::NONE };
    if !enters {
        ROOT.with(|root| root.release(p, now));
        return f(rq).map_err(Error::from);
    }
    ROOT.with(|root| root.reserve(attr.dl(), held, now))?;
    f(rq).map_err(|refused| {
        // What was there a moment ago fits.
        let _ = ROOT.with(|root| root.reserve(held, attr.dl(), now));
        Error::from(refused)
    })
}

/// The CPUs that deadline tasks share are as many as there are online now, or one less; or their limit has changed. Threads.
///
/// # Errors
/// [`Error::NoBandwidth`] if more is reserved than they have.
pub(crate) fn update(cpus: usize) -> Result<()> {
    let flags = irqflags::local_irq_save();
    let boot = cpu_rq(0);
    boot.lock.lock();
    // SAFETY: locked above.
    let limit = unsafe { boot.rq() }.dl_bandwidth().limit();
    // SAFETY: locked above.
    unsafe { boot.unlock() };
    let now = crate::time::now_ns();
    let result = ROOT.with(|root| {
        root.set_cpus(cpus, now)?;
        root.set_limit(limit, now)
    });
    irqflags::local_irq_restore(flags);
    result.map_err(Error::from)
}

/// The number of CPUs that share deadline and fair tasks has become this. Threads.
pub(crate) fn cpus_changed() {
    let cpus = view().domain.count();
    if let Err(error) = update(cpus) {
        log::warn!(target: "sched", "deadline tasks on {cpus} CPUs: {error}");
    }
    super::rebalance::set_cpus(cpus);
}
