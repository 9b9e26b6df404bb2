//! The CPUs of the machine: which affinity has which logical number, and how each is started.
//!
//! The boot CPU is number 0; the others follow in the order of the device tree's cpu nodes. One that cannot be started
//! has no number: it is remembered with the reason, for the log. Written once, at boot.
//!
//! Context: any; no locks.
#![forbid(unsafe_code)]

use core::fmt;

use heapless::Vec;

use crate::MAX_CPUS;
use crate::bootargs::Bootargs;
use crate::drivers::fdt::Tree;
use crate::drivers::machine::{self, CpuNode};

/// How a CPU is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The loader has started it.
    Boot,
    /// The firmware does.
    Psci,
    /// It waits for the word at this physical address to become one.
    SpinTable(u64),
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Boot => "boot",
            Self::Psci => "psci",
            Self::SpinTable(_) => "spin-table",
        })
    }
}

/// A CPU that may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The affinity fields of its MPIDR_EL1.
    pub affinity: u64,
    /// How it is started.
    pub method: Method,
    /// Its place among the device tree's cpu nodes.
    pub node: usize,
}

/// Why a CPU of the device tree has no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its `enable-method` is none that this kernel knows; the text.
    UnknownMethod(&'static str),
    /// It has none.
    NoMethod,
    /// `psci`, and there is no PSCI firmware in the tree.
    NoFirmware,
    /// `spin-table`, and no `cpu-release-addr`.
    NoReleaseAddress,
    /// More than the kernel has numbers for.
    TooMany,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownMethod(text) => write!(f, "enable-method \"{text}\"; expected psci or spin-table"),
            Self::NoMethod => f.write_str("no enable-method; expected psci or spin-table"),
            Self::NoFirmware => {
                f.write_str("enable-method \"psci\", but no psci node; expected arm,psci-0.2 or arm,psci-1.0")
            }
            Self::NoReleaseAddress => f.write_str("enable-method \"spin-table\" without a cpu-release-addr"),
            Self::TooMany => write!(f, "more than {MAX_CPUS} CPUs"),
        }
    }
}

/// What the tree says about CPUs.
#[derive(Debug, Default)]
pub struct Cpus {
    /// By logical number.
    pub cpus: Vec<Cpu, MAX_CPUS>,
    /// Those that have none: affinity and reason.
    pub left_out: Vec<(u64, Reason), MAX_CPUS>,
    /// Nodes that are okay.
    pub nodes: usize,
    /// Whether the boot CPU is one of them.
    pub boot_is_known: bool,
}

static CPUS: spin::Once<Cpus> = spin::Once::new();

/// How the CPU of this node is started. `psci`: there is firmware.
fn method_of(cpu: &CpuNode<'static>, psci: bool) -> Result<Method, Reason> {
    match cpu.enable_method {
        Some("psci") if psci => Ok(Method::Psci),
        Some("psci") => Err(Reason::NoFirmware),
        Some("spin-table") => cpu.release_addr.map(Method::SpinTable).ok_or(Reason::NoReleaseAddress),
        Some(other) => Err(Reason::UnknownMethod(other)),
        None => Err(Reason::NoMethod),
    }
}

impl Cpus {
    /// Numbers the CPUs of `tree`; `boot` is the affinity of the one that runs.
    fn read(tree: &Tree<'static>, boot: u64) -> Self {
        let mut this = Self::default();
        // There is room for the first.
        let _ = this.cpus.push(Cpu { affinity: boot, method: Method::Boot, node: 0 });
        let psci = machine::psci(tree).is_some();
        machine::cpus(tree, &mut |cpu| {
            let (affinity, node) = (cpu.affinity, this.nodes);
            this.nodes += 1;
            if affinity == boot {
                this.cpus[0].node = node;
                this.boot_is_known = true;
                return;
            }
            let numbered = method_of(&cpu, psci).and_then(|method| {
                this.cpus.push(Cpu { affinity, method, node }).map_err(|_| Reason::TooMany)
            });
            if let Err(reason) = numbered {
                // What is too much even here is not told.
                let _ = this.left_out.push((affinity, reason));
            }
        });
        this
    }
}

/// Reads the cpu nodes; returns how many CPUs may ever run, as the boot arguments have it: at least one. `boot` is
/// the affinity of the CPU that runs. Once.
pub fn init(tree: &Tree<'static>, boot: u64, bootargs: &Bootargs) -> usize {
    let cpus = CPUS.call_once(|| Cpus::read(tree, boot));
    let wanted = match (bootargs.nr_cpus, bootargs.maxcpus) {
        // One CPU at boot is one CPU for ever: then nothing has to be ready for more.
        (_, Some(1)) => 1,
        (Some(count), _) => count as usize,
        (None, _) => MAX_CPUS,
    };
    let present = cpus.cpus.len().min(wanted);
    (0..present).for_each(crate::smp::set_present);
    present
}

/// What [`init`] found.
pub fn get() -> Option<&'static Cpus> {
    CPUS.get()
}

/// The CPU with this logical number.
pub fn cpu(cpu: usize) -> Option<&'static Cpu> {
    get()?.cpus.get(cpu)
}

/// The logical number of the CPU with this affinity (`arch::cpu::mpidr`).
pub fn logical(affinity: u64) -> Option<usize> {
    get()?.cpus.iter().position(|cpu| cpu.affinity == affinity)
}

/// The affinity of the CPU with this logical number.
pub fn affinity(cpu: usize) -> Option<u64> {
    get()?.cpus.get(cpu).map(|cpu| cpu.affinity)
}

#[cfg(test)]
mod tests {
    use super::{Method, Reason, method_of};
    use crate::drivers::machine::CpuNode;

    fn node(enable_method: Option<&'static str>, release_addr: Option<u64>) -> CpuNode<'static> {
        CpuNode { affinity: 1, enable_method, release_addr }
    }

    #[test]
    fn a_cpu_is_started_as_its_node_says() {
        assert_eq!(method_of(&node(Some("psci"), None), true), Ok(Method::Psci));
        assert_eq!(method_of(&node(Some("spin-table"), Some(0xe0)), false), Ok(Method::SpinTable(0xe0)));
    }

    #[test]
    fn a_cpu_that_cannot_be_started_is_left_out_with_the_reason() {
        assert_eq!(method_of(&node(Some("psci"), None), false), Err(Reason::NoFirmware));
        assert_eq!(method_of(&node(Some("spin-table"), None), true), Err(Reason::NoReleaseAddress));
        assert_eq!(method_of(&node(Some("magic"), None), true), Err(Reason::UnknownMethod("magic")));
        assert_eq!(method_of(&node(None, None), true), Err(Reason::NoMethod));
        let text = std::format!("{}", Reason::UnknownMethod("magic"));
        assert_eq!(text, "enable-method \"magic\"; expected psci or spin-table");
    }
}
