//! What the kernel asks a device tree: memory, console, interrupt controller, timer, firmware, CPUs.
//!
//! Every answer is plain data with physical addresses; nothing here touches a device. A device whose
//! `status` is not okay does not exist.
//!
//! Context: any, pure. Bindings: devicetree `arm,gic`, `arm,gic-v3`, `arm,arch_timer`, `arm,psci`,
//! `arm,pl011`, `arm,pmu`, and the specification's memory, chosen, cpus and reserved-memory.
#![forbid(unsafe_code)]

use core::fmt;

use super::fdt::{Cells, Entry, FdtError, Tree, texts};

/// A physical range: start and length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysRange {
    /// First address.
    pub start: u64,
    /// Length.
    pub bytes: u64,
}

impl PhysRange {
    /// First address after the range, saturating at the end of the address space.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes)
    }
}

/// An interrupt as the GIC numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// INTID: 16..32 private to a CPU, 32.. shared.
    pub intid: u32,
    /// Whether it is edge triggered; otherwise it is level triggered.
    pub edge: bool,
}

/// What kind of UART.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UartKind {
    /// Arm's PL011.
    Pl011,
    /// The mini UART of a BCM2835 and its successors.
    Mini,
}

impl UartKind {
    fn of(entry: &Entry) -> Option<Self> {
        if entry.is_compatible("arm,pl011") {
            Some(Self::Pl011)
        } else {
            entry.is_compatible("brcm,bcm2835-aux-uart").then_some(Self::Mini)
        }
    }
}

impl fmt::Display for UartKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Pl011 => "PL011",
            Self::Mini => "mini UART",
        })
    }
}

/// The console UART.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UartInfo {
    /// What it is.
    pub kind: UartKind,
    /// Registers.
    pub regs: PhysRange,
    /// Clock of the baud rate divisor, where the tree gives it.
    pub clock_hz: Option<u32>,
    /// Its interrupt.
    pub interrupt: Option<Interrupt>,
}

/// Generation of the interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicVersion {
    /// Memory-mapped CPU interface, at most 8 CPUs.
    V2,
    /// System registers, one redistributor per CPU.
    V3,
}

impl fmt::Display for GicVersion {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "GICv2",
            Self::V3 => "GICv3",
        })
    }
}

/// The interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GicInfo {
    /// Generation.
    pub version: GicVersion,
    /// Distributor.
    pub distributor: PhysRange,
    /// CPU interface (v2) or first redistributor region (v3).
    pub cpu_side: PhysRange,
}

/// An interrupt controller this kernel has no driver for, or none at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GicError<'a> {
    /// The node's `compatible` strings, zero-separated; `None` if there is no controller.
    pub compatible: Option<&'a [u8]>,
    /// The node is known, but its registers are not where they can be found.
    pub registers_missing: bool,
}

/// `compatible` strings of the GICs with a driver.
pub const GIC_V2: [&str; 4] = ["arm,cortex-a15-gic", "arm,gic-400", "arm,cortex-a7-gic", "arm,cortex-a9-gic"];
/// The same for GICv3.
pub const GIC_V3: [&str; 1] = ["arm,gic-v3"];

impl fmt::Display for GicError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.compatible {
            None => write!(f, "no interrupt controller in the device tree")?,
            Some(list) => {
                f.write_str(if self.registers_missing {
                    "interrupt controller without usable registers: compatible ="
                } else {
                    "unknown interrupt controller (GIC): compatible ="
                })?;
                texts(list).try_for_each(|s| write!(f, " \"{s}\""))?;
            }
        }
        f.write_str("; supported are")?;
        GIC_V2.iter().chain(&GIC_V3).try_for_each(|s| write!(f, " \"{s}\""))
    }
}

/// How to call the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciMethod {
    /// By `hvc`.
    Hvc,
    /// By `smc`.
    Smc,
}

/// Which board this is, from the root node's `compatible`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardKind {
    /// QEMU `virt`.
    QemuVirt,
    /// Raspberry Pi 4.
    RaspberryPi4,
    /// Another board: only what the device tree says is known.
    Other,
}

impl BoardKind {
    /// Recognises the board.
    pub fn of(tree: &Tree) -> Self {
        let list = tree.root_property("compatible").unwrap_or_default();
        texts(list)
            .find_map(|s| match s {
                "linux,dummy-virt" => Some(Self::QemuVirt),
                "raspberrypi,4-model-b" | "brcm,bcm2711" => Some(Self::RaspberryPi4),
                _ => None,
            })
            .unwrap_or(Self::Other)
    }
}

