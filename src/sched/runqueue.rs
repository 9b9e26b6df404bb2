//! The run queues: one per CPU, its lock, and which of them a task belongs to.
//!
//! **Who owns what.** A task's scheduling fields (policy, priority, virtual runtime, `on_rq`, its allowed CPUs) belong to
//! the lock of the run queue that [`Task::rq`](Task) names, whether the task sleeps or is queued. There is no lock of the
//! task's own. `rq` changes only with the lock of the old run queue held, and `on_rq` is `Migrating` until the task is on the
//! new one; so [`lock_task_rq`] looks again after it has the lock.
//!
//! **Hand-off.** The lock is taken before the pick, kept across `cpu_switch_to`, and released by the task that was
//! switched to. So whoever holds the lock of `p`'s run queue and sees that its `curr` is not `p` knows that `p`'s registers
//! are in memory, and may put it on any CPU. This stands in the place of Linux's `on_cpu` and of the spinning on it
//! (docs/adr/0011). The other half of it: *a task that is `curr` is never moved*, not even when it has been dequeued and is
//! on its way to sleep.
//!
//! **One CPU.** While `SMP_LOCKS` is off a task's run queue never changes and the lock is masked interrupts; the paths
//! that are counted in instructions ask once, at their top, which world it is.
//!
//! Context: any, IRQs masked. Lock: this is the innermost but the timer base (docs/locking.md). Two of them: that of the
//! lower CPU number first.

use super::cpupri::CpuPri;
use super::entity::SchedRef;
use super::event::EventTimer;
use super::rq::Rq;
use crate::locking::RawLock;
use crate::per_cpu;
use crate::task::{self, Task};
use arch::patch::{SMP_LOCKS, static_branch};
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

/// How seldom a tick looks around that has nothing else to do.
const LOOK_AFTER_TICKS: u32 = 8;

/// A CPU's run queue, with what the classes need not see.
#[repr(C)]
pub(crate) struct RunQueue {
    /// First: the pick indexes from its start.
    rq: UnsafeCell<Rq>,
    pub(super) lock: RawLock,
    /// The cycle counter at the last switch: what has run since belongs to the running task.
    pub(super) switch_cycles: Cell<u64>,
    /// For what the classes want to happen later.
    pub(super) event: EventTimer,
    cpu: Cell<u32>,
    /// Not 0: there is something for `hooks::balance_callback` behind the next switch. Under the lock.
    needs_balance: Cell<u8>,
    /// For so many ticks there is nothing to look at (`tick_has_nothing_to_do`). Of the CPU's timer interrupt alone.
    idle_ticks: Cell<u32>,
}

per_cpu! {
    static RUNQUEUES: RunQueue =
        RunQueue {
            rq: UnsafeCell::new(Rq::new()),
            lock: RawLock::new(),
            switch_cycles: Cell::new(0),
            event: EventTimer::new(),
            cpu: Cell::new(0),
            needs_balance: Cell::new(0),
            idle_ticks: Cell::new(0),
        };
}

/// What runs on each CPU, for those who look for a place.
pub(crate) static CPUPRI: CpuPri = CpuPri::new();

/// Which run queue a task belongs to: the one it is on, or was on when it went to sleep.
///
/// Invariant: a running task's is its CPU's. So this CPU's run queue is one load away from `current`, and a
/// wake-up finds the right queue without asking where it runs.
pub(crate) type TaskRq = AtomicPtr<RunQueue>;

/// This CPU's run queue, locked. Not a guard: its lifetime crosses a switch.
///
/// # Safety
/// IRQs masked; the caller unlocks.
#[inline(always)]
pub(super) unsafe fn lock_this_rq() -> &'static RunQueue {
    let this = this_rq();
    // SAFETY: the lock is at this offset.
    unsafe { this.lock.lock_in::<_, { offset_of!(RunQueue, lock) }>(this) };
    this
}

/// [`lock_this_rq`] where there are several CPUs, for a caller that has asked.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn lock_this_rq_smp() -> &'static RunQueue {
    let this = this_rq();
    this.lock.lock_word();
    this
}

/// This CPU's run queue. IRQs masked, or preemption off. It need not be looked at again: the running task is not moved.
#[inline(always)]
pub(super) fn this_rq() -> &'static RunQueue {
    rq_of(task::current())
}

/// The run queue of `task`: a guess, unless its lock is held, the task is the running one, or there is one CPU.
#[inline(always)]
pub(super) fn rq_of(task: &Task) -> &'static RunQueue {
    // SAFETY: set when the task was made, and always to a per-CPU variable that is there for ever.
    unsafe { &*task.rq.load(Ordering::Relaxed) }
}

