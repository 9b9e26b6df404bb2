//! How devices find their drivers: by `compatible`, out of the device tree.
//!
//! A driver is a row of `DRIVERS`. Once, from the first task, every node that is okay and that a driver names is handed
//! to it as a [`Device`]: what the tree says about it, with physical addresses as the CPU sees them (the buses above are
//! translated) and interrupts as the GIC numbers them. The rows are gone through in their order, so a driver that others
//! ask stands before them. A node is probed by every row that names one of its `compatible` strings.
//!
//! Invariant: a probe runs once per node, in thread context, where it may sleep and allocate. One that fails is a line in
//! the log and nothing else: the machine goes on without the device.
//!
//! Context: threads.

use core::fmt;

use alloc::format;
use alloc::string::String;

#[cfg(target_os = "none")]
use super::bcm2711;
use super::fdt::{Entry, Tree};
use super::machine::{self, Interrupt, PhysRange};

/// A driver, as the table has it.
pub struct Driver {
    /// Name in messages.
    pub name: &'static str,
    /// The `compatible` strings it is for.
    pub compatible: &'static [&'static str],
    /// Takes a device into use; whatever is kept of it is the driver's own.
    pub probe: fn(&Device) -> Result<(), ProbeError>,
}

/// Every driver; who is asked by others comes first.
#[cfg(target_os = "none")]
static DRIVERS: &[Driver] = &[
    bcm2711::firmware::DRIVER,
    bcm2711::watchdog::DRIVER,
    bcm2711::system_timer::DRIVER,
    bcm2711::gpio_pins::DRIVER,
    bcm2711::slots::DRIVER,
    bcm2711::i2c_buses::DRIVER,
    bcm2711::spi_bus::DRIVER,
    bcm2711::pwm_outputs::CLOCKS_DRIVER,
    bcm2711::pwm_outputs::DRIVER,
];

/// Why a device is not used, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeError(String);

impl ProbeError {
    /// An error that says this.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<crate::Error> for ProbeError {
    fn from(error: crate::Error) -> Self {
        Self(format!("{error}"))
    }
}

/// A node of the device tree that a driver is for.
pub struct Device<'a> {
    /// Which of the driver's strings matched: the node's most particular one that the driver knows.
    pub compatible: &'static str,
    tree: &'a Tree<'static>,
    entry: &'a Entry<'static, 'a>,
}

/// The path of the node.
impl fmt::Display for Device<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fn path(entry: &Entry, f: &mut fmt::Formatter) -> fmt::Result {
            let Some(parent) = entry.parent() else { return Ok(()) };
            path(parent, f)?;
            write!(f, "/{}", entry.name())
        }
        path(self.entry, f)
    }
}

