//! From the first Rust instruction to `start_kernel`.
//!
//! Invariant: the order of the steps is the order of what they need. Until the final page tables are
//! live only the early console may be used and nothing is allocated. A boot that cannot go on says why
//! on the console and stops the machine.
//!
//! Context: the boot CPU, on the boot stack, all interrupts masked.

use core::fmt::Display;

use arch::boot;
use arch::mmu::PhysAddr;
use arch::patch::{self, Key};

use crate::boot_info::BootInfo;
use crate::bootargs::{Bootargs, PreemptModel, PreemptStyle};
use crate::drivers::fdt::{self, Tree};
use crate::drivers::machine::{self, BoardKind, GicVersion, PhysRange, UartInfo, UartKind};
use crate::drivers::{console, early, irqchip, platform};
use crate::ladder::{self, Step};
use crate::smp::{CpuMask, isolation};
use crate::{cpus, early_println, klog, mm, percpu, power};

pub use arch::boot::BoardFacts;

unsafe extern "Rust" {
    /// From the board crate; boot.S looks there for the row that holds.
    safe static STINT_BOARD_FACTS: [BoardFacts; 2];
}

/// Early device page of the board's console and of the one in the device tree.
const SLOT_FALLBACK: usize = 0;
const SLOT_CONSOLE: usize = 1;
const SLOT_LIGHT: usize = 2;

/// Entered from boot.S with MMU and caches on, on the early tables.
#[unsafe(no_mangle)]
extern "C" fn stint_boot(dtb: u64, image: u64, boot_el: u64) -> ! {
    let boot_counter = arch::timer::counter();
    // SAFETY: the first that runs, before anything has written to per-CPU data.
    unsafe { percpu::keep_initial() };
    boot::set_image_phys(PhysAddr(image));
    let facts = fallback_console(image);
    ladder::reached(Step::Mapped);
    let tree = open_tree(dtb);
    platform::keep_tree(tree);
    ladder::reached(Step::Tree);
    let bootargs = Bootargs::parse(machine::bootargs(&tree));
    let psci = machine::psci(&tree);
    power::set_method(bootargs.exit, psci);
    let wanted = bootargs.console.map(|name| (name, machine::named_console(&tree, name)));
    let uart = wanted.and_then(|(_, uart)| uart).or_else(|| machine::console(&tree));
    let uart = uart.unwrap_or_else(|| {
        fail(&"no console in the device tree; expected an arm,pl011 or brcm,bcm2835-aux-uart that is okay")
    });
    let uart_clock_hz = use_console(&uart, facts);

    let cpu_count = cpus::init(&tree, arch::cpu::mpidr(), &bootargs);
    let gic = machine::gic(&tree).unwrap_or_else(|error| fail(&error));
    patch_text(&bootargs, gic.version, cpu_count > 1);
    ladder::reached(Step::Described);

    let memory = mm::init(&tree, PhysRange { start: dtb, bytes: tree.blob().len() as u64 });
    let memory = memory.unwrap_or_else(|fault| fail(&fault));
    exception_stacks();
    ladder::reached(Step::Memory);

    console::init(&uart, uart_clock_hz).unwrap_or_else(|fault| fail(&fault));
    ladder::reached(Step::Console);
    klog::init(bootargs.loglevel);
    bootargs.messages.iter().for_each(|text| log::warn!(target: "bootargs", "{text}"));
    if bootargs.messages_lost > 0 {
        log::warn!(target: "bootargs", "and {} more", bootargs.messages_lost);
    }
    if let Some((name, None)) = wanted {
        log::warn!(target: "bootargs", "console={name}: the device tree has no such UART; expected its path or alias");
    }
    isolate(&bootargs);

    let boot_cpu = 0;
    let found = cpus::get().unwrap_or_else(|| fail(&"the cpu nodes were not read"));
    if !found.boot_is_known {
        log::warn!("CPU {:#x} is not in the device tree; it runs as CPU 0", arch::cpu::mpidr());
    }
    irqchip::init(&gic).unwrap_or_else(|fault| fail(&fault));
    irqchip::init_cpu(boot_cpu).unwrap_or_else(|fault| fail(&fault));
    let timer_interrupt = machine::virtual_timer(&tree)
        .unwrap_or_else(|| fail(&"no virtual timer in the device tree; expected arm,armv8-timer"));
    let timer_hz = arch::timer::freq_hz();
    if timer_hz == 0 {
        fail(&"the timer's frequency is 0; expected the firmware to have set CNTFRQ_EL0");
    }
    arch::timer::init_cpu();
    ladder::reached(Step::Interrupts);

    crate::start::start_kernel(crate::boot_info::set(BootInfo {
        board: machine::model(&tree),
        compatible: BoardKind::of(&tree),
        bootargs,
        memory_bytes: memory.ram_bytes,
        free_bytes: memory.free_bytes,
        image_bytes: boot::image_bytes() as u64,
        image_phys: image,
        boot_el: boot_el as u8,
        gic,
        timer_hz,
        timer_interrupt,
        pmu_interrupt: machine::pmu_interrupt(&tree, found.cpus[0].node),
        psci,
        cpus: found.nodes.max(1),
        boot_cpu,
        cpu_name: arch::cpu::cpu_name(),
        uart,
        uart_clock_hz,
        boot_counter,
    }))
}