/// The task that runs, or is about to, where `task` is ready.
///
/// # Safety
/// The run queue of `task` is locked.
pub(crate) unsafe fn curr_of_rq_of(task: &Task) -> &'static Task {
    // SAFETY: a word inside of the run queue that nobody writes meanwhile, by contract. No reference is made: whoever has
    // the lock may have one.
    task_of(unsafe { (&raw const (*rq_of(task).rq.get()).curr).read() })
}

/// The run queue of `cpu`, whose per-CPU data is there: it is online, or was.
#[inline(always)]
pub(crate) fn cpu_rq(cpu: usize) -> &'static RunQueue {
    // SAFETY: by contract there is a copy; what is in it is atomic, written once before others look, or under its lock.
    unsafe { RUNQUEUES.of(cpu) }
}

/// The CPU on whose run queue `task` is, or was when it went to sleep; a guess, as for [`rq_of`].
#[inline(always)]
pub(crate) fn task_cpu(task: &Task) -> usize {
    rq_of(task).cpu()
}

/// The run queue of `task`, locked.
///
/// # Safety
/// IRQs masked; the caller unlocks.
#[inline(always)]
pub(super) unsafe fn lock_task_rq(task: &Task) -> &'static RunQueue {
    if static_branch::<SMP_LOCKS>() {
        // SAFETY: passed on.
        return unsafe { lock_task_rq_smp(task) };
    }
    let this = rq_of(task);
    this.lock.lock_without_word();
    this
}

/// [`lock_task_rq`] where there are several CPUs: until the lock taken is that of the queue the task is on.
///
/// Bound: another round follows only where the task was moved meanwhile, by somebody who made progress.
///
/// # Safety
/// As there.
#[inline]
pub(super) unsafe fn lock_task_rq_smp(task: &Task) -> &'static RunQueue {
    loop {
        let this = rq_of(task);
        this.lock.lock_word();
        if this.holds(task) {
            return this;
        }
        // SAFETY: taken above.
        unsafe { this.lock.unlock_word() };
        arch::cpu::relax();
    }
}

/// As [`lock_task_rq_smp`], without waiting: nothing if somebody has the lock, or the task is on its way.
///
/// # Safety
/// As there.
#[inline]
pub(super) unsafe fn try_lock_task_rq_smp(task: &Task) -> Option<&'static RunQueue> {
    let this = rq_of(task);
    if !this.lock.try_lock() {
        return None;
    }
    if this.holds(task) {
        return Some(this);
    }
    // SAFETY: taken above.
    unsafe { this.lock.unlock() };
    None
}

impl RunQueue {
    /// # Safety
    /// The lock is held, and no other reference from this call is alive.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the run-queue lock, which the caller holds, makes it exclusive")]
    pub(super) unsafe fn rq(&self) -> &mut Rq {
        // SAFETY: by contract.
        unsafe { &mut *self.rq.get() }
    }

    /// # Safety
    /// The lock is held.
    #[inline(always)]
    pub(super) unsafe fn unlock(&self) {
        // SAFETY: by contract; the lock is at this offset.
        unsafe { self.lock.unlock_in::<_, { offset_of!(RunQueue, lock) }>(self) };
    }

    /// [`Self::unlock`] where there are several CPUs, for a caller that has asked.
    ///
    /// # Safety
    /// The lock is held.
    #[inline(always)]
    pub(super) unsafe fn unlock_smp(&self) {
        // SAFETY: by contract; the lock is at this offset.
        unsafe { self.lock.unlock_word_in::<_, { offset_of!(RunQueue, lock) }>(self) };
    }

    /// Locked: has `hooks::balance_callback` called behind the next switch.
    pub(super) fn ask_balance(&self) {
        self.needs_balance.set(1);
    }

    /// Locked: whether that was asked for, once.
    #[inline(always)]
    pub(super) fn take_balance(&self) -> bool {
        let is_asked = self.needs_balance.get() != 0;
        if is_asked {
            self.needs_balance.set(0);
        }
        is_asked
    }

    /// The length of a turn in ticks, without the lock: it was set before the CPU was online.
    #[inline(always)]
    pub(super) fn rr_timeslice_ticks(&self) -> u32 {
        // SAFETY: a word inside of the run queue that is not written any more. No reference is made: the lock is not held.
        unsafe { (&raw const (*self.rq.get()).rt.rr_timeslice_ticks).read() }
    }

    /// In the tick of this CPU, which runs `curr`, without the lock: whether the tick can do without the scheduler. `curr` is a
    /// real-time task without a turn that ends, and no fair task waits, so there is nothing that other CPUs could take and
    /// nothing new to tell them; but at every [`LOOK_AFTER_TICKS`]th tick it is looked whether it is time to look around.
    ///
    /// Another CPU may be changing what is looked at: then it is as if the tick had come just before, or just behind.
    #[inline(always)]
    pub(super) fn tick_has_nothing_to_do(&self, curr: &Task) -> bool {
        if !curr.sched.is_rt_without_turn() {
            return false;
        }
        // SAFETY: a word inside of the run queue, read once. No reference is made: the lock is not held.
        let waiting = unsafe { (&raw const (*self.rq.get()).cfs.nr_running).read_volatile() };
        let left = self.idle_ticks.get();
        if waiting != 0 || left == 0 {
            self.idle_ticks.set(LOOK_AFTER_TICKS - 1);
            return false;
        }
        self.idle_ticks.set(left - 1);
        true
    }

