//! Tasks: what a thread of the kernel is.
//!
//! ```ignore
//! let blinker = task::build("blinker").fifo(50).spawn(|| loop { led.toggle(); task::sleep_ms(500); })?;
//! ```
//!
//! A [`Task`] is reached through a counted [`TaskRef`]; the task itself holds one count while it lives. Its
//! last act is `exit`, on its own stack with interrupts masked: it drops its count, wakes whoever joins,
//! and switches away; the memory is freed by whoever holds the last count, in thread context, or by the
//! reaper thread if nobody does. The scheduler never frees.
//!
//! Ownership of the fields: `sched` belongs to the run-queue lock, `wait` to the lock of the queue waited
//! on, `pi` to the PI lock, `arch` to the CPU that runs or switches the task. `state` is atomic.

mod builder;
mod current;
#[cfg(target_os = "none")]
mod idle;
mod job;
mod list;
mod name;
mod reaper;
mod reference;

#[cfg(debug_assertions)]
pub(crate) use builder::stack_is_sane;
pub use builder::{Builder, JoinHandle, TaskMem, build};
#[cfg(debug_assertions)]
pub(crate) use current::try_current;
pub use current::{cpu_cycles, exit, park, set_current_state, sleep_ms, sleep_ns, sleep_until, yield_now};
pub(crate) use current::{current, idle_task};
#[cfg(target_os = "none")]
pub(crate) use idle::make_idle;
pub use list::for_each;
pub(crate) use list::register_idle;
pub use name::Name;
pub(crate) use reaper::start as start_reaper;
pub use reference::{TaskRef, current_ref};

use crate::emplace::emplace;
use crate::error::Result;
use crate::list::Link;
use crate::locking::pi::PiTask;
use crate::locking::{Completion, Semaphore};
use crate::mm::stack::Stack;
use crate::sched::core::TaskRq;
use crate::sched::entity::SchedTask;
use crate::sched::prio::SchedAttr;
use crate::sched::wait::WaitNode;
use crate::sched::wake_list::WakeLink;
use crate::smp::CpuMask;
use crate::time::hrtimer::Hrtimer;
use arch::context::ArchTask;
use arch::thread_info;
use core::cell::{Cell, UnsafeCell};
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

/// Task states: Linux's bits, as far as used (reference 3.1).
pub mod state {
    /// Running or ready to.
    pub const RUNNING: u32 = 0;
    /// Asleep; a signal would wake it, once there are signals.
    pub const INTERRUPTIBLE: u32 = 1;
    /// Asleep until somebody gives back what it waits for, a lock; such a wait can be too long (`watchdog`).
    pub const UNINTERRUPTIBLE: u32 = 2;
    /// Not owed anything: with [`UNINTERRUPTIBLE`], a wait for an event, which may never come. (Linux: 0x400. Here it is
    /// beside the other two, so that one mask of neighbours tells whether a task sleeps.)
    pub const NOLOAD: u32 = 4;
    /// Asleep until an event; such a wait is never too long.
    pub const IDLE: u32 = UNINTERRUPTIBLE | NOLOAD;
    /// Gone; its memory waits to be freed.
    pub const DEAD: u32 = 0x80;
    /// Granted what it waited for, and about to be made ready by who granted it. Where there are several CPUs.
    pub const WAKING: u32 = 0x200;
    /// Made, not started.
    pub const NEW: u32 = 0x800;
    /// Every sleeping state.
    pub const NORMAL: u32 = INTERRUPTIBLE | IDLE;
}

