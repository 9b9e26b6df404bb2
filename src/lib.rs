//! Stint: an AArch64, RTOS-style, preemptible kernel that measures what it claims.
//!
//! A map of the house, from the metal upwards:
//!
//! | module | what |
//! |---|---|
//! | `arch` (crate) | the CPU: vectors, the switch, masking, page tables, interrupt controllers |
//! | [`preempt`] | the markers, and the two points where a switch request is honoured |
//! | [`sched`] | run queue, classes rt, fair and idle, wake-up, the tick's work |
//! | [`task`] | what a thread is; making, joining, sleeping |
//! | [`locking`], [`ipc`] | spin locks, mutex, semaphore, completion, wait queue, messages, pools |
//! | `lockdep` | validates the order of the locks, in debug builds |
//! | [`time`], [`irq`] | the clock, one-shot timers, the tick; interrupts to handlers, softirqs and threads |
//! | [`workqueue`] | what interrupts and timers leave to be done where sleeping is allowed |
//! | [`smp`] | more than one CPU: which there are, how one reaches another |
//! | [`mm`] | page frames, the constant-time heap, stacks with guard pages |
//! | [`drivers`], [`klog`], [`bootargs`] | device tree, console, interrupt controller; the log; boot arguments |
//! | [`trace`], [`mod@panic`], [`ksyms`] | the last events; the report of a panic; names for addresses |
//! | [`ladder`] | how far a boot has come, for eyes that have a light alone |
//! | [`preempt_stats`], [`patching`] | timing what cannot be preempted; switching hooks in a running kernel |
//! | [`selftest`] | whether the machine is what the kernel takes it for |
//! | [`loopback`] | an edge out, over a wire, and back: latency as a scope would see it |
//! | [`jitter`] | what disturbs a task that has a CPU for itself |
//! | [`watchdog`] | reports CPUs and tasks that get nowhere |
//! | [`latency`], [`cyclictest`] | the latency demonstration; wake-ups as Linux's tool measures and prints them |
//! | [`throughput`] | jobs of fixed work: how much gets done |
//! | [`shell`] | the console's commands |
//!
//! To follow one preemption: `arch/aarch64/src/vectors.S` (IRQ entry) → `entry.S` `el1_irq` (the check) →
//! `preempt::arm64_preempt_schedule_irq` → `sched::core::preempt_schedule_alone`, and in general `__schedule` → `switch.S`
//! `cpu_switch_to`.
#![no_std]
#![cfg_attr(
    not(target_os = "none"),
    allow(
        dead_code,
        unused_imports,
        reason = "a PC compiles and tests the modules; nothing there boots them"
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

// The kernel knows one crate named `arch`; which one is the target's business. (Cargo refuses one
// dependency name with two sources, so the choice is made here.)
#[cfg(target_os = "none")]
extern crate stint_arch_aarch64 as arch;
#[cfg(not(target_os = "none"))]
extern crate stint_arch_host as arch;

pub mod boot_info;
pub mod bootargs;
pub mod cpus;
pub mod cyclictest;
pub mod drivers;
mod emplace;
pub mod error;
#[cfg(target_os = "none")]
pub mod init;
pub mod ipc;
pub mod irq;
pub mod jitter;
pub mod klog;
pub mod ksyms;
pub mod ladder;
pub mod latency;
pub mod list;
#[cfg(debug_assertions)]
pub mod lockdep;
pub mod locking;
pub mod loopback;
pub mod mm;
#[cfg(target_os = "none")]
pub mod panic;
pub mod patching;
pub mod percpu;
pub mod plist;
#[cfg(target_os = "none")]
pub mod power;
pub mod preempt;
pub mod preempt_stats;
pub mod sched;
pub mod selftest;
pub mod shell;
pub mod smp;
#[cfg(target_os = "none")]
pub mod start;
pub mod storage;
mod sync;
pub mod task;
pub mod throughput;
pub mod time;
pub mod trace;
pub mod watchdog;
pub mod workqueue;

pub use error::{Error, Result};
#[doc(hidden)]
pub use linkme;

/// Most CPUs the kernel can run on.
pub const MAX_CPUS: usize = 64;
