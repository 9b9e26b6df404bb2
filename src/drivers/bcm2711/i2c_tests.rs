//! The controller against a model of itself with devices on its bus.

use core::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::drivers::pace::fake::FakePace;

/// What the devices saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// A start, or a repeated one, with the address and whether it is to read.
    Start(u8, bool),
    /// A byte that was written.
    Byte(u8),
    Stop,
}

/// The controller, and at [`DEVICE`] a memory of 256 bytes with a pointer, as a sensor or a clock has it.
struct FakeBsc {
    seen: RefCell<Vec<Seen>>,
    memory: RefCell<[u8; 256]>,
    pointer: Cell<u8>,
    pointer_set: Cell<bool>,
    control: Cell<u32>,
    status: Cell<u32>,
    length: Cell<u32>,
    address: Cell<u32>,
    settings: RefCell<[u32; 3]>,
    fifo: RefCell<VecDeque<u8>>,
    left: Cell<u32>,
    /// The transfer that was asked for while another one goes on.
    next: Cell<Option<(u32, u32)>>,
    /// Looks at the status until a byte has moved.
    slow: Cell<u32>,
    looks: Cell<u32>,
    /// Bytes that the device takes before it no longer acknowledges.
    patience: Cell<u32>,
    stuck: Cell<bool>,
    stretched: Cell<bool>,
    ends_early: Cell<bool>,
}

const DEVICE: u8 = 0x48;
const FIFO_BYTES: usize = 16;

impl FakeBsc {
    fn new() -> Self {
        Self {
            seen: RefCell::default(),
            memory: RefCell::new(core::array::from_fn(|at| at as u8 ^ 0x5a)),
            pointer: Cell::new(0),
            pointer_set: Cell::new(false),
            control: Cell::new(0),
            status: Cell::new(0),
            length: Cell::new(0),
            address: Cell::new(0),
            settings: RefCell::default(),
            fifo: RefCell::default(),
            left: Cell::new(0),
            next: Cell::new(None),
            slow: Cell::new(0),
            looks: Cell::new(0),
            patience: Cell::new(u32::MAX),
            stuck: Cell::new(false),
            stretched: Cell::new(false),
            ends_early: Cell::new(false),
        }
    }

    fn show(&self, bits: u32) {
        self.status.set(self.status.get() | bits);
    }

    fn is_active(&self) -> bool {
        self.status.get() & 1 != 0
    }

    fn is_read(&self) -> bool {
        self.control.get() & READ != 0
    }

    fn start(&self) {
        let address = self.address.get() as u8;
        self.seen.borrow_mut().push(Seen::Start(address, self.is_read()));
        self.left.set(self.length.get());
        self.pointer_set.set(self.is_read());
        self.show(1);
        if self.stretched.get() {
            self.end(STRETCHED);
        } else if address != DEVICE {
            self.end(NOT_ACKNOWLEDGED);
        }
    }

    fn end(&self, why: u32) {
        self.status.set(self.status.get() & !1 | why | DONE);
        self.seen.borrow_mut().push(Seen::Stop);
    }

    /// A byte moves on the bus, if it can.
    fn step(&self) {
        if !self.is_active() || self.stuck.get() {
            return;
        }
        if self.left.get() == 0 {
            match self.next.take() {
                Some((length, control)) => {
                    self.length.set(length);
                    self.control.set(control);
                    self.start();
                }
                None => self.end(0),
            }
            return;
        }
        if self.ends_early.get() {
            return self.end(0);
        }
        let at = self.pointer.get();
        if self.is_read() {
            if self.fifo.borrow().len() == FIFO_BYTES {
                return;
            }
            self.fifo.borrow_mut().push_back(self.memory.borrow()[usize::from(at)]);
            self.pointer.set(at.wrapping_add(1));
        } else {
            let Some(byte) = self.fifo.borrow_mut().pop_front() else { return };
            if self.patience.get() == 0 {
                return self.end(NOT_ACKNOWLEDGED);
            }
            self.patience.set(self.patience.get() - 1);
            self.seen.borrow_mut().push(Seen::Byte(byte));
            if self.pointer_set.replace(true) {
                self.memory.borrow_mut()[usize::from(at)] = byte;
                self.pointer.set(at.wrapping_add(1));
            } else {
                self.pointer.set(byte);
            }
        }
        self.left.set(self.left.get() - 1);
    }
}

