//! GPIO of the BCM2711: 58 pins, their function, level, pull and edge detection.
//!
//! This file is the block itself, every access by pin number; [`super::gpio_pins`] has pins that are somebody's, with the
//! faces of embedded-hal. Levels are set by registers that are written with ones (no read, no lock); function, pull and
//! edge enables share a word between pins and are changed under a lock. The pull registers are the BCM2711's own: the
//! sequence of the older chips does not exist here.
//!
//! An edge sets a bit in GPEDS, which holds the bank's interrupt line up until it is written with 1. The handler
//! ([`Gpio::handle`]) takes the time, clears, and wakes the pin's waiter. QEMU does not model edge detection: the enables
//! read back as 0, which [`Gpio::listen`] reports.
//!
//! Context: levels and [`Gpio::handle`] from any; the rest from threads. Lock: a leaf that masks interrupts.
//! Facts: BCM2711 ARM peripherals, chapter 5.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::drivers::mmio::Registers;
use crate::locking::{RawSpinLockIrqSave, Semaphore};

/// How many pins there are.
pub const PINS: u8 = 58;
/// The pins of each interrupt line.
pub const BANKS: [core::ops::RangeInclusive<u8>; 3] = [0..=27, 28..=45, 46..=57];

const GPFSEL0: usize = 0x00;
const GPSET0: usize = 0x1c;
const GPCLR0: usize = 0x28;
const GPLEV0: usize = 0x34;
const GPEDS0: usize = 0x40;
const GPREN0: usize = 0x4c;
const GPFEN0: usize = 0x58;
const GPIO_PUP_PDN_CNTRL_REG0: usize = 0xe4;

/// What a pin is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Function {
    /// The level can be read.
    Input = 0b000,
    /// The pin is driven.
    Output = 0b001,
    /// A device, by the table of alternate functions.
    Alt0 = 0b100,
    /// As above.
    Alt1 = 0b101,
    /// As above.
    Alt2 = 0b110,
    /// As above.
    Alt3 = 0b111,
    /// As above.
    Alt4 = 0b011,
    /// As above.
    Alt5 = 0b010,
}

impl Function {
    /// Alternate function number 0 to 5.
    #[must_use]
    pub const fn alternate(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Alt0,
            1 => Self::Alt1,
            2 => Self::Alt2,
            3 => Self::Alt3,
            4 => Self::Alt4,
            5 => Self::Alt5,
            _ => return None,
        })
    }

    const fn of_bits(bits: u32) -> Self {
        match bits & 0b111 {
            0b000 => Self::Input,
            0b001 => Self::Output,
            0b010 => Self::Alt5,
            0b011 => Self::Alt4,
            0b100 => Self::Alt0,
            0b101 => Self::Alt1,
            0b110 => Self::Alt2,
            _ => Self::Alt3,
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Alt0 => "alt0",
            Self::Alt1 => "alt1",
            Self::Alt2 => "alt2",
            Self::Alt3 => "alt3",
            Self::Alt4 => "alt4",
            Self::Alt5 => "alt5",
        })
    }
}

/// The resistor at a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Pull {
    /// None.
    None = 0b00,
    /// To the supply.
    Up = 0b01,
    /// To ground.
    Down = 0b10,
}

impl fmt::Display for Pull {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// Which edges wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edges {
    /// From low to high.
    Rising,
    /// From high to low.
    Falling,
    /// Both.
    Both,
}

/// What came at a pin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    /// When the handler began to see it: the cycle counter of its CPU.
    pub handler_cycles: u64,
    /// The same on the system's counter, in ticks.
    pub handler_ticks: u64,
    /// The CPU that took the interrupt.
    pub cpu: usize,
    /// Interrupts of the pin since the last that was waited for; more than one if the task was too slow.
    pub count: u32,
}

/// A pin that does not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpioError {
    /// There is no pin of this number.
    NoPin(u8),
    /// Somebody has it.
    Claimed(u8),
    /// The enables of edge detection do not stay set.
    NoEdgeDetection(u8),
}

