//! `spi`: sending bytes to a chip and showing what comes back, and a test of the bus with a wire.
#![forbid(unsafe_code)]

use embedded_hal::spi::{MODE_0, MODE_1, MODE_2, MODE_3, SpiDevice};

use super::i2c::byte;
use crate::drivers::bcm2711::spi::{CHIPS, Settings, SpiError};
use crate::drivers::bcm2711::spi_bus;
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::{Hz, parse_u64};

/// The most bytes of one command, and of the test: longer than the controller's FIFO.
const BYTES_MAX: usize = 100;
const HZ_MAX: u64 = 125_000_000;

impl From<SpiError> for Failure {
    fn from(error: SpiError) -> Self {
        Self::new(format_args!("{error}"))
    }
}

pub(super) fn spi(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let bus = spi_bus::get().ok_or_else(|| {
        Failure::new(format_args!(
            "this machine has no SPI bus that is known here (no brcm,bcm2835-spi that is okay)"
        ))
    })?;
    let (mut chip, mut settings) = (0, Settings { mode: MODE_0, hz: 1_000_000 });
    let mut rest = args;
    while let [first, behind @ ..] = rest {
        match first.split_once('=') {
            Some(("chip", number)) => chip = byte(number, CHIPS - 1, "a chip")?,
            Some(("mode", number)) => {
                settings.mode = [MODE_0, MODE_1, MODE_2, MODE_3][usize::from(byte(number, 3, "a mode")?)];
            }
            Some(("hz", number)) => {
                let hz = parse_u64(number).filter(|hz| (1..=HZ_MAX).contains(hz));
                settings.hz = hz.ok_or_else(|| {
                    Failure::new(format_args!("hz={number}: a number from 1 to {HZ_MAX} was expected"))
                })? as u32;
            }
            _ => break,
        }
        rest = behind;
    }
    let mut bus = bus.lock();
    let hz = bus.real_hz(settings.hz);
    let mut chip =
        bus.chip(chip, settings).ok_or_else(|| Failure::new(format_args!("there is no such chip")))?;
    match rest {
        [] => Err(Failure::new(format_args!(
            "[chip=0] [mode=0] [hz=1000000] and then loop, or bytes were expected"
        ))),
        ["loop"] => {
            let sent: [u8; BYTES_MAX] = core::array::from_fn(|at| (at as u8).wrapping_mul(37) ^ 0xa5);
            let mut back = sent;
            chip.transfer_in_place(&mut back)?;
            let wrong = sent.iter().zip(&back).filter(|(sent, back)| sent != back).count();
            if wrong > 0 {
                return Err(Failure::new(format_args!(
                    "{wrong} of {BYTES_MAX} bytes came back wrong; GPIO 10 (header pin 19) is to be wired to GPIO 9 (pin 21)"
                )));
            }
            writeln!(terminal, "{BYTES_MAX} bytes came back as they were sent, at {}", Hz(u64::from(hz)))?;
            Ok(())
        }
        values => {
            let mut bytes: heapless::Vec<u8, BYTES_MAX> = heapless::Vec::new();
            for value in values {
                let pushed = bytes.push(byte(value, u8::MAX, "a byte")?);
                pushed.map_err(|_| Failure::new(format_args!("more than {BYTES_MAX} bytes")))?;
            }
            chip.transfer_in_place(&mut bytes)?;
            for (at, byte) in bytes.iter().enumerate() {
                write!(terminal, "{}{byte:02x}", if at == 0 { "" } else { " " })?;
            }
            writeln!(terminal)?;
            Ok(())
        }
    }
}
