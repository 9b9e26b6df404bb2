//! What a latency run is asked to do: `period=1ms fragments=1000 load=all burn=0 blame`.
//!
//! A wrong word is refused with a message that names it and says what would be right; nothing is guessed.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]
#![expect(
    clippy::result_large_err,
    reason = "a message takes no memory from the heap: it may be about having none"
)]

use crate::shell::units::{ExactNs, parse_ns, parse_u64};
use crate::shell::words;
use core::fmt::{self, Write};
use heapless::String;

/// The shortest and the longest period.
pub const PERIOD_NS: core::ops::RangeInclusive<u64> = 50_000..=1_000_000_000;
/// The fewest and the most fragments.
pub const FRAGMENTS: core::ops::RangeInclusive<u64> = 10..=100_000_000;
/// The most of a fragment that may be burned, in per cent: something must be left for the loads.
pub const BURN_MAX_PERCENT: u64 = 90;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Bulk copies under a mutex that two tasks fight for, and short spin-lock sections.
    Memcpy,
    /// Allocations and frees of all sizes in no order.
    Alloc,
    /// Lines on the console.
    Console,
    /// Timers that are started, cancelled, and due all at once.
    Timer,
    /// Messages through a small queue, between two tasks that keep waking each other.
    Message,
    /// Tasks that are made, run and end.
    Task,
    /// Tasklets and soft timers, many at once.
    Softirq,
    /// Interrupts whose driver is a thread.
    Irqthread,
    /// A chain of mutexes, whose owners are boosted again and again.
    Pi,
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Memcpy,
        Self::Alloc,
        Self::Console,
        Self::Timer,
        Self::Message,
        Self::Task,
        Self::Softirq,
        Self::Irqthread,
        Self::Pi,
    ];

    /// The name, as it is typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memcpy => "memcpy",
            Self::Alloc => "alloc",
            Self::Console => "console",
            Self::Timer => "timer",
            Self::Message => "message",
            Self::Task => "task",
            Self::Softirq => "softirq",
            Self::Irqthread => "irqthread",
            Self::Pi => "pi",
        }
    }
}

/// A set of loads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loads(u16);

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Length of a fragment.
    pub period_ns: u64,
    /// Number of fragments of one run.
    pub fragments: u64,
    /// Part of each fragment that the measuring task computes, as a synthesiser would.
    pub burn_percent: u64,
    /// What runs beside it.
    pub loads: Loads,
    /// Not one run with all of `loads`, but one without any, one with each, and one with all.
    pub each: bool,
    /// Each new worst wake-up is explained, from the trace.
    pub blame: bool,
}

/// What was wrong with the arguments, in words.
pub type Message = String<192>;

impl Default for Params {
    fn default() -> Self {
        Self {
            period_ns: 1_000_000,
            fragments: 1000,
            burn_percent: 0,
            loads: Loads::ALL,
            each: false,
            blame: false,
        }
    }
}

impl Loads {
    /// No load.
    pub const NONE: Self = Self(0);
    /// Every load there is.
    pub const ALL: Self = Self((1 << Load::ALL.len()) - 1);

    /// One load.
    #[must_use]
    pub const fn only(load: Load) -> Self {
        Self(1 << load as u16)
    }

    /// Whether `load` is one of them.
    #[must_use]
    pub const fn contains(self, load: Load) -> bool {
        self.0 & 1 << load as u16 != 0
    }

    /// The loads, in their order.
    pub fn iter(self) -> impl Iterator<Item = Load> {
        Load::ALL.into_iter().filter(move |&load| self.contains(load))
    }

    /// Reads a list of loads.
    ///
    /// # Errors
    /// The first word that is none, and what would be right.
    pub fn parse(text: &str) -> Result<Self, Message> {
        let mut loads = Self::NONE;
        for word in text.split(',') {
            let load = Load::ALL.into_iter().find(|load| load.name() == word);
            match load {
                Some(load) => loads.0 |= Self::only(load).0,
                None if word == "all" => loads = Self::ALL,
                None if word == "none" && text == "none" => {}
                None => return Err(unknown_load(text, word)),
            }
        }
        Ok(loads)
    }
}

fn unknown_load(text: &str, word: &str) -> Message {
    let mut right: String<96> = String::new();
    for load in Load::ALL {
        // Nine short names fit.
        let _ = write!(right, ", {}", load.name());
    }
    match words::closest(word, Load::ALL.into_iter().map(Load::name)) {
        Some(meant) => message(format_args!("load={text}: there is no load `{word}`; did you mean {meant}?")),
        None => message(format_args!(
            "load={text}: there is no load `{word}`; all, none, each, or a list of: {}",
            &right[2..]
        )),
    }
}

/// `all`, `none`, or the names joined by commas, as they are typed.
impl fmt::Display for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.pad("all");
        }
        if *self == Self::NONE {
            return f.pad("none");
        }
        let mut text: String<64> = String::new();
        for load in self.iter() {
            let comma = if text.is_empty() { "" } else { "," };
            // Nine short names fit.
            let _ = write!(text, "{comma}{}", load.name());
        }
        f.pad(&text)
    }
}

