//! The simulated CPU: a core reduced to what the scheduling classes can see of
//! it, and a model of what they should do.
//!
//! It keeps the need-resched flag, holds preemption off at times, delivers
//! ticks and the run queue's own events, and reads the clock only where the run queue's contract says that it
//! must. After every event it compares the run queue with what it knows itself.

use std::ptr::NonNull;

use stint::sched::{
    Class, DequeueFlags, EnqueueFlags, Policy, Resched, Rq, SchedAttr, SchedRef, SchedTask, WakeFlags,
};

const TASKS: usize = 24;
pub const TICK_NS: u64 = 4_000_000;

/// xorshift64*: small, seeded, good enough to choose events.
pub struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn attr(&mut self) -> SchedAttr {
        let nice = self.below(40) as i32 - 20;
        match self.below(10) {
            0 | 1 => SchedAttr::fifo(1 + self.below(99) as u32).unwrap(),
            2 => SchedAttr::fifo(50).unwrap(),
            3 => SchedAttr::rr(50).unwrap(),
            4 => SchedAttr::new(Policy::Idle, 0, nice).unwrap(),
            5 => SchedAttr::new(Policy::Batch, 0, nice).unwrap(),
            6 | 7 => SchedAttr::NORMAL,
            _ => SchedAttr::normal(nice).unwrap(),
        }
    }

    /// A reservation of at most 30 %; every third has a deadline before the end of its period.
    pub fn deadline(&mut self) -> SchedAttr {
        let period = 1_000_000 + self.below(50_000_000);
        let runtime = 2_000 + self.below(period * 3 / 10);
        let deadline = if self.one_in(3) { (runtime * 2).min(period) } else { period };
        SchedAttr::deadline(runtime, deadline, period).unwrap()
    }
}

/// What the simulator knows of a task.
pub struct Slot {
    task: NonNull<SchedTask>,
    pub p: SchedRef,
    is_alive: bool,
    is_runnable: bool,
    /// What the fair class must have charged.
    fair_ns: u64,
    /// All time on the CPU.
    pub ran_ns: u64,
}

pub struct Sim {
    /// Time that deadline and real-time tasks have had.
    pub above_ns: u64,
    pub rq: Box<Rq>,
    pub slots: Vec<Slot>,
    idle: NonNull<SchedTask>,
    pub rng: Rng,
    pub now: u64,
    next_tick: u64,
    /// When the running task was last charged in the model.
    charged_at: u64,
    pub running: Option<usize>,
    pub need_resched: bool,
    is_preempt_off: bool,
    min_vruntime: u64,
    pub switches: u64,
}

impl Drop for Sim {
    fn drop(&mut self) {
        for task in self.slots.iter().map(|s| s.task).chain([self.idle]) {
            // SAFETY: from `Box::leak` in `leak`; the run queue is not used
            // any more.
            drop(unsafe { Box::from_raw(task.as_ptr()) });
        }
    }
}

fn leak(task: SchedTask) -> NonNull<SchedTask> {
    NonNull::from(Box::leak(Box::new(task)))
}

fn reference(task: NonNull<SchedTask>) -> SchedRef {
    // SAFETY: leaked, so in place until the simulator is dropped; one thread.
    unsafe { SchedRef::new(task) }
}

