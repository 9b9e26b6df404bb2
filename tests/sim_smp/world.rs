//! Several simulated CPUs: their run queues, their tasks, the time, and what happens at random.
//!
//! Time is one for all CPUs. What a CPU does, it does at once; between two events everything that was asked for has been
//! done, unless preemption is off there. What the kernel does about several CPUs is in `glue`, what must hold in `check`.

use std::ptr::NonNull;

use stint::sched::balance::Balancer;
use stint::sched::cpu_loads::CpuLoads;
use stint::sched::cpupri::CpuPri;
use stint::sched::deadline_admit::DlBandwidth;
use stint::sched::select::View;
use stint::sched::{Class, Policy, Resched, Rq, SchedAttr, SchedRef, SchedTask};
use stint::smp::CpuMask;

pub const TICK_NS: u64 = 4_000_000;

/// What a run is made of; everything follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub seed: u64,
    pub cpus: usize,
    /// The last of the CPUs, which are left out of balancing.
    pub isolated: usize,
    /// The most tasks alive at a time.
    pub tasks: usize,
    pub events: u64,
    /// Real-time tasks are held back after 95 % of every 100 ms.
    pub throttles: bool,
    /// Prints each event.
    pub is_traced: bool,
}

/// xorshift64*: small, seeded, good enough to choose events.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn mask(&mut self) -> CpuMask {
        let mut mask = CpuMask::from_bits(self.next());
        for _ in 0..self.below(4) {
            mask = mask & CpuMask::from_bits(self.next());
        }
        mask
    }

    pub fn attr(&mut self) -> SchedAttr {
        let nice = self.below(40) as i32 - 20;
        match self.below(12) {
            0..=2 => SchedAttr::fifo(1 + self.below(99) as u32).unwrap(),
            3 | 4 => SchedAttr::fifo(50 + self.below(3) as u32).unwrap(),
            5 => SchedAttr::rr(50 + self.below(3) as u32).unwrap(),
            6 => SchedAttr::new(Policy::Idle, 0, nice).unwrap(),
            7 => SchedAttr::new(Policy::Batch, 0, nice).unwrap(),
            8 | 9 => SchedAttr::NORMAL,
            _ => SchedAttr::normal(nice).unwrap(),
        }
    }

    /// A reservation of at most 40 %; every third has a deadline before the end of its period.
    pub fn deadline(&mut self) -> SchedAttr {
        let period = 1_000_000 + self.below(50_000_000);
        let runtime = 2_000 + self.below(period * 4 / 10);
        let deadline = if self.one_in(3) { (runtime * 2).min(period) } else { period };
        SchedAttr::deadline(runtime, deadline, period).unwrap()
    }
}

/// What the simulator knows of a task.
pub struct Slot {
    task: NonNull<SchedTask>,
    pub p: SchedRef,
    pub is_alive: bool,
    pub is_runnable: bool,
    /// The CPU whose run queue it belongs to.
    pub cpu: usize,
    /// What the fair class must have charged.
    pub fair_ns: u64,
    pub ran_ns: u64,
    /// The priority that somebody lends it; `i32::MAX` for none.
    pub donated: i32,
}

pub struct Cpu {
    pub rq: Box<Rq>,
    idle: NonNull<SchedTask>,
    stop: NonNull<SchedTask>,
    pub stopper: SchedRef,
    pub is_online: bool,
    pub need_resched: bool,
    pub is_preempt_off: bool,
    pub balancer: Balancer,
    pub min_vruntime: u64,
    next_tick: u64,
    charged_at: u64,
}

/// How often what happened: a run in which something never did was worth less.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub switches: u64,
    pub selected_elsewhere: u64,
    pub pushed: u64,
    pub pulled: u64,
    pub balanced: u64,
    pub newly_idle: u64,
    pub active: u64,
    pub forced: u64,
    pub evacuated: u64,
    pub equal: u64,
    pub settled: u64,
}

pub struct World {
    pub config: Config,
    pub rng: Rng,
    pub cpus: Vec<Cpu>,
    pub slots: Vec<Slot>,
    pub pri: CpuPri,
    pub loads: CpuLoads,
    pub root: DlBandwidth,
    pub now: u64,
    pub counts: Counts,
}

fn leak(task: SchedTask) -> NonNull<SchedTask> {
    NonNull::from(Box::leak(Box::new(task)))
}

fn reference(task: NonNull<SchedTask>) -> SchedRef {
    // SAFETY: leaked, so in place until its slot is used anew or the world ends; one thread.
    unsafe { SchedRef::new(task) }
}

impl Drop for World {
    fn drop(&mut self) {
        let cpus = self.cpus.iter().flat_map(|cpu| [cpu.idle, cpu.stop]);
        for task in self.slots.iter().map(|s| s.task).chain(cpus) {
            // SAFETY: from `Box::leak` in `leak`; the run queues are not used any more.
            drop(unsafe { Box::from_raw(task.as_ptr()) });
        }
    }
}

