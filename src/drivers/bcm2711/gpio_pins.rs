//! Pins that are somebody's: claimed by number, then an input, an output, or a device's, with the faces of embedded-hal.
//!
//! Invariant: a pin has one owner; the claim ends with the value. What the pin does stays as it is: an output keeps its
//! level.
//!
//! Context: threads; levels from any.
#![cfg_attr(not(target_os = "none"), forbid(unsafe_code))]

use core::convert::Infallible;

use embedded_hal::digital::{ErrorType, InputPin, OutputPin, StatefulOutputPin};

use super::gpio::{Edge, Edges, Function, Gpio, GpioError, Pull};
use crate::drivers::mmio::Registers;
use crate::sched::wait::Timeout;

/// A claimed pin.
pub struct Pin<'a, R: Registers> {
    gpio: &'a Gpio<R>,
    number: u8,
}

impl<R: Registers> Gpio<R> {
    /// Claims a pin.
    ///
    /// # Errors
    /// There is no such pin, or somebody has it.
    pub fn claim(&self, number: u8) -> Result<Pin<'_, R>, GpioError> {
        self.take(number)?;
        Ok(Pin { gpio: self, number })
    }
}

impl<R: Registers> Drop for Pin<'_, R> {
    fn drop(&mut self) {
        self.gpio.give_back(self.number);
    }
}

impl<'a, R: Registers> Pin<'a, R> {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Makes it an input.
    #[must_use]
    pub fn into_input(self, pull: Pull) -> Input<'a, R> {
        self.gpio.set_pull(self.number, pull);
        self.gpio.set_function(self.number, Function::Input);
        Input { pin: self, listens: None }
    }

    /// Makes it an output that drives low, or high: from its first moment.
    #[must_use]
    pub fn into_output(self, level: Level) -> Output<'a, R> {
        let mut output = Output { pin: self, level };
        output.drive(level);
        output.pin.gpio.set_function(output.pin.number, Function::Output);
        output
    }

    /// Gives it to a device.
    pub fn connect(&mut self, function: Function, pull: Pull) {
        self.gpio.set_pull(self.number, pull);
        self.gpio.set_function(self.number, function);
    }
}

/// What an output drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Ground.
    Low,
    /// 3.3 V.
    High,
}

/// A pin that is read, and waited for.
pub struct Input<'a, R: Registers> {
    pin: Pin<'a, R>,
    listens: Option<Edges>,
}

impl<R: Registers> Input<'_, R> {
    /// Sets the resistor.
    pub fn set_pull(&mut self, pull: Pull) {
        self.pin.gpio.set_pull(self.pin.number, pull);
    }

    /// Lets edges be noticed from now on; [`Self::wait`] has them one by one.
    ///
    /// # Errors
    /// [`GpioError::NoEdgeDetection`].
    pub fn listen(&mut self, edges: Edges) -> Result<(), GpioError> {
        self.listens = Some(edges);
        self.pin.gpio.listen(self.pin.number, edges)
    }

    /// Waits for an edge since [`Self::listen`], or since the last one that was waited for.
    ///
    /// # Errors
    /// [`crate::Error::TimedOut`] and [`crate::Error::WouldBlock`].
    pub fn wait(&mut self, timeout: Timeout) -> crate::Result<Edge> {
        self.pin.gpio.wait(self.pin.number, timeout)
    }

    /// Waits for an edge. Between two calls for the same edges none is lost, but those that come close together are one.
    ///
    /// # Errors
    /// [`GpioError::NoEdgeDetection`].
    pub fn wait_for_edge(&mut self, edges: Edges) -> Result<Edge, GpioError> {
        if self.listens != Some(edges) {
            self.listen(edges)?;
        }
        // Without a time it does not fail; the semaphore has no other error.
        Ok(self.wait(Timeout::Never).unwrap_or_default())
    }
}

impl<R: Registers> Drop for Input<'_, R> {
    fn drop(&mut self) {
        if self.listens.is_some() {
            self.pin.gpio.stop_listening(self.pin.number);
        }
    }
}

