//! What a kernel test is, and the house in which it runs.
//!
//! A test is a function with a sentence for a name, registered by [`ktest!`](crate::ktest) wherever it stands. It
//! returns [`Outcome`]: the `check!` macros leave it with an error, so that one failure does not end the run. A
//! test that panics takes the machine with it; the host sees the missing `ok` and goes on behind it.
//!
//! **Time.** A test never asserts anything about the speed of the machine. It orders events ([`events`]), and
//! where it does measure, it does so against the machine's own virtual clock, and only if that clock is exact
//! ([`clock::is_exact`]: QEMU's `-icount`).
//!
//! **The task a test runs in** is SCHED_FIFO 1: above every fair task, below every real-time task that a test
//! makes. So a fair task it starts runs when the test blocks, a real-time one before `spawn` returns.

pub mod burn;
pub mod clock;
pub mod cpus;
pub mod events;
pub mod interrupt;
pub mod lock_problems;
pub mod models;
pub mod runner;
pub mod runs;
pub mod softirqs;
mod surroundings;

pub use models::Models;
pub use runner::main;

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::panic::Location;
use linkme::distributed_slice;

/// Every test of the image, in the linker's order; the runner sorts.
#[distributed_slice]
pub static TESTS: [Test];

/// A registered test.
pub struct Test {
    /// What it shows, as a sentence.
    pub name: &'static str,
    /// Where it stands: decides its place in the run.
    pub file: &'static str,
    /// See `file`.
    pub line: u32,
    /// The text of the panic in which it must end.
    pub panics: Option<&'static str>,
    /// Where it applies, and why not elsewhere.
    pub applies: (Models, &'static str),
    /// How many CPUs must be online, and why not with fewer.
    pub cpus: (usize, &'static str),
    /// The test itself.
    pub body: fn() -> Outcome,
}

/// What a test says in the end.
pub type Outcome = Result<(), Failure>;

/// Why a test did not pass.
#[derive(Debug)]
pub enum Failure {
    /// Something was not as it must be.
    Failed {
        /// The check that found it.
        at: &'static Location<'static>,
        /// In words.
        why: String,
    },
    /// This machine cannot show it; the reason.
    Ignored(&'static str),
}

impl Failure {
    /// A failure at the caller's line.
    #[track_caller]
    pub fn new(why: fmt::Arguments<'_>) -> Self {
        Self::Failed { at: Location::caller(), why: format!("{why}") }
    }
}

impl From<stint::Error> for Failure {
    #[track_caller]
    fn from(error: stint::Error) -> Self {
        Self::new(format_args!("unexpected error: {error}"))
    }
}

/// Registers a test: `ktest! { fn a_sentence() { … } }`, or `ktest! { panics = "text", fn a_sentence() { … } }`
/// for one that must end in a panic whose report contains the text. One that does not apply in every model says where
/// it does, and why not elsewhere: `ktest! { only_in(models::PREEMPTED, "the reason"), fn … }`, before `panics`. One
/// that is about several CPUs says how many it takes: `ktest! { needs_cpus(2), fn … }`, behind `only_in`; on a machine
/// with fewer it does not apply. Tests run on CPU 0; see [`cpus`].
#[macro_export]
macro_rules! ktest {
    (only_in($models:expr, $reason:expr), panics = $text:literal, $(#[$meta:meta])* fn $name:ident() $body:block) => {
        $(#[$meta])*
        fn $name() -> $crate::framework::Outcome $body
        $crate::ktest_register!($name, Some($text), ($models, $reason), (1, ""));
    };
    (only_in($models:expr, $reason:expr), needs_cpus($cpus:literal), $(#[$meta:meta])* fn $name:ident() $body:block) => {
        $(#[$meta])*
        fn $name() -> $crate::framework::Outcome {
            $body
            Ok(())
        }
        $crate::ktest_register!(
            $name,
            None,
            ($models, $reason),
            ($cpus, concat!("n/a: it needs ", $cpus, " CPUs"))
        );
    };
    (only_in($models:expr, $reason:expr), $(#[$meta:meta])* fn $name:ident() $body:block) => {
        $crate::ktest! { only_in($models, $reason), needs_cpus(1), $(#[$meta])* fn $name() $body }
    };
    (needs_cpus($cpus:literal), $($test:tt)+) => {
        $crate::ktest! { only_in($crate::framework::models::ALL, ""), needs_cpus($cpus), $($test)+ }
    };
    (panics = $text:literal, $($test:tt)+) => {
        $crate::ktest! { only_in($crate::framework::models::ALL, ""), panics = $text, $($test)+ }
    };
    ($(#[$meta:meta])* fn $name:ident() $body:block) => {
        $crate::ktest! { only_in($crate::framework::models::ALL, ""), $(#[$meta])* fn $name() $body }
    };
}

/// The end of [`ktest!`]: the entry of the list.
#[macro_export]
macro_rules! ktest_register {
    ($name:ident, $panics:expr, $applies:expr, $cpus:expr) => {
        const _: () = {
            #[linkme::distributed_slice($crate::framework::TESTS)]
            static TEST: $crate::framework::Test = $crate::framework::Test {
                name: stringify!($name),
                file: file!(),
                line: line!(),
                panics: $panics,
                applies: {
                    #[allow(unused_imports, reason = "most tests apply everywhere")]
                    use $crate::framework::models;
                    $applies
                },
                cpus: $cpus,
                body: $name,
            };
        };
    };
}

/// Leaves the test with a failure unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr $(,)?) => {
        $crate::check!($condition, "not so: {}", stringify!($condition))
    };
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::framework::Failure::new(format_args!($($why)+)));
        }
    };
}

/// Leaves the test with a failure unless the first value equals the second, which is what it must be.
#[macro_export]
macro_rules! check_eq {
    ($found:expr, $expected:expr $(,)?) => {
        $crate::check_eq!($found, $expected, "{}", stringify!($found))
    };
    ($found:expr, $expected:expr, $($what:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if *found != *expected {
                    return Err($crate::framework::Failure::new(format_args!(
                        "{}: found {:?}, expected {:?}",
                        format_args!($($what)+), found, expected
                    )));
                }
            }
        }
    };
}
