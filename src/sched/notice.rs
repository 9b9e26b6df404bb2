//! What people are told about deadline tasks and throttling: noted where it happens, written to the log by whoever
//! drains that.
//!
//! A message of the log is formatted where it is logged, some thousand instructions; a budget ends in the timer's
//! interrupt. So only the facts are copied there: 64 bytes, no loop. The message has the time at which it was
//! written, which a busy real-time task may delay up to the end of its budget.
//!
//! Invariant: a notice does not refer to its task, which may be gone when it is read.
//! Context: `note` from any, IRQs masked; `tell` from threads. Lock: NOTICES, innermost.
#![forbid(unsafe_code)]

use crate::locking::RawSpinLockIrqSave;
use crate::task::{Name, Task};
use core::sync::atomic::{AtomicU32, Ordering};
use heapless::Deque;

/// What has happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// The task has used up its runtime for the first time.
    Overrun { runtime_ns: u64, period_ns: u64 },
    /// A budget was renewed so late that the deadline that goes with it was past.
    Lagged,
    /// Real-time tasks are held back for the first time; this one ran.
    Throttled { runtime_ns: u64, period_ns: u64 },
}

#[derive(Clone, Copy, Debug)]
struct Notice {
    what: What,
    name: Name,
    id: u32,
}

/// Notices that wait for the drain. Each is made once in a task's life or once in a boot.
const WAITING_MAX: usize = 16;
static NOTICES: RawSpinLockIrqSave<Deque<Notice, WAITING_MAX>> = RawSpinLockIrqSave::new(Deque::new());
/// For which there was no room.
static LOST: AtomicU32 = AtomicU32::new(0);

/// Has the thread that drains the log write that `what` has happened to `task`. Constant time.
#[cold]
#[inline(never)]
pub(super) fn note(what: What, task: &Task) {
    let notice = Notice { what, name: task.name_copy(), id: task.id() };
    if NOTICES.lock().push_back(notice).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
    crate::klog::ask_for_drain();
}

/// Writes to the log what was noted. Called by whoever drains it.
pub fn tell() {
    // One at a time, and the lock is not held over the message.
    loop {
        let notice = NOTICES.lock().pop_front();
        let Some(notice) = notice else { break };
        notice.log();
    }
    let lost = LOST.swap(0, Ordering::Relaxed);
    if lost > 0 {
        log::warn!(target: "sched", "{lost} more deadline tasks have used up their runtime; the log was not drained in time");
    }
}

impl Notice {
    fn log(&self) {
        let (name, id) = (self.name.as_str(), self.id);
        match self.what {
            What::Overrun { runtime_ns, period_ns } => log::warn!(
                target: "sched",
                "deadline task {name}/{id} has used up its runtime of {} us before its period of {} us was over; it waits for the next",
                runtime_ns / 1000, period_ns / 1000
            ),
            What::Lagged => log::warn!(target: "sched", "DL replenish lagged too much: {name}/{id}"),
            What::Throttled { runtime_ns, period_ns } => log::warn!(
                target: "sched",
                "RT throttling activated: real-time tasks have used {} us of {} us; {name}/{id} runs",
                runtime_ns / 1000, period_ns / 1000
            ),
        }
    }
}
