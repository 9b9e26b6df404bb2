//! The calls that go up: what the CPU code needs from the kernel, and nothing else.
//!
//! The assembly reaches them by name. The kernel defines each exactly once, with these signatures:
//!
//! | symbol | defined in | context |
//! |---|---|---|
//! | `handle_arch_irq(irq)`, `handle_arch_irq_smp(irq)`, `handle_arch_irq_gicv2()` | kernel `irq/` | hard IRQ, IRQ stack, D A I F masked |
//! | `irq_exit_softirq()` | kernel `irq/softirq.rs` | end of an interrupt over a thread with the hint set; IRQ stack, I masked |
//! | `arm64_preempt_schedule_irq()`, `arm64_preempt_schedule_irq_smp()` | kernel `preempt.rs` | task stack, IRQs masked, word zero |
//! | `schedule_tail()` | kernel `sched/core.rs` | first code of a task, IRQs masked, count 2 |
//! | `kernel_fault(&mut PtRegs, Fault) -> bool` | kernel `panic.rs` | faulting task's stack, or overflow stack |
//! | `preempt_stats_hook(site, daif, count, now, fp, event, pc)` | kernel `preempt_stats/recorder.rs` | any; IRQs masked; may reach no hook |
//! | `irq_stack_top`, `overflow_stack_top` | kernel `percpu.rs` | per-CPU variables: stack pointers |
//! | `irq_counts` | kernel `irq/line.rs` | per-CPU variable: [`IRQ_COUNTS`] words, what each CPU has taken where there are several |

use crate::frame::PtRegs;

/// All numbers of a GICv3 that the kernel uses, and the special ones: a power of two.
pub const IRQ_COUNTS: usize = 1024;

/// Why an exception that is no interrupt came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A synchronous exception in the kernel (ESR says which).
    Sync,
    /// The stack pointer is in a guard page.
    StackOverflow,
    /// A vector that must never be taken, by its index in the table.
    BadMode(u64),
}

unsafe extern "Rust" {
    /// Reports or mends a fault. `true`: mended, go on at `regs.pc`.
    safe fn kernel_fault(regs: &mut PtRegs, fault: Fault) -> bool;
}

/// From `el1_sync`: the thin shim, which turns the pointer into a reference.
///
/// # Safety
/// Called by entry.S with the frame it has just pushed.
#[unsafe(no_mangle)]
unsafe extern "C" fn el1_sync_handler(regs: *mut PtRegs) {
    // SAFETY: the frame lies on this CPU's stack and nobody else knows it.
    let regs = unsafe { &mut *regs };
    if !kernel_fault(regs, Fault::Sync) {
        stop();
    }
}

/// From `el1_stack_overflow`.
///
/// # Safety
/// As [`el1_sync_handler`]; on the overflow stack.
#[unsafe(no_mangle)]
unsafe extern "C" fn bad_stack_handler(regs: *mut PtRegs) -> ! {
    // SAFETY: as above.
    kernel_fault(unsafe { &mut *regs }, Fault::StackOverflow);
    stop()
}

/// From `entry_bad`.
///
/// # Safety
/// As [`el1_sync_handler`].
#[unsafe(no_mangle)]
unsafe extern "C" fn bad_mode_handler(regs: *mut PtRegs, vector: u64) -> ! {
    // SAFETY: as above.
    kernel_fault(unsafe { &mut *regs }, Fault::BadMode(vector));
    stop()
}

fn stop() -> ! {
    loop {
        crate::cpu::wait_for_interrupt();
    }
}
