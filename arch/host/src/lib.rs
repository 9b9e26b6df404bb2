//! Stand-in for the arch API on a PC (written elsewhere): what the kernel library needs to compile.
#![allow(missing_docs, reason = "stand-in")]

pub mod timer {
    pub fn counter() -> u64 {
        0
    }
    pub fn freq_hz() -> u64 {
        1_000_000_000
    }
}
pub mod cpu {
    pub fn with_irqs_masked<R>(f: impl FnOnce() -> R) -> R {
        f()
    }
}
