//! The sleeping lock with priority inheritance, without data: what `Mutex` and the other sleeping locks are made of.
//!
//! Free, or held and not wanted, it is one word: taking and releasing it is an exclusive load and store, and a count
//! in the task. Otherwise both sides meet under the PI lock: who waits joins the waiters, in the order of priority, and
//! lends the owner its own priority; the release hands the lock to the most important one, which owns it before it
//! wakes, so nobody can barge in between (docs/adr/0004, 0005).
//!
//! The count of locks that a task holds is never too small, at no instruction: a task that is aborted or ends while it
//! owns a lock would leave its address in the owner word.
//!
//! Context: threads. Lock: the PI lock, in the slow paths.

use super::pi::{self, At, Cycle, Follow, PI, PiLock, Stuck, Waiter};
use crate::error::{Error, Result};
use crate::sched::core as sched;
use crate::sched::wait::{self, Timeout, WaitStatus};
use crate::task::{self, Task, TaskRef, state};
use crate::time::hrtimer::{Hrtimer, Restart};
use crate::trace::{
    self,
    event::{LCB_F_MUTEX, LCB_F_RT},
};
use arch::irqflags;
use arch::patch::{SMP_LOCKS, static_branch};
use core::mem::offset_of;
use core::ptr;

/// See the module's text. The user keeps to it that the task that locks is the one that unlocks.
pub(crate) struct RawMutex {
    lock: PiLock<Task>,
}

/// What kind of lock it is, in the trace.
const CONTENTION: u32 = LCB_F_RT | LCB_F_MUTEX;

/// Linux's number of an error, negative, in the trace.
fn errno(error: &Error) -> i32 {
    match error {
        Error::TimedOut => -110,
        _ => -35,
    }
}

/// What to do about a deadlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDeadlock {
    /// Nobody would hear an answer.
    Panic,
    /// Log it, and let the caller decide.
    Answer,
}

impl RawMutex {
    /// A free one. Messages name it by the place of the call.
    #[must_use]
    #[track_caller]
    pub(crate) const fn new() -> Self {
        Self { lock: PiLock::new() }
    }

    /// Takes it, sleeping while another task has it.
    ///
    /// # Panics
    /// If that would be for ever: the panic names who waits for whom.
    #[inline(always)]
    pub(crate) fn lock(&self) {
        if !self.try_lock_fast() {
            // `Never` cannot fail but by a deadlock, which panics.
            let _ = self.lock_slow(Timeout::Never, OnDeadlock::Panic);
        }
    }

    /// Takes it, waiting as `timeout` says.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::WouldBlock`] for [`Timeout::Now`], [`Error::Deadlock`].
    #[inline]
    pub(crate) fn lock_timeout(&self, timeout: Timeout) -> Result<()> {
        if self.try_lock_fast() { Ok(()) } else { self.lock_slow(timeout, OnDeadlock::Answer) }
    }

    /// Takes it if it is free.
    #[inline(always)]
    pub(crate) fn try_lock(&self) -> bool {
        let taken = self.try_lock_fast();
        if !taken {
            let held = &task::current().pi.held;
            held.set(held.get() - 1);
        }
        taken
    }

    /// Counts it as held, and takes it if it is free. If not, the count remains for the slow path.
    #[inline(always)]
    fn try_lock_fast(&self) -> bool {
        let me = task::current();
        me.pi.held.set(me.pi.held.get() + 1);
        self.lock.take_free(me)
    }

    /// Releases it. **May switch to the task that waits for it.**
    ///
    /// # Panics
    /// If the caller does not hold it.
    #[inline(always)]
    pub(crate) fn unlock(&self) {
        let me = task::current();
        if !self.lock.release_unwanted(me) {
            return self.unlock_slow();
        }
        me.pi.held.set(me.pi.held.get() - 1);
    }

