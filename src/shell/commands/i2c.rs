//! `i2c`: who is on a bus, and reading and writing there.
#![forbid(unsafe_code)]

use embedded_hal::i2c::I2c;

use crate::drivers::bcm2711::i2c::{ADDRESS_MAX, I2cError};
use crate::drivers::bcm2711::i2c_buses::{self, Bus};
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::{Hz, parse_u64};

/// Addresses that are not for a special purpose.
const SCANNED: core::ops::RangeInclusive<u8> = 0x08..=0x77;
/// The most bytes of one command.
const BYTES_MAX: usize = 64;

impl From<I2cError> for Failure {
    fn from(error: I2cError) -> Self {
        Self::new(format_args!("{error}"))
    }
}

pub(super) fn i2c(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let (number, args) = match args {
        [first, rest @ ..] => match first.strip_prefix("bus=") {
            Some(number) => (byte(number, u8::MAX, "the number of a bus")?, rest),
            None => (0, args),
        },
        [] => return list(terminal),
    };
    let bus = i2c_buses::get(number.into()).ok_or_else(|| match number {
        0 => no_bus(),
        _ => Failure::new(format_args!("bus={number}: there is no such bus; i2c lists them")),
    })?;
    match args {
        ["scan"] => scan(bus, terminal),
        ["read", address, count] => read(bus, address, count, None, terminal),
        ["read", address, count, "from", register] => read(bus, address, count, Some(register), terminal),
        ["write", address, values @ ..] if !values.is_empty() => write(bus, address, values),
        _ => Err(Failure::new(format_args!(
            "[bus=0] and then scan, read address count [from register], or write address byte… was expected"
        ))),
    }
}

fn no_bus() -> Failure {
    Failure::new(format_args!(
        "this machine has no I2C bus that is known here (no brcm,bcm2835-i2c that is okay)"
    ))
}

fn list(terminal: &mut dyn Terminal) -> Result<(), Failure> {
    for number in 0.. {
        match i2c_buses::get(number) {
            Some(bus) => {
                let hz = bus.controller.lock().bus_hz();
                writeln!(terminal, "{number}  {}  {}", bus.name, Hz(u64::from(hz)))?;
            }
            None if number == 0 => return Err(no_bus()),
            None => break,
        }
    }
    Ok(())
}

/// Reads a byte at every address: harmless for nearly every device, where a write might mean something.
fn scan(bus: &Bus, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let mut found = 0;
    for address in SCANNED {
        if terminal.interrupted() {
            return Err(Failure::interrupted());
        }
        // Between two addresses others may have the bus.
        match bus.controller.lock().read(address, &mut [0]) {
            Ok(()) => {
                found += 1;
                writeln!(terminal, "{address:#04x}")?;
            }
            Err(I2cError::NotAcknowledged(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    writeln!(terminal, "{found} found on {}", bus.name)?;
    Ok(())
}

fn read(
    bus: &Bus,
    address: &str,
    count: &str,
    register: Option<&str>,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    let address = byte(address, ADDRESS_MAX, "an address")?;
    let count = parse_u64(count).filter(|count| (1..=BYTES_MAX as u64).contains(count)).ok_or_else(|| {
        Failure::new(format_args!("{count}: a number of bytes from 1 to {BYTES_MAX} was expected"))
    })?;
    let mut bytes = [0; BYTES_MAX];
    let bytes = &mut bytes[..count as usize];
    match register {
        Some(register) => {
            let register = byte(register, u8::MAX, "the number of a register")?;
            bus.controller.lock().write_read(address, &[register], bytes)?;
        }
        None => bus.controller.lock().read(address, bytes)?,
    }
    for line in bytes.chunks(16) {
        for (at, byte) in line.iter().enumerate() {
            write!(terminal, "{}{byte:02x}", if at == 0 { "" } else { " " })?;
        }
        writeln!(terminal)?;
    }
    Ok(())
}

fn write(bus: &Bus, address: &str, values: &[&str]) -> Result<(), Failure> {
    let address = byte(address, ADDRESS_MAX, "an address")?;
    let mut bytes: heapless::Vec<u8, BYTES_MAX> = heapless::Vec::new();
    for value in values {
        let pushed = bytes.push(byte(value, u8::MAX, "a byte")?);
        pushed.map_err(|_| Failure::new(format_args!("more than {BYTES_MAX} bytes")))?;
    }
    bus.controller.lock().write(address, &bytes)?;
    Ok(())
}

/// A number up to `most`, decimal or with 0x.
pub(super) fn byte(word: &str, most: u8, what: &str) -> Result<u8, Failure> {
    let number = match word.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u8::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => parse_u64(word).and_then(|number| number.try_into().ok()),
    };
    number.filter(|&number| number <= most).ok_or_else(|| {
        Failure::new(format_args!("{word}: {what} from 0 to {most:#x} was expected, in decimal or with 0x"))
    })
}