/// A task. See the module's text.
#[repr(C)]
pub struct Task {
    /// First: `sp_el0` points here (arch/aarch64 `context.rs`).
    pub(crate) arch: ArchTask,
    pub(crate) state: AtomicU32,
    usage: AtomicU32,
    /// The run queue it belongs to.
    pub(crate) rq: TaskRq,
    /// Between state and run-queue links: a wake-up finds the task by this, and all that it needs within reach of it.
    pub(crate) wait: WaitNode,
    pub(crate) sched: SchedTask,
    /// Cycles run, up to the last switch (M6).
    pub(crate) runtime_cycles: Cell<u64>,
    /// Switches because it slept; switches because it was preempted or yielded.
    pub(crate) nvcsw: Cell<u64>,
    pub(crate) nivcsw: Cell<u64>,
    pub(crate) wake_link: WakeLink,
    pub(crate) pi: PiTask<Self>,
    pub(crate) timer: Hrtimer,
    parked: Semaphore,
    exited: Completion,
    links: Link,
    grave: Link,
    id: u32,
    name: Name,
    memory: UnsafeCell<Memory>,
    /// Where preemption was last disabled from zero, for messages.
    #[cfg(debug_assertions)]
    pub(crate) preempt_disabled_at: Cell<Option<&'static core::panic::Location<'static>>>,
    /// The locks that it holds.
    #[cfg(debug_assertions)]
    pub(crate) held: crate::lockdep::HeldStack,
}

/// Where the task's memory comes from, and so where it goes.
enum Memory {
    /// Static: the boot task.
    Boot,
    /// The caller's ([`TaskMem`]), with the bounds of its stack.
    Callers { stack_low: usize, stack_top: usize },
    /// Heap, and a stack with a guard page; and what it runs, to be freed with it.
    Kernel { stack: Stack, _job: job::Job },
}

// SAFETY: the fields that are cells are each owned by a lock or by the CPU that runs the task, as the
// module's text says; the kernel's own code, which alone can see them, keeps to that.
unsafe impl Sync for Task {}
// SAFETY: a task is not bound to the CPU it was made on.
unsafe impl Send for Task {}

const _: () =
    assert!(core::mem::offset_of!(Task, arch) == 0, "sp_el0 points at the ThreadInfo and at the Task");

/// A snapshot for people: `ps`, the panic message, tests.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// The task's number.
    pub id: u32,
    /// Its name.
    pub name: heapless::String<{ Name::BYTES }>,
    /// State bits, see [`state`].
    pub state: u32,
    /// Whether it is on a run queue (running included).
    pub queued: bool,
    /// The CPU on which it runs, or last ran.
    pub cpu: usize,
    /// The CPUs on which it may.
    pub cpus_allowed: CpuMask,
    /// Scheduling policy.
    pub policy: crate::sched::prio::Policy,
    /// The policy with its parameters, as they were given.
    pub attr: SchedAttr,
    /// Kernel priority: 0 highest … 139.
    pub prio: i32,
    /// What it has reserved, under the deadline policy.
    pub deadline: Option<DeadlineInfo>,
    /// Cycles run, to this moment for the caller itself, otherwise to its last switch.
    pub runtime_cycles: u64,
    /// Voluntary and involuntary switches.
    pub switches: (u64, u64),
    /// Bytes of stack, and how many of them were ever used.
    pub stack_bytes: usize,
    /// See `stack_bytes`; 0 where it is not known.
    pub stack_used_bytes: usize,
}

/// A deadline task's reservation and how it gets on with it. Times in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineInfo {
    /// CPU time per period.
    pub runtime_ns: u64,
    /// From the beginning of a period to when its runtime is to have been had.
    pub deadline_ns: u64,
    /// From one beginning to the next.
    pub period_ns: u64,
    /// What is left of this period's runtime, as of the last charge.
    pub left_ns: i64,
    /// The present deadline, on the monotonic clock.
    pub absolute_ns: u64,
    /// Held back until the next period.
    pub throttled: bool,
    /// How often it has used up its runtime.
    pub overruns: u32,
}

impl Task {
    /// The boot task: what the boot CPU runs before there is a scheduler, and its idle task afterwards.
    const fn boot() -> Self {
        let mut task = Self::template(
            Name::new("idle/0"),
            0,
            Memory::Boot,
            thread_info::INIT_PREEMPT_COUNT,
            state::RUNNING,
        );
        task.sched = SchedTask::new_idle();
        task
    }

