//! The mailbox between the ARM cores and the firmware (VideoCore), and its property channel.
//!
//! A call is a buffer of words in memory: length, code, then one tag with its values, then 0. Its bus address goes into the
//! mailbox, the firmware writes the answer over the question, and the address comes back. The firmware reads memory past
//! our caches, so the buffer is written back before and dropped from the caches behind a call; it has its cache lines for
//! itself.
//!
//! What the firmware says is not believed without a look: the code of the whole buffer, the response bit of the tag **and
//! the length of its answer** are checked. A firmware that does not know a tag leaves the bit clear; QEMU sets it, with
//! length 0.
//!
//! Invariant: at most one call is under way. The buffer is the firmware's from the call to its answer, even when the
//! caller has given up: the next call first waits for the answer that is owed.
//!
//! Context: threads; who calls holds the lock around the whole. Bound: [`TIMEOUT_US`] for each of the steps.
//! Facts: BCM2835 ARM peripherals (mailbox), Raspberry Pi firmware wiki (property interface).
#![forbid(unsafe_code)]

use core::fmt;

use crate::drivers::mmio::Registers;
use crate::drivers::pace::{Pace, TaskPace};

/// Words of the buffer: the longest call that is made here has six.
pub const WORDS: usize = 32;
/// A firmware that is well answers in far less than a millisecond; measuring a clock takes it some.
pub const TIMEOUT_US: u32 = 500_000;
const TIMEOUT_NS: u64 = TIMEOUT_US as u64 * 1000;

/// From the firmware to us: the word, and the state of that queue.
const MBOX0_READ: usize = 0x00;
const MBOX0_STATUS: usize = 0x18;
/// From us to the firmware.
const MBOX1_WRITE: usize = 0x20;
const MBOX1_STATUS: usize = 0x38;
const FULL: u32 = 1 << 31;
const EMPTY: u32 = 1 << 30;

const CHANNEL_PROPERTY: u32 = 8;
const CHANNEL_MASK: u32 = 0xf;
/// Answers of other channels, or to nobody, that are thrown away before a call gives up. The queue holds eight.
const STRAY_MAX: u32 = 64;

const CODE_REQUEST: u32 = 0;
const CODE_SUCCESS: u32 = 1 << 31;
const TAG_RESPONSE: u32 = 1 << 31;
/// Length, code, tag, size of its values, length of its values.
const HEAD: usize = 5;

/// Memory that the firmware reads and writes.
pub trait Shared {
    /// The address that the firmware knows it by; a multiple of 16.
    fn bus_address(&self) -> u32;
    /// The words, as the CPU sees them.
    fn words(&mut self) -> &mut [u32; WORDS];
    /// Makes what the CPU has written what the firmware reads, and leaves nothing in the caches that could be written
    /// over its answer.
    fn hand_over(&mut self);
    /// Makes what the firmware has written what the CPU reads.
    fn take_back(&mut self);
}

/// Why the firmware's answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxError {
    /// No answer, or no room for the question, in time.
    TimedOut {
        /// The tag that was asked, or would have been.
        tag: u32,
    },
    /// The firmware could not read the question; the code it gave.
    Refused {
        /// What was asked.
        tag: u32,
        /// The code of the whole buffer.
        code: u32,
    },
    /// The firmware does not know the tag.
    Unknown {
        /// What was asked.
        tag: u32,
    },
    /// Fewer bytes than the answer must have.
    Short {
        /// What was asked.
        tag: u32,
        /// How many bytes were needed.
        expected: u32,
        /// How many came.
        found: u32,
    },
}

impl fmt::Display for MailboxError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Self::TimedOut { tag } => {
                write!(f, "the firmware did not answer tag {tag:#x} within {} ms", TIMEOUT_US / 1000)
            }
            Self::Refused { tag, code } => {
                write!(f, "the firmware refused tag {tag:#x} with code {code:#x}; expected {CODE_SUCCESS:#x}")
            }
            Self::Unknown { tag } => write!(f, "the firmware does not know tag {tag:#x}"),
            Self::Short { tag, expected, found } => {
                write!(f, "the firmware answered tag {tag:#x} with {found} bytes; expected {expected}")
            }
        }
    }
}

/// The mailbox with its buffer.
pub struct Mailbox<R, M> {
    regs: R,
    memory: M,
    /// An answer that nobody waits for any more is still to come.
    owed: bool,
}

impl<R: Registers, M: Shared> Mailbox<R, M> {
    /// The mailbox behind `regs`.
    pub const fn new(regs: R, memory: M) -> Self {
        Self { regs, memory, owed: false }
    }

    /// Asks one tag, with `request` as its first values, for `N` words of which the last may be cut: `bytes` are needed.
    ///
    /// # Errors
    /// See [`MailboxError`].
    pub fn property<const N: usize>(
        &mut self,
        tag: u32,
        request: &[u32],
        bytes: u32,
    ) -> Result<[u32; N], MailboxError> {
        let values = N.max(request.len());
        assert!(
            HEAD + values < WORDS,
            "a call of {values} words; the buffer has room for {}",
            WORDS - HEAD - 1
        );
        if self.owed && !self.wait_for_answer() {
            return Err(MailboxError::TimedOut { tag });
        }
        self.owed = false;
        let words = self.memory.words();
        words.fill(0);
        words[..HEAD].copy_from_slice(&[
            ((HEAD + values + 1) * 4) as u32,
            CODE_REQUEST,
            tag,
            (values * 4) as u32,
            0,
        ]);
        words[HEAD..HEAD + request.len()].copy_from_slice(request);
        // Behind this the lines are the firmware's; nothing below writes to them before the answer.
        self.memory.hand_over();
        let has_room = || (self.regs.read(MBOX1_STATUS) & FULL == 0).then_some(());
        if TaskPace.wait(TIMEOUT_NS, has_room).is_none() {
            return Err(MailboxError::TimedOut { tag });
        }
        self.regs.write(MBOX1_WRITE, self.memory.bus_address() | CHANNEL_PROPERTY);
        if !self.wait_for_answer() {
            self.owed = true;
            return Err(MailboxError::TimedOut { tag });
        }
        self.memory.take_back();
        let words = self.memory.words();
        let (code, answer) = (words[1], words[4]);
        if code != CODE_SUCCESS {
            return Err(MailboxError::Refused { tag, code });
        }
        let found = answer & !TAG_RESPONSE;
        if answer & TAG_RESPONSE == 0 || (found == 0 && bytes > 0) {
            return Err(MailboxError::Unknown { tag });
        }
        if found < bytes {
            return Err(MailboxError::Short { tag, expected: bytes, found });
        }
        let mut reply = [0; N];
        reply.copy_from_slice(&words[HEAD..HEAD + N]);
        Ok(reply)
    }

    /// Waits for our buffer to come back. What else comes is thrown away.
    fn wait_for_answer(&self) -> bool {
        let ours = self.memory.bus_address() | CHANNEL_PROPERTY;
        let mut strays = 0;
        let came = TaskPace.wait(TIMEOUT_NS, || {
            while strays < STRAY_MAX && self.regs.read(MBOX0_STATUS) & EMPTY == 0 {
                let word = self.regs.read(MBOX0_READ);
                if word == ours {
                    return Some(true);
                }
                strays += 1;
                log::debug!(target: "mailbox", "{word:#x} on channel {} was for nobody", word & CHANNEL_MASK);
            }
            (strays == STRAY_MAX).then_some(false)
        });
        came == Some(true)
    }
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
