//! The machine's SPI bus: found in the device tree, connected to its pins, used one transaction at a time.
//!
//! Context: threads; sleeps. Lock: [`get`] returns it.

use alloc::format;

use embedded_hal::spi::MODE_0;

use super::firmware::{self, Clock};
use super::gpio::{Function, Pull};
use super::gpio_pins;
use super::spi::{Settings, Spi};
use crate::drivers::mmio::Mmio;
use crate::drivers::pace::TaskPace;
use crate::drivers::platform::{Device, Driver, ProbeError};
use crate::locking::Mutex;

/// The driver's row.
pub const DRIVER: Driver = Driver { name: "spi", compatible: &["brcm,bcm2835-spi"], probe };

/// Low bits of SPI0's address; the others come out at pins that the tree would have to say.
const SPI0: u64 = 0x20_4000;
const LOW_BITS: u64 = 0xff_ffff;
/// Select lines 1 and 0, in, out, clock: alternate function 0.
const PINS: [u8; 5] = [7, 8, 9, 10, 11];
/// What the firmware sets where it cannot be asked.
const CORE_HZ: u32 = 500_000_000;
const SETTINGS: Settings = Settings { mode: MODE_0, hz: 1_000_000 };

static BUS: spin::Once<Mutex<Spi<Mmio, TaskPace>>> = spin::Once::new();

/// The bus, if the machine has one that is known.
pub fn get() -> Option<&'static Mutex<Spi<Mmio, TaskPace>>> {
    BUS.get()
}

fn probe(device: &Device) -> Result<(), ProbeError> {
    if device.reg(0)?.start & LOW_BITS != SPI0 || BUS.get().is_some() {
        return Err(ProbeError::new(format!("its pins are not known; those of SPI0, {SPI0:#x}, are")));
    }
    let gpio =
        gpio_pins::get().ok_or_else(|| ProbeError::new("there is no GPIO block to connect its pins"))?;
    let regs = device.map_block(0, 0x18)?;
    for pin in PINS {
        let mut pin = gpio.claim(pin).map_err(|error| ProbeError::new(format!("{error}")))?;
        pin.connect(Function::Alt0, Pull::None);
        // The pin is the bus's for as long as the machine runs.
        core::mem::forget(pin);
    }
    let core_hz = firmware::with(|mailbox| mailbox.clock_hz(Clock::Core).ok()).flatten().unwrap_or(CORE_HZ);
    BUS.call_once(|| Mutex::new(Spi::new(regs, TaskPace, core_hz, SETTINGS)));
    Ok(())
}