    const fn template(name: Name, id: u32, memory: Memory, preempt_word: u64, task_state: u32) -> Self {
        Self {
            arch: ArchTask::new(preempt_word),
            state: AtomicU32::new(task_state),
            // One for the task itself and one for whoever makes it.
            usage: AtomicU32::new(2),
            rq: TaskRq::new(ptr::null_mut()),
            sched: SchedTask::new(),
            runtime_cycles: Cell::new(0),
            nvcsw: Cell::new(0),
            nivcsw: Cell::new(0),
            wait: WaitNode::new(),
            wake_link: WakeLink::new(core::mem::MaybeUninit::uninit()),
            pi: PiTask::new(),
            timer: Hrtimer::new(),
            parked: Semaphore::with_limit(0, 1),
            exited: Completion::new(),
            links: Link::new(),
            grave: Link::new(),
            id,
            name,
            memory: UnsafeCell::new(memory),
            #[cfg(debug_assertions)]
            preempt_disabled_at: Cell::new(None),
            #[cfg(debug_assertions)]
            held: crate::lockdep::HeldStack::new(),
        }
    }

    /// Writes a new task in state NEW to `at`. `arch` is left to `ArchTask::prepare`.
    ///
    /// # Safety
    /// `at` is valid for writes.
    #[inline(always)]
    unsafe fn emplace(
        at: *mut Self,
        name: Name,
        id: u32,
        attr: SchedAttr,
        affinity: CpuMask,
        memory: Memory,
    ) {
        // SAFETY: by contract; every field is inside `at`.
        unsafe {
            SchedTask::emplace(&raw mut (*at).sched, attr, affinity);
            WaitNode::emplace(&raw mut (*at).wait);
            emplace!(at => Task {
                state: AtomicU32::new(state::NEW),
                usage: AtomicU32::new(2),
                rq: TaskRq::new(ptr::null_mut()),
                runtime_cycles: Cell::new(0),
                nvcsw: Cell::new(0),
                nivcsw: Cell::new(0),
                pi: PiTask::new(),
                timer: Hrtimer::new(),
                parked: Semaphore::with_limit(0, 1),
                exited: Completion::new(),
                links: Link::new(),
                grave: Link::new(),
                id: id,
                name: name,
                memory: UnsafeCell::new(memory),
                #[cfg(debug_assertions)]
                preempt_disabled_at: Cell::new(None),
                #[cfg(debug_assertions)]
                held: crate::lockdep::HeldStack::new(),
            } except arch, sched, wait, wake_link);
        }
    }

    /// The task's number; 0 is the boot CPU's idle task.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The task's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The same, to keep.
    #[must_use]
    pub(crate) fn name_copy(&self) -> Name {
        self.name
    }

    /// The state bits, see [`state`].
    #[must_use]
    pub fn state(&self) -> u32 {
        self.state.load(Ordering::Relaxed)
    }

    /// Switches away from it so far, of both kinds.
    pub(crate) fn switches(&self) -> u64 {
        self.nvcsw.get() + self.nivcsw.get()
    }

    /// Sets the state of the running task. The waker's side is ordered by the lock that both sides take.
    #[inline(always)]
    pub(crate) fn set_state(&self, to: u32) {
        self.state.store(to, Ordering::Relaxed);
    }

    /// The CPUs the task may run on.
    #[must_use]
    pub fn affinity(&self) -> CpuMask {
        self.sched.cpus_allowed()
    }

    /// Says on which CPUs the task may run. It acts at once: when this returns, the task is on one of them, or sleeps and
    /// will wake there; a section of [`crate::sched::migrate_disable`] is waited for. Thread context.
    ///
    /// # Errors
    /// [`crate::Error::BadAffinity`] if none of them is online, [`crate::Error::DeadlineAffinity`] for a deadline task and a
    /// part of the CPUs, [`crate::Error::Busy`] for an idle task and a stopper.
    pub fn set_affinity(&self, cpus: CpuMask) -> Result<()> {
        crate::sched::affinity::set_affinity(self, cpus)
    }

    /// The CPU on which the task runs, or last ran: maybe not any more by the time that it is read.
    #[must_use]
    pub fn cpu(&self) -> usize {
        crate::sched::core::task_cpu(self)
    }

    /// Makes the next, or the present, [`park`] return.
    pub fn unpark(&self) {
        // Full: it is already to return.
        let _ = self.parked.give();
    }

