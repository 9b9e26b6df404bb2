//! More than one CPU: which there are, and how one reaches another.
//!
//! Logical number 0 is the boot CPU; the others follow in the order of the device tree. A CPU that is *present* is
//! in the device tree and within `nr_cpus=`; one that is *online* schedules tasks.
//!
//! | file | what |
//! |---|---|
//! | `cpumask` | sets of CPUs |
//! | `ipi` | interrupts from one CPU to others |
//! | `call`, `llist` | cross-CPU calls, and the lists on which they are left |
//! | `bringup`, `ops` | starting a CPU: what it needs, how it is told, what it does first and last |
//! | `hotplug` | CPUs that come and go: the order of the steps |
//! | `stop` | the end of all CPUs, in a panic |
//!
//! Context: any. Locks: none.

#[cfg(target_os = "none")]
pub mod bringup;
pub mod call;
mod cpulist;
mod cpumask;
#[cfg(target_os = "none")]
pub mod hotplug;
pub mod ipi;
pub mod isolation;
mod llist;
#[cfg(target_os = "none")]
mod ops;
#[cfg(target_os = "none")]
pub(crate) mod stop;

#[cfg(target_os = "none")]
pub(crate) use bringup::boot_all;
pub use cpulist::NoCpuList;
pub use cpumask::{AtomicCpuMask, CpuMask};
pub use ipi::send_reschedule;

use crate::sync;

static ONLINE: AtomicCpuMask = AtomicCpuMask::new();
static PRESENT: AtomicCpuMask = AtomicCpuMask::new();
static SEEN: AtomicCpuMask = AtomicCpuMask::new();

/// The CPUs that schedule tasks.
#[inline(always)]
#[must_use]
pub fn online() -> CpuMask {
    ONLINE.load()
}

/// The CPUs of the machine, whether they came or not.
#[must_use]
pub fn present() -> CpuMask {
    PRESENT.load()
}

/// The CPUs that have been online, whether they are or not: those that have per-CPU data of their own.
#[must_use]
pub fn seen() -> CpuMask {
    SEEN.load()
}

/// `cpu` is there, and may be started.
pub(crate) fn set_present(cpu: usize) {
    PRESENT.set(cpu);
}

/// `cpu` begins, or ceases, to schedule tasks. By that CPU.
pub(crate) fn set_online(cpu: usize, online: bool) {
    if online {
        SEEN.set(cpu);
        ONLINE.set(cpu);
    } else {
        ONLINE.clear(cpu);
    }
}
