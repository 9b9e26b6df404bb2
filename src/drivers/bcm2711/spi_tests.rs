//! The controller against a model of itself, with a chip at each select line that answers with its last byte plus one.

use core::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use embedded_hal::spi::{MODE_0, MODE_1, MODE_2, MODE_3};

use super::*;
use crate::drivers::pace::fake::FakePace;

/// What a chip, or the bus, saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Selected(u32),
    Byte(u8),
    Released,
}

#[derive(Default)]
struct FakeSpi {
    seen: RefCell<Vec<Seen>>,
    control: Cell<u32>,
    clock: Cell<u32>,
    out: RefCell<VecDeque<u8>>,
    back: RefCell<VecDeque<u8>>,
    last: Cell<u8>,
    stuck: Cell<bool>,
}

impl FakeSpi {
    /// A byte goes over the bus, if one is there and the other FIFO has room.
    fn step(&self) {
        if self.control.get() & ACTIVE == 0 || self.stuck.get() || self.back.borrow().len() == FIFO_BYTES {
            return;
        }
        let Some(byte) = self.out.borrow_mut().pop_front() else { return };
        self.seen.borrow_mut().push(Seen::Byte(byte));
        self.back.borrow_mut().push_back(self.last.replace(byte.wrapping_add(1)));
    }
}

impl Registers for &FakeSpi {
    fn read(&self, offset: usize) -> u32 {
        match offset {
            CONTROL => {
                self.step();
                let (out, back) = (self.out.borrow(), self.back.borrow());
                let active = self.control.get() & ACTIVE != 0;
                self.control.get()
                    | u32::from(active && out.is_empty()) << 16
                    | u32::from(!back.is_empty()) << 17
                    | u32::from(out.len() < FIFO_BYTES) << 18
            }
            FIFO => self.back.borrow_mut().pop_front().expect("a byte was read that is not there").into(),
            _ => panic!("{offset:#x} is not read"),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        match offset {
            CONTROL => {
                let old = self.control.replace(value & 0x8f);
                if value & CLEAR != 0 {
                    self.out.borrow_mut().clear();
                    self.back.borrow_mut().clear();
                }
                if old & ACTIVE == 0 && value & ACTIVE != 0 {
                    assert_eq!(
                        old & (IDLE_HIGH | SECOND_EDGE),
                        value & (IDLE_HIGH | SECOND_EDGE),
                        "the clock moves when a chip is selected"
                    );
                    self.seen.borrow_mut().push(Seen::Selected(value & 0b11));
                }
                if old & ACTIVE != 0 && value & ACTIVE == 0 {
                    assert_eq!(old & IDLE_HIGH, value & IDLE_HIGH, "the clock moves when a chip is released");
                    self.seen.borrow_mut().push(Seen::Released);
                }
            }
            FIFO => {
                assert!(
                    self.control.get() & ACTIVE != 0 && self.out.borrow().len() < FIFO_BYTES,
                    "a byte is lost"
                );
                self.out.borrow_mut().push_back(value as u8);
            }
            CLOCK => self.clock.set(value),
            _ => panic!("{offset:#x} is no register"),
        }
    }
}

const SETTINGS: Settings = Settings { mode: MODE_0, hz: 1_000_000 };

fn with_spi(test: impl FnOnce(&FakeSpi, &mut Spi<&FakeSpi, &FakePace>)) {
    let (fake, pace) = (FakeSpi::default(), FakePace::default());
    let mut spi = Spi::new(&fake, &pace, 500_000_000, SETTINGS);
    test(&fake, &mut spi);
    assert_eq!(fake.control.get() & ACTIVE, 0, "a chip stays selected");
}

#[test]
fn the_clock_is_never_faster_than_was_asked_for() {
    assert_eq!(
        [1_000_000, 20_000_000, 100_000_000, 1].map(|hz| divisor(500_000_000, hz)),
        [500, 26, 6, 0xfffe]
    );
    for hz in (10_000..200_000_000).step_by(777_777) {
        let divisor = divisor(500_000_000, hz);
        assert!(divisor.is_multiple_of(2) && 500_000_000 / divisor <= hz, "{hz} {divisor}");
    }
}

#[test]
fn a_transaction_selects_its_chip_once_for_all_its_operations() {
    with_spi(|fake, spi| {
        let (mut a, mut b, mut c) = ([0; 2], [0; 1], [9, 8]);
        let mut chip = spi.chip(1, SETTINGS).unwrap();
        chip.transaction(&mut [
            Operation::Write(&[10, 20]),
            Operation::Read(&mut a),
            Operation::DelayNs(5_000),
            Operation::Transfer(&mut b, &[30, 40, 50]),
            Operation::TransferInPlace(&mut c),
        ])
        .unwrap();
        // Each answer is the byte before, plus one.
        assert_eq!((a, b, c), ([21, 1], [1], [51, 10]));
        let bytes = [10, 20, 0, 0, 30, 40, 50, 9, 8].map(Seen::Byte);
        let seen = [&[Seen::Selected(1)], bytes.as_slice(), &[Seen::Released]].concat();
        assert_eq!(fake.seen.take(), seen);
        assert!(spi.chip(2, SETTINGS).is_none());
    });
}

#[test]
fn transfers_longer_than_the_fifo_lose_nothing() {
    for count in [0, 1, 63, 64, 65, 1000] {
        with_spi(|fake, spi| {
            let sent: Vec<u8> = (0..count).map(|at| (at * 7) as u8).collect();
            let mut bytes = sent.clone();
            spi.transfer_in_place(&mut bytes).unwrap();
            let expected: Vec<u8> =
                [0].into_iter().chain(sent.iter().map(|byte| byte.wrapping_add(1))).take(count).collect();
            assert_eq!(bytes, expected);
            assert_eq!(fake.seen.borrow()[0], Seen::Selected(NO_CHIP), "the bus by itself selects nobody");
            let mut read = vec![0; count];
            spi.transfer(&mut read, &sent).unwrap();
            spi.write(&sent).unwrap();
            spi.read(&mut read).unwrap();
            spi.flush().unwrap();
        });
    }
}

#[test]
fn each_mode_has_its_clock_and_it_is_there_before_the_chip_is_selected() {
    for (mode, bits) in
        [(MODE_0, 0), (MODE_1, SECOND_EDGE), (MODE_2, IDLE_HIGH), (MODE_3, IDLE_HIGH | SECOND_EDGE)]
    {
        with_spi(|fake, spi| {
            let mut chip = spi.chip(0, Settings { mode, hz: 20_000_000 }).unwrap();
            chip.write(&[1]).unwrap();
            assert_eq!(fake.control.get() & (IDLE_HIGH | SECOND_EDGE), bits);
            assert_eq!(fake.clock.get(), 26);
        });
    }
}

#[test]
fn a_controller_that_stands_still_is_given_up_and_its_chip_released() {
    with_spi(|fake, spi| {
        fake.stuck.set(true);
        let error = spi.chip(0, SETTINGS).unwrap().write(&[1; 100]).unwrap_err();
        assert!(matches!(error, SpiError::TimedOut(status) if status & ACTIVE != 0), "{error:?}");
        assert_eq!(fake.seen.take(), [Seen::Selected(0), Seen::Released]);
        fake.stuck.set(false);
        let mut byte = [1];
        spi.chip(0, SETTINGS).unwrap().transfer_in_place(&mut byte).unwrap();
        // What was left of the failed one did not go out.
        assert_eq!(fake.seen.take(), [Seen::Selected(0), Seen::Byte(1), Seen::Released]);
    });
}
