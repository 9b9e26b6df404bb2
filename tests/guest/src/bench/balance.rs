//! What it costs to look around on 1 to 64 CPUs: for fair tasks that are too many elsewhere, for a CPU that idles and
//! could look for all, for a place for a real-time task, and for one that waits elsewhere; and what one move costs.
//!
//! The run queues are as many as there are CPUs in the row, of the code's own kind and with tasks on them that never run
//! (`depth`); the tables are published from them. So a row for 64 CPUs needs no machine with 64. Before the first CPU lies
//! nothing; all others have one fair hog, the last one three and a real-time task that waits behind another. That
//! is the worst case of a search: what is found is on the last CPU looked at.

use crate::depth::{leak, reference};
use crate::sample::{Bench, WARM_UP, cycles};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::hint::black_box;
use core::ptr::NonNull;
use stint::sched::balance::{CpuIdle, find_busiest, nohz_kick};
use stint::sched::cpu_loads::CpuLoads;
use stint::sched::cpupri::CpuPri;
use stint::sched::select::{View, pull_source, push_target};
use stint::sched::{EnqueueFlags, Resched, Rq, SchedAttr, SchedRef, SchedTask};
use stint::smp::CpuMask;

const ROUNDS: usize = 200 + WARM_UP;
/// The machines.
const CPUS: [usize; 6] = [1, 2, 4, 8, 16, 64];
const NORMAL: SchedAttr = SchedAttr::NORMAL;

/// CPUs with tasks that never run.
struct Machine {
    #[expect(clippy::vec_box, reason = "a run queue has lists through itself: it stays where it is")]
    rqs: Vec<Box<Rq>>,
    tasks: Vec<NonNull<SchedTask>>,
    pri: CpuPri,
    loads: CpuLoads,
    now_ns: u64,
}

impl Machine {
    /// The first CPU idles, all others have one hog, the last one three.
    fn new(cpus: usize) -> Self {
        let (pri, loads) = (CpuPri::new(), CpuLoads::new());
        let mut machine = Self { rqs: Vec::new(), tasks: Vec::new(), pri, loads, now_ns: 1_000_000 };
        for cpu in 0..cpus {
            let idle = leak(SchedTask::new_idle());
            machine.tasks.push(idle);
            let mut rq = Box::new(Rq::new());
            rq.init(reference(idle), 250, cpus as u32);
            rq.set_cpu(cpu);
            machine.rqs.push(rq);
            let hogs = if cpu == 0 {
                0
            } else if cpu + 1 == cpus {
                3
            } else {
                1
            };
            for _ in 0..hogs {
                machine.add(cpu, NORMAL);
            }
            machine.switch(cpu);
        }
        // Long enough for loads to have come up, and for nobody to be too warm to be moved.
        machine.pass(1_000_000_000);
        machine
    }

    fn last(&self) -> usize {
        self.rqs.len() - 1
    }

    /// A task that has just become ready there.
    fn add(&mut self, cpu: usize, attr: SchedAttr) -> SchedRef {
        let task = leak(SchedTask::new());
        self.tasks.push(task);
        let p = reference(task);
        p.init(attr);
        let rq = &mut self.rqs[cpu];
        rq.update_clock(self.now_ns);
        let _ = rq.task_fork(p);
        rq.enqueue_task(p, EnqueueFlags::WAKEUP);
        rq.sync_task(p);
        p
    }

    fn switch(&mut self, cpu: usize) {
        let rq = &mut self.rqs[cpu];
        let prev = rq.curr();
        let next = rq.pick_next_task(prev);
        rq.publish_switch(&self.pri, &self.loads, prev, next);
    }

    fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        for rq in &mut self.rqs {
            rq.update_clock(self.now_ns);
            rq.sync_curr_load();
            rq.publish(&self.pri, &self.loads);
        }
    }

    fn view(&self) -> View<'_> {
        let online = CpuMask::first_n(self.rqs.len());
        View { pri: &self.pri, loads: &self.loads, online, domain: online, looking: CpuMask::NONE }
    }

    /// The instructions of `f`, which answers whether it found what there is to be found.
    fn measure(&self, what: &str, f: impl Fn(&View<'_>) -> bool) {
        let mut bench = Bench::new();
        let view = self.view();
        let finds = self.rqs.len() > 1;
        for _ in 0..ROUNDS {
            let start = cycles();
            let found = f(black_box(&view));
            bench.add(cycles() - start);
            assert_eq!(found, finds, "{what} on {} CPUs", self.rqs.len());
        }
        bench.print_as("balance", &format!("{what}_{}", self.rqs.len()));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for task in &self.tasks {
            // SAFETY: from `Box::leak`; nobody uses the run queues any more.
            drop(unsafe { Box::from_raw(task.as_ptr()) });
        }
    }
}

/// All rows.
pub fn print() {
    for cpus in CPUS {
        looking(cpus);
    }
    moving(NORMAL, "move_fair");
    moving(fifo(20), "move_rt");
}

fn fifo(priority: u32) -> SchedAttr {
    SchedAttr::fifo(priority).expect("a priority")
}

fn looking(cpus: usize) {
    let mut machine = Machine::new(cpus);
    let last = machine.last();
    // The busy CPU in the middle; on two CPUs there is none, and it is the idle one.
    let busy = usize::from(cpus > 2);
    machine.measure("newly_idle", |view| find_busiest(view, 0, CpuIdle::NewlyIdle).is_some());
    machine.measure("periodic", |view| find_busiest(view, busy, CpuIdle::Busy).is_some());
    machine.measure("nohz_kick", |view| nohz_kick(view, last, view.domain).is_some());
    let runs = machine.add(last, fifo(30));
    machine.switch(last);
    let waits = machine.add(last, fifo(20));
    let rq = &mut machine.rqs[last];
    rq.publish_wakeup(&machine.pri, &machine.loads, waits, Resched::No);
    assert_eq!(machine.rqs[last].curr(), runs, "the more important one runs");
    machine.measure("rt_push", |view| push_target(view, &waits, last, last).is_some());
    machine.measure("rt_pull", |view| pull_source(view, &machine.rqs[0], CpuMask::NONE).is_some());
}

/// One task from the last CPU to the first and back: off one queue, onto another, and what the tables are told.
fn moving(attr: SchedAttr, name: &str) {
    let mut machine = Machine::new(2);
    machine.add(1, fifo(30));
    machine.switch(1);
    let p = machine.add(1, attr);
    let mut bench = Bench::new();
    for round in 0..ROUNDS {
        machine.pass(10_000_000);
        let (from, to) = if round % 2 == 0 { (1, 0) } else { (0, 1) };
        let start = cycles();
        machine.rqs[from].detach_task(p);
        let decision = machine.rqs[to].attach_task(p);
        machine.rqs[to].publish_wakeup(&machine.pri, &machine.loads, p, decision);
        machine.rqs[from].publish(&machine.pri, &machine.loads);
        bench.add(cycles() - start);
    }
    bench.print_as("balance", name);
}
