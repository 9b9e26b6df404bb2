//! The machine's PWM outputs: the block and the clock manager as the device tree has them, and the pins.
//!
//! Nothing is touched before somebody asks for a pulse: a boot leaves the pins as they are.
//!
//! Context: threads; sleeps. Locks: CLOCKS, then PWM.

use alloc::format;

use super::gpio::Function;
use super::pwm::Pwm;
use crate::drivers::mmio::Mmio;
use crate::drivers::pace::TaskPace;
use crate::drivers::platform::{Device, Driver, ProbeError};
use crate::locking::Mutex;

/// The row of the clock manager, of which the PWM block has two words.
pub const CLOCKS_DRIVER: Driver =
    Driver { name: "clocks", compatible: &["brcm,bcm2711-cprman"], probe: probe_clocks };
/// The driver's row.
pub const DRIVER: Driver = Driver { name: "pwm", compatible: &["brcm,bcm2835-pwm"], probe };

/// Low bits of PWM0's address; PWM1 is the headphones'.
const PWM0: u64 = 0x20_c000;
const LOW_BITS: u64 = 0xff_ffff;

/// The pins that PWM0 comes out at: number, channel, function.
pub const PINS: [(u8, u8, Function); 4] =
    [(12, 0, Function::Alt0), (13, 1, Function::Alt0), (18, 0, Function::Alt5), (19, 1, Function::Alt5)];

static CLOCKS: Mutex<Option<Mmio>> = Mutex::new(None);
static PWM: Mutex<Option<Pwm<Mmio, Mmio, TaskPace>>> = Mutex::new(None);

/// Lets `use_it` have the block; nothing if the machine has none that is known.
pub fn with<T>(use_it: impl FnOnce(&mut Pwm<Mmio, Mmio, TaskPace>) -> T) -> Option<T> {
    PWM.lock().as_mut().map(use_it)
}

fn probe_clocks(device: &Device) -> Result<(), ProbeError> {
    *CLOCKS.lock() = Some(device.map_block(0, 0xa8)?);
    Ok(())
}

fn probe(device: &Device) -> Result<(), ProbeError> {
    if device.reg(0)?.start & LOW_BITS != PWM0 {
        return Err(ProbeError::new(format!("its pins are not known; those of PWM0, {PWM0:#x}, are")));
    }
    let clocks = CLOCKS.lock().take();
    let clocks = clocks.ok_or_else(|| ProbeError::new("there is no clock manager, brcm,bcm2711-cprman"))?;
    *PWM.lock() = Some(Pwm::new(device.map_block(0, 0x28)?, clocks, TaskPace));
    Ok(())
}
