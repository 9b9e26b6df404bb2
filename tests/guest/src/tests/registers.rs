//! P5: every register of a preempted task survives, and so do the flags.
//!
//! A task fills all general registers and NZCV with a pattern and waits in a loop of two instructions for a
//! flag on its stack. A timer wakes a higher task, which overwrites all registers, lets others run, and sets the
//! flag. Then the registers are looked at. The loop needs one register for itself, so there are two versions
//! with different ones.

use crate::framework::clock::TickOff;
use crate::tests::HIGH;
use crate::{check_eq, ktest};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use stint::locking::Semaphore;
use stint::task;
use stint::time::Timer;

/// What goes in and comes out; the assembly knows the offsets.
#[repr(C)]
struct Patterns {
    registers: [u64; 31],
    nzcv: u64,
    /// Where to put the address of the flag that ends the loop.
    flag_at: *const AtomicUsize,
}

/// NZCV with N and C set, Z and V clear.
const NEGATIVE_AND_CARRY: u64 = 0xa000_0000;
/// And the other way round.
const ZERO_AND_OVERFLOW: u64 = 0x5000_0000;

/// Defines `$name(&mut Patterns)`: loads the registers, loops on `$scratch` until the flag is set, stores them.
macro_rules! hold_pattern {
    ($name:ident, $scratch:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(patterns: *mut Patterns) {
            naked_asm!(
                // The callee-saved registers of the caller.
                "stp x29, x30, [sp, #-96]!",
                "stp x19, x20, [sp, #16]",
                "stp x21, x22, [sp, #32]",
                "stp x23, x24, [sp, #48]",
                "stp x25, x26, [sp, #64]",
                "stp x27, x28, [sp, #80]",
                // Registers 0..248, the flag at 248, the argument at 256.
                "sub sp, sp, #272",
                "str x0, [sp, #256]",
                "str xzr, [sp, #248]",
                "add x1, sp, #248",
                "ldr x2, [x0, #256]",
                "str x1, [x2]",
                "ldr x1, [x0, #248]",
                "msr nzcv, x1",
                ".irp r, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
                "ldr x\\r, [x0, #(\\r * 8)]",
                ".endr",
                "ldr x0, [x0]",
                concat!("2: ldr ", $scratch, ", [sp, #248]"),
                concat!("cbz ", $scratch, ", 2b"),
                ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
                "str x\\r, [sp, #(\\r * 8)]",
                ".endr",
                "mrs x1, nzcv",
                "ldr x0, [sp, #256]",
                "str x1, [x0, #248]",
                ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
                "ldr x2, [sp, #(\\r * 8)]",
                "str x2, [x0, #(\\r * 8)]",
                ".endr",
                "add sp, sp, #272",
                "ldp x27, x28, [sp, #80]",
                "ldp x25, x26, [sp, #64]",
                "ldp x23, x24, [sp, #48]",
                "ldp x21, x22, [sp, #32]",
                "ldp x19, x20, [sp, #16]",
                "ldp x29, x30, [sp], #96",
                "ret",
            )
        }
    };
}
hold_pattern!(hold_pattern_but_x30, "x30");
hold_pattern!(hold_pattern_but_x7, "x7");

/// Leaves a different value in every register it may touch and in NZCV.
#[unsafe(naked)]
extern "C" fn overwrite_registers(nzcv: u64) {
    naked_asm!(
        "stp x29, x30, [sp, #-96]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "msr nzcv, x0",
        ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
        "mov x\\r, #(0x5000 + \\r)",
        ".endr",
        // Let an interrupt or two see them like this, too.
        "mov x0, #2000",
        "2: sub x0, x0, #1",
        "cbnz x0, 2b",
        "ldp x27, x28, [sp, #80]",
        "ldp x25, x26, [sp, #64]",
        "ldp x23, x24, [sp, #48]",
        "ldp x21, x22, [sp, #32]",
        "ldp x19, x20, [sp, #16]",
        "ldp x29, x30, [sp], #96",
        "ret",
    )
}

fn pattern(register: usize) -> u64 {
    0x0123_4567_89ab_cd00 ^ (register as u64) << 56 | register as u64
}

/// Preempts a task with patterns in its registers, `rounds` times, and says what was left of them.
fn preempt_with(
    hold: unsafe extern "C" fn(*mut Patterns),
    scratch: usize,
    nzcv: u64,
    delay_ns: u64,
) -> crate::framework::Outcome {
    static GATE: Semaphore = Semaphore::new(0);
    static FLAG: AtomicUsize = AtomicUsize::new(0);
    static OTHER_FLAGS: AtomicU64 = AtomicU64::new(0);
    FLAG.store(0, Ordering::Relaxed);
    OTHER_FLAGS.store(nzcv ^ 0xf000_0000, Ordering::Relaxed);
    let high = task::build("overwriter").fifo(HIGH).spawn(|| {
        GATE.take();
        while FLAG.load(Ordering::Relaxed) == 0 {
            task::sleep_ns(10_000);
        }
        overwrite_registers(OTHER_FLAGS.load(Ordering::Relaxed));
        // Through the voluntary switch as well.
        task::sleep_ns(50_000);
        overwrite_registers(OTHER_FLAGS.load(Ordering::Relaxed));
        // SAFETY: the holder has published where its flag is, and waits for it.
        unsafe { &*core::ptr::with_exposed_provenance::<AtomicUsize>(FLAG.load(Ordering::Relaxed)) }
            .store(1, Ordering::Relaxed);
    })?;
    let timer = Timer::new_hard(|| {
        let _ = GATE.give();
    });
    let mut patterns = Patterns { registers: core::array::from_fn(pattern), nzcv, flag_at: &FLAG };
    timer.start_once(delay_ns);
    // SAFETY: follows the calling convention; writes to `patterns` and `FLAG` alone.
    unsafe { hold(&mut patterns) };
    high.join();
    for (register, &found) in patterns.registers.iter().enumerate() {
        if register != scratch {
            check_eq!(found, pattern(register), "x{register} after the preemption");
        }
    }
    check_eq!(patterns.nzcv, nzcv, "NZCV after the preemption");
    Ok(())
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn all_registers_and_flags_survive_a_preemption() {
        let _tick = TickOff::new();
        // The delays differ by less than the loop, so that either of its instructions is hit.
        for delay_ns in 50_000..50_006 {
            preempt_with(hold_pattern_but_x30, 30, NEGATIVE_AND_CARRY, delay_ns)?;
            preempt_with(hold_pattern_but_x7, 7, ZERO_AND_OVERFLOW, delay_ns)?;
        }
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn all_registers_survive_many_interrupts_and_preemptions_in_a_row() {
        // With the tick, and a storm of timer interrupts beside it.
        let storm = Timer::new_hard(|| {});
        storm.start_periodic(3_001)?;
        for _ in 0..10 {
            preempt_with(hold_pattern_but_x30, 30, ZERO_AND_OVERFLOW, 100_000)?;
            preempt_with(hold_pattern_but_x7, 7, NEGATIVE_AND_CARRY, 100_000)?;
        }
    }
}
