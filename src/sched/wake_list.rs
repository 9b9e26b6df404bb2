//! Tasks that a CPU is to wake itself, because a waker found its run queue locked and did not wait.
//!
//! A list per CPU, pushed to by anybody with a compare-and-swap and taken whole by its CPU in the interrupt that follows
//! the first push (SGI 1, with the cross-CPU calls). The link is part of the task. So a waker's time does not depend on
//! what other CPUs do: it takes the lock at the first try, or pushes.
//!
//! On the list are only tasks that have been *granted* what they waited for. Such a task sleeps, or is about to, until
//! somebody makes it ready under the lock of its run queue; it cannot go on before, be woken by somebody else, or be freed.
//! So the link is not used twice at once, and the pointer is good.
//!
//! The interrupt also sets this CPU's event timer where another CPU has changed what it is for (`event`).
//!
//! Bound: [`WOKEN_PER_IRQ`] wake-ups per interrupt; what is left makes it come again.
//!
//! Context: [`hand_over`] any, IRQs masked; [`run_pending`] the hard interrupt. Locks: none; to wake, the run queue.

use super::runqueue::task_cpu;
use super::wakeup::check_resched;
use super::{event, hooks, wakeup_smp};
use crate::per_cpu;
use crate::smp::online;
use crate::task::Task;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering, fence};

/// The most tasks that one interrupt wakes.
pub const WOKEN_PER_IRQ: usize = 16;

struct WakeList {
    /// What was pushed, the latest first.
    pushed: AtomicPtr<Task>,
    /// What was taken and is not woken yet, the earliest first. This CPU's alone.
    taken: Cell<*mut Task>,
}

// SAFETY: the tasks behind the pointers are shared, as all tasks are; `taken` is used by its CPU in hard interrupts.
unsafe impl Send for WakeList {}

per_cpu! {
    static WAKE_LIST: WakeList =
        WakeList { pushed: AtomicPtr::new(ptr::null_mut()), taken: Cell::new(ptr::null_mut()) };
}

/// A task's link: written by whoever pushes the task, and read by whoever takes the list; between them is the list's head.
/// Making a task does not write it.
pub(crate) type WakeLink = Cell<MaybeUninit<*mut Task>>;

/// What comes behind `task`.
///
/// # Safety
/// The task is on a list, and it is the caller's.
unsafe fn next_of(task: &Task) -> *mut Task {
    // SAFETY: written when it was pushed.
    unsafe { task.wake_link.get().assume_init() }
}

/// Leaves `task`, which has been granted what it waited for, to its CPU to be woken. IRQs masked.
#[cold]
#[inline(never)]
pub(super) fn hand_over(task: &Task) {
    // It may be moved meanwhile, if it is preempted on its way into the wait. Then it is woken from there all the same.
    let cpu = task_cpu(task);
    // SAFETY: a task has been on this CPU, so it is there; the head is atomic.
    let list = unsafe { WAKE_LIST.of(cpu) };
    let mut head = list.pushed.load(Ordering::Relaxed);
    loop {
        task.wake_link.set(MaybeUninit::new(head));
        // A release, so that whoever takes the list sees the link, and what was granted; and a full barrier, for below.
        match list.pushed.compare_exchange_weak(
            head,
            ptr::from_ref(task).cast_mut(),
            Ordering::SeqCst,
            Ordering::Relaxed,
        ) {
            Ok(_) => break,
            Err(now) => head = now,
        }
    }
    fence(Ordering::SeqCst);
    if !online().contains(cpu) {
        // It slept there when the CPU went, whose list was emptied (`take_from`) before or after this push: in the one case
        // the CPU is seen here not to be online, in the other the push is seen there.
        wake_all(take(list));
    } else if head.is_null() {
        hooks::send_wake_list(cpu);
    }
}

/// The interrupt: wakes what was handed over to this CPU, and sets its event timer if it was asked to. Hard interrupt,
/// IRQs masked.
pub(crate) fn run_pending() {
    event::run_pending();
    // SAFETY: IRQs masked.
    let list = unsafe { WAKE_LIST.this_cpu() };
    for _ in 0..WOKEN_PER_IRQ {
        if list.taken.get().is_null() {
            list.taken.set(take(list));
        }
        // SAFETY: a task on the list is alive until it is woken, which is done here.
        let Some(task) = (unsafe { list.taken.get().as_ref() }) else { return };
        // First: once it is woken it may be pushed again.
        // SAFETY: on the list that was taken.
        list.taken.set(unsafe { next_of(task) });
        wakeup_smp::wake_up_handed_over(task);
    }
    if !list.taken.get().is_null() {
        hooks::send_wake_list(crate::percpu::raw_smp_processor_id());
    }
}

/// Everything that has been pushed, the earliest first. Bound: the tasks that there are.
fn take(list: &WakeList) -> *mut Task {
    let mut from = list.pushed.swap(ptr::null_mut(), Ordering::Acquire);
    let mut reversed = ptr::null_mut();
    // SAFETY: as in `run_pending`.
    while let Some(task) = unsafe { from.as_ref() } {
        // SAFETY: on the list that was taken.
        let next = unsafe { next_of(task) };
        task.wake_link.set(MaybeUninit::new(reversed));
        reversed = from;
        from = next;
    }
    reversed
}

/// `cpu` has gone: what was handed over to it and not woken is woken from here. Thread context.
pub(crate) fn take_from(cpu: usize) {
    let flags = arch::irqflags::local_irq_save();
    // SAFETY: the CPU was there; it has stopped, so its half is nobody's.
    let list = unsafe { WAKE_LIST.of(cpu) };
    wake_all(list.taken.replace(ptr::null_mut()));
    wake_all(take(list));
    check_resched(flags);
    arch::irqflags::local_irq_restore(flags);
}

/// Wakes the tasks of a list that was taken. IRQs masked.
fn wake_all(mut rest: *mut Task) {
    // SAFETY: as in `run_pending`.
    while let Some(task) = unsafe { rest.as_ref() } {
        // SAFETY: on the list that was taken.
        rest = unsafe { next_of(task) };
        wakeup_smp::wake_up_handed_over(task);
    }
}