    /// Whether some task has it.
    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    /// Whether a task waits for it: `cond_resched_lock` asks.
    pub(crate) fn is_wanted(&self) -> bool {
        let pi = PI.lock();
        let wanted = self.lock.top().is_some();
        pi.unlock_no_resched();
        wanted
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(&self, timeout: Timeout, on_deadlock: OnDeadlock) -> Result<()> {
        let me = task::current();
        let result = self.wait(me, timeout, on_deadlock);
        if result.is_err() {
            me.pi.held.set(me.pi.held.get() - 1);
        }
        result
    }

    fn wait(&self, me: &Task, timeout: Timeout, on_deadlock: OnDeadlock) -> Result<()> {
        let pi = PI.lock();
        let Some(owner) = self.lock.take_or_pin(me) else {
            pi.unlock_no_resched();
            return Ok(());
        };
        let is_mine = ptr::eq(&raw const *owner, me);
        if is_mine || timeout == Timeout::Now {
            self.lock.settle();
            pi.unlock_no_resched();
            if !is_mine {
                return Err(Error::WouldBlock);
            }
            return Err(deadlock(&Cycle::of_one(me, &self.lock), on_deadlock));
        }
        wait::assert_may_block(pi.flags());
        // SAFETY: the waiter stays on this stack, and the lock is borrowed, until `wait` returns, and it does not before
        // the waiter is off the lock; the caller waits here and so lives.
        let waiter = unsafe { Waiter::new(me, &self.lock) };
        // SAFETY: as above.
        let at = unsafe { At::new(&waiter) };
        trace::contention_begin(self, CONTENTION);
        me.wait.begin();
        // From here on whoever hands the lock over makes the task ready. No preemption looks at the state.
        me.set_state(state::UNINTERRUPTIBLE);
        pi::block(at, owner);
        let rest = pi::step(&owner, Follow::Chain);
        if rest.is_none() && timeout == Timeout::Never {
            let (_, flags) = pi.unlock_irqs_off();
            // SAFETY: task context, count 0 (checked above), IRQs masked.
            unsafe { sched::sleep_irqs_off() };
            irqflags::local_irq_restore(flags);
            trace::contention_end(self);
            return Ok(());
        }
        drop(pi);
        let result = self.wait_at_length(me, at, rest, timeout, on_deadlock);
        match &result {
            Ok(()) => trace::contention_end(self),
            Err(error) => trace::contention_given_up(self, errno(error)),
        }
        result
    }

    /// The rest of a wait with an end, or in a chain of locks that goes on at `rest`.
    fn wait_at_length(
        &self,
        me: &Task,
        at: At<Waiter<Task>>,
        rest: Option<TaskRef>,
        timeout: Timeout,
        on_deadlock: OnDeadlock,
    ) -> Result<()> {
        if let Err(stuck) = pi::walk(rest, Follow::Chain, Some(me))
            && let Some(error) = refuse(me, at, stuck, on_deadlock)
        {
            return Err(error);
        }
        sleep_until_done(me, timeout.deadline_ns())
    }

    #[cold]
    #[inline(never)]
    fn unlock_slow(&self) {
        let me = task::current();
        let pi = PI.lock();
        if !self.lock.is_owned_by(me) {
            not_mine(me, &self.lock);
        }
        me.pi.held.set(me.pi.held.get() - 1);
        let Some(waiter) = self.lock.top() else {
            // A slow path of another CPU has pinned it and gone away.
            self.lock.release_pinned();
            return;
        };
        let next = waiter.task();
        if static_branch::<SMP_LOCKS>() {
            wait::mark_waking(&next);
            pi::hand_over(&self.lock, me, waiter);
            next.wait.end(WaitStatus::Granted);
            let (_, flags) = pi.unlock_irqs_off();
            sched::wake_up_and_switch_smp(&next, flags);
        } else {
            pi::hand_over(&self.lock, me, waiter);
            next.wait.end(WaitStatus::Granted);
            let flags = pi.unlock_alone_irqs_off();
            sched::wake_up_and_switch_alone(&next, flags);
            irqflags::local_irq_restore(flags);
        }
    }
}

/// Sleeps until the lock is handed over or the deadline is past. The caller waits, and may have been granted the lock
/// already.
fn sleep_until_done(me: &Task, deadline_ns: Option<u64>) -> Result<()> {
    let pi = PI.lock();
    if me.wait.is_waiting() {
        let (_, flags) = pi.unlock_irqs_off();
        if let Some(deadline_ns) = deadline_ns {
            me.timer.start_irqs_off(deadline_ns, lock_timed_out);
        }
        // SAFETY: task context, count 0 (checked before the task joined the waiters), IRQs masked.
        unsafe { sched::sleep_irqs_off() };
        me.timer.cancel_irqs_off();
        irqflags::local_irq_restore(flags);
    } else {
        let (_, flags) = pi.unlock_irqs_off();
        wait::end_of_granted_wait();
        irqflags::local_irq_restore(flags);
    }
    if me.wait.status() != WaitStatus::TimedOut {
        return Ok(());
    }
    // The interrupt has made the first step of the way back.
    // SAFETY: `lock_timed_out` left it there, for this one.
    let rest = unsafe { TaskRef::from_slot(me.wait.slot()) };
    let _ = pi::walk(rest, Follow::Change, None);
    Err(Error::TimedOut)
}

/// The chain behind the lock that `me` has begun to wait for has no end. If that is so, takes it off the lock again and
/// says so; nothing if the lock has been granted meanwhile, or the ring was opened by another task of it.
#[cold]
#[inline(never)]
fn refuse(me: &Task, waiter: At<Waiter<Task>>, stuck: Stuck, on_deadlock: OnDeadlock) -> Option<Error> {
    let pi = PI.lock();
    if !me.wait.is_waiting() {
        pi.unlock_no_resched();
        return None;
    }
    let cycle = Cycle::find(me);
    if stuck == Stuck::Returned && cycle.is_none() {
        pi.unlock_no_resched();
        return None;
    }
    let rest = give_up(me, waiter, WaitStatus::TimedOut);
    me.set_state(state::RUNNING);
    drop(pi);
    // Too long a chain has been logged.
    let _ = pi::walk(rest, Follow::Change, None);
    match cycle {
        Some(cycle) => Some(deadlock(&cycle, on_deadlock)),
        None if on_deadlock == OnDeadlock::Answer => Some(Error::Deadlock),
        None => panic!("task {} waits at the end of too long a chain of mutexes", me.name()),
    }
}

/// Ends a wait without the lock: off the waiters, and the owner back to what it is without this one. With the PI lock
/// held; answers what is left of the walk.
pub(crate) fn give_up(task: &Task, waiter: At<Waiter<Task>>, why: WaitStatus) -> Option<TaskRef> {
    let owner = pi::remove(waiter);
    task.wait.end(why);
    owner.and_then(|owner| pi::step(&owner, Follow::Change))
}

/// The timer of a task that waits for a lock.
fn lock_timed_out(timer: &Hrtimer) -> Restart {
    // SAFETY: only `sleep_until_done` starts a timer with this callback, and it is the task's.
    let task = unsafe { &*ptr::from_ref(timer).byte_sub(offset_of!(Task, timer)).cast::<Task>() };
    let pi = PI.lock();
    if task.wait.is_waiting()
        && let Some(waiter) = task.pi.blocked_on()
    {
        if static_branch::<SMP_LOCKS>() {
            wait::mark_waking(task);
        }
        let rest = give_up(task, waiter, WaitStatus::TimedOut);
        task.wait.set_slot(TaskRef::into_slot(rest));
        sched::wake_up_granted(task);
    }
    pi.unlock_no_resched();
    Restart::No
}

#[cold]
#[track_caller]
fn deadlock(cycle: &Cycle, on_deadlock: OnDeadlock) -> Error {
    if on_deadlock == OnDeadlock::Panic {
        panic!("deadlock: {cycle}");
    }
    log::error!("deadlock refused: {cycle}");
    Error::Deadlock
}

#[cold]
fn not_mine(me: &Task, lock: &PiLock<Task>) -> ! {
    let owner = lock.owner();
    let owner = owner.as_ref().map_or("nobody", |owner| owner.name());
    panic!("task {} releases the mutex made at {}, which {owner} holds", me.name(), lock.made_at())
}
