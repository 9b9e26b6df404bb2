//! The other CPUs, if there are any: brought to rest before the first path, and looked at after each.
//!
//! Every path is walked by CPU 0. On a machine with more CPUs the locks are live, and the others wait in WFI, where they
//! add nothing to the clock that all CPUs share; only paths that say so (`Path::cpus`) put them to work. So what one
//! CPU's sweep demands holds here too, but for the figures: how long a way is depends on what there is to tell the
//! others, and is not judged (`oracle::judge`).
//!
//! Context: the victim.
#![forbid(unsafe_code)]

use crate::path::{Check, expect, expect_true};
use stint::sched::core::with_rq_of;
use stint::smp::{self, CpuMask};
use stint::{task, time, watchdog};

/// How many CPUs schedule tasks.
pub fn online() -> usize {
    smp::online().count()
}

/// From here on nothing interrupts them but what a path has them do.
pub fn bring_to_rest() {
    for cpu in smp::online().without(0).iter() {
        let helper = task::build("ticks").fifo(1).affinity(CpuMask::of(cpu));
        if let Ok(helper) = helper.spawn(time::tick::stop_this_cpu) {
            helper.join();
        }
    }
}

/// A look of the watchers would fall into a path now and then.
pub fn watchers_off() -> Result<(), &'static str> {
    watchdog::start(0, 0).map_err(|_| "the watchers cannot be stopped")
}

/// Nobody is on their run queues, which are in order.
pub fn are_idle() -> Check {
    smp::online().without(0).iter().try_for_each(|cpu| {
        let (running, consistent) = with_rq_of(cpu, |rq| {
            (rq.nr_running(), rq.rt().is_consistent() && rq.cfs().is_consistent() && rq.dl().is_consistent())
        });
        expect("tasks on another CPU's run queue", running as u64, 0)?;
        expect_true("another CPU's run queue is consistent", consistent)
    })
}
