//! A look at a CPU's run queue from outside, for the watchers and for people: does it get on, who runs, who waits.
//!
//! The watched CPU pays nothing for it but that its run queue is locked for a moment, and that is only tried: the CPU may
//! be stuck with it locked.
//!
//! Context: any. Lock: the run queue of the CPU, tried.

use super::entity::SchedRef;
use super::prio::Policy;
use super::rq::Rq;
use super::runqueue::{RunQueue, cpu_rq, task_of};
use super::stop;
use crate::task::{Name, Task};
use arch::irqflags;

/// How often a run queue that is locked is tried.
const TRIES: u32 = 1000;

/// Who runs on a CPU, and whether anybody else would like to.
#[derive(Clone, Copy, Debug)]
pub struct CpuPeek {
    /// The running task's name.
    pub name: Name,
    /// Its number.
    pub id: u32,
    /// Its policy.
    pub policy: Policy,
    /// Its real-time priority, if the policy has one.
    pub rt_priority: u8,
    /// Its preempt word, as far as memory shows it: the CPU may be changing it.
    pub preempt_word: u64,
    /// Changes when another task gets the CPU, the stopper excepted: it comes and goes and leaves the CPU to whom it has
    /// displaced.
    pub stamp: u64,
    /// It is the idle task.
    pub is_idle: bool,
    /// Somebody else is ready to run there.
    pub waiting: bool,
    /// The run queue was locked all the while: what is said here may be out of date.
    pub unlocked: bool,
}

/// How many tasks are ready on `cpu` or run there, its idle task not counted; for people: the queues are walked. Nothing if
/// its run queue is locked all the while. The CPU is present and has been started.
#[must_use]
pub fn nr_running(cpu: usize) -> Option<usize> {
    let this = cpu_rq(cpu);
    let flags = irqflags::local_irq_save();
    let locked = (0..TRIES).any(|_| this.try_lock());
    let running = locked.then(|| {
        // SAFETY: locked above.
        let running = unsafe { this.rq() }.nr_running();
        // SAFETY: locked above.
        unsafe { this.unlock() };
        running
    });
    irqflags::local_irq_restore(flags);
    running
}

/// Who runs on `cpu`. The CPU is present and has been started.
#[must_use]
pub fn peek(cpu: usize) -> CpuPeek {
    let this = cpu_rq(cpu);
    let flags = irqflags::local_irq_save();
    let locked = (0..TRIES).any(|_| {
        let locked = this.try_lock();
        if !locked {
            arch::cpu::relax();
        }
        locked
    });
    // SAFETY: locked; or else, as the text of `unlocked` says, the queue is read while its CPU has it locked, which it
    // has had for long: a value may be torn, the task that runs is there.
    let peek = look(cpu, unsafe { this.rq() }, !locked);
    if locked {
        // SAFETY: taken above.
        unsafe { this.unlock() };
    }
    irqflags::local_irq_restore(flags);
    peek
}

/// While the run queue is locked its running task is not freed.
fn look(cpu: usize, rq: &Rq, unlocked: bool) -> CpuPeek {
    let curr = rq.curr();
    let task = task_of(curr);
    CpuPeek {
        name: task.name_copy(),
        id: task.id(),
        policy: curr.policy(),
        rt_priority: curr.attr().rt_priority(),
        preempt_word: task.arch.thread_info.preempt_word(),
        stamp: stamp(cpu, task),
        is_idle: curr == rq.idle(),
        // The lists are not walked while they may change.
        waiting: !unlocked && somebody_waits(rq, curr),
        unlocked,
    }
}

/// Who runs, and how often it has been switched away from, but for the times when the stopper was switched to.
fn stamp(cpu: usize, curr: &Task) -> u64 {
    (u64::from(curr.id()) << 40) ^ curr.switches().wrapping_sub(stop::switches(cpu))
}

/// Whether anybody but `curr`, which runs, is ready. At most two steps into each queue.
fn somebody_waits(rq: &Rq, curr: SchedRef) -> bool {
    let fair = rq.cfs().nr_running() > u32::from(curr.is_fair());
    fair || rq.rt().iter().any(|p| p != curr) || rq.dl().iter().any(|p| p != curr)
}

impl RunQueue {
    fn try_lock(&self) -> bool {
        self.lock.try_lock()
    }
}