impl Params {
    /// Reads the arguments of the `latency` command.
    ///
    /// # Errors
    /// The first wrong word and what would be right.
    pub fn parse(args: &[&str]) -> Result<Self, Message> {
        let mut params = Self::default();
        for arg in args {
            if *arg == "blame" {
                params.blame = true;
                continue;
            }
            let Some((key, value)) = arg.split_once('=') else {
                return Err(message(format_args!(
                    "{arg}: blame, or key=value with the key period, fragments, load or burn was expected"
                )));
            };
            match key {
                "period" => params.period_ns = period(value)?,
                "fragments" => params.fragments = fragments(value)?,
                "burn" => params.burn_percent = burn(value)?,
                "load" => {
                    params.each = value == "each";
                    params.loads = if params.each { Loads::ALL } else { Loads::parse(value)? };
                }
                _ => {
                    return Err(message(format_args!(
                        "{arg}: unknown; period=, fragments=, load= and burn= are known"
                    )));
                }
            }
        }
        Ok(params)
    }
}

fn period(value: &str) -> Result<u64, Message> {
    match parse_ns(value) {
        Some(ns) if PERIOD_NS.contains(&ns) => Ok(ns),
        found => Err(message(format_args!(
            "period={value}: {} ({}..{})",
            if found.is_some() {
                "too short or too long"
            } else {
                "a time such as 500us or 1ms was expected"
            },
            ExactNs(*PERIOD_NS.start()),
            ExactNs(*PERIOD_NS.end())
        ))),
    }
}

fn fragments(value: &str) -> Result<u64, Message> {
    parse_u64(value).filter(|n| FRAGMENTS.contains(n)).ok_or_else(|| {
        message(format_args!(
            "fragments={value}: a number from {} to {} was expected",
            FRAGMENTS.start(),
            FRAGMENTS.end()
        ))
    })
}

fn burn(value: &str) -> Result<u64, Message> {
    let number = value.strip_suffix('%').unwrap_or(value);
    parse_u64(number).filter(|&percent| percent <= BURN_MAX_PERCENT).ok_or_else(|| {
        message(format_args!(
            "burn={value}: a part of the fragment from 0% to {BURN_MAX_PERCENT}% was expected"
        ))
    })
}

fn message(what: fmt::Arguments<'_>) -> Message {
    let mut clipped = Message::new();
    let mut writer = Clip(&mut clipped);
    // Never fails: it clips.
    let _ = writer.write_fmt(what);
    clipped
}

/// Keeps what fits: the wrong word may be of any length.
struct Clip<'a>(&'a mut Message);

impl Write for Clip<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.0.push(c).is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;

    fn wrong(arg: &str) -> std::string::String {
        Params::parse(&[arg]).unwrap_err().as_str().into()
    }

    #[test]
    fn without_arguments_it_is_a_thousand_fragments_of_a_millisecond_under_every_load() {
        let params = Params::parse(&[]).unwrap();
        assert_eq!((params.period_ns, params.fragments, params.burn_percent), (1_000_000, 1000, 0));
        assert!(params.loads == Loads::ALL && !params.each);
    }

    #[test]
    fn every_argument_is_understood() {
        let params =
            Params::parse(&["period=500us", "fragments=200", "load=memcpy,timer", "burn=80%"]).unwrap();
        assert_eq!((params.period_ns, params.fragments, params.burn_percent), (500_000, 200, 80));
        assert_eq!(format!("{}", params.loads), "memcpy,timer");
        assert_eq!(Params::parse(&["load=none"]).unwrap().loads, Loads::NONE);
        assert!(Params::parse(&["load=each"]).unwrap().each);
        assert!(Params::parse(&["load=all", "blame"]).unwrap().blame && !params.blame);
    }

    #[test]
    fn a_wrong_value_is_named_with_what_would_be_right() {
        assert_eq!(wrong("period=abc"), "period=abc: a time such as 500us or 1ms was expected (50us..1s)");
        assert_eq!(wrong("period=1us"), "period=1us: too short or too long (50us..1s)");
        assert_eq!(wrong("fragments=0"), "fragments=0: a number from 10 to 100000000 was expected");
        assert_eq!(wrong("burn=100"), "burn=100: a part of the fragment from 0% to 90% was expected");
        assert_eq!(wrong("load=memcopy"), "load=memcopy: there is no load `memcopy`; did you mean memcpy?");
        assert!(
            wrong("load=disk").ends_with(
                "or a list of: memcpy, alloc, console, timer, message, task, softirq, irqthread, pi"
            )
        );
        assert!(wrong("load=").starts_with("load=: there is no load ``"));
        assert!(wrong("load=none,alloc").contains("`none`"));
        assert_eq!(
            wrong("fast"),
            "fast: blame, or key=value with the key period, fragments, load or burn was expected"
        );
        assert_eq!(wrong("perod=1ms"), "perod=1ms: unknown; period=, fragments=, load= and burn= are known");
    }

    #[test]
    fn a_long_wrong_word_is_clipped() {
        assert!(wrong(&format!("period={}", "x".repeat(500))).len() <= 192);
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_in_range(args in proptest::collection::vec("(period|fragments|load|burn)=[a-z0-9.,%]{0,6}", 0..4)) {
            let args: std::vec::Vec<&str> = args.iter().map(|arg| arg.as_str()).collect();
            if let Ok(params) = Params::parse(&args) {
                prop_assert!(PERIOD_NS.contains(&params.period_ns) && FRAGMENTS.contains(&params.fragments));
                prop_assert!(params.burn_percent <= BURN_MAX_PERCENT);
            }
        }

        #[test]
        fn the_name_of_a_set_of_loads_is_read_back(bits in 0u16..1 << Load::ALL.len()) {
            let loads = Loads(bits);
            prop_assert_eq!(Loads::parse(&format!("{loads}")).unwrap(), loads);
        }
    }
}