impl World {
    pub fn new(config: Config) -> Self {
        let mut world = Self {
            config,
            rng: Rng::new(config.seed),
            cpus: Vec::new(),
            slots: Vec::new(),
            pri: CpuPri::new(),
            loads: CpuLoads::new(),
            root: DlBandwidth::new(),
            now: 1_000_000,
            counts: Counts::default(),
        };
        for number in 0..config.cpus {
            let (idle, stop) = (leak(SchedTask::new_idle()), leak(SchedTask::new()));
            reference(stop).make_stopper();
            reference(stop).set_cpus_allowed(CpuMask::of(number));
            let mut rq = Box::new(Rq::new());
            rq.init(reference(idle), 250, config.cpus as u32);
            rq.set_cpu(number);
            rq.update_clock(world.now);
            rq.set_off(number >= config.cpus - config.isolated);
            if config.throttles {
                assert!(rq.set_rt_bandwidth(95_000_000, 100_000_000).is_ok());
            }
            let min_vruntime = rq.cfs().min_vruntime();
            world.cpus.push(Cpu {
                rq,
                idle,
                stop,
                stopper: reference(stop),
                is_online: true,
                need_resched: false,
                is_preempt_off: false,
                balancer: Balancer::new(config.cpus),
                min_vruntime,
                next_tick: world.now + TICK_NS + number as u64 * 1000,
                charged_at: world.now,
            });
            let cpu = &mut world.cpus[number];
            cpu.rq.publish(&world.pri, &world.loads);
        }
        // As `rt_runtime_us` does: 95 % of each CPU for deadline tasks.
        let first = &mut world.cpus[0].rq;
        let throttled = first.with_root(&mut world.root, |rq| rq.set_rt_bandwidth(95_000_000, 100_000_000));
        assert!(throttled.is_ok());
        if !config.throttles {
            assert!(first.set_rt_bandwidth(0, 100_000_000).is_ok());
        }
        world.root.set_cpus(world.domain().count(), world.now).expect("nothing is reserved");
        world
    }

    pub fn online(&self) -> CpuMask {
        (0..self.cpus.len()).filter(|&c| self.cpus[c].is_online).fold(CpuMask::NONE, CpuMask::with)
    }

    /// The CPUs among which tasks are spread.
    pub fn domain(&self) -> CpuMask {
        self.online() & CpuMask::first_n(self.config.cpus - self.config.isolated)
    }

    pub fn view(&self) -> View<'_> {
        View {
            pri: &self.pri,
            loads: &self.loads,
            online: self.online(),
            domain: self.domain(),
            looking: CpuMask::NONE,
        }
    }

    pub fn running(&self, c: usize) -> Option<usize> {
        let curr = self.cpus[c].rq.curr();
        self.slots.iter().position(|s| s.is_alive && s.p == curr)
    }

    pub fn is_running(&self, i: usize) -> bool {
        self.cpus[self.slots[i].cpu].rq.curr() == self.slots[i].p
    }

    pub fn clock(&mut self, c: usize) {
        self.cpus[c].rq.update_clock(self.now);
    }

    /// Charges what runs on `c` in the model, under the class it has now.
    pub fn charge(&mut self, c: usize) {
        let ns = self.now - self.cpus[c].charged_at;
        self.cpus[c].charged_at = self.now;
        if ns == 0 {
            return;
        }
        if let Some(i) = self.running(c) {
            let slot = &mut self.slots[i];
            slot.ran_ns += ns;
            slot.fair_ns += if slot.p.class() == Class::Fair { ns } else { 0 };
        }
    }

    pub fn request(&mut self, c: usize, answer: Resched) {
        self.cpus[c].need_resched |= answer.is_yes();
    }

    /// A place for a new task.
    pub fn new_task(&mut self, attr: SchedAttr) -> usize {
        let task = leak(SchedTask::new());
        let p = reference(task);
        p.init(attr);
        let slot = Slot {
            task,
            p,
            is_alive: true,
            is_runnable: false,
            cpu: 0,
            fair_ns: 0,
            ran_ns: 0,
            donated: i32::MAX,
        };
        match self.slots.iter().position(|s| !s.is_alive) {
            Some(i) => {
                let old = std::mem::replace(&mut self.slots[i], slot);
                // SAFETY: leaked by `leak`, and off every queue since its exit.
                drop(unsafe { Box::from_raw(old.task.as_ptr()) });
                i
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    /// Lets time go by, with the ticks and the run queues' events that it brings.
    pub fn pass(&mut self, ns: u64) {
        let until = self.now + ns;
        loop {
            let due = |cpu: &Cpu, now: u64| {
                let event = cpu.rq.next_event_ns().max(now);
                if cpu.is_online { event.min(cpu.next_tick) } else { u64::MAX }
            };
            let (when, c) = (0..self.cpus.len())
                .map(|c| (due(&self.cpus[c], self.now), c))
                .min()
                .expect("there is a CPU");
            if when > until {
                break;
            }
            self.now = when;
            self.charge(c);
            self.clock(c);
            if self.cpus[c].rq.next_event_ns() <= when {
                let answer = self.cpus[c].rq.event();
                self.request(c, answer);
                let (pri, loads) = (&self.pri, &self.loads);
                self.cpus[c].rq.publish(pri, loads);
                // Budgets have ended and begun: it may be open to real-time tasks again.
                self.pull(c);
                self.push(c);
            } else {
                self.cpus[c].next_tick += TICK_NS;
                self.tick(c);
            }
            self.preempt(c);
            self.settle();
        }
        self.now = until;
        for c in 0..self.cpus.len() {
            self.charge(c);
        }
    }

    pub fn set_next_tick(&mut self, c: usize) {
        self.cpus[c].next_tick = self.now + TICK_NS;
    }

    pub fn preempt(&mut self, c: usize) {
        if self.cpus[c].need_resched && !self.cpus[c].is_preempt_off {
            self.schedule(c);
        }
    }

    /// Every CPU does what it has been asked for.
    pub fn settle(&mut self) {
        // Each round moves something to where it is to be: far fewer than this are ever needed.
        for _ in 0..1000 {
            let asked = |cpu: &Cpu| cpu.is_online && cpu.need_resched && !cpu.is_preempt_off;
            let Some(c) = self.cpus.iter().position(asked) else { return };
            self.counts.settled += 1;
            self.schedule(c);
        }
        panic!("the CPUs go on asking one another for switches for ever");
    }
}
