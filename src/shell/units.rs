//! Quantities as people write and read them: times, sizes, rates.
//!
//! Everything is computed in integers: the kernel is built without floating point. All of these honour the
//! width and alignment of the format string, so they fit into tables.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

use core::fmt::{self, Write};
use heapless::String;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Long enough for every quantity of this file.
type Text = String<32>;

/// A measured time in nanoseconds, with three to four digits: `812 ns`, `14.2 us`, `3.05 ms`, `1.00 s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ns(pub u64);

impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0;
        let text = match ns {
            0..10_000 => text(format_args!("{ns} ns")),
            10_000..10_000_000 => scaled(ns, US, "us"),
            10_000_000..10_000_000_000 => scaled(ns, MS, "ms"),
            _ => scaled(ns, S, "s"),
        };
        f.pad(&text)
    }
}

/// A chosen time in nanoseconds, in the largest unit that says it exactly: `1ms`, `1500us`, `2s`. What
/// [`parse_ns`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExactNs(pub u64);

impl fmt::Display for ExactNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(S, "s"), (MS, "ms"), (US, "us")];
        let unit = units.iter().find(|(unit, _)| self.0 != 0 && self.0.is_multiple_of(*unit));
        let (unit, name) = unit.copied().unwrap_or((1, "ns"));
        f.pad(&text(format_args!("{}{name}", self.0 / unit)))
    }
}

/// A size in bytes: `812 B`, `64.0 KiB`, `127 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let text = match bytes {
            0..1024 => text(format_args!("{bytes} B")),
            1024..0x10_0000 => scaled(bytes, 1 << 10, "KiB"),
            0x10_0000..0x4000_0000 => scaled(bytes, 1 << 20, "MiB"),
            _ => scaled(bytes, 1 << 30, "GiB"),
        };
        f.pad(&text)
    }
}

/// A frequency: `250 Hz`, `62.5 MHz`, `1.00 GHz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hz(pub u64);

impl fmt::Display for Hz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hz = self.0;
        let text = match hz {
            0..10_000 => text(format_args!("{hz} Hz")),
            10_000..10_000_000_000 if hz.is_multiple_of(1_000_000) => {
                text(format_args!("{} MHz", hz / 1_000_000))
            }
            10_000..1_000_000 => scaled(hz, 1_000, "kHz"),
            1_000_000..1_000_000_000 => scaled(hz, 1_000_000, "MHz"),
            _ => scaled(hz, 1_000_000_000, "GHz"),
        };
        f.pad(&text)
    }
}

/// `part` of `whole` in per cent with one decimal: ` 12.5`. Nothing of nothing is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u64, pub u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = u128::from(self.1.max(1));
        let tenths = (u128::from(self.0) * 1000 + whole / 2) / whole;
        f.pad(&text(format_args!("{}.{}", tenths / 10, tenths % 10)))
    }
}

/// `value / unit` with three digits or more, rounded to nearest.
fn scaled(value: u64, unit: u64, name: &str) -> Text {
    let whole = value / unit;
    let decimals = match whole {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    let tens = 10u64.pow(decimals);
    let rounded = (u128::from(value) * u128::from(tens) + u128::from(unit) / 2) / u128::from(unit);
    let (whole, rest) = (rounded / u128::from(tens), rounded % u128::from(tens));
    match decimals {
        0 => text(format_args!("{whole} {name}")),
        width => text(format_args!("{whole}.{rest:0width$} {name}", width = width as usize)),
    }
}

fn text(what: fmt::Arguments<'_>) -> Text {
    let mut text = Text::new();
    // 32 bytes hold a u64, a separator and a unit; a longer one would be cut, not lost.
    let _ = text.write_fmt(what);
    text
}

/// Reads a time with its unit: `500us`, `1ms`, `2s`, `1.5ms`. Nothing if it is none, or does not fit.
#[must_use]
pub fn parse_ns(text: &str) -> Option<u64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "ns" => 1,
        "us" => US,
        "ms" => MS,
        "s" => S,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let mut ns = parse_u64(whole)?.checked_mul(unit)?;
    let mut part = unit;
    if fraction.is_empty() {
        return None;
    }
    for digit in fraction.chars() {
        part /= 10;
        ns = ns.checked_add(u64::from(digit.to_digit(10)?) * part)?;
    }
    Some(ns)
}

/// Reads a decimal number: digits and nothing else (no sign, which `str::parse` would take).
#[must_use]
pub fn parse_u64(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;

    #[test]
    fn a_measured_time_has_three_or_four_digits() {
        let shown = [0, 9_999, 10_000, 14_239, 999_999, 3_050_000, 12_345_678, 999_999_999, 61_000_000_000];
        let shown = shown.map(|ns| format!("{}", Ns(ns)));
        assert_eq!(
            shown,
            ["0 ns", "9999 ns", "10.0 us", "14.2 us", "1000 us", "3050 us", "12.3 ms", "1000 ms", "61.0 s"]
        );
    }

    #[test]
    fn a_chosen_time_is_said_exactly() {
        let shown = [1_000_000, 1_500_000, 1_000_000_000, 1_001, 0].map(|ns| format!("{}", ExactNs(ns)));
        assert_eq!(shown, ["1ms", "1500us", "1s", "1001ns", "0ns"]);
    }

    #[test]
    fn sizes_and_rates_read_like_those_of_other_systems() {
        assert_eq!(format!("{}", Bytes(65536)), "64.0 KiB");
        assert_eq!(format!("{}", Bytes(128 << 20)), "128 MiB");
        assert_eq!(format!("{}", Bytes(2 << 30)), "2.00 GiB");
        assert_eq!(format!("{}", Hz(62_500_000)), "62.5 MHz");
        assert_eq!(format!("{}", Hz(1_000_000_000)), "1000 MHz");
        assert_eq!(format!("{}", Hz(250)), "250 Hz");
        assert_eq!(format!("{}", Percent(1, 3)), "33.3");
        assert_eq!(format!("{}", Percent(0, 0)), "0.0");
    }

    #[test]
    fn quantities_keep_to_the_width_of_the_table() {
        assert_eq!(format!("[{:>9}]", Ns(812)), "[   812 ns]");
        assert_eq!(format!("[{:<9}]", Ns(812)), "[812 ns   ]");
    }

    #[test]
    fn times_are_read_with_their_unit() {
        let read = ["500us", "1ms", "1.5ms", "2s", "7ns", "0.25s"].map(parse_ns);
        assert_eq!(read, [500_000, 1_000_000, 1_500_000, 2_000_000_000, 7, 250_000_000].map(Some));
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for text in [
            "",
            "abc",
            "5",
            "ms",
            "-5ms",
            "+5ms",
            "5 ms",
            "1.ms",
            ".5ms",
            "5m",
            "99999999999999s",
            "1.x5ms",
            "5msx",
        ] {
            assert_eq!(parse_ns(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_exact_time_is_read_back(ns: u64) {
            prop_assert_eq!(parse_ns(&format!("{}", ExactNs(ns))), Some(ns));
        }

        #[test]
        fn no_quantity_is_cut_and_no_text_panics(value: u64, other: u64, text in "\\PC{0,12}") {
            for shown in [format!("{}", Ns(value)), format!("{}", Bytes(value)), format!("{}", Hz(value))] {
                prop_assert!(shown.ends_with(|c: char| c.is_ascii_alphabetic()), "{}", shown);
            }
            let percent = format!("{}", Percent(value, other));
            prop_assert!(percent.contains('.'));
            let _ = parse_ns(&text);
        }
    }
}
