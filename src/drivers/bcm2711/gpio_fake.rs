//! Pins as the chip has them: drivers, resistors, wires, edge detection. For the tests of GPIO and of what is made of it.

use std::cell::{Cell, RefCell};
use std::vec::Vec;

use super::gpio::Gpio;
use crate::drivers::mmio::Registers;

const PINS: usize = 58;

/// The block, and what is soldered to it.
pub(crate) struct Fake {
    fsel: RefCell<[u32; 6]>,
    pull: RefCell<[u32; 4]>,
    latch: Cell<u64>,
    level: Cell<u64>,
    rising: Cell<u64>,
    falling: Cell<u64>,
    events: Cell<u64>,
    /// Pairs of pins that are connected.
    pub(crate) wires: RefCell<Vec<(usize, usize)>>,
    /// QEMU has none.
    pub(crate) detects_edges: Cell<bool>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            fsel: RefCell::new([0; 6]),
            pull: RefCell::new([0xaaa9_5555, 0xa0aa_aaaa, 0x50aa_a95a, 0x0005_5555]),
            latch: Cell::new(0),
            level: Cell::new(0),
            rising: Cell::new(0),
            falling: Cell::new(0),
            events: Cell::new(0),
            wires: RefCell::new(Vec::new()),
            detects_edges: Cell::new(true),
        }
    }

    fn drives(&self, pin: usize) -> Option<bool> {
        let output = self.fsel.borrow()[pin / 10] >> (3 * (pin % 10)) & 0b111 == 0b001;
        output.then(|| self.latch.get() >> pin & 1 != 0)
    }

    fn pulls(&self, pin: usize) -> Option<bool> {
        match self.pull.borrow()[pin / 16] >> (2 * (pin % 16)) & 0b11 {
            0b01 => Some(true),
            0b10 => Some(false),
            _ => None,
        }
    }

    /// Every pin gets its level: who drives wins over who pulls, here or at the other end of a wire.
    fn settle(&self) {
        let old = self.level.get();
        let mut new = old;
        for pin in 0..PINS {
            let wires = self.wires.borrow();
            let others = wires.iter().filter_map(|&(a, b)| match pin {
                _ if pin == a => Some(b),
                _ if pin == b => Some(a),
                _ => None,
            });
            let others: Vec<usize> = others.collect();
            let driven = self.drives(pin).or_else(|| others.iter().find_map(|&other| self.drives(other)));
            let pulled = self.pulls(pin).or_else(|| others.iter().find_map(|&other| self.pulls(other)));
            // A pin that nobody drives or pulls stays as it was.
            if let Some(high) = driven.or(pulled) {
                new = new & !(1 << pin) | u64::from(high) << pin;
            }
        }
        self.level.set(new);
        let events = new & !old & self.rising.get() | old & !new & self.falling.get();
        self.events.set(self.events.get() | events);
    }
}

impl Gpio<Fake> {
    /// Takes all wires off.
    pub(crate) fn unwire(&self) {
        self.regs().wires.borrow_mut().clear();
        self.regs().settle();
    }
}

fn half(word: u64, second: bool) -> u32 {
    (word >> (32 * u32::from(second))) as u32
}

fn with_half(word: u64, second: bool, value: u32) -> u64 {
    let shift = 32 * u32::from(second);
    word & !(0xffff_ffff << shift) | u64::from(value) << shift
}

impl Registers for Fake {
    fn read(&self, offset: usize) -> u32 {
        match offset {
            0x00..=0x14 => self.fsel.borrow()[offset / 4],
            0x34 | 0x38 => half(self.level.get(), offset == 0x38),
            0x40 | 0x44 => half(self.events.get(), offset == 0x44),
            0x4c | 0x50 => half(self.rising.get(), offset == 0x50),
            0x58 | 0x5c => half(self.falling.get(), offset == 0x5c),
            0xe4..=0xf0 => self.pull.borrow()[(offset - 0xe4) / 4],
            _ => panic!("{offset:#x} is not read"),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        let detects = self.detects_edges.get();
        match offset {
            0x00..=0x14 => self.fsel.borrow_mut()[offset / 4] = value,
            0x1c | 0x20 => self.latch.set(self.latch.get() | with_half(0, offset == 0x20, value)),
            0x28 | 0x2c => self.latch.set(self.latch.get() & !with_half(0, offset == 0x2c, value)),
            0x40 | 0x44 => self.events.set(self.events.get() & !with_half(0, offset == 0x44, value)),
            0x4c | 0x50 if detects => self.rising.set(with_half(self.rising.get(), offset == 0x50, value)),
            0x58 | 0x5c if detects => self.falling.set(with_half(self.falling.get(), offset == 0x5c, value)),
            0x4c | 0x50 | 0x58 | 0x5c => {}
            0xe4..=0xf0 => self.pull.borrow_mut()[(offset - 0xe4) / 4] = value,
            _ => panic!("{offset:#x} is not written"),
        }
        self.settle();
    }
}
