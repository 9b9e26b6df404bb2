//! The mini UART of a BCM2835 and its successors: what is left of a 16550, in the block of auxiliary devices.
//!
//! The second choice for a console: it has eight bytes of FIFO, no parity, and its baud rate comes from the core clock,
//! which the firmware changes unless it is told not to (`enable_uart=1`). Where the firmware has set it up already,
//! its divisor is kept: the firmware knows that clock.
//!
//! Invariant: the window begins at the block of auxiliary devices, of which this is the first; its enable bit is shared
//! with the two SPI masters behind it and is the only one that changes.
//!
//! Context: any; the owner serialises. Manual: BCM2711 ARM peripherals, chapter 2.2 (with the errata: bit 0 of IER is
//! the receiver's, bit 1 the transmitter's).
#![forbid(unsafe_code)]

use core::convert::Infallible;

use super::mmio::Registers;

/// Bytes of the window.
pub const WINDOW_BYTES: usize = 0x80;
/// Where the device's own registers begin in it, which is what a device tree gives.
pub const OFFSET: usize = 0x40;
/// Bytes that its FIFOs hold.
pub const FIFO_BYTES: usize = 8;

const AUX_ENABLES: usize = 0x04;
const IO: usize = OFFSET;
const IER: usize = OFFSET + 0x04;
const IIR: usize = OFFSET + 0x08;
const LCR: usize = OFFSET + 0x0c;
const MCR: usize = OFFSET + 0x10;
const LSR: usize = OFFSET + 0x14;
const CNTL: usize = OFFSET + 0x20;
const BAUD: usize = OFFSET + 0x28;

const AUX_ENABLES_UART: u32 = 1;
const IER_RECEIVE: u32 = 1 << 0;
const IER_TRANSMIT: u32 = 1 << 1;
/// 0: an interrupt is pending.
const IIR_NONE: u32 = 1 << 0;
/// Writing these empties the FIFOs.
const IIR_CLEAR: u32 = 0b110;
/// Eight bits need both, says the errata; the manual's one bit gives seven.
const LCR_8BIT: u32 = 0b11;
const LSR_DATA: u32 = 1 << 0;
const LSR_ROOM: u32 = 1 << 5;
const LSR_IDLE: u32 = 1 << 6;
const CNTL_ON: u32 = 0b11;
const BAUD_MAX: u32 = 0xffff;

/// The mini UART.
#[derive(Debug)]
pub struct MiniUart<R> {
    regs: R,
}

impl<R: Registers> MiniUart<R> {
    /// The device behind these registers, as it is.
    pub const fn new(regs: R) -> Self {
        Self { regs }
    }

    /// Sets it up: 8 bits, no interrupts, empty FIFOs, at `baud` from a core clock of `core_hz`, unless it is on already: then
    /// its rate stays.
    pub fn enable(&mut self, core_hz: u32, baud: u32) {
        let was_on = self.regs.read(AUX_ENABLES) & AUX_ENABLES_UART != 0;
        let kept = if was_on { self.regs.read(BAUD) & BAUD_MAX } else { 0 };
        // Off, its registers cannot be reached.
        self.regs.modify(AUX_ENABLES, |enables| enables | AUX_ENABLES_UART);
        self.regs.write(CNTL, 0);
        self.regs.write(IER, 0);
        self.regs.write(LCR, LCR_8BIT);
        self.regs.write(MCR, 0);
        self.regs.write(IIR, IIR_CLEAR);
        self.regs.write(BAUD, if kept != 0 { kept } else { divisor(core_hz, baud) });
        self.regs.write(CNTL, CNTL_ON);
    }

    /// Takes the oldest byte that has come.
    pub fn get(&mut self) -> Option<u8> {
        (self.regs.read(LSR) & LSR_DATA != 0).then(|| self.regs.read(IO) as u8)
    }

    /// Whether a byte more can be sent.
    pub fn has_room(&self) -> bool {
        self.regs.read(LSR) & LSR_ROOM != 0
    }

