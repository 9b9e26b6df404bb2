//! On a PC nobody reads what loops say of themselves.

/// In the body of a loop: one run of the loop comes here at most so many times, a constant.
#[macro_export]
macro_rules! bound {
    ($passes:expr) => {
        const { assert!($passes as u64 > 0, "a loop is bounded by a number above zero") }
    };
}

/// Where a softirq asks whether to stop, and does so if somebody wants the CPU.
#[macro_export]
macro_rules! gives_way {
    () => {};
}
