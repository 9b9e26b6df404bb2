//! The pages of a ring buffer, in which `trace.dat` has the records of a CPU.
//!
//! ```text
//! page    u64 time of its first record    u64 length in use, and marks    4,080 bytes of records
//! record  u32: 5 bits what it is, 27 bits nanoseconds since the record before    payload, a multiple of 4 bytes
//! ```
//!
//! What a record is: 1 to 28, so many words of payload; 0, a word follows that says how many bytes there are, itself among
//! them; 30, no record but more nanoseconds than fit 27 bits, the upper ones in the word that follows.
//!
//! Invariants: a record lies in one page whole. Times of a CPU never go back (the reader of the text has put them in
//! order). The end of a page that nothing fits into is zero and is not counted in its length.
#![forbid(unsafe_code)]

/// A page.
pub const PAGE_BYTES: usize = 4096;
/// Time and length.
pub const HEAD_BYTES: usize = 16;
/// What is left.
pub const DATA_BYTES: usize = PAGE_BYTES - HEAD_BYTES;
/// Nanoseconds that fit a record's head.
const DELTA_BITS: u32 = 27;
/// More words than this have their length in a word of its own.
const MOST_WORDS: usize = 28;
const TIME_EXTEND: u32 = 30;
/// In a page's length: events were lost before its first.
pub const MISSED: u64 = 1 << 31;
/// And how many stands behind the last record.
pub const MISSED_COUNTED: u64 = 1 << 30;

/// The pages of one CPU.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    bytes: Vec<u8>,
    /// Bytes in use of the last page's data.
    used: usize,
    last_ns: u64,
    /// Events lost before the last page.
    lost: u64,
}

impl Pages {
    /// Adds a record; `lost` events of this CPU were lost before it.
    ///
    /// # Panics
    /// When the record does not fit a page, or is earlier than the one before it.
    pub fn push(&mut self, ns: u64, lost: u64, record: &[u8]) {
        let head = 4 + if record.len() > MOST_WORDS * 4 || record.is_empty() { 4 } else { 0 };
        let bytes = head + record.len().next_multiple_of(4);
        assert!(bytes <= DATA_BYTES, "a record of {} bytes does not fit a page", record.len());
        let delta = ns.checked_sub(self.last_ns).expect("times do not go back");
        let extend = if delta >> DELTA_BITS == 0 { 0 } else { 8 };
        // Upper bits beyond a word: 18 years.
        let too_long = delta >> DELTA_BITS > u64::from(u32::MAX);
        let begins = self.bytes.is_empty() || lost > 0 || too_long || self.used + extend + bytes > DATA_BYTES;
        let mut delta = delta;
        if begins {
            self.begin(ns, lost);
            delta = 0;
        } else if extend > 0 {
            self.word(TIME_EXTEND | low(delta));
            self.word((delta >> DELTA_BITS) as u32);
            delta = 0;
        }
        if head == 4 {
            self.word((record.len().div_ceil(4)) as u32 | low(delta));
        } else {
            self.word(low(delta));
            self.word((bytes - 4) as u32);
        }
        self.bytes.extend(record);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.used += bytes - head;
        self.last_ns = ns;
    }

    /// All pages, each whole.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }

    fn begin(&mut self, ns: u64, lost: u64) {
        self.close();
        self.bytes.extend(ns.to_le_bytes());
        self.bytes.extend([0; 8]);
        self.used = 0;
        self.lost = lost;
    }

    /// Fills the last page up and writes its length down.
    fn close(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let page = self.bytes.len() - HEAD_BYTES - self.used;
        let mut length = self.used as u64;
        if self.lost > 0 {
            length |= MISSED;
            if self.used + 8 <= DATA_BYTES {
                length |= MISSED_COUNTED;
                self.bytes.extend(self.lost.to_le_bytes());
            }
        }
        self.bytes.resize(page + PAGE_BYTES, 0);
        self.bytes[page + 8..page + HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
    }

    fn word(&mut self, word: u32) {
        self.bytes.extend(word.to_le_bytes());
        self.used += 4;
    }
}

/// The lower bits of a delta, where a record's head has them.
fn low(delta: u64) -> u32 {
    ((delta & ((1 << DELTA_BITS) - 1)) as u32) << 5
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
