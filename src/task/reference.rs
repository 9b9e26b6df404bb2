//! Counted references to tasks.

use super::{Memory, Task, current, list, state};
use crate::sched::core as sched;
use alloc::boxed::Box;
use arch::patch::{SMP_LOCKS, static_branch};
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

/// A reference to a task that keeps it from being freed. Cheap to clone; may be sent anywhere. The last
/// one to a dead task frees it, so it is dropped in thread context.
pub struct TaskRef(NonNull<Task>);

// SAFETY: `Task` is `Sync`, and the count is atomic.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

/// A reference to the running task.
#[must_use]
pub fn current_ref() -> TaskRef {
    TaskRef::clone_from_task(current())
}

impl TaskRef {
    /// Takes over a count.
    ///
    /// # Safety
    /// The caller owns one count of `task` and gives it up.
    pub(super) unsafe fn from_raw(task: NonNull<Task>) -> Self {
        Self(task)
    }

    pub(crate) fn clone_from_task(task: &Task) -> Self {
        task.usage.fetch_add(1, Ordering::Relaxed);
        Self(NonNull::from(task))
    }

    /// A reference to a task that may be past its end: nothing if the last count is gone.
    pub(super) fn try_from_task(task: &Task) -> Option<Self> {
        let mut usage = task.usage.load(Ordering::Relaxed);
        loop {
            if usage == 0 {
                return None;
            }
            match task.usage.compare_exchange_weak(usage, usage + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Self(NonNull::from(task))),
                Err(now) => usage = now,
            }
        }
    }

    /// Gives the reference up where its task's memory cannot be given back: in an interrupt, or with IRQs masked. The
    /// reaper does that if it was the last one. Only for a task that has been started.
    #[inline]
    pub(crate) fn put_from_any_context(self) {
        let task = core::mem::ManuallyDrop::new(self);
        if task.usage.fetch_sub(1, Ordering::AcqRel) == 1 {
            let flags = arch::irqflags::local_irq_save();
            super::reaper::bury(&task);
            arch::irqflags::local_irq_restore(flags);
        }
    }

    /// Takes the reference apart for a place that holds a pointer; null for none.
    pub(crate) fn into_slot(task: Option<Self>) -> *mut () {
        task.map_or(core::ptr::null_mut(), |task| core::mem::ManuallyDrop::new(task).0.as_ptr().cast())
    }

    /// The reverse of [`Self::into_slot`].
    ///
    /// # Safety
    /// `slot` came from there, and is used once.
    pub(crate) unsafe fn from_slot(slot: *mut ()) -> Option<Self> {
        NonNull::new(slot.cast::<Task>()).map(Self)
    }

    /// Starts a task that was made and not started. May switch to it at once. Any context.
    pub fn start(&self) {
        sched::wake_up_new_task(self);
    }

    /// Ends a task that does not run: it is ready, or sleeps, or waits for something. Its destructors never run, and
    /// what it owns stays lost; a wait is taken back, and whom it boosted sinks.
    ///
    /// # Errors
    /// [`crate::Error::Busy`] if it runs, has not been started, is dead, or holds a mutex or another sleeping lock.
    ///
    /// # Safety
    /// The task is in the middle of nothing that others rely on, and holds no reference to memory that is about to go.
    pub unsafe fn abort(&self) -> crate::Result<()> {
        sched::abort(self)?;
        // The count that the task held of itself.
        if self.usage.fetch_sub(1, Ordering::AcqRel) != 1 {
            self.exited.complete_all();
        }
        Ok(())
    }

    /// Waits until the task is gone: it has ended, is on no CPU any more, and has given back what it had reserved.
    pub fn wait_exited(&self) {
        self.exited.wait();
        if static_branch::<SMP_LOCKS>() {
            wait_off_cpu(self);
        }
    }

    /// Whether the task is gone.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state() == state::DEAD
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        Self::clone_from_task(self)
    }
}

impl Deref for TaskRef {
    type Target = Task;
    #[inline(always)]
    fn deref(&self) -> &Task {
        // SAFETY: the count keeps it alive.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        let last = if self.state() == state::NEW {
            list::put_new(self)
        } else {
            self.usage.fetch_sub(1, Ordering::AcqRel) == 1
        };
        if last {
            // SAFETY: the last count but that of a task that never ran.
            unsafe { release(self.0) };
        }
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name(), self.id)
    }
}

/// A task that ends gives up its own count before it has switched away for the last time, on its stack, with interrupts
/// masked. Here whoever frees it waits for the switch: until its run queue, locked, has another task. A bounded time.
#[inline(never)]
fn wait_off_cpu(task: &Task) {
    while sched::is_on_cpu(task) {
        arch::cpu::relax();
    }
}

/// Gives back a task's memory. Thread context (it may free to the heap).
///
/// # Safety
/// The count is zero; the task has ended, maybe just now on another CPU, or was never started.
pub(super) unsafe fn release(task: NonNull<Task>) {
    // SAFETY: nobody else can reach the task any more, but for itself, on its way off its CPU.
    let shared = unsafe { task.as_ref() };
    if static_branch::<SMP_LOCKS>() {
        wait_off_cpu(shared);
    }
    debug_assert!(matches!(shared.state(), state::DEAD | state::NEW), "a living task was released");
    if shared.sched.is_deadline() {
        // Never started: what it has reserved is free again.
        sched::exit_deadline(shared);
    }
    list::remove(shared);
    // SAFETY: alone, as above.
    if let Memory::Kernel { .. } = unsafe { &*shared.memory.get() } {
        // SAFETY: `Builder` made it with `Box::into_raw`. Dropping it drops stack and job too.
        drop(unsafe { Box::from_raw(task.as_ptr()) });
    }
}