    /// Sends a byte, for which there must be room.
    pub fn put(&mut self, byte: u8) {
        self.regs.write(IO, u32::from(byte));
    }

    /// Whether the last byte is on the wire.
    pub fn is_idle(&self) -> bool {
        self.regs.read(LSR) & LSR_IDLE != 0
    }

    /// Which interrupts come: when a byte has come, and when the transmitter's FIFO is empty.
    pub fn set_interrupts(&mut self, receive: bool, transmit: bool) {
        let bits = if receive { IER_RECEIVE } else { 0 } | if transmit { IER_TRANSMIT } else { 0 };
        self.regs.write(IER, bits);
    }

    /// Whether it asks for an interrupt. It stops when its byte is read, or its FIFO is filled.
    pub fn is_interrupting(&self) -> bool {
        self.regs.read(IIR) & IIR_NONE == 0
    }
}

/// The rate is clock / (8 * (divisor + 1)): 500 MHz and 115,200 baud give 542 (541.5), 0.1 % slow.
fn divisor(core_hz: u32, baud: u32) -> u32 {
    let per_eighth = 8 * u64::from(baud.max(1));
    let nearest = (u64::from(core_hz) + per_eighth / 2) / per_eighth;
    nearest.saturating_sub(1).min(u64::from(BAUD_MAX)) as u32
}

impl<R> embedded_io::ErrorType for MiniUart<R> {
    type Error = Infallible;
}

impl<R: Registers> embedded_io::ReadReady for MiniUart<R> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.regs.read(LSR) & LSR_DATA != 0)
    }
}

impl<R: Registers> embedded_io::WriteReady for MiniUart<R> {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.has_room())
    }
}

/// Waits for the first byte and takes what is there.
impl<R: Registers> embedded_io::Read for MiniUart<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        while count < buffer.len() {
            match self.get() {
                Some(byte) => {
                    buffer[count] = byte;
                    count += 1;
                }
                None if count > 0 => break,
                None => arch::cpu::relax(),
            }
        }
        Ok(count)
    }
}

