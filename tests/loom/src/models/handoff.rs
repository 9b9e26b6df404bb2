//! A task that goes to sleep, one that wakes it, and one that changes it (docs/adr/0011).
//!
//! | here | there |
//! |---|---|
//! | `go_to_sleep` | a wait by hand: `set_current_state`, the condition, `schedule`; `sched::core::schedule_smp` |
//! | `block` | a wait on a queue: `sched::wait::block_in`, whose filing and sleep are one section of the run queue |
//! | `grant` | `sched::wait::grant_in`, `wakeup_smp::wake_up_and_switch` from another CPU |
//! | `switch away` in it | `cpu_switch_to` and `finish_task_switch_smp`: the lock goes over with the switch, and is released when the registers are in memory |
//! | `wake_up` | `wakeup_smp::wake_up_interruptible`, `activate`, `move_sleeping` |
//! | `lock_task_rq` | `runqueue::lock_task_rq_smp` and `holds` |
//! | `run` | the switch to the task, on whichever CPU |
//!
//! The locks are the kernel's ticket locks. Everything that a run-queue lock guards is a cell that loom watches.

use super::sync::{AtomicU32, Ordering, relax};
use super::ticket::TicketLock;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, fence};
use loom::thread;

const RUNNING: u32 = 0;
const INTERRUPTIBLE: u32 = 1;
const IDLE: u32 = 2;
const WAKING: u32 = 3;

/// What the lock of the task's run queue guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Guarded {
    on_rq: bool,
    is_migrating: bool,
    prio: u32,
}

struct RunQueue {
    lock: TicketLock,
    /// Whether the task is the one on this CPU.
    is_curr: UnsafeCell<bool>,
}

struct World {
    rqs: [RunQueue; 2],
    condition: AtomicBool,
    state: AtomicU32,
    /// The index of the task's run queue.
    rq: AtomicU32,
    task: UnsafeCell<Guarded>,
    /// What is saved at a switch, and loaded by the next: not by a lock's leave, but by whoever runs it.
    registers: UnsafeCell<u32>,
    /// The lock of what is waited on.
    queue: TicketLock,
    /// Guarded by it: the task waits there.
    is_filed: UnsafeCell<bool>,
}

impl World {
    /// The task runs on CPU 0.
    fn new() -> Arc<Self> {
        let rq = |is_curr| RunQueue { lock: TicketLock::new(), is_curr: UnsafeCell::new(is_curr) };
        Arc::new(Self {
            rqs: [rq(true), rq(false)],
            condition: AtomicBool::new(false),
            state: AtomicU32::new(RUNNING),
            rq: AtomicU32::new(0),
            task: UnsafeCell::new(Guarded { on_rq: true, is_migrating: false, prio: 0 }),
            registers: UnsafeCell::new(0),
            queue: TicketLock::new(),
            is_filed: UnsafeCell::new(false),
        })
    }

    fn task(&self) -> Guarded {
        // SAFETY: in the model: loom checks it.
        self.task.with(|task| unsafe { *task })
    }

    fn change(&self, f: impl FnOnce(&mut Guarded)) {
        // SAFETY: in the model: loom checks it.
        self.task.with_mut(|task| f(unsafe { &mut *task }));
    }

    fn is_curr(&self, cpu: usize) -> bool {
        // SAFETY: in the model: loom checks it.
        self.rqs[cpu].is_curr.with(|curr| unsafe { *curr })
    }

    fn set_curr(&self, cpu: usize, is_curr: bool) {
        // SAFETY: in the model: loom checks it.
        self.rqs[cpu].is_curr.with_mut(|curr| unsafe { *curr = is_curr });
    }

    fn unlock(&self, cpu: usize) {
        // SAFETY: the callers have it.
        unsafe { self.rqs[cpu].lock.unlock() };
    }