    /// The CPU whose run queue it is.
    #[inline(always)]
    pub(crate) fn cpu(&self) -> usize {
        self.cpu.get() as usize
    }

    /// Whether it is the run queue of the CPU that asks. IRQs masked, or preemption off.
    #[inline(always)]
    pub(super) fn is_local(&self) -> bool {
        ptr::eq(self, this_rq())
    }

    /// Locked: whether it is the run queue of `task`, which may still be on its way here.
    #[inline(always)]
    pub(super) fn is_rq_of(&self, task: &Task) -> bool {
        // Acquire: as in `holds`.
        ptr::eq(self, task.rq.load(Ordering::Acquire))
    }

    /// Locked: whether it is the run queue of `task`, and that not on its way to another one.
    #[inline(always)]
    pub(super) fn holds(&self, task: &Task) -> bool {
        // Acquire: whoever has put it there has marked it before, so the mark is this queue's lock's from here on.
        self.is_rq_of(task) && !task.sched.is_migrating()
    }

    /// Locked: whether `task`, one of this queue, is on the CPU: it runs, or its registers are not all saved yet.
    #[inline(always)]
    pub(super) fn is_curr(&self, task: &Task) -> bool {
        // SAFETY: locked by contract; the reference ends here.
        unsafe { self.rq() }.curr() == sched_ref(task)
    }

    /// Locked: from here on, or no more, the CPU is one that others may look for.
    pub(super) fn set_published(&self, is_taking: bool) {
        let is_published = is_taking && !crate::smp::isolation::is_isolated(self.cpu());
        // SAFETY: locked by contract; the reference ends here.
        let rq = unsafe { self.rq() };
        rq.set_taking(is_taking);
        rq.set_off(!is_published);
        rq.publish(&CPUPRI, &super::push_pull::LOADS);
    }

    /// Gives a CPU's run queue its number and its idle task. Once per CPU, by that CPU, before anybody else looks.
    pub(super) fn init_this_cpu(idle: &'static Task, hz: u32) -> &'static Self {
        // SAFETY: IRQs masked, and nothing is scheduled on this CPU yet.
        let this = unsafe { RUNQUEUES.this_cpu() };
        this.cpu.set(crate::percpu::raw_smp_processor_id() as u32);
        idle.set_rq(this);
        // SAFETY: as above: nobody else.
        let rq = unsafe { this.rq() };
        rq.init(sched_ref(idle), hz, 1);
        rq.set_cpu(this.cpu());
        rq.set_entry(CPUPRI.entry(this.cpu()));
        rq.set_off(crate::smp::isolation::is_isolated(this.cpu()));
        this.switch_cycles.set(arch::pmu::cycles());
        this
    }
}

impl Task {
    /// Makes `this` the task's run queue. The lock of the one before is held, or nobody knows the task yet.
    #[inline(always)]
    pub(super) fn set_rq(&self, this: &'static RunQueue) {
        self.rq.store(ptr::from_ref(this).cast_mut(), Ordering::Release);
    }

    /// [`Self::set_rq`] on a CPU that is alone.
    #[inline(always)]
    pub(super) fn set_rq_alone(&self, this: &'static RunQueue) {
        self.rq.store(ptr::from_ref(this).cast_mut(), Ordering::Relaxed);
    }
}

/// The task whose scheduling part this is.
#[inline(always)]
pub(super) fn task_of(sched: SchedRef) -> &'static Task {
    // SAFETY: every `SchedTask` that reaches a run queue is the `sched` of a `Task`, which is alive while it
    // is there.
    unsafe { sched.as_ptr().byte_sub(offset_of!(Task, sched)).cast::<Task>().as_ref() }
}

#[inline(always)]
pub(super) fn sched_ref(task: &Task) -> SchedRef {
    // SAFETY: a task on a run queue is not freed: its own count keeps it until it is dead and off the queue.
    unsafe { SchedRef::new(NonNull::from(&task.sched)) }
}

/// Whether `task` is on a CPU at this moment, or its registers are not all saved yet. Once it is not, only a switch makes
/// it so again. Any context.
pub(crate) fn is_on_cpu(task: &Task) -> bool {
    let flags = arch::irqflags::local_irq_save();
    // SAFETY: IRQs masked.
    let this = unsafe { lock_task_rq(task) };
    let is_curr = this.is_curr(task);
    // SAFETY: locked above.
    unsafe { this.unlock() };
    arch::irqflags::local_irq_restore(flags);
    is_curr
}
