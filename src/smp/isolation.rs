//! Which CPUs keep house, and which are kept for one task each (docs/adr/0017).
//!
//! `isolcpus=` and `nohz_full=` take CPUs out of everything that happens by itself: no task is placed on them, moved to
//! them or away from them unless its affinity names them; unbound work, the log and the watchers run elsewhere; device
//! interrupts go elsewhere. On a CPU of `nohz_full=` the tick stops too while one task has it (`time::nohz`), and
//! real-time tasks are not throttled: whoever isolates a CPU for a task means to give it the whole of it.
//!
//! A CPU of `nohz_full=` is isolated as well, or others would be put beside its task, and the tick would be needed.
//! CPU 0 boots the machine and keeps house; it cannot be isolated.
//!
//! Invariant: written once at boot, before there is a second CPU; CPU 0 is in [`housekeeping`].
//! Context: any. Locks: none.
#![forbid(unsafe_code)]

use core::fmt;

use super::{AtomicCpuMask, CpuMask, present};
use crate::bootargs::Bootargs;

static ISOLATED: AtomicCpuMask = AtomicCpuMask::new();
static NOHZ_FULL: AtomicCpuMask = AtomicCpuMask::new();
/// Where device interrupts go; nothing: to those that keep house.
static IRQ_AFFINITY: AtomicCpuMask = AtomicCpuMask::new();

/// Takes the boot arguments, once it is known which CPUs are present. What they name in vain is told.
pub(crate) fn init(args: &Bootargs) {
    let there = present();
    for (key, named) in [
        ("isolcpus", args.isolcpus),
        ("nohz_full", args.nohz_full),
        ("irqaffinity", args.irqaffinity.unwrap_or(CpuMask::NONE)),
    ] {
        if let Some(absent) = absent(named, there) {
            log::warn!(target: "smp", "{key}={named}: CPU {absent} is not there; this machine has {there}");
        }
    }
    NOHZ_FULL.store(args.nohz_full & there);
    ISOLATED.store((args.isolcpus | args.nohz_full) & there);
    IRQ_AFFINITY.store(args.irqaffinity.unwrap_or(CpuMask::NONE) & there);
    if !isolated().is_empty() {
        log::info!(
            target: "smp",
            "isolated: CPU {} (no tick: {}); house is kept by {}, interrupts go to {}",
            isolated(),
            Listed(nohz_full()),
            housekeeping() & there,
            irq_affinity() & there
        );
    }
}

/// A list that says so if it is empty.
struct Listed(CpuMask);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { self.0.fmt(f) }
    }
}

/// The CPUs of `named` that are not `there`, if any.
fn absent(named: CpuMask, there: CpuMask) -> Option<CpuMask> {
    let absent = named & !there;
    (!absent.is_empty()).then_some(absent)
}

/// The CPUs on which tasks run that do not say where. Contains CPUs that are not online, so that one that comes
/// later belongs to it: combine it with [`super::online`].
#[inline(always)]
#[must_use]
pub fn housekeeping() -> CpuMask {
    !ISOLATED.load()
}

/// The isolated CPUs.
#[must_use]
pub fn isolated() -> CpuMask {
    ISOLATED.load()
}

/// Those of them that need no tick for a single task.
#[must_use]
pub fn nohz_full() -> CpuMask {
    NOHZ_FULL.load()
}

/// Whether tasks get to `cpu` only by naming it in their affinity.
#[inline(always)]
#[must_use]
pub fn is_isolated(cpu: usize) -> bool {
    ISOLATED.load().contains(cpu)
}

/// Whether the tick of `cpu` stops while one task has it.
#[inline(always)]
#[must_use]
pub fn is_nohz_full(cpu: usize) -> bool {
    NOHZ_FULL.load().contains(cpu)
}

/// Where a device's interrupt goes unless somebody says otherwise: `irqaffinity=`, or else where house is kept.
#[must_use]
pub fn irq_affinity() -> CpuMask {
    let named = IRQ_AFFINITY.load();
    if named.is_empty() { housekeeping() } else { named }
}

#[cfg(test)]
mod tests {
    use super::{CpuMask, absent};

    #[test]
    fn cpus_that_are_not_there_are_named() {
        let there = CpuMask::first_n(4);
        assert_eq!(absent(CpuMask::from_bits(0b1110), there), None);
        assert_eq!(absent(CpuMask::from_bits(0b11_1110), there), Some(CpuMask::from_bits(0b11_0000)));
        assert_eq!(absent(CpuMask::NONE, there), None);
    }
}
