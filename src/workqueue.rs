//! Work queues: what an interrupt or a timer leaves to be done where sleeping is allowed.
//!
//! A [`Work`] is a function that a worker thread calls, soon, once, however often the work was queued before. It
//! is allocated when it is made; queueing allocates nothing. Rules (reference 7.3):
//!
//! * "pending" is cleared before the call, so a work may queue itself, and what is queued during the call runs again;
//! * a work never runs on two workers at once;
//! * works begin in the order in which they were queued.
//!
//! **Concurrency and bound:** a queue has a fixed number of workers. While no more than that number of works sleep,
//! the next one begins; the first beyond waits until a worker is free. (Linux makes workers as they block; here
//! memory and the number of threads are known at boot.)
//!
//! Context: queueing and cancelling from any, flushing and `cancel_sync` from threads. Locks: a queue's, which
//! masks IRQs for a few instructions; none is held while a work runs.

use crate::locking::{Mutex, SchedLock, Semaphore, WaitQueue};
use crate::task;
use crate::time::Timer;
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use intrusive_collections::{LinkedList, LinkedListAtomicLink, UnsafeRef, intrusive_adapter};

/// Waits on its queue.
const PENDING: u32 = 1;
/// A worker calls it.
const RUNNING: u32 = 2;
/// It was queued while it ran: its worker puts it on the queue when it is back.
const AGAIN: u32 = 4;

/// A function for a worker thread. Cheap to clone; all clones are the same work.
#[derive(Clone)]
pub struct Work {
    inner: Arc<Inner>,
}

struct Inner {
    link: LinkedListAtomicLink,
    /// PENDING, RUNNING, AGAIN; changed under the lock of the queue the work was last put on.
    state: AtomicU32,
    /// Which flush it belongs to, while it is pending.
    colour: AtomicU32,
    idle: WaitQueue,
    function: Box<dyn Fn() + Send + Sync>,
}

intrusive_adapter!(Queued = UnsafeRef<Inner>: Inner { link => LinkedListAtomicLink });

/// A queue with its workers. [`system_wq`] and [`system_highpri_wq`] are there from boot.
pub struct Workqueue {
    name: &'static str,
    nice: i32,
    workers: u32,
    list: SchedLock<Lists>,
    /// A unit for each work on the list, or one that was there and was cancelled.
    more: Semaphore,
    flushed: WaitQueue,
    flusher: Mutex<()>,
}

struct Lists {
    works: RefCell<LinkedList<Queued>>,
    /// Works queued before, and since, the last flush began, that are not done.
    unfinished: [Cell<u32>; 2],
    colour: Cell<u32>,
}

// SAFETY: the list holds counts of `Inner`s, which are `Send` and `Sync`; its links are touched under the lock.
unsafe impl Send for Lists {}

static SYSTEM: Workqueue = Workqueue::new("kworker", 0, 4);
static SYSTEM_HIGHPRI: Workqueue = Workqueue::new("kworkerH", -20, 2);

/// The queue for everything ordinary: nice 0, four workers.
#[must_use]
pub fn system_wq() -> &'static Workqueue {
    &SYSTEM
}

/// The queue for what should be done before other fair tasks run: nice −20, two workers.
#[must_use]
pub fn system_highpri_wq() -> &'static Workqueue {
    &SYSTEM_HIGHPRI
}

/// Queues `work` on [`system_wq`]; `false` if it is queued already.
pub fn schedule_work(work: &Work) -> bool {
    SYSTEM.queue_work(work)
}

/// Starts the workers of the system's queues, at boot.
pub(crate) fn start() {
    for queue in [&SYSTEM, &SYSTEM_HIGHPRI] {
        if let Err(error) = queue.start() {
            panic!("cannot start the workers of {}: {error}", queue.name);
        }
    }
}

impl Workqueue {
    /// A queue for `workers` threads of this nice level, called `name/0` and so on. A static; [`Self::start`] it.
    #[must_use]
    pub const fn new(name: &'static str, nice: i32, workers: u32) -> Self {
        Self {
            name,
            nice,
            workers,
            list: SchedLock::new(Lists {
                works: RefCell::new(LinkedList::new(Queued::NEW)),
                unfinished: [const { Cell::new(0) }; 2],
                colour: Cell::new(0),
            }),
            more: Semaphore::new(0),
            flushed: WaitQueue::new(),
            flusher: Mutex::new(()),
        }
    }

