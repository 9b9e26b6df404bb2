//! The end of all CPUs: the one that panics stops the others and says where they were.
//!
//! The first CPU that panics has the machine ([`claim`]); another one that panics meanwhile stops, its report would run
//! into the first. The others are interrupted. Each leaves its preempt word and the way to its back-trace, and stops
//! for good; its stacks stay as they are, so the CPU that reports can walk them.
//!
//! Context: a panic, everything masked. Locks: none. Bound: [`WAIT_MS`] for CPUs that have interrupts masked.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use arch::{backtrace, irqflags, thread_info};

use super::CpuMask;
use super::ipi::{self, Ipi};
use crate::ksyms::ReturnAddress;
use crate::panic::PreemptWord;
use crate::percpu::raw_smp_processor_id;
use crate::task::{self, Task};
use crate::{MAX_CPUS, early_println};

/// How long a CPU may take to stop.
const WAIT_MS: u64 = 10;
/// The deepest back-trace of another CPU that is printed.
const FRAMES: usize = 12;

const NOBODY: usize = usize::MAX;
static OWNER: AtomicUsize = AtomicUsize::new(NOBODY);

/// Where a CPU was when it was stopped.
struct Place {
    is_stopped: AtomicBool,
    task: AtomicPtr<Task>,
    word: AtomicU64,
    frame: AtomicU64,
}

static PLACES: [Place; MAX_CPUS] = [const {
    Place {
        is_stopped: AtomicBool::new(false),
        task: AtomicPtr::new(core::ptr::null_mut()),
        word: AtomicU64::new(0),
        frame: AtomicU64::new(0),
    }
}; MAX_CPUS];

/// Stops the calling CPU for good. From its interrupt.
pub(crate) fn stop_this_cpu() -> ! {
    irqflags::mask_all();
    let place = &PLACES[raw_smp_processor_id()];
    place.task.store(core::ptr::from_ref(task::current()).cast_mut(), Ordering::Relaxed);
    place.word.store(thread_info::preempt_word(), Ordering::Relaxed);
    place.frame.store(backtrace::frame_pointer(), Ordering::Relaxed);
    place.is_stopped.store(true, Ordering::Release);
    arch::psci::stop()
}

/// The calling CPU panics. Returns whether it did already; if another one does, it does not return.
pub(crate) fn claim() -> bool {
    let this = raw_smp_processor_id();
    match OWNER.compare_exchange(NOBODY, this, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => false,
        Err(owner) if owner == this => true,
        Err(_) => stop_this_cpu(),
    }
}

/// Stops all other CPUs. Returns those that did not.
pub(crate) fn stop_others() -> CpuMask {
    let others = super::online().without(raw_smp_processor_id());
    ipi::send(others, Ipi::Stop);
    let limit = arch::timer::counter() + arch::timer::freq_hz() * WAIT_MS / 1000;
    let mut missing = others;
    while !missing.is_empty() && arch::timer::counter() < limit {
        arch::cpu::relax();
        for cpu in missing.iter() {
            if PLACES[cpu].is_stopped.load(Ordering::Acquire) {
                missing = missing.without(cpu);
            }
        }
    }
    missing
}

/// Prints where the other CPUs were; one line for those that idled.
pub(crate) fn report_others(missing: CpuMask) {
    for cpu in super::online().without(raw_smp_processor_id()).iter() {
        if missing.contains(cpu) {
            early_println!("  CPU {cpu} did not stop within {WAIT_MS} ms: it has interrupts masked");
            continue;
        }
        let place = &PLACES[cpu];
        // SAFETY: what ran there when it stopped; nothing is freed any more.
        let Some(task) = (unsafe { place.task.load(Ordering::Relaxed).as_ref() }) else { continue };
        if task.sched.class() == crate::sched::Class::Idle {
            early_println!("  CPU {cpu} was idle");
            continue;
        }
        let word = PreemptWord(place.word.load(Ordering::Relaxed));
        early_println!("  CPU {cpu} ran task {}/{}, {word}", task.name(), task.id());
        backtrace::walk(place.frame.load(Ordering::Relaxed), FRAMES, |pc| {
            early_println!("    {}", ReturnAddress(pc));
        });
    }
}
