//! The idle tasks of further CPUs: each is what a CPU runs from its first instruction of Rust on, and whenever there is
//! nothing else. Made when the CPU is first started, and kept.
//!
//! Context: threads.

use super::{Memory, Name, Task, builder, list, state};
use crate::error::{Error, Result};
use crate::mm::stack::Stack;
use crate::sched::entity::SchedTask;
use crate::sched::runqueue::{TaskRq, cpu_rq};
use crate::smp::CpuMask;
use alloc::boxed::Box;
use arch::thread_info;
use core::fmt::Write;

/// As much as the boot CPU's.
const STACK_BYTES: usize = arch::boot::BOOT_STACK_BYTES;

/// Makes the idle task of `cpu`; returns it with the top of its stack. It is running as far as anybody can see: nobody
/// switches to it, the CPU starts as it.
///
/// # Errors
/// [`Error::NoMemory`].
pub(crate) fn make_idle(cpu: usize) -> Result<(&'static Task, usize)> {
    let stack =
        Stack::new(STACK_BYTES).map_err(|_| Error::NoMemory { bytes: builder::for_message(STACK_BYTES) })?;
    let memory = Memory::Callers { stack_low: stack.bottom(), stack_top: stack.top() };
    let place = builder::try_new_task()?;
    let mut name = heapless::String::<16>::new();
    // Two digits fit.
    let _ = write!(name, "idle/{cpu}");
    let id = builder::next_id();
    let mut task =
        Task::template(Name::new(&name), id, memory, thread_info::INIT_PREEMPT_COUNT, state::RUNNING);
    task.sched = SchedTask::new_idle();
    task.sched.set_cpus_allowed(CpuMask::of(cpu));
    // Whoever walks the tasks asks where each belongs, also of a CPU that never comes.
    task.rq = TaskRq::new(core::ptr::from_ref(cpu_rq(cpu)).cast_mut());
    let task: &'static Task = Box::leak(Box::write(place, task));
    list::add(task);
    Ok((task, stack.into_top()))
}
