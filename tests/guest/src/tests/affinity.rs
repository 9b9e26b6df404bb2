//! Which CPUs a task may run on.

use crate::{check_eq, ktest};
use stint::smp::CpuMask;
use stint::task;

ktest! {
    fn a_task_may_run_where_its_maker_may() {
        let pinned = CpuMask::of(0).with(5);
        let cpus = task::build("maker").fifo(20).affinity(pinned).spawn(|| {
            let plain = task::build("plain").create(|_| {}, 0).map(|task| task.affinity());
            let other = task::build("other").affinity(CpuMask::first_n(3)).create(|_| {}, 0).map(|task| task.affinity());
            (plain, other)
        })?;
        check_eq!(cpus.join(), Some((Ok(pinned), Ok(CpuMask::first_n(3)))), "of a task that says nothing, and of one that does");
    }
}
