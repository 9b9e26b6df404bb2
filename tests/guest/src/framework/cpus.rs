//! Where tasks run: on a machine with several CPUs the test's task, and with it all that it makes, is on CPU 0,
//! so that the whole list runs as on a machine with one CPU, with live locks; the other CPUs idle. A test that is
//! about several CPUs says where each of its tasks goes.
//!
//! Invariant: no test changes which CPUs are online and leaves it so.

use super::Failure;
use super::models::{self, Models};
use stint::smp::{self, CpuMask};
use stint::task::{self, Builder};

/// How many CPUs schedule tasks.
pub fn online() -> usize {
    smp::online().count()
}

/// The CPUs that schedule tasks, but for CPU 0, on which tests run.
pub fn others() -> impl Iterator<Item = usize> {
    smp::online().without(0).iter()
}

/// A task for one CPU.
pub fn on(cpu: usize, task: Builder) -> Builder {
    task.affinity(CpuMask::of(cpu))
}

/// A task that may run on each of `mask`.
pub fn among(mask: CpuMask, task: Builder) -> Builder {
    task.affinity(mask)
}

/// The CPU on which the caller runs at this moment.
pub fn here() -> usize {
    stint::percpu::raw_smp_processor_id()
}

/// For a test in which one task is alone on its CPU: where there are several and softirqs are a thread's, that comes now and
/// then to look whether there is something to balance.
pub fn nobody_looks_around() -> Result<(), Failure> {
    let is_rt = models::RT.contains(Models::of(&stint::start::boot_info().bootargs));
    if online() == 1 || !is_rt {
        return Ok(());
    }
    Err(Failure::Ignored("a thread looks around for what is to be balanced"))
}

/// Puts the task that runs the tests on CPU 0; the tasks it makes inherit that.
pub fn stay_on_boot_cpu() {
    task::current_ref().set_affinity(CpuMask::of(0)).expect("CPU 0 is online");
}