impl fmt::Display for GpioError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NoPin(pin) => write!(f, "there is no pin {pin}; expected 0 to {}", PINS - 1),
            Self::Claimed(pin) => write!(f, "pin {pin} is in use"),
            Self::NoEdgeDetection(pin) => write!(
                f,
                "no edge interrupt: the enable of pin {pin} does not stay set (QEMU does not model edge detection)"
            ),
        }
    }
}

/// What the handler leaves for a pin's waiter.
struct Waiter {
    arrived: Semaphore,
    cycles: AtomicU64,
    ticks: AtomicU64,
    cpu: AtomicU32,
    /// Since the last that was waited for.
    count: AtomicU32,
}

/// The block.
pub struct Gpio<R> {
    regs: R,
    lock: RawSpinLockIrqSave<()>,
    /// Pins that are somebody's.
    claimed: AtomicU64,
    waiters: [Waiter; PINS as usize],
}

/// Where a pin is in registers with one bit for each.
const fn word(register: usize, pin: u8) -> (usize, u32) {
    (register + 4 * (pin as usize / 32), 1 << (pin % 32))
}

impl<R: Registers> Gpio<R> {
    /// The block behind `regs`.
    pub const fn new(regs: R) -> Self {
        Self {
            regs,
            lock: RawSpinLockIrqSave::new(()),
            claimed: AtomicU64::new(0),
            waiters: [const {
                Waiter {
                    arrived: Semaphore::with_limit(0, 1),
                    cycles: AtomicU64::new(0),
                    ticks: AtomicU64::new(0),
                    cpu: AtomicU32::new(0),
                    count: AtomicU32::new(0),
                }
            }; PINS as usize],
        }
    }

    /// What is behind the registers.
    #[cfg(test)]
    pub(super) fn regs(&self) -> &R {
        &self.regs
    }

    /// Takes a pin for somebody.
    pub(super) fn take(&self, pin: u8) -> Result<(), GpioError> {
        if pin >= PINS {
            return Err(GpioError::NoPin(pin));
        }
        let before = self.claimed.fetch_or(1 << pin, Ordering::Acquire);
        if before & 1 << pin == 0 { Ok(()) } else { Err(GpioError::Claimed(pin)) }
    }

    pub(super) fn give_back(&self, pin: u8) {
        self.claimed.fetch_and(!(1 << pin), Ordering::Release);
    }

    /// Whether somebody has the pin.
    pub fn is_claimed(&self, pin: u8) -> bool {
        self.claimed.load(Ordering::Relaxed) & 1 << pin != 0
    }

    /// What the pin is connected to.
    pub fn function(&self, pin: u8) -> Function {
        let (offset, shift) = (GPFSEL0 + 4 * (pin as usize / 10), 3 * u32::from(pin % 10));
        Function::of_bits(self.regs.read(offset) >> shift)
    }

    /// Connects the pin.
    pub fn set_function(&self, pin: u8, function: Function) {
        let (offset, shift) = (GPFSEL0 + 4 * (pin as usize / 10), 3 * u32::from(pin % 10));
        let _alone = self.lock.lock();
        self.regs.modify(offset, |word| word & !(0b111 << shift) | (function as u32) << shift);
    }

    /// The resistor; `None` for the bits that mean nothing.
    pub fn pull(&self, pin: u8) -> Option<Pull> {
        let (offset, shift) = pull_place(pin);
        match self.regs.read(offset) >> shift & 0b11 {
            0b00 => Some(Pull::None),
            0b01 => Some(Pull::Up),
            0b10 => Some(Pull::Down),
            _ => None,
        }
    }

    /// Sets the resistor.
    pub fn set_pull(&self, pin: u8, pull: Pull) {
        let (offset, shift) = pull_place(pin);
        let _alone = self.lock.lock();
        self.regs.modify(offset, |word| word & !(0b11 << shift) | (pull as u32) << shift);
    }

    /// Whether the pin is high.
    #[inline]
    pub fn is_high(&self, pin: u8) -> bool {
        let (offset, bit) = word(GPLEV0, pin);
        self.regs.read(offset) & bit != 0
    }

    /// What an output drives.
    #[inline]
    pub fn set_high(&self, pin: u8) {
        let (offset, bit) = word(GPSET0, pin);
        self.regs.write(offset, bit);
    }

    /// What an output drives.
    #[inline]
    pub fn set_low(&self, pin: u8) {
        let (offset, bit) = word(GPCLR0, pin);
        self.regs.write(offset, bit);
    }

