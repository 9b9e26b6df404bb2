//! `loopback out=17 in=27 [times=1000] [period=1ms] [load=none]`.
//!
//! Context: any; pure.

use core::ops::RangeInclusive;

use crate::drivers::bcm2711::gpio::PINS;
use crate::latency::params::Loads;
use crate::shell::command::Failure;
use crate::shell::units::{parse_ns, parse_u64};

/// The fewest and the most rounds.
pub const TIMES: RangeInclusive<u64> = 10..=10_000_000;
/// The shortest and the longest time between two rounds.
pub const PERIOD_NS: RangeInclusive<u64> = 100_000..=1_000_000_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// The pin that is driven.
    pub output: u8,
    /// The pin that is wired to it.
    pub input: u8,
    /// Rounds.
    pub times: u64,
    /// From one round to the next.
    pub period_ns: u64,
    /// What runs beside it.
    pub loads: Loads,
}

impl Params {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The first wrong word and what would be right.
    pub fn parse(args: &[&str]) -> Result<Self, Failure> {
        let (mut output, mut input) = (None, None);
        let (mut times, mut period_ns, mut loads) = (1000, 1_000_000, Loads::NONE);
        for arg in args {
            let wrong = |what: &str, range: [u64; 2]| {
                Failure::new(format_args!("{arg}: {what} from {} to {} was expected", range[0], range[1]))
            };
            let (key, value) = arg.split_once('=').unwrap_or((arg, ""));
            match key {
                "out" | "in" => {
                    let pin = parse_u64(value).filter(|&pin| pin < u64::from(PINS));
                    let pin = pin.ok_or_else(|| wrong("a pin", [0, u64::from(PINS) - 1]))? as u8;
                    *(if key == "out" { &mut output } else { &mut input }) = Some(pin);
                }
                "times" => {
                    times = parse_u64(value)
                        .filter(|times| TIMES.contains(times))
                        .ok_or_else(|| wrong("a number", [*TIMES.start(), *TIMES.end()]))?;
                }
                "period" => {
                    period_ns = parse_ns(value).filter(|ns| PERIOD_NS.contains(ns)).ok_or_else(|| {
                        Failure::new(format_args!("{arg}: a time from 100us to 1s was expected"))
                    })?;
                }
                "load" => {
                    loads = Loads::parse(value).map_err(|message| Failure::new(format_args!("{message}")))?;
                }
                _ => {
                    return Err(Failure::new(format_args!(
                        "{arg}: unknown; out=, in=, times=, period= and load= are known"
                    )));
                }
            }
        }
        match (output, input) {
            (Some(output), Some(input)) if output != input => {
                Ok(Self { output, input, times, period_ns, loads })
            }
            (Some(pin), Some(_)) => Err(Failure::new(format_args!(
                "out={pin} in={pin}: two pins were expected, with a wire between them"
            ))),
            _ => Err(Failure::new(format_args!(
                "out= and in= were expected: the pins that are wired, such as out=17 in=27"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn wrong(args: &[&str]) -> std::string::String {
        Params::parse(args).unwrap_err().to_string()
    }

    #[test]
    fn two_pins_are_enough() {
        let params = Params::parse(&["out=17", "in=27"]).unwrap();
        assert_eq!((params.output, params.input, params.times, params.period_ns), (17, 27, 1000, 1_000_000));
        assert_eq!(params.loads, Loads::NONE);
        let params = Params::parse(&["in=5", "out=6", "times=50", "period=2ms", "load=all"]).unwrap();
        assert_eq!((params.output, params.input, params.times, params.period_ns), (6, 5, 50, 2_000_000));
        assert_eq!(params.loads, Loads::ALL);
    }

    #[test]
    fn a_wrong_word_is_named_with_what_would_be_right() {
        assert_eq!(wrong(&["out=58"]), "out=58: a pin from 0 to 57 was expected");
        assert_eq!(wrong(&["in="]), "in=: a pin from 0 to 57 was expected");
        assert_eq!(wrong(&["times=3"]), "times=3: a number from 10 to 10000000 was expected");
        assert_eq!(wrong(&["period=1us"]), "period=1us: a time from 100us to 1s was expected");
        assert!(wrong(&["load=disk"]).contains("there is no load `disk`"));
        assert_eq!(wrong(&["17"]), "17: unknown; out=, in=, times=, period= and load= are known");
        assert!(wrong(&["out=17"]).starts_with("out= and in= were expected"));
        assert!(wrong(&["out=17", "in=17"]).contains("two pins were expected"));
    }
}
