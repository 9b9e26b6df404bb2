//! Identity of the CPU and the instructions that make it wait.
//!
//! Context: any. The waiting instructions are our own assembly with a memory clobber: what a loop around
//! them reads must be read again, and the `nomem` accessors of register crates would not see to that. (For
//! the identification registers, which never change, those accessors are right.)

use crate::patch::PREEMPT_STATS;
use aarch64_cpu::registers::{CurrentEL, ID_AA64MMFR1_EL1, ID_AA64PFR0_EL1, MIDR_EL1, MPIDR_EL1, Readable};
use core::arch::asm;
use core::sync::atomic::AtomicU32;

/// MIDR_EL1: implementer, part and revision.
pub fn midr() -> u64 {
    MIDR_EL1.get()
}

/// The affinity fields of MPIDR_EL1, as the device tree writes them in a cpu node's `reg`.
pub fn mpidr() -> u64 {
    MPIDR_EL1.get() & AFFINITY_MASK
}

/// The affinity fields of MPIDR_EL1.
pub const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

/// Exception level we run at.
pub fn current_el() -> u8 {
    CurrentEL.read(CurrentEL::EL) as u8
}

/// Whether the CPU has Privileged Access Never.
pub fn has_pan() -> bool {
    ID_AA64MMFR1_EL1.get() >> 20 & 0xf != 0
}

/// Whether the CPU has system registers for a GICv3 or later.
pub fn has_gic_sysregs() -> bool {
    ID_AA64PFR0_EL1.get() >> 24 & 0xf != 0
}

/// Name of the core, from MIDR_EL1.
pub fn cpu_name() -> &'static str {
    name_of(midr())
}

fn name_of(midr: u64) -> &'static str {
    match (midr >> 24 & 0xff, midr >> 4 & 0xfff) {
        (0x41, 0xd03) => "Cortex-A53",
        (0x41, 0xd04) => "Cortex-A35",
        (0x41, 0xd05) => "Cortex-A55",
        (0x41, 0xd07) => "Cortex-A57",
        (0x41, 0xd08) => "Cortex-A72",
        (0x41, 0xd09) => "Cortex-A73",
        (0x41, 0xd0a) => "Cortex-A75",
        (0x41, 0xd0b) => "Cortex-A76",
        (0x41, 0xd0c) => "Neoverse N1",
        (0x00, 0x051) => "QEMU max",
        _ => "unknown core",
    }
}

/// Sleeps until an interrupt is pending, masked or not; all memory accesses are complete before.
#[inline(always)]
pub fn wait_for_interrupt() {
    // SAFETY: waiting has no effect of its own. No `nomem`: an interrupt handler may change any memory. The `wfi` is a
    // site of preempt-stats (hooks.rs): a section ends before it and another one begins behind it, so that no idling is
    // taken for latency.
    unsafe {
        asm!(
            "dsb sy",
            "2: wfi",
            ".pushsection .text.hooks, \"ax\"",
            ".balign 4",
            "3: stp x29, x30, [sp, #-32]!",
            "mrs x29, daif",
            "msr daifset, #2",
            "stp x29, x29, [sp, #16]",
            "adrp x29, 2b",
            "add x29, x29, :lo12:2b",
            "bl preempt_hook_idle_enter",
            "wfi",
            "adrp x29, 2b",
            "add x29, x29, :lo12:2b",
            "bl preempt_hook_idle_leave",
            "ldr x29, [sp, #16]",
            "msr daif, x29",
            "ldr x29, [sp], #32",
            "b 2b + 4",
            ".popsection",
            hook_entry!("wfi"),
            key = const PREEMPT_STATS,
            options(nostack, preserves_flags)
        );
    }
}

/// Context synchronisation: a pending interrupt that is not masked is taken here at the latest.
#[inline(always)]
pub fn synchronize() {
    // SAFETY: a barrier. No `nomem`: the interrupt's handler may change any memory.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// Waits until the cache and TLB maintenance of this CPU, and all its accesses to memory, are complete for every CPU.
#[inline(always)]
pub fn complete_maintenance() {
    // SAFETY: a barrier. No `nomem`: it orders everything.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
}

/// One turn of a spin loop. `yield`, not `isb`: QEMU then lets the other CPUs run.
#[inline(always)]
pub fn relax() {
    // SAFETY: a hint. No `nomem`: the loop around it waits for memory to change.
    unsafe { asm!("yield", options(nostack, preserves_flags)) };
}

/// Waits for an event: `sev` by another CPU, or the next one of the timer's event stream.
#[inline(always)]
pub fn wait_for_event() {
    // SAFETY: a hint. No `nomem`: the loop around it waits for memory to change.
    unsafe { asm!("wfe", options(nostack, preserves_flags)) };
}

/// Waits for `word` to be something else than `value`: until then, or less; the caller looks again. An interrupt that is
/// open is taken meanwhile.
///
/// The wait is `wfe` behind a load that puts the word under the exclusive monitor: the store of another CPU is the event
/// (`ticket.rs`).
#[inline(always)]
pub fn wait_while(word: &AtomicU32, value: u32) {
    // SAFETY: a load and a hint. No `nomem`: the loop around it waits for memory to change.
    unsafe {
        asm!("ldxr {now:w}, [{p}]", "eor {now:w}, {now:w}, {old:w}", "cbnz {now:w}, 2f", "wfe", "2:",
            p = in(reg) word.as_ptr(), old = in(reg) value, now = out(reg) _, options(nostack, preserves_flags));
    }
}

/// Runs `f` with interrupts masked on this CPU, and restores the mask that was in force.
#[inline(always)]
pub fn with_irqs_masked<R>(f: impl FnOnce() -> R) -> R {
    let flags = crate::irqflags::local_irq_save();
    let result = f();
    crate::irqflags::local_irq_restore(flags);
    result
}
