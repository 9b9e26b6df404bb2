//! More than one CPU: which there are, and how one reaches another.
//!
//! Logical number 0 is the boot CPU; the others follow in the order of the device tree. A CPU that is *present* is
//! in the device tree and within `nr_cpus=`; one that is *online* schedules tasks.
//!
//! Context: any. Locks: none.
#![forbid(unsafe_code)]

mod cpulist;
mod cpumask;
pub mod isolation;

pub use cpulist::NoCpuList;
pub use cpumask::{AtomicCpuMask, CpuMask};

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
