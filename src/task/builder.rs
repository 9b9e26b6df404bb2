//! Making tasks.
//!
//! Two ways. [`build`]`(name)…spawn(closure)` takes everything from the kernel: a stack with a guard page, the
//! control block from the heap, a closure and a typed result. [`TaskMem`]`::create` takes nothing: the
//! caller brings the memory, and it costs a few dozen stores.

use super::job::{Job, Slot};
use super::{Memory, Name, Task, TaskRef, list};
use crate::error::{Error, Result};
use crate::mm::stack::Stack;
use crate::sched::core as sched;
use crate::sched::prio::{Policy, SchedAttr};
use crate::smp::{self, CpuMask};
use alloc::boxed::Box;
use arch::context::ArchTask;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

/// The stack of a task that does not say: enough for formatting and logging.
pub const DEFAULT_STACK_BYTES: usize = 16 * 1024;
/// The smallest and the largest stack.
const STACK_RANGE_BYTES: core::ops::RangeInclusive<usize> = 4096..=crate::mm::stack::STACK_BYTES_MAX;
/// What an unused stack word holds, so that `ps` can tell how deep it was.
const STACK_PATTERN: u64 = 0x5354_494e_5453_544b;

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// Describes a task that is to be; see [`build`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `spawn` or `create`"]
pub struct Builder {
    name: Name,
    attr: Result<SchedAttr>,
    stack_bytes: usize,
    affinity: Affinity,
}

/// Where a task is to run.
#[derive(Clone, Copy, Debug)]
enum Affinity {
    /// Where the task may that makes it.
    Inherited,
    /// On these CPUs, one of which has to be online.
    Of(CpuMask),
    /// On this one, whether it is online or not.
    Bound(usize),
}

/// Begins a task called `name` (15 bytes are kept): fair, nice 0, 16 KiB of stack, the CPUs of the task that makes it.
pub fn build(name: &str) -> Builder {
    Builder {
        name: Name::new(name),
        attr: SchedAttr::normal(0).map_err(|_| Error::BadNice { nice: 0 }),
        stack_bytes: DEFAULT_STACK_BYTES,
        affinity: Affinity::Inherited,
    }
}

fn rt_attr(policy: Policy, priority: i32) -> Result<SchedAttr> {
    let bad = Error::BadPriority { priority };
    SchedAttr::new(policy, u32::try_from(priority).map_err(|_| bad)?, 0).map_err(|_| bad)
}

impl Builder {
    /// Real-time, first in first out; 1 lowest … 99 highest.
    pub fn fifo(mut self, priority: i32) -> Self {
        self.attr = rt_attr(Policy::Fifo, priority);
        self
    }

    /// Real-time, round robin among equals; 1 lowest … 99 highest.
    pub fn rr(mut self, priority: i32) -> Self {
        self.attr = rt_attr(Policy::Rr, priority);
        self
    }

    /// Fair, with this nice level: −20 most … 19 least.
    pub fn nice(mut self, nice: i32) -> Self {
        self.attr = SchedAttr::normal(nice).map_err(|_| Error::BadNice { nice });
        self
    }

    /// A reservation: `runtime_ns` of CPU time in every `period_ns`, to be had within `deadline_ns` of the
    /// period's beginning; earliest deadline first, above all real-time tasks. A period of 0 is as long as the
    /// deadline. [`super::yield_now`] ends the work of a period. There is no fork, so nobody inherits a
    /// reservation.
    pub fn deadline(mut self, runtime_ns: u64, deadline_ns: u64, period_ns: u64) -> Self {
        self.attr = SchedAttr::deadline(runtime_ns, deadline_ns, period_ns).map_err(Error::from);
        self
    }

    /// Any policy.
    pub fn attr(mut self, attr: SchedAttr) -> Self {
        self.attr = Ok(attr);
        self
    }

    /// The size of the stack, rounded up to pages: 4 KiB … 64 KiB.
    pub fn stack_bytes(mut self, bytes: usize) -> Self {
        self.stack_bytes = bytes;
        self
    }

    /// The CPUs the task may run on; at least one of them has to be online.
    pub fn affinity(mut self, cpus: CpuMask) -> Self {
        self.affinity = Affinity::Of(cpus);
        self
    }

    /// A thread of `cpu`, which may be one that is not online yet.
    pub(crate) fn bound_to(mut self, cpu: usize) -> Self {
        self.affinity = Affinity::Bound(cpu);
        self
    }

