//! What the code says of its own loops, for `make guarantee`.
//!
//! [`crate::bound!`] stands in the body of a loop and says how often one run of the loop passes it at most;
//! [`crate::gives_way!`] stands where a softirq asks whether it is to stop. Neither is an instruction: each is an entry in
//! `.bounds`, a section of the linked file that is no part of the image, with the address of the place, the number, and a
//! name that is the same for all copies that the compiler makes of it. A place that the compiler drops has no entry.
//!
//! The number is believed by who reads it. So it is what the loop's own condition says, or what the text beside it argues.
//!
//! Context: any. Locks: none.

use core::arch::asm;

/// The number that stands for "here a softirq gives way".
pub const GIVES_WAY: u64 = u64::MAX;

/// The name of a place of the source (FNV-1a).
#[must_use]
pub const fn name(file: &str, line: u32) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ line as u64;
    let bytes = file.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// The entry of the place where this is inlined. Use the macros.
#[inline(always)]
pub fn entry<const PASSES: u64, const NAME: u64>() {
    // SAFETY: no instruction.
    unsafe {
        asm!(
            "2:",
            ".pushsection .bounds, \"\", @progbits",
            ".quad 2b",
            ".quad {passes}",
            ".quad {name}",
            ".popsection",
            passes = const PASSES,
            name = const NAME,
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// In the body of a loop: one run of the loop comes here at most so many times, a constant.
#[macro_export]
macro_rules! bound {
    ($passes:expr) => {
        $crate::bounds::entry::<{ $passes as u64 }, { $crate::bounds::name(file!(), line!()) }>()
    };
}

/// Where a softirq asks whether to stop, and does so if somebody wants the CPU.
#[macro_export]
macro_rules! gives_way {
    () => {
        $crate::bounds::entry::<{ $crate::bounds::GIVES_WAY }, 0>()
    };
}