impl Sim {
    pub fn new(seed: u64) -> Self {
        let idle = leak(SchedTask::new_idle());
        let mut rq = Box::new(Rq::new());
        rq.init(reference(idle), 250, 1);
        let min_vruntime = rq.cfs().min_vruntime();
        Self {
            above_ns: 0,
            rq,
            slots: Vec::new(),
            idle,
            rng: Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1)),
            now: 0,
            next_tick: TICK_NS,
            charged_at: 0,
            running: None,
            need_resched: false,
            is_preempt_off: false,
            min_vruntime,
            switches: 0,
        }
    }

    fn clock(&mut self) {
        self.rq.update_clock(self.now);
    }

    fn clock_if_fair_runs(&mut self) {
        if !self.rq.curr().is_rt() {
            self.clock();
        }
    }

    fn clock_for(&mut self, i: usize) {
        if !self.slots[i].p.is_rt() {
            self.clock();
        }
    }

    /// Charges the running task in the model, under the class it has now.
    fn charge(&mut self) {
        let ns = self.now - self.charged_at;
        self.charged_at = self.now;
        if let Some(i) = self.running {
            let slot = &mut self.slots[i];
            slot.ran_ns += ns;
            if !slot.p.is_fair() {
                self.above_ns += ns;
            }
            if slot.p.is_fair() {
                slot.fair_ns += ns;
            }
        }
    }

    fn request(&mut self, answer: Resched) {
        self.need_resched |= answer.is_yes();
    }

    pub fn spawn(&mut self, attr: SchedAttr) -> usize {
        let task = leak(SchedTask::new());
        let p = reference(task);
        p.init(attr);
        self.clock();
        let answer = self.rq.task_fork(p);
        self.request(answer);
        let slot = Slot { task, p, is_alive: true, is_runnable: true, fair_ns: 0, ran_ns: 0 };
        let free = self.slots.iter().position(|s| !s.is_alive);
        let i = free.unwrap_or(self.slots.len());
        match free {
            Some(i) => {
                let old = std::mem::replace(&mut self.slots[i], slot);
                // SAFETY: leaked by `leak`, and off every queue since its exit.
                drop(unsafe { Box::from_raw(old.task.as_ptr()) });
            }
            None => self.slots.push(slot),
        }
        let answer = self.rq.wake_up_new_task(p);
        self.request(answer);
        i
    }

    pub fn wake(&mut self, i: usize) {
        self.clock_for(i);
        self.slots[i].is_runnable = true;
        let p = self.slots[i].p;
        let flags = if self.need_resched { WakeFlags::CURR_FLAGGED } else { WakeFlags::empty() };
        let answer = if self.rng.one_in(2) {
            self.rq.wake_up_task(p, flags)
        } else {
            self.rq.enqueue_task(p, EnqueueFlags::WAKEUP);
            self.rq.check_preempt_curr(p, flags)
        };
        self.request(answer);
    }

    /// The running task blocks (or exits).
    pub fn block(&mut self) {
        let Some(i) = self.running else { return };
        self.clock_if_fair_runs();
        self.slots[i].is_runnable = false;
        self.rq.dequeue_task(self.slots[i].p, DequeueFlags::SLEEP);
        self.is_preempt_off = false;
        self.schedule();
    }

    pub fn schedule(&mut self) {
        self.charge();
        if self.rq.needs_clock() {
            self.clock();
        }
        let prev = self.rq.curr();
        let next = self.rq.pick_next_task(prev);
        self.need_resched = false;
        self.switches += u64::from(prev != next);
        self.running = self.slots.iter().position(|s| s.p == next);
        assert_eq!(self.rq.curr(), next);
        assert!(
            self.running.is_some_and(|i| self.slots[i].is_runnable) || next == self.rq.idle(),
            "{next:?} is asleep"
        );
        self.check_highest_runs();
        self.check_accounts();
    }

    pub fn preempt_if_allowed(&mut self) {
        if self.need_resched && !self.is_preempt_off {
            self.schedule();
        }
    }

    pub fn pass(&mut self, ns: u64) {
        let until = self.now + ns;
        loop {
            // An event may be due since a while: interrupts come when they are let in.
            let event = self.rq.next_event_ns().max(self.now);
            let next = event.min(self.next_tick);
            if next > until {
                break;
            }
            self.now = next;
            self.charge();
            if event == next {
                self.clock();
                let answer = self.rq.event();
                self.request(answer);
            } else {
                self.next_tick += TICK_NS;
                self.clock_if_fair_runs();
                let answer = self.rq.task_tick();
                self.request(answer);
            }
            self.preempt_if_allowed();
        }
        self.now = until;
        self.charge();
    }

    fn set_scheduler(&mut self, i: usize, attr: SchedAttr) {
        self.charge();
        self.clock();
        // A reservation may be refused; then nothing has changed.
        if let Ok(answer) = self.rq.set_scheduler(self.slots[i].p, attr) {
            self.request(answer);
        }
    }

    fn set_nice(&mut self, i: usize, nice: i32) {
        self.charge();
        self.clock();
        let answer = self.rq.set_nice(self.slots[i].p, nice).unwrap();
        self.request(answer);
    }

    fn yield_now(&mut self) {
        self.clock_if_fair_runs();
        self.rq.yield_task();
        self.is_preempt_off = false;
        self.schedule();
    }

    pub fn event(&mut self) {
        // Mostly much shorter than a tick, now and then longer than several.
        let ns = if self.rng.one_in(50) { self.rng.below(20_000_000) } else { self.rng.below(400_000) };
        self.pass(ns);
        let i = self.rng.below(self.slots.len() as u64) as usize;
        let is_alive = self.slots[i].is_alive;
        match self.rng.below(32) {
            0..=11 if is_alive && !self.slots[i].is_runnable => self.wake(i),
            12..=20 => self.block(),
            21 if self.slots.iter().filter(|s| s.is_alive).count() < TASKS => {
                let attr = self.rng.attr();
                self.spawn(attr);
            }
            22 => {
                if let Some(i) = self.running.filter(|_| self.rng.one_in(2)) {
                    self.slots[i].is_alive = false;
                    // As the core does: nobody leaves with a reservation.
                    if self.slots[i].p.is_deadline() {
                        self.set_scheduler(i, SchedAttr::NORMAL);
                    }
                    self.block();
                }
            }
            23 if is_alive => {
                let attr = if self.rng.one_in(3) { self.rng.deadline() } else { self.rng.attr() };
                self.set_scheduler(i, attr);
            }
            24 if is_alive => {
                let nice = self.rng.below(40) as i32 - 20;
                self.set_nice(i, nice);
            }
            25 | 26 => self.yield_now(),
            27 => self.is_preempt_off = true,
            28 | 29 => self.is_preempt_off = false,
            30 => self.schedule(),
            _ => {}
        }
        self.preempt_if_allowed();
        self.check();
    }

    /// Right after a pick, nobody of a better class or priority waits.
    fn check_highest_runs(&self) {
        let curr = self.rq.curr();
        let may_run = |s: &&Slot| s.p.is_deadline() && !s.p.dl().is_throttled();
        if let Some(earliest) = self.runnable().filter(may_run).map(|s| s.p.dl().deadline_ns()).min() {
            assert!(curr.is_deadline(), "{curr:?} runs before a deadline task");
            assert_eq!(curr.dl().deadline_ns(), earliest, "the earliest deadline runs");
            return;
        }
        let may_run = |s: &&Slot| s.p.is_rt() && !self.rq.rt_bandwidth().is_throttled();
        let best_rt = self.runnable().filter(may_run).map(|s| s.p.prio()).min();
        match best_rt {
            Some(prio) => assert_eq!(curr.prio(), prio, "the best real-time priority runs"),
            None if self.runnable().any(|s| s.p.is_fair()) => {
                assert_eq!(curr.class(), Class::Fair, "not idle while there is work")
            }
            None => assert_eq!(curr, self.rq.idle()),
        }
    }

    /// Fair time is charged to the nanosecond, to whom it belongs.
    fn check_accounts(&self) {
        for slot in self.slots.iter().filter(|s| s.is_alive && Some(s.p) != self.rq.cfs().curr()) {
            assert_eq!(slot.p.se().sum_exec_runtime(), slot.fair_ns, "{:?}", slot.p);
        }
    }

    fn runnable(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|s| s.is_runnable)
    }

    fn check(&mut self) {
        // Nobody lost, nobody twice.
        let expected = self.runnable().count();
        assert_eq!(self.rq.nr_running(), expected, "runnable tasks and queued tasks");
        let dl = self.rq.dl();
        let held_back = dl.iter_throttled().filter(|p| p.is_queued());
        let queued = self.rq.rt().iter().chain(self.rq.cfs().iter()).chain(self.rq.cfs().curr());
        let queued = queued.chain(dl.iter()).chain(held_back);
        let mut seen = [false; 2 * TASKS];
        for p in queued {
            let i = self.slots.iter().position(|s| s.p == p).expect("a queued task that nobody knows");
            assert!(self.slots[i].is_runnable, "{p:?} is queued and asleep");
            assert!(!std::mem::replace(&mut seen[i], true), "{p:?} is queued twice");
        }
        for slot in &self.slots {
            assert_eq!(slot.p.is_queued(), slot.is_runnable, "{:?}", slot.p);
        }
        assert!(self.rq.rt().is_consistent());
        assert!(self.rq.cfs().is_consistent());
        assert!(self.rq.dl().is_consistent());
        // A better class or priority waits only while a request is pending.
        if !self.need_resched {
            let curr = self.rq.curr();
            let held_back = |s: &&Slot| match s.p.class() {
                Class::Deadline => s.p.dl().is_throttled(),
                Class::Rt => self.rq.rt_bandwidth().is_throttled(),
                _ => false,
            };
            let best = self.runnable().filter(|s| !held_back(s)).map(|s| s.p.prio()).min().unwrap_or(140);
            assert!(
                best >= curr.prio() || best >= 100 && curr.is_fair(),
                "{best} waits for {curr:?}, no request"
            );
        }
        let min = self.rq.cfs().min_vruntime();
        assert!(min.wrapping_sub(self.min_vruntime) as i64 >= 0, "min_vruntime went back");
        self.min_vruntime = min;
    }
}
