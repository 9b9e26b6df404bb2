//! Where a task may run: its CPU set, and the sections in which it must stay where it is.
//!
//! The set belongs to the lock of the task's run queue. Changing it acts at once: a task that is queued where it must not
//! be any more is moved under both locks; one that runs there is moved by that CPU's stopper, which comes in between; one
//! that sleeps is woken elsewhere. When [`set_affinity`] returns, the task is on a CPU of the set, or asleep.
//!
//! [`migrate_disable`] binds the running task to its CPU and leaves it preemptible. A change of the set that would have
//! to move it waits for the end of the section.
//!
//! A set of which no CPU is online any more is kept, and holds again when one of them is back; meanwhile the task runs
//! anywhere (`migrate::usable_cpus`).
//!
//! Context: threads. Locks: the run queue of the task; the queue of those who wait, alone.

use super::migrate::{Settled, settle};
use super::push_pull;
use super::runqueue::{RunQueue, lock_task_rq};
use super::stop::stop_one_cpu;
use super::wakeup::check_resched;
use super::{Class, Policy, dl_root};
use crate::error::{Error, Result};
use crate::locking::WaitQueue;
use crate::smp::{self, CpuMask};
use crate::task::{self, Task};
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use core::marker::PhantomData;

/// Those who wait for the end of a section without migration, of whatever task.
static SECTION_ENDS: WaitQueue = WaitQueue::new();

/// Says where `task` may run, and sees to it.
pub(crate) fn set_affinity(task: &Task, cpus: CpuMask) -> Result<()> {
    crate::preempt::might_sleep();
    if (cpus & smp::online()).is_empty() {
        return Err(Error::BadAffinity);
    }
    if matches!(task.sched.class(), Class::Idle | Class::Stop) {
        return Err(Error::Busy);
    }
    store(task, cpus)?;
    if !static_branch::<SMP_LOCKS>() {
        return Ok(());
    }
    loop {
        match settle_irqs_open(task) {
            Settled::Yes => return Ok(()),
            Settled::Runs(cpu) => {
                let moved = stop_one_cpu(cpu, &|| {
                    let _ = settle_irqs_open(task);
                });
                if moved.is_err() {
                    // The CPU is coming, or going; whoever sees to that is not to be kept from it.
                    task::sleep_ms(1);
                }
            }
            Settled::Bound => SECTION_ENDS.wait_until(|| settle_irqs_open(task) != Settled::Bound),
        }
    }
}

/// Puts the set into force, if the task may have it.
fn store(task: &Task, cpus: CpuMask) -> Result<()> {
    let flags = irqflags::local_irq_save();
    // SAFETY: IRQs masked.
    let this = unsafe { lock_task_rq(task) };
    let fits = task.sched.policy() != Policy::Deadline
        || !static_branch::<SMP_LOCKS>()
        || dl_root::may_change(task.sched.cpus_allowed(), cpus);
    if fits {
        task.sched.set_cpus_allowed(cpus);
        if static_branch::<SMP_LOCKS>() {
            push_pull::prio_changed(this, task);
        }
    }
    // SAFETY: locked above.
    unsafe { this.unlock() };
    check_resched(flags);
    irqflags::local_irq_restore(flags);
    // Another change may wait to move it, for which there is no need any more.
    SECTION_ENDS.wake_all();
    if fits { Ok(()) } else { Err(Error::DeadlineAffinity) }
}

fn settle_irqs_open(task: &Task) -> Settled {
    let flags = irqflags::local_irq_save();
    // SAFETY: masked.
    let settled = unsafe { settle(task) };
    // It may have come to this CPU, and be the one to run here.
    check_resched(flags);
    irqflags::local_irq_restore(flags);
    settled
}

/// Until it is dropped, the task that made it stays on its CPU. It may be preempted, and it may sleep. Sections nest.
#[must_use = "the section ends as soon as the guard is dropped"]
#[derive(Debug)]
pub struct MigrateGuard {
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: whoever moves tasks leaves alone those of which `migrate_disabled` is not 0; where there is one CPU nobody moves
// any. It is not `Send`.
unsafe impl crate::percpu::StaysOnCpu for MigrateGuard {}

/// Begins a section in which the running task is not moved to another CPU. Thread context.
#[inline]
pub fn migrate_disable() -> MigrateGuard {
    if static_branch::<SMP_LOCKS>() {
        change_depth(1);
    }
    MigrateGuard { _not_send: PhantomData }
}

impl Drop for MigrateGuard {
    #[inline]
    fn drop(&mut self) {
        migrate_enable();
    }
}

/// Ends a section whose guard was forgotten.
#[inline]
pub(crate) fn migrate_enable() {
    if static_branch::<SMP_LOCKS>() {
        migrate_enable_smp();
    }
}

/// The running task's own, and it is `curr`: whoever might move it looks after it has ceased to run, under the run
/// queue's lock.
fn change_depth(by: i16) -> u16 {
    let sched = &task::current().sched;
    let depth = sched.migrate_disabled().checked_add_signed(by);
    let depth =
        depth.unwrap_or_else(|| panic!("migrate_disable is nested {} deep", sched.migrate_disabled()));
    sched.set_migrate_disabled(depth);
    depth
}

#[cold]
#[inline(never)]
fn migrate_enable_smp() {
    let task = task::current();
    if task.sched.migrate_disabled() > 1 {
        change_depth(-1);
        return;
    }
    let flags = irqflags::local_irq_save();
    // Under the lock, so that a change of the set comes before, and is seen here, or after, and finds the section ended.
    // SAFETY: IRQs masked.
    let this: &RunQueue = unsafe { lock_task_rq(task) };
    change_depth(-1);
    let is_allowed = super::migrate::usable_cpus(task).contains(this.cpu());
    // SAFETY: locked above.
    unsafe { this.unlock() };
    irqflags::local_irq_restore(flags);
    if !is_allowed {
        // With the guard of an inner section that cannot be: the depth was 1.
        let _ = stop_one_cpu(this.cpu(), &|| {
            let _ = settle_irqs_open(task);
        });
        SECTION_ENDS.wake_all();
    }
}
