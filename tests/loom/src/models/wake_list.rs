//! The wake list (`src/sched/wake_list.rs`). Its links are cells of the task, ordered by the head alone; here loom watches
//! them.
//!
//! | here | there |
//! |---|---|
//! | `hand_over` | `hand_over`: link, exchange with release, the interrupt for the first |
//! | `take` | `take`: swap with acquire, and the list turned round |
//! | `granted` | what the waker has given the task before (`WaitNode::status`, a message) |

use super::sync::{AtomicPtr, Ordering};
use core::ptr;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::Notify;
use loom::thread;

struct Task {
    link: UnsafeCell<*mut Task>,
    granted: UnsafeCell<bool>,
}

struct WakeList {
    pushed: AtomicPtr<Task>,
    told: Notify,
}

// SAFETY: in the model: loom checks it.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

fn hand_over(list: &WakeList, task: &Task) {
    let mut head = list.pushed.load(Ordering::Relaxed);
    loop {
        // SAFETY: in the model: loom checks it.
        task.link.with_mut(|link| unsafe { *link = head });
        let new = ptr::from_ref(task).cast_mut();
        match list.pushed.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => head = now,
        }
    }
    if head.is_null() {
        list.told.notify();
    }
}

fn take(list: &WakeList) -> *mut Task {
    let mut from = list.pushed.swap(ptr::null_mut(), Ordering::Acquire);
    let mut reversed = ptr::null_mut();
    // SAFETY: a task on the list lives until it is woken.
    while let Some(task) = unsafe { from.as_ref() } {
        // SAFETY: in the model: loom checks it.
        let next = task.link.with(|link| unsafe { *link });
        // SAFETY: as above.
        task.link.with_mut(|link| unsafe { *link = reversed });
        reversed = from;
        from = next;
    }
    reversed
}

/// Two CPUs leave a task each for a third, which wakes them, each once, and has the second one back on the list.
pub fn two_wakers() {
    let list = Arc::new(WakeList { pushed: AtomicPtr::new(ptr::null_mut()), told: Notify::new() });
    let tasks: Arc<[Task; 2]> = Arc::new(core::array::from_fn(|_| Task {
        link: UnsafeCell::new(ptr::null_mut()),
        granted: UnsafeCell::new(false),
    }));
    let wakers: Vec<_> = (0..2)
        .map(|index| {
            let (list, tasks) = (list.clone(), tasks.clone());
            thread::spawn(move || {
                // SAFETY: in the model: loom checks it.
                tasks[index].granted.with_mut(|granted| unsafe { *granted = true });
                hand_over(&list, &tasks[index]);
            })
        })
        .collect();
    let mut woken = 0;
    while woken < 2 {
        list.told.wait();
        let mut task = take(&list);
        // SAFETY: as in `take`.
        while let Some(this) = unsafe { task.as_ref() } {
            // First: once it is woken it may be pushed again.
            // SAFETY: in the model: loom checks it.
            task = this.link.with(|link| unsafe { *link });
            // SAFETY: as above.
            assert!(
                this.granted.with_mut(|granted| unsafe { core::mem::take(&mut *granted) }),
                "woken twice"
            );
            woken += 1;
        }
    }
    for waker in wakers {
        waker.join().unwrap();
    }
    assert!(list.pushed.load(Ordering::Relaxed).is_null());
}