    /// Lets edges of the pin interrupt from now on; what came before is forgotten.
    ///
    /// # Errors
    /// [`GpioError::NoEdgeDetection`].
    pub fn listen(&self, pin: u8, edges: Edges) -> Result<(), GpioError> {
        let (rising, bit) = word(GPREN0, pin);
        let (falling, _) = word(GPFEN0, pin);
        let (wants_rising, wants_falling) = (edges != Edges::Falling, edges != Edges::Rising);
        let alone = self.lock.lock();
        self.regs.write(word(GPEDS0, pin).0, bit);
        let set = |offset, on| {
            self.regs.modify(offset, |word| if on { word | bit } else { word & !bit });
            self.regs.read(offset) & bit != 0 || !on
        };
        let stays = set(rising, wants_rising) & set(falling, wants_falling);
        drop(alone);
        let waiter = &self.waiters[usize::from(pin)];
        waiter.count.store(0, Ordering::Relaxed);
        // One that was left from before.
        let _ = waiter.arrived.try_take();
        if stays { Ok(()) } else { Err(GpioError::NoEdgeDetection(pin)) }
    }

    /// Lets no edge of the pin interrupt any more.
    pub fn stop_listening(&self, pin: u8) {
        let (rising, bit) = word(GPREN0, pin);
        let (falling, _) = word(GPFEN0, pin);
        let _alone = self.lock.lock();
        self.regs.modify(rising, |word| word & !bit);
        self.regs.modify(falling, |word| word & !bit);
        self.regs.write(word(GPEDS0, pin).0, bit);
    }

    /// The interrupt of a bank: `now` and `cpu` are the handler's. Returns whether it was an edge. Bound: the bank's pins.
    pub fn handle(&self, bank: usize, cycles: u64, ticks: u64, cpu: usize) -> bool {
        let (first, last) = (*BANKS[bank].start(), *BANKS[bank].end());
        let ours: u64 = (1 << (last + 1)) - (1 << first);
        let mut any = false;
        for half in 0..2usize {
            let offset = GPEDS0 + 4 * half;
            let mine = (ours >> (32 * half)) as u32;
            if mine == 0 {
                continue;
            }
            let mut events = self.regs.read(offset) & mine;
            if events == 0 {
                continue;
            }
            any = true;
            // Before the waiters are woken: an edge that comes behind this sets it anew.
            self.regs.write(offset, events);
            while events != 0 {
                let pin = 32 * half + events.trailing_zeros() as usize;
                events &= events - 1;
                let waiter = &self.waiters[pin];
                waiter.cycles.store(cycles, Ordering::Relaxed);
                waiter.ticks.store(ticks, Ordering::Relaxed);
                waiter.cpu.store(cpu as u32, Ordering::Relaxed);
                waiter.count.fetch_add(1, Ordering::Relaxed);
                // Full: the waiter has not come for the last one, and finds the count.
                let _ = waiter.arrived.give();
            }
        }
        any
    }

    /// Waits for an edge of a pin that is listened to. One that came since the last wait is not lost.
    ///
    /// # Errors
    /// [`crate::Error::TimedOut`], or [`crate::Error::WouldBlock`] for [`Timeout::Now`](crate::sched::wait::Timeout::Now).
    pub fn wait(&self, pin: u8, timeout: crate::sched::wait::Timeout) -> crate::Result<Edge> {
        let waiter = &self.waiters[usize::from(pin)];
        waiter.arrived.take_timeout(timeout)?;
        Ok(Edge {
            handler_cycles: waiter.cycles.load(Ordering::Relaxed),
            handler_ticks: waiter.ticks.load(Ordering::Relaxed),
            cpu: waiter.cpu.load(Ordering::Relaxed) as usize,
            count: waiter.count.swap(0, Ordering::Relaxed),
        })
    }
}

/// Two bits for each pin, sixteen pins in a word.
const fn pull_place(pin: u8) -> (usize, u32) {
    (GPIO_PUP_PDN_CNTRL_REG0 + 4 * (pin as usize / 16), 2 * (pin as u32 % 16))
}

#[cfg(test)]
#[path = "gpio_tests.rs"]
mod tests;