    /// Starts the workers, which stay for ever. Once, in thread context or at boot.
    ///
    /// # Errors
    /// Those of making a task; the workers made so far stay.
    pub fn start(&'static self) -> crate::Result<()> {
        for n in 0..self.workers {
            let name = format!("{}/{n}", self.name);
            task::build(&name).nice(self.nice).spawn(move || self.serve())?;
        }
        Ok(())
    }

    /// Puts `work` on this queue, unless it is on one; returns whether it was put. Any context; wakes a worker.
    pub fn queue_work(&self, work: &Work) -> bool {
        let lists = self.list.lock();
        let before = work.inner.state.load(Ordering::Relaxed);
        if before & (PENDING | AGAIN) != 0 {
            lists.unlock_no_resched();
            return false;
        }
        lists.account(&work.inner);
        if before & RUNNING != 0 {
            work.inner.state.store(before | AGAIN, Ordering::Relaxed);
            lists.unlock_no_resched();
            return true;
        }
        work.inner.state.store(PENDING, Ordering::Relaxed);
        lists.push(&work.inner);
        lists.unlock_no_resched();
        // The limit is out of reach: one unit per work.
        let _ = self.more.give();
        true
    }

    /// Waits until everything is done that was queued before this call. Thread context, not from a work of this queue.
    pub fn flush(&self) {
        let _alone = self.flusher.lock();
        let lists = self.list.lock();
        // What was queued until now has the old colour; no flush before this one left any of the new.
        let colour = lists.colour.get();
        lists.colour.set(colour ^ 1);
        lists.unlock_no_resched();
        self.flushed.wait_until(|| self.unfinished(colour) == 0);
    }

    /// Takes `work` off this queue if it waits there; returns whether it did. It may be running. Any context.
    pub fn cancel(&self, work: &Work) -> bool {
        let lists = self.list.lock();
        let state = work.inner.state.load(Ordering::Relaxed);
        let taken = if state & PENDING != 0 {
            let mut works = lists.works.borrow_mut();
            // SAFETY: pending, so it is linked; into this queue's list, on which the caller has put it.
            unsafe { works.cursor_mut_from_ptr(Arc::as_ptr(&work.inner)) }.remove().map(counted)
        } else {
            None
        };
        let cancelled = state & (PENDING | AGAIN) != 0;
        work.inner.state.store(state & RUNNING, Ordering::Relaxed);
        let last = cancelled && lists.finish(&work.inner);
        lists.unlock_no_resched();
        drop(taken);
        if last {
            self.flushed.wake_all();
        }
        cancelled
    }

    /// [`Self::cancel`], and waits until it is not running. Thread context, not from the work itself.
    pub fn cancel_sync(&self, work: &Work) -> bool {
        let cancelled = self.cancel(work);
        work.wait_idle();
        cancelled
    }

    fn unfinished(&self, colour: u32) -> u32 {
        let lists = self.list.lock();
        let unfinished = lists.unfinished[colour as usize].get();
        lists.unlock_no_resched();
        unfinished
    }

    fn serve(&self) {
        loop {
            self.more.take();
            let lists = self.list.lock();
            // Nothing if it was cancelled.
            let work = lists.works.borrow_mut().pop_front().map(counted);
            let colour = work.as_ref().map_or(0, |work| work.colour.load(Ordering::Relaxed));
            if let Some(work) = &work {
                work.state.store(RUNNING, Ordering::Relaxed);
            }
            lists.unlock_no_resched();
            if let Some(work) = work {
                (work.function)();
                self.done(work, colour);
                crate::preempt::cond_resched();
            }
        }
    }

    /// The function of `work`, which was queued under `colour`, has returned.
    fn done(&self, work: Arc<Inner>, colour: u32) {
        let lists = self.list.lock();
        let again = work.state.load(Ordering::Relaxed) & AGAIN != 0;
        work.state.store(if again { PENDING } else { 0 }, Ordering::Release);
        if again {
            lists.push(&work);
        }
        let last = lists.finish_colour(colour);
        lists.unlock_no_resched();
        if again {
            let _ = self.more.give();
        } else {
            work.idle.wake_all();
        }
        if last {
            self.flushed.wake_all();
        }
    }
}