    /// Makes the task and starts it; it may run before this returns. Thread context.
    ///
    /// # Errors
    /// What the description got wrong, or [`Error::NoMemory`].
    pub fn spawn<T: Send + 'static>(
        self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let (job, value) = Job::new(body)?;
        let task = self.create_job(job)?;
        task.start();
        Ok(JoinHandle { task, value })
    }

    /// Makes a task that will run `entry(arg)` once [`TaskRef::start`] is called. Thread context.
    ///
    /// # Errors
    /// What the description got wrong, or [`Error::NoMemory`].
    pub fn create(self, entry: fn(usize), arg: usize) -> Result<TaskRef> {
        let (job, _) = Job::new(move || entry(arg))?;
        self.create_job(job)
    }

    fn create_job(self, job: Job) -> Result<TaskRef> {
        let attr = self.attr?;
        let cpus = self.cpus_allowed()?;
        if !STACK_RANGE_BYTES.contains(&self.stack_bytes) {
            return Err(Error::BadStackSize { bytes: for_message(self.stack_bytes) });
        }
        let stack = Stack::new(self.stack_bytes)
            .map_err(|_| Error::NoMemory { bytes: for_message(self.stack_bytes) })?;
        let (low, top) = (stack.bottom(), stack.top());
        paint(low, top);
        let task = Box::try_new_task().ok_or(Error::NoMemory { bytes: size_of::<Task>() as u32 })?;
        let (entry, arg) = (job.entry(), job.argument());
        // A reservation is asked for when there is a task to have it.
        let is_deadline = attr.policy() == Policy::Deadline;
        let first = if is_deadline { SchedAttr::NORMAL } else { attr };
        // SAFETY: the memory is ours, and the stack is the task's alone.
        let task = unsafe {
            init(task, self.name, first, cpus, Memory::Kernel { stack, _job: job }, top, entry, arg)
        };
        if is_deadline {
            task.set_scheduler(attr)?;
        }
        Ok(task)
    }

    fn cpus_allowed(&self) -> Result<CpuMask> {
        match self.affinity {
            Affinity::Inherited => Ok(inherited_affinity()),
            Affinity::Of(cpus) if (cpus & smp::online()).is_empty() => Err(Error::BadAffinity),
            Affinity::Of(cpus) => Ok(cpus),
            Affinity::Bound(cpu) => Ok(CpuMask::of(cpu)),
        }
    }
}

/// The CPUs of a task that does not say: those of the task that makes it.
#[inline(always)]
fn inherited_affinity() -> CpuMask {
    super::current().sched.cpus_allowed()
}

/// A size as an error keeps it: one that does not fit is named as the biggest, and not as what is left of it.
pub(super) fn for_message(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Memory for a task, or the answer that there is none.
#[cfg(target_os = "none")]
pub(super) fn try_new_task() -> Result<Box<MaybeUninit<Task>>> {
    let place = Box::<Task>::try_new_task().ok_or(Error::NoMemory { bytes: size_of::<Task>() as u32 })?;
    // SAFETY: allocated by the global allocator with the layout of a `Task`.
    Ok(unsafe { Box::from_raw(place.as_ptr().cast()) })
}

/// A number for a task.
pub(super) fn next_id() -> u32 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// Allocation that answers instead of aborting.
trait TryNewTask {
    fn try_new_task() -> Option<NonNull<Task>>;
}

impl TryNewTask for Box<Task> {
    fn try_new_task() -> Option<NonNull<Task>> {
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { alloc::alloc::alloc(Layout::new::<Task>()) }.cast())
    }
}

/// Writes a task in state NEW and puts it on the list of tasks.
///
/// # Safety
/// `at` is valid for writes of a `Task` and stays so until the task is released; the stack below
/// `stack_top` is the task's alone.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one private constructor with two callers")]
unsafe fn init(
    at: NonNull<Task>,
    name: Name,
    attr: SchedAttr,
    affinity: CpuMask,
    memory: Memory,
    stack_top: usize,
    entry: extern "C" fn(usize) -> !,
    arg: usize,
) -> TaskRef {
    let id = next_id();
    // SAFETY: by contract.
    unsafe {
        Task::emplace(at.as_ptr(), name, id, attr, affinity, memory);
        ArchTask::prepare(&raw mut (*at.as_ptr()).arch, stack_top, entry, arg);
        let task = at.as_ref();
        sched::fork(task);
        list::add(task);
        TaskRef::from_raw(at)
    }
}

