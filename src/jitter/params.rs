//! What a measurement of gaps is asked to do: `cpu=3 for=10s threshold=1us prio=90`.
//!
//! A wrong word is refused with a message that names it and says what would be right; nothing is guessed.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

use crate::shell::command::Failure;
use crate::shell::units::{parse_ns, parse_u64};
use crate::smp::CpuMask;
use core::ops::RangeInclusive;

/// The shortest and the longest measurement.
pub const FOR_NS: RangeInclusive<u64> = 1_000_000..=3_600_000_000_000;
/// The smallest and the largest threshold.
pub const THRESHOLD_NS: RangeInclusive<u64> = 1..=1_000_000_000;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Where it measures.
    pub cpu: usize,
    /// For how long.
    pub for_ns: u64,
    /// A shorter gap is the loop's own; `None`: found out before.
    pub threshold_ns: Option<u64>,
    /// The real-time priority of the task that measures.
    pub prio: i32,
}

impl Params {
    /// Reads the words behind `jitter`. Without `cpu=` the first isolated CPU is taken, or else the last one that is online.
    ///
    /// # Errors
    /// Names the first wrong word.
    pub fn parse(args: &[&str], online: CpuMask, isolated: CpuMask) -> Result<Self, Failure> {
        let default = (online & isolated).first().or(online.iter().last()).unwrap_or(0);
        let mut params = Self { cpu: default, for_ns: 10_000_000_000, threshold_ns: None, prio: 90 };
        for arg in args {
            let wrong = |expected: &str| Failure::new(format_args!("{arg}: {expected} was expected"));
            match arg.split_once('=') {
                Some(("cpu", value)) => {
                    let cpu = parse_u64(value).and_then(|cpu| usize::try_from(cpu).ok());
                    params.cpu = cpu.filter(|&cpu| cpu < 64 && online.contains(cpu)).ok_or_else(|| {
                        Failure::new(format_args!("{arg}: a CPU that is online was expected: {online}"))
                    })?;
                }
                Some(("for", value)) => {
                    params.for_ns = parse_ns(value)
                        .filter(|ns| FOR_NS.contains(ns))
                        .ok_or_else(|| wrong("a time from 1ms to 3600s, such as for=10s,"))?;
                }
                Some(("threshold", value)) => {
                    let ns = parse_ns(value).filter(|ns| THRESHOLD_NS.contains(ns));
                    params.threshold_ns =
                        Some(ns.ok_or_else(|| wrong("a time from 1ns to 1s, such as threshold=1us,"))?);
                }
                Some(("prio", value)) => {
                    let prio = parse_u64(value).filter(|prio| (1..=99).contains(prio));
                    params.prio = prio.ok_or_else(|| wrong("a priority from 1 to 99"))? as i32;
                }
                _ => return Err(wrong("cpu=, for=, threshold= or prio=")),
            }
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::{CpuMask, Params};
    use std::string::{String, ToString};

    const FOUR: CpuMask = CpuMask::first_n(4);

    fn parse(args: &[&str]) -> Result<Params, String> {
        Params::parse(args, FOUR, CpuMask::NONE).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_first_isolated_cpu_is_measured_or_else_the_last_one() {
        assert_eq!(parse(&[]).unwrap().cpu, 3);
        assert_eq!(Params::parse(&[], FOUR, CpuMask::from_bits(0b110)).unwrap().cpu, 1);
        assert_eq!(Params::parse(&[], CpuMask::of(0), CpuMask::NONE).unwrap().cpu, 0);
    }

    #[test]
    fn every_word_is_understood() {
        let params = parse(&["cpu=2", "for=500ms", "threshold=1.5us", "prio=7"]).unwrap();
        assert_eq!(params, Params { cpu: 2, for_ns: 500_000_000, threshold_ns: Some(1500), prio: 7 });
    }

    #[test]
    fn a_wrong_word_names_itself_and_what_would_be_right() {
        assert_eq!(parse(&["cpu=4"]).unwrap_err(), "cpu=4: a CPU that is online was expected: 0-3");
        assert_eq!(parse(&["cpu=x"]).unwrap_err(), "cpu=x: a CPU that is online was expected: 0-3");
        assert_eq!(
            parse(&["for=5"]).unwrap_err(),
            "for=5: a time from 1ms to 3600s, such as for=10s, was expected"
        );
        assert_eq!(parse(&["prio=0"]).unwrap_err(), "prio=0: a priority from 1 to 99 was expected");
        assert_eq!(parse(&["3"]).unwrap_err(), "3: cpu=, for=, threshold= or prio= was expected");
    }
}