    /// Changes policy and priority, with Linux's queueing rules: raised goes to the tail of the new level,
    /// lowered to the head, no change is no change. May switch at once. From any context.
    ///
    /// [`SchedAttr::deadline`] makes it a deadline task, if the CPU has what it reserves.
    ///
    /// # Errors
    /// [`crate::Error::Busy`] for an idle task, which is what runs when nothing else does, and for a stopper;
    /// [`crate::Error::NoBandwidth`] for a reservation that does not fit.
    pub fn set_scheduler(&self, attr: SchedAttr) -> Result<()> {
        if matches!(self.sched.class(), crate::sched::Class::Idle | crate::sched::Class::Stop) {
            return Err(crate::Error::Busy);
        }
        crate::sched::core::set_scheduler(self, attr)
    }

    /// `sched_setparam`: another real-time priority, 1..=99, under the same policy; as [`Self::set_scheduler`].
    ///
    /// # Errors
    /// [`crate::Error::BadPriority`] for a value out of range, and for any but 0 under a policy that has no
    /// real-time priority.
    pub fn set_param(&self, priority: i32) -> Result<()> {
        let now = self.scheduler();
        let bad = crate::Error::BadPriority { priority };
        if now.policy() == crate::sched::Policy::Deadline {
            return if priority == 0 { Ok(()) } else { Err(bad) };
        }
        let wanted = u32::try_from(priority).map_err(|_| bad)?;
        self.set_scheduler(SchedAttr::new(now.policy(), wanted, now.nice()).map_err(|_| bad)?)
    }

    /// `sched_getscheduler`, `sched_getparam`, `sched_getattr`: policy and parameters as they were given, without
    /// what may be inherited for the moment.
    #[must_use]
    pub fn scheduler(&self) -> SchedAttr {
        self.sched.attr()
    }

    /// Changes the nice value, which counts under the fair policies and is kept for later under the others.
    ///
    /// # Errors
    /// [`crate::Error::BadNice`] outside -20..=19, [`crate::Error::Busy`] for an idle task and a stopper.
    pub fn set_nice(&self, nice: i32) -> Result<()> {
        if matches!(self.sched.class(), crate::sched::Class::Idle | crate::sched::Class::Stop) {
            return Err(crate::Error::Busy);
        }
        crate::sched::core::set_nice(self, nice)
    }

    /// `sched_rr_get_interval`: the length of the task's turn.
    #[must_use]
    pub fn rr_interval(&self) -> crate::sched::Interval {
        crate::sched::core::rr_interval(self)
    }

    /// Lowest address and top of the stack, if known.
    #[must_use]
    pub fn stack_bounds(&self) -> Option<(usize, usize)> {
        // SAFETY: written before the task is published and never after.
        match unsafe { &*self.memory.get() } {
            Memory::Boot => None,
            Memory::Callers { stack_low, stack_top } => Some((*stack_low, *stack_top)),
            Memory::Kernel { stack, .. } => Some((stack.bottom(), stack.top())),
        }
    }

    /// What the task has reserved and how it gets on with it, under the deadline policy.
    #[must_use]
    pub fn deadline_info(&self) -> Option<DeadlineInfo> {
        if self.sched.policy() != crate::sched::Policy::Deadline {
            return None;
        }
        let dl = self.sched.try_dl()?;
        let params = dl.params();
        Some(DeadlineInfo {
            runtime_ns: params.runtime_ns(),
            deadline_ns: params.deadline_ns(),
            period_ns: params.period_ns(),
            left_ns: dl.runtime_ns(),
            absolute_ns: dl.deadline_ns(),
            throttled: dl.is_throttled(),
            overruns: dl.overruns(),
        })
    }

    /// What `ps` shows.
    #[must_use]
    pub fn info(&self) -> TaskInfo {
        let stack = self.stack_bounds();
        TaskInfo {
            id: self.id,
            name: heapless::String::try_from(self.name()).unwrap_or_default(),
            state: self.state(),
            queued: self.sched.is_queued(),
            cpu: self.cpu(),
            cpus_allowed: self.affinity(),
            policy: self.sched.policy(),
            attr: self.scheduler(),
            prio: self.sched.prio(),
            deadline: self.deadline_info(),
            runtime_cycles: crate::sched::core::runtime_cycles(self),
            switches: (self.nvcsw.get(), self.nivcsw.get()),
            stack_bytes: stack.map_or(0, |(low, top)| top - low),
            stack_used_bytes: stack.map_or(0, |(low, top)| builder::stack_used_bytes(low, top)),
        }
    }
}
