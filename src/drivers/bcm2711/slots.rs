//! The machine's card slots: which controllers there are, and the card in use.
//!
//! A Raspberry Pi 4 has its card on EMMC2 and a radio on the older controller; QEMU's has the card on the older one.
//! So every controller is asked, EMMC2 first, until one has a card. Nothing is asked before somebody wants the card: a
//! boot does not wait for a slot that is empty.
//!
//! Context: threads; sleeps. Locks: SLOTS (a mutex that sleeps) is held while the card is used, so one task at a time
//! does so; whoever it keeps waiting lends it its priority.

use core::fmt;

use heapless::Vec;

use super::emmc::Emmc;
use super::firmware::{self, Clock};
use super::sd::{CardInfo, SdError, Slot};
use crate::drivers::mmio::Mmio;
use crate::drivers::pace::TaskPace;
use crate::drivers::platform::{Device, Driver, ProbeError};
use crate::locking::Mutex;

/// More controllers than any of these chips has.
const SLOTS_MAX: usize = 4;
/// What the device tree calls the controller that has the card on silicon.
const EMMC2: &str = "brcm,bcm2711-emmc2";
/// The driver's row.
pub const DRIVER: Driver =
    Driver { name: "card", compatible: &[EMMC2, "brcm,bcm2835-mmc", "brcm,bcm2835-sdhci"], probe };

/// A card slot with the device's name in the tree.
struct Named {
    name: &'static str,
    slot: Slot<Mmio, TaskPace>,
}

static SLOTS: Mutex<Vec<Named, SLOTS_MAX>> = Mutex::new(Vec::new());

/// Why there is no card to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCard {
    /// The device tree has no controller that is known here.
    NoSlot,
    /// The controller of this name says why.
    Slot(&'static str, SdError),
}

impl fmt::Display for NoCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot => f.write_str("this machine has no card slot that is known here"),
            Self::Slot(name, error) => write!(f, "{name}: {error}"),
        }
    }
}

/// Keeps a controller for [`with_card`].
fn probe(device: &Device) -> Result<(), ProbeError> {
    let regs = device.map_block(0, 0x100)?;
    let clock = if device.compatible == EMMC2 { Clock::Emmc2 } else { Clock::Emmc };
    let clock_hz = firmware::with(|mailbox| mailbox.clock_hz(clock).ok()).flatten();
    let named = Named { name: device.name(), slot: Slot::new(Emmc::new(regs, TaskPace, clock_hz)) };
    let mut slots = SLOTS.lock();
    let at = if device.compatible == EMMC2 { 0 } else { slots.len() };
    slots.insert(at, named).map_err(|_| ProbeError::new("too many card slots; 4 are kept"))
}

/// Finds the card and lets `use_it` have it, together with the name of its controller.
///
/// # Errors
/// There is none, or it cannot be used.
pub fn with_card<T>(
    use_it: impl FnOnce(&'static str, CardInfo, &mut Slot<Mmio, TaskPace>) -> T,
) -> Result<T, NoCard> {
    let mut slots = SLOTS.lock();
    let mut why = NoCard::NoSlot;
    for Named { name, slot } in slots.iter_mut() {
        match slot.card() {
            Ok(card) => return Ok(use_it(name, card, slot)),
            // That a slot is empty says less than that a card does not work.
            Err(SdError::NoCard(_)) if why != NoCard::NoSlot => {}
            Err(error) => why = NoCard::Slot(name, error),
        }
    }
    Err(why)
}
