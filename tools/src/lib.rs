//! The host side of Stint: everything that happens on the PC.
//!
//! ```text
//! cargo      builds the bare-metal images          image, ksyms   ELF → flat file with its symbol table
//! machine    what QEMU emulates                    bootargs       what the kernel is told
//! qemu       starts QEMU, watches it, kills it     dtb, stub      broken worlds for the boot tests
//! lines      the guest's result and test lines     suite          a whole test image, whatever dies in it
//! budgets    upper bounds of the bench figures     peers, linux   our figures beside other kernels'
//! costs      what features cost                    repeat         whether two runs have measured the same
//! scaling    wake-ups by CPUs and by tasks         raspi          the device tree of a Raspberry Pi 4
//! sdcard     a card that boots a Raspberry Pi 4    serial         a terminal for a board
//! chainload  a kernel over its line                guarantee      the longest time without a switch, computed
//! serial_log a saved console, whatever became of it  page, svg    what was measured, as a page
//! trace      the kernel's trace, for viewers
//! latency    every preemption model under every load progress     how far a long command is
//! ```
//!
//! The binary `stint-tools` is the front door (the Makefile calls it); the harness `tests/qemu.rs` uses the
//! same library, so that a machine in a test is started exactly as one started by hand.
#![forbid(unsafe_code)]

pub mod bench;
pub mod bootargs;
pub mod budgets;
pub mod cargo;
pub mod chainload;
pub mod costs;
pub mod debug;
pub mod dtb;
pub mod guarantee;
pub mod image;
pub mod ksyms;
pub mod latency;
pub mod licences;
pub mod lines;
pub mod linux;
pub mod log_report;
pub mod machine;
pub mod page;
pub mod peers;
pub mod progress;
pub mod qemu;
pub mod raspi;
pub mod repeat;
pub mod report;
pub mod run;
pub mod scaling;
pub mod sdcard;
pub mod serial;
pub mod serial_log;
pub mod stub;
pub mod suite;
pub mod svg;
pub mod sweep;
pub mod table;
pub mod testrun;
pub mod trace;
