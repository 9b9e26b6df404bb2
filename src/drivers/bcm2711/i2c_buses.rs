//! The machine's I²C buses: found in the device tree, connected to their pins, used one transaction at a time.
//!
//! Two of the chip's controllers have pins that this knows: the one of the header (GPIO 2 and 3) and the one that is for
//! the identification of boards (GPIO 0 and 1). The others come out at pins that the tree would have to say.
//!
//! Context: threads; sleeps. Lock: one per bus.

use alloc::format;

use heapless::Vec;

use super::firmware::{self, Clock};
use super::gpio::{Function, Pull};
use super::gpio_pins;
use super::i2c::Bsc;
use crate::drivers::mmio::Mmio;
use crate::drivers::pace::TaskPace;
use crate::drivers::platform::{Device, Driver, ProbeError};
use crate::locking::Mutex;

/// The driver's row.
pub const DRIVER: Driver =
    Driver { name: "i2c", compatible: &["brcm,bcm2711-i2c", "brcm,bcm2835-i2c"], probe };

/// Low bits of a controller's address, and its pins: data, clock. Both are alternate function 0 there.
const PINS: [(u64, [u8; 2]); 2] = [(0x80_4000, [2, 3]), (0x20_5000, [0, 1])];
const LOW_BITS: u64 = 0xff_ffff;
/// What the firmware sets where it cannot be asked.
const CORE_HZ: u32 = 500_000_000;
const BUS_HZ: u32 = 100_000;
const BUSES_MAX: usize = 2;

/// A bus with its name in the tree.
pub struct Bus {
    /// The device tree's name.
    pub name: &'static str,
    /// The controller.
    pub controller: Mutex<Bsc<Mmio, TaskPace>>,
}

static BUSES: Mutex<Vec<&'static Bus, BUSES_MAX>> = Mutex::new(Vec::new());

/// Bus number `index`, in the order of the tree.
pub fn get(index: usize) -> Option<&'static Bus> {
    BUSES.lock().get(index).copied()
}

fn probe(device: &Device) -> Result<(), ProbeError> {
    let at = device.reg(0)?.start & LOW_BITS;
    let known = PINS.iter().find(|&&(of, _)| of == at);
    let pins = known
        .ok_or_else(|| {
            ProbeError::new(format!("its pins are not known; those of {:#x} are", PINS.map(|(of, _)| of)[0]))
        })?
        .1;
    let gpio =
        gpio_pins::get().ok_or_else(|| ProbeError::new("there is no GPIO block to connect its pins"))?;
    let controller_regs = device.map_block(0, 0x20)?;
    for pin in pins {
        let pin = gpio.claim(pin).map_err(|error| ProbeError::new(format!("{error}")));
        let mut pin = pin?;
        // The board has its own resistors on the header's pins; these help where a board has none.
        pin.connect(Function::Alt0, Pull::Up);
        // The pin is the bus's for as long as the machine runs.
        core::mem::forget(pin);
    }
    let core_hz = firmware::with(|mailbox| mailbox.clock_hz(Clock::Core).ok()).flatten().unwrap_or(CORE_HZ);
    let bus_hz = device.number("clock-frequency").unwrap_or(BUS_HZ);
    let controller = Mutex::new(Bsc::new(controller_regs, TaskPace, core_hz, bus_hz));
    let bus = alloc::boxed::Box::leak(alloc::boxed::Box::new(Bus { name: device.name(), controller }));
    BUSES.lock().push(bus).map_err(|_| ProbeError::new("too many buses; 2 are kept"))
}
