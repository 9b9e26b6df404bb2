//! A CPU's own back-trace: it is asked by an interrupt, and writes down what it was doing.
//!
//! Only the CPU itself can walk its stack while it runs. One with interrupts masked cannot answer; whoever asked looks
//! some time later whether it has (`lockup`) and waits for nothing.
//!
//! Invariant: an entry is written by its own CPU between the question and the release of `depth`.
//! Context: [`ask`] from any; [`write_down`] in the interrupt.

use crate::per_cpu;
use crate::smp::CpuMask;
use crate::smp::ipi::{self, Ipi};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Frames that are kept.
pub(super) const FRAMES: usize = 24;
/// There is no answer yet.
const NONE: usize = usize::MAX;

/// Return addresses, innermost first.
struct Trace {
    frames: [AtomicU64; FRAMES],
    depth: AtomicUsize,
}

per_cpu! {
    static TRACE: Trace =
        Trace { frames: [const { AtomicU64::new(0) }; FRAMES], depth: AtomicUsize::new(NONE) };
}

/// Asks `cpus`, none of which is this one.
pub(super) fn ask(cpus: CpuMask) {
    for cpu in cpus.iter() {
        // SAFETY: the CPU is online; the fields are atomic.
        unsafe { TRACE.of(cpu) }.depth.store(NONE, Ordering::Relaxed);
    }
    ipi::send(cpus, Ipi::Backtrace);
}

/// Writes down this CPU's frames. Hard interrupt.
pub(crate) fn write_down() {
    // SAFETY: hard interrupt, IRQs masked.
    let trace = unsafe { TRACE.this_cpu() };
    let mut depth = 0;
    arch::backtrace::walk_interrupted(arch::backtrace::frame_pointer(), FRAMES, |pc| {
        trace.frames[depth].store(pc, Ordering::Relaxed);
        depth += 1;
    });
    trace.depth.store(depth, Ordering::Release);
}

/// Calls `f` with the frames that `cpu` has written down. False if it has not answered.
pub(super) fn for_each_frame(cpu: usize, mut f: impl FnMut(usize, u64)) -> bool {
    // SAFETY: the CPU is online; the fields are atomic.
    let trace = unsafe { TRACE.of(cpu) };
    let depth = trace.depth.load(Ordering::Acquire);
    if depth == NONE {
        return false;
    }
    trace.frames[..depth].iter().enumerate().for_each(|(i, pc)| f(i, pc.load(Ordering::Relaxed)));
    true
}
