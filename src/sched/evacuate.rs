//! Tasks of a CPU that goes: moved to where they may run, or anywhere if that is nowhere.
//!
//! The CPU is not in `smp::online()` any more, so no task that is made ready comes to it, and those that sleep wake
//! elsewhere. What is left are those that are queued there, moved one by one, and the one that runs, in whose place the
//! CPU's stopper moves it. What a task is allowed stays: it holds again when the CPU comes back.
//!
//! Context: threads that may sleep. Locks: the run queues, two at a time.

use super::migrate::{Settled, settle};
use super::runqueue::{CPUPRI, cpu_rq, task_cpu, task_of};
use super::stop::stop_one_cpu;
use super::wakeup::{check_resched, resched_rq_if};
use super::{Class, Resched};
use crate::smp;
use crate::task::{self, Name, Task};
use arch::irqflags;

/// Moves all tasks away from `cpu`, which is not online, but for its own: idle task, stopper. Returns one that has
/// forbidden its migration, if there is one: ask again.
pub(crate) fn move_tasks_away(cpu: usize) -> Option<Name> {
    let mut bound = None;
    task::for_each(|task| {
        if task_cpu(task) == cpu && !matches!(task.sched.class(), Class::Idle | Class::Stop) {
            if is_homeless(task, cpu) {
                log::info!(
                    target: "smp",
                    "task {}/{} may run on CPU {} only; anywhere, until one of them is back",
                    task.name(),
                    task.id(),
                    task.sched.cpus_allowed()
                );
            }
            if move_away(task, cpu) == Settled::Bound {
                bound = Some(task.name_copy());
            }
        }
    });
    bound
}

/// A task that may run on no CPU that is online, and is about to.
fn is_homeless(task: &Task, cpu: usize) -> bool {
    task.sched.is_queued() && task_cpu(task) == cpu && (task.sched.cpus_allowed() & smp::online()).is_empty()
}

fn move_away(task: &Task, cpu: usize) -> Settled {
    loop {
        let settled = settle_irqs_open(task);
        match settled {
            Settled::Runs(on) if on == cpu => {
                let moved = stop_one_cpu(cpu, &|| {
                    let _ = settle_irqs_open(task);
                });
                if moved.is_err() {
                    return settled;
                }
            }
            _ => return settled,
        }
    }
}

fn settle_irqs_open(task: &Task) -> Settled {
    let flags = irqflags::local_irq_save();
    // SAFETY: masked.
    let settled = unsafe { settle(task) };
    check_resched(flags);
    irqflags::local_irq_restore(flags);
    settled
}

/// `cpu` is not online any more: a task that is bound to it does not become ready there either, from here on. Before the
/// first task is moved away.
pub(crate) fn stop_taking(cpu: usize) {
    let flags = irqflags::local_irq_save();
    let this = cpu_rq(cpu);
    this.lock.lock();
    // SAFETY: locked above.
    unsafe {
        this.rq().set_taking(false);
        this.unlock();
    }
    irqflags::local_irq_restore(flags);
}

/// Whether others may look for this CPU to run something there.
pub(crate) fn publish_this_cpu(is_published: bool) {
    publish(crate::percpu::raw_smp_processor_id(), is_published);
}

/// The same for any CPU that has been online.
pub(crate) fn publish(cpu: usize, is_published: bool) {
    let flags = irqflags::local_irq_save();
    let this = cpu_rq(cpu);
    this.lock.lock();
    this.set_published(is_published);
    // What waits elsewhere may be for it: its next pick looks.
    resched_rq_if(this, Resched::when(is_published));
    // SAFETY: locked above.
    unsafe { this.unlock() };
    check_resched(flags);
    irqflags::local_irq_restore(flags);
}

/// How important the task is that runs on `cpu`; `None`: nobody may ask.
pub(crate) fn cpu_level(cpu: usize) -> Option<u8> {
    Some(CPUPRI.level(cpu)).filter(|&level| level != super::cpupri::OFF)
}

/// The name of the task that runs on `cpu`.
pub(crate) fn running_on(cpu: usize) -> Name {
    let flags = irqflags::local_irq_save();
    let this = cpu_rq(cpu);
    this.lock.lock();
    // SAFETY: locked above; `curr` lives while it is that.
    let name = task_of(unsafe { this.rq() }.curr()).name_copy();
    // SAFETY: locked above.
    unsafe { this.unlock() };
    irqflags::local_irq_restore(flags);
    name
}
