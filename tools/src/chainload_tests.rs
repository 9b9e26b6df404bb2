//! Tests of sending, against a loader that is made up.

use super::*;
use std::collections::VecDeque;

/// Answers each frame as it is told to, and notes what came.
#[derive(Default)]
struct Loader {
    answers: VecDeque<Vec<u8>>,
    says: VecDeque<u8>,
    frames: Vec<Vec<u8>>,
}

impl Read for Loader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some(byte) = self.says.pop_front() else { return Ok(0) };
        buffer[0] = byte;
        Ok(1)
    }
}

impl Write for Loader {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.frames.push(bytes.to_vec());
        self.says.extend(self.answers.pop_front().unwrap_or_default());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A kernel of two blocks and a half, the second of zeros.
fn kernel() -> Vec<u8> {
    let mut kernel = vec![7; wire::BLOCK_BYTES * 2 + 100];
    kernel[0x38..0x3c].copy_from_slice(b"ARM\x64");
    kernel[wire::BLOCK_BYTES..2 * wire::BLOCK_BYTES].fill(0);
    kernel
}

fn try_sending(answers: Vec<Vec<u8>>) -> (Result<Sent>, Loader) {
    let mut loader = Loader {
        answers: answers.into(),
        says: b"firmware\r\n\x05".iter().copied().collect(),
        ..Loader::default()
    };
    let sent = send(&mut loader, &kernel(), Duration::from_secs(5), |_, _| {});
    (sent, loader)
}

fn done(number: u32) -> Vec<u8> {
    wire::answer(wire::DONE, number).to_vec()
}

#[test]
fn the_sum_is_that_of_the_standard() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(b""), 0);
}

#[test]
fn a_kernel_goes_over_block_by_block_and_zeros_need_no_bytes() {
    let (sent, loader) = try_sending(vec![done(0), done(0), done(1), done(2), done(3)]);
    assert_eq!(sent.unwrap(), Sent { blocks: 3, again: 0 });
    let kinds: Vec<_> = loader.frames.iter().map(|frame| (frame[4], frame.len() - 17)).collect();
    assert_eq!(kinds, [(b'B', 72), (b'D', 4096), (b'D', 0), (b'D', 100), (b'S', 0)]);
    assert_eq!(loader.frames[0][13..17], (kernel().len() as u32).to_le_bytes());
}

#[test]
fn what_was_not_understood_is_sent_again_and_an_old_answer_is_no_answer() {
    let again = wire::answer(wire::AGAIN, 0).to_vec();
    // Noise before an answer, and the answer to an earlier frame before the one that counts.
    let noisy = [b"\x06\x00?".to_vec(), done(1)].concat();
    let late = [done(1), done(2)].concat();
    let (sent, loader) = try_sending(vec![done(0), again, done(0), noisy, late, done(3)]);
    assert_eq!(sent.unwrap(), Sent { blocks: 3, again: 1 });
    assert_eq!(loader.frames[1], loader.frames[2]);
}

#[test]
fn a_refusal_is_passed_on_in_the_loaders_words() {
    let refused = [wire::answer(wire::REFUSED, 0).to_vec(), b"too large\n".to_vec()].concat();
    let (sent, _) = try_sending(vec![refused]);
    assert_eq!(sent.unwrap_err().to_string(), "the chainloader refuses: too large");
}

#[test]
fn a_file_that_is_no_kernel_is_refused_before_anything_is_sent() {
    let mut loader = Loader::default();
    let message = format!("{:#}", send(&mut loader, &[0; 5000], Duration::ZERO, |_, _| {}).unwrap_err());
    assert!(message.contains("it is not a kernel: there is no arm64 Image header"), "{message}");
    assert!(loader.frames.is_empty());
}

#[test]
fn a_board_without_a_loader_is_told_by_what_it_says() {
    let mut loader = Loader { says: b"stint> ".iter().copied().collect(), ..Loader::default() };
    let message = send(&mut loader, &kernel(), Duration::from_millis(20), |_, _| {}).unwrap_err().to_string();
    assert!(message.contains("CHAINLOADER=1") && message.contains("heard instead:\nstint>"), "{message}");
}
