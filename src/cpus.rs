//! The CPUs of the machine: which affinity has which logical number.
//!
//! Logical numbers follow the order of the device tree's cpu nodes. Written once, at boot.
//!
//! Context: any; no locks.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::MAX_CPUS;
use crate::drivers::fdt::Tree;
use crate::drivers::machine;

static AFFINITY: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Reads the cpu nodes; returns how many CPUs there are, at least one and at most [`MAX_CPUS`].
pub fn init(tree: &Tree) -> usize {
    let mut count = 0;
    machine::cpus(tree, &mut |affinity| {
        if count < MAX_CPUS {
            AFFINITY[count].store(affinity, Ordering::Relaxed);
            count += 1;
        }
    });
    COUNT.store(count, Ordering::Release);
    (0..count.max(1)).for_each(crate::smp::set_present);
    count.max(1)
}

/// The logical number of the CPU with this affinity (`arch::cpu::mpidr`).
pub fn logical(affinity: u64) -> Option<usize> {
    let count = COUNT.load(Ordering::Acquire);
    AFFINITY[..count].iter().position(|a| a.load(Ordering::Relaxed) == affinity)
}

/// The affinity of the CPU with this logical number.
pub fn affinity(cpu: usize) -> Option<u64> {
    (cpu < COUNT.load(Ordering::Acquire)).then(|| AFFINITY[cpu].load(Ordering::Relaxed))
}