/// Calls `each` with every range of RAM. Nodes called `memory` or typed so, if okay.
pub fn memory(tree: &Tree, each: &mut dyn FnMut(PhysRange)) -> Result<(), FdtError> {
    let mut found = false;
    tree.walk::<()>(&mut |entry| {
        let is_memory = entry.depth() == 1
            && entry.text("device_type").map_or(entry.base_name() == "memory", |t| t == "memory");
        if is_memory && entry.is_okay() {
            for (start, bytes) in (0..).map_while(|i| entry.reg(i)).take(64) {
                if bytes != 0 {
                    found = true;
                    each(PhysRange { start, bytes });
                }
            }
        }
        None
    });
    if found { Ok(()) } else { Err(FdtError::Missing("memory node with a size")) }
}

/// Calls `each` with every reserved range, and whether it must not even be mapped: the reservation block,
/// `/reserved-memory`, the initial RAM disk, and the words in memory that other CPUs wait at.
pub fn reserved(tree: &Tree, each: &mut dyn FnMut(PhysRange, bool)) {
    for (start, bytes) in tree.reservations() {
        each(PhysRange { start, bytes }, false);
    }
    let chosen = |name| number(tree.property("/chosen", name)?);
    if let (Some(start), Some(end)) = (chosen("linux,initrd-start"), chosen("linux,initrd-end"))
        && start < end
    {
        each(PhysRange { start, bytes: end - start }, false);
    }
    tree.walk::<()>(&mut |entry| {
        if entry.parent().is_some_and(|p| p.is_at("/reserved-memory")) && entry.is_okay() {
            let no_map = entry.property("no-map").is_some();
            for (start, bytes) in (0..).map_while(|i| entry.reg(i)).take(64) {
                each(PhysRange { start, bytes }, no_map);
            }
        }
        if let Some(start) = entry.property("cpu-release-addr").and_then(number) {
            each(PhysRange { start, bytes: 8 }, false);
        }
        None
    });
}

/// A number of one or two cells.
fn number(value: &[u8]) -> Option<u64> {
    Cells(value).take((value.len() / 4) as u32)
}

/// The boot arguments; empty if there are none.
pub fn bootargs<'a>(tree: &Tree<'a>) -> &'a str {
    tree.text("/chosen", "bootargs").unwrap_or("")
}

/// Name of the board.
pub fn model<'a>(tree: &Tree<'a>) -> &'a str {
    tree.root_property("model").and_then(|m| texts(m).next()).unwrap_or("unnamed board")
}

/// The console: what `stdout-path` names if it is a PL011, else the first PL011; where there is none, the mini UART that
/// `stdout-path` names, or the first. (A Raspberry Pi's tree names its mini UART, whose rate changes with the core clock.)
pub fn console(tree: &Tree) -> Option<UartInfo> {
    let named = tree.text("/chosen", "stdout-path").and_then(|name| named_console(tree, name));
    let first = |kind| tree.walk(&mut |entry| uart_info(tree, entry).filter(|uart| uart.kind == kind));
    let is_pl011 = |uart: &UartInfo| uart.kind == UartKind::Pl011;
    named.filter(is_pl011).or_else(|| first(UartKind::Pl011)).or(named).or_else(|| first(UartKind::Mini))
}

/// The UART of this name: a path or an alias, with or without `:` and settings behind it.
pub fn named_console(tree: &Tree, name: &str) -> Option<UartInfo> {
    let name = name.split(':').next()?;
    let path = if name.starts_with('/') { name } else { tree.text("/aliases", name)? };
    tree.walk(&mut |entry| entry.is_at(path).then(|| uart_info(tree, entry))).flatten()
}

/// The UART that a node describes, if there is a driver for it.
fn uart_info(tree: &Tree, entry: &Entry) -> Option<UartInfo> {
    let kind = UartKind::of(entry).filter(|_| entry.is_okay())?;
    let (start, bytes) = entry.reg(0)?;
    Some(UartInfo {
        kind,
        regs: PhysRange { start, bytes },
        clock_hz: clock_hz(tree, entry, "uartclk"),
        interrupt: interrupt(entry, 0),
    })
}

/// Frequency of a device's clock by name, if it comes from a fixed clock.
pub(super) fn clock_hz(tree: &Tree, entry: &Entry, name: &str) -> Option<u32> {
    let names = entry.property("clock-names").unwrap_or_default();
    let wanted = texts(names).position(|s| s == name).unwrap_or(0);
    let mut cells = Cells(entry.property("clocks")?);
    for index in 0..=wanted.min(16) {
        let handle = cells.take(1)? as u32;
        let (extra, hz) = tree.with_phandle(handle, &mut |clock| {
            (clock.number("#clock-cells").unwrap_or(0), clock.number("clock-frequency"))
        })?;
        if index == wanted {
            return hz.filter(|&hz| hz != 0);
        }
        for _ in 0..extra.min(8) {
            cells.take(1)?;
        }
    }
    None
}

