//! Tasks that wait for a lock for too long, told with whom they wait for and where they are.
//!
//! A task that waits for an event (a semaphore, a message, the end of another task, a time) may do so for ever: nobody owes
//! it one, and it waits in `state::IDLE`. A task that waits for a mutex or another lock waits in
//! `state::UNINTERRUPTIBLE`: somebody has the lock and is to give it back.
//!
//! Invariant: the thread exists exactly while the timeout is not 0.
//! Context: threads.

use super::report;
use super::waits::Waits;
use crate::error::Result;
use crate::locking::pi::Awaited;
use crate::locking::{Mutex, Semaphore};
use crate::sched::wait::Timeout;
use crate::task::{self, JoinHandle, Task, state};
use crate::time::now_ns;
use core::sync::atomic::{AtomicU64, Ordering};

/// 0: the thread ends.
static TIMEOUT_NS: AtomicU64 = AtomicU64::new(0);
/// Makes the thread look at [`TIMEOUT_NS`].
static CHANGED: Semaphore = Semaphore::with_limit(0, 1);
static THREAD: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);
/// Frames of a waiting task that are shown.
const FRAMES: usize = 16;

/// Looks every half `timeout_ns` from now on; 0: not any more.
pub(super) fn set_timeout(timeout_ns: u64) -> Result<()> {
    let mut thread = THREAD.lock();
    TIMEOUT_NS.store(0, Ordering::Relaxed);
    // Full: it is about to look anyhow.
    let _ = CHANGED.give();
    if let Some(thread) = thread.take() {
        thread.join();
    }
    let _ = CHANGED.try_take();
    TIMEOUT_NS.store(timeout_ns, Ordering::Relaxed);
    if timeout_ns != 0 {
        *thread = Some(task::build("khungtaskd").spawn(watch)?);
    }
    Ok(())
}

fn watch() {
    let mut waits = Waits::new();
    loop {
        let timeout_ns = TIMEOUT_NS.load(Ordering::Relaxed);
        if timeout_ns == 0 {
            return;
        }
        let now = now_ns();
        task::for_each(|task| {
            if task.state() == state::UNINTERRUPTIBLE
                && let switches = task.switches()
                && let Some(for_ns) = waits.see(task.id(), switches, now, timeout_ns)
            {
                tell(task, switches, for_ns);
            }
        });
        waits.end_of_look();
        // Timed out: time for the next look.
        let _ = CHANGED.take_timeout(Timeout::In(timeout_ns / 2));
    }
}

fn tell(task: &Task, switches: u64, for_ns: u64) {
    let awaited = Awaited::by(task);
    // The frames of a sleeping task stay where they are.
    let (pc, fp) = task.arch.context().pc_fp();
    let mut frames = heapless::Vec::<u64, FRAMES>::new();
    let _ = frames.push(pc);
    arch::backtrace::walk(fp, FRAMES - 1, |pc| {
        // As many as there is room for.
        let _ = frames.push(pc);
    });
    if task.switches() != switches || task.state() != state::UNINTERRUPTIBLE {
        return;
    }
    report::hung(task.name(), task.id(), for_ns, awaited.as_ref(), &frames);
}
