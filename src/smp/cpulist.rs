//! Reading sets of CPUs as people write them: Linux's CPU lists, `1-3,5`.
//!
//! A list is numbers and ranges between commas, in any order; what is named twice is in it once. Blanks, signs, empty
//! pieces and ranges that run backwards are refused: a typing error in a boot argument is to be told, not guessed at.
//!
//! Context: any, pure. Bound: linear in the text.
#![forbid(unsafe_code)]

use core::fmt;

use super::CpuMask;
use crate::MAX_CPUS;

/// What a text is that is no list of CPUs. Prints as what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCpuList;

impl fmt::Display for NoCpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU numbers and ranges from 0 to {}, such as 1-3,5", MAX_CPUS - 1)
    }
}

impl CpuMask {
    /// The CPUs of a list such as `1-3,5`.
    ///
    /// # Errors
    /// [`NoCpuList`], which says what was expected, also for the empty text.
    pub fn parse_list(text: &str) -> Result<Self, NoCpuList> {
        let mut mask = Self::NONE;
        for piece in text.split(',') {
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(NoCpuList);
            }
            mask = (first..=last).fold(mask, Self::with);
        }
        Ok(mask)
    }
}

/// Digits and nothing else: `str::parse` would take a sign.
fn number(text: &str) -> Result<usize, NoCpuList> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.filter(|&cpu| cpu < MAX_CPUS).ok_or(NoCpuList)
}

#[cfg(test)]
mod tests {
    use super::{CpuMask, NoCpuList};
    use proptest::prelude::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn numbers_and_ranges_are_read() {
        let read = |text| CpuMask::parse_list(text).unwrap().bits();
        assert_eq!(read("0"), 1);
        assert_eq!(read("1-3,5"), 0b10_1110);
        assert_eq!(read("5,1-3,2"), 0b10_1110);
        assert_eq!(read("63"), 1 << 63);
        assert_eq!(read("0-63"), u64::MAX);
        assert_eq!(read("07"), 1 << 7);
    }

    #[test]
    fn what_is_no_list_is_refused_with_what_would_be_right() {
        for text in [
            "", ",", "1,", ",1", "1-", "-1", "3-1", "64", "1-64", "a", "1 ,2", " 1", "+1", "1--2", "1-2-3",
            "0x1",
        ] {
            assert_eq!(CpuMask::parse_list(text), Err(NoCpuList), "{text:?}");
        }
        assert_eq!(NoCpuList.to_string(), "CPU numbers and ranges from 0 to 63, such as 1-3,5");
    }

    proptest! {
        #[test]
        fn a_list_that_was_printed_is_read_back(bits in 1u64..) {
            let mask = CpuMask::from_bits(bits);
            prop_assert_eq!(CpuMask::parse_list(&format!("{mask}")), Ok(mask));
        }

        #[test]
        fn no_text_panics(text in "[-0-9, x]{0,20}") {
            let _ = CpuMask::parse_list(&text);
        }
    }
}