/// Which CPUs keep house; device interrupts go there, unless it is said where.
fn isolate(bootargs: &Bootargs) {
    isolation::init(bootargs);
    if isolation::irq_affinity() != CpuMask::ALL
        && let Err(error) = crate::irq::set_default_affinity(isolation::irq_affinity())
    {
        log::warn!(target: "smp", "interrupts go to CPU 0: {error}");
    }
}

/// What is decided once is written into the code, while the early tables still allow it.
fn patch_text(bootargs: &Bootargs, gic: GicVersion, smp: bool) {
    let rt = bootargs.preempt == PreemptModel::Rt;
    let event = bootargs.preempt_style == PreemptStyle::Event;
    let keys = [
        (Key::PreemptInert, matches!(bootargs.preempt, PreemptModel::None | PreemptModel::Voluntary)),
        (Key::Voluntary, bootargs.preempt == PreemptModel::Voluntary),
        (Key::Rt, rt),
        (Key::SleepingSpinLocks, rt || event),
        (Key::EventStyle, event),
        (Key::SmpLocks, bootargs.smp_locks || smp),
        (Key::Trace, bootargs.trace.is_some()),
        (Key::GicV2, gic == GicVersion::V2),
    ];
    keys.iter().filter(|&&(_, on)| on).for_each(|&(key, _)| patch::enable(key));
    // SAFETY: once, on the boot CPU, IRQs masked, on the early tables, which map the text writable.
    unsafe { patch::apply() };
}

/// This CPU's interrupt and overflow stacks, kept for ever.
fn exception_stacks() {
    let top = |bytes| mm::stack::Stack::new(bytes).unwrap_or_else(|error| fail(&error)).into_top();
    let (irq, overflow) = (top(percpu::IRQ_STACK_BYTES), top(percpu::OVERFLOW_STACK_BYTES));
    // SAFETY: the vectors are not set yet; both stacks are new, have a guard page and are nobody else's.
    unsafe { percpu::set_exception_stacks(irq, overflow) };
}

fn fallback_console(image: u64) -> &'static BoardFacts {
    let facts = STINT_BOARD_FACTS.iter().find(|facts| image >= facts.image_from);
    let facts = facts.unwrap_or(&STINT_BOARD_FACTS[0]);
    set_early_console(SLOT_FALLBACK, facts.uart, UartKind::Pl011);
    if facts.gpio != 0 {
        let base = boot::early_ioremap(SLOT_LIGHT, PhysAddr(facts.gpio));
        // SAFETY: the board's facts say that there is a BCM2711's GPIO block; early slots stay mapped. The light's pin is
        // an output since boot.S.
        unsafe { ladder::set_light(base) };
    }
    early::enable(facts.uart_clock_hz as u32);
    facts
}

