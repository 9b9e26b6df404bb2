//! What the command `preempt-stats` is asked to do.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]
#![expect(
    clippy::result_large_err,
    reason = "a message takes no memory from the heap: it may be about having none"
)]

use crate::shell::command::Failure;
use crate::shell::units::parse_u64;

/// The largest budget: a second.
pub const BUDGET_MAX_US: u32 = 1_000_000;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start timing.
    On,
    /// Stop, and keep what was found.
    Off,
    /// Show it.
    Top,
    /// Forget it.
    Reset,
    /// Report sections that are longer, in microseconds; `None`: none.
    Budget(Option<u32>),
}

impl Order {
    /// From the words behind the command's name; none shows what was found.
    ///
    /// # Errors
    /// Names the word that is wrong, and what would be right.
    pub fn parse(args: &[&str]) -> Result<Self, Failure> {
        match args {
            [] | ["top"] => Ok(Self::Top),
            ["on"] => Ok(Self::On),
            ["off"] => Ok(Self::Off),
            ["reset"] => Ok(Self::Reset),
            ["budget", "off"] => Ok(Self::Budget(None)),
            ["budget", us] => match parse_u64(us).filter(|us| (1..=u64::from(BUDGET_MAX_US)).contains(us)) {
                Some(us) => Ok(Self::Budget(Some(us as u32))),
                None => Err(Failure::new(format_args!(
                    "budget {us}: microseconds from 1 to {BUDGET_MAX_US}, or off, were expected"
                ))),
            },
            ["budget"] => Err(Failure::new(format_args!(
                "budget: microseconds from 1 to {BUDGET_MAX_US}, or off, were expected behind it"
            ))),
            ["budget", _, word, ..] | ["on" | "off" | "top" | "reset", word, ..] => {
                Err(Failure::new(format_args!("{word}: nothing more was expected")))
            }
            [word, ..] => Err(Failure::new(format_args!(
                "{word}: on, off, top, reset or budget with microseconds was expected"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_understood() {
        assert_eq!(Order::parse(&[]), Ok(Order::Top));
        assert_eq!(Order::parse(&["on"]), Ok(Order::On));
        assert_eq!(Order::parse(&["off"]), Ok(Order::Off));
        assert_eq!(Order::parse(&["top"]), Ok(Order::Top));
        assert_eq!(Order::parse(&["reset"]), Ok(Order::Reset));
        assert_eq!(Order::parse(&["budget", "off"]), Ok(Order::Budget(None)));
        assert_eq!(Order::parse(&["budget", "150"]), Ok(Order::Budget(Some(150))));
    }

    #[test]
    fn a_wrong_word_is_named_with_what_would_be_right() {
        for (words, named, right) in [
            (&["banana"][..], "banana", "on, off, top, reset or budget"),
            (&["budget"], "budget", "microseconds from 1 to 1000000, or off"),
            (&["budget", "0"], "0", "microseconds from 1 to 1000000, or off"),
            (&["budget", "1000001"], "1000001", "microseconds from 1 to 1000000, or off"),
            (&["budget", "5us"], "5us", "microseconds from 1 to 1000000, or off"),
            (&["budget", "5", "now"], "now", "nothing more"),
            (&["top", "16"], "16", "nothing more"),
        ] {
            let text = std::format!("{}", Order::parse(words).unwrap_err());
            assert!(text.contains(named) && text.contains(right), "{words:?}: {text}");
        }
    }
}
