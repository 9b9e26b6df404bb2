//! The PWM block of the chip (PWM0), and the clock that it counts.
//!
//! Two channels with a period and a pulse each, in ticks of one clock. That is an oscillator of 54 MHz, divided by the
//! clock manager: it is the board's crystal, so the frequency of an output does not move with the chip's speed. Pulses
//! are in one piece ("mark and space"), as motors and servos want them; the block could also spread them over the period.
//!
//! A new pulse takes effect with the next period: the block reads its registers then.
//!
//! Invariant: the clock manager's divisor changes only while its clock stands still, and each of its words is written with
//! its password.
//!
//! Context: threads; sleeps while a clock stops (some of its cycles). Locks: none; the owner has one around it. Facts:
//! BCM2835 ARM peripherals, chapters 6 (general purpose clocks) and 9 (PWM); the clock manager's words for PWM are at
//! 0xa0 and 0xa4. No emulator models any of it.
#![forbid(unsafe_code)]

use core::fmt;

use embedded_hal::pwm::{ErrorKind, ErrorType, SetDutyCycle};

use crate::drivers::mmio::Registers;
use crate::drivers::pace::Pace;

/// Of the PWM block. Channel 1 has PERIOD and PULSE here, channel 2 [`CHANNEL_STEP`] further on.
const CONTROL: usize = 0x00;
const PERIOD: usize = 0x10;
const PULSE: usize = 0x14;
const CHANNEL_STEP: usize = 0x10;
/// CONTROL, of channel 1; channel 2 has its bits [`CONTROL_STEP`] higher.
const ENABLE: u32 = 1 << 0;
const MARK_AND_SPACE: u32 = 1 << 7;
const CONTROL_STEP: u32 = 8;

/// Of the clock manager.
const CLOCK_CONTROL: usize = 0xa0;
const CLOCK_DIVISOR: usize = 0xa4;
const PASSWORD: u32 = 0x5a << 24;
const OSCILLATOR: u32 = 1;
const CLOCK_ENABLE: u32 = 1 << 4;
const CLOCK_BUSY: u32 = 1 << 7;

/// The board's crystal.
pub const OSCILLATOR_HZ: u32 = 54_000_000;
/// The divisor has twelve whole bits; 1 is not used, since not every clock of this kind can do it.
const DIVISOR_MIN: u32 = 2;
const DIVISOR_MAX: u32 = 4095;
/// Ticks of a period: as many as `SetDutyCycle` can say.
const TICKS_MAX: u32 = u16::MAX as u32;
/// A pulse can be set this finely at least.
const TICKS_MIN: u32 = 100;
/// The slowest clock stops within two of its cycles, 152 us.
const STOP_NS: u64 = 10_000_000;

/// Channels.
pub const CHANNELS: u8 = 2;

/// Why an output is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PwmError {
    /// A frequency that cannot be made.
    Frequency(u32),
    /// More ticks than the period has.
    Duty {
        /// What was asked for.
        duty: u16,
        /// The whole period.
        max: u16,
    },
    /// The clock manager's clock does not stop, or does not start; its control word.
    Clock(u32),
}

impl fmt::Display for PwmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frequency(hz) => write!(f, "{hz} Hz cannot be made; {HZ_MIN} to {HZ_MAX} can"),
            Self::Duty { duty, max } => write!(f, "a pulse of {duty} ticks; the period has {max}"),
            Self::Clock(control) => write!(f, "the clock of the PWM does not obey, control {control:#x}"),
        }
    }
}

impl core::error::Error for PwmError {}

impl embedded_hal::pwm::Error for PwmError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The lowest frequency: 54 MHz / 4095 / 65535 is 0.2 Hz.
pub const HZ_MIN: u32 = 1;
/// The highest one: at least a hundred ticks are a period.
pub const HZ_MAX: u32 = OSCILLATOR_HZ / DIVISOR_MIN / TICKS_MIN;

/// A frequency as the block makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The oscillator is divided by this.
    pub divisor: u32,
    /// Ticks of a period.
    pub ticks: u16,
}

impl Timing {
    /// The frequency that it makes, to the nearest Hz.
    #[must_use]
    pub fn hz(self) -> u32 {
        let ticks = self.divisor * u32::from(self.ticks);
        (OSCILLATOR_HZ + ticks / 2) / ticks
    }

    /// The length of a tick in nanoseconds.
    #[must_use]
    pub fn tick_ns(self) -> u64 {
        u64::from(self.divisor) * 1_000_000_000 / u64::from(OSCILLATOR_HZ)
    }

