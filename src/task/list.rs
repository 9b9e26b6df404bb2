//! All tasks, in the order in which they were made: for `ps`, panics and debuggers.
//!
//! A task enters when it is made and leaves when its memory is given back, so a counted reference to a task
//! is also a stable place in the list: a walk holds the lock for one step at a time.

use super::{Task, TaskRef, state};
use crate::list::ListHead;
use crate::locking::SchedLock;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

static TASKS: SchedLock<ListHead> = SchedLock::new(ListHead::new());

pub(super) fn add(task: &Task) {
    let tasks = TASKS.lock();
    // SAFETY: the link is the task's own and on no list; it is taken off before the memory goes.
    unsafe { tasks.add_tail(NonNull::from(&task.links)) };
    tasks.unlock_no_resched();
}

pub(super) fn remove(task: &Task) {
    let tasks = TASKS.lock();
    // SAFETY: it was added when it was made.
    unsafe { tasks.del(NonNull::from(&task.links)) };
    tasks.unlock_no_resched();
}

/// Gives up a count of a task that does not seem to be started yet, and says whether the task is to be released. A
/// task that never ran holds one count of itself: when that is the only one left, nobody can start it any more.
#[cold]
pub(super) fn put_new(task: &Task) -> bool {
    // Nobody takes a new count from the list meanwhile, and if another holder gives up the last one, the task
    // waits for this lock before it goes.
    let tasks = TASKS.lock();
    let before = task.usage.fetch_sub(1, Ordering::AcqRel);
    let last = before == 1 || before == 2 && task.state() == state::NEW;
    if last {
        task.usage.store(0, Ordering::Relaxed);
    }
    tasks.unlock_no_resched();
    last
}

/// The task after `previous`, or the first. Dead ones whose last count is gone are passed over.
fn next(previous: Option<&TaskRef>) -> Option<TaskRef> {
    let tasks = TASKS.lock();
    // SAFETY: the lock is held.
    let mut links = unsafe { tasks.iter_after(previous.map(|task| NonNull::from(&task.links))) };
    let found = loop {
        let Some(link) = links.next() else { break None };
        // SAFETY: only tasks' links are on the list, and they leave it before their memory goes.
        let task = unsafe { &*link.as_ptr().byte_sub(offset_of!(Task, links)).cast::<Task>() };
        if let Some(task) = TaskRef::try_from_task(task) {
            break Some(task);
        }
    };
    tasks.unlock_no_resched();
    found
}

/// Calls `f` with every task. Tasks made or gone meanwhile may be missed. Thread context.
pub fn for_each(mut f: impl FnMut(&Task)) {
    let mut task = next(None);
    while let Some(this) = task {
        f(&this);
        crate::preempt::cond_resched_if_allowed();
        task = next(Some(&this));
    }
}

/// Puts the boot CPU's idle task on the list. Once, at boot.
pub(crate) fn register_idle() {
    add(super::idle_task());
}