impl<R: Registers> ErrorType for Input<'_, R> {
    type Error = Infallible;
}

impl<R: Registers> InputPin for Input<'_, R> {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.pin.gpio.is_high(self.pin.number))
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.pin.gpio.is_high(self.pin.number))
    }
}

/// A pin that is driven.
pub struct Output<'a, R: Registers> {
    pin: Pin<'a, R>,
    level: Level,
}

impl<R: Registers> Output<'_, R> {
    /// Drives a level.
    #[inline]
    pub fn drive(&mut self, level: Level) {
        self.level = level;
        match level {
            Level::Low => self.pin.gpio.set_low(self.pin.number),
            Level::High => self.pin.gpio.set_high(self.pin.number),
        }
    }

    /// Stops driving: an input without a pull.
    pub fn release(self) {
        self.pin.gpio.set_pull(self.pin.number, Pull::None);
        self.pin.gpio.set_function(self.pin.number, Function::Input);
    }
}

impl<R: Registers> ErrorType for Output<'_, R> {
    type Error = Infallible;
}

impl<R: Registers> OutputPin for Output<'_, R> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.drive(Level::Low);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.drive(Level::High);
        Ok(())
    }
}

impl<R: Registers> StatefulOutputPin for Output<'_, R> {
    fn is_set_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.level == Level::High)
    }

    fn is_set_low(&mut self) -> Result<bool, Infallible> {
        Ok(self.level == Level::Low)
    }
}

#[cfg(target_os = "none")]
pub use device::{DRIVER, get, interrupt_of};

/// The pins of this machine.
#[cfg(target_os = "none")]
mod device {
    use super::super::gpio::{BANKS, Gpio};
    use crate::drivers::mmio::Mmio;
    use crate::drivers::platform::{Device, Driver, ProbeError};
    use crate::irq::{self, IrqFlags, IrqReturn};
    use crate::percpu::raw_smp_processor_id;

    /// The driver's row.
    pub const DRIVER: Driver = Driver { name: "gpio", compatible: &["brcm,bcm2711-gpio"], probe };

    static GPIO: spin::Once<Gpio<Mmio>> = spin::Once::new();
    /// The line of each bank.
    static INTERRUPTS: spin::Once<[u32; 3]> = spin::Once::new();

    /// The interrupt that edges of a pin come by.
    pub fn interrupt_of(pin: u8) -> Option<u32> {
        let bank = BANKS.iter().position(|bank| bank.contains(&pin))?;
        Some(INTERRUPTS.get()?[bank])
    }

    /// The pins, if the machine has some that are known.
    pub fn get() -> Option<&'static Gpio<Mmio>> {
        GPIO.get()
    }

    fn probe(device: &Device) -> Result<(), ProbeError> {
        if GPIO.get().is_some() {
            return Err(ProbeError::new("there is a GPIO block already"));
        }
        let interrupts = [device.interrupt(0)?, device.interrupt(1)?, device.interrupt(2)?];
        // The board's tree says 0xb4, which is the older chips' length and ends before the pulls.
        let regs = device.map_block(0, 0xf4)?;
        let gpio = GPIO.call_once(|| Gpio::new(regs));
        INTERRUPTS.call_once(|| interrupts.map(|interrupt| interrupt.intid));
        for (bank, interrupt) in interrupts.into_iter().enumerate() {
            debug_assert!(bank < BANKS.len());
            // Short and bounded, and its time is what counts: never a thread. For as long as the machine runs.
            let flags = IrqFlags::LEVEL | IrqFlags::NO_THREAD;
            let _ = irq::request_irq(interrupt.intid, flags, "gpio", move |_| {
                let (cycles, ticks) = (arch::pmu::cycles(), arch::timer::counter());
                let edge = gpio.handle(bank, cycles, ticks, raw_smp_processor_id());
                if edge { IrqReturn::Handled } else { IrqReturn::None }
            })?;
        }
        Ok(())
    }
}