/// Waits for room for the first byte and sends what fits.
impl<R: Registers> embedded_io::Write for MiniUart<R> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        while count < bytes.len() {
            if self.has_room() {
                self.put(bytes[count]);
                count += 1;
            } else if count > 0 {
                break;
            } else {
                arch::cpu::relax();
            }
        }
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while !self.is_idle() {
            arch::cpu::relax();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use embedded_io::{Read, Write};
    use std::collections::VecDeque;
    use std::vec::Vec;

    /// What the device does behind its registers. A byte leaves the FIFO every few looks at LSR.
    #[derive(Default)]
    struct Device {
        enables: u32,
        baud: u32,
        control: u32,
        ier: u32,
        line: u32,
        sending: VecDeque<u8>,
        wire: Vec<u8>,
        received: VecDeque<u8>,
        looks: u32,
        touched_while_off: bool,
    }

    struct Fake<'a>(&'a RefCell<Device>);

    impl Registers for Fake<'_> {
        fn read(&self, offset: usize) -> u32 {
            let mut device = self.0.borrow_mut();
            device.touched_while_off |= offset >= OFFSET && device.enables & 1 == 0;
            match offset {
                AUX_ENABLES => device.enables,
                IO => device.received.pop_front().map_or(0, u32::from),
                IIR => {
                    let receive = device.ier & 1 != 0 && !device.received.is_empty();
                    let transmit = device.ier & 2 != 0 && device.sending.is_empty();
                    u32::from(!(receive || transmit))
                }
                LSR => {
                    device.looks += 1;
                    if device.looks.is_multiple_of(3)
                        && device.control & 2 != 0
                        && let Some(byte) = device.sending.pop_front()
                    {
                        device.wire.push(byte);
                    }
                    let data = u32::from(!device.received.is_empty());
                    let room = u32::from(device.sending.len() < FIFO_BYTES) << 5;
                    data | room | u32::from(device.sending.is_empty()) << 6
                }
                BAUD => device.baud,
                _ => panic!("read of {offset:#x}"),
            }
        }

        fn write(&self, offset: usize, value: u32) {
            let mut device = self.0.borrow_mut();
            device.touched_while_off |= offset >= OFFSET && device.enables & 1 == 0;
            match offset {
                AUX_ENABLES => device.enables = value,
                IO => {
                    assert!(device.sending.len() < FIFO_BYTES, "a byte was sent without room for it");
                    device.sending.push_back(value as u8);
                }
                IER => device.ier = value,
                IIR if value & IIR_CLEAR == IIR_CLEAR => {
                    device.sending.clear();
                    device.received.clear();
                }
                LCR => device.line = value,
                MCR => {}
                CNTL => device.control = value,
                BAUD => device.baud = value,
                _ => panic!("write of {offset:#x}"),
            }
        }
    }

    #[test]
    fn it_is_set_up_for_eight_bits_and_its_neighbours_keep_their_state() {
        let device = RefCell::new(Device { enables: 0b110, ..Device::default() });
        device.borrow_mut().received.push_back(7);
        let mut uart = MiniUart::new(Fake(&device));
        uart.enable(500_000_000, 115_200);
        assert_eq!(uart.get(), None, "what came before is thrown away");
        let device = device.borrow();
        assert_eq!((device.enables, device.line, device.control, device.ier), (0b111, 3, 3, 0));
        assert_eq!(device.baud, 542);
        assert!(!device.touched_while_off);
    }

    #[test]
    fn a_rate_that_the_firmware_has_set_is_kept() {
        let device = RefCell::new(Device { enables: 1, baud: 270, ..Device::default() });
        MiniUart::new(Fake(&device)).enable(500_000_000, 115_200);
        assert_eq!(device.borrow().baud, 270);
    }

    #[test]
    fn divisors_are_the_nearest_there_are() {
        assert_eq!(divisor(250_000_000, 115_200), 270);
        assert_eq!(divisor(500_000_000, 115_200), 542);
        assert_eq!((divisor(0, 115_200), divisor(u32::MAX, 1)), (0, BAUD_MAX));
    }

    #[test]
    fn every_byte_goes_out_in_order_whatever_the_fifo_holds() {
        let device = RefCell::new(Device::default());
        let mut uart = MiniUart::new(Fake(&device));
        uart.enable(500_000_000, 115_200);
        let text: Vec<u8> = (0..100).collect();
        uart.write_all(&text).unwrap();
        uart.flush().unwrap();
        assert_eq!(device.borrow().wire, text);
    }

    #[test]
    fn reading_takes_what_is_there_and_no_more() {
        let device = RefCell::new(Device::default());
        let mut uart = MiniUart::new(Fake(&device));
        uart.enable(500_000_000, 115_200);
        device.borrow_mut().received.extend([1, 2, 3]);
        let mut buffer = [0; 8];
        assert_eq!((uart.read(&mut buffer).unwrap(), buffer), (3, [1, 2, 3, 0, 0, 0, 0, 0]));
        assert_eq!(uart.get(), None);
    }

    #[test]
    fn it_interrupts_for_what_it_was_told_to_and_until_that_is_dealt_with() {
        let device = RefCell::new(Device::default());
        let mut uart = MiniUart::new(Fake(&device));
        uart.enable(500_000_000, 115_200);
        assert!(!uart.is_interrupting());
        uart.set_interrupts(true, false);
        assert!(!uart.is_interrupting());
        device.borrow_mut().received.push_back(9);
        assert!(uart.is_interrupting());
        assert_eq!((uart.get(), uart.is_interrupting()), (Some(9), false));
        uart.set_interrupts(true, true);
        assert!(uart.is_interrupting());
        uart.put(1);
        assert!(!uart.is_interrupting());
    }
}