impl Registers for &FakeBsc {
    fn read(&self, offset: usize) -> u32 {
        match offset {
            STATUS => {
                self.looks.set(self.looks.get() + 1);
                if self.looks.get() > self.slow.get() {
                    self.looks.set(0);
                    self.step();
                }
                let fifo = self.fifo.borrow();
                let sends = self.is_active() && !self.is_read();
                let room = sends && fifo.len() < FIFO_BYTES;
                let any = !sends && !fifo.is_empty();
                self.status.get() | u32::from(room) << 4 | u32::from(any) << 5
            }
            FIFO => self.fifo.borrow_mut().pop_front().expect("a byte was read that is not there").into(),
            _ => panic!("{offset:#x} is not read"),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        match offset {
            CONTROL => {
                assert_eq!(value & START != 0, value & ENABLE != 0, "QEMU takes either for a start");
                if value & CLEAR != 0 {
                    self.fifo.borrow_mut().clear();
                    self.status.set(self.status.get() & !1);
                    self.next.set(None);
                }
                if value & START != 0 && self.is_active() {
                    assert!(!self.is_read(), "nothing goes on behind a read");
                    self.next.set(Some((self.length.get(), value)));
                    return;
                }
                self.control.set(value);
                if value & START != 0 {
                    assert_eq!(self.status.get() & ENDED, 0, "a start with the status of the last one");
                    self.start();
                }
            }
            STATUS => self.status.set(self.status.get() & !(value & ENDED)),
            LENGTH => {
                assert!(value <= 0xffff);
                self.length.set(value);
            }
            ADDRESS => self.address.set(value),
            FIFO => {
                assert!(self.is_active() && self.fifo.borrow().len() < FIFO_BYTES, "a byte is lost");
                self.fifo.borrow_mut().push_back(value as u8);
            }
            DIVISOR | DELAY | STRETCH => self.settings.borrow_mut()[(offset - DIVISOR) / 4] = value,
            _ => panic!("{offset:#x} is no register"),
        }
    }
}

fn with_bus(test: impl Fn(&FakeBsc, &mut Bsc<&FakeBsc, &FakePace>)) {
    for slow in [0, 5] {
        let (fake, pace) = (FakeBsc::new(), FakePace::default());
        fake.slow.set(slow);
        let mut bus = Bsc::new(&fake, &pace, 500_000_000, 100_000);
        test(&fake, &mut bus);
        assert_off(&fake);
    }
}

/// Every transaction leaves the controller off.
fn assert_off(fake: &FakeBsc) {
    assert_eq!(fake.control.get() & (ENABLE | START), 0);
    assert_eq!(fake.status.get() & ENDED, 0);
}

#[test]
fn the_bus_is_never_faster_than_was_asked_for() {
    assert_eq!(divisor(500_000_000, 100_000), 5000);
    assert_eq!(divisor(500_000_000, 400_000), 1250);
    assert_eq!(divisor(350_000_000, 100_000), 3500);
    assert_eq!(divisor(500_000_000, 1), 0xfffe);
    assert_eq!(divisor(500_000_000, 0), 0xfffe);
    for core_hz in (100_000_000..600_000_000).step_by(7_777_777) {
        for bus_hz in [10_000, 99_999, 100_000, 400_000, 1_000_000] {
            let divisor = divisor(core_hz, bus_hz);
            assert!(divisor.is_multiple_of(2) && core_hz / divisor <= bus_hz, "{core_hz} {bus_hz} {divisor}");
        }
    }
}

#[test]
fn a_write_and_a_read_arrive_whole_whatever_their_length() {
    for bytes in [1, 2, 15, 16, 17, 100] {
        with_bus(|fake, bus| {
            let mut data: Vec<u8> = (0..bytes).map(|at| (at * 3) as u8).collect();
            data.insert(0, 0x20);
            bus.write(DEVICE, &data).unwrap();
            assert_eq!(fake.memory.borrow()[0x20..0x20 + bytes], data[1..]);
            let mut read = vec![0; bytes];
            fake.pointer.set(0x20);
            bus.read(DEVICE, &mut read).unwrap();
            assert_eq!(read, data[1..]);
            assert_eq!(fake.seen.borrow().iter().filter(|&&seen| seen == Seen::Stop).count(), 2);
        });
    }
}

#[test]
fn between_write_and_read_there_is_a_repeated_start_and_no_stop() {
    with_bus(|fake, bus| {
        let mut read = [0; 20];
        bus.write_read(DEVICE, &[0x80], &mut read).unwrap();
        assert_eq!(read, core::array::from_fn(|at| (0x80 + at as u8) ^ 0x5a));
        let seen = [Seen::Start(DEVICE, false), Seen::Byte(0x80), Seen::Start(DEVICE, true), Seen::Stop];
        assert_eq!(fake.seen.take(), seen);
        // Longer than the FIFO.
        let mut long = [7; 40];
        long[0] = 0;
        bus.write_read(DEVICE, &long, &mut read).unwrap();
        let starts: Vec<_> =
            fake.seen.take().into_iter().filter(|seen| !matches!(seen, Seen::Byte(_))).collect();
        assert_eq!(starts, [Seen::Start(DEVICE, false), Seen::Start(DEVICE, true), Seen::Stop]);
    });
}

#[test]
fn operations_of_one_kind_are_one_transfer_and_a_write_behind_a_read_is_refused() {
    with_bus(|fake, bus| {
        let (mut a, mut b) = ([0; 3], [0; 5]);
        let mut all = [
            Operation::Write(&[0x10]),
            Operation::Write(&[]),
            Operation::Read(&mut a),
            Operation::Read(&mut b),
        ];
        bus.transaction(DEVICE, &mut all).unwrap();
        assert_eq!([a.as_slice(), &b].concat(), (0x10..0x18).map(|at| at ^ 0x5a).collect::<Vec<u8>>());
        assert_eq!(fake.seen.take().len(), 4);
        let mut wrong = [Operation::Read(&mut a), Operation::Write(&[1])];
        assert_eq!(bus.transaction(DEVICE, &mut wrong), Err(I2cError::BehindRead));
        assert_eq!(bus.transaction(DEVICE, &mut []), Ok(()));
        assert_eq!(bus.write(0x80, &[1]), Err(I2cError::Address(0x80)));
        assert_eq!(bus.write(DEVICE, &[0; 0x1_0000]), Err(I2cError::TooLong(0x1_0000)));
        assert_eq!(fake.seen.take(), []);
    });
}

#[test]
fn nobody_at_an_address_and_a_byte_that_is_not_taken_are_told() {
    with_bus(|fake, bus| {
        let mut byte = [0];
        let error = bus.read(0x49, &mut byte).unwrap_err();
        assert_eq!(
            (error, error.to_string().as_str()),
            (I2cError::NotAcknowledged(0x49), "0x49 does not acknowledge")
        );
        assert_eq!(bus.write_read(0x49, &[0], &mut byte), Err(I2cError::NotAcknowledged(0x49)));
        assert_eq!(bus.write(0x49, &[]), Err(I2cError::NotAcknowledged(0x49)));
        assert_eq!(bus.write(DEVICE, &[]), Ok(()));
        fake.patience.set(2);
        assert_eq!(bus.write(DEVICE, &[0, 1, 2, 3]), Err(I2cError::NotAcknowledged(DEVICE)));
        fake.patience.set(9);
        bus.read(DEVICE, &mut byte).unwrap();
    });
}

#[test]
fn a_bus_that_is_held_ends_in_an_error_and_works_again_later() {
    with_bus(|fake, bus| {
        let mut bytes = [0; 4];
        fake.stuck.set(true);
        assert_eq!(bus.read(DEVICE, &mut bytes), Err(I2cError::TimedOut(1)));
        assert!(matches!(bus.write(DEVICE, &[0; 30]), Err(I2cError::TimedOut(_))));
        fake.stuck.set(false);
        fake.stretched.set(true);
        assert_eq!(bus.read(DEVICE, &mut bytes), Err(I2cError::Stretched(DEVICE)));
        fake.stretched.set(false);
        fake.ends_early.set(true);
        assert_eq!(bus.read(DEVICE, &mut bytes), Err(I2cError::Short(4)));
        fake.ends_early.set(false);
        bus.read(DEVICE, &mut bytes).unwrap();
        // 5000 per clock; 35 ms are 3500 clocks.
        assert_eq!(*fake.settings.borrow(), [5000, 312 << 16 | 1250, 3500]);
    });
}
