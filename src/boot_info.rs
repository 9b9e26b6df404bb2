//! What the boot found out about the machine: plain data, made once, never changed.
#![forbid(unsafe_code)]

use crate::bootargs::Bootargs;
pub use crate::drivers::machine::{BoardKind, GicVersion, PsciMethod as PsciConduit};
use crate::drivers::machine::{GicInfo, Interrupt, UartInfo};

/// The machine.
#[derive(Clone, Debug)]
pub struct BootInfo {
    /// Name of the board, from the device tree.
    pub board: &'static str,
    /// Which of the known boards it is.
    pub compatible: BoardKind,
    /// The boot arguments.
    pub bootargs: Bootargs<'static>,
    /// RAM the device tree describes.
    pub memory_bytes: u64,
    /// Of that, what the page allocator was given.
    pub free_bytes: u64,
    /// The image with its bss and boot stack.
    pub image_bytes: u64,
    /// Physical address of the image.
    pub image_phys: u64,
    /// Exception level the loader entered at.
    pub boot_el: u8,
    /// The interrupt controller.
    pub gic: GicInfo,
    /// Ticks per second of the generic timer.
    pub timer_hz: u64,
    /// Interrupt of the virtual timer.
    pub timer_interrupt: Interrupt,
    /// Interrupt of the performance monitor of the boot CPU.
    pub pmu_interrupt: Option<Interrupt>,
    /// How to reach PSCI firmware.
    pub psci: Option<PsciConduit>,
    /// CPUs in the device tree; `smp::present` are those that may run.
    pub cpus: usize,
    /// Logical number of the boot CPU: 0.
    pub boot_cpu: usize,
    /// Name of the core, from MIDR_EL1.
    pub cpu_name: &'static str,
    /// The console.
    pub uart: UartInfo,
    /// Clock of its baud rate divisor: from the device tree, else the board's.
    pub uart_clock_hz: u32,
    /// Counter value when the first Rust code ran.
    pub boot_counter: u64,
}

static INFO: spin::Once<BootInfo> = spin::Once::new();

/// Keeps what the boot found out. Once.
pub fn set(info: BootInfo) -> &'static BootInfo {
    INFO.call_once(|| info)
}

/// What the boot found out; `None` before `start_kernel`.
pub fn get() -> Option<&'static BootInfo> {
    INFO.get()
}
