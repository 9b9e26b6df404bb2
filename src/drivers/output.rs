//! What is still to be sent, when a UART's FIFO is full: a queue that the UART's interrupt empties.
//!
//! A sender writes to the FIFO as long as there is room, then to the queue, and lets the transmitter interrupt. So a
//! UART that is fast enough never interrupts, and one that is not (115,200 baud are 87 us for each byte) costs its
//! writer nothing while it sends.
//!
//! Invariants: bytes go out in the order of the calls. While something is queued, the transmitter's interrupt is on, or
//! somebody polls. One call moves [`PIECE_BYTES`] at most, so that its caller may mask interrupts around it.
//!
//! A transmitter interrupts when its FIFO *becomes* nearly empty, not when it is: it is filled before the interrupt is
//! counted on, which the first line of this text does.
//!
//! Context: any, under the lock of the UART, which is what makes both ends of the queue one caller's. Without it
//! [`Output::take`] alone, for a panic.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};

use super::queue::ByteQueue;

/// Bytes that one call moves.
pub const PIECE_BYTES: usize = 8;

/// A UART's sending half.
pub trait Transmit {
    /// Whether its FIFO takes a byte more.
    fn has_room(&self) -> bool;
    /// Sends a byte, for which there must be room.
    fn put(&mut self, byte: u8);
    /// Whether it is to interrupt when its FIFO becomes nearly empty.
    fn interrupt_when_drained(&mut self, on: bool);
}

/// The queue.
pub struct Output<const N: usize> {
    queue: ByteQueue<N>,
    /// Of a piece, at most so many bytes go straight to the FIFO: all, but for tests.
    direct_bytes: AtomicUsize,
}

impl<const N: usize> Output<N> {
    /// An empty queue.
    pub const fn new() -> Self {
        Self { queue: ByteQueue::new(), direct_bytes: AtomicUsize::new(PIECE_BYTES) }
    }

    /// Sends the beginning of `bytes`, a piece at most, and returns how many bytes that were: 0 if there is no room
    /// anywhere. With `may_queue` what the FIFO has no room for is left to its interrupt.
    pub fn send(&self, port: &mut impl Transmit, bytes: &[u8], may_queue: bool) -> usize {
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        let mut done = 0;
        if self.queue.is_empty() {
            let direct = if may_queue { self.direct_bytes.load(Ordering::Relaxed) } else { PIECE_BYTES };
            while done < piece.len().min(direct) && port.has_room() {
                arch::bound!(PIECE_BYTES);
                port.put(piece[done]);
                done += 1;
            }
        }
        if may_queue && done < piece.len() {
            let room = N - self.queue.len();
            let queued = &piece[done..done + room.min(piece.len() - done)];
            queued.iter().for_each(|&byte| {
                arch::bound!(PIECE_BYTES);
                _ = self.queue.push(byte);
            });
            done += queued.len();
            port.interrupt_when_drained(true);
        }
        done
    }

    /// Moves a piece of what is queued to the FIFO, as far as there is room: what the transmitter's interrupt is for, and
    /// what one who cannot wait for that polls.
    pub fn refill(&self, port: &mut impl Transmit) {
        for _ in 0..PIECE_BYTES {
            arch::bound!(PIECE_BYTES);
            if self.queue.is_empty() || !port.has_room() {
                break;
            }
            self.queue.pop().into_iter().for_each(|byte| port.put(byte));
        }
        if self.queue.is_empty() {
            port.interrupt_when_drained(false);
        }
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a writer that waits for room is worth waking.
    pub fn is_half_empty(&self) -> bool {
        self.queue.len() <= N / 2
    }

    /// Takes the oldest byte out, past the UART.
    pub fn take(&self) -> Option<u8> {
        self.queue.pop()
    }

    /// For tests: leaves all but the first byte of each piece to the interrupt, or as usual.
    #[doc(hidden)]
    pub fn prefer_interrupt(&self, on: bool) {
        self.direct_bytes.store(if on { 1 } else { PIECE_BYTES }, Ordering::Relaxed);
    }
}

impl<const N: usize> Default for Output<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::vec::Vec;

    const FIFO_BYTES: usize = 32;
    const LEVEL_BYTES: usize = 4;

    /// A PL011's sending half: interrupts when its FIFO falls to the level, not while it is there.
    #[derive(Default)]
    struct Fake {
        fifo: VecDeque<u8>,
        wire: Vec<u8>,
        enabled: bool,
        pending: bool,
    }

