//! What the console says first: what this is, what it runs on, and how to leave.
//!
//! Context: threads.
#![forbid(unsafe_code)]

use super::cpu_clock::{cpu_hz, cycles_to_ns};
use super::units::{Bytes, Hz, Ns};
use crate::boot_info::{BoardKind, BootInfo};
use crate::bootargs::{PreemptModel, PreemptStyle};
use crate::start::boot_info;
use crate::time;
use core::fmt::{self, Write};

/// The version of the kernel.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `uname -a` prints: name, board, version, and how the kernel can be preempted.
///
/// # Errors
/// Those of `out`.
pub fn uname(out: &mut (impl Write + ?Sized)) -> fmt::Result {
    let info = boot_info();
    let cpus = if crate::smp::present().count() > 1 { "SMP" } else { "UP" };
    writeln!(
        out,
        "Stint {} {VERSION} #1 {cpus} {}{} {} aarch64",
        board_name(info),
        model_words(info.bootargs.preempt),
        style_words(info.bootargs.preempt_style),
        info.cpu_name
    )
}

/// The model, as the kernel's version line of Linux has it.
fn model_words(model: PreemptModel) -> &'static str {
    match model {
        PreemptModel::None => "PREEMPT(none)",
        PreemptModel::Voluntary => "PREEMPT(voluntary)",
        PreemptModel::Full => "PREEMPT(full)",
        PreemptModel::Rt => "PREEMPT_RT",
    }
}

/// The style, where it is not the usual one.
fn style_words(style: PreemptStyle) -> &'static str {
    match style {
        PreemptStyle::Count => "",
        PreemptStyle::Event => " EVENT",
    }
}

/// The board in one word.
fn board_name(info: &BootInfo) -> &'static str {
    match info.compatible {
        BoardKind::QemuVirt => "virt",
        BoardKind::RaspberryPi4 => "rpi4",
        BoardKind::Other => "board",
    }
}

/// The banner.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut (impl Write + ?Sized)) -> fmt::Result {
    let boot_ns = time::now_ns() - time::ticks_to_ns(boot_info().boot_counter);
    writeln!(out, "\nStint {VERSION}, a preemptible kernel for AArch64 that measures what it claims")?;
    machine(out)?;
    writeln!(out, "  booted   in {} from the kernel's first Rust instruction to here", Ns(boot_ns))?;
    writeln!(out, "Ctrl-A X leaves QEMU; help lists the commands\n")
}

/// What this runs on, and how it was started.
///
/// # Errors
/// Those of `out`.
pub fn machine(out: &mut (impl Write + ?Sized)) -> fmt::Result {
    let info = boot_info();
    write!(out, "  uname    ")?;
    uname(out)?;
    writeln!(out, "  board    {}, entered at EL{}", info.board, info.boot_el)?;
    writeln!(
        out,
        "  cpu      {}, number {} of {}, {}",
        info.cpu_name,
        info.boot_cpu,
        info.cpus,
        Hz(cpu_hz())
    )?;
    writeln!(out, "  clocks   counter {}, tick {}", Hz(info.timer_hz), Hz(u64::from(info.bootargs.hz)))?;
    writeln!(out, "  irq      {}", info.gic.version)?;
    writeln!(
        out,
        "  console  {} at {:#x}, 115200 baud from {}",
        info.uart.kind,
        info.uart.regs.start,
        Hz(u64::from(info.uart_clock_hz))
    )?;
    writeln!(
        out,
        "  memory   {}, {} free; image {} at {:#x}",
        Bytes(info.memory_bytes),
        Bytes(info.free_bytes),
        Bytes(info.image_bytes),
        info.image_phys
    )?;
    if !info.bootargs.raw.is_empty() {
        writeln!(out, "  bootargs {}", info.bootargs.raw)?;
    }
    Ok(())
}

/// Time that a task's cycles are, for tables.
pub(super) fn cpu_time(cycles: u64) -> Ns {
    Ns(cycles_to_ns(cycles))
}
