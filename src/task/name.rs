//! A task's name: 15 bytes and a zero, as Linux keeps it.
#![forbid(unsafe_code)]

/// The first 15 bytes of a text, packed. Aligned, so that it is copied as two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Name([u8; 16]);

impl Name {
    /// The bytes that are kept.
    pub const BYTES: usize = 15;

    /// Packs a text, at compile time where it is a constant. A longer one is cut before the character that
    /// does not fit.
    #[must_use]
    pub const fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut len = if bytes.len() < Self::BYTES { bytes.len() } else { Self::BYTES };
        // A byte of the form 10xxxxxx continues a character.
        while len < bytes.len() && bytes[len] & 0xc0 == 0x80 {
            len -= 1;
        }
        let mut packed = [0; 16];
        let mut i = 0;
        while i < len {
            packed[i] = bytes[i];
            i += 1;
        }
        Self(packed)
    }

    /// Its bytes, as two words.
    pub(crate) fn words(&self) -> [u64; 2] {
        let word = |at| u64::from_le_bytes(core::array::from_fn(|i| self.0[at + i]));
        [word(0), word(8)]
    }

    /// From [`Self::words`].
    pub(crate) fn from_words([low, high]: [u64; 2]) -> Self {
        let (low, high) = (low.to_le_bytes(), high.to_le_bytes());
        Self(core::array::from_fn(|i| if i < 8 { low[i] } else { high[i - 8] }))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(Self::BYTES);
        core::str::from_utf8(&self.0[..end]).unwrap_or("?")
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn a_name_is_cut_to_fifteen_bytes_and_never_inside_a_character() {
        assert_eq!(Name::new("").as_str(), "");
        assert_eq!(Name::new("blinker").as_str(), "blinker");
        assert_eq!(Name::new("0123456789abcdef").as_str(), "0123456789abcde");
        assert_eq!(Name::new("0123456789abcdé").as_str(), "0123456789abcd");
    }
}
