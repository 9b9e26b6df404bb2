//! What host and loader say to each other. This file is part of both.
//!
//! The host sends frames and waits for the answer to each; a frame may come twice. The loader, when it waits, says
//! [`READY`] once a second.
//!
//! ```text
//! frame    magic[4] kind number[4] length[4] payload[length] crc32[4]     crc over kind … payload; little endian
//! answer   code number[4] check                                          check: all of it, and 0x5a, xor is 0
//! ```
//!
//! | kind | number | payload | answer |
//! |---|---|---|---|
//! | [`BEGIN`] | 0 | bytes of the image, its crc32, its first 64 bytes | done, or refused |
//! | [`BLOCK`] | of the block, from 0 | [`BLOCK_BYTES`], fewer in the last; none at all for zeros only | done |
//! | [`START`] | number of blocks | none | done, and then it starts; or refused |
//!
//! A frame that is damaged is answered by [`AGAIN`] once the line is silent. Behind [`REFUSED`] comes a line of text.

pub const MAGIC: [u8; 4] = *b"StLd";
/// Kind, number, length.
pub const HEAD_BYTES: usize = 9;
pub const BLOCK_BYTES: usize = 4096;
pub const BEGIN_BYTES: usize = 72;
/// Of an arm64 Image.
pub const IMAGE_HEADER_BYTES: usize = 64;
/// The loader is above this, the kernel below.
pub const IMAGE_BYTES_MAX: usize = 62 << 20;

pub const BEGIN: u8 = b'B';
pub const BLOCK: u8 = b'D';
pub const START: u8 = b'S';

pub const READY: u8 = 0x05;
pub const DONE: u8 = 0x06;
pub const AGAIN: u8 = 0x15;
pub const REFUSED: u8 = 0x18;

pub const ANSWER_BYTES: usize = 6;

/// An answer.
#[must_use]
pub fn answer(code: u8, number: u32) -> [u8; ANSWER_BYTES] {
    let [a, b, c, d] = number.to_le_bytes();
    [code, a, b, c, d, code ^ a ^ b ^ c ^ d ^ 0x5a]
}
