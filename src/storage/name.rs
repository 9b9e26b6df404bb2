//! Names of files: eight letters, a dot, three letters; and the row `LAT00001.TXT`, `LAT00002.TXT`, …
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

use core::fmt::{self, Write};

use heapless::String;

/// The last number of the row.
pub const LAST: u32 = 99_999;
const PREFIX: &str = "LAT";
const SUFFIX: &str = ".TXT";

/// A name as FAT keeps it, in capitals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String<12>);

impl FileName {
    /// A name that a person gave: 1 to 8 letters, digits, `-` or `_`, and maybe a dot and 1 to 3 more; `.TXT` is added
    /// if there is none. Nothing if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (stem, extension) = text.split_once('.').unwrap_or((text, "TXT"));
        let fits = |part: &str, most| {
            (1..=most).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if !fits(stem, 8) || !fits(extension, 3) {
            return None;
        }
        let mut name = String::new();
        // Twelve bytes at most, as was just checked.
        write!(name, "{stem}.{extension}").ok()?;
        name.make_ascii_uppercase();
        Some(Self(name))
    }

    /// Number `number` of the row; nothing behind [`LAST`].
    #[must_use]
    pub fn numbered(number: u32) -> Option<Self> {
        let mut name = String::new();
        (number <= LAST).then_some(())?;
        write!(name, "{PREFIX}{number:05}{SUFFIX}").ok()?;
        Some(Self(name))
    }

    /// The number of a name, if it is one of the row.
    #[must_use]
    pub fn number(name: &str) -> Option<u32> {
        let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        if digits.len() == 5 { crate::shell::units::parse_u64(digits)?.try_into().ok() } else { None }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn names_are_put_into_capitals_and_get_an_extension() {
        let shown = ["run1", "Idle-2.txt", "a_b.c", "12345678.123"]
            .map(|text| FileName::parse(text).unwrap().to_string());
        assert_eq!(shown, ["RUN1.TXT", "IDLE-2.TXT", "A_B.C", "12345678.123"]);
    }

    #[test]
    fn what_fat_cannot_keep_is_no_name() {
        for text in ["", ".", ".txt", "a.", "123456789", "a.txte", "a.b.c", "a b", "../x", "a/b", "ä", "x*"]
        {
            assert_eq!(FileName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_row_ends_at_its_last_number() {
        assert_eq!(FileName::numbered(7).unwrap().as_str(), "LAT00007.TXT");
        assert_eq!(FileName::numbered(LAST).unwrap().as_str(), "LAT99999.TXT");
        assert_eq!(FileName::numbered(LAST + 1), None);
        assert_eq!(
            ["LAT00042.TXT", "LAT42.TXT", "LAT+0042.TXT", "RUN00042.TXT"].map(FileName::number),
            [Some(42), None, None, None]
        );
    }
}