    impl Transmit for Fake {
        fn has_room(&self) -> bool {
            self.fifo.len() < FIFO_BYTES
        }

        fn put(&mut self, byte: u8) {
            assert!(self.has_room(), "a byte without room for it");
            self.fifo.push_back(byte);
            if self.fifo.len() > LEVEL_BYTES {
                self.pending = false;
            }
        }

        fn interrupt_when_drained(&mut self, on: bool) {
            self.enabled = on;
        }
    }

    impl Fake {
        /// The time of a byte passes.
        fn tick(&mut self) {
            if let Some(byte) = self.fifo.pop_front() {
                self.wire.push(byte);
                self.pending |= self.fifo.len() == LEVEL_BYTES;
            }
        }

        fn interrupts(&self) -> bool {
            self.enabled && self.pending
        }
    }

    /// Until nothing more happens; bounded.
    fn run_dry<const N: usize>(output: &Output<N>, port: &mut Fake) {
        for _ in 0..10 * (N + FIFO_BYTES) {
            port.tick();
            if port.interrupts() {
                output.refill(port);
            }
        }
    }

    #[test]
    fn a_fifo_with_room_takes_everything_and_nobody_interrupts() {
        let (output, mut port) = (Output::<64>::new(), Fake::default());
        assert_eq!(output.send(&mut port, b"abc", true), 3);
        assert!(output.is_empty() && !port.enabled);
    }

    #[test]
    fn a_piece_is_the_most_that_moves_at_once() {
        let (output, mut port) = (Output::<64>::new(), Fake::default());
        assert_eq!(output.send(&mut port, &[1; 40], true), PIECE_BYTES);
        for _ in 0..10 {
            output.send(&mut port, &[1; 40], true);
        }
        port.fifo.clear();
        output.refill(&mut port);
        assert_eq!(port.fifo.len(), PIECE_BYTES);
    }

    #[test]
    fn without_an_interrupt_nothing_is_queued() {
        let (output, mut port) = (Output::<64>::new(), Fake::default());
        let sent: usize = (0..10).map(|_| output.send(&mut port, &[7; 8], false)).sum();
        assert_eq!(sent, FIFO_BYTES);
        assert!(output.is_empty() && !port.enabled);
    }

    #[test]
    fn the_interrupt_is_off_when_there_is_nothing_left_to_send() {
        let (output, mut port) = (Output::<64>::new(), Fake::default());
        (0..10).for_each(|_| _ = output.send(&mut port, &[7; 8], true));
        assert!(port.enabled && !output.is_empty());
        run_dry(&output, &mut port);
        assert!(!port.enabled && output.is_empty());
        assert_eq!(port.wire.len(), 80);
    }

    proptest! {
        /// Lines of any lengths, bytes leaving at any times: all come out, in order, also where the queue was full.
        #[test]
        fn all_bytes_come_out_in_order(
            lines in proptest::collection::vec((0usize..60, 0usize..40), 1..40),
            mostly_by_interrupt in any::<bool>(),
        ) {
            let (output, mut port) = (Output::<64>::new(), Fake::default());
            output.prefer_interrupt(mostly_by_interrupt);
            let mut sent = Vec::new();
            for (bytes, ticks) in lines {
                let line: Vec<u8> = (0..bytes).map(|i| (sent.len() + i) as u8).collect();
                let mut rest = &line[..];
                let mut turns = 0;
                while !rest.is_empty() {
                    let done = output.send(&mut port, rest, true);
                    rest = &rest[done..];
                    if done == 0 {
                        port.tick();
                        output.refill(&mut port);
                    }
                    turns += 1;
                    prop_assert!(turns < 1000, "a writer waits for ever");
                }
                sent.extend(line);
                for _ in 0..ticks {
                    port.tick();
                    if port.interrupts() {
                        output.refill(&mut port);
                    }
                }
            }
            // With one byte in the FIFO there is no fall to the level: only a full FIFO promises an interrupt.
            if !mostly_by_interrupt {
                run_dry(&output, &mut port);
                prop_assert!(output.is_empty(), "an interrupt that did not come");
            }
            while !output.is_empty() {
                port.tick();
                output.refill(&mut port);
            }
            run_dry(&output, &mut port);
            prop_assert_eq!(port.wire, sent);
        }
    }
}
