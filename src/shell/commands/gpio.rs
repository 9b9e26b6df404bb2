//! `gpio`: the pins.
#![forbid(unsafe_code)]

use crate::Error;
use crate::drivers::bcm2711::gpio::{Edges, Function, Gpio, GpioError, PINS, Pull};
use crate::drivers::bcm2711::gpio_pins::{self, Level};
use crate::drivers::mmio::Mmio;
use crate::sched::wait::Timeout;
use crate::shell::command::Failure;
use crate::shell::terminal::Terminal;
use crate::shell::units::{Ns, parse_ns, parse_u64};
use crate::time;

/// How often a watch looks for Ctrl-C.
const POLL_NS: u64 = 100_000_000;
const WATCH_NS: u64 = 10_000_000_000;

impl From<GpioError> for Failure {
    fn from(error: GpioError) -> Self {
        Self::new(format_args!("{error}"))
    }
}

/// The pins of this machine.
///
/// # Errors
/// It has none that are known.
pub(crate) fn pins() -> Result<&'static Gpio<Mmio>, Failure> {
    gpio_pins::get().ok_or_else(|| {
        Failure::new(format_args!(
            "this machine has no pins that are known (no brcm,bcm2711-gpio in its tree)"
        ))
    })
}

/// The number of a pin.
///
/// # Errors
/// It is none.
pub(crate) fn pin_number(word: &str) -> Result<u8, Failure> {
    let number = parse_u64(word).and_then(|number| u8::try_from(number).ok()).filter(|&number| number < PINS);
    number.ok_or_else(|| Failure::new(format_args!("{word}: a pin from 0 to {} was expected", PINS - 1)))
}

pub(super) fn gpio(args: &[&str], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let gpio = pins()?;
    match args {
        [] => show(gpio, 0..PINS, terminal),
        ["read", pin] => {
            writeln!(terminal, "{}", u8::from(gpio.is_high(pin_number(pin)?)))?;
            Ok(())
        }
        ["set", pin, level] => {
            let level = match *level {
                "low" | "0" => Level::Low,
                "high" | "1" => Level::High,
                _ => return Err(Failure::new(format_args!("{level}: low, high, 0 or 1 was expected"))),
            };
            // The pin goes on driving it.
            drop(gpio.claim(pin_number(pin)?)?.into_output(level));
            Ok(())
        }
        ["input", pin] => {
            gpio.claim(pin_number(pin)?)?.connect(Function::Input, Pull::None);
            Ok(())
        }
        ["input", pin, pull] => {
            let pull = parse_pull(pull)?;
            gpio.claim(pin_number(pin)?)?.connect(Function::Input, pull);
            Ok(())
        }
        ["pull", pin, pull] => {
            let (pin, pull) = (gpio.claim(pin_number(pin)?)?, parse_pull(pull)?);
            gpio.set_pull(pin.number(), pull);
            Ok(())
        }
        ["alt", pin, number] => {
            let function = parse_u64(number).and_then(|n| u8::try_from(n).ok()).and_then(Function::alternate);
            let function = function
                .ok_or_else(|| Failure::new(format_args!("{number}: a function from 0 to 5 was expected")))?;
            let pin = gpio.claim(pin_number(pin)?)?;
            gpio.set_function(pin.number(), function);
            Ok(())
        }
        ["watch", pin, rest @ ..] => watch(gpio, pin_number(pin)?, rest, terminal),
        [pin] if pin.starts_with(|c: char| c.is_ascii_digit()) => {
            let pin = pin_number(pin)?;
            show(gpio, pin..pin + 1, terminal)
        }
        [word, ..] => Err(Failure::new(format_args!(
            "{word}: a pin, read, set, input, pull, alt or watch with a pin was expected; `help gpio` shows how"
        ))),
    }
}

fn parse_pull(word: &str) -> Result<Pull, Failure> {
    match word {
        "none" => Ok(Pull::None),
        "up" => Ok(Pull::Up),
        "down" => Ok(Pull::Down),
        _ => Err(Failure::new(format_args!("{word}: none, up or down was expected"))),
    }
}

fn show(gpio: &Gpio<Mmio>, pins: core::ops::Range<u8>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    writeln!(terminal, "{:>3} {:<8}{:<6}{:<5} OWNER", "PIN", "IS", "LEVEL", "PULL")?;
    for pin in pins {
        let pull = gpio.pull(pin).map_or("?", |pull| match pull {
            Pull::None => "none",
            Pull::Up => "up",
            Pull::Down => "down",
        });
        let owner = if gpio.is_claimed(pin) { "driver" } else { "-" };
        let level = if gpio.is_high(pin) { "high" } else { "low" };
        writeln!(terminal, "{pin:>3} {:<8}{level:<6}{pull:<5} {owner}", gpio.function(pin))?;
    }
    Ok(())
}

/// Shows edges of a pin as they come, each with the time to the one before.
fn watch(
    gpio: &'static Gpio<Mmio>,
    pin: u8,
    args: &[&str],
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    let (mut edges, mut for_ns) = (Edges::Both, WATCH_NS);
    for arg in args {
        match (*arg, arg.strip_prefix("for=")) {
            ("rising", _) => edges = Edges::Rising,
            ("falling", _) => edges = Edges::Falling,
            ("both", _) => edges = Edges::Both,
            (_, Some(time)) => {
                for_ns = parse_ns(time)
                    .ok_or_else(|| Failure::new(format_args!("{arg}: a time such as for=5s was expected")))?;
            }
            _ => {
                return Err(Failure::new(format_args!(
                    "{arg}: rising, falling, both or for=time was expected"
                )));
            }
        }
    }
    let pull = gpio.pull(pin).unwrap_or(Pull::None);
    let mut input = gpio.claim(pin)?.into_input(pull);
    input.listen(edges)?;
    let end_ns = time::now_ns().saturating_add(for_ns);
    let (mut seen, mut last_ns) = (0u64, None);
    while time::now_ns() < end_ns {
        if terminal.interrupted() {
            return Err(Failure::interrupted());
        }
        match input.wait(Timeout::Until(end_ns.min(time::now_ns() + POLL_NS))) {
            Ok(edge) => {
                seen += u64::from(edge.count);
                let at_ns = time::ticks_to_ns(edge.handler_ticks);
                let high = gpio.is_high(pin);
                write!(terminal, "{} on CPU {}", if high { "high" } else { "low" }, edge.cpu)?;
                if let Some(last) = last_ns.replace(at_ns) {
                    write!(terminal, ", {} after the one before", Ns(at_ns.saturating_sub(last)))?;
                }
                let more = if edge.count > 1 { ", the last of several" } else { "" };
                writeln!(terminal, "{more}")?;
            }
            Err(Error::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    writeln!(terminal, "{seen} edges")?;
    Ok(())
}