/// Goes on with the console that was chosen; returns the clock of its divisor.
fn use_console(uart: &UartInfo, facts: &BoardFacts) -> u32 {
    let (start, known_hz) = match uart.kind {
        UartKind::Pl011 => (uart.regs.start, facts.uart_clock_hz),
        // With the block that it is in.
        UartKind::Mini => (uart.regs.start & !(arch::mmu::PAGE_BYTES as u64 - 1), facts.core_clock_hz),
    };
    if uart.kind == UartKind::Mini && facts.gpio != 0 {
        // What was said on the other one may end there.
        early::flush();
        // SAFETY: the light's block, which is mapped; the boot CPU is alone.
        unsafe { ladder::give_pins_to_mini_uart() };
    }
    let hz = uart.clock_hz.unwrap_or(known_hz as u32);
    set_early_console(SLOT_CONSOLE, start, uart.kind);
    early::enable(hz);
    hz
}

fn set_early_console(slot: usize, phys: u64, kind: UartKind) {
    let base = boot::early_ioremap(slot, PhysAddr(phys));
    // SAFETY: the board's facts or the device tree say that there is such a UART; early slots stay mapped.
    unsafe { early::set_base(base, kind) };
}

fn open_tree(dtb: u64) -> Tree<'static> {
    find_tree(dtb).unwrap_or_else(|reason| {
        fail(&format_args!(
            "no device tree: x0 = {dtb:#x}: {reason}; expected a flattened device tree (magic d00dfeed)"
        ))
    })
}

/// Why there is no device tree at an address.
enum NoTree {
    /// The loader passed 0.
    None,
    /// What loaders passed before there were trees.
    Atags,
    /// Not an address one can be at.
    Address,
    /// Reading there faults.
    Memory,
    /// Something else is there.
    Blob(fdt::FdtError),
}

impl Display for NoTree {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Self::None => f.write_str("the loader passed none"),
            Self::Atags => f.write_str(
                "the loader passed a list of ATAGs. Raspberry Pi: is the board's .dtb (bcm2711-rpi-4-b.dtb) on the card, \
                 beside kernel8.img, and no device_tree= in config.txt that names another? QEMU: -dtb gives the tree",
            ),
            Self::Address => write!(f, "not a multiple of 4 below 2^{}", arch::mmu::LINEAR_BITS),
            Self::Memory => f.write_str("no memory to read there"),
            Self::Blob(error) => error.fmt(f),
        }
    }
}

/// The tree at physical `dtb`.
fn find_tree(dtb: u64) -> Result<Tree<'static>, NoTree> {
    if dtb == 0 {
        return Err(NoTree::None);
    }
    if !dtb.is_multiple_of(4) || dtb >> arch::mmu::LINEAR_BITS != 0 {
        return Err(NoTree::Address);
    }
    let start = arch::mmu::linear(PhysAddr(dtb)) as *const u8;
    let mut head = [0u8; 8];
    for (i, word) in head.chunks_exact_mut(4).enumerate() {
        // SAFETY: boot.S mapped the block of `dtb` and the next; where no memory is, the answer is `None`.
        let value = unsafe { boot::probe_read32(start.cast::<u32>().add(i)) }.ok_or(NoTree::Memory)?;
        word.copy_from_slice(&value.to_le_bytes());
    }
    if is_atags(&head) {
        return Err(NoTree::Atags);
    }
    let bytes = fdt::blob_bytes(&head).map_err(NoTree::Blob)?;
    // SAFETY: at least 2 MiB from `start` are mapped, and `bytes` is at most that. The loader put a device
    // tree there, which nobody writes: it is kept from the page allocator.
    let blob = unsafe { core::slice::from_raw_parts(start, bytes) };
    Tree::open(blob).map_err(NoTree::Blob)
}

/// Whether a list of ATAGs begins with these words: its first entry is the size in words and `ATAG_CORE`.
fn is_atags(head: &[u8; 8]) -> bool {
    const ATAG_CORE: [u8; 4] = 0x5441_0001u32.to_le_bytes();
    head[4..] == ATAG_CORE
}

/// Ends a boot that cannot go on.
fn fail(why: &dyn Display) -> ! {
    ladder::end_line();
    klog::drain_panic();
    early_println!("stint: {why}");
    power::boot_failed()
}

/// A fault before the real vectors are installed.
#[unsafe(no_mangle)]
extern "C" fn stint_early_fault(esr: u64, elr: u64, far: u64) -> ! {
    fail(&format_args!("fault while booting: ESR {esr:#x} ELR {elr:#x} FAR {far:#x}"))
}
