//! The paths. Each file is one part of the kernel; the letters of a diary are `v` for the victim, `l`, `h`,
//! `e`, `f` for the actors, `t`, `T`, `n` for those on other CPUs, capitals for a second step of the same actor.

mod deadline;
mod ipc;
mod locks;
mod mutex;
mod pi;
mod pool;
mod registers;
mod semaphores;
mod sleeping;
mod smp_call;
mod smp_hotplug;
mod smp_move;
mod smp_push_pull;
mod smp_timer;
mod smp_wake;
mod softirqs;
mod tasks;
mod timers;

use crate::path::Path;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use stint::locking::Semaphore;

/// All paths, in the order in which they are walked.
pub fn all() -> impl Iterator<Item = &'static Path> {
    let groups: [&'static [Path]; 18] = [
        locks::PATHS,
        semaphores::PATHS,
        sleeping::PATHS,
        mutex::PATHS,
        pi::PATHS,
        ipc::PATHS,
        timers::PATHS,
        softirqs::PATHS,
        tasks::PATHS,
        pool::PATHS,
        registers::PATHS,
        deadline::PATHS,
        smp_wake::PATHS,
        smp_move::PATHS,
        smp_push_pull::PATHS,
        smp_call::PATHS,
        smp_timer::PATHS,
        smp_hotplug::PATHS,
    ];
    groups.into_iter().flatten()
}

/// Makes the objects that cannot be constants.
pub fn init() -> Result<(), &'static str> {
    timers::init();
    smp_timer::init();
    sleeping::init();
    softirqs::init()
}

/// Takes what earlier runs left in a semaphore, so that one failure does not look like many.
fn drain(semaphore: &Semaphore) {
    while semaphore.try_take().is_ok() {}
}

/// A value that a path leaves for its check.
struct Slot(AtomicU64);

impl Slot {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Something that is set once, and waited for by looking.
struct Flag(AtomicU32);

impl Flag {
    const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn raise(&self) {
        self.0.store(1, Relaxed);
    }

    fn lower(&self) {
        self.0.store(0, Relaxed);
    }

    fn is_up(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// Looks until somebody on another CPU has raised it, and lets the emulator run that one meanwhile.
    fn wait(&self) {
        while !self.is_up() {
            arch::cpu::relax();
        }
    }

    /// Looks until it is up: needs somebody who preempts the caller.
    fn spin(&self) {
        while !self.is_up() {}
    }
}