    /// On CPU 0, as the task. Whether it sleeps.
    fn go_to_sleep(&self) -> bool {
        // `set_current_state`: before the condition is looked at, for everybody.
        self.state.store(INTERRUPTIBLE, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.condition.load(Ordering::Relaxed) {
            self.state.store(RUNNING, Ordering::Relaxed);
            return false;
        }
        self.rqs[0].lock.lock();
        let sleeps = self.state.load(Ordering::Relaxed) != RUNNING;
        if sleeps {
            self.change(|task| task.on_rq = false);
            // Switch away: the registers, and then the lock.
            // SAFETY: in the model: loom checks it.
            self.registers.with_mut(|registers| unsafe { *registers += 1 });
            self.set_curr(0, false);
        }
        self.unlock(0);
        sleeps
    }

    /// On CPU 0, as the task.
    fn block(&self) {
        self.queue.lock();
        self.state.store(IDLE, Ordering::Relaxed);
        self.rqs[0].lock.lock();
        // SAFETY: in the model: loom checks it.
        self.is_filed.with_mut(|is_filed| unsafe { *is_filed = true });
        // SAFETY: locked above.
        unsafe { self.queue.unlock() };
        // Without a look at the state: whoever found it filed waits for this run queue.
        self.change(|task| task.on_rq = false);
        // SAFETY: in the model: loom checks it.
        self.registers.with_mut(|registers| unsafe { *registers += 1 });
        self.set_curr(0, false);
        self.unlock(0);
    }

    /// On CPU 1. Whether the task was found waiting, and so woken, here.
    fn grant(&self) -> bool {
        self.queue.lock();
        // SAFETY: in the model: loom checks it.
        let is_filed = self.is_filed.with(|is_filed| unsafe { *is_filed });
        if is_filed {
            self.state.store(WAKING, Ordering::Relaxed);
            fence(Ordering::Release);
            // SAFETY: as above.
            self.is_filed.with_mut(|is_filed| unsafe { *is_filed = false });
        }
        // SAFETY: locked above.
        unsafe { self.queue.unlock() };
        if is_filed {
            let cpu = self.lock_task_rq();
            assert!(!self.task().on_rq && !self.is_curr(cpu), "it was filed, and is not asleep yet");
            self.state.store(RUNNING, Ordering::Relaxed);
            // `move_sleeping`, to this CPU.
            self.change(|task| task.is_migrating = true);
            self.rq.store(1, Ordering::Release);
            self.unlock(cpu);
            self.rqs[1].lock.lock();
            self.change(|task| (task.is_migrating, task.on_rq) = (false, true));
            self.unlock(1);
        }
        is_filed
    }

    /// Locked: whether the task is this run queue's, and not on its way to another one.
    fn holds(&self, cpu: usize) -> bool {
        self.rq.load(Ordering::Acquire) as usize == cpu && !self.task().is_migrating
    }

    /// The task's run queue, locked.
    fn lock_task_rq(&self) -> usize {
        loop {
            let cpu = self.rq.load(Ordering::Relaxed) as usize;
            self.rqs[cpu].lock.lock();
            if self.holds(cpu) {
                return cpu;
            }
            self.unlock(cpu);
            relax();
        }
    }

    /// On CPU 1. Whether it woke the task.
    fn wake_up(&self) -> bool {
        self.condition.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) != INTERRUPTIBLE {
            return false;
        }
        let mut cpu = self.lock_task_rq();
        let wakes =
            self.state.compare_exchange(INTERRUPTIBLE, RUNNING, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if wakes {
            let is_asleep = !self.task().on_rq && !self.is_curr(cpu);
            if is_asleep {
                // `move_sleeping`, to this CPU.
                self.change(|task| task.is_migrating = true);
                self.rq.store(1, Ordering::Release);
                self.unlock(cpu);
                self.rqs[1].lock.lock();
                cpu = 1;
                self.change(|task| (task.is_migrating, task.on_rq) = (false, true));
            } else {
                assert!(self.task().on_rq, "who is curr and about to sleep has not been dequeued yet");
            }
        }
        self.unlock(cpu);
        wakes
    }

    /// CPU 1 picks the task, if it is on its queue.
    fn run(&self) {
        self.rqs[1].lock.lock();
        if self.rq.load(Ordering::Acquire) == 1 && self.task().on_rq {
            self.set_curr(1, true);
            // SAFETY: in the model: loom checks it. What the CPU before it saved.
            assert_eq!(self.registers.with(|registers| unsafe { *registers }), 1);
        }
        self.unlock(1);
    }

    /// At the end: awake, in one place, and not lost.
    fn check(&self, slept: bool, woke: bool) {
        assert_eq!(self.state.load(Ordering::Relaxed), RUNNING, "the task is asleep, and nobody wakes it");
        let task = self.task();
        assert!(task.on_rq && !task.is_migrating, "awake and on no queue: {task:?}");
        assert!(!(self.is_curr(0) && self.is_curr(1)), "it runs on two CPUs");
        assert!(!slept || woke, "it slept, and nobody woke it");
        assert_eq!(slept, self.rq.load(Ordering::Relaxed) == 1, "moved without having slept, or the reverse");
    }
}

/// The task goes to sleep while another CPU wakes it, and takes it.
pub fn sleeper_and_waker() {
    let world = World::new();
    let waker = {
        let world = world.clone();
        thread::spawn(move || {
            let woke = world.wake_up();
            world.run();
            woke
        })
    };
    let slept = world.go_to_sleep();
    let woke = waker.join().unwrap();
    world.check(slept, woke);
}

/// The task waits on a queue while another CPU grants it what it waits for.
pub fn waiter_and_granter() {
    let world = World::new();
    let granter = {
        let world = world.clone();
        thread::spawn(move || {
            let granted = world.grant();
            world.run();
            granted
        })
    };
    world.block();
    if granter.join().unwrap() {
        world.check(true, true);
    } else {
        assert_eq!(world.state.load(Ordering::Relaxed), IDLE, "it waits, and nobody has been there");
    }
}

/// One wakes the task, and moves it by that; another one changes its priority meanwhile, wherever it is. The task sleeps
/// already: what three do at once is the looking again behind the lock.
pub fn with_a_third() {
    let world = World::new();
    assert!(world.go_to_sleep());
    let changer = {
        let world = world.clone();
        thread::spawn(move || {
            // `lock_task_rq`, one round: another one follows where the task was on its way.
            let cpu = world.rq.load(Ordering::Relaxed) as usize;
            world.rqs[cpu].lock.lock();
            let holds = world.holds(cpu);
            if holds {
                world.change(|task| task.prio = 5);
            }
            world.unlock(cpu);
            holds
        })
    };
    let waker = {
        let world = world.clone();
        thread::spawn(move || world.wake_up())
    };
    let changed = changer.join().unwrap();
    let woke = waker.join().unwrap();
    // CPU 1 looks for something to run.
    world.run();
    world.check(true, woke);
    assert_eq!(world.task().prio, if changed { 5 } else { 0 }, "a change was lost");
}