    /// The finest timing for `hz`: the smallest divisor with which a period has few enough ticks.
    ///
    /// 50 Hz (a servo): 54 MHz / 17 / 63529 = 50.0003 Hz, a tick is 315 ns. 1 kHz: 54 MHz / 2 / 27000. 20 kHz (a fan):
    /// 54 MHz / 2 / 1350.
    ///
    /// # Errors
    /// [`PwmError::Frequency`].
    pub fn of(hz: u32) -> Result<Self, PwmError> {
        if !(HZ_MIN..=HZ_MAX).contains(&hz) {
            return Err(PwmError::Frequency(hz));
        }
        let divisor = OSCILLATOR_HZ.div_ceil(hz.saturating_mul(TICKS_MAX)).clamp(DIVISOR_MIN, DIVISOR_MAX);
        let ticks = (OSCILLATOR_HZ / divisor + hz / 2) / hz;
        u16::try_from(ticks).map(|ticks| Self { divisor, ticks }).map_err(|_| PwmError::Frequency(hz))
    }
}

/// The block, with the clock manager's two words for it.
#[derive(Debug)]
pub struct Pwm<R, C, P> {
    regs: R,
    clocks: C,
    pace: P,
    /// While the clock runs.
    timing: Option<Timing>,
}

impl<R: Registers, C: Registers, P: Pace> Pwm<R, C, P> {
    /// A block that nothing is known of; it is not touched before [`Pwm::start`]. `clocks` is the clock manager.
    pub fn new(regs: R, clocks: C, pace: P) -> Self {
        Self { regs, clocks, pace, timing: None }
    }

    /// Sets the frequency of both channels, which are silent then; or nothing, if it is their frequency already.
    ///
    /// # Errors
    /// [`PwmError::Frequency`], [`PwmError::Clock`].
    pub fn start(&mut self, hz: u32) -> Result<Timing, PwmError> {
        let timing = Timing::of(hz)?;
        if self.timing == Some(timing) {
            return Ok(timing);
        }
        self.stop()?;
        // Twelve whole bits and twelve of a fraction, which would make some periods longer than others.
        self.clocks.write(CLOCK_DIVISOR, PASSWORD | timing.divisor << 12);
        self.clock(OSCILLATOR | CLOCK_ENABLE, CLOCK_BUSY)?;
        // Whatever was left on by others. Only now: a machine without the block has no clock for it either.
        self.regs.write(CONTROL, 0);
        self.timing = Some(timing);
        Ok(timing)
    }

    /// Stops both channels, and the clock.
    ///
    /// # Errors
    /// [`PwmError::Clock`].
    pub fn stop(&mut self) -> Result<(), PwmError> {
        if self.timing.take().is_some() {
            self.regs.write(CONTROL, 0);
        }
        self.clock(OSCILLATOR, 0)
    }

    /// An output, 0 or 1. Nothing if there is no such channel.
    pub fn channel(&mut self, number: u8) -> Option<Channel<'_, R, C, P>> {
        (number < CHANNELS).then_some(Channel { pwm: self, number })
    }

    /// Writes the clock's control word and waits until it is busy, or no longer.
    fn clock(&self, control: u32, busy: u32) -> Result<(), PwmError> {
        self.clocks.write(CLOCK_CONTROL, PASSWORD | control);
        let done =
            self.pace.wait(STOP_NS, || (self.clocks.read(CLOCK_CONTROL) & CLOCK_BUSY == busy).then_some(()));
        done.ok_or_else(|| PwmError::Clock(self.clocks.read(CLOCK_CONTROL)))
    }
}

/// An output of the block.
#[derive(Debug)]
pub struct Channel<'a, R, C, P> {
    pwm: &'a mut Pwm<R, C, P>,
    number: u8,
}

impl<R, C, P> ErrorType for Channel<'_, R, C, P> {
    type Error = PwmError;
}

impl<R: Registers, C: Registers, P: Pace> SetDutyCycle for Channel<'_, R, C, P> {
    /// Ticks of a period; 0 before [`Pwm::start`].
    fn max_duty_cycle(&self) -> u16 {
        self.pwm.timing.map_or(0, |timing| timing.ticks)
    }

    /// Sets the pulse, in ticks; the output starts with the first one.
    fn set_duty_cycle(&mut self, duty: u16) -> Result<(), PwmError> {
        let max = self.max_duty_cycle();
        if duty > max || max == 0 {
            return Err(PwmError::Duty { duty, max });
        }
        let at = usize::from(self.number) * CHANNEL_STEP;
        self.pwm.regs.write(PERIOD + at, max.into());
        self.pwm.regs.write(PULSE + at, duty.into());
        let bits = (ENABLE | MARK_AND_SPACE) << (u32::from(self.number) * CONTROL_STEP);
        self.pwm.regs.modify(CONTROL, |control| control | bits);
        Ok(())
    }
}

#[cfg(test)]
#[path = "pwm_tests.rs"]
mod tests;