impl Device<'_> {
    /// Name of the node with its unit address.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.entry.name()
    }

    /// Register range number `index`, as physical addresses of the CPU.
    ///
    /// # Errors
    /// There is none, or a bus above does not let the CPU through to it.
    pub fn reg(&self, index: usize) -> Result<PhysRange, ProbeError> {
        match self.entry.reg(index) {
            Some((start, bytes)) if bytes > 0 => Ok(PhysRange { start, bytes }),
            _ => Err(ProbeError(format!(
                "no register range {index} that the CPU can reach; expected one in reg, and ranges of the buses above"
            ))),
        }
    }

    /// Maps register range number `index`.
    ///
    /// # Errors
    /// As [`Self::reg`]; not a window of whole words; or there is no room for the mapping.
    #[cfg(target_os = "none")]
    pub fn map(&self, index: usize) -> Result<super::mmio::Mmio, ProbeError> {
        Self::map_range(self.reg(index)?)
    }

    /// Maps `bytes` from the start of register range number `index`: the block as the driver knows it. A tree may give
    /// less (the length that the block had in an older chip), which would make a panic of a register behind it.
    ///
    /// # Errors
    /// As [`Self::map`].
    #[cfg(target_os = "none")]
    pub fn map_block(&self, index: usize, bytes: u64) -> Result<super::mmio::Mmio, ProbeError> {
        Self::map_range(PhysRange { bytes, ..self.reg(index)? })
    }

    #[cfg(target_os = "none")]
    fn map_range(range: PhysRange) -> Result<super::mmio::Mmio, ProbeError> {
        let error = |what: &dyn fmt::Display| {
            ProbeError(format!("registers at {:#x}, {:#x} bytes: {what}", range.start, range.bytes))
        };
        // No device has more; a tree that says so is wrong and would eat the window for devices.
        const BYTES_MAX: u64 = 1 << 20;
        if !range.start.is_multiple_of(4) || range.bytes > BYTES_MAX {
            return Err(error(&"expected whole words and at most 1 MiB"));
        }
        let base = crate::mm::ioremap(arch::mmu::PhysAddr(range.start), range.bytes as usize);
        let base = base.map_err(|fault| error(&fault))?;
        let base = core::ptr::NonNull::new(base.cast()).ok_or_else(|| error(&"mapped at 0"))?;
        // SAFETY: mapped as Device memory for ever, and aligned as the physical address is; that they are the registers
        // of what the driver is for is what the device tree says by `compatible`.
        Ok(unsafe { super::mmio::Mmio::new(base, range.bytes as usize) })
    }

    /// Interrupt number `index`, if the node has it and it goes straight to the GIC.
    ///
    /// # Errors
    /// There is none, or it goes to another controller.
    pub fn interrupt(&self, index: usize) -> Result<Interrupt, ProbeError> {
        let mut at = Some(self.entry);
        let named = core::iter::from_fn(|| {
            let entry = at?;
            at = entry.parent();
            Some(entry)
        })
        .find_map(|entry| entry.number("interrupt-parent"));
        let to_gic = named.and_then(|handle| {
            let is_gic = |entry: &Entry<'static, '_>| {
                machine::GIC_V2.iter().chain(&machine::GIC_V3).any(|gic| entry.is_compatible(gic))
            };
            self.tree.with_phandle(handle, &mut |entry| is_gic(entry))
        });
        let found = if to_gic == Some(true) { machine::interrupt(self.entry, index) } else { None };
        found.ok_or_else(|| {
            ProbeError(format!("no interrupt {index} of the GIC; expected one in interrupts, of three cells"))
        })
    }

    /// Frequency of the clock of this name (the first one if no clock has a name), where it is a fixed clock or
    /// `clock-frequency` of the node itself says it.
    #[must_use]
    pub fn clock_hz(&self, name: &str) -> Option<u32> {
        machine::clock_hz(self.tree, self.entry, name).or_else(|| self.number("clock-frequency"))
    }

    /// A property that is one 32-bit number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.entry.number(name)
    }

    /// A property that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'static str> {
        self.entry.text(name)
    }

    /// A property's bytes: `Some(&[])` for one that is only there or not.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'static [u8]> {
        self.entry.property(name)
    }
}

static TREE: spin::Once<Tree<'static>> = spin::Once::new();

/// Keeps the device tree; once, at boot. Its memory is nobody else's for ever.
pub fn keep_tree(tree: Tree<'static>) {
    TREE.call_once(|| tree);
}

/// The device tree, if it was kept.
#[must_use]
pub fn tree() -> Option<&'static Tree<'static>> {
    TREE.get()
}

/// Hands every device to its driver. Once, from the first task.
#[cfg(target_os = "none")]
pub(crate) fn probe_devices() {
    if let Some(tree) = tree() {
        probe_all(tree, DRIVERS);
    }
}

/// Hands the tree's devices to `drivers`, and says what became of them. Returns how many are in use.
fn probe_all(tree: &Tree<'static>, drivers: &[Driver]) -> usize {
    let mut in_use = 0;
    for driver in drivers {
        tree.walk::<()>(&mut |entry| {
            if let Some(compatible) = matched(entry, driver)
                && entry.is_okay()
            {
                let device = Device { compatible, tree, entry };
                match (driver.probe)(&device) {
                    Ok(()) => {
                        in_use += 1;
                        log::debug!(target: "drivers", "{}: {device}", driver.name);
                    }
                    Err(error) => {
                        log::warn!(target: "drivers", "{}: {device} is not used: {error}", driver.name)
                    }
                }
            }
            None
        });
    }
    in_use
}

/// The first of the node's `compatible` strings that the driver names: a tree lists the most particular one first.
fn matched(entry: &Entry, driver: &Driver) -> Option<&'static str> {
    let list = entry.property("compatible")?;
    super::fdt::texts(list).find_map(|text| driver.compatible.iter().find(|&&known| known == text).copied())
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