/// Waits for a task and takes its result. Dropping it lets the task go its own way.
pub struct JoinHandle<T> {
    task: TaskRef,
    /// In the task's job, which the reference keeps.
    value: Slot<T>,
}

// SAFETY: the value was sent by the task, and one handle receives it.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: a shared handle gives access to the task alone.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinHandle({:?})", self.task)
    }
}

impl<T> JoinHandle<T> {
    /// Waits until the task has ended. Nothing if it ended by [`super::exit`]. Thread context.
    pub fn join(self) -> Option<T> {
        self.task.wait_exited();
        // SAFETY: the task is dead, so the value is the handle's; the handle's count keeps the job.
        unsafe { (*self.value.as_ref().get()).take() }
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> &TaskRef {
        &self.task
    }
}

/// Memory for one task, brought by the caller: control block and `STACK` bytes of stack. A static, or part
/// of one. There is no guard page below such a stack.
#[repr(C, align(16))]
pub struct TaskMem<const STACK: usize> {
    task: UnsafeCell<MaybeUninit<Task>>,
    stack: UnsafeCell<CallersStack<STACK>>,
}

/// Aligned as `sp` has to be, whatever the size of the `Task` before it.
#[repr(C, align(16))]
struct CallersStack<const STACK: usize>([MaybeUninit<u8>; STACK]);

// SAFETY: `create` lets one task in at a time, and checks.
unsafe impl<const STACK: usize> Sync for TaskMem<STACK> {}

impl<const STACK: usize> TaskMem<STACK> {
    /// Unused memory.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(
                STACK >= 1024 && STACK.is_multiple_of(16),
                "a stack is a multiple of 16 and at least 1 KiB"
            )
        };
        Self {
            task: UnsafeCell::new(MaybeUninit::uninit()),
            stack: UnsafeCell::new(CallersStack([const { MaybeUninit::uninit() }; STACK])),
        }
    }

    /// Makes a task in this memory that will run `entry(arg)`, which never returns (it may call
    /// [`super::exit`]). Not with a deadline policy, which may be refused: `set_scheduler` before the start. Start it with [`TaskRef::start`]. Allocates nothing.
    ///
    /// # Safety
    /// The memory holds no other task that is not dead and dropped, and two calls do not race.
    #[inline]
    pub unsafe fn create(
        &'static self,
        name: Name,
        attr: SchedAttr,
        entry: extern "C" fn(usize) -> !,
        arg: usize,
    ) -> TaskRef {
        let low = self.stack.get() as usize;
        let top = low + STACK;
        let at = NonNull::from(&self.task).cast::<Task>();
        // SAFETY: by contract the memory is free, and it is static.
        unsafe {
            init(
                at,
                name,
                attr,
                inherited_affinity(),
                Memory::Callers { stack_low: low, stack_top: top },
                top,
                entry,
                arg,
            )
        }
    }
}

impl<const STACK: usize> Default for TaskMem<STACK> {
    fn default() -> Self {
        Self::new()
    }
}

/// Words that are painted between two scheduling points: a page.
const PAINT_WORDS: usize = 512;

fn paint(low: usize, top: usize) {
    // SAFETY: a new stack that nobody uses yet.
    let words = unsafe { core::slice::from_raw_parts_mut(low as *mut u64, (top - low) / 8) };
    for page in words.chunks_mut(PAINT_WORDS) {
        page.fill(STACK_PATTERN);
        crate::preempt::cond_resched_if_allowed();
    }
}

/// How much of a painted stack was ever written.
pub(super) fn stack_used_bytes(low: usize, top: usize) -> usize {
    let mut at = low;
    // SAFETY: reads within the stack of a living task; volatile, because the task may be writing it.
    while at < top && unsafe { (at as *const u64).read_volatile() } == STACK_PATTERN {
        at += 8;
    }
    // A caller's stack is not painted: its first word says so.
    if at == low { 0 } else { top - at }
}

/// The running task's stack pointer is inside its stack: what `__schedule` asks in debug builds.
#[cfg(debug_assertions)]
pub(crate) fn stack_is_sane() -> bool {
    let here = 0u8;
    let sp = (&raw const here).addr();
    super::current().stack_bounds().is_none_or(|(low, top)| (low..top).contains(&sp))
}
