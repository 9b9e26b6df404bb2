//! `pwm`: pulses at a pin.
#![forbid(unsafe_code)]

use embedded_hal::pwm::SetDutyCycle;

use super::i2c::byte;
use crate::drivers::bcm2711::gpio::Pull;
use crate::drivers::bcm2711::gpio_pins::Pin;
use crate::drivers::bcm2711::pwm::{HZ_MAX, HZ_MIN, PwmError};
use crate::drivers::bcm2711::pwm_outputs::{self, PINS};
use crate::drivers::mmio::Mmio;
use crate::locking::Mutex;
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::{Hz, Ns, parse_u64};

/// The pins that have pulses.
static IN_USE: Mutex<heapless::Vec<Pin<'static, Mmio>, { PINS.len() }>> = Mutex::new(heapless::Vec::new());

impl From<PwmError> for Failure {
    fn from(error: PwmError) -> Self {
        Self::new(format_args!("{error}"))
    }
}

fn no_block() -> Failure {
    Failure::new(format_args!(
        "this machine has no PWM that is known here (no brcm,bcm2835-pwm that is okay)"
    ))
}

pub(super) fn pwm(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let mut in_use = IN_USE.lock();
    match args {
        ["off"] => {
            pwm_outputs::with(|pwm| pwm.stop()).ok_or_else(no_block)??;
            // Back to inputs, as they are out of a reset.
            in_use.drain(..).for_each(|pin| drop(pin.into_input(Pull::Down)));
            Ok(())
        }
        [pin, hz, percent] => {
            let number = byte(pin, u8::MAX, "a pin")?;
            let (number, channel, function) =
                PINS.into_iter().find(|&(known, ..)| known == number).ok_or_else(|| {
                    Failure::new(format_args!("{pin}: one of the pins 12, 13, 18 and 19 was expected"))
                })?;
            let hz = parse_u64(hz).and_then(|hz| u32::try_from(hz).ok()).ok_or_else(|| {
                Failure::new(format_args!("{hz}: a frequency from {HZ_MIN} to {HZ_MAX} was expected"))
            })?;
            let percent = byte(percent, 100, "a share")?;
            let timing = pwm_outputs::with(|pwm| -> Result<_, PwmError> {
                let timing = pwm.start(hz)?;
                if let Some(mut output) = pwm.channel(channel) {
                    output.set_duty_cycle_percent(percent)?;
                }
                Ok(timing)
            })
            .ok_or_else(no_block)??;
            if !in_use.iter().any(|pin| pin.number() == number) {
                let mut pin = super::gpio::pins()?.claim(number)?;
                pin.connect(function, Pull::None);
                // There is room for all there are.
                let _ = in_use.push(pin);
            }
            let (hz, tick_ns) = (timing.hz(), timing.tick_ns());
            writeln!(terminal, "pin {number}: {} in steps of {}", Hz(hz.into()), Ns(tick_ns))?;
            Ok(())
        }
        _ => Err(Failure::new(format_args!(
            "pin hz percent, or off, was expected: pwm 18 50 7 turns a servo; both channels have one frequency"
        ))),
    }
}