/// Takes over the count that the list had.
fn counted(work: UnsafeRef<Inner>) -> Arc<Inner> {
    // SAFETY: `push` gave the list a count of its own.
    unsafe { Arc::from_raw(UnsafeRef::into_raw(work)) }
}

impl Lists {
    /// Puts `work`, which is on no list, at the end.
    fn push(&self, work: &Arc<Inner>) {
        // SAFETY: the count keeps it there until it is taken off.
        let work = unsafe { UnsafeRef::from_raw(Arc::into_raw(Arc::clone(work))) };
        self.works.borrow_mut().push_back(work);
    }

    /// `work` was queued: the next flush waits for it.
    fn account(&self, work: &Inner) {
        let colour = self.colour.get();
        work.colour.store(colour, Ordering::Relaxed);
        let unfinished = &self.unfinished[colour as usize];
        unfinished.set(unfinished.get() + 1);
    }

    /// `work` will not run; returns whether a flush may be waiting for just that.
    fn finish(&self, work: &Inner) -> bool {
        self.finish_colour(work.colour.load(Ordering::Relaxed))
    }

    fn finish_colour(&self, colour: u32) -> bool {
        let unfinished = &self.unfinished[colour as usize];
        unfinished.set(unfinished.get() - 1);
        unfinished.get() == 0
    }
}

impl Work {
    /// A work that will call `function`. Thread context. One work is used with one queue.
    #[must_use]
    pub fn new(function: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                link: LinkedListAtomicLink::new(),
                state: AtomicU32::new(0),
                colour: AtomicU32::new(0),
                idle: WaitQueue::new(),
                function: Box::new(function),
            }),
        }
    }

    /// Whether it waits to run (again).
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.inner.state.load(Ordering::Relaxed) & (PENDING | AGAIN) != 0
    }

    /// Waits until it neither waits nor runs. Thread context, not from the work itself.
    pub fn flush(&self) {
        self.wait_idle();
    }

    fn wait_idle(&self) {
        let state = &self.inner.state;
        // Acquire: what the work did, on whichever CPU, is there for who has waited.
        self.inner.idle.wait_until(|| state.load(Ordering::Acquire) == 0);
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("state", &self.inner.state.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// A work that is queued when a time has passed.
#[derive(Debug)]
pub struct DelayedWork {
    work: Work,
    queue: &'static Workqueue,
    timer: Timer,
}

impl DelayedWork {
    /// A work for `queue` that will call `function`. Thread context.
    #[must_use]
    pub fn new(queue: &'static Workqueue, function: impl Fn() + Send + Sync + 'static) -> Self {
        let work = Work::new(function);
        let queued = work.clone();
        // In the interrupt itself: it is a few instructions, and can be cancelled from anywhere.
        let timer = Timer::new_hard(move || {
            queue.queue_work(&queued);
        });
        Self { work, queue, timer }
    }

    /// Queues the work `ns` nanoseconds from now, unless it waits for its time or on the queue; returns whether it
    /// was started. Any context.
    pub fn queue_after(&self, ns: u64) -> bool {
        if self.timer.is_running() || self.work.is_pending() {
            return false;
        }
        self.timer.start_once(ns);
        true
    }

    /// Queues the work `ns` nanoseconds from now, whatever was said before.
    pub fn modify(&self, ns: u64) {
        self.cancel();
        self.timer.start_once(ns);
    }

    /// Takes it back if it waits; returns whether it did. It may be running. Any context.
    pub fn cancel(&self) -> bool {
        // Not one or the other: it may go from the first to the second in between, and must be found there.
        self.timer.cancel() | self.queue.cancel(&self.work)
    }

    /// [`Self::cancel`], and waits until it is not running. Thread context, not from the work itself.
    pub fn cancel_sync(&self) -> bool {
        let cancelled = self.cancel();
        self.work.wait_idle();
        cancelled
    }

    /// Queues it now if it waits for its time, and waits until it is done. Thread context.
    pub fn flush(&self) {
        if self.timer.cancel() {
            self.queue.queue_work(&self.work);
        }
        self.work.wait_idle();
    }
}

impl fmt::Debug for Workqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workqueue({}, nice {}, {} workers)", self.name, self.nice, self.workers)
    }
}