/// Interrupt number `index` of a device below a GIC (three cells: kind, number, flags).
pub(super) fn interrupt(entry: &Entry, index: usize) -> Option<Interrupt> {
    let mut cells = Cells(entry.property("interrupts")?.get(index.checked_mul(12)?..)?);
    let (kind, number, flags) = (cells.take(1)?, cells.take(1)?, cells.take(1)?);
    let intid = match kind {
        0 if number < 988 => 32 + number,
        1 if number < 16 => 16 + number,
        _ => return None,
    };
    Some(Interrupt { intid: intid as u32, edge: flags & 0b11 != 0 })
}

/// The interrupt controller all interrupts of the root end up at.
pub fn gic<'a>(tree: &Tree<'a>) -> Result<GicInfo, GicError<'a>> {
    let parent = tree.root_property("interrupt-parent").and_then(|p| p.try_into().ok());
    let named = parent.map(u32::from_be_bytes);
    let answer = tree.walk(&mut |entry| {
        let matches = match named {
            Some(handle) => entry.number("phandle") == Some(handle),
            None => entry.property("interrupt-controller").is_some() && entry.is_okay(),
        };
        matches.then(|| gic_info(entry))
    });
    answer.unwrap_or(Err(GicError { compatible: None, registers_missing: false }))
}

fn gic_info<'a>(entry: &Entry<'a, '_>) -> Result<GicInfo, GicError<'a>> {
    let compatible = entry.property("compatible");
    let version = if GIC_V3.iter().any(|s| entry.is_compatible(s)) {
        GicVersion::V3
    } else if GIC_V2.iter().any(|s| entry.is_compatible(s)) {
        GicVersion::V2
    } else {
        return Err(GicError { compatible: compatible.or(Some(&[])), registers_missing: false });
    };
    let range = |(start, bytes)| PhysRange { start, bytes };
    match (entry.reg(0), entry.reg(1)) {
        (Some(distributor), Some(cpu_side)) => {
            Ok(GicInfo { version, distributor: range(distributor), cpu_side: range(cpu_side) })
        }
        _ => Err(GicError { compatible, registers_missing: true }),
    }
}

/// The virtual timer's interrupt: third of the list, or the one named `virt`.
pub fn virtual_timer(tree: &Tree) -> Option<Interrupt> {
    tree.walk(&mut |entry| {
        (entry.is_compatible("arm,armv8-timer") && entry.is_okay()).then(|| {
            let names = entry.property("interrupt-names").unwrap_or_default();
            interrupt(entry, texts(names).position(|s| s == "virt").unwrap_or(2))
        })
    })
    .flatten()
}

/// The performance monitor's interrupt number `index`: one private interrupt, or one shared per CPU.
pub fn pmu_interrupt(tree: &Tree, index: usize) -> Option<Interrupt> {
    tree.walk(&mut |entry| {
        let pmu = entry.base_name().ends_with("pmu")
            && entry.property("compatible").is_some_and(|list| texts(list).any(|s| s.contains("pmu")));
        (pmu && entry.is_okay()).then(|| {
            interrupt(entry, 0).and_then(
                |first| {
                    if first.intid < 32 { Some(first) } else { interrupt(entry, index) }
                },
            )
        })
    })
    .flatten()
}

/// How to reach PSCI firmware, if there is any.
pub fn psci(tree: &Tree) -> Option<PsciMethod> {
    tree.walk(&mut |entry| {
        let psci = ["arm,psci-1.0", "arm,psci-0.2"].iter().any(|s| entry.is_compatible(s));
        (psci && entry.is_okay()).then(|| match entry.text("method") {
            Some("hvc") => Some(PsciMethod::Hvc),
            Some("smc") => Some(PsciMethod::Smc),
            _ => None,
        })
    })
    .flatten()
}

/// A CPU of the device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuNode<'a> {
    /// Its affinity, as MPIDR_EL1 has it.
    pub affinity: u64,
    /// How it is started: `psci`, `spin-table`, or something else. The boot CPU need not say.
    pub enable_method: Option<&'a str>,
    /// With `spin-table`: where it waits for an address.
    pub release_addr: Option<u64>,
}

/// Calls `each` with every CPU, in the order of the tree.
pub fn cpus<'a>(tree: &Tree<'a>, each: &mut dyn FnMut(CpuNode<'a>)) {
    tree.walk::<()>(&mut |entry| {
        let is_cpu = entry.parent().is_some_and(|p| p.is_at("/cpus")) && entry.base_name() == "cpu";
        if is_cpu
            && entry.is_okay()
            && let Some((affinity, _)) = entry.raw_reg(0)
        {
            each(CpuNode {
                affinity,
                enable_method: entry.text("enable-method"),
                release_addr: entry.property("cpu-release-addr").and_then(number),
            });
        }
        None
    });
}

#[cfg(test)]
mod tests {
    include!("machine_tests.rs");
}
