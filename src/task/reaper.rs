//! The reaper: frees tasks that ended with nobody holding a reference.
//!
//! A dying task cannot free the stack it stands on, and the scheduler must not free at all. So it puts
//! itself on this list, with interrupts masked until it is off its stack, and the reaper, an ordinary
//! thread, does the rest; on another CPU it may have to wait until the task is off it.

use super::{Task, reference};
use crate::list::ListHead;
use crate::locking::{SchedLock, Semaphore};
use core::mem::offset_of;
use core::ptr::NonNull;

static GRAVES: SchedLock<ListHead> = SchedLock::new(ListHead::new());
static WORK: Semaphore = Semaphore::new(0);

/// Hands `task`, which is about to switch away for the last time, to the reaper. IRQs masked.
pub(super) fn bury(task: &Task) {
    let graves = GRAVES.lock();
    // SAFETY: the link is the task's own, used here alone, and the memory stays until the reaper frees it.
    unsafe { graves.add_tail(NonNull::from(&task.grave)) };
    graves.unlock_no_resched();
    // The limit is out of reach: one unit per task.
    let _ = WORK.give();
}

fn reap() {
    loop {
        WORK.take();
        let graves = GRAVES.lock();
        let link = graves.first();
        if let Some(link) = link {
            // SAFETY: on the list, and the lock is held.
            unsafe { graves.del(link) };
        }
        graves.unlock_no_resched();
        if let Some(link) = link {
            // SAFETY: `bury` put a task's link there, which has ended.
            unsafe { reference::release(link.byte_sub(offset_of!(Task, grave)).cast::<Task>()) };
            crate::preempt::cond_resched();
        }
    }
}

/// Starts the reaper thread, at boot.
pub(crate) fn start() {
    if let Err(error) = super::build("kreaper").spawn(reap) {
        panic!("cannot start the reaper: {error}");
    }
}
